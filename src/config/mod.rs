//! What the operator wrote, as types that cannot hold a bad value.

mod settings;

pub use settings::{Readiness, Secret, Settings, SigningSettings};

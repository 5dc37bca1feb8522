//! What the operator wrote, as types that cannot hold a bad value.

mod settings;

pub use settings::{Secret, Settings, SigningSettings};

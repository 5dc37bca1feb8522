//! One file a command.

pub mod keygen;

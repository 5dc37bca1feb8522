//! The development issuer and the echo backend of `demo`.

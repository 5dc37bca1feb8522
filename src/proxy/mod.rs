//! One request, from its head to the answer.

mod settings;

pub use settings::{
    Drain, Limits, ListenAddress, Preflight, ProxySettings, Timeouts, TrustedProxies,
    UpstreamAddress,
};

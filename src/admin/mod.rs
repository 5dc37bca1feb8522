//! The second listener: what an operator and a cluster ask about the proxy.

use crate::proxy::ListenAddress;

/// Where the admin listener is, and who may read all of it.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// File: `admin.listen = "127.0.0.1:4601"`.
    pub listen: ListenAddress,
    /// File: `admin.status = "loopback"`.
    pub status: StatusAccess,
}

/// Who may read `/status`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StatusAccess {
    /// Who connects from this machine.
    #[default]
    Loopback,
    /// Everybody who reaches the listener.
    All,
}

//! What cannot change while the process lives.

use crate::config::Settings;
use crate::proxy::UpstreamAddress;

/// Puts what cannot change without a restart back to how it is, and names the keys that say
/// something else.
pub(super) fn keep(settings: &mut Settings, now: &Settings) -> Vec<&'static str> {
    if let (UpstreamAddress::Child { port }, UpstreamAddress::Child { port: chosen }) =
        (&mut settings.proxy.upstream, &now.proxy.upstream)
    {
        *port = *chosen; // settings do not know it
    }
    let (proxy, was) = (&mut settings.proxy, &now.proxy);
    let mut differ = vec![
        ("listen", keep_one(&mut proxy.listen, &was.listen)),
        ("listen_mode", keep_one(&mut proxy.listen_mode, &was.listen_mode)),
        ("admin.listen", keep_one(&mut settings.admin.listen, &now.admin.listen)),
        ("workers", keep_one(&mut proxy.workers, &was.workers)),
        ("limits.connections", keep_one(&mut proxy.limits.connections, &was.limits.connections)),
        ("log.format", keep_one(&mut settings.log.format, &now.log.format)),
    ];
    // Other files are fine; but a listener's clients come under TLS, or do not.
    if settings.tls.is_some() != now.tls.is_some() {
        differ.push(("tls.certificate_file", keep_one(&mut settings.tls, &now.tls)));
    }
    differ.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

/// Puts a value back to how it is, and tells whether it was another.
fn keep_one<T: Clone + PartialEq>(value: &mut T, now: &T) -> bool {
    let differs = value != now;
    value.clone_from(now);
    differs
}

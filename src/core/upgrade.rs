//! Requests to go on as a WebSocket; no other protocol is gone on with.

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, Version};

use crate::core::list::elements;

/// How a connection is to go on after a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wish {
    /// With the next request.
    Http,
    /// As a WebSocket.
    WebSocket,
}

impl Wish {
    /// Reads what a request asks for. A WebSocket is asked for (RFC 6455 §4.1) with `GET`, over
    /// HTTP/1.1, without a body, and naming that protocol and no other.
    ///
    /// Anything else that is asked for with `Upgrade` is taken off with it: `h2c` would be a tunnel
    /// through which requests pass unseen.
    pub fn of(method: &Method, version: Version, headers: &HeaderMap) -> Self {
        // Most requests have no such header, and are through here.
        let is_asked = headers.contains_key(UPGRADE)
            && *method == Method::GET
            && version == Version::HTTP_11
            && names_websocket(headers)
            && !headers.contains_key(TRANSFER_ENCODING)
            && headers.get(CONTENT_LENGTH).is_none_or(|length| length == "0");
        if is_asked { Self::WebSocket } else { Self::Http }
    }
}

/// Tells whether the head of a 101 says that the connection goes on as a WebSocket.
pub fn is_agreed(headers: &HeaderMap) -> bool {
    names_websocket(headers)
}

fn names_websocket(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(UPGRADE).iter();
    let (Some(protocol), None) = (protocols.next(), protocols.next()) else { return false };
    let is_websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
    let mut options = elements(headers, CONNECTION);
    is_websocket && options.any(|option| option.eq_ignore_ascii_case(b"upgrade"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_websocket_is_gone_on_with() {
        let handshake = &["connection: Upgrade", "upgrade: websocket"][..];
        for (method, version, lines, want) in [
            ("GET", Version::HTTP_11, handshake, true),
            (
                "GET",
                Version::HTTP_11,
                &["connection: keep-alive, upgrade", "upgrade: WebSocket"],
                true,
            ),
            (
                "GET",
                Version::HTTP_11,
                &["connection: Upgrade", "upgrade: websocket", "content-length: 0"],
                true,
            ),
            ("POST", Version::HTTP_11, handshake, false),
            ("GET", Version::HTTP_10, handshake, false),
            ("GET", Version::HTTP_2, handshake, false),
            ("GET", Version::HTTP_11, &["upgrade: websocket"], false),
            ("GET", Version::HTTP_11, &["connection: keep-alive", "upgrade: websocket"], false),
            ("GET", Version::HTTP_11, &["connection: upgrade"], false),
            ("GET", Version::HTTP_11, &["connection: upgrade", "upgrade: h2c"], false),
            ("GET", Version::HTTP_11, &["connection: upgrade", "upgrade: websocket, h2c"], false),
            ("GET", Version::HTTP_11, &["connection: upgrade", "upgrade: WebSocket/13"], false),
            (
                "GET",
                Version::HTTP_11,
                &["connection: upgrade", "upgrade: websocket", "upgrade: websocket"],
                false,
            ),
            (
                "GET",
                Version::HTTP_11,
                &["connection: upgrade", "upgrade: websocket", "content-length: 4"],
                false,
            ),
            (
                "GET",
                Version::HTTP_11,
                &["connection: upgrade", "upgrade: websocket", "transfer-encoding: chunked"],
                false,
            ),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                let (name, value) = line.split_once(": ").unwrap();
                headers.append(name, value.parse().unwrap());
            }
            let method = method.parse().unwrap();
            let got = Wish::of(&method, version, &headers) == Wish::WebSocket;
            assert_eq!(got, want, "{method} {version:?} {lines:?}");
        }
    }
}

//! Calls of gRPC: who is refused one is told in its own words.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, StatusCode};

/// Tells whether a message is one of gRPC (gRPC over HTTP/2, "Requests"). gRPC-Web is not: it is for
/// clients that read HTTP's own status.
pub fn is_call(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let rest = media_type.get(..GRPC.len()).filter(|start| start.eq_ignore_ascii_case(GRPC));
    rest.is_some() && matches!(media_type.get(GRPC.len()), None | Some(b'+' | b';' | b' '))
}

const GRPC: &[u8] = b"application/grpc";

/// Why a call ended, as gRPC's status codes say it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are gRPC's")]
pub enum Code {
    Unknown = 2,
    PermissionDenied = 7,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    /// Where a code stands.
    pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");

    /// Returns what a status of HTTP's is to a client of gRPC ("HTTP to gRPC Status Code Mapping").
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// Returns the number, as `grpc-status` has it.
    pub fn number(self) -> u16 {
        self as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_by_its_content_type() {
        for (media_type, want) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/GRPC; charset=x", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type.parse().unwrap())]);
            assert_eq!(is_call(&headers), want, "{media_type}");
        }
        assert!(!is_call(&HeaderMap::new()));
    }

    #[test]
    fn each_status_has_a_code() {
        for (status, want) in [
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (408, 2),
            (413, 2),
            (429, 14),
            (431, 2),
            (500, 2),
            (502, 14),
            (503, 14),
            (504, 14),
        ] {
            let code = Code::of(StatusCode::from_u16(status).unwrap());
            assert_eq!(code.number(), want, "{status}");
        }
    }
}

//! Which HTTP a client speaks that says so by nothing but its first bytes.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::client_socket::ClientSocket;

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// What every client of HTTP/2 sends first (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads as many bytes as it takes to know, and puts them back. HTTP/1 where the client sends
/// anything else, or nothing more: that side has answers for it. Waits without end.
pub(super) async fn read(socket: &mut ClientSocket<impl AsyncRead + Unpin>) -> Protocol {
    let mut bytes = [0; PREFACE.len()];
    let mut filled = 0;
    while filled < bytes.len() && bytes[..filled] == PREFACE[..filled] {
        match socket.read(&mut bytes[filled..]).await {
            Ok(0) | Err(_) => break,
            Ok(more) => filled += more,
        }
    }
    socket.put_back(&bytes[..filled]);
    if bytes == *PREFACE { Protocol::Http2 } else { Protocol::Http1 }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::proxy::activity::Activity;

    #[tokio::test(flavor = "local")]
    async fn a_client_is_known_by_its_first_bytes_which_are_read_again() {
        for (pieces, want) in [
            (&["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"][..], Protocol::Http2),
            (&["P", "RI * HTTP/2.0\r\n", "\r\nSM\r\n\r\nmore"], Protocol::Http2),
            (&["GET / HTTP/1.1\r\n"], Protocol::Http1),
            (&["P", "OST / HTTP/1.1\r\n"], Protocol::Http1),
            (&["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\t"], Protocol::Http1),
            (&["PRI"], Protocol::Http1),
            (&[], Protocol::Http1),
        ] {
            let (mut client, ours) = tokio::io::duplex(64);
            let mut socket = ClientSocket::new(ours, Activity::start());
            let sends = async {
                for piece in pieces {
                    client.write_all(piece.as_bytes()).await.unwrap();
                    tokio::task::yield_now().await;
                }
                client.shutdown().await.unwrap();
            };
            let (protocol, ()) = tokio::join!(read(&mut socket), sends);
            let mut again = String::new();
            socket.read_to_string(&mut again).await.unwrap();
            assert_eq!((protocol, again), (want, pieces.concat()), "{pieces:?}");
        }
    }
}

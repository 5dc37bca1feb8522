//! A backend that answers before it has all of a request.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task;

/// A backend over HTTP/2 that has room for so much of a body, and for more only when it is told to.
pub(crate) struct Early {
    pub(crate) heads: Rc<Cell<usize>>,
    /// The pieces of bodies that have come, and their bytes.
    pub(crate) bodies: Rc<Cell<usize>>,
    pub(crate) bytes: Rc<Cell<usize>>,
    /// Has it make room for 100 bytes more of the first body.
    pub(crate) read: Rc<Notify>,
    /// Has it answer the request that came last.
    pub(crate) answer: Rc<Notify>,
    pub(crate) address: String,
}

/// When it answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answers {
    /// Each request at its head.
    AtOnce,
    /// When it is told to.
    WhenTold,
}

impl Early {
    pub(crate) async fn start(room: u32, answers: Answers) -> Self {
        const ROOM_FOR: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x04"; // INITIAL_WINDOW_SIZE
        const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
        const ROOM_ON_1: &[u8] = b"\0\0\x04\x08\0\0\0\0\x01\0\0\0\x64"; // WINDOW_UPDATE, 100
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let early = Self {
            heads: Rc::default(),
            bodies: Rc::default(),
            bytes: Rc::default(),
            read: Rc::default(),
            answer: Rc::default(),
            address: listener.local_addr().unwrap().to_string(),
        };
        let (heads, bodies, bytes) = (&early.heads, &early.bodies, &early.bytes);
        let (heads, bodies, bytes) = (Rc::clone(heads), Rc::clone(bodies), Rc::clone(bytes));
        let (read, answer) = (Rc::clone(&early.read), Rc::clone(&early.answer));
        task::spawn_local(async move {
            let (mut reader, mut writer) = listener.accept().await.unwrap().0.into_split();
            writer.write_all(&[ROOM_FOR, &room.to_be_bytes()].concat()).await.unwrap();
            reader.read_exact(&mut [0; 24]).await.unwrap(); // the preface
            let mut latest = [0; 4];
            loop {
                let mut frame = [0; 9];
                let first = tokio::select! {
                    () = read.notified() => {
                        writer.write_all(ROOM_ON_1).await.unwrap();
                        continue;
                    }
                    () = answer.notified() => {
                        writer.write_all(&ok(latest)).await.unwrap();
                        continue;
                    }
                    first = reader.read(&mut frame[..1]) => first,
                };
                if !matches!(first, Ok(1)) {
                    return;
                }
                reader.read_exact(&mut frame[1..]).await.unwrap();
                let length = usize::from(frame[1]) << 8 | usize::from(frame[2]);
                reader.read_exact(&mut vec![0; length]).await.unwrap();
                match frame[3] {
                    0 => {
                        bodies.set(bodies.get() + 1);
                        bytes.set(bytes.get() + length);
                    }
                    1 => {
                        heads.set(heads.get() + 1);
                        latest.copy_from_slice(&frame[5..]);
                        if answers == Answers::AtOnce {
                            writer.write_all(&ok(latest)).await.unwrap();
                        }
                    }
                    4 if frame[4] == 0 => writer.write_all(SETTINGS_ACK).await.unwrap(),
                    _ => {}
                }
            }
        });
        early
    }
}

/// HEADERS that end this stream: `:status: 200`, an index of one byte.
fn ok(stream: [u8; 4]) -> Vec<u8> {
    [&[0, 0, 1, 1, 5][..], &stream, &[0x88]].concat()
}

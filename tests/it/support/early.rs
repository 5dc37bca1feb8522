//! A backend that answers before it has all of a request.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task;

/// A backend over HTTP/2 that has room for no body until it is told to, and answers each request at
/// its head.
pub(crate) struct Early {
    pub(crate) heads: Rc<Cell<usize>>,
    pub(crate) bodies: Rc<Cell<usize>>,
    pub(crate) read: Rc<Notify>,
    pub(crate) address: String,
}

impl Early {
    pub(crate) async fn start() -> Self {
        const NO_ROOM: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0"; // INITIAL_WINDOW_SIZE
        const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
        const ROOM_ON_1: &[u8] = b"\0\0\x04\x08\0\0\0\0\x01\0\0\0\x64"; // WINDOW_UPDATE, 100
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let early =
            Self { heads: Rc::default(), bodies: Rc::default(), read: Rc::default(), address };
        let (heads, bodies) = (Rc::clone(&early.heads), Rc::clone(&early.bodies));
        let read = Rc::clone(&early.read);
        task::spawn_local(async move {
            let (mut reader, mut writer) = listener.accept().await.unwrap().0.into_split();
            writer.write_all(NO_ROOM).await.unwrap();
            reader.read_exact(&mut [0; 24]).await.unwrap(); // the preface
            loop {
                let mut frame = [0; 9];
                let first = tokio::select! {
                    () = read.notified() => {
                        writer.write_all(ROOM_ON_1).await.unwrap();
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
                    0 => bodies.set(bodies.get() + 1),
                    1 => {
                        heads.set(heads.get() + 1);
                        // HEADERS that end the stream: `:status: 200`, an index of one byte.
                        let answer = [&[0, 0, 1, 1, 5][..], &frame[5..], &[0x88]].concat();
                        writer.write_all(&answer).await.unwrap();
                    }
                    4 if frame[4] == 0 => writer.write_all(SETTINGS_ACK).await.unwrap(),
                    _ => {}
                }
            }
        });
        early
    }
}

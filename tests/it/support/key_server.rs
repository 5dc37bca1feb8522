//! A server of key sets that answers as it is told, and lies where it is told to.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use countersign::http_client::FetchUrl;
use countersign::keys::KeySource;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{self, JoinHandle};
use tokio::time;

use super::upstream::head;
use super::{Client, Issuer};

/// A server of key sets. It ends when dropped.
pub(crate) struct KeyServer {
    pub(crate) address: String,
    reply: Rc<RefCell<Reply>>,
    fetches: Rc<Cell<u64>>,
    last: Rc<RefCell<String>>,
    task: JoinHandle<()>,
}

/// How the server answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// With these bytes; then it closes.
    Bytes(Vec<u8>),
    /// With these bytes, one a second.
    Drip(Vec<u8>),
    /// With these bytes, after this time.
    Late(Duration, Vec<u8>),
    /// Not at all.
    Silence,
}

impl Reply {
    /// The same answer, late.
    pub(crate) fn after(self, wait: Duration) -> Self {
        match self {
            Self::Bytes(bytes) | Self::Late(_, bytes) => Self::Late(wait, bytes),
            Self::Drip(_) | Self::Silence => self,
        }
    }

    /// A 200 with this body.
    pub(crate) fn json(body: &str) -> Self {
        Self::http("200 OK", "content-type: application/json\r\n", body)
    }

    /// An answer with this status, these further header lines, and this body.
    pub(crate) fn http(status: &str, lines: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut bytes =
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{lines}\r\n", body.len())
                .into_bytes();
        bytes.extend_from_slice(body);
        Self::Bytes(bytes)
    }
}

/// The key set that an issuer publishes at this moment.
pub(crate) async fn published_by(issuer: &Issuer) -> String {
    let address = issuer.origin().replace("http://", "");
    Client::to(&address).get("/.well-known/jwks.json").await.text()
}

impl KeyServer {
    pub(crate) async fn start(reply: Reply) -> Self {
        Self::start_at("127.0.0.1:0", reply).await
    }

    /// A server at an address that was another's before.
    pub(crate) async fn start_at(address: &str, reply: Reply) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let reply = Rc::new(RefCell::new(reply));
        let fetches = Rc::<Cell<u64>>::default();
        let last = Rc::<RefCell<String>>::default();
        let told = (Rc::clone(&reply), Rc::clone(&fetches), Rc::clone(&last));
        let task = task::spawn_local(async move {
            let mut tasks = task::JoinSet::new();
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (reply, fetches, last) = told.clone();
                tasks.spawn_local(async move {
                    let head = head(&mut socket).await;
                    fetches.set(fetches.get() + 1);
                    *last.borrow_mut() = head;
                    let reply = reply.borrow().clone();
                    answer(socket, reply).await;
                });
            }
        });
        Self { address, reply, fetches, last, task }
    }

    /// Answers like this from now on.
    pub(crate) fn reply(&self, reply: Reply) {
        *self.reply.borrow_mut() = reply;
    }

    /// How often it was asked.
    pub(crate) fn fetches(&self) -> u64 {
        self.fetches.get()
    }

    /// The head of the last request.
    pub(crate) fn last(&self) -> String {
        self.last.borrow().clone()
    }

    /// Where a proxy finds it.
    pub(crate) fn source(&self) -> KeySource {
        KeySource::Url(FetchUrl::parse(&format!("http://{}/jwks", self.address)).unwrap())
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The proxy may close at any time, so nobody minds where writing fails.
async fn answer(mut socket: TcpStream, reply: Reply) {
    match reply {
        Reply::Bytes(bytes) => drop(socket.write_all(&bytes).await),
        Reply::Drip(bytes) => {
            for byte in bytes {
                time::sleep(Duration::from_secs(1)).await;
                if socket.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
        }
        Reply::Late(wait, bytes) => {
            time::sleep(wait).await;
            drop(socket.write_all(&bytes).await);
        }
        Reply::Silence => std::future::pending().await,
    }
}

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
    /// How often it was asked, and how often before the reply of now.
    fetches: Rc<Cell<u64>>,
    before: Rc<Cell<u64>>,
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
    /// With these bytes and then a reset.
    Reset(Vec<u8>),
    /// With the first bytes, and with the second again and again.
    Endless(Vec<u8>, Vec<u8>),
    /// With a 304 where the request has this header line, else otherwise.
    Unless(String, Box<Self>),
    /// In turn with each of these, for ever with the last.
    Turns(Vec<Self>),
    /// With the reply to this path; with a 404 to others.
    Paths(Vec<(&'static str, Self)>),
}

impl Reply {
    /// The same answer, late.
    pub(crate) fn after(self, wait: Duration) -> Self {
        match self {
            Self::Bytes(bytes) | Self::Late(_, bytes) => Self::Late(wait, bytes),
            Self::Drip(_)
            | Self::Silence
            | Self::Reset(_)
            | Self::Endless(..)
            | Self::Unless(..)
            | Self::Turns(_)
            | Self::Paths(_) => self,
        }
    }

    /// A 200 with this body and this entity tag; a 304 to who has it.
    pub(crate) fn tagged(tag: &str, body: &str) -> Self {
        let whole = Self::http("200 OK", &format!("etag: {tag}\r\n"), body);
        Self::Unless(format!("if-none-match: {tag}"), Box::new(whole))
    }

    /// The reply to the request with this head, the first one being number 1.
    fn to(&self, head: &str, number: u64) -> Self {
        match self {
            Self::Unless(line, _) if head.lines().any(|it| it == line) => {
                Self::http("304 Not Modified", "", "")
            }
            Self::Unless(_, otherwise) => otherwise.to(head, number),
            Self::Turns(turns) => {
                let turn = usize::try_from(number).unwrap().min(turns.len()) - 1;
                turns[turn].to(head, number)
            }
            Self::Paths(paths) => {
                let asked = |path: &str| head.starts_with(&format!("GET {path} "));
                let found = paths.iter().find(|(path, _)| asked(path));
                found.map_or(Self::http("404 Not Found", "", ""), |(_, it)| it.to(head, number))
            }
            Self::Bytes(_)
            | Self::Drip(_)
            | Self::Late(..)
            | Self::Silence
            | Self::Reset(_)
            | Self::Endless(..) => self.clone(),
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
        let before = Rc::<Cell<u64>>::default();
        let last = Rc::<RefCell<String>>::default();
        let told = (Rc::clone(&reply), Rc::clone(&fetches), Rc::clone(&before), Rc::clone(&last));
        let task = task::spawn_local(async move {
            let mut tasks = task::JoinSet::new();
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (reply, fetches, before, last) = told.clone();
                tasks.spawn_local(async move {
                    let head = head(&mut socket).await;
                    fetches.set(fetches.get() + 1);
                    let reply = reply.borrow().to(&head, fetches.get() - before.get());
                    *last.borrow_mut() = head;
                    answer(socket, reply).await;
                });
            }
        });
        Self { address, reply, fetches, before, last, task }
    }

    /// Answers like this from now on.
    pub(crate) fn reply(&self, reply: Reply) {
        *self.reply.borrow_mut() = reply;
        self.before.set(self.fetches.get());
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
        KeySource::Url(self.url("/jwks"))
    }

    /// The address of this path.
    pub(crate) fn url(&self, path: &str) -> FetchUrl {
        FetchUrl::parse(&format!("http://{}{path}", self.address)).unwrap()
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
        Reply::Reset(bytes) => {
            drop(socket.write_all(&bytes).await);
            socket.set_zero_linger().unwrap();
        }
        Reply::Endless(start, more) => {
            drop(socket.write_all(&start).await);
            while socket.write_all(&more).await.is_ok() {}
        }
        Reply::Unless(..) | Reply::Turns(_) | Reply::Paths(_) => {
            unreachable!("the reply to a head is one of the others")
        }
    }
}

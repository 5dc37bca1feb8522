//! What went wrong with a backend that there was a connection to.

use std::error::Error;
use std::io;

use crate::core::again::Got;
use crate::core::answer::Malformed;

/// Why there is no answer, or no more of one.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("it closed the connection before its answer")]
    Unanswered,
    #[error("it closed the connection before the end of its answer")]
    Short,
    #[error("it sent no answer over HTTP/1.1: {0}")]
    Malformed(#[from] Malformed),
    #[error("it answered, or went on as something else, before it had the request")]
    Early,
    #[error("it took nothing of the request for too long")]
    Stuck,
    #[error("the request was broken off")]
    Request,
    #[error("a bug: what sent the request is gone")]
    Lost,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

impl Broken {
    /// Says how far a request got where this came of it, and no head of an answer.
    pub(super) fn got(&self) -> Got {
        match self {
            Self::Unanswered => Got::Somewhere,
            Self::Http2(_) if self.is_unprocessed() => Got::Refused,
            Self::Http2(error) if error.is_incomplete_message() || error.is_closed() => {
                Got::Somewhere
            }
            Self::Io(_) | Self::Http2(_) if self.is_reset() => Got::Somewhere,
            Self::Short | Self::Malformed(_) | Self::Early | Self::Stuck => Got::ToTheBackend,
            Self::Request | Self::Lost | Self::Io(_) | Self::Http2(_) => Got::ToTheBackend,
        }
    }

    /// Tells whether the backend says that it has done nothing about the request (RFC 9113 §8.7).
    fn is_unprocessed(&self) -> bool {
        self.h2().is_some_and(|cause| {
            cause.reason() == Some(h2::Reason::REFUSED_STREAM)
                || cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR)
        })
    }

    /// Tells whether no more is over than one stream of a connection that has others.
    pub(super) fn is_of_a_stream(&self) -> bool {
        self.h2().is_some_and(h2::Error::is_reset)
    }

    /// What the backend's TLS said where it wanted nothing to do with us.
    pub(super) fn refusal(&self) -> Option<String> {
        let tls = self.io()?.get_ref()?.downcast_ref::<rustls::Error>()?;
        matches!(tls, rustls::Error::AlertReceived(_)).then(|| tls.to_string())
    }

    fn is_reset(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        // The last is a connection under TLS that ends without a word of TLS's.
        self.io().is_some_and(|io| {
            matches!(io.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
        })
    }

    fn h2(&self) -> Option<&h2::Error> {
        let Self::Http2(error) = self else { return None };
        error.source()?.downcast_ref()
    }

    fn io(&self) -> Option<&io::Error> {
        match (self, self.h2()) {
            (Self::Io(error), _) => Some(error),
            (_, Some(h2)) => h2.get_io(),
            (Self::Http2(error), None) => error.source()?.downcast_ref(),
            (_, None) => None,
        }
    }
}

//! Which pages sign users in, and whose server they come from.

use super::Backend;
use super::folder::Place;
use super::front_end::{self, FrontEnd};

/// Where the pages of the app come from.
#[derive(Debug)]
pub(super) enum Pages {
    /// From the backend: the proxy is before them too.
    Backends(FrontEnd),
    /// From another server, whose pages call the proxy.
    Apart(FrontEnd),
}

impl Pages {
    /// Finds those that sign their users in: with a package of Clerk's, where any has one.
    pub(super) fn of(places: &[&Place], backend: &Backend) -> Vec<Self> {
        let all: Vec<_> = places.iter().filter_map(|place| front_end::of_place(place)).collect();
        let has_clerk = all.iter().any(|front_end| front_end.has_clerk);
        let pages = all.into_iter().map(|front_end| {
            let is_backend = front_end.is_backend(backend.port, backend.place.as_deref());
            if is_backend { Self::Backends(front_end) } else { Self::Apart(front_end) }
        });
        let signs_in = |pages: &Self| {
            matches!(pages, Self::Backends(_)) || !has_clerk || pages.front_end().has_clerk
        };
        pages.filter(signs_in).collect()
    }

    /// Returns the front end whose pages are another server's.
    pub(super) fn apart(&self) -> Option<&FrontEnd> {
        match self {
            Self::Backends(_) => None,
            Self::Apart(front_end) => Some(front_end),
        }
    }

    pub(super) fn front_end(&self) -> &FrontEnd {
        match self {
            Self::Backends(front_end) | Self::Apart(front_end) => front_end,
        }
    }
}

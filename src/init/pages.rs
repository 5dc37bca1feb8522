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
    /// Finds those that sign their users in: with a package of Clerk's, where any has one, and those
    /// of the folder with the key. The backend's are the first.
    pub(super) fn of(places: &[&Place], backend: &Backend, of_key: Option<&str>) -> Vec<Self> {
        let all: Vec<_> = places.iter().filter_map(|place| front_end::of_place(place)).collect();
        let has_clerk = all.iter().any(|front_end| front_end.has_clerk);
        let signs_in = |it: &FrontEnd| {
            !has_clerk || it.has_clerk || of_key == Some(&it.place) || backend.is_of(it)
        };
        let all = all.into_iter().filter(signs_in);
        let (own, apart): (Vec<_>, Vec<_>) = all.partition(|it| backend.is_of(it));
        own.into_iter().map(Self::Backends).chain(apart.into_iter().map(Self::Apart)).collect()
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

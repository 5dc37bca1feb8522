//! Who is signed in at the development issuer, and in which browser.
//!
//! A browser is known by its *dev browser id*, as at a development instance of Clerk's: cookies of
//! 127.0.0.1 are shared by all ports, so the issuer has none of its own.

use aws_lc_rs::constant_time;
use serde_json::{Value, json};

use super::mint::{self, Wanted, base62, hex, random};
use super::newest::Newest;
use super::users::{ORGANIZATION, ORGANIZATION_SLUG, USERS, User};
use crate::core::time::UnixTime;

/// Browsers, their sessions, and the handshakes that nobody has called for yet.
#[derive(Debug)]
pub(super) struct Clients {
    /// By dev browser id, the session last signed in to.
    browsers: Newest<Option<String>>,
    sessions: Newest<Session>,
    /// By nonce, lines of `Set-Cookie`.
    payloads: Newest<Vec<String>>,
    /// The session of minted tokens. It is always there.
    minted: Session,
}

/// A session: somebody signed in, in one browser.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// `sid`.
    pub(super) id: String,
    pub(super) user: &'static User,
    pub(super) status: Status,
    pub(super) active: Active,
    pub(super) created: UnixTime,
    updated: UnixTime,
    client: String,
    /// What a new session token is had with. A secret.
    pub(super) refresh_token: String,
}

/// Whether a session may still be used, in Clerk's words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Status {
    Active,
    Ended,
    Revoked,
}

/// As what the user acts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Active {
    Organization,
    PersonalAccount,
}

impl Clients {
    /// Creates the state in which nobody is signed in.
    pub(super) fn new(now: UnixTime) -> Self {
        let minted = Session { id: mint::SESSION.to_owned(), ..Session::of(&USERS[0], now) };
        Self { browsers: Newest::new(), sessions: Newest::new(), payloads: Newest::new(), minted }
    }

    /// Returns the browser of this id, which becomes a new one where it is unknown or there is none.
    pub(super) fn browser(&mut self, id: Option<&str>) -> String {
        if let Some(known) = id.filter(|id| self.browsers.get(id).is_some()) {
            return known.to_owned();
        }
        let id = format!("dvb_{}", secret::<16>());
        self.browsers.add(id.clone(), None);
        id
    }

    /// Returns the session that is active in a browser.
    pub(super) fn signed_in(&self, browser: &str) -> Option<&Session> {
        let session = self.session(self.browsers.get(browser)?.as_deref()?)?;
        (session.status == Status::Active).then_some(session)
    }

    /// Signs `user` in, in a browser that is known; whoever was before is signed out.
    pub(super) fn sign_in(&mut self, browser: &str, user: &'static User, now: UnixTime) {
        self.sign_out(browser, now);
        let session = Session::of(user, now);
        if let Some(current) = self.browsers.get_mut(browser) {
            *current = Some(session.id.clone());
            self.sessions.add(session.id.clone(), session);
        }
    }

    /// Signs a browser out.
    pub(super) fn sign_out(&mut self, browser: &str, now: UnixTime) {
        let session = self.browsers.get_mut(browser).and_then(Option::take);
        if let Some(session) = session.and_then(|id| self.session_mut(&id)) {
            session.end(Status::Ended, now);
        }
    }

    /// Takes a session away, and tells whether there is one of this id.
    pub(super) fn revoke(&mut self, id: &str, now: UnixTime) -> bool {
        self.session_mut(id).map(|session| session.end(Status::Revoked, now)).is_some()
    }

    /// Makes the user act as what a handshake names as `organization_id`: the organization by its
    /// id or slug, nothing for the personal account. Where the user is no member nothing changes.
    pub(super) fn activate(&mut self, browser: &str, organization: &str) {
        let active = match organization {
            "" => Active::PersonalAccount,
            ORGANIZATION | ORGANIZATION_SLUG => Active::Organization,
            _ => return,
        };
        let session = self.browsers.get(browser).cloned().flatten();
        if let Some(session) = session.and_then(|id| self.session_mut(&id)) {
            session.active = active;
        }
    }

    /// Finds a session.
    pub(super) fn session(&self, id: &str) -> Option<&Session> {
        if id == self.minted.id { Some(&self.minted) } else { self.sessions.get(id) }
    }

    fn session_mut(&mut self, id: &str) -> Option<&mut Session> {
        if id == self.minted.id { Some(&mut self.minted) } else { self.sessions.get_mut(id) }
    }

    /// Keeps what a handshake brings, and returns the nonce that stands for it.
    pub(super) fn keep(&mut self, lines: Vec<String>) -> String {
        let nonce = secret::<16>();
        self.payloads.add(nonce.clone(), lines);
        nonce
    }

    /// Returns what a nonce stands for, once.
    pub(super) fn call_for(&mut self, nonce: &str) -> Option<Vec<String>> {
        self.payloads.take(nonce)
    }
}

impl Session {
    fn of(user: &'static User, now: UnixTime) -> Self {
        Self {
            id: format!("sess_{}", name()),
            user,
            status: Status::Active,
            active: Active::Organization,
            created: now,
            updated: now,
            client: format!("client_{}", name()),
            refresh_token: secret::<32>(),
        }
    }

    /// Ends the session, unless it has ended before.
    fn end(&mut self, status: Status, now: UnixTime) {
        if self.status == Status::Active {
            (self.status, self.updated) = (status, now);
        }
    }

    /// Tells whether a new token may be had with this refresh token.
    pub(super) fn is_refreshed_by(&self, token: &str) -> bool {
        let same =
            constant_time::verify_slices_are_equal(token.as_bytes(), self.refresh_token.as_bytes());
        self.status == Status::Active && same.is_ok()
    }

    /// Returns what a token of this session says that is good for `ttl` seconds. As Clerk's that
    /// come with a handshake, it names no authorized party: no page has asked for it.
    pub(super) fn wanted(&self, ttl: i64) -> Wanted {
        let mut claims = json!({ "azp": null, "sid": self.id, "sub": self.user.id });
        match self.active {
            Active::Organization => claims["o"] = self.user.membership(),
            // Features and plan are the organization's.
            Active::PersonalAccount => {
                for claim in ["o", "fea", "pla"] {
                    claims[claim] = Value::Null;
                }
            }
        }
        Wanted::from_claims(claims).expect("claims are an object").lasting(ttl)
    }

    /// Returns the session as Clerk's Backend API shows it. Its times are in milliseconds.
    pub(super) fn shown(&self) -> Value {
        const DAY: i64 = 24 * 60 * 60 * 1000;
        let created = self.created.as_millis();
        json!({
            "object": "session",
            "id": self.id,
            "client_id": self.client,
            "user_id": self.user.id,
            "actor": null,
            "status": self.status.as_str(),
            "last_active_organization_id": match self.active {
                Active::Organization => Some(ORGANIZATION),
                Active::PersonalAccount => None,
            },
            "last_active_at": created,
            "latest_activity": null,
            "expire_at": created.saturating_add(7 * DAY),
            "abandon_at": created.saturating_add(30 * DAY),
            "created_at": created,
            "updated_at": self.updated.as_millis(),
            "tasks": [],
        })
    }
}

impl Status {
    /// Returns Clerk's word.
    fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Ended => "ended",
            Self::Revoked => "revoked",
        }
    }
}

/// Returns 27 letters and digits, as Clerk names things.
fn name() -> String {
    base62(random::<27>().expect(HAD_RANDOM_BYTES))
}

/// Returns `N` random bytes as text, where to guess it would be to have it.
fn secret<const N: usize>() -> String {
    hex(&random::<N>().expect(HAD_RANDOM_BYTES))
}

const HAD_RANDOM_BYTES: &str = "the system had random bytes for the key";

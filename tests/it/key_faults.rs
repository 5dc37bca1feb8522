//! The fault script: everything a server of key sets can do wrong, and what came of it.
//!
//! A proxy holds a key. Then a refresh is due and the server does what the row says, also to the
//! fetch that a token with an unknown key causes. What a client saw, how often the server was
//! asked and what the metrics said stands in [`rows`], fault by fault; rows that need another
//! script name the test that plays it.

mod rows;

use std::fmt;
use std::io::Write;
use std::ops::RangeInclusive;
use std::time::Duration;

use countersign::core::jwk::Algorithms;
use serde_json::json;
use tokio::time;

use self::rows::{ELSEWHERE, Row, Then, UnknownToken};
use crate::keys::{NOW, Scene, naming};
use crate::support::key_server::{KeyServer, published_by};
use crate::support::{Answer, Proxy, until_every};

/// When the refresh is due by: 80 % of ten minutes are over.
const DUE: Duration = Duration::from_secs(500);
/// When the keys that were held at the start are past their time.
const PAST: Duration = Duration::from_secs(600);

/// Between two looks at the metrics, of paused time.
const LOOK: Duration = Duration::from_millis(100);

/// What a row comes to.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    /// The answer to a good token of the key that is held.
    known: String,
    /// The answer to a token of a key that nobody knows.
    unknown: String,
    /// Fetches that reached the server.
    fetches: u64,
    /// Refreshes by result: `ok`, `unchanged`, `error`.
    refreshes: [u64; 3],
    /// The keys in use.
    keys: u64,
    /// Whether the keys are stale: after these fetches, and ten minutes after the good one.
    stale: (bool, bool),
    /// Seconds to the next fetch: as it was, or the bounds of what is right.
    next: RangeInclusive<u64>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { known, unknown, fetches, refreshes: [ok, unchanged, error], keys, .. } = self;
        let stale = |it| if it { "yes" } else { "no" };
        let (now, later) = (stale(self.stale.0), stale(self.stale.1));
        let (low, high) = (self.next.start(), self.next.end());
        write!(
            out,
            "{known:27} | {unknown:20} | {fetches} | {ok}/{unchanged}/{error} | {keys} | {now:>3}→{later:3} | {low}–{high} s"
        )
    }
}

#[tokio::test(flavor = "local")]
async fn whatever_a_key_server_does_wrong_the_keys_that_are_held_serve() {
    let scene = Scene::set().await;
    let good = published_by(&scene.issuer).await;
    let mut out = std::io::stdout(); // past the capture of the test harness
    let _ = writeln!(
        out,
        "key faults: known key | unknown key | fetches | ok/unchanged/error | keys | stale→after 10 min | next fetch"
    );
    time::pause();
    let mut faults = Vec::new();
    for row in rows::rows(&good) {
        let (name, want) = (format!("{} {}", row.id, row.what), row.want.clone());
        let got = scene.play(row).await;
        let _ = writeln!(out, "  {name:52} | {want}");
        if !agree(&got, &want) {
            faults.push(format!("{name}\n  want {want}\n   got {got}"));
        }
    }
    for (id, tests, what) in ELSEWHERE {
        let _ = writeln!(out, "  {id} {what}: {}", tests.join(", "));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn what_is_proven_elsewhere_is() {
    let files = [
        include_str!("key_faults.rs"),
        include_str!("issuers.rs"),
        include_str!("key_sources.rs"),
        include_str!("keys.rs"),
        include_str!("../../src/core/jwk_tests.rs"),
        include_str!("../../src/core/jws_tests.rs"),
        include_str!("../../src/http_client/tests.rs"),
        include_str!("../../src/http_client/url.rs"),
        include_str!("../../src/keys/schedule.rs"),
    ];
    for test in ELSEWHERE.iter().flat_map(|(_, tests, _)| *tests) {
        let named = format!("fn {test}(");
        assert!(files.iter().any(|file| file.contains(&named)), "there is no test {test}");
    }
}

/// Plays each row of this id, and returns how many there are.
pub(crate) async fn play(id: &str) -> usize {
    let scene = Scene::set().await;
    let rows = rows::rows(&published_by(&scene.issuer).await);
    let rows: Vec<_> = rows.into_iter().filter(|row| row.id == id).collect();
    time::pause();
    let count = rows.len();
    for row in rows {
        let (what, want) = (row.what, row.want.clone());
        let got = scene.play(row).await;
        assert!(agree(&got, &want), "{id} {what}\n  want {want}\n   got {got}");
    }
    count
}

fn agree(got: &Outcome, want: &Outcome) -> bool {
    let in_bounds = want.next.contains(got.next.start());
    in_bounds && Outcome { next: want.next.clone(), ..got.clone() } == *want
}

fn shown(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.reason()).trim_end().to_owned()
}

impl Scene {
    async fn play(&self, row: Row) -> Outcome {
        self.clock.set(NOW);
        let server = KeyServer::start(row.before).await;
        let mut settings = self.settings();
        settings.issuers[0].keys.source = server.source();
        settings.issuers[0].keys.algorithms = Algorithms::ALL;
        let proxy = Proxy::start_with(settings, self.clock.clone()).await;
        let counted = self.counts(&proxy).await;
        let fetched = server.fetches();

        let server = match row.then {
            Then::Reply(reply) => {
                server.reply(reply);
                Some(server)
            }
            Then::Refuse => {
                drop(server);
                None
            }
        };
        self.clock.set(NOW.plus(DUE));
        time::advance(DUE).await;
        let refreshed = async || self.counts(&proxy).await != counted;
        until_every(LOOK, "the keys are refreshed", refreshed).await;

        let known = shown(&proxy.get("/", &self.issuer.token()).await);
        let unknown = match row.unknown {
            UnknownToken::Named => naming(&self.issuer.token(), "bad"),
            UnknownToken::Nameless => self.issuer.mint(json!({"$header": {"kid": null}})),
        };
        let unknown = shown(&proxy.get("/", &unknown).await);
        let fetches = server.as_ref().map_or(0, |it| it.fetches() - fetched);
        let now = self.counts(&proxy).await;
        let status = proxy.admin("/status").await.json();
        let next = status["issuers"][0]["next_refresh_seconds"].as_u64().unwrap();
        let stale = self.gauge(&proxy, "stale").await == 1;
        let keys = self.gauge(&proxy, "keys").await;
        self.clock.set(NOW.plus(PAST));
        let stale = (stale, self.gauge(&proxy, "stale").await == 1);
        let refreshes = [0, 1, 2].map(|result: usize| now[result] - counted[result]);
        Outcome { known, unknown, fetches, refreshes, keys, stale, next: next..=next }
    }

    /// The refreshes so far, by result.
    pub(crate) async fn counts(&self, proxy: &Proxy) -> [u64; 3] {
        let issuer = self.issuer.origin();
        let mut counts = [0; 3];
        for (count, result) in counts.iter_mut().zip(["ok", "unchanged", "error"]) {
            let line = format!(
                r#"countersign_jwks_refreshes_total{{issuer="{issuer}",result="{result}"}}"#
            );
            *count = proxy.metric(&line).await as u64;
        }
        counts
    }

    /// The value of one of the gauges of the issuer's keys.
    pub(crate) async fn gauge(&self, proxy: &Proxy, name: &str) -> u64 {
        let issuer = self.issuer.origin();
        proxy.metric(&format!(r#"countersign_jwks_{name}{{issuer="{issuer}"}}"#)).await as u64
    }
}

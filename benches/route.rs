//! What it costs to know what a request is for, and to take off what a client could forge: the pure
//! functions before and after a caller is known, each on its own.
//!
//! ```text
//! cargo bench --bench route               # all of it
//! cargo bench --bench route -- decision   # what has this in its name
//! ```
//!
//! On one thread, and without sockets. Machines are noisy: read the median, and compare rows of one
//! run.

#[path = "support/request.rs"]
mod request;

use std::time::Duration;

use countersign::core::access::Access;
use countersign::core::header::{Credentials, FOREIGN_IDENTITY, StripPolicy};
use countersign::core::header_name::NamePattern;
use countersign::core::origin::Scheme;
use countersign::core::path::{Authority, CanonicalPath, PathPolicy};
use countersign::core::route::{Case, PathPattern, Route, Routes};
use countersign::core::target::Target;
use divan::{Bencher, Divan, black_box};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

/// The program's own.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    // Of what takes nanoseconds, too, there are then enough samples for a median.
    Divan::default().min_time(Duration::from_millis(200)).config_with_args().main();
}

/// What does one rule more cost a request? The last of them is the one that stands for it, so that
/// it is held against all.
#[divan::bench(args = [1, 20, 200])]
fn decision(bencher: Bencher<'_, '_>, rules: usize) {
    let routes = Routes::new((0..rules).map(rule).collect(), Case::Sensitive);
    let host = Authority::parse("app.example.com").expect("it is a host");
    let path = format!("/api/v1/things-{}/42/parts", rules - 1);
    let path = CanonicalPath::parse(&path, PathPolicy::default()).expect("it is a path");
    let find = || routes.find(black_box(&Method::GET), &host, black_box(&path));
    assert_eq!(find().place, Some(rules - 1));
    bencher.bench(find);
}

/// What does a path cost that is written as it is compared, and what one that is not, with escapes
/// that go and escapes that stay?
#[divan::bench(args = ["/api/v1/things-19/42/parts", "/api/v1/%7Ethings/n%c3%a4he%20dran/[42]"])]
fn path(bencher: Bencher<'_, '_>, path: &str) {
    let parse = || CanonicalPath::parse(black_box(path), PathPolicy::default());
    assert!(parse().is_ok());
    bencher.bench(parse);
}

/// What does it cost to read method, host, path and query of a request together?
#[divan::bench]
fn target(bencher: Bencher<'_, '_>) {
    let headers = headers();
    let uri = Uri::from_static("/api/v1/things-19/42/parts?page=2&sort=name");
    let read = || {
        let (method, headers) = (black_box(&Method::GET), black_box(&headers));
        Target::read(method, &uri, headers, Scheme::Http, PathPolicy::default())
    };
    assert!(read().is_ok());
    bencher.bench(read);
}

/// What does it cost to look at twelve headers, of which those go that are for this connection or
/// say where the client is?
#[divan::bench]
fn strip_of_twelve(bencher: Bencher<'_, '_>) {
    let (policy, headers) = (strip_policy(), headers());
    bencher.with_inputs(|| headers.clone()).bench_values(|headers| policy.strip(headers));
}

/// What does it cost where a client says who it is, in our words, in another spelling of them, and
/// in those of another product?
#[divan::bench]
fn strip_of_twelve_and_three_forged(bencher: Bencher<'_, '_>) {
    let policy = strip_policy();
    let mut headers = headers();
    for name in ["x-clerk-user-id", "x_clerk_org_role", "x-auth-request-user"] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("user_1"));
    }
    bencher.with_inputs(|| headers.clone()).bench_values(|headers| policy.strip(headers));
}

/// A rule as applications have them: a thing of many, whatever is below it, and one method of two.
fn rule(number: usize) -> Route {
    let path = format!("/api/v1/things-{number}/*/parts/**");
    Route {
        path: PathPattern::parse(&path).expect("it is a pattern"),
        name: path,
        host: None,
        methods: Some(vec![Method::GET, Method::POST]),
        rule: Access::SIGNED_IN.into(),
    }
}

/// Twelve headers, with a token as long as Clerk's.
fn headers() -> HeaderMap {
    request::headers(AUTHORIZATION, &format!("Bearer {}", "x".repeat(1000)))
}

/// What is taken off unless somebody says otherwise.
fn strip_policy() -> StripPolicy {
    let foreign = FOREIGN_IDENTITY.iter().map(|name| NamePattern::parse(name));
    StripPolicy {
        prefix: "x-clerk-".to_owned(),
        ours: Vec::new(),
        foreign: foreign.map(|it| it.expect("it is a pattern")).collect(),
        credentials: Credentials::Forward,
    }
}

//! Nobody gets by a rule by writing a path in another way.

use proptest::prelude::*;

use super::*;
use crate::core::access::Demands;
use crate::core::clerk::has::{Asked, Entitlement, Privilege};
use crate::core::path::PathPolicy;

fn role() -> Access {
    let role = Asked::Role(Privilege::parse("org:admin").unwrap());
    Access::Required(Demands::new(vec![Demand::Has(role)]))
}

fn plan() -> Access {
    let plan = Asked::Plan(Entitlement::parse("pro").unwrap());
    Access::Required(Demands::new(vec![Demand::Has(plan)]))
}

/// Rules of every kind, and exceptions within the ones that ask most.
fn routes(case: Case) -> Routes {
    let route = |path: &str, methods: Option<Vec<Method>>, access: Access| Route {
        name: path.into(),
        host: None,
        path: PathPattern::parse(path).unwrap(),
        methods,
        rule: access.into(),
    };
    let rows = vec![
        route("/public/**", None, Access::Public),
        route("/admin/help", Some(vec![Method::GET]), Access::Public),
        route("/admin/**", None, role()),
        route("/users/*/avatar", None, Access::Public),
        route("/users/**", None, plan()),
        route("/feed", None, Access::Optional),
    ];
    Routes::new(rows, case)
}

/// What those rules say of a path that a backend has read, in other words than theirs.
fn meant(method: &Method, path: &[&str]) -> Access {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match path {
        ["public", ..] => Access::Public,
        ["admin", "help"] if reads => Access::Public,
        ["admin", ..] => role(),
        ["users", _, "avatar"] => Access::Public,
        ["users", ..] => plan(),
        ["feed"] => Access::Optional,
        _ => Access::SIGNED_IN,
    }
}

/// Reads a path as the most obliging of backends: decodes it as often as it can, takes a backslash
/// for a slash and several slashes for one, cuts parameters off, and climbs.
fn read(path: &str) -> Vec<String> {
    let (mut text, mut before) = (path.to_owned(), String::new());
    while text != before {
        before = text;
        text = decoded(&before);
    }
    let mut segments: Vec<String> = Vec::new();
    for segment in text.split(['/', '\\']) {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment.to_owned()),
        }
    }
    segments
}

fn decoded(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(octet) => (out.push(octet), at += 3).1,
            None => (out.push(bytes[at]), at += 1).1,
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A path that our rules know or nearly know, spelled in some way or other.
fn spelling() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        3 => Just("admin"), 2 => Just("public"), 2 => Just("users"), 1 => Just("avatar"),
        1 => Just("help"), 1 => Just("feed"), 1 => Just("7"), 1 => Just(".."), 1 => Just("adminx"),
    ];
    let spelled = (word, prop::collection::vec(0..24_u8, 8)).prop_map(|(word, ways)| {
        word.bytes().zip(ways).map(|(byte, way)| letter(byte, way)).collect::<String>()
    });
    let between = prop_oneof![
        24 => Just("/"), 1 => Just("//"), 1 => Just("/./"), 1 => Just("/x/../"), 1 => Just("\\"),
        1 => Just("%2f"), 1 => Just("%5C"), 1 => Just(";a/"), 1 => Just("%252F"), 1 => Just("/;/"),
        1 => Just("/%2e%2e/"), 1 => Just("/.%2E/"), 1 => Just("%00/"), 1 => Just("%ef%bc%8f"),
    ];
    let end = prop_oneof![8 => Just(""), 2 => Just("/"), 1 => Just("//"), 1 => Just("%20"), 1 => Just(";")];
    let rest = prop::collection::vec((between, spelled.clone()), 0..4);
    (spelled, rest, end).prop_map(|(first, rest, end)| {
        let rest: String =
            rest.into_iter().map(|(between, word)| between.to_owned() + &word).collect();
        format!("/{first}{rest}{end}")
    })
}

fn letter(byte: u8, way: u8) -> String {
    match way {
        0 => format!("%{byte:02x}"),
        1 => format!("%{byte:02X}"),
        2 => format!("%25{byte:02x}"),
        3 => char::from(byte).to_ascii_uppercase().to_string(),
        _ => char::from(byte).to_string(),
    }
}

fn method() -> impl Strategy<Value = Method> {
    let all = [Method::GET, Method::HEAD, Method::POST, Method::from_bytes(b"get").unwrap()];
    prop::sample::select(all.to_vec())
}

fn any_policy() -> impl Strategy<Value = PathPolicy> {
    any::<[bool; 7]>().prop_map(
        |[
            encoded_slash,
            encoded_backslash,
            encoded_dot,
            encoded_percent,
            double_slash,
            semicolon,
            backslash,
        ]| {
            PathPolicy {
                encoded_slash,
                encoded_backslash,
                encoded_dot,
                encoded_percent,
                double_slash,
                semicolon,
                backslash,
            }
        },
    )
}

fn pattern() -> impl Strategy<Value = PathPattern> {
    let segment = prop::sample::select(vec!["a", "b", "A", "*"]);
    let end = prop::sample::select(vec!["", "/", "/**"]);
    (prop::collection::vec(segment, 1..4), end).prop_map(|(segments, end)| {
        PathPattern::parse(&format!("/{}{end}", segments.join("/"))).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_spelling_of_a_path_gets_by_a_rule(raw in spelling(), method in method()) {
        let Ok(path) = CanonicalPath::parse(&raw, PathPolicy::default()) else { return Ok(()) };
        let host = Authority::parse("a.test").unwrap();
        for (case, routes) in [Case::Sensitive, Case::Insensitive].map(|case| (case, routes(case))) {
            let found = routes.find(&method, &host, &path);
            // What the client wrote and what the backend is sent are read as the same path.
            for text in [raw.as_str(), path.as_str()] {
                let mut segments = read(text);
                if case == Case::Insensitive {
                    segments.iter_mut().for_each(|segment| segment.make_ascii_lowercase());
                }
                let segments: Vec<_> = segments.iter().map(String::as_str).collect();
                prop_assert_eq!(&found.rule.access, &meant(&method, &segments), "{} {:?}", text, case);
            }
        }
    }

    #[test]
    fn what_is_matched_is_what_is_sent(raw in spelling(), policy in any_policy(), method in method()) {
        let Ok(path) = CanonicalPath::parse(&raw, policy) else { return Ok(()) };
        let (host, routes) = (Authority::parse("a.test").unwrap(), routes(Case::Sensitive));
        let sent = CanonicalPath::parse(path.as_str(), policy);
        prop_assert_eq!(sent.as_ref(), Ok(&path));
        prop_assert_eq!(
            routes.find(&method, &host, &sent.unwrap()),
            routes.find(&method, &host, &path)
        );
    }

    #[test]
    fn two_patterns_that_do_not_cross_share_no_path(
        one in pattern(),
        other in pattern(),
        path in "(/[abA]){1,4}/?",
    ) {
        for case in [Case::Sensitive, Case::Insensitive] {
            prop_assert_eq!(one.crosses(&other, case), other.crosses(&one, case));
            if one.matches(&path, case) && other.matches(&path, case) {
                prop_assert!(one.crosses(&other, case));
            }
        }
    }
}

#[test]
fn spellings_are_both_let_through_and_refused() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut good, mut guarded) = (0, 0);
    for _ in 0..1000 {
        let raw = spelling().new_tree(&mut runner).unwrap().current();
        let Ok(path) = CanonicalPath::parse(&raw, PathPolicy::default()) else { continue };
        let host = Authority::parse("a.test").unwrap();
        let routes = routes(Case::Sensitive);
        let found = routes.find(&Method::GET, &host, &path);
        good += 1;
        guarded += usize::from([role(), plan()].contains(&found.rule.access));
    }
    assert!((200..800).contains(&good) && guarded > 50, "{good} of 1000, {guarded} guarded");
}

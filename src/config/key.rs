//! The settings there are: one row a key.
//!
//! Everything that has to know the keys reads this table: the walk through the file, the names of
//! the variables, the hints for a key that is none, and what `check` prints.

use Kind::{Bool, Int, List, Map, OneOrMany, Size, Span, Text, Values};

/// A setting: its dotted name, and the ways to write it.
#[derive(Debug)]
pub(super) struct Key {
    /// As in `clerk.leeway`.
    pub(super) name: &'static str,
    /// What its value is.
    pub(super) kind: Kind,
    /// Where it may be written.
    pub(super) home: Home,
    /// Names of variables beside [`Key::variables`]' first. The first that is set counts.
    short: &'static [&'static str],
    /// The flag, with its dashes.
    pub(super) flag: Option<&'static str>,
    /// What stands where nothing is written, as it would be written.
    pub(super) default: Option<&'static str>,
    /// Who may see the value.
    pub(super) shown: Shown,
}

/// What a value is, as far as its form goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A text.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// A duration.
    Span,
    /// A number of bytes.
    Size,
    /// Texts; in a variable parted by commas.
    List,
    /// The same, or one text.
    OneOrMany,
    /// A table of texts; each is `NAME=TEXT` outside of the file.
    Map,
    /// A table of texts, whole numbers, `true` and `false`, or lists of such; read as `NAME=JSON`.
    Values,
}

/// Where a key may be written.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Home {
    /// File, environment and, where it has one, flag.
    Everywhere,
    /// Everywhere but in the file.
    Outside,
    /// In a `[[route]]` of the file.
    Route,
    /// In an `[[issuer]]` of the file.
    Issuer,
}

impl Home {
    /// The tables there may be several of.
    pub(super) const ELEMENTS: [Self; 2] = [Self::Issuer, Self::Route];

    /// Returns what such a table is called; nothing where keys stand in no table of several.
    pub(super) fn element(self) -> Option<&'static str> {
        match self {
            Self::Route => Some("route"),
            Self::Issuer => Some("issuer"),
            Self::Everywhere | Self::Outside => None,
        }
    }
}

/// Who may see a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shown {
    /// Everybody.
    Plain,
    /// An address: everybody, but for a password or a query in it.
    Address,
    /// The name of a file with a secret: everybody, once the file was read. Until then it may be
    /// the secret itself, which somebody put where its file belongs.
    SecretFile,
    /// Nobody; how long it is.
    Length,
}

impl Key {
    const fn env(mut self, short: &'static [&'static str]) -> Self {
        self.short = short;
        self
    }

    const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }

    const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }

    const fn shown(mut self, shown: Shown) -> Self {
        self.shown = shown;
        self
    }

    const fn outside(mut self) -> Self {
        self.home = Home::Outside;
        self
    }

    const fn of_route(mut self) -> Self {
        self.home = Home::Route;
        self
    }

    const fn of_issuer(mut self) -> Self {
        self.home = Home::Issuer;
        self
    }

    /// Returns the names of the variables it may be in, the one that wins first.
    pub(super) fn variables(&self) -> impl Iterator<Item = String> {
        let own = self.home.element().is_none() && self.kind != Map;
        let long =
            own.then(|| format!("COUNTERSIGN_{}", self.name.replace('.', "_").to_uppercase()));
        long.into_iter().chain(self.short.iter().map(|name| (*name).to_owned()))
    }

    /// Tells whether it may be written in the file, outside of a route.
    pub(super) fn is_in_file(&self) -> bool {
        self.home == Home::Everywhere
    }
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        kind,
        home: Home::Everywhere,
        short: &[],
        flag: None,
        default: None,
        shown: Shown::Plain,
    }
}

const PUBLISHABLE_KEY: &[&str] = &[
    "CLERK_PUBLISHABLE_KEY",
    "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY",
    "VITE_CLERK_PUBLISHABLE_KEY",
    "EXPO_PUBLIC_CLERK_PUBLISHABLE_KEY",
    "GATSBY_CLERK_PUBLISHABLE_KEY",
];

/// Every key, in the order in which `check` prints them.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key("listen", OneOrMany).default("127.0.0.1:4600").flag("--listen").env(&["PORT"]),
    key("listen_mode", Text).default("0660"),
    key("http2", Bool).default("true"),
    key("upstream.url", Text).flag("--upstream").env(&["COUNTERSIGN_UPSTREAM"]).shown(Shown::Address),
    key("upstream.ca_file", Text),
    key("upstream.server_name", Text),
    key("upstream.certificate_file", Text),
    key("upstream.key_file", Text).shown(Shown::SecretFile),
    key("tls.certificate_file", Text),
    key("tls.key_file", Text).shown(Shown::SecretFile),
    key("tls.client_ca_file", Text),
    key("admin.listen", Text).default("127.0.0.1:4601").flag("--admin-listen"),
    key("admin.status", Text).default("loopback"),

    key("mode", Text).default("enforce").flag("--mode"),

    key("clerk.publishable_key", Text).flag("--publishable-key").env(PUBLISHABLE_KEY),
    key("clerk.secret_key", Text).outside().env(&["CLERK_SECRET_KEY"]).shown(Shown::Length),
    key("clerk.secret_key_file", Text).env(&["CLERK_SECRET_KEY_FILE"]).shown(Shown::SecretFile),
    key("clerk.api_url", Text).default("https://api.clerk.com").env(&["CLERK_API_URL"]).shown(Shown::Address),
    key("clerk.issuer", List),
    key("clerk.jwks_url", Text).flag("--jwks-url").shown(Shown::Address),
    key("clerk.jwks_file", Text).flag("--jwks-file"),
    key("clerk.jwt_key", Text).env(&["CLERK_JWT_KEY"]).shown(Shown::Length),
    key("clerk.frontend_api_url", Text).env(&["CLERK_FAPI_URL"]).shown(Shown::Address),
    key("clerk.authorized_parties", List).flag("--authorized-party").env(&["COUNTERSIGN_AUTHORIZED_PARTIES"]),
    key("clerk.azp", Text).default("auto"),
    key("clerk.accept", List).default("session_token"),
    key("clerk.audience", List).flag("--audience").env(&["COUNTERSIGN_AUDIENCE"]),
    key("clerk.jwt_template.audience", List),
    key("clerk.leeway", Span).default("5s"),
    key("clerk.max_lifetime", Span).default("1d"),
    key("clerk.max_stale", Span).default("24h"),
    key("clerk.impersonation", Text).default("allow"),
    key("clerk.revoked_file", Text),
    key("clerk.sign_in_url", Text).env(&["CLERK_SIGN_IN_URL"]).shown(Shown::Address),
    key("clerk.proxy_url", Text).env(&["CLERK_PROXY_URL"]).shown(Shown::Address),
    key("clerk.is_satellite", Bool).outside().env(&["CLERK_IS_SATELLITE"]),
    key("clerk.satellite.domain", Text).env(&["CLERK_DOMAIN"]),
    key("clerk.satellite.auto_sync", Bool).default("false"),
    key("clerk.organization_sync.organization_patterns", List),
    key("clerk.organization_sync.personal_account_patterns", List),

    key("issuer.url", Text).of_issuer().shown(Shown::Address),
    key("issuer.jwks_url", Text).of_issuer().shown(Shown::Address),
    key("issuer.jwks_file", Text).of_issuer(),
    key("issuer.audience", OneOrMany).of_issuer(),
    key("issuer.algorithms", List).of_issuer(),

    key("public", List).outside().flag("--public"),
    key("route.name", Text).of_route(),
    key("route.host", Text).of_route(),
    key("route.path", Text).of_route(),
    key("route.methods", List).of_route(),
    key("route.access", Text).of_route().default("required"),
    key("route.role", Text).of_route(),
    key("route.permission", Text).of_route(),
    key("route.feature", Text).of_route(),
    key("route.plan", Text).of_route(),
    key("route.reverification", Text).of_route(),
    key("route.reverification.level", Text).of_route(),
    key("route.reverification.after_minutes", Int).of_route(),
    key("route.claims", Values).of_route(),
    key("route.session", Text).of_route(),
    key("route.unauthenticated", Text).of_route().default("auto"),
    key("route.forbidden", Text).of_route().default("forbidden"),
    key("route.mode", Text).of_route(),
    key("cors.preflight", Text).default("forward"),
    key("paths.allow", List),
    key("paths.case_insensitive", Bool).default("false"),
    key("cross_site", Text).default("refuse"),
    key("stream_lifetime", Text).default("1h"),
    key("websocket_protocol_token", Bool).default("false"),

    key("identity.prefix", Text).default("x-clerk-"),
    key("identity.headers", List).default("principal,token-type,user-id,session-id,org-id,org-slug,org-role,org-permissions,actor-id"),
    key("identity.profile", Bool).default("false"),
    key("identity.claims", Map).flag("--claim").env(&["COUNTERSIGN_CLAIMS"]),
    key("identity.strip", List),
    key("identity.strip_credentials", Bool).default("false"),

    key("signing.mode", List).default("http-signature"),
    key("signing.cover", List),
    key("signing.audience", Text),
    key("signing.secret", Text).outside().shown(Shown::Length),
    key("signing.secret_file", Text).shown(Shown::SecretFile),
    key("signing.keys_dir", Text).shown(Shown::SecretFile),
    key("signing.active", Text),
    key("signing.key_id", Text),

    key("public_url", Text).shown(Shown::Address),
    key("trusted_proxies", List),
    key("workers", Int).flag("--workers"),
    key("timeouts.head", Span).default("10s"),
    key("timeouts.handshake", Span).default("10s"),
    key("timeouts.idle", Span).default("75s"),
    key("timeouts.connect", Span).default("2s"),
    key("timeouts.response", Span).default("60s"),
    key("timeouts.body", Span).default("5m"),
    key("timeouts.upstream_idle", Span).default("4s"),
    key("limits.connections", Int),
    key("limits.in_flight", Int),
    key("limits.head", Size).default("32KiB"),
    key("limits.headers", Int).default("100"),
    key("limits.token", Size).default("16KiB"),
    key("limits.body", Size),
    key("keys.ca_file", Text).env(&["SSL_CERT_FILE"]),
    key("https_proxy", Text).outside().env(&["HTTPS_PROXY", "https_proxy"]).shown(Shown::Address),
    key("no_proxy", Text).outside().env(&["NO_PROXY", "no_proxy"]),
    key("readiness", Text).default("keys"),
    key("drain.delay", Span).default("0s"),
    key("drain.grace", Span).default("25s"),
    key("log.level", Text).default("info").flag("--log-level").env(&["COUNTERSIGN_LOG"]),
    key("log.format", Text),
    key("log.access", Bool).default("true"),
    key("log.reveal_reason", Bool).default("true"),
    key("log.caller", Text).default("plain"),
];

/// Names that are no keys of the file, and what whoever wrote one is looking for.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "signing.secret",
        "a secret does not stand in this file; name its own file in `signing.secret_file`, or set COUNTERSIGN_SIGNING_SECRET",
    ),
    (
        "clerk.secret_key",
        "a secret does not stand in this file; name its own file in `clerk.secret_key_file`, or set CLERK_SECRET_KEY",
    ),
    ("clerk.is_satellite", "`clerk.satellite.domain` alone says it in this file"),
    ("public", "write a [[route]] with `access = \"public\"`"),
    ("routes", "each route is a table of its own, [[route]]"),
    ("issuers", "each issuer beside Clerk is a table of its own, [[issuer]]"),
    ("https_proxy", "set HTTPS_PROXY in the environment"),
    ("no_proxy", "set NO_PROXY in the environment"),
];

/// Finds a key by its name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Tells whether `name` is a table of the file: the beginning of keys.
pub(super) fn is_table(name: &str) -> bool {
    let above = |key: &str| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    KEYS.iter().any(|key| key.is_in_file() && above(key.name))
}

/// Tells whether `name` is a table within one of several: the beginning of keys of such.
pub(super) fn is_table_in(home: Home, name: &str) -> bool {
    let above = |key: &Key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    KEYS.iter().any(|key| key.home == home && above(key))
}

/// Says what is wrong with a name that is no key, and which key may be meant.
pub(super) fn unknown(name: &str) -> String {
    if let Some((_, hint)) = ELSEWHERE.iter().find(|(key, _)| *key == name) {
        return format!("unknown key; {hint}");
    }
    let element = Home::ELEMENTS.into_iter().find_map(|home| {
        let table = home.element()?;
        let key = name.strip_prefix(table)?.strip_prefix('.')?;
        Some((home, table, key))
    });
    // In TOML a line belongs to the table above it, also where it was meant for no table.
    if let Some((_, table, key)) = element
        && let Some(key) = find(key).filter(|key| key.is_in_file())
    {
        return format!(
            "unknown key; if `{}` is meant, it stands before every [[{table}]]",
            key.name
        );
    }
    let home = element.map_or(Home::Everywhere, |(home, ..)| home);
    let keys = KEYS.iter().filter(|key| key.home == home).map(|key| key.name);
    match nearest(name, &keys.collect::<Vec<_>>()) {
        Some(key) => {
            let key = element
                .and_then(|(_, table, _)| key.strip_prefix(table)?.strip_prefix('.'))
                .unwrap_or(key);
            format!("unknown key; did you mean `{key}`?")
        }
        None => "unknown key".to_owned(),
    }
}

/// Says what is wrong with a variable of ours that is none, and which one may be meant.
pub(super) fn unknown_variable(name: &str) -> String {
    let names: Vec<_> = KEYS.iter().flat_map(Key::variables).collect();
    match nearest(name, &names.iter().map(String::as_str).collect::<Vec<_>>()) {
        Some(near) => format!("unknown variable, ignored; did you mean {near}?"),
        None => "unknown variable, ignored".to_owned(),
    }
}

/// Finds the name that was most likely meant: the same but for a slip or two, or in another table.
fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().replace('-', "_");
    let within_reach = |of: &dyn Fn(&str) -> String| {
        let name = of(name);
        let slips = names.iter().map(|other| (distance(&name, &of(other)), *other));
        slips.min().filter(|(slips, _)| *slips <= name.len() / 4)
    };
    within_reach(&|name| name.to_owned()).or_else(|| within_reach(&last)).map(|(_, other)| other)
}

/// Counts the letters to put in, take out or change that lead from `a` to `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_share_a_name_a_flag_or_a_variable() {
        let names = KEYS.iter().map(|key| key.name.to_owned());
        let flags = KEYS.iter().filter_map(|key| key.flag).map(str::to_owned);
        let mut all: Vec<String> =
            names.chain(flags).chain(KEYS.iter().flat_map(Key::variables)).collect();
        // Two keys are outside of the file and keep the spelling their variables have everywhere.
        all.retain(|name| !matches!(name.as_str(), "https_proxy" | "no_proxy"));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn the_readme_tells_of_every_key_and_every_default() {
        let readme = include_str!("../../README.md");
        for key in KEYS.iter().filter(|key| key.home == Home::Everywhere) {
            let row = readme
                .lines()
                .find(|line| line.starts_with('|') && line.contains(&format!("`{}`", key.name)));
            let row = row.unwrap_or_else(|| panic!("{} has no row", key.name));
            let told = key.kind == List || key.default.is_none_or(|text| row.contains(text));
            assert!(told, "{}: {row}", key.name);
        }
        for key in KEYS.iter().filter(|key| key.home == Home::Route) {
            let name = key.name.rsplit('.').next().unwrap();
            let told = [format!("`{name}`"), format!("{name} =")];
            assert!(told.iter().any(|told| readme.contains(told)), "{}", key.name);
        }
    }

    #[test]
    fn a_name_that_is_no_key_is_told_the_nearest() {
        for (name, want) in [
            ("clerk.leway", "unknown key; did you mean `clerk.leeway`?"),
            ("leeway", "unknown key; did you mean `clerk.leeway`?"),
            ("authorized-parties", "unknown key; did you mean `clerk.authorized_parties`?"),
            ("clerk.authorised_parties", "unknown key; did you mean `clerk.authorized_parties`?"),
            ("route.method", "unknown key; did you mean `methods`?"),
            (
                "route.workers",
                "unknown key; if `workers` is meant, it stands before every [[route]]",
            ),
            ("clerk.workers", "unknown key; did you mean `workers`?"),
            ("methods", "unknown key"),
            ("limits.header", "unknown key; did you mean `limits.headers`?"),
            ("frobnicate", "unknown key"),
            ("", "unknown key"),
            ("http", "unknown key; did you mean `http2`?"),
            ("route.reverification.levl", "unknown key; did you mean `reverification.level`?"),
            ("stream_lifetim", "unknown key; did you mean `stream_lifetime`?"),
            ("tls.certificate_fil", "unknown key; did you mean `tls.certificate_file`?"),
            ("tlsx", "unknown key"),
            ("https_proxy", "unknown key; set HTTPS_PROXY in the environment"),
        ] {
            assert_eq!(unknown(name), want, "{name}");
        }
        assert!(unknown("signing.secret").contains("`signing.secret_file`"));
        assert!(unknown("clerk.secret_key").contains("`clerk.secret_key_file`"));
        assert!(unknown("clerk.is_satellite").contains("`clerk.satellite.domain`"));
    }

    #[test]
    fn a_variable_that_is_none_is_told_the_nearest() {
        for (name, want) in [
            (
                "COUNTERSIGN_CLERK_LEWAY",
                "unknown variable, ignored; did you mean COUNTERSIGN_CLERK_LEEWAY?",
            ),
            ("COUNTERSIGN_FROBNICATION", "unknown variable, ignored"),
        ] {
            assert_eq!(unknown_variable(name), want, "{name}");
        }
    }

    #[test]
    fn a_key_has_the_variable_that_its_name_gives() {
        let of = |name: &str| find(name).unwrap().variables().collect::<Vec<_>>();
        assert_eq!(of("clerk.leeway"), ["COUNTERSIGN_CLERK_LEEWAY"]);
        assert_eq!(of("listen"), ["COUNTERSIGN_LISTEN", "PORT"]);
        assert_eq!(of("signing.secret"), ["COUNTERSIGN_SIGNING_SECRET"]);
        assert_eq!(of("identity.claims"), ["COUNTERSIGN_CLAIMS"]);
        assert_eq!(of("route.path"), Vec::<String>::new());
    }
}

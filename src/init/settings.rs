//! The settings file as it is written: what was found, and the common settings as remarks.
//!
//! `#` right before a name is a setting to take the `#` from; prose has a blank after its `#`. A
//! test takes every `#` away at once and has the whole read.

use super::{Draft, key};

/// Writes the file.
pub(super) fn text(draft: &Draft) -> String {
    let [listen, upstream, clerk, routes] =
        [listen(draft), upstream(draft), clerk(draft), routes(draft)];
    [HEAD, &listen, &upstream, ADMIN, &clerk, IDENTITY, SIGNING, LIMITS, LOG, &routes].join("\n")
}

const HEAD: &str = "\
# Settings of Countersign, begun by `countersign init`. A line whose `#` has no blank behind it is a
# setting that is off: take the `#` away. What is not written has its default. Flags and environment
# variables win over this file; `countersign check --config FILE` prints what comes of all three.
# No secret stands in here, so that it can be committed.
";

fn listen(draft: &Draft) -> String {
    let public_url = match draft.public_url() {
        Some(url) => format!("public_url = {}", quoted(url)),
        None => r#"#public_url = "https://app.example.com""#.to_owned(),
    };
    format!(
        r#"# Where clients connect. 127.0.0.1 is this machine alone; in a container "[::]:4600". (The default.)
#listen = "127.0.0.1:4600"

# What browsers call this host. Where pages are sent to sign in, they come back there; and where
# `clerk.authorized_parties` is not set, a token that was given to a page of another origin is
# refused. It goes with `listen`, or PORT: write its port where they say another.
{public_url}

# The proxy or load balancer before this one, whose X-Forwarded-* headers count: CIDRs, or "private".
#trusted_proxies = ["10.0.0.0/8"]

# "report" refuses nobody and counts who would be: a first day in production. ("enforce")
#mode = "report"
"#
    )
}

fn upstream(draft: &Draft) -> String {
    format!(
        r#"[upstream]
# The backend: http://, https://, h2c:// or unix:/path. ({by})
# Let it listen on 127.0.0.1 alone, so that nobody gets around the proxy.
url = {url}
"#,
        by = draft.backend.by(),
        url = quoted(&draft.backend.url),
    )
}

const ADMIN: &str = r#"[admin]
# Health, metrics and status: for you and Prometheus, not for clients. (The default.)
#listen = "127.0.0.1:4601"
"#;

fn clerk(draft: &Draft) -> String {
    let found = &draft.key;
    let origins: Vec<_> = draft.parties().iter().map(|origin| quoted(origin)).collect();
    let parties = if origins.is_empty() {
        r#"#authorized_parties = ["https://app.example.com", "http://localhost:5173"]"#.to_owned()
    } else {
        format!("authorized_parties = [{}]", origins.join(", "))
    };
    format!(
        r#"[clerk]
# Names the Clerk instance: {host}, of {kind}. No secret. ({by})
publishable_key = {key}

# The origins of your pages: a token that was given to another page of the instance is refused.
# Cookies of a production instance are believed only where this or `public_url` is set.
{parties}

# The secret key of the instance, in a file of its own or as CLERK_SECRET_KEY. Tokens are verified
# without it; `session = "active"`, and refreshing pages without a redirect, need it.
#secret_key_file = "clerk-secret.key"

# Tokens of JWT templates too, for this audience alone.
#accept = ["session_token", "jwt_template"]
#jwt_template.audience = ["convex"]

# How far clocks may differ. (The default.)
#leeway = "5s"
"#,
        kind = key::kind(&found.key),
        host = found.key.host(),
        by = found.by,
        key = quoted(found.key.as_str()),
    )
}

const IDENTITY: &str = r#"[identity]
# What else the backend is told of the caller: header = JSON pointer into the claims.
#claims = { "x-clerk-email" = "/email" }

# Takes tokens and Clerk's cookies off before the backend sees a request. (false)
#strip_credentials = true
"#;

const SIGNING: &str = r#"[signing]
# A secret that the backend has too, to verify that headers are ours:
# `countersign keygen --out signing.key`. Without one a key is made at each start (Ed25519).
#secret_file = "signing.key"
"#;

const LIMITS: &str = r#"[timeouts]
# From the end of a request to the first byte of the backend's answer. (The default.)
#response = "60s"

[limits]
# The longest body of a request. (None: as long as the backend takes.)
#body = "10MiB"

[drain]
# After SIGTERM: how long to still accept, how long requests may take to finish. (The defaults.)
#delay = "0s"
#grace = "25s"
"#;

const LOG: &str = r#"[log]
# error, warn, info, debug, trace or off. A request is a line at info, unless `access` is false.
#level = "info"
#access = true
# Users and sessions in the access log: "plain", "hash" or "omit". ("plain")
#caller = "hash"
"#;

fn routes(draft: &Draft) -> String {
    match draft.built_files() {
        Some((framework, path)) => [RULE, &built_files(framework, path), ROUTES].join("\n"),
        None => [RULE, ROUTES].join("\n"),
    }
}

const RULE: &str = "\
# Every path needs a good token but those of routes that say otherwise. The first that matches
# decides: \"/a\" exactly, \"/a/*\" one segment below, \"/a/**\" itself and all below.
";

fn built_files(framework: &str, path: &str) -> String {
    format!(
        r#"# Scripts and styles that {framework} builds: a page for signed-out visitors is made of them.
[[route]]
path = {path}
access = "public"

# So are those that stand in public/, each by its path.
#[[route]]
#path = "/favicon.ico"
#access = "public"

# A page for everybody, which is told who calls where somebody does.
#[[route]]
#path = "/sign-in/**"
#access = "optional"
"#,
        path = quoted(path),
    )
}

const ROUTES: &str = r#"#[[route]]
#path = "/healthz"
#access = "public"

#[[route]]
#path = "/webhooks/**"
#methods = ["POST"]
#access = "public"

#[[route]]
#path = "/admin/**"
#role = "org:admin"
"#;

/// Writes a text as TOML has it in quotes.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if letter.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_quotes_is_read_as_it_was() {
        for text in ["", "a", "\"", "\\", "a\nb\u{7f}\u{0}", "ä€"] {
            let table: toml::Table = format!("a = {}", quoted(text)).parse().unwrap();
            assert_eq!(table["a"].as_str(), Some(text));
        }
    }
}

//! The cases in which our verdict is not Clerk's, and why.

/// What is said of the cases that one test asks.
pub(super) struct Tables {
    pub(super) name: &'static str,
    /// Our word, the cases, and what makes ours the safer verdict, or one that heals.
    pub(super) deviating: &'static [(&'static str, &'static [&'static str], &'static str)],
    /// The cases that ask for what is not decided here, and what that is.
    pub(super) not_applicable: &'static [(&'static [&'static str], &'static str)],
}

/// Of `verify.jsonl` and `auth.jsonl`.
pub(super) static OF_FUNCTIONS: Tables =
    Tables { name: "functions", deviating: DEVIATING, not_applicable: NOT_APPLICABLE };

/// Of `request.jsonl`.
pub(super) static OF_REQUESTS: Tables = Tables {
    name: "requests",
    deviating: DEVIATING_REQUESTS,
    not_applicable: &[(&["O-*"], "machine tokens are not here yet")],
};

const DEVIATING: &[(&str, &[&str], &str)] = &[
    (
        "token-invalid",
        &["h-b64-false"],
        "safer: `crit` names an extension, we understand none, so we refuse (RFC 7515 §4.1.11)",
    ),
    (
        "token-invalid",
        &["h-dup-alg", "e-payload-dupsub", "e-payload-bom"],
        "safer: JSON that two parsers may read in two ways is a way around a rule",
    ),
    (
        "token-invalid",
        &["h-null", "e-payload-null"],
        "heals: Clerk's library throws where a part of the token is `null`; the token is at fault",
    ),
    (
        "token-invalid",
        &["h-array", "h-string", "e-payload-string", "e-payload-num", "o-kid-typ"],
        "safer: refused as well, but for its form and before anybody looks for a key",
    ),
    (
        "token-invalid",
        &[r#"h-cat-"cl_B7d4PD222AAA""#, r#"h-cat-"zzz""#, r#"h-cat-"""#],
        "safer: `verifyToken` alone lets tokens of another class pass; `authenticateRequest` does not, nor do we",
    ),
    (
        "jwk-kid-mismatch",
        &[r#"h-kid-"__proto__""#, r#"h-kid-"constructor""#],
        "heals: to Clerk's library these names are keys, for every JavaScript object has such members",
    ),
    (
        "keys-unavailable",
        &["h-jwk-use-enc", "h-jwk-keyops-sign"],
        "heals: a key not published for verifying is none, and without a key it is we who cannot tell",
    ),
    (
        "keys-unavailable",
        &["j-200-nonjson", "j-empty", "j-nokeys", "j-null"],
        "heals: without a key set nothing is wrong with the token, so the answer is 503 and not 401",
    ),
    ("token-verification-failed", &[r#"c-sub-"""#], "safer: nobody has the empty name"),
    (
        "token-verification-failed",
        &[
            "c-aud-tok-none/opt-a",
            "c-aud-[]/b",
            r#"c-aud-""/b"#,
            "c-aud-5/b",
            "c-aud-{}/b",
            "c-aud-[[b]]/b",
            r#"c-aud-[["b"],"c"]/x"#,
            "c-aud-null/b",
        ],
        "safer: an audience that is configured is required; Clerk's library lets absent and odd ones pass",
    ),
    (
        "token-invalid-authorized-parties",
        &["c-azp-ap-string"],
        "safer: parties are a list here; Clerk's library takes a text for one and finds `azp` inside it",
    ),
    (
        "token-invalid-issuer",
        &["c-iss-miss/none", "c-iss-evil/none", r#"c-iss-a/"""#],
        "safer: the issuer is pinned to the instance; Clerk's library does not look unless told to",
    ),
    (
        "token-lifetime-exceeded",
        &["c-exp-big", "c-exp-maxdate", "c-exp-maxdate1", "c-iat-neg"],
        "safer: a token that lives for years, or that a JavaScript date cannot hold, never ends",
    ),
    (
        "token-not-active-yet",
        &["c-nbf-big"],
        "safer: a date beyond what JavaScript can hold lies in the future all the same",
    ),
    (
        "token-iat-in-the-future",
        &["c-iat-big"],
        "safer: a date beyond what JavaScript can hold lies in the future all the same",
    ),
    (
        "accepted",
        &["p-escaped"],
        "heals: a PEM whose line breaks a shell wrote out as `\\n` is still that PEM",
    ),
    (
        "settings refused",
        &["p-garbage"],
        "heals: a key that is none is a mistake to tell at the start, not to blame on each token",
    ),
    (
        "accepted",
        &["p-nokeys"],
        "safer: keys come from the instance's public key set, so no secret is needed to have them",
    ),
    (
        "accepted",
        &["fea-nocolon"],
        "heals: features in a broken form grant no permission; Clerk's library throws, which is a 500",
    ),
    (
        "accepted",
        &[r#"has-rv-"x""#],
        "safer: an age of factors that is no pair of numbers is none, and not handed on",
    ),
    (
        "publishable-key",
        &["pk-urlsafe"],
        "safer: a key that does not decode to a host names no address to fetch from",
    ),
];

const NOT_APPLICABLE: &[(&[&str], &str)] = &[
    (
        &["j-401", "j-401-other", "j-500", "j-500-nonjson", "j-429", "j-recover"],
        "an answer that is no success is judged where key sets are fetched",
    ),
    (
        &["k-6-removed-still-cached", "k-7-later-299", "k-8-later-300", "k-9-expired-and-down"],
        "the verdict depends on the key sets fetched before, which are held elsewhere",
    ),
    (
        &["c-skew-exp-5/-5000", "c-skew-exp-0/-5000", "c-skew-exp+3/-5000"],
        "a negative leeway cannot be written here: it is a length of time",
    ),
    (&["h-notyp-headerTypeSet"], "there is no option for `typ`: it is `JWT` or absent"),
    (&["wh-*"], "webhooks are not here yet"),
];

const DEVIATING_REQUESTS: &[(&str, &[&str], &str)] = &[
    ("signed-in", &["A-lower"], "heals: the case of `Bearer` is free (RFC 9110 §11.1)"),
    (
        "signed-out session-token-and-uat-missing",
        &["A-bare"],
        "safer: what does not say `Bearer` and a space is the backend's own scheme, and no token to us",
    ),
    (
        "signed-out token-type-mismatch",
        &["A-nosid"],
        "safer: a token without a session is an ID token or one of a template, by the same key",
    ),
    (
        "signed-out token-invalid-issuer",
        &[
            "A-wrong-iss-same-key",
            "B-noiss/older/xhr",
            "B-noiss/older/doc",
            "B-noiss/eq/xhr",
            "B-noiss/eq/doc",
            "B-noiss/neg/xhr",
            "B-noiss/float/xhr",
            "B-noiss/float/doc",
            "F-unsuf-noiss+suf",
            "F-iss-http",
        ],
        "safer: a session token names its issuer, to the letter; Clerk's library does not look",
    ),
    (
        "signed-out token-invalid",
        &["A-header-null", "F-payload-null-cookie", "F-header-null-cookie"],
        "heals: Clerk's library throws where a part of the token is `null`; the token is at fault",
    ),
    (
        "503 keys-unavailable",
        &["A-jwks-down", "A-secret-invalid"],
        "heals: without a key set nothing is wrong with the token, so the answer is 503 and not 401",
    ),
    (
        "signed-out session-pending",
        &["N-pending-keep"],
        "safer: a session with tasks left is not signed in; Clerk's library leaves that to its caller",
    ),
    (
        "signed-in",
        &["N-v2-bad-fea-throws"],
        "heals: features in a broken form grant no permission; Clerk's library throws, which is a 500",
    ),
    (
        "handshake client-uat-but-no-session-token",
        &["E-path"],
        "the same; but what follows `#` stays in the browser, so no request has it, nor the way back",
    ),
    (
        "handshake session-token-missing",
        &["G-dup-first-wins"],
        "safer: two session cookies that differ are two callers, and whose is a guess; a page fetches a new one",
    ),
    (
        "signed-out session-token-and-uat-missing",
        &["H-clerk_redirect_url"],
        "safer: `__clerk_redirect_url` sends a browser with its development session to any address",
    ),
    (
        "signed-out session-token-and-uat-missing",
        &["I-prod-ok-xhr", "I-prod-query"],
        "safer: a handshake's result is taken where a page is asked for, and in production from a cookie alone: who makes a link could put a session of their own into it",
    ),
    (
        "signed-out session-token-missing",
        &["I-prod-prefix-trick"],
        "safer: `__sessionfoo` is no cookie of Clerk's, whoever has it set",
    ),
    (
        "handshake dev-browser-sync",
        &["I-dev-badsig", "I-dev-junk"],
        "heals: Clerk's library throws, and the page is a 500 until somebody clears the address",
    ),
    (
        "no start: clerk.issuer",
        &["A-nopk"],
        "heals: Clerk's library throws at every request over a setting; ours are checked at the start",
    ),
    (
        "no start: clerk.publishable_key",
        &["A-badpk"],
        "heals: Clerk's library throws at every request over a setting; ours are checked at the start",
    ),
    (
        "no start: clerk.sign_in_url",
        &["K-dev-nosigninurl", "K-sameorigin-signin", "K-rel-signin-origin"],
        "heals: Clerk's library throws at every request over a setting; ours are checked at the start",
    ),
];

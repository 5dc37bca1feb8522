//! H11P: which test holds which case of Http11Probe.
//!
//! Its cases are known by their names as of November 2026, 215 of them. A case that is added there is
//! added to [`IDS`], and has no test until one says so.

use std::collections::BTreeSet;

use super::{h11p, h11p_passes};

/// Tests of other rows of the catalogue, and the cases whose kind they hold.
const ELSEWHERE: &[(&str, &[&str])] = &[
    ("h1_04_a_transfer_coding_is_chunked_to_the_letter_or_refused", &["SMUG-TE-NOT-FINAL-CHUNKED"]),
    (
        "h1_06_a_length_is_digits_and_no_more_than_a_length_can_be",
        &[
            "RFC9112-6.1-CL-NON-NUMERIC",
            "RFC9112-6.1-CL-PLUS-SIGN",
            "SMUG-CL-LEADING-ZEROS",
            "SMUG-CL-LEADING-ZEROS-OCTAL",
            "SMUG-CL-DOUBLE-ZERO",
            "SMUG-CL-NEGATIVE",
            "SMUG-CL-TRAILING-SPACE",
            "SMUG-CL-EXTRA-LEADING-SP",
            "SMUG-CL-COMMA-DIFFERENT",
            "SMUG-CL-COMMA-SAME",
            "SMUG-CL-COMMA-TRIPLE",
            "SMUG-CL-HEX-PREFIX",
            "SMUG-CL-INTERNAL-SPACE",
            "MAL-CL-OVERFLOW",
            "MAL-CL-TAB-BEFORE-VALUE",
        ],
    ),
    ("h1_07_two_lengths_that_agree_are_one_and_two_that_differ_are_none", &["SMUG-DUPLICATE-CL"]),
    (
        "h1_08_the_size_of_a_chunk_is_hex_digits_and_no_more_than_a_size_can_be",
        &[
            "SMUG-CHUNK-UNDERSCORE",
            "SMUG-CHUNK-HEX-PREFIX",
            "SMUG-CHUNK-SIZE-PLUS",
            "SMUG-CHUNK-LEADING-SP",
            "SMUG-CHUNK-NEGATIVE",
            "MAL-CHUNK-SIZE-OVERFLOW",
        ],
    ),
    (
        "h1_10_what_follows_a_chunk_is_the_end_of_its_line",
        &["SMUG-CHUNK-MISSING-TRAILING-CRLF", "SMUG-CHUNK-SPILL", "SMUG-CHUNK-LF-TERM"],
    ),
    (
        "h1_12_extensions_of_chunks_are_counted_and_not_passed_on",
        &["COMP-CHUNKED-EXTENSION", "MAL-CHUNK-EXT-64K"],
    ),
    (
        "h1_18_a_length_that_is_written_oddly_is_refused_and_one_of_another_name_does_not_go_on",
        &[
            "SMUG-TRANSFER_ENCODING",
            "NORM-UNDERSCORE-CL",
            "NORM-UNDERSCORE-TE",
            "NORM-SP-BEFORE-COLON-CL",
        ],
    ),
    (
        "h1_19_a_line_ends_in_one_way",
        &[
            "RFC9112-2.2-BARE-LF-REQUEST-LINE",
            "RFC9112-2.2-BARE-LF-HEADER",
            "RFC9112-3-CR-ONLY-LINE-ENDING",
        ],
    ),
    ("h1_23_an_empty_length_is_none_and_refused", &["MAL-CL-EMPTY"]),
    (
        "h1_25_after_a_head_that_cannot_be_read_the_connection_is_over",
        &[
            "RFC9112-3-MULTI-SP-REQUEST-LINE",
            "RFC9112-2.3-INVALID-VERSION",
            "RFC9112-5-HEADER-NO-COLON",
            "COMP-HTTP12-VERSION",
            "COMP-SPACE-IN-TARGET",
        ],
    ),
    ("h1_requests_in_one_packet_or_byte_by_byte_are_the_same_requests", &["SMUG-PIPELINE-SAFE"]),
    ("spf_09_a_space_before_the_colon_is_refused", &["RFC9110-5.6.2-SP-BEFORE-COLON"]),
    ("spf_10_a_folded_line_is_refused", &["RFC9112-5.1-OBS-FOLD"]),
    (
        "spf_11_no_byte_hides_a_header_within_another",
        &["SMUG-BARE-CR-HEADER-VALUE", "MAL-CONTROL-CHARS-HEADER", "MAL-NUL-IN-HEADER-VALUE"],
    ),
    ("pth_05_a_backslash_is_no_part_of_a_path_encoded_or_not", &["MAL-URL-BACKSLASH"]),
    (
        "pth_08_a_control_character_is_no_part_of_a_path_and_a_space_is_one_byte_of_it",
        &["MAL-URL-PERCENT-NULL", "MAL-URL-PERCENT-CRLF"],
    ),
    (
        "pth_16_of_an_absolute_target_and_a_host_that_differ_neither_counts",
        &["COMP-ABSOLUTE-FORM", "SMUG-ABSOLUTE-URI-HOST-MISMATCH"],
    ),
    ("pth_18_a_host_has_no_user", &["COMP-HOST-WITH-USERINFO"]),
    ("pth_19_an_asterisk_is_nobodys_path", &["COMP-ASTERISK-WITH-GET", "COMP-OPTIONS-STAR"]),
    (
        "pth_21_bytes_that_are_no_utf_8_and_no_ascii_are_no_path",
        &["MAL-NON-ASCII-URL", "MAL-URL-OVERLONG-UTF8"],
    ),
    ("pth_24_a_path_has_an_end_and_is_read_once", &["COMP-LONG-URL-OK", "MAL-LONG-URL"]),
    ("pth_31_a_method_is_a_token_and_not_folded", &["COMP-METHOD-CASE", "MAL-LONG-METHOD"]),
    ("pth_33_trace_is_refused_and_echoes_nothing", &["COMP-METHOD-TRACE", "COMP-TRACE-SENSITIVE"]),
    (
        "pth_36_a_request_is_for_one_host_that_can_be_one",
        &[
            "RFC9112-7.1-MISSING-HOST",
            "RFC9110-5.4-DUPLICATE-HOST",
            "COMP-DUPLICATE-HOST-SAME",
            "COMP-HOST-WITH-PATH",
            "COMP-HOST-EMPTY-VALUE",
            "SMUG-MULTIPLE-HOST-COMMA",
        ],
    ),
    ("a_fragment_is_no_part_of_a_target", &["RFC9112-3.2-FRAGMENT-IN-TARGET"]),
    (
        "dos_05_a_head_is_as_long_as_it_may_be_or_refused",
        &["MAL-LONG-HEADER-VALUE", "MAL-LONG-HEADER-NAME", "MAL-MANY-HEADERS"],
    ),
    ("ext_19_more_cookies_than_a_head_holds_are_refused", &["COOK-OVERSIZED", "COOK-MANY-PAIRS"]),
    ("upg_07_a_handshake_that_failed_leaves_a_connection_of_http", &["COMP-UPGRADE-INVALID-VER"]),
    (
        "upg_10_only_a_websocket_and_nothing_beside_it_is_upgraded_to",
        &["COMP-UPGRADE-POST", "COMP-UPGRADE-MISSING-CONN", "COMP-UPGRADE-UNKNOWN"],
    ),
    (
        "upg_12_http_2_at_once_is_served_where_it_is_on_and_each_stream_is_asked",
        &["MAL-H2-PREFACE"],
    ),
    ("upg_16_nobody_is_told_to_send_a_body_before_a_token_was_seen", &["COMP-TRACE-WITH-BODY"]),
    ("upg_19_what_follows_a_connect_goes_nowhere", &["COMP-METHOD-CONNECT"]),
];

/// The name of every case.
#[rustfmt::skip]
const IDS: &[&str] = &[
    "COMP-BASELINE", "COMP-WHITESPACE-BEFORE-HEADERS", "COMP-DUPLICATE-HOST-SAME",
    "COMP-HOST-WITH-USERINFO", "COMP-HOST-WITH-PATH", "COMP-ASTERISK-WITH-GET",
    "COMP-OPTIONS-STAR", "COMP-UNKNOWN-TE-501", "COMP-LEADING-CRLF", "COMP-ABSOLUTE-FORM",
    "COMP-METHOD-CASE", "COMP-POST-CL-BODY", "COMP-POST-CL-ZERO", "COMP-POST-NO-CL-NO-TE",
    "COMP-POST-CL-UNDERSEND", "COMP-CHUNKED-BODY", "COMP-CHUNKED-MULTI", "COMP-CHUNKED-EMPTY",
    "COMP-CHUNKED-NO-FINAL", "COMP-UPGRADE-POST", "COMP-UPGRADE-MISSING-CONN",
    "COMP-UPGRADE-UNKNOWN", "COMP-METHOD-CONNECT", "COMP-EXPECT-UNKNOWN",
    "COMP-GET-WITH-CL-BODY", "COMP-CHUNKED-EXTENSION", "COMP-UPGRADE-INVALID-VER",
    "COMP-METHOD-TRACE", "COMP-HOST-EMPTY-VALUE", "COMP-REQUEST-LINE-TAB",
    "COMP-VERSION-MISSING-MINOR", "COMP-VERSION-LEADING-ZEROS", "COMP-VERSION-WHITESPACE",
    "COMP-CONNECTION-CLOSE", "COMP-HTTP10-DEFAULT-CLOSE", "COMP-HTTP10-NO-HOST",
    "COMP-HTTP12-VERSION", "COMP-TRACE-WITH-BODY", "COMP-CHUNKED-TRAILER-VALID",
    "COMP-CHUNKED-HEX-UPPERCASE", "COMP-RANGE-POST", "COMP-UPGRADE-HTTP10", "COMP-HEAD-NO-BODY",
    "COMP-UNKNOWN-METHOD", "COMP-405-ALLOW", "COMP-DATE-HEADER", "COMP-DATE-FORMAT",
    "COMP-NO-1XX-HTTP10", "COMP-NO-CL-IN-204", "COMP-OPTIONS-ALLOW", "COMP-CONTENT-TYPE",
    "COMP-VERSION-CASE", "COMP-LONG-URL-OK", "COMP-SPACE-IN-TARGET", "COMP-DUPLICATE-CT",
    "COMP-TRACE-SENSITIVE", "COMP-RANGE-INVALID", "COMP-ACCEPT-NONSENSE",
    "COMP-POST-UNSUPPORTED-CT",
    "RFC9112-2.2-BARE-LF-REQUEST-LINE", "RFC9112-2.2-BARE-LF-HEADER", "RFC9112-5.1-OBS-FOLD",
    "RFC9112-3-MULTI-SP-REQUEST-LINE", "RFC9112-7.1-MISSING-HOST",
    "RFC9112-2.3-INVALID-VERSION", "RFC9112-5-EMPTY-HEADER-NAME",
    "RFC9112-3-CR-ONLY-LINE-ENDING", "RFC9112-3-MISSING-TARGET",
    "RFC9112-3.2-FRAGMENT-IN-TARGET", "RFC9112-2.3-HTTP09-REQUEST",
    "RFC9112-5-INVALID-HEADER-NAME", "RFC9112-5-HEADER-NO-COLON", "RFC9112-6.1-CL-NON-NUMERIC",
    "RFC9112-6.1-CL-PLUS-SIGN",
    "RFC9110-5.6.2-SP-BEFORE-COLON", "RFC9110-5.4-DUPLICATE-HOST",
    "SMUG-CL-TE-BOTH", "SMUG-DUPLICATE-CL", "SMUG-CL-LEADING-ZEROS", "SMUG-TE-XCHUNKED",
    "SMUG-TE-TRAILING-SPACE", "SMUG-TE-SP-BEFORE-COLON", "SMUG-CL-NEGATIVE",
    "SMUG-CLTE-PIPELINE", "SMUG-TECL-PIPELINE", "SMUG-CL-TRAILING-SPACE",
    "SMUG-TE-DOUBLE-CHUNKED", "SMUG-CL-EXTRA-LEADING-SP", "SMUG-TE-CASE-MISMATCH",
    "SMUG-CL-COMMA-DIFFERENT", "SMUG-TE-NOT-FINAL-CHUNKED", "SMUG-TE-HTTP10",
    "SMUG-CHUNK-BARE-SEMICOLON", "SMUG-CHUNK-EXT-INVALID-TOKEN", "SMUG-BARE-CR-HEADER-VALUE",
    "SMUG-CL-OCTAL", "SMUG-CHUNK-UNDERSCORE", "SMUG-TE-EMPTY-VALUE", "SMUG-TE-LEADING-COMMA",
    "SMUG-TE-DUPLICATE-HEADERS", "SMUG-CHUNK-HEX-PREFIX", "SMUG-CHUNK-SIZE-PLUS",
    "SMUG-CHUNK-SIZE-TRAILING-OWS", "SMUG-CL-HEX-PREFIX", "SMUG-CL-INTERNAL-SPACE",
    "SMUG-CHUNK-LEADING-SP", "SMUG-CHUNK-MISSING-TRAILING-CRLF", "SMUG-CHUNK-EXT-LF",
    "SMUG-CHUNK-SPILL", "SMUG-CHUNK-LF-TERM", "SMUG-CHUNK-EXT-CTRL", "SMUG-CHUNK-EXT-CR",
    "SMUG-TE-VTAB", "SMUG-TE-FORMFEED", "SMUG-TE-NULL", "SMUG-CHUNK-LF-TRAILER",
    "SMUG-TE-IDENTITY", "SMUG-CHUNK-NEGATIVE", "SMUG-TRANSFER_ENCODING", "SMUG-CL-COMMA-SAME",
    "SMUG-CL-COMMA-TRIPLE", "SMUG-CHUNKED-WITH-PARAMS", "SMUG-EXPECT-100-CL", "SMUG-TRAILER-CL",
    "SMUG-TRAILER-TE", "SMUG-TRAILER-HOST", "SMUG-TRAILER-AUTH", "SMUG-HEAD-CL-BODY",
    "SMUG-OPTIONS-CL-BODY", "SMUG-CL-UNDERSCORE", "SMUG-CL-NEGATIVE-ZERO",
    "SMUG-CL-DOUBLE-ZERO", "SMUG-CL-LEADING-ZEROS-OCTAL", "SMUG-TE-OBS-FOLD",
    "SMUG-TE-TRAILING-COMMA", "SMUG-TE-TAB-BEFORE-VALUE", "SMUG-ABSOLUTE-URI-HOST-MISMATCH",
    "SMUG-MULTIPLE-HOST-COMMA", "SMUG-CHUNK-BARE-CR-TERM", "SMUG-TRAILER-CONTENT-TYPE",
    "SMUG-CLTE-CONN-CLOSE", "SMUG-TECL-CONN-CLOSE", "SMUG-CLTE-DESYNC",
    "SMUG-CLTE-SMUGGLED-GET", "SMUG-CLTE-SMUGGLED-GET-CL-PLUS",
    "SMUG-CLTE-SMUGGLED-GET-CL-NON-NUMERIC", "SMUG-CLTE-SMUGGLED-GET-TE-OBS-FOLD",
    "SMUG-CLTE-SMUGGLED-HEAD", "SMUG-CLTE-SMUGGLED-GET-TE-TRAILING-SPACE",
    "SMUG-CLTE-SMUGGLED-GET-TE-LEADING-COMMA", "SMUG-CLTE-SMUGGLED-GET-TE-CASE-MISMATCH",
    "SMUG-TE-DUPLICATE-HEADERS-SMUGGLED-GET", "SMUG-TECL-SMUGGLED-GET",
    "SMUG-DUPLICATE-CL-SMUGGLED-GET", "SMUG-GET-CL-PREFIX-DESYNC", "SMUG-TECL-DESYNC",
    "SMUG-CL0-BODY-POISON", "SMUG-GET-CL-BODY-DESYNC", "SMUG-OPTIONS-CL-BODY-DESYNC",
    "SMUG-EXPECT-100-CL-DESYNC", "SMUG-OPTIONS-TE-OBS-FOLD", "SMUG-CHUNK-INVALID-SIZE-DESYNC",
    "SMUG-PIPELINE-SAFE",
    "MAL-BINARY-GARBAGE", "MAL-LONG-URL", "MAL-LONG-HEADER-VALUE", "MAL-MANY-HEADERS",
    "MAL-NUL-IN-URL", "MAL-CONTROL-CHARS-HEADER", "MAL-INCOMPLETE-REQUEST", "MAL-EMPTY-REQUEST",
    "MAL-LONG-HEADER-NAME", "MAL-LONG-METHOD", "MAL-NON-ASCII-HEADER-NAME", "MAL-NON-ASCII-URL",
    "MAL-CL-OVERFLOW", "MAL-WHITESPACE-ONLY-LINE", "MAL-NUL-IN-HEADER-VALUE",
    "MAL-CHUNK-SIZE-OVERFLOW", "MAL-H2-PREFACE", "MAL-CL-EMPTY", "MAL-CL-TAB-BEFORE-VALUE",
    "MAL-URL-BACKSLASH", "MAL-URL-OVERLONG-UTF8", "MAL-URL-PERCENT-NULL",
    "MAL-URL-PERCENT-CRLF", "MAL-CHUNK-EXT-64K", "MAL-RANGE-OVERLAPPING",
    "MAL-POST-CL-HUGE-NO-BODY",
    "NORM-UNDERSCORE-CL", "NORM-SP-BEFORE-COLON-CL", "NORM-TAB-IN-NAME", "NORM-CASE-TE",
    "NORM-UNDERSCORE-TE",
    "CAP-ETAG-304", "CAP-LAST-MODIFIED-304", "CAP-ETAG-IN-304", "CAP-INM-PRECEDENCE",
    "CAP-INM-WILDCARD", "CAP-IMS-FUTURE", "CAP-IMS-INVALID", "CAP-INM-UNQUOTED",
    "CAP-ETAG-WEAK",
    "COOK-ECHO", "COOK-OVERSIZED", "COOK-EMPTY", "COOK-NUL", "COOK-CONTROL-CHARS",
    "COOK-MANY-PAIRS", "COOK-MALFORMED", "COOK-MULTI-HEADER", "COOK-PARSED-BASIC",
    "COOK-PARSED-MULTI", "COOK-PARSED-EMPTY-VAL", "COOK-PARSED-SPECIAL",
];

/// Where the tests stand.
const SOURCES: &[&str] = &[
    include_str!("dos.rs"),
    include_str!("ext.rs"),
    include_str!("h1.rs"),
    include_str!("h11p.rs"),
    include_str!("h11p_passes.rs"),
    include_str!("pth.rs"),
    include_str!("spf.rs"),
    include_str!("upg.rs"),
    include_str!("../paths.rs"),
];

#[test]
fn h11p_every_case_of_the_probe_is_held_by_one_test() {
    let elsewhere = ELSEWHERE.iter().map(|(test, ids)| (*test, ids.to_vec()));
    let tests: Vec<_> =
        h11p::held().into_iter().chain(h11p_passes::held()).chain(elsewhere).collect();
    for (test, ids) in &tests {
        let stands = format!("\nasync fn {test}() {{");
        assert!(SOURCES.iter().any(|source| source.contains(&stands)), "{test} is no test");
        assert!(!ids.is_empty(), "{test} holds nothing");
    }

    let held: Vec<_> = tests.into_iter().flat_map(|(_, ids)| ids).collect();

    let (once, all): (BTreeSet<_>, BTreeSet<_>) =
        (held.iter().copied().collect(), IDS.iter().copied().collect());
    assert_eq!((IDS.len(), all.len()), (215, 215), "each name once");
    assert_eq!(once, all);
    assert_eq!(held.len(), all.len(), "each by one test");
}

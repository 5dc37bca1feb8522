//! What becomes of a request, as people read it, and as programs do.

use serde_json::{Value, json};

use super::print::{push, push_step, push_told, push_wrapped, step, told};
use crate::core::access::{Forbidden, Mode, Session, Unauthenticated};
use crate::core::explain::{
    Answer, CookiesSeen, Deciding, Judged, RequestReport, Ruling, Stands, Step, escaped,
};

/// Writes the report for people.
pub(super) fn text(report: &RequestReport) -> String {
    let mut out = String::new();
    for note in &report.notes {
        push_wrapped(&mut out, "  ", note);
    }
    let mut rows = Vec::new();
    if let Some(matched) = &report.matched {
        rows.push(("method", matched.method.clone()));
        rows.push(("host", matched.host.clone()));
        rows.push(("path", matched.path.clone()));
    }
    if let Some(address) = &report.address {
        rows.push(("address", format!("{}   (by {})", address.text, address.from)));
    }
    if let Some(route) = &report.route {
        rows.push(("route", route_line(route)));
    }
    rows.push(("credential", stands(report).to_owned()));
    rows.extend(report.cookies.iter().flat_map(cookie_rows));
    push_rows(&mut out, "Request", &rows);
    if let Some(ruling) = &report.ruling {
        push_ruling(&mut out, ruling);
    }
    if let Some(token) = &report.token {
        push_steps(
            &mut out,
            if token.verified {
                "Token"
            } else {
                "Token, which is not to be believed: no key was seen to have signed it"
            },
            &token.steps,
        );
    }
    push_steps(&mut out, "Then", &report.steps);
    push_told(&mut out, report.identity.as_ref());
    if let Some(redirect) = &report.redirect {
        let rows: Vec<_> =
            redirect.parameters.iter().map(|(name, value)| (&**name, value.clone())).collect();
        push_rows(&mut out, &format!("Sent to {}", redirect.to), &rows);
    }
    if let Answer::Asks(ask) = &report.answer {
        out.push_str("\nClerk's Backend API decides, and was not asked\n");
        push_wrapped(&mut out, "    the proxy asks  ", ask.question);
        push_wrapped(&mut out, "    if it says yes  ", &ask.yes);
        push_wrapped(&mut out, "    if not          ", &ask.no);
    }
    out.push('\n');
    push(&mut out, &format!("{} {}", mark(report), report.answer.in_short()));
    escaped(&out)
}

fn mark(report: &RequestReport) -> char {
    match &report.answer {
        _ if report.is_open() => '?',
        Answer::Backend { .. } => '✓',
        Answer::Refused(_) | Answer::Asks(_) => '✗',
    }
}

fn push_rows(out: &mut String, title: &str, rows: &[(&str, String)]) {
    if !out.is_empty() {
        out.push('\n');
    }
    push(out, title);
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in rows {
        push(out, &format!("    {name:width$}  {value}"));
    }
}

fn push_steps(out: &mut String, title: &str, steps: &[Step]) {
    if steps.is_empty() {
        return;
    }
    out.push('\n');
    push(out, title);
    let names = steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    for step in steps {
        push_step(out, step, names);
    }
}

fn push_ruling(out: &mut String, ruling: &Ruling) {
    let row = ruling.row.number().map_or_else(String::new, |number| format!(": row {number}"));
    out.push('\n');
    push(out, &format!("Clerk's decision on cookies{row}"));
    push_wrapped(out, "    ", ruling.row.sentence());
    if !ruling.sentence.is_empty() {
        push_wrapped(out, "    ", &ruling.sentence);
    }
    if !ruling.advice.is_empty() {
        push_wrapped(out, "    → ", &ruling.advice);
    }
}

fn route_line(deciding: &Deciding) -> String {
    let name = match &deciding.route {
        _ if deciding.preflight => "a CORS preflight, of which nothing is asked".to_owned(),
        Some(route) if route.name == route.path.as_str() => route.name.clone(),
        Some(route) => format!("{} ({})", route.name, route.path.as_str()),
        None => "none: every path without one".to_owned(),
    };
    let words = words(deciding).map(|(name, word)| format!("{name} = {word}"));
    format!("{name}   ({})", words.join(", "))
}

/// What a route says, in the words of settings.
fn words(deciding: &Deciding) -> [(&'static str, &'static str); 5] {
    let rule = &deciding.rule;
    [
        ("access", rule.access.as_str()),
        (
            "unauthenticated",
            match rule.unauthenticated {
                Unauthenticated::Auto => "auto",
                Unauthenticated::Challenge => "challenge",
                Unauthenticated::NotFound => "not-found",
            },
        ),
        (
            "forbidden",
            match rule.forbidden {
                Forbidden::Forbidden => "forbidden",
                Forbidden::NotFound => "not-found",
            },
        ),
        (
            "session",
            match rule.session {
                Session::Token => "token",
                Session::Active => "active",
            },
        ),
        (
            "mode",
            match rule.mode {
                Mode::Enforce => "enforce",
                Mode::Report => "report",
            },
        ),
    ]
}

fn stands(report: &RequestReport) -> &'static str {
    match report.stands {
        None => "not looked at",
        Some(Stands::Bearer) => "Authorization: Bearer, which comes before all cookies",
        Some(Stands::Unreadable) => "Authorization, and no single bearer token can be read there",
        Some(Stands::Cookies) => "no bearer token: cookies decide",
        Some(Stands::Nowhere) => {
            "no bearer token; cookies say nothing without `clerk.publishable_key`"
        }
    }
}

fn cookie_rows(cookies: &CookiesSeen) -> Vec<(&'static str, String)> {
    let names = match &cookies.names[..] {
        [] => "none of Clerk's".to_owned(),
        names => names.join(", "),
    };
    let others = match cookies.others {
        0 => String::new(),
        others => format!("   (and {others} of others)"),
    };
    let family = cookies.family;
    let which = if family.is_suffixed() { "with" } else { "without" };
    let mut rows = vec![
        ("cookies", format!("{names}{others}")),
        (
            "family",
            format!("those {which} the suffix count, by step {}: {}", family.step(), family.why()),
        ),
        ("__client_uat", cookies.client_uat.to_string()),
    ];
    if cookies.redirect_count > 0 {
        rows.push(("handshakes", format!("{} in a row", cookies.redirect_count)));
    }
    rows
}

/// Writes the report for programs, on one line.
pub(super) fn json(report: &RequestReport) -> String {
    let (caller, reject) = match &report.answer {
        Answer::Backend { caller, reported } => (caller.as_ref(), reported.as_ref()),
        Answer::Refused(refusal) => (None, Some(&refusal.reject)),
        Answer::Asks(_) => (None, None),
    };
    let ask = match &report.answer {
        Answer::Asks(ask) => Some(ask),
        Answer::Backend { .. } | Answer::Refused(_) => None,
    };
    let report = json!({
        "answer": report.answer.in_short(),
        "reaches_backend": matches!(report.answer, Answer::Backend { .. }),
        "caller": caller,
        "status": report.status().map(|status| status.as_u16()),
        "reason": reject.map(|reject| reject.label()),
        "detail": reject.map(ToString::to_string),
        "notes": report.notes,
        "request": report.matched.as_ref().map(|it| {
            json!({"method": it.method, "host": it.host, "path": it.path})
        }),
        "address": report.address.as_ref().map(|it| json!({"url": it.text, "from": it.from})),
        "route": report.route.as_ref().map(route),
        "credential": report.stands.map(|stands| match stands {
            Stands::Bearer => "bearer",
            Stands::Unreadable => "unreadable",
            Stands::Cookies => "cookies",
            Stands::Nowhere => "nowhere",
        }),
        "cookies": report.cookies.as_ref().map(cookies),
        "decision": report.ruling.as_ref().map(ruling),
        "token": report.token.as_ref().map(token),
        "steps": report.steps.iter().map(step).collect::<Vec<_>>(),
        "identity": report.identity.as_ref().map(told),
        "redirect": report.redirect.as_ref().map(|it| {
            json!({"to": it.to, "parameters": it.parameters})
        }),
        "asks": ask.map(|it| json!({"question": it.question, "yes": it.yes, "no": it.no})),
    });
    format!("{}\n", escaped(&report.to_string()))
}

fn route(deciding: &Deciding) -> Value {
    let route = deciding.route.as_ref();
    let mut value = json!({
        "name": route.map_or("default", |route| &route.name),
        "path": route.map(|route| route.path.as_str()),
        "preflight": deciding.preflight,
    });
    for (name, word) in words(deciding) {
        value[name] = word.into();
    }
    value
}

fn cookies(cookies: &CookiesSeen) -> Value {
    json!({
        "names": cookies.names,
        "others": cookies.others,
        "suffixed": cookies.family.is_suffixed(),
        "step": cookies.family.step(),
        "why": cookies.family.why(),
        "client_uat": cookies.client_uat,
        "redirect_count": cookies.redirect_count,
    })
}

fn ruling(ruling: &Ruling) -> Value {
    json!({
        "row": ruling.row.number(),
        "applies": ruling.row.sentence(),
        "verdict": ruling.verdict,
        "sentence": ruling.sentence,
        "advice": ruling.advice,
    })
}

fn token(token: &Judged) -> Value {
    json!({
        "verified": token.verified,
        "steps": token.steps.iter().map(step).collect::<Vec<_>>(),
        "claims": Value::from(&token.claims),
    })
}

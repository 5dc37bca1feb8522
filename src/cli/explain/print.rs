//! A report as people read it, and as programs do.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::core::explain::{Outcome, Report, RouteAnswer, Step, Told, escaped};

/// How wide sentences run.
const WIDTH: usize = 100;
/// The step after which the others are about claims.
const SIGNATURE: &str = "signature";

/// Writes the report for people.
pub(super) fn text(report: &Report) -> String {
    let mut out = verdict(report);
    for note in &report.notes {
        push(&mut out, &format!("  {note}"));
    }
    out.push('\n');
    let names = report.steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    for step in &report.steps {
        push_step(&mut out, step, names);
        if step.name == SIGNATURE && !report.verified {
            out.push_str(
                "\n  What it claims, which is not to be believed: no key was seen to have signed it.\n\n",
            );
        }
    }
    push_others(&mut out, report);
    push_told(&mut out, report.identity.as_ref());
    out.push_str("\nRoutes\n");
    for route in &report.routes {
        push_route(&mut out, route);
    }
    escaped(&out)
}

fn verdict(report: &Report) -> String {
    match &report.verdict {
        Ok(class) => format!("✓ Accepted, as {}.\n", class.as_str()),
        Err(reject) => {
            let failed = |step: &&Step| matches!(step.outcome, Outcome::Failed(_));
            let step = report.steps.iter().find(failed).map_or("all", |step| step.name);
            format!("✗ Refused at {step}: {} {}\n", reject.status().as_u16(), reject.label())
        }
    }
}

pub(super) fn push_step(out: &mut String, step: &Step, names: usize) {
    let mark = match step.outcome {
        Outcome::Passed => '✓',
        Outcome::Failed(_) => '✗',
        Outcome::Skipped => '–',
    };
    let line = format!("  {mark} {:names$}  {}", step.name, step.found);
    let known = step.expected.is_empty() || step.expected == step.found;
    if step.outcome == Outcome::Passed && !known {
        return push(out, &format!("{line}   ({})", step.expected));
    }
    push(out, &line);
    let indent = " ".repeat(names + 6);
    if !known {
        push_wrapped(out, &indent, &format!("expected: {}", step.expected));
    }
    if !step.advice.is_empty() {
        push_wrapped(out, &format!("{indent}→ "), &step.advice);
    }
}

/// Writes the claims that no step was about.
fn push_others(out: &mut String, report: &Report) {
    let looked_at = |name: &str| report.steps.iter().any(|step| step.name == name);
    let mut others: Vec<_> = report.claims.iter().filter(|(name, _)| !looked_at(name)).collect();
    let Some(width) = others.iter().map(|(name, _)| name.chars().count()).max() else { return };
    others.sort_unstable_by_key(|(name, _)| *name);
    out.push_str("\nOther claims\n");
    for (name, value) in others {
        push(out, &format!("    {name:width$}  {value}"));
    }
}

pub(super) fn push_told(out: &mut String, told: Option<&Told>) {
    let Some(told) = told else { return };
    out.push_str("\nWhat the backend is told\n");
    let width = told.headers.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in &told.headers {
        push(out, &format!("    {name:width$}  {value}"));
    }
    if !told.advice.is_empty() {
        push_wrapped(out, "    → ", &told.advice);
    }
}

fn push_route(out: &mut String, answer: &RouteAnswer) {
    let (mark, why) = match &answer.answer {
        Ok(()) => ('✓', String::new()),
        Err(reject) => ('✗', format!(": {}", reject.label())),
    };
    let access = answer.access.as_str();
    let Some(route) = &answer.route else {
        return push(out, &format!("  {mark} every path without a route ({access}){why}"));
    };
    let methods = route.methods.iter().flatten().map(|it| format!("{it} "));
    let methods: String = methods.collect();
    let (host, path) = (route.host.as_deref().unwrap_or(""), route.path.as_str());
    let name = if route.name == path { String::new() } else { format!("{}: ", route.name) };
    push(out, &format!("  {mark} {name}{methods}{host}{path} ({access}){why}"));
}

/// Writes one line, whatever it holds.
pub(super) fn push(out: &mut String, line: &str) {
    out.push_str(line.replace('\n', " ").trim_end());
    out.push('\n');
}

/// Writes sentences in lines of [`WIDTH`], the first after `start` and the others below it. What
/// stands on lines of its own, to be pasted, stays on them.
pub(super) fn push_wrapped(out: &mut String, start: &str, text: &str) {
    let indent = " ".repeat(start.chars().count());
    for (place, line) in text.lines().enumerate() {
        let mut width = indent.len();
        out.push_str(if place == 0 { start } else { &indent });
        let leading = line.len() - line.trim_start().len();
        out.push_str(&line[..leading]);
        for (place, word) in line.trim_start().split(' ').enumerate() {
            let length = word.chars().count() + 1;
            if place > 0 && width + length > WIDTH {
                let _ = write!(out, "\n{indent}"); // writing to a String does not fail
                width = indent.len();
            } else if place > 0 {
                out.push(' ');
            }
            out.push_str(word);
            width += length;
        }
        out.push('\n');
    }
}

/// Writes the report for programs, on one line.
pub(super) fn json(report: &Report) -> String {
    let reject = report.verdict.as_ref().err();
    let report = json!({
        "accepted": report.verdict.is_ok(),
        "class": report.verdict.as_ref().ok().map(|class| class.as_str()),
        "reason": reject.map(|reject| reject.label()),
        "status": reject.map(|reject| reject.status().as_u16()),
        "detail": reject.map(ToString::to_string),
        "verified": report.verified,
        "notes": report.notes,
        "steps": report.steps.iter().map(step).collect::<Vec<_>>(),
        "claims": Value::from(&report.claims),
        "identity": report.identity.as_ref().map(told),
        "routes": report.routes.iter().map(route).collect::<Vec<_>>(),
    });
    format!("{}\n", escaped(&report.to_string()))
}

pub(super) fn step(step: &Step) -> Value {
    let (outcome, reason) = match &step.outcome {
        Outcome::Passed => ("passed", None),
        Outcome::Failed(reject) => ("failed", Some(reject.label())),
        Outcome::Skipped => ("skipped", None),
    };
    json!({
        "name": step.name,
        "outcome": outcome,
        "reason": reason,
        "expected": step.expected,
        "found": step.found,
        "advice": step.advice,
    })
}

pub(super) fn told(told: &Told) -> Value {
    let headers = told.headers.iter().map(|(name, value)| (name.clone(), Value::from(&**value)));
    json!({ "headers": headers.collect::<serde_json::Map<_, _>>(), "advice": told.advice })
}

fn route(answer: &RouteAnswer) -> Value {
    let route = answer.route.as_ref();
    let methods = route.and_then(|route| route.methods.as_ref());
    json!({
        "name": route.map_or("default", |route| &route.name),
        "host": route.and_then(|route| route.host.as_ref()),
        "path": route.map(|route| route.path.as_str()),
        "methods": methods.map(|it| it.iter().map(ToString::to_string).collect::<Vec<_>>()),
        "access": answer.access.as_str(),
        "admitted": answer.answer.is_ok(),
        "reason": answer.answer.as_ref().err().map(|reject| reject.label()),
    })
}

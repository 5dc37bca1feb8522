//! Clerk's own verdicts, case by case, held against ours.
//!
//! `tests/fixtures/corpus` has cases and what Clerk's library answered to each. A verdict of ours
//! is equal; or it deviates, and [`tables`] say what ours is instead, and why that is safer or
//! heals; or the case asks for what is not decided here, and they say what that is. A deviation
//! that has no row fails the test, and a row that has no deviation does too.
//!
//! Single functions are asked here, and both verdicts written down as JSON: `{"refused": reason}`
//! or what was accepted. Requests go through the whole proxy, in [`requests`].

mod requests;
mod settings;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::time::Duration;

use countersign::core::caller::Caller;
use countersign::core::claims::{AzpPolicy, ClaimsPolicy};
use countersign::core::clerk::cookies::CookieSuffix;
use countersign::core::clerk::has::{Asked, Entitlement, Level, Privilege, Reverification};
use countersign::core::clerk::publishable_key::{Environment, PublishableKey};
use countersign::core::clerk::session_claims::SessionClaims;
use countersign::core::credential::BearerToken;
use countersign::core::issuer::{ClerkPolicy, Impersonation, IssuerPolicy, TokenPolicy};
use countersign::core::json::parse_object;
use countersign::core::jwk::{Algorithms, VerificationKey};
use countersign::core::jwk_set::{KeyNames, KeySet};
use countersign::core::jws::UnverifiedToken;
use countersign::core::reject::Reject;
use countersign::core::time::UnixTime;
use serde_json::{Value, json};

use self::settings::Places;
use self::tables::Tables;

const VERIFY: &str = include_str!("../fixtures/corpus/verify.jsonl");
const AUTH: &str = include_str!("../fixtures/corpus/auth.jsonl");
const REQUEST: &str = include_str!("../fixtures/corpus/request.jsonl");

/// The issuer of the instance that `verify.jsonl` was made with.
const ISSUER: &str = "https://happy-otter-12.clerk.accounts.dev";

/// Clerk's verdict and ours on one question.
struct Verdicts {
    id: String,
    clerk: Value,
    ours: Value,
    /// Who is asked what it has; nothing where nobody was let in.
    session: Option<SessionClaims>,
}

#[test]
fn our_verdicts_are_clerks_but_for_the_deviations_that_have_a_reason() {
    let mut outcome = Outcome::new(&tables::OF_FUNCTIONS);
    for line in VERIFY.lines() {
        outcome.take("verify", line, verify);
    }
    for line in AUTH.lines() {
        outcome.take("auth", line, auth);
    }
    for line in REQUEST.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        if let Some(answers) = line["clerk"].get("has") {
            // Who is told to be calling, and with which claims, is held against ours in `requests`.
            let claims = &line["clerk"]["auth"]["sessionClaims"];
            let session = session(claims);
            let ours = has(&line["case"]["has"], Some(&session));
            outcome.compare("has()", text(&line["case"]["id"]), answers, &ours);
        }
    }
    outcome.judge();
}

fn session(claims: &Value) -> SessionClaims {
    SessionClaims::read(&parse_object(claims.to_string()).expect("an object"))
}

/// `verifyToken`: a token, keys and options.
fn verify(case: &Value, clerk: &Value) -> Verdicts {
    let clerk = match &clerk["ok"] {
        Value::Bool(true) => json!({"claims": clerk["claims"]}),
        // A `TypeError` has no reason.
        _ => json!({"refused": clerk["error"].get("reason").unwrap_or(&json!("TypeError"))}),
    };
    let token = BearerToken::of(text(&case["token"]));
    let ours = match caller(token, case, &case["options"], vec![ISSUER.into()]) {
        Ok(caller) => json!({"claims": Value::from(&caller.claims)}),
        Err(word) => json!({"refused": verify_token_word(word)}),
    };
    Verdicts { id: text(&case["id"]).into(), clerk, ours, session: None }
}

/// Translates our word to that of `verifyToken`, which `authenticateRequest` translates to ours.
fn verify_token_word(word: &'static str) -> &'static str {
    match word {
        "session-token-expired" => "token-expired",
        "session-token-nbf" => "token-not-active-yet",
        "session-token-iat-in-the-future" => "token-iat-in-the-future",
        "token-type-mismatch" => "token-invalid",
        word => word,
    }
}

/// Single functions: claims to an identity, a publishable key to a host.
fn auth(case: &Value, clerk: &Value) -> Verdicts {
    let (clerk, ours, session) = match text(&case["op"]) {
        "authFromClaims" => {
            let session = session(&case["claims"]);
            let ours = identity(&session);
            // Without a subject there is no caller: `ClaimsPolicy::check` sees to that.
            let has_subject = case["claims"]["sub"].as_str().is_some_and(|sub| !sub.is_empty());
            (clerks_identity(&clerk["auth"]), ours, has_subject.then_some(session))
        }
        "parsePublishableKey" => (clerks_host(clerk), host(case), None),
        "cookieSuffix" => (clerk["suffix"].clone(), suffix(text(&case["key"])), None),
        other => panic!("no such function: {other}"),
    };
    Verdicts { id: text(&case["id"]).into(), clerk, ours, session }
}

/// Where a key has an instance be; at an address of ours, where the options say so.
fn host(case: &Value) -> Value {
    let Ok(key) = PublishableKey::parse(text(&case["key"])) else {
        return refused("publishable-key");
    };
    let environment = match key.environment() {
        Environment::Development => "development",
        Environment::Production => "production",
    };
    let host = match case["options"].get("proxyUrl") {
        Some(_) => frontend_api(case),
        None => key.host().to_owned(),
    };
    json!({"instanceType": environment, "frontendApi": host})
}

/// Where handshakes go with these options.
fn frontend_api(case: &Value) -> String {
    let nowhere = || "http://127.0.0.1:1".to_owned();
    let places = Places { upstream: nowhere(), keys: nowhere(), clerk_api: nowhere() };
    let mut options = case["options"].clone();
    options["publishableKey"] = case["key"].clone();
    let settings = settings::settings(&options, "", &places).expect("good settings");
    settings.proxy.browsers.expect("an instance").instance.frontend_api
}

fn suffix(key: &str) -> Value {
    let key = PublishableKey::parse(key).expect("a key");
    CookieSuffix::of(&key).name("").trim_start_matches('_').into()
}

fn clerks_host(clerk: &Value) -> Value {
    clerk.get("parsed").cloned().unwrap_or(refused("publishable-key"))
}

/// `has()`: what each question of a case is answered. What cannot be asked here, since settings
/// that say so are refused, is answered as whatever is not had.
fn has(questions: &Value, session: Option<&SessionClaims>) -> Value {
    let questions = questions.as_array().expect("questions").iter();
    let answers = questions.map(|question| {
        let asked = question.as_object().expect("an object").iter().map(asked);
        let asked: Option<Vec<_>> = asked.collect();
        session.zip(asked).is_some_and(|(session, asked)| session.has(&asked))
    });
    answers.collect()
}

fn asked((dimension, what): (&String, &Value)) -> Option<Asked> {
    match dimension.as_str() {
        "role" => Privilege::parse(what.as_str()?).ok().map(Asked::Role),
        "permission" => Privilege::parse(what.as_str()?).ok().map(Asked::Permission),
        "feature" => Entitlement::parse(what.as_str()?).ok().map(Asked::Feature),
        "plan" => Entitlement::parse(what.as_str()?).ok().map(Asked::Plan),
        "reverification" => reverification(what).map(Asked::Reverification),
        other => panic!("no such question: {other}"),
    }
}

fn reverification(what: &Value) -> Option<Reverification> {
    if let Some(preset) = what.as_str() {
        return Reverification::preset(preset);
    }
    let level = Level::parse(what["level"].as_str()?)?;
    let after_minutes = u32::try_from(what["afterMinutes"].as_u64()?).ok()?.try_into().ok()?;
    Some(Reverification::Within { level, after_minutes })
}

/// Our verdict on a token: who calls with it, or the reason in a word.
fn caller(
    token: BearerToken<'_>,
    case: &Value,
    options: &Value,
    issuers: Vec<String>,
) -> Result<Caller, &'static str> {
    let policy = policy(options, issuers);
    let keys = keys(case, options);
    if keys.as_ref().is_err_and(|word| *word == "settings refused") {
        return Err("settings refused");
    }
    let verified = || {
        let token = UnverifiedToken::parse(token)?;
        if !policy.is_named_by(&token) {
            return Err(Reject::IssuerUnknown);
        }
        let token = policy.admit(token)?;
        let kid = token.kid();
        let keys = keys.map_err(|_| Reject::KeysUnavailable)?;
        let found = keys.find(kid.as_ref());
        if found.is_empty() {
            return Err(Reject::KeyUnknown { kid });
        }
        let now = UnixTime::from_secs(case["now"].as_i64().expect("seconds"));
        policy.caller(token.verify(found)?, now)
    };
    verified().map_err(|reject| reject.label())
}

fn keys(case: &Value, options: &Value) -> Result<KeySet, &'static str> {
    if let Some(pem) = options["jwtKey"].as_str().filter(|pem| !pem.is_empty()) {
        let keys = VerificationKey::all_from_pem(pem, Algorithms::CLERK);
        return keys.map(KeySet::unnamed).map_err(|_| "settings refused");
    }
    let answer = &case["bapi"]["GET /v1/jwks"];
    let set = case.get("jwks").or(answer.get("json")).map(Value::to_string);
    let set = set.unwrap_or_else(|| text(&answer["text"]).to_owned());
    match KeySet::parse(set.as_bytes(), Algorithms::CLERK, KeyNames::Required) {
        Ok((keys, _)) => Ok(keys),
        Err(_) => Err(Reject::KeysUnavailable.label()),
    }
}

/// Makes our settings of Clerk's options. What is empty there is unset here.
fn policy(options: &Value, issuers: Vec<String>) -> IssuerPolicy {
    let audience = list(&options["audience"]);
    let own_issuers = list(&options["issuer"]);
    let parties = list(&options["authorizedParties"]);
    let leeway = options["clockSkewInMs"].as_u64().map(Duration::from_millis);
    let sessions = ClaimsPolicy {
        audience: (!audience.is_empty()).then_some(audience),
        azp: if parties.is_empty() { AzpPolicy::Off } else { AzpPolicy::Enforce },
        parties,
        leeway: leeway.unwrap_or(ClaimsPolicy::LEEWAY),
        max_lifetime: Some(ClaimsPolicy::MAX_LIFETIME),
    };
    let impersonation = Impersonation::Allow;
    let clerk = ClerkPolicy { sessions: Some(sessions), templates: None, impersonation };
    IssuerPolicy {
        names: if own_issuers.is_empty() { issuers } else { own_issuers },
        algorithms: Algorithms::CLERK,
        tokens: TokenPolicy::Clerk(clerk),
    }
}

/// A text or a list of texts, without empty ones.
fn list(value: &Value) -> Vec<String> {
    let items = match value {
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    let texts = items.iter().filter_map(Value::as_str).filter(|text| !text.is_empty());
    texts.map(str::to_owned).collect()
}

fn identity(session: &SessionClaims) -> Value {
    let organization = session.organization.clone().unwrap_or_default();
    json!({
        "org": Some(organization.id).filter(|id| !id.is_empty()),
        "slug": organization.slug,
        "role": organization.role,
        "permissions": organization.permissions,
        "actor": session.actor,
        "factors": session.factor_age.map(|(first, second)| [first, second]),
        "pending": session.pending,
    })
}

/// Clerk's `auth`, in the form of [`identity`]; a refusal where Clerk's library throws instead.
fn clerks_identity(auth: &Value) -> Value {
    if auth.is_null() {
        return refused("toAuth throws");
    }
    let permissions = auth.get("orgPermissions").filter(|list| !list.is_null());
    json!({
        "org": auth["orgId"],
        "slug": auth["orgSlug"],
        "role": auth["orgRole"],
        "permissions": permissions.unwrap_or(&json!([])),
        "actor": auth["actor"]["sub"],
        "factors": auth["factorVerificationAge"],
        "pending": auth["sessionStatus"] == "pending",
    })
}

fn refused(word: &str) -> Value {
    json!({"refused": word})
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// What came of all cases.
struct Outcome {
    tables: &'static Tables,
    totals: BTreeMap<String, Total>,
    /// The rows of both tables that a case was found for.
    used: BTreeSet<&'static str>,
    faults: Vec<String>,
}

/// What came of the cases of a family.
#[derive(Clone, Copy, Default)]
struct Total {
    equal: usize,
    deviating: usize,
    not_applicable: usize,
}

impl Outcome {
    fn new(tables: &'static Tables) -> Self {
        Self { tables, totals: BTreeMap::new(), used: BTreeSet::new(), faults: Vec::new() }
    }

    /// Takes one line: asks for both verdicts, unless the case is not applicable.
    ///
    /// A case that also asks for `has()` is two questions.
    fn take(&mut self, family: &str, line: &str, verdicts: fn(&Value, &Value) -> Verdicts) {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let id = text(&line["case"]["id"]);
        if !self.leave(family, id) {
            let (case, clerk) = (&line["case"], &line["clerk"]);
            let verdicts = verdicts(case, clerk);
            if let Some(answers) = clerk.get("has") {
                let ours = has(&case["has"], verdicts.session.as_ref());
                self.compare("has()", &format!("has() of {id}"), answers, &ours);
            }
            self.compare(family, &verdicts.id, &verdicts.clerk, &verdicts.ours);
        }
    }

    fn total(&mut self, family: &str) -> &mut Total {
        self.totals.entry(family.to_owned()).or_default()
    }

    /// Tells whether a case is not applicable, and counts it.
    fn leave(&mut self, family: &str, id: &str) -> bool {
        let mut rows = self.tables.not_applicable.iter().flat_map(|(ids, _)| *ids);
        let Some(row) = rows.find(|row| covers(row, id)) else { return false };
        self.total(family).not_applicable += 1;
        self.used.insert(row);
        true
    }

    fn compare(&mut self, family: &str, id: &str, clerk: &Value, ours: &Value) {
        let mut rows = self.tables.deviating.iter();
        let found = rows.find_map(|(word, ids, _)| Some((word, ids.iter().find(|it| **it == id)?)));
        match found {
            None if clerk == ours => self.total(family).equal += 1,
            None => self.faults.push(format!("{id} deviates: Clerk {clerk}, we {ours}")),
            Some(_) if clerk == ours => self.faults.push(format!("{id} does not deviate")),
            Some((word, row)) => {
                self.used.insert(row);
                self.total(family).deviating += 1;
                let said = ours["verdict"].as_str().or(ours["refused"].as_str());
                let said = said.unwrap_or("accepted");
                if said != *word {
                    self.faults.push(format!("{id}: the table says {word}, we say {said}"));
                }
            }
        }
    }

    /// Prints the totals, and fails where a table and the cases do not agree.
    fn judge(mut self) {
        let Tables { name, deviating, not_applicable } = self.tables;
        let rows = deviating.iter().map(|(_, ids, _)| *ids);
        let rows = rows.chain(not_applicable.iter().map(|(ids, _)| *ids)).flatten();
        let superfluous = rows.filter(|row| !self.used.contains(*row));
        self.faults.extend(superfluous.map(|row| format!("no case for {row}")));
        // Past the capture of the test harness, so that `cargo test` shows it, and in one piece.
        let mut report = format!("corpus, {name}: {}\n", Total::of(self.totals.values()));
        for (family, total) in &self.totals {
            report += &format!("  {family}: {total}\n");
        }
        for (word, ids, why) in *deviating {
            report += &format!("  deviating, {word}: {why}\n    {}\n", ids.join(", "));
        }
        for (ids, why) in *not_applicable {
            report += &format!("  not applicable: {why}\n    {}\n", ids.join(", "));
        }
        let _ = std::io::stdout().write_all(report.as_bytes());
        assert!(self.faults.is_empty(), "{:#?}", self.faults);
    }
}

impl Total {
    fn of<'a>(totals: impl Iterator<Item = &'a Self>) -> Self {
        totals.fold(Self::default(), |sum, it| Self {
            equal: sum.equal + it.equal,
            deviating: sum.deviating + it.deviating,
            not_applicable: sum.not_applicable + it.not_applicable,
        })
    }
}

impl fmt::Display for Total {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { equal, deviating, not_applicable } = self;
        write!(out, "equal {equal}, deviating {deviating}, not applicable {not_applicable}")
    }
}

/// Tells whether a row stands for a case: by its whole id, or by its beginning before a `*`.
fn covers(row: &str, id: &str) -> bool {
    row.strip_suffix('*').map_or(row == id, |beginning| id.starts_with(beginning))
}

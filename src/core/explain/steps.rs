//! From the text of a token to its signature: what is looked at before a claim is believed.

use super::pasted::Slip;
use super::words::{one_of, relative, shown};
use super::{KeysFound, Outcome, Pasted, Question, Step, advice, claims};
use crate::core::clerk::token_class::{Category, is_machine};
use crate::core::issuer::{IssuerPolicy, TokenClass, TokenPolicy};
use crate::core::json::{Object, Value};
use crate::core::jwk::{Algorithm, VerificationKey};
use crate::core::jwk_set::KeyNames;
use crate::core::jws::UnverifiedToken;
use crate::core::reject::Reject;
use crate::core::verdict;

/// What was seen on the way.
pub(super) struct Looked {
    pub(super) steps: Vec<Step>,
    pub(super) verified: bool,
    pub(super) claims: Object,
}

/// A token, and what is known of whose it is.
pub(super) struct Scene<'a> {
    pub(super) question: &'a Question<'a>,
    pub(super) token: UnverifiedToken<'a>,
    /// The issuer it names, where it is one of ours.
    pub(super) issuer: Option<&'a IssuerPolicy>,
    /// Its class, where that is accepted.
    pub(super) class: Option<TokenClass>,
}

/// Takes every step there is to take.
pub(super) fn look<'a>(pasted: &Pasted<'a>, question: &'a Question<'a>) -> Looked {
    let parsed = verdict::parse(pasted.token, question.longest);
    let mut steps = vec![form(pasted.token.reveal(), question.longest, parsed.as_ref().map(drop))];
    let Ok(token) = parsed else {
        return Looked { steps, verified: false, claims: Object::default() };
    };
    let issuer = verdict::issuer_of(&token, question.issuers.iter()).map(|(_, issuer)| issuer);
    let class = issuer.as_ref().ok().and_then(|it| it.class_of(token.header(), token.claims()));
    let scene = Scene { question, token, issuer: issuer.as_ref().ok().copied(), class };
    steps.push(scene.issuer(issuer.map(drop)));
    steps.extend([scene.class(), scene.typ(), scene.algorithm(), scene.key()]);
    let signature = scene.signature(pasted);
    let verified = signature.outcome == Outcome::Passed;
    steps.push(signature);
    steps.extend(claims::steps(&scene));
    Looked { steps, verified, claims: scene.token.claims().clone() }
}

fn form(text: &str, longest: usize, result: Result<(), &Reject>) -> Step {
    let expected =
        format!("a JWT: 3 parts of base64url, 2 of them JSON objects, at most {longest} bytes");
    let slip = Slip::of(text, longest);
    let found = match (result, slip) {
        (Err(_), Some(slip)) => slip.found(text),
        (Ok(()), _) | (Err(_), None) => format!("3 parts, {} bytes", text.len()),
    };
    let advice = || slip.map_or("Copy the token whole.", Slip::advice).to_owned();
    Step::judged("token", (expected, found), result.map_err(Clone::clone), advice)
}

impl Scene<'_> {
    fn header(&self, name: &str) -> Option<Value<'_>> {
        self.token.header().get(name)
    }

    fn issuer(&self, result: Result<(), Reject>) -> Step {
        let names: Vec<_> = self.question.issuers.iter().flat_map(|it| it.names.clone()).collect();
        let found = shown(self.token.claims().get("iss"));
        let advice = || advice::issuer(self.token.claims(), self.question.issuers);
        Step::judged("iss", (one_of(&names), found), result, advice)
    }

    fn class(&self) -> Step {
        let found = self.kind();
        let Some(issuer) = self.issuer else { return Step::skipped("class", found) };
        let expected = match &issuer.tokens {
            TokenPolicy::Clerk(_) => {
                let accepted = [TokenClass::SessionToken, TokenClass::JwtTemplate]
                    .into_iter()
                    .filter(|class| issuer.claims(*class).is_some())
                    .map(TokenClass::as_str);
                accepted.collect::<Vec<_>>().join(" or ")
            }
            TokenPolicy::Oidc(_) => "any token of this issuer".to_owned(),
        };
        let result = self.class.map(drop).ok_or(Reject::TokenClassRefused);
        let advice = || advice::class(self.token.header(), self.token.claims());
        Step::judged("class", (expected, found), result, advice)
    }

    /// Says what kind of token it is, accepted or not.
    fn kind(&self) -> String {
        let category = shown(self.header("cat"));
        if let Some(class) = self.class {
            return format!("{} (cat: {category})", class.as_str());
        }
        let machine = is_machine(self.token.header(), self.token.claims());
        let kind = match Category::of(self.token.header()) {
            _ if machine => "a machine's token",
            Category::Session => "session_token",
            Category::Template => "jwt_template",
            Category::Machine => "a machine's token",
            Category::Unknown => "of a category that nobody here knows",
            Category::Absent | Category::Ignore => "of no category",
        };
        format!("{kind} (cat: {category})")
    }

    fn typ(&self) -> Step {
        let typ = self.header("typ");
        let Some(class) = self.class else { return Step::skipped("typ", shown(typ)) };
        let expected = match class {
            TokenClass::SessionToken | TokenClass::JwtTemplate => "\"JWT\", or none",
            TokenClass::Oidc => "\"JWT\", \"at+jwt\", or none",
        };
        let good = class.goes_with(typ);
        let result = if good { Ok(()) } else { Err(Reject::TokenMalformed) };
        let advice = || advice::TYP.to_owned();
        Step::judged("typ", (expected.to_owned(), shown(typ)), result, advice)
    }

    fn algorithm(&self) -> Step {
        let found = shown(self.header("alg"));
        let Some(issuer) = self.issuer else { return Step::skipped("alg", found) };
        let allowed = Algorithm::ALL.into_iter().filter(|it| issuer.algorithms.allow(*it));
        let allowed: Vec<_> = allowed.map(Algorithm::as_str).collect();
        let result = self.token.algorithm(issuer.algorithms).map(drop);
        let result = result.ok_or(Reject::AlgorithmRefused);
        let advice = || advice::algorithm(&found, issuer);
        Step::judged("alg", (allowed.join(", "), found.clone()), result, advice)
    }

    fn key(&self) -> Step {
        let found = shown(self.header("kid"));
        if let Some(Err(reject)) = self.issuer.map(|it| it.check_key_name(&self.token)) {
            let expected = "1 to 128 visible ASCII characters, or none".to_owned();
            return Step::judged("kid", (expected, found), Err(reject), || advice::KID.to_owned());
        }
        let Some(keys) = self.question.keys else { return Step::skipped("kid", found) };
        let result = self.question.set_with(self.token.kid().as_ref()).map(drop);
        let advice = || advice::key(keys);
        Step::judged("kid", (published(keys, self.question), found), result, advice)
    }

    fn signature(&self, pasted: &Pasted<'_>) -> Step {
        const NAME: &str = "signature";
        let issuers = self.question.issuers.iter();
        let admitted = verdict::admit(pasted.token, self.question.longest, issuers);
        let kid = self.token.kid();
        let (Ok((_, admitted)), Ok(set)) = (admitted, self.question.set_with(kid.as_ref())) else {
            return Step::skipped(NAME, "not looked at".to_owned());
        };
        let verified = admitted.verify(set.find(kid.as_ref()));
        let algorithm = shown(self.header("alg"));
        let found = match &verified {
            Ok(_) => "good",
            Err(Reject::KeyMismatch) => "no key for this algorithm",
            Err(_) => "not made by that key",
        };
        let expected = format!("made by the issuer's key, with {algorithm}");
        let result = verified.map(drop);
        let reject = result.clone().err();
        let advice = || reject.map_or_else(String::new, |reject| advice::signature(&reject));
        Step::judged(NAME, (expected, found.to_owned()), result, advice)
    }
}

/// Says which keys there are, from where, and since when.
fn published(keys: &KeysFound, question: &Question<'_>) -> String {
    let named = |key: &VerificationKey| {
        let fitting = Algorithm::ALL.into_iter().filter(|it| key.is_for(*it));
        let fitting: Vec<_> = fitting.map(Algorithm::as_str).collect();
        let nameless = match keys.set.names() {
            KeyNames::Ignored => "any name",
            KeyNames::Optional | KeyNames::Required => "no name",
        };
        let kid = key.kid().map_or(nameless, |kid| kid.as_str());
        format!("{kid} for {}", fitting.join(", "))
    };
    let mut named: Vec<_> = keys.set.iter().map(|key| named(key)).collect();
    named.sort();
    let when = keys.fetched.map(|when| relative(when, question.now));
    let when = when.map_or_else(|| "never answered".to_owned(), |when| format!("as of {when}"));
    let keys_there = if named.is_empty() { "no key".to_owned() } else { named.join("; ") };
    format!("{keys_there}; from {}, {when}", keys.source)
}

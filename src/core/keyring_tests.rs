//! Tests of the keyring: what is published and what signs, moment by moment.

use super::*;

fn key(id: &str) -> SigningKey {
    let pair = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let der = pair.to_pkcs8v1().unwrap();
    SigningKey::from_pkcs8(der.as_ref(), Some(name(id))).unwrap()
}

fn name(id: &str) -> KeyId {
    KeyId::parse(id).unwrap()
}

fn at(secs: i64) -> UnixTime {
    UnixTime::from_secs(secs)
}

/// Key pairs as they stand in files: the same each time they are read.
struct Files(Vec<(&'static str, Vec<u8>)>);

impl Files {
    fn new(ids: &[&'static str]) -> Self {
        let der =
            || aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
        Self(ids.iter().map(|id| (*id, der().as_ref().to_vec())).collect())
    }

    fn read(&self, ids: &[&str]) -> Vec<SigningKey> {
        let wanted = self.0.iter().filter(|(id, _)| ids.contains(id));
        wanted.map(|(id, der)| SigningKey::from_pkcs8(der, Some(name(id))).unwrap()).collect()
    }
}

/// What signs, and all that is published.
fn state(ring: &Keyring) -> (String, Vec<String>) {
    let mut published: Vec<_> =
        ring.published().map(|jwk| jwk["kid"].as_str().unwrap().to_owned()).collect();
    published.sort();
    (ring.active().id().to_string(), published)
}

fn is(ring: &Keyring, active: &str, published: &[&str]) -> bool {
    state(ring) == (active.to_owned(), published.iter().map(|id| (*id).to_owned()).collect())
}

#[test]
fn the_key_of_a_start_signs_at_once() {
    let files = Files::new(&["a", "b"]);
    let ring = Keyring::new(files.read(&["a", "b"]), &name("b"), Signs::Assertions, at(0)).unwrap();
    assert!(is(&ring, "b", &["a", "b"]));
    assert_eq!(ring.changes_at(), None);
    assert!(Keyring::new(files.read(&["a"]), &name("b"), Signs::Assertions, at(0)).is_none());
}

#[test]
fn a_key_in_the_place_of_another_is_published_before_it_signs_and_the_other_after_it_did() {
    let files = Files::new(&["a", "b"]);
    let ring = Keyring::new(files.read(&["a"]), &name("a"), Signs::Assertions, at(0)).unwrap();
    let (ring, oddities) = ring.reread(files.read(&["b"]), None, at(1000));
    assert_eq!(oddities, []);
    for (now, active, published) in
        [(1000, "a", &["a", "b"][..]), (1089, "a", &["a", "b"]), (1090, "b", &["a", "b"])]
    {
        assert!(is(&ring.at(at(now)), active, published), "{now}: {:?}", state(&ring.at(at(now))));
    }
    assert_eq!(ring.changes_at(), Some(at(1090)));
    let ring = ring.at(at(1090));
    assert_eq!(ring.changes_at(), Some(at(1210)));
    assert!(is(&ring.at(at(1209)), "b", &["a", "b"]));
    assert!(is(&ring.at(at(1210)), "b", &["b"]));
    assert_eq!(ring.at(at(1210)).changes_at(), None);
}

#[test]
fn a_key_that_was_published_for_long_signs_as_soon_as_it_is_the_one() {
    let files = Files::new(&["a", "b"]);
    let ring = Keyring::new(files.read(&["a"]), &name("a"), Signs::Assertions, at(0)).unwrap();
    let (ring, oddities) = ring.reread(files.read(&["a", "b"]), None, at(100));
    assert_eq!(oddities, [Oddity::Ambiguous(name("a"))]);
    assert!(is(&ring.at(at(500)), "a", &["a", "b"]), "several keys change nothing");
    let (ring, oddities) = ring.reread(files.read(&["b"]), None, at(500));
    assert_eq!(oddities, []);
    assert!(is(&ring, "b", &["a", "b"]));
    assert!(is(&ring.at(at(620)), "b", &["b"]));
}

#[test]
fn the_settings_may_name_the_key() {
    let files = Files::new(&["a", "b"]);
    let (a, b) = (name("a"), name("b"));
    let ring = Keyring::new(files.read(&["a"]), &a, Signs::Assertions, at(0)).unwrap();
    let (ring, oddities) = ring.reread(files.read(&["a", "b"]), Some(&a), at(100));
    assert_eq!((oddities, is(&ring, "a", &["a", "b"])), (vec![], true));
    let (ring, oddities) = ring.reread(files.read(&["b"]), Some(&a), at(200));
    assert_eq!(oddities, [Oddity::Missing(a)]);
    assert!(is(&ring.at(at(9999)), "a", &["a", "b"]), "nothing else may sign");
    let (ring, _) = ring.reread(files.read(&["b"]), Some(&b), at(9999));
    assert!(is(&ring, "b", &["a", "b"]));
}

#[test]
fn another_key_under_a_known_name_is_not_taken() {
    let ring = Keyring::new(vec![key("a")], &name("a"), Signs::Assertions, at(0)).unwrap();
    let before = Arc::clone(ring.active());
    let (ring, oddities) = ring.reread(vec![key("a")], None, at(100));
    assert_eq!(oddities, [Oddity::Replaced(name("a"))]);
    assert!(Arc::ptr_eq(ring.active(), &before));
}

#[test]
fn without_any_key_the_last_one_goes_on() {
    let files = Files::new(&["a"]);
    let ring = Keyring::new(files.read(&["a"]), &name("a"), Signs::Assertions, at(0)).unwrap();
    let (ring, oddities) = ring.reread(Vec::new(), None, at(100));
    assert_eq!(oddities, [Oddity::Empty(name("a"))]);
    assert!(is(&ring.at(at(9999)), "a", &["a"]));
    let (ring, oddities) = ring.reread(files.read(&["a"]), None, at(200));
    assert_eq!((oddities, ring.changes_at()), (vec![], None), "it was a moment between two files");
}

#[test]
fn a_key_that_goes_before_it_signed_is_forgotten() {
    let files = Files::new(&["a", "b"]);
    let ring = Keyring::new(files.read(&["a"]), &name("a"), Signs::Assertions, at(0)).unwrap();
    let (ring, _) = ring.reread(files.read(&["b"]), None, at(100));
    let (ring, _) = ring.reread(files.read(&["a"]), None, at(150));
    assert!(is(&ring.at(at(200)), "a", &["a", "b"]));
    assert!(is(&ring.at(at(270)), "a", &["a"]));
}

fn p256(id: &str) -> SigningKey {
    let der = rcgen::KeyPair::generate().unwrap().serialize_der();
    SigningKey::from_pkcs8(&der, Some(name(id))).unwrap()
}

#[test]
fn a_key_that_signs_no_requests_never_takes_the_place_of_one_that_does() {
    let ring = Keyring::new(vec![key("a")], &name("a"), Signs::Requests, at(0)).unwrap();
    let (ring, oddities) = ring.reread(vec![p256("b")], None, at(100));
    assert_eq!(oddities, [Oddity::NotForRequests(name("b"))]);
    assert_eq!(ring.changes_at(), None, "nothing is due, so nothing is tried again and again");
    assert!(is(&ring.at(at(9999)), "a", &["a", "b"]));
    assert!(Keyring::new(vec![p256("b")], &name("b"), Signs::Requests, at(0)).is_none());
    assert!(Keyring::new(vec![p256("b")], &name("b"), Signs::Assertions, at(0)).is_some());
}

#[test]
fn of_two_keys_with_one_name_the_first_is_used() {
    let ring = Keyring::new(vec![key("a")], &name("a"), Signs::Assertions, at(0)).unwrap();
    let (ring, oddities) = ring.reread(vec![key("b"), key("b")], None, at(100));
    assert_eq!(oddities, [Oddity::Repeated(name("b"))]);
    assert!(is(&ring.at(at(190)), "b", &["a", "b"]));
}

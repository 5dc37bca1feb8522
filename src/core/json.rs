//! JSON as a token may carry it: one reading, or none.
//!
//! Two parsers that disagree on one text are a way around a rule, so whatever can be read in two
//! ways is refused: repeated members (RFC 7515 §4, 7519 §4), invalid UTF-8, a byte order mark,
//! anything after the value. Numbers keep the digits they were written with.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

/// The members of a JSON object.
pub type Object = Map<String, Value>;

/// A text that is no JSON object, or one that can be read in two ways.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a JSON object of unique members")]
pub struct BadJson;

/// Reads one JSON object.
///
/// Nesting is bounded at 128 levels, so no input exhausts the stack.
///
/// # Errors
///
/// [`BadJson`] where `text` is anything but one object with unique members at every level.
pub fn parse_object(text: &[u8]) -> Result<Object, BadJson> {
    match parse(text)? {
        Value::Object(object) => Ok(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(BadJson)
        }
    }
}

/// Reads one JSON value.
///
/// # Errors
///
/// [`BadJson`] as for [`parse_object`].
pub fn parse(text: &[u8]) -> Result<Value, BadJson> {
    let text = std::str::from_utf8(text).map_err(|_| BadJson)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict.deserialize(&mut reader).map_err(|_| BadJson)?;
    reader.end().map_err(|_| BadJson)?;
    Ok(value)
}

/// Follows a JSON pointer (RFC 6901) to a member of an object, or into one.
pub fn pointed<'a>(object: &'a Object, pointer: &str) -> Option<&'a Value> {
    let pointer = pointer.strip_prefix('/')?;
    let (first, rest) = match pointer.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (pointer, None),
    };
    let value = object.get(&first.replace("~1", "/").replace("~0", "~"))?;
    rest.map_or(Some(value), |rest| value.pointer(&format!("/{rest}")))
}

/// The member name under which `serde_json` hands a number with all its digits to a visitor.
const NUMBER: &str = "$serde_json::private::Number";

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Object::new();
        while let Some(name) = members.next_key_seed(NameSeed)? {
            let Name::Member(name) = name else {
                // Also reached by an object that spells this name out; it must then hold a number.
                let digits: String = members.next_value()?;
                let number: Number = digits.parse().map_err(A::Error::custom)?;
                return match members.next_key_seed(NameSeed)? {
                    None if object.is_empty() => Ok(Value::Number(number)),
                    _ => Err(A::Error::custom("a number among members")),
                };
            };
            match object.entry(name) {
                Entry::Vacant(free) => {
                    free.insert(members.next_value_seed(Self)?);
                }
                Entry::Occupied(_) => return Err(A::Error::custom("a repeated member")),
            }
        }
        Ok(Value::Object(object))
    }
}

/// What stands before a value in an object.
enum Name {
    /// [`NUMBER`], of which there is one for every number.
    Number,
    Member(String),
}

/// Reads one.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Name;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Name, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Name;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        Ok(if name == NUMBER { Name::Number } else { Name::Member(name.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (text, good) in [
            (&br#"{"a":1,"b":{"a":2}}"#[..], true),
            (br#" {"a":[1,{"b":null}]} "#, true),
            (br#"{"a":1,"a":1}"#, false),
            (br#"{"a":{"b":1,"b":2}}"#, false),
            (br#"{"a":[{"b":1,"b":2}]}"#, false),
            (br#"{"sub":"a","\u0073ub":"b"}"#, false),
            (br#"{"a":1}x"#, false),
            (br#"{"a":1,}"#, false),
            (br#"{'a':1}"#, false),
            (br#"{"a":NaN}"#, false),
            (br#"{"a":01}"#, false),
            (b"\xef\xbb\xbf{}", false),
            (b"{\"a\":\"\xff\"}", false),
            (br#"{"a":"\ud800"}"#, false),
            (b"[]", false),
            (b"null", false),
            (b"", false),
        ] {
            let text_shown = String::from_utf8_lossy(text);
            assert_eq!(parse_object(text).is_ok(), good, "{text_shown}");
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        for digits in ["9007199254740993", "1.50", "1e3", "-0", "123456789012345678901234567890"] {
            let object = parse_object(format!(r#"{{"n":{digits}}}"#).as_bytes()).unwrap();
            let kept = object["n"].to_string();
            assert_eq!(kept.replace("e+", "e"), digits);
        }
    }

    #[test]
    fn the_name_numbers_travel_under_opens_no_door() {
        for (text, good) in [
            (r#"{"n":{"$serde_json::private::Number":"1"}}"#, true),
            (r#"{"n":{"$serde_json::private::Number":"x"}}"#, false),
            (r#"{"n":{"$serde_json::private::Number":"1","a":2}}"#, false),
            (r#"{"n":{"a":2,"$serde_json::private::Number":"1"}}"#, false),
        ] {
            assert_eq!(parse_object(text.as_bytes()).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_harmless() {
        let deep = format!("{}{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
        assert_eq!(parse_object(deep.as_bytes()), Err(BadJson));
    }
}

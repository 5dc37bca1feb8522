//! Reads a text into nodes, with the parser of `serde_json`.

use std::fmt::{self, Write};

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::{Mark, Node, Object, Span};

/// The member name under which `serde_json` hands a number to a visitor with all its digits, where
/// it is no integer of 64 bits.
const NUMBER: &str = "$serde_json::private::Number";
/// Fewer bytes of text than there are to a node in most tokens; those of sessions have about ten.
const BYTES_A_NODE: usize = 8;
/// The most nodes that room is made for at once, however long the text is.
const MOST_AT_ONCE: usize = 1024;
/// More than the numbers of most tokens take: some three dates and a few small ones.
const ROOM_BESIDE: usize = 64;

/// Reads one JSON value, of which only the nodes say whether it is an object; names may repeat.
pub(super) fn read(text: String) -> Option<Object> {
    let room = (8 + text.len() / BYTES_A_NODE).min(MOST_AT_ONCE);
    let mut reading =
        Reading { text: &text, beside: String::new(), nodes: Vec::with_capacity(room) };
    let mut reader = serde_json::Deserializer::from_str(&text);
    Any(&mut reading).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    let Reading { beside, nodes, .. } = reading;
    Some(Object { text, beside, nodes })
}

/// As far as a text was read.
struct Reading<'t> {
    text: &'t str,
    beside: String,
    nodes: Vec<Node>,
}

impl Reading<'_> {
    /// Takes a text for the next node: as the piece of the whole that it is, or else beside it.
    fn push_text<E: Error>(&mut self, text: &str) -> Result<(), E> {
        let mark = Mark::of(text);
        let node = match place_in(self.text, text) {
            Some(start) => Node::Text(mark, Span::new(start, text.len())?),
            None => Node::Beside(mark, self.write(text)?),
        };
        self.nodes.push(node);
        Ok(())
    }

    fn push_integer<E: Error>(&mut self, number: impl fmt::Display) -> Result<(), E> {
        let digits = self.write(number)?;
        self.nodes.push(Node::Number(digits));
        Ok(())
    }

    fn write<E: Error>(&mut self, it: impl fmt::Display) -> Result<Span, E> {
        if self.beside.is_empty() {
            self.beside.reserve(ROOM_BESIDE);
        }
        let start = self.beside.len();
        let _ = write!(self.beside, "{it}"); // writing to a String does not fail
        Span::new(start, self.beside.len() - start)
    }

    /// Returns where the next node will stand.
    fn end<E: Error>(&self) -> Result<u32, E> {
        short(self.nodes.len())
    }
}

/// Finds where `piece` begins in `text`, where it is a piece of that very memory.
fn place_in(text: &str, piece: &str) -> Option<usize> {
    let start = piece.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let own = text.get(start..)?.get(..piece.len())?;
    std::ptr::eq(own, piece).then_some(start)
}

impl Span {
    fn new<E: Error>(start: usize, len: usize) -> Result<Self, E> {
        Ok(Self { start: short(start)?, len: short(len)? })
    }
}

fn short<E: Error>(place: usize) -> Result<u32, E> {
    u32::try_from(place).map_err(|_| E::custom("a text too long"))
}

/// Reads any value.
struct Any<'r, 't>(&'r mut Reading<'t>);

impl<'de> DeserializeSeed<'de> for Any<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any<'_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.nodes.push(Node::Null);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.nodes.push(Node::Bool(value));
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.0.push_integer(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.0.push_integer(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.0.push_text(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self(reading) = self;
        let start = reading.nodes.len();
        reading.nodes.push(Node::Array(0));
        while items.next_element_seed(Any(reading))?.is_some() {}
        reading.nodes[start] = Node::Array(reading.end()?);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self(reading) = self;
        let start = reading.nodes.len();
        reading.nodes.push(Node::Object(0));
        while let Some(name) = members.next_key_seed(NameSeed(reading))? {
            match name {
                Name::Member => members.next_value_seed(Any(reading))?,
                Name::Number => {
                    // Also reached by an object that spells this name out; it must then hold a number.
                    let digits = members.next_value_seed(Digits(reading))?;
                    let first = reading.nodes.len() == start + 1;
                    let last = members.next_key_seed(NameSeed(reading))?.is_none();
                    reading.nodes[start] = Node::Number(digits);
                    let alone = first && last;
                    return alone.then_some(()).ok_or(A::Error::custom("a number among members"));
                }
            }
        }
        reading.nodes[start] = Node::Object(reading.end()?);
        Ok(())
    }
}

/// What stands before a value in an object.
enum Name {
    /// [`NUMBER`].
    Number,
    /// A name, which is the last node now.
    Member,
}

/// Reads one.
struct NameSeed<'r, 't>(&'r mut Reading<'t>);

impl<'de> DeserializeSeed<'de> for NameSeed<'_, '_> {
    type Value = Name;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Name, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_, '_> {
    type Value = Name;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the name of a member")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
        if name == NUMBER {
            return Ok(Name::Number);
        }
        self.0.push_text(name).map(|()| Name::Member)
    }
}

/// Reads the digits of a number.
struct Digits<'r, 't>(&'r mut Reading<'t>);

impl<'de> DeserializeSeed<'de> for Digits<'_, '_> {
    type Value = Span;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Span, D::Error> {
        reader.deserialize_string(self)
    }
}

impl Visitor<'_> for Digits<'_, '_> {
    type Value = Span;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the digits of a number")
    }

    /// Of a text that stands in the token, nobody has seen yet whether it is a number.
    fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
        let number: Number = text.parse().map_err(E::custom)?;
        self.0.write(number.as_str())
    }

    /// A text of its own comes from the parser itself, when it has read a number.
    fn visit_string<E: Error>(self, digits: String) -> Result<Span, E> {
        self.0.write(digits)
    }
}

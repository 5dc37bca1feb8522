//! JSON as a token may carry it: one reading, or none.
//!
//! Two parsers that disagree on one text are a way around a rule, so whatever can be read in two
//! ways is refused: repeated members (RFC 7515 §4, 7519 §4), invalid UTF-8, a byte order mark,
//! anything after the value. Numbers keep the digits they were written with; an exponent gets its sign.
//!
//! A token's claims are looked at once and dropped, so no tree of values is built of them: an
//! [`Object`] keeps the text and a list of what stands where in it, and a [`Value`] is a place there.

mod reading;

use std::borrow::Cow;
use std::fmt;

/// A JSON object as it was read: every name in it stands there once.
#[derive(Clone)]
pub struct Object {
    text: String,
    /// What is not in `text` to the letter: texts that were written with escapes, and the digits of
    /// numbers.
    beside: String,
    /// Every value and every name, in the order of the text; the object itself comes first.
    nodes: Vec<Node>,
}

/// A value in an object, or the name of a member.
#[derive(Clone, Copy)]
enum Node {
    Null,
    Bool(bool),
    /// Its digits beside the text.
    Number(Span),
    Text(Mark, Span),
    /// A text that stands beside the text.
    Beside(Mark, Span),
    /// The nodes up to this one are its items.
    Array(u32),
    /// The nodes up to this one are its members, each a name and a value.
    Object(u32),
}

/// A piece of a text.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

/// The first and the last byte of a text, or zeros where it is empty. Names that differ mostly differ here, so most
/// of those that are passed over are not looked at.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Mark([u8; 2]);

/// A text that is no JSON object, or one that can be read in two ways.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a JSON object of unique members")]
pub struct BadJson;

/// Reads one JSON object. Bytes that are handed over are kept and not copied.
///
/// Nesting is bounded at 128 levels, so no input exhausts the stack.
///
/// # Errors
///
/// [`BadJson`] where `text` is anything but one object with unique members at every level.
pub fn parse_object(text: impl Into<Vec<u8>>) -> Result<Object, BadJson> {
    parse(text)?.ok_or(BadJson)
}

/// Reads one JSON value; nothing where it is no object.
///
/// # Errors
///
/// [`BadJson`] as for [`parse_object`], but for what is no object.
pub fn parse(text: impl Into<Vec<u8>>) -> Result<Option<Object>, BadJson> {
    let text = String::from_utf8(text.into()).map_err(|_| BadJson)?;
    let read = reading::read(text).ok_or(BadJson)?;
    if read.repeats_a_name() {
        return Err(BadJson);
    }
    Ok(Some(read).filter(|read| read.value().as_object().is_some()))
}

impl Object {
    /// Finds the value of a member.
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        self.value().get(name)
    }

    /// Tells whether there is a member of this name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns the members in the order of the text.
    pub fn iter(&self) -> Members<'_> {
        Members(Items { object: self, next: 1, end: self.nodes.len() })
    }

    /// Follows a JSON pointer (RFC 6901) to a member, or into one.
    pub fn pointed(&self, pointer: &str) -> Option<Value<'_>> {
        pointer.strip_prefix('/')?.split('/').try_fold(self.value(), Value::step)
    }

    /// Returns the object as a value among others.
    pub fn value(&self) -> Value<'_> {
        Value { object: self, place: 0 }
    }

    /// Tells whether it, or an object in it, has two members of one name.
    fn repeats_a_name(&self) -> bool {
        let values = (0..self.nodes.len()).map(|place| Value { object: self, place });
        values.filter_map(Value::as_object).any(Members::repeat_a_name)
    }
}

impl Default for Object {
    /// An object without members.
    fn default() -> Self {
        Self { text: String::new(), beside: String::new(), nodes: vec![Node::Object(1)] }
    }
}

/// Tells whether they have the same members, in whatever order, and numbers of the same digits.
#[cfg(test)]
impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        serde_json::Value::from(self) == serde_json::Value::from(other)
    }
}

/// Says how many members there are, and not what they hold.
impl fmt::Debug for Object {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Object({} members)", self.iter().count())
    }
}

/// A value somewhere in an object.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    object: &'a Object,
    place: usize,
}

/// A value by what kind it is of.
#[derive(Clone)]
pub enum Kind<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, by its digits.
    Number(&'a str),
    /// A text.
    Text(&'a str),
    /// A list of values.
    Array(Items<'a>),
    /// An object.
    Object(Members<'a>),
}

impl<'a> Value<'a> {
    /// Returns what it is.
    pub fn kind(self) -> Kind<'a> {
        let Object { text, beside, nodes } = self.object;
        match nodes[self.place] {
            Node::Null => Kind::Null,
            Node::Bool(truth) => Kind::Bool(truth),
            Node::Number(digits) => Kind::Number(digits.of(beside)),
            Node::Text(_, span) => Kind::Text(span.of(text)),
            Node::Beside(_, span) => Kind::Text(span.of(beside)),
            Node::Array(end) => Kind::Array(self.inside(end)),
            Node::Object(end) => Kind::Object(Members(self.inside(end))),
        }
    }

    fn inside(self, end: u32) -> Items<'a> {
        Items { object: self.object, next: self.place + 1, end: end as usize }
    }

    /// Tells whether it is `null`.
    pub fn is_null(self) -> bool {
        matches!(self.kind(), Kind::Null)
    }

    /// Returns it where it is a text.
    pub fn as_str(self) -> Option<&'a str> {
        let Kind::Text(text) = self.kind() else { return None };
        Some(text)
    }

    /// Returns it where it is a whole number that fits, written without fraction and exponent.
    pub fn as_i64(self) -> Option<i64> {
        let Kind::Number(digits) = self.kind() else { return None };
        digits.parse().ok()
    }

    /// Returns it, or what is nearest, where it is a number that ends.
    pub fn as_f64(self) -> Option<f64> {
        let Kind::Number(digits) = self.kind() else { return None };
        digits.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// Returns its items where it is a list.
    pub fn as_array(self) -> Option<Items<'a>> {
        let Kind::Array(items) = self.kind() else { return None };
        Some(items)
    }

    /// Returns its members where it is an object.
    pub fn as_object(self) -> Option<Members<'a>> {
        // Without `kind`, which goes to look at a text: names are sought all the time.
        let Node::Object(end) = self.object.nodes[self.place] else { return None };
        Some(Members(self.inside(end)))
    }

    /// Finds the value of a member, where it is an object.
    pub fn get(self, name: &str) -> Option<Self> {
        self.as_object()?.named(name)
    }

    /// Follows one step of a JSON pointer (RFC 6901 §4): to a member, or to an item of a list.
    fn step(self, token: &str) -> Option<Self> {
        match self.kind() {
            Kind::Object(members) => members.named(&unescaped(token)),
            Kind::Array(mut items) => items.nth(index(token)?),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => None,
        }
    }
}

/// Reads the name of a member out of a pointer.
fn unescaped(token: &str) -> Cow<'_, str> {
    if token.contains('~') {
        token.replace("~1", "/").replace("~0", "~").into()
    } else {
        token.into()
    }
}

/// Reads the place of an item out of a pointer: digits, and no zero before them.
fn index(token: &str) -> Option<usize> {
    let plain = !token.starts_with('+') && (token == "0" || !token.starts_with('0'));
    plain.then(|| token.parse().ok())?
}

/// Writes it as JSON without spaces, members by the order of their names.
impl fmt::Display for Value<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        serde_json::Value::from(*self).fmt(out)
    }
}

/// Says of which kind it is, and not what it holds.
impl fmt::Debug for Kind<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Null => "Null",
            Self::Bool(_) => "Bool",
            Self::Number(_) => "Number",
            Self::Text(_) => "Text",
            Self::Array(_) => "Array",
            Self::Object(_) => "Object",
        })
    }
}

/// The items of a list, in order.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    object: &'a Object,
    next: usize,
    end: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let place = self.next;
        if place == self.end {
            return None;
        }
        self.next = match self.object.nodes[place] {
            Node::Array(end) | Node::Object(end) => end as usize,
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(..) | Node::Beside(..) => {
                place + 1
            }
        };
        Some(Value { object: self.object, place })
    }
}

/// The members of an object, in the order of the text.
#[derive(Clone, Debug)]
pub struct Members<'a>(Items<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, Value<'a>);

    fn next(&mut self) -> Option<(&'a str, Value<'a>)> {
        Some((self.0.next()?.as_str()?, self.0.next()?))
    }
}

impl<'a> Members<'a> {
    /// Finds the value of the one of this name.
    fn named(mut self, name: &str) -> Option<Value<'a>> {
        let Object { text, beside, nodes } = self.0.object;
        let sought = Mark::of(name);
        loop {
            let is_it = match *nodes[..self.0.end].get(self.0.next)? {
                Node::Text(mark, span) => mark == sought && span.is(name, text),
                Node::Beside(mark, span) => mark == sought && span.is(name, beside),
                _ => false,
            };
            self.0.next += 1;
            let value = self.0.next()?;
            if is_it {
                return Some(value);
            }
        }
    }

    /// Tells whether two have one name.
    ///
    /// Those of a token differ in length or at an end, nearly all, so few are sought. Of thousands that would be
    /// millions.
    fn repeat_a_name(self) -> bool {
        const FEW: usize = 16;
        if self.clone().nth(FEW).is_some() {
            let mut names: Vec<_> = self.map(|(name, _)| name).collect();
            names.sort_unstable();
            return names.windows(2).any(|pair| pair[0] == pair[1]);
        }
        let mut seen = 0_u64;
        self.clone().any(|(name, value)| {
            let bit = 1 << ((Mark::of(name).sum() + name.len()) % 64);
            let may_repeat = seen & bit != 0;
            seen |= bit;
            may_repeat && self.clone().named(name).is_some_and(|first| first.place != value.place)
        })
    }
}

impl Mark {
    fn of(text: &str) -> Self {
        let [first, last] = [text.as_bytes().first(), text.as_bytes().last()];
        Self([first, last].map(|byte| byte.copied().unwrap_or_default()))
    }

    /// Returns a number that mostly differs where they do: of the claims of Clerk's session tokens, only `fea` and
    /// `fva`, whose ends are the same, fall together.
    fn sum(self) -> usize {
        let [first, last] = self.0.map(usize::from);
        9 * first + last
    }
}

impl Span {
    fn of(self, text: &str) -> &str {
        &text[self.start as usize..][..self.len as usize]
    }

    /// Tells whether `name` stands there in `text`.
    fn is(self, name: &str, text: &str) -> bool {
        self.len as usize == name.len()
            && text.as_bytes()[self.start as usize..].starts_with(name.as_bytes())
    }
}

impl From<Value<'_>> for serde_json::Value {
    fn from(value: Value<'_>) -> Self {
        match value.kind() {
            Kind::Null => Self::Null,
            Kind::Bool(truth) => Self::Bool(truth),
            Kind::Number(digits) => {
                Self::Number(digits.parse().expect("digits that were read as a number"))
            }
            Kind::Text(text) => Self::from(text),
            Kind::Array(items) => items.map(Self::from).collect(),
            Kind::Object(members) => {
                members.map(|(name, value)| (name, Self::from(value))).collect()
            }
        }
    }
}

impl From<&Object> for serde_json::Value {
    fn from(object: &Object) -> Self {
        Self::from(object.value())
    }
}

#[cfg(test)]
pub(crate) mod tests;

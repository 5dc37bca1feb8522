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
    Text(Span),
    /// A text that stands beside the text.
    Beside(Span),
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
            Node::Text(span) => Kind::Text(span.of(text)),
            Node::Beside(span) => Kind::Text(span.of(beside)),
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
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Beside(_) => {
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
        loop {
            let is_it = match *nodes[..self.0.end].get(self.0.next)? {
                Node::Text(span) => span.is(name, text),
                Node::Beside(span) => span.is(name, beside),
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
    /// Those of a token differ in length or in a letter, nearly all, so few are compared. Of thousands
    /// that would be millions.
    fn repeat_a_name(self) -> bool {
        const FEW: usize = 16;
        if self.clone().nth(FEW).is_some() {
            let mut names: Vec<_> = self.map(|(name, _)| name).collect();
            names.sort_unstable();
            return names.windows(2).any(|pair| pair[0] == pair[1]);
        }
        let mut seen = 0_u64;
        self.clone().enumerate().any(|(place, (name, _))| {
            let mark =
                1 << (name.bytes().fold(name.len(), |sum, byte| sum + usize::from(byte)) % 64);
            let may_repeat = seen & mark != 0;
            seen |= mark;
            may_repeat && self.clone().take(place).any(|(before, _)| before == name)
        })
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
pub(crate) mod tests {
    use super::*;

    /// Reads an object that a test has written out.
    pub(crate) fn object(value: &serde_json::Value) -> Object {
        parse_object(value.to_string()).unwrap()
    }

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
            let kept = object.get("n").unwrap().to_string();
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
            (r#"{"n":{"$serde_json::private::Number":1}}"#, false),
            (r#"{"n":{"$serde_json::private::Number":" 1"}}"#, false),
            (r#"{"n":{"$serde_json::private::Number":"\u0078"}}"#, false),
            (r#"{"n":{"\u0024serde_json::private::Number":"x"}}"#, false),
            (r#"{"n":{"\u0024serde_json::private::Number":"1\u0030"}}"#, true),
            (r#"{"$serde_json::private::Number":"1"}"#, false),
        ] {
            assert_eq!(parse_object(text.as_bytes()).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_name_that_comes_twice_is_found_among_few_and_among_many() {
        let name = |place: usize| format!("name{:05}", place * 7919 % 10_007); // in no order
        for count in [1, 2, 15, 16, 17, 18, 100, 3000] {
            let members = |names: &[String]| names.join(r#"":[{}],""#);
            let names: Vec<_> = (0..count).map(name).collect();
            let text = |names: &[String]| format!(r#"{{"in":{{"{}":0}}}}"#, members(names));
            assert!(parse_object(text(&names)).is_ok(), "{count}");
            for place in [0, count / 2, count - 1] {
                for again in [name(place), name(place).replacen('n', r"\u006e", 1)] {
                    let names = [&names[..], &[again]].concat();
                    assert_eq!(parse_object(text(&names)), Err(BadJson), "{count}: {place}");
                }
            }
        }
    }

    #[test]
    fn what_is_read_is_what_others_read() {
        for text in [
            "{}",
            r#" { "" : "" , "a" : [ ] , "b" : { } } "#,
            r#"{"z":null,"a":true,"m":false,"n":[0,-0,1.50,1e3,1E-3,[[]],{"x":{}}],"t":"ü"}"#,
            r#"{"\u0061\n":"\ud83d\ude00\\","b":"\"","c":["\t",1,"plain",2]}"#,
            r#"{"big":123456789012345678901234567890,"far":1e999999999}"#,
            r#"{"n":{"$serde_json::private::Number":"1E5"}}"#,
        ] {
            let object = parse_object(text).unwrap();
            let theirs: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::Value::from(&object), theirs, "{text}");
            assert_eq!(object.value().to_string(), theirs.to_string());
            for (name, value) in object.iter() {
                assert_eq!(serde_json::Value::from(value), theirs[name], "{text} {name}");
            }
        }
    }

    #[test]
    fn a_number_is_what_others_take_it_for() {
        for digits in [
            "0",
            "-0",
            "5",
            "-5",
            "2.0",
            "2e0",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "1.7976931348623157e308",
            "1e309",
            "-1e309",
            "1e-999",
        ] {
            let text = format!(r#"{{"n":{digits}}}"#);
            let theirs: serde_json::Value = serde_json::from_str(&text).unwrap();
            let object = parse_object(text).unwrap();
            let ours = object.get("n").unwrap();
            assert_eq!(ours.as_i64(), theirs["n"].as_i64(), "{digits}");
            assert_eq!(ours.as_f64(), theirs["n"].as_f64(), "{digits}");
        }
        let object = parse_object(r#"{"n":"5"}"#).unwrap();
        let text = object.get("n").unwrap();
        assert_eq!((text.as_i64(), text.as_f64()), (None, None));
    }

    #[test]
    fn a_pointer_leads_where_it_leads_others() {
        let text = r#"{"a":[0,[1],{"b":2}],"":{"":3},"0":4,"c/d":5,"m~n":6,"~1":7,"t":"x"}"#;
        let theirs: serde_json::Value = serde_json::from_str(text).unwrap();
        let object = parse_object(text).unwrap();
        for pointer in [
            "/a", "/a/", "/a/0", "/a/00", "/a/+0", "/a/-", "/a/-1", "/a/3", "/a/1/0", "/a/2/b",
            "/", "//", "///", "/0", "/c~1d", "/c/d", "/m~0n", "/m~n", "/~01", "/t/0", "/none", "a",
            "a/0",
        ] {
            let found = object.pointed(pointer).map(serde_json::Value::from);
            assert_eq!(found.as_ref(), theirs.pointer(pointer), "{pointer}");
        }
        assert!(object.pointed("").is_none(), "the whole is no member");
    }

    #[test]
    fn a_text_is_kept_as_it_came_and_only_what_was_escaped_stands_beside_it() {
        let text = br#"{"a":"plain","b":["\u0062",12]}"#.to_vec();
        let place = text.as_ptr();
        let object = parse_object(text).unwrap();
        assert_eq!((object.text.as_ptr(), &*object.beside), (place, "b12"));
        assert_eq!((object.nodes.len(), size_of::<Node>()), (7, 12));
    }

    #[test]
    fn debug_shows_no_values() {
        let object = object(&serde_json::json!({"sub": "user_1"}));
        let value = object.get("sub").unwrap();
        let shown = format!("{object:?} {value:?} {:?}", value.kind());
        assert_eq!(shown, "Object(1 members) Value { object: Object(1 members), place: 2 } Text");
        assert_eq!(Object::default(), parse_object("{}").unwrap());
    }

    #[test]
    fn deep_nesting_is_refused_and_harmless() {
        let nested =
            |depth: usize| format!("{}{}", r#"{"a":"#.repeat(depth) + "0", "}".repeat(depth));
        assert_eq!([127, 128].map(|depth| parse_object(nested(depth)).is_ok()), [true, false]);
        let deep = format!("{}{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
        assert_eq!(parse_object(deep.as_bytes()), Err(BadJson));
    }
}

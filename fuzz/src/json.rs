//! JSON by the grammar of RFC 8259, one rule a function, strict where the proxy has to be.

use serde_json::{Map, Number, Value};

/// How deep arrays and objects may stand in each other.
const DEEPEST: usize = 127;

/// Reads one value; nothing where there is none, more than one, or a member twice.
pub fn parse(text: &[u8]) -> Option<Value> {
    let mut reader = Reader { rest: std::str::from_utf8(text).ok()?, depth: 0 };
    let value = reader.value()?;
    reader.skip_blanks();
    reader.rest.is_empty().then_some(value)
}

/// Reads one object.
pub fn object(text: &[u8]) -> Option<Map<String, Value>> {
    match parse(text)? {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// Tells whether a text says the one name that is not ours to compare: what `serde_json` makes of
/// it is its own affair.
pub fn is_of_the_library(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.contains("$serde_json") || text.contains("\\u0024") || text.contains("private::")
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Option<Value> {
        self.skip_blanks();
        match self.peek()? {
            '{' => self.nested(Self::members),
            '[' => self.nested(Self::items),
            '"' => self.string().map(Value::String),
            't' => self.word("true", Value::Bool(true)),
            'f' => self.word("false", Value::Bool(false)),
            'n' => self.word("null", Value::Null),
            _ => self.number(),
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Option<Value>) -> Option<Value> {
        self.rest = &self.rest[1..];
        self.depth += 1;
        let value = (self.depth <= DEEPEST).then(|| read(self))??;
        self.depth -= 1;
        Some(value)
    }

    fn members(&mut self) -> Option<Value> {
        let mut members = Map::new();
        if self.takes('}') {
            return Some(Value::Object(members));
        }
        loop {
            self.skip_blanks();
            let name = self.string()?;
            self.takes(':').then_some(())?;
            let value = self.value()?;
            if members.insert(name, value).is_some() {
                return None;
            }
            if self.takes('}') {
                return Some(Value::Object(members));
            }
            self.takes(',').then_some(())?;
        }
    }

    fn items(&mut self) -> Option<Value> {
        let mut items = Vec::new();
        if self.takes(']') {
            return Some(Value::Array(items));
        }
        loop {
            items.push(self.value()?);
            if self.takes(']') {
                return Some(Value::Array(items));
            }
            self.takes(',').then_some(())?;
        }
    }

    fn string(&mut self) -> Option<String> {
        self.rest = self.rest.strip_prefix('"')?;
        let mut units = Vec::new();
        loop {
            match self.next()? {
                '"' => return String::from_utf16(&units).ok(),
                '\\' => units.push(self.escape()?),
                '\0'..='\x1f' => return None,
                plain => units.extend_from_slice(plain.encode_utf16(&mut [0; 2])),
            }
        }
    }

    fn escape(&mut self) -> Option<u16> {
        let plain = match self.next()? {
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            same @ ('"' | '\\' | '/') => same,
            'u' => {
                let digits = self.rest.get(..4)?;
                self.rest = &self.rest[4..];
                let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                return hex.then(|| u16::from_str_radix(digits, 16).ok())?;
            }
            _ => return None,
        };
        Some(plain as u16)
    }

    fn number(&mut self) -> Option<Value> {
        let end = self.rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
        let (number, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        is_number(number).then(|| Value::Number(Number::from_string_unchecked(number.to_owned())))
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(value)
    }

    fn takes(&mut self, wanted: char) -> bool {
        self.skip_blanks();
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }
}

/// `[ minus ] int [ frac ] [ exp ]` (RFC 8259 §6).
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (text, exponent) = match text.split_once(['e', 'E']) {
        Some((text, exponent)) => (text, exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        None => (text, "0"),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole)
        && digits(fraction)
        && digits(exponent)
        && (whole == "0" || !whole.starts_with('0'))
}

/// Tells whether two values say the same, numbers by their digits: `1e5` is `1E+5`.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => plain(&a.to_string()) == plain(&b.to_string()),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => same_members(a, b),
        _ => a == b,
    }
}

/// Tells whether two objects say the same.
fn same_members(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    let found = |(name, value): (&String, &Value)| b.get(name).is_some_and(|own| same(value, own));
    a.len() == b.len() && a.iter().all(found)
}

fn plain(number: &str) -> String {
    number.to_ascii_lowercase().replace('+', "")
}

//! Pages for a browser: markup is ours, and whatever else stands in it is escaped.

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderValue, StatusCode};

use super::server::{Answer, answer};

/// How all pages look.
const STYLE: &str = include_str!("pages/page.css");

/// No script, nothing from elsewhere, in nobody's frame.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'";

/// Markup: text that was escaped, or a template of ours with such in its places.
#[derive(Clone, Debug)]
pub(super) struct Html(String);

impl Html {
    /// Returns the markup that reads as `text`, between tags and in quoted attributes.
    pub(super) fn text(text: &str) -> Self {
        let mut escaped = String::with_capacity(text.len());
        for letter in text.chars() {
            match letter {
                '&' => escaped.push_str("&amp;"),
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                '"' => escaped.push_str("&quot;"),
                '\'' => escaped.push_str("&#39;"),
                letter => escaped.push(letter),
            }
        }
        Self(escaped)
    }

    /// Returns a template with a value in each of its places, which are written `{{name}}`. What a
    /// value holds is not looked at again.
    ///
    /// # Panics
    ///
    /// Where a place has no value: a template is part of the program.
    pub(super) fn fill(template: &'static str, values: &[(&str, &Self)]) -> Self {
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").expect("a place has an end");
            let value = values.iter().find(|(own, _)| *own == name);
            filled.push_str(before);
            filled.push_str(&value.expect("every place has a value").1.0);
            rest = after;
        }
        filled.push_str(rest);
        Self(filled)
    }

    /// Returns a whole page as an answer that nobody keeps.
    ///
    /// # Panics
    ///
    /// As [`fill`](Self::fill), which it does first, with `style` among the values.
    pub(super) fn page(template: &'static str, values: &[(&str, &Self)]) -> Answer {
        let style = Self(STYLE.to_owned());
        let values: Vec<_> = values.iter().copied().chain([("style", &style)]).collect();
        let page = Self::fill(template, &values);
        let mut answer = answer(StatusCode::OK, "text/html; charset=utf-8", page.0);
        for (name, value) in [
            (CACHE_CONTROL, "no-store"),
            (CONTENT_SECURITY_POLICY, POLICY),
            // An address here may hold the id of a browser. Not `no-referrer`: with it a browser
            // says `Origin: null` when it posts a form of ours.
            (REFERRER_POLICY, "same-origin"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
        ] {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}

impl FromIterator<Self> for Html {
    fn from_iter<I: IntoIterator<Item = Self>>(parts: I) -> Self {
        Self(parts.into_iter().map(|part| part.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_never_becomes_markup() {
        for (text, want) in [
            ("", "<p title=\"\"></p>"),
            ("a b", "<p title=\"a b\">a b</p>"),
            ("<b>", "<p title=\"&lt;b&gt;\">&lt;b&gt;</p>"),
            ("\"'&amp;", "<p title=\"&quot;&#39;&amp;amp;\">&quot;&#39;&amp;amp;</p>"),
            ("{{text}}", "<p title=\"{{text}}\">{{text}}</p>"),
        ] {
            let text = Html::text(text);
            let filled = Html::fill("<p title=\"{{text}}\">{{text}}</p>", &[("text", &text)]);
            assert_eq!(filled.0, want);
        }
    }
}

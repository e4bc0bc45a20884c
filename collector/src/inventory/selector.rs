//! Kubernetes label selectors: `app=api,tier!=cache,canary,!legacy,zone in (a,b),zone notin (c)`.
//!
//! Source: "Labels and Selectors" of the Kubernetes documentation. Pure.

use std::collections::BTreeMap;

use thiserror::Error;

/// Most requirements in one selector.
const MAX_REQUIREMENTS: usize = 64;

/// Longest name of a key, and longest value.
const NAME_BYTES: usize = 63;
/// Longest prefix of a key.
const PREFIX_BYTES: usize = 253;

/// A text that is no selector.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "character {at}: {what}; a selector is made of key=value, key!=value, key, !key, key in (a,b) and key notin (a,b), with commas between"
)]
pub struct SelectorError {
    /// Where reading had to stop; the first character has number 1.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// All of its requirements must hold; an empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

impl Selector {
    /// Parses. As in Kubernetes, blanks between the parts mean nothing.
    ///
    /// # Errors
    /// What is wrong, and where. Nothing is passed over: what is not understood would match what it
    /// was to leave out.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut reader = Reader {
            tokens: tokens(text),
            next: 0,
        };
        let mut requirements = Vec::new();
        if reader.peek() == Token::End {
            return Ok(Self(requirements));
        }
        loop {
            if requirements.len() == MAX_REQUIREMENTS {
                return Err(reader.refuse(&format!("more than {MAX_REQUIREMENTS} requirements")));
            }
            requirements.push(reader.requirement()?);
            match reader.peek() {
                Token::End => return Ok(Self(requirements)),
                Token::Mark(",") => reader.next += 1,
                _ => return Err(reader.expected("a comma or the end")),
            }
        }
    }

    /// Whether labels fit. As in Kubernetes, `!=` and `notin` also match where the key is absent.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                labels.get(key).is_some_and(|value| values.contains(value))
            }
            Requirement::NotIn(key, values) => {
                labels.get(key).is_none_or(|value| !values.contains(value))
            }
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Absent(key) => !labels.contains_key(key),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A key, a value, or a word between them.
    Word(&'a str),
    /// One of [`MARKS`].
    Mark(&'static str),
    End,
}

/// The longer ones first.
const MARKS: [&str; 7] = ["==", "!=", "=", "!", "(", ")", ","];

/// Each with the number of its first character; the last is the end.
fn tokens(text: &str) -> Vec<(usize, Token<'_>)> {
    let is_part = |c: char| !c.is_whitespace() && !"=!(),".contains(c);
    let mut tokens = Vec::new();
    let (mut rest, mut at) = (text, 1);
    loop {
        let blank = rest.len() - rest.trim_start().len();
        let (skipped, now) = rest.split_at_checked(blank).unwrap_or((rest, ""));
        at += skipped.chars().count();
        let mark = MARKS.into_iter().find(|mark| now.starts_with(mark));
        let word_len = now.find(|c| !is_part(c)).unwrap_or(now.len());
        let len = mark.map_or(word_len, str::len);
        let (text, later) = now.split_at_checked(len).unwrap_or((now, ""));
        let token = match mark {
            Some(mark) => Token::Mark(mark),
            None if text.is_empty() => Token::End,
            None => Token::Word(text),
        };
        tokens.push((at, token));
        if token == Token::End {
            return tokens;
        }
        at += text.chars().count();
        rest = later;
    }
}

struct Reader<'a> {
    tokens: Vec<(usize, Token<'a>)>,
    next: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens
            .get(self.next)
            .map_or(Token::End, |(_, token)| *token)
    }

    fn refuse(&self, what: &str) -> SelectorError {
        SelectorError {
            at: self.tokens.get(self.next).map_or(1, |(at, _)| *at),
            what: what.to_owned(),
        }
    }

    fn expected(&self, what: &str) -> SelectorError {
        match self.peek() {
            Token::Word(text) | Token::Mark(text) => {
                self.refuse(&format!("`{text}` where {what} must be"))
            }
            Token::End => self.refuse(&format!("it ends where {what} must be")),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.peek() == Token::Mark("!") {
            self.next += 1;
            return Ok(Requirement::Absent(self.key()?));
        }
        let key = self.key()?;
        let operator = self.peek();
        if matches!(operator, Token::Mark("," | ")") | Token::End) {
            return Ok(Requirement::Exists(key));
        }
        if !matches!(
            operator,
            Token::Mark("=" | "==" | "!=") | Token::Word("in" | "notin")
        ) {
            return Err(self.expected("an operator (=, ==, !=, in, notin) or a comma"));
        }
        self.next += 1;
        Ok(match operator {
            Token::Mark("!=") => Requirement::NotIn(key, vec![self.value()?]),
            Token::Mark(_) => Requirement::In(key, vec![self.value()?]),
            Token::Word("notin") => Requirement::NotIn(key, self.values()?),
            _ => Requirement::In(key, self.values()?),
        })
    }

    /// `prefix/name`, or a name.
    fn key(&mut self) -> Result<String, SelectorError> {
        let Token::Word(text) = self.peek() else {
            return Err(self.expected("a key"));
        };
        let (prefix, name) = match text.split_once('/') {
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, text),
        };
        if !is_name(name, NAME_BYTES) || prefix.is_some_and(|p| !is_name(p, PREFIX_BYTES)) {
            return Err(self.refuse(&format!("`{text}` is not a label's key")));
        }
        self.next += 1;
        Ok(text.to_owned())
    }

    /// Perhaps an empty one.
    fn value(&mut self) -> Result<String, SelectorError> {
        match self.peek() {
            Token::Word(text) if is_name(text, NAME_BYTES) => {
                self.next += 1;
                Ok(text.to_owned())
            }
            Token::Word(text) => Err(self.refuse(&format!("`{text}` is not a label's value"))),
            Token::Mark("," | ")") | Token::End => Ok(String::new()),
            Token::Mark(_) => Err(self.expected("a value")),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        if self.peek() != Token::Mark("(") {
            return Err(self.expected("`(`"));
        }
        self.next += 1;
        if self.peek() == Token::Mark(")") {
            return Err(self.expected("at least one value"));
        }
        let mut values = vec![self.value()?];
        while self.peek() == Token::Mark(",") {
            self.next += 1;
            values.push(self.value()?);
        }
        if self.peek() != Token::Mark(")") {
            return Err(self.expected("a comma or `)`"));
        }
        self.next += 1;
        Ok(values)
    }
}

/// Letters, digits and `-`, `_`, `.`; a letter or digit first and last.
fn is_name(text: &str, most: usize) -> bool {
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= most
        && is_end(text.bytes().next())
        && is_end(text.bytes().last())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels() -> BTreeMap<String, String> {
        [("app", "api"), ("zone", "a"), ("bare", "")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
    }

    #[track_caller]
    fn check(selector: &str, expected: bool) {
        let got = Selector::parse(selector).map(|s| s.matches(&labels()));
        assert_eq!(got, Ok(expected), "{selector}");
    }

    #[track_caller]
    fn refused(selector: &str, at: usize, what: &str) {
        let error = Selector::parse(selector).unwrap_err();
        assert_eq!((error.at, error.what.as_str()), (at, what), "{selector}");
    }

    #[test]
    fn as_kubernetes_reads_them() {
        for (selector, expected) in [
            ("", true),
            ("  ", true),
            ("app=api", true),
            ("app==api, zone=b", false),
            ("app!=web,tier!=x", true),
            ("app,!legacy", true),
            ("! legacy , app = api", true),
            ("zone in (a, b),app notin (web,job)", true),
            ("zone in(a)", true),
            ("zone notin (a)", false),
            ("bare=,bare==", true),
            ("bare=, app", true),
            ("app!=", true),
            ("bare in (x,)", true),
            ("app.kubernetes.io/name=x", false),
        ] {
            check(selector, expected);
        }
    }

    #[test]
    fn what_is_no_selector_is_refused_where_it_is_none() {
        refused("a===b", 4, "`=` where a value must be");
        refused("a in ()", 7, "`)` where at least one value must be");
        refused("a,,b", 3, "`,` where a key must be");
        refused("a,", 3, "it ends where a key must be");
        refused(",a", 1, "`,` where a key must be");
        refused("a=b=c", 4, "`=` where a comma or the end must be");
        refused("a=!b", 3, "`!` where a value must be");
        refused("app=api,=x", 9, "`=` where a key must be");
        let operator = "an operator (=, ==, !=, in, notin) or a comma";
        refused("a b", 3, &format!("`b` where {operator} must be"));
        refused("zone on (a)", 6, &format!("`on` where {operator} must be"));
        refused("a (b)", 3, &format!("`(` where {operator} must be"));
        refused("a in b", 6, "`b` where `(` must be");
        refused("a in", 5, "it ends where `(` must be");
        refused("a in (b", 8, "it ends where a comma or `)` must be");
        refused("a in (b c)", 9, "`c` where a comma or `)` must be");
        refused("a)", 2, "`)` where a comma or the end must be");
        refused("!", 2, "it ends where a key must be");
        refused("!!a", 2, "`!` where a key must be");
        refused("a>1", 1, "`a>1` is not a label's key");
        refused("a/b/c=d", 1, "`a/b/c` is not a label's key");
        refused("\u{e4}=b", 1, "`\u{e4}` is not a label's key");
        refused("a=\u{e4}b, c=-", 3, "`\u{e4}b` is not a label's value");
        refused("\u{a0}a=b, c=-", 9, "`-` is not a label's value");
        let many = vec!["a"; MAX_REQUIREMENTS + 1].join(",");
        refused(&many, 129, "more than 64 requirements");
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(text in "[ab=!(),. \u{e4}in<-]{0,30}") {
            if let Err(error) = Selector::parse(&text) {
                prop_assert!((1..=text.chars().count() + 1).contains(&error.at));
            }
        }
    }
}

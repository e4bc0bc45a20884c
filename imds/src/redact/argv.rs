//! What of a command line may be shown.
//!
//! Command lines hold secrets of every kind and form, so shape alone is not enough: a password
//! looks like a word. Blanked are besides: values of options and variables whose names speak of
//! secrets (`--password X`, `--token=X`, `AWS_SECRET_ACCESS_KEY=X`, `Authorization: X`,
//! `"password":"X"`), user information in URLs, and the options of common clients that take a
//! password under another name (`curl -u`). What stands in a script given as one argument
//! (`sh -c '…'`) is read the same way.
//!
//! It does not know what the other options of the world mean.

mod names;
mod programs;
#[cfg(test)]
mod tests;

use super::{Redactor, looks_secret};
use names::{has_words, is_secret_header, is_secret_name};
use programs::Command;

/// Bytes of a command line that are looked at.
const ARGV_BYTES: usize = 4096;

/// A longer word is judged well enough without its end.
const CUT_WORD_BYTES: usize = 256;

/// Names of headers that look like secrets and are none.
const HEADERS: [&str; 1] = ["x-aws-ec2-metadata-token-ttl-seconds:"];
/// What is expected to hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Nothing,
    /// A bare name of a secret: its value, if `:` or `=` follows.
    Mark,
    /// The next word, or all within quotes.
    Value,
    /// Everything up to the end of the argument or the closing quote.
    Rest,
}

impl Redactor {
    /// A command line as `/proc/<pid>/cmdline` has it (arguments end with NUL), with blanks between
    /// its arguments, what is secret blanked, cut to `limit` bytes.
    pub fn command_line(&self, bytes: &[u8], limit: usize) -> String {
        let mut line = Line {
            redactor: self,
            text: String::new(),
            expect: Expect::Nothing,
            command: Command::default(),
            quotes: Quotes::default(),
            is_first: true,
        };
        let text = printable(bytes);
        for (index, argument) in text.split('\0').enumerate() {
            if index > 0 {
                line.text.push(' ');
            }
            line.argument(argument, index == 0);
            if line.text.len() >= limit {
                break;
            }
        }
        line.text.truncate(limit);
        line.text
    }
}

/// Printable ASCII, and NUL between arguments. A short word that the limit cuts is left out: half a
/// secret may look harmless.
fn printable(bytes: &[u8]) -> String {
    let mut seen = bytes.get(..ARGV_BYTES).unwrap_or(bytes);
    if bytes.len() >= ARGV_BYTES {
        let word = seen.rsplit(|byte| matches!(byte, 0 | b' ')).next();
        let word = word.filter(|word| word.len() < CUT_WORD_BYTES);
        seen = seen
            .get(..seen.len() - word.map_or(0, <[u8]>::len))
            .unwrap_or_default();
    }
    let letter = |byte: &u8| match byte {
        0 => '\0',
        b'\t' | b'\n' | b'\r' => ' ',
        b' '..=b'~' => char::from(*byte),
        _ => '?',
    };
    let seen = seen.strip_suffix(&[0]).unwrap_or(seen);
    seen.iter().map(letter).collect()
}

struct Line<'a> {
    redactor: &'a Redactor,
    text: String,
    expect: Expect,
    command: Command<'a>,
    quotes: Quotes,
    /// The word at hand is the first of its argument.
    is_first: bool,
}

/// The quotes that are open within an argument, the innermost last. There are three kinds.
#[derive(Debug, Default)]
struct Quotes(Vec<char>);

impl Quotes {
    fn pass(&mut self, text: &str) {
        for letter in text.chars().filter(|letter| is_quote(*letter)) {
            match self.0.iter().position(|open| *open == letter) {
                Some(at) => self.0.truncate(at),
                None => self.0.push(letter),
            }
        }
    }

    fn innermost(&self) -> Option<char> {
        self.0.last().copied()
    }
}

impl<'a> Line<'a> {
    fn argument(&mut self, argument: &'a str, is_program: bool) {
        // An option that wants a value takes the whole argument, whatever it is.
        if self.expect == Expect::Value {
            self.expect = Expect::Nothing;
            self.blank(argument);
            return;
        }
        self.expect = Expect::Nothing;
        let mut rest = argument;
        let mut starts_command = is_program;
        self.quotes = Quotes::default();
        self.is_first = true;
        while !rest.is_empty() {
            if let Some(after) = self.user_information(rest) {
                rest = after;
                continue;
            }
            let word = rest.split(is_break).next().unwrap_or_default();
            rest = rest.get(word.len()..).unwrap_or_default();
            if !word.is_empty() {
                if starts_command {
                    self.command = Command::of(word);
                }
                starts_command = false;
                self.word(word);
                self.is_first = false;
                self.command.pass(word);
            }
            let breaks = rest.len() - rest.trim_start_matches(is_break).len();
            let (between, after) = rest.split_at_checked(breaks).unwrap_or((rest, ""));
            self.text.push_str(between);
            rest = after;
            starts_command |= between.contains([';', '|', '&', '(', '`']);
            let quote = self.quotes.innermost();
            self.quotes.pass(between);
            if self.expect == Expect::Rest && quote.is_some_and(|quote| between.contains(quote)) {
                self.expect = Expect::Nothing;
            }
            rest = self.awaited(rest, between);
        }
        if self.expect != Expect::Value {
            self.expect = Expect::Nothing;
        }
    }

    /// Blanks what is awaited at the start of `rest`; what follows it.
    fn awaited(&mut self, rest: &'a str, between: &str) -> &'a str {
        if rest.is_empty() {
            return rest;
        }
        let end = match self.expect {
            Expect::Nothing => return rest,
            Expect::Mark if rest.starts_with([':', '=']) => {
                self.expect = Expect::Value;
                let (mark, after) = rest.split_at_checked(1).unwrap_or((rest, ""));
                self.text.push_str(mark);
                let breaks = after.len() - after.trim_start_matches(is_break).len();
                let (between, after) = after.split_at_checked(breaks).unwrap_or((after, ""));
                self.text.push_str(between);
                self.quotes.pass(between);
                return self.awaited(after, between);
            }
            Expect::Mark => {
                self.expect = Expect::Nothing;
                return rest;
            }
            Expect::Value => quoted_end(rest, between),
            Expect::Rest => self
                .quotes
                .innermost()
                .and_then(|quote| rest.find(quote))
                .unwrap_or(rest.len()),
        };
        self.expect = Expect::Nothing;
        let (value, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        self.blank(value);
        after
    }

    fn word(&mut self, word: &str) {
        if let Some(at) = self.command.secret_at(word) {
            let (option, value) = word.split_at_checked(at).unwrap_or((word, ""));
            self.text.push_str(option);
            match value {
                "" => self.expect = Expect::Value,
                value => self.blank(value),
            }
            return;
        }
        if self.marked(word) {
            return;
        }
        let is_header = HEADERS
            .iter()
            .any(|header| word.eq_ignore_ascii_case(header));
        if looks_secret(word.as_bytes()) && !is_header {
            self.blank(word);
            return;
        }
        self.text.push_str(word);
        if word.starts_with('-') && is_secret_name(word) {
            self.expect = Expect::Value;
        } else if is_secret_header(word) {
            self.expect = Expect::Mark;
        }
    }

    /// `name=value`, `name:value`, and such within another's value (`--header=Authorization:`): blanks
    /// the first value whose name is one of a secret. Whether there was one.
    fn marked(&mut self, word: &str) -> bool {
        let mut from = 0;
        let marks = word.match_indices(['=', ':']).filter(|(at, _)| *at > 0);
        for (at, mark) in marks {
            let name = word.get(from..at).unwrap_or_default();
            from = at + mark.len();
            let is_secret = match mark {
                ":" => is_secret_header(name),
                _ => is_secret_name(name),
            };
            if !is_secret {
                continue;
            }
            let (shown, value) = word.split_at_checked(from).unwrap_or((word, ""));
            self.text.push_str(shown);
            match (value, mark) {
                ("", ":") => self.expect = Expect::Rest,
                ("", _) => self.expect = Expect::Value,
                ("true" | "false", _) => self.text.push_str(value),
                (value, mark) => {
                    self.blank(value);
                    // Without a blank behind the colon the first word may be the scheme. In a script
                    // what is not quoted ends there.
                    let goes_on =
                        self.is_first || self.quotes.innermost().is_some() || has_words(name);
                    if mark == ":" && (goes_on || value.ends_with('\\')) {
                        self.expect = Expect::Rest;
                    }
                }
            }
            return true;
        }
        false
    }

    /// `scheme://user:password@host`: shows the scheme, blanks what stands before the `@`.
    fn user_information(&mut self, rest: &'a str) -> Option<&'a str> {
        let end = rest
            .find(|letter: char| letter == ' ' || is_quote(letter))
            .unwrap_or(rest.len());
        let word = rest.get(..end)?;
        let (scheme, target) = word.split_once("://")?;
        let is_scheme = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
        // The scheme may stand behind a name: `--url=https://…`.
        let before = scheme.trim_end_matches(is_scheme);
        if before.chars().any(is_break)
            || before.ends_with(['=', ':']) && is_secret_name(before.trim_end_matches(['=', ':']))
        {
            return None;
        }
        let authority = target.find(['/', '?', '#']).unwrap_or(target.len());
        let within = target.get(..authority)?.rfind('@');
        // A password with a slash in it that nobody encoded.
        let port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let odd = || {
            let (_, password) = target.get(..authority)?.split_once(':')?;
            if target.starts_with('[') || port(password) {
                None
            } else {
                target.rfind('@')
            }
        };
        let at = within.or_else(odd)?;
        let start = scheme.len() + "://".len();
        self.text.push_str(rest.get(..start)?);
        self.blank(target.get(..at)?);
        self.expect = Expect::Nothing;
        rest.get(start + at..)
    }

    fn blank(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.text.push_str(&self.redactor.blank(secret.as_bytes()));
        }
    }
}

/// End of a value that starts `rest`: the quote that closes the one before it, or its word's end.
fn quoted_end(rest: &str, between: &str) -> usize {
    let quote = between.chars().last().filter(|letter| is_quote(*letter));
    quote
        .map_or_else(
            || rest.find([' ', '"', '\'', ';', '|', ')', '`']),
            |quote| rest.find(quote),
        )
        .unwrap_or(rest.len())
}

const fn is_quote(letter: char) -> bool {
    matches!(letter, '"' | '\'' | '`')
}

const fn is_break(letter: char) -> bool {
    matches!(
        letter,
        ' ' | '('
            | ')'
            | ';'
            | ','
            | '"'
            | '\''
            | '`'
            | '<'
            | '>'
            | '&'
            | '|'
            | '?'
            | '{'
            | '}'
            | '['
            | ']'
    )
}

//! What of a command line may be shown.
//!
//! Command lines hold secrets of every kind and form, so shape alone is not enough: a password
//! looks like a word. Blanked are besides: values of options and variables whose names speak of
//! secrets (`--password X`, `--token=X`, `AWS_SECRET_ACCESS_KEY=X`, `Authorization: X`,
//! `"password":"X"`), user information in URLs, and the short options of a few programs that take
//! a password. What stands in a script given as one argument (`sh -c '…'`) is read the same way.
//!
//! It does not know what the other short options of the world mean.

use super::{Redactor, looks_secret};

/// Bytes of a command line that are looked at.
const ARGV_BYTES: usize = 4096;

/// A longer word is judged well enough without its end.
const CUT_WORD_BYTES: usize = 256;

/// Parts of names that speak of a secret; names are compared in lower case with `-` for `_`.
const SECRET_PARTS: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "credential",
    "apikey",
    "accesskey",
    "authkey",
    "cookie",
    "signature",
    "bearer",
    "jwt",
    "authorization",
];
/// Whole names that do.
const SECRET_NAMES: [&str; 7] = ["pass", "pw", "pin", "auth", "basic-auth", "userpwd", "psk"];
/// Ends that make an ordinary name of such a name: its value is a place, a kind or a time.
const HARMLESS_ENDS: [&str; 21] = [
    "-file",
    "-files",
    "-path",
    "-dir",
    "-id",
    "-name",
    "-names",
    "-type",
    "-mode",
    "-ttl",
    "-ttl-seconds",
    "-seconds",
    "-timeout",
    "-url",
    "-uri",
    "-endpoint",
    "-audience",
    "-issuer",
    "-expiration",
    "-webhook",
    "-helper",
];
/// Names of headers that look like secrets and are none.
const HEADERS: [&str; 1] = ["x-aws-ec2-metadata-token-ttl-seconds:"];
/// Short options that take a password: program, option, whether the value is joined to it.
const SHORT_OPTIONS: [(&str, &str, bool); 12] = [
    ("mysql", "-p", true),
    ("mysqldump", "-p", true),
    ("mysqladmin", "-p", true),
    ("mariadb", "-p", true),
    ("mariadb-dump", "-p", true),
    ("sshpass", "-p", true),
    ("sshpass", "-p", false),
    ("redis-cli", "-a", false),
    ("curl", "-u", false),
    ("curl", "-b", false),
    ("ldapsearch", "-w", false),
    ("ldapmodify", "-w", false),
];

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
            program: "",
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
    /// Name of the program whose options are read.
    program: &'a str,
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
        let mut quote = None;
        while !rest.is_empty() {
            if let Some(after) = self.user_information(rest) {
                rest = after;
                continue;
            }
            let word = rest.split(is_break).next().unwrap_or_default();
            rest = rest.get(word.len()..).unwrap_or_default();
            if !word.is_empty() {
                if starts_command {
                    self.program = word.rsplit('/').next().unwrap_or(word);
                }
                starts_command = false;
                self.word(word);
            }
            let breaks = rest.len() - rest.trim_start_matches(is_break).len();
            let (between, after) = rest.split_at_checked(breaks).unwrap_or((rest, ""));
            self.text.push_str(between);
            rest = after;
            starts_command |= between.contains([';', '|', '&', '(', '`']);
            quote = between.chars().rfind(|letter| is_quote(*letter)).or(quote);
            rest = self.awaited(rest, between, quote);
        }
        if self.expect != Expect::Value {
            self.expect = Expect::Nothing;
        }
    }

    /// Blanks what is awaited at the start of `rest`; what follows it.
    fn awaited(&mut self, rest: &'a str, between: &str, quote: Option<char>) -> &'a str {
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
                return self.awaited(after, between, quote);
            }
            Expect::Mark => {
                self.expect = Expect::Nothing;
                return rest;
            }
            Expect::Value => quoted_end(rest, between),
            Expect::Rest => quote
                .and_then(|quote| rest.find(quote))
                .unwrap_or(rest.len()),
        };
        self.expect = Expect::Nothing;
        let (value, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        self.blank(value);
        after
    }

    fn word(&mut self, word: &str) {
        let mark = word.find(['=', ':']).filter(|at| *at > 0);
        if let Some((name, marked)) = mark.and_then(|at| word.split_at_checked(at))
            && is_secret_name(name)
        {
            let (mark, value) = marked.split_at_checked(1).unwrap_or((marked, ""));
            self.text.push_str(name);
            self.text.push_str(mark);
            match (value, mark) {
                ("", ":") => self.expect = Expect::Rest,
                ("", _) => self.expect = Expect::Value,
                ("true" | "false", _) => self.text.push_str(value),
                (value, _) => self.blank(value),
            }
            return;
        }
        if let Some(option) = self.joined_option(word) {
            let (option, value) = word.split_at_checked(option.len()).unwrap_or((word, ""));
            self.text.push_str(option);
            self.blank(value);
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
        let program = self.program;
        let is_short = SHORT_OPTIONS
            .iter()
            .any(|(known, option, joined)| *known == program && *option == word && !joined);
        if is_short || (word.starts_with('-') && is_secret_name(word)) {
            self.expect = Expect::Value;
        } else if is_secret_name(word) {
            self.expect = Expect::Mark;
        }
    }

    fn joined_option(&self, word: &str) -> Option<&'static str> {
        SHORT_OPTIONS
            .iter()
            .find(|(program, option, joined)| {
                *joined
                    && *program == self.program
                    && word.len() > option.len()
                    && word.starts_with(option)
            })
            .map(|(_, option, _)| *option)
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

/// Whether an option or variable of that name holds a secret.
fn is_secret_name(name: &str) -> bool {
    let name = name.trim_start_matches(['-', '/', '$']);
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(is_token) {
        return false;
    }
    let name = name.to_ascii_lowercase().replace(['_', '.'], "-");
    if HARMLESS_ENDS.iter().any(|end| name.ends_with(end)) {
        return false;
    }
    SECRET_NAMES.contains(&name.as_str())
        || SECRET_PARTS.iter().any(|part| name.contains(part))
        || (name.ends_with("-key") && !name.contains("public"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    fn check(argv: &[&str], expected: &str) {
        let redactor = Redactor::new(&Key([7; 32]));
        let bytes = argv.join("\0") + "\0";
        let line = redactor.command_line(bytes.as_bytes(), 4096);
        // Sixteen hex digits in brackets are a hash.
        let mut shown = String::new();
        let mut rest = line.as_str();
        while let Some((before, hash)) = rest.split_once('[') {
            let is_hash = hash.get(..17).is_some_and(|hash| hash.ends_with(']'));
            shown.push_str(before);
            shown.push_str(if is_hash { "#" } else { "[" });
            rest = hash.get(17..).filter(|_| is_hash).unwrap_or(hash);
        }
        shown.push_str(rest);
        assert_eq!(shown, expected);
    }

    #[test]
    fn options_and_variables() {
        check(&["app", "--password", "hunter2"], "app --password #");
        check(
            &["app", "--password", "hunter 2", "x"],
            "app --password # x",
        );
        check(&["app", "--password=hunter2", "-v"], "app --password=# -v");
        check(
            &["app", "--token=X", "--api-key", "k"],
            "app --token=# --api-key #",
        );
        check(&["app", "-Ddb.password=hunter2"], "app -Ddb.password=#");
        check(
            &["env", "PGPASSWORD=hunter2", "psql"],
            "env PGPASSWORD=# psql",
        );
        check(
            &["env", "AWS_SECRET_ACCESS_KEY=x", "AWS_REGION=eu-west-1"],
            "env AWS_SECRET_ACCESS_KEY=# AWS_REGION=eu-west-1",
        );
        check(&["app", "pass:hunter2"], "app pass:#");
        check(
            &["app", "--token-file", "/a/b", "--auth-mode", "x"],
            "app --token-file /a/b --auth-mode x",
        );
        check(
            &["kubelet", "--authentication-token-webhook=true"],
            "kubelet --authentication-token-webhook=true",
        );
        check(
            &["app", "--private-key=abc", "--public-key=abc"],
            "app --private-key=# --public-key=abc",
        );
        check(&["secrets-driver", "x"], "secrets-driver x");
        check(&["app", "--password"], "app --password");
    }

    #[test]
    fn short_options_of_known_programs() {
        check(
            &["/usr/bin/mysql", "-u", "root", "-phunter2", "db"],
            "/usr/bin/mysql -u root -p# db",
        );
        check(&["mysql", "-p", "db"], "mysql -p db");
        check(
            &["sshpass", "-p", "hunter2", "ssh", "h"],
            "sshpass -p # ssh h",
        );
        check(&["ss", "-p", "x"], "ss -p x");
        check(&["docker", "run", "-p80:80"], "docker run -p80:80");
        check(&["curl", "-u", "me:hunter2", "h"], "curl -u # h");
        check(
            &["sh", "-c", "cd /; mysql -phunter2 db"],
            "sh -c cd /; mysql -p# db",
        );
    }

    #[test]
    fn headers_and_documents() {
        check(
            &["curl", "-H", "Authorization: Bearer a b", "x"],
            "curl -H Authorization: # x",
        );
        check(
            &["curl", "-H", "X-aws-ec2-metadata-token: abc"],
            "curl -H X-aws-ec2-metadata-token: #",
        );
        check(
            &["curl", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60"],
            "curl -H X-aws-ec2-metadata-token-ttl-seconds: 60",
        );
        check(
            &["sh", "-c", "curl -H 'Authorization: Bearer a' h"],
            "sh -c curl -H 'Authorization: #' h",
        );
        check(
            &["app", r#"{"password": "hunter 2", "a":"b"}"#],
            r##"app {"password": "#", "a":"b"}"##,
        );
        check(
            &["sh", "-c", "x --password 'hunter 2' y"],
            "sh -c x --password '#' y",
        );
        check(
            &["sh", "-c", "PASSWORD='hunter 2' y"],
            "sh -c PASSWORD='#' y",
        );
        check(
            &["curl", "http://h/?token=abc&a=b"],
            "curl http://h/?token=#&a=b",
        );
    }

    #[test]
    fn user_information_of_urls() {
        check(
            &["git", "clone", "https://me:hunter2@h/x"],
            "git clone https://#@h/x",
        );
        check(
            &["git", "clone", "https://ghp@h/x"],
            "git clone https://#@h/x",
        );
        check(&["psql", "postgres://u:p/w@h/x"], "psql postgres://#@h/x");
        check(&["x", "--url=https://u:p@h:80"], "x --url=https://#@h:80");
        check(
            &["x", "http://h:80/a@b", "http://[::1]:80/a@b"],
            "x http://h:80/a@b http://[::1]:80/a@b",
        );
        check(&["x", "--password=http://u:p@h"], "x --password=#");
        check(
            &["sh", "-c", "git clone 'https://u:p@h/x' y"],
            "sh -c git clone 'https://#@h/x' y",
        );
    }

    #[test]
    fn key_material_by_its_shape() {
        let token = "AQAEAGhVd0xrZ2JqS3B5bVZ0dGZ2Q1pXbk1LUW9hYnN3amR3w5w==";
        check(&["x", token, token.get(..20).unwrap()], "x # #");
        check(&["x", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"], "x #");
        check(&["x", &format!("v={token}")], "x #");
        let long = "z".repeat(9000);
        check(&["x", "y", &long], &format!("x y {}", "z".repeat(4092)));
        let cut = format!("{}hunter", "a ".repeat(2045));
        check(&[&cut], "a ".repeat(2045).as_str());
    }

    #[test]
    fn a_limit_cuts_after_blanking() {
        let redactor = Redactor::new(&Key([7; 32]));
        let line = redactor.command_line(b"app\0--password\0hunter2\0", 20);
        assert_eq!(line.len(), 20);
        assert!(!line.contains("hunter"), "{line}");
    }
}

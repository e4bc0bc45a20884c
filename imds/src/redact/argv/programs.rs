//! Options that take a password under a name that does not say so, by program.
//!
//! It knows the options of common clients (their manual pages) and nothing of what else they take.

/// A family of programs with the same options.
struct Program {
    names: &'static [&'static str],
    /// Options whose secret is the next argument, or stands behind `=` if they are long. A word
    /// without a dash may stand behind others and a dot.
    apart: &'static [&'static str],
    /// Short options whose secret is the rest of their word.
    joined: &'static [&'static str],
    /// Short options without a value: they may stand before others in one word.
    flags: &'static str,
    /// The options are meant only behind this word.
    behind: Option<&'static str>,
}

const NONE: Program = Program {
    names: &[],
    apart: &[],
    joined: &[],
    flags: "",
    behind: None,
};

const PROGRAMS: [Program; 14] = [
    Program {
        names: &["curl"],
        apart: &["-u", "-U", "-b", "--user", "--proxy-user"],
        joined: &["-u", "-U", "-b"],
        flags: "0123469#aBfgGiIjJklLMnNOpqRsSvVZ",
        ..NONE
    },
    Program {
        names: &[
            "mysql",
            "mysqldump",
            "mysqladmin",
            "mysqlimport",
            "mysqlcheck",
            "mariadb",
            "mariadb-dump",
            "mariadb-admin",
        ],
        joined: &["-p"],
        ..NONE
    },
    Program {
        names: &["sshpass"],
        apart: &["-p"],
        joined: &["-p"],
        flags: "ev",
        ..NONE
    },
    Program {
        names: &[
            "docker", "podman", "nerdctl", "buildah", "skopeo", "helm", "crane", "oras", "az",
        ],
        apart: &["-p"],
        joined: &["-p"],
        behind: Some("login"),
        ..NONE
    },
    Program {
        names: &["redis-cli"],
        apart: &["-a"],
        ..NONE
    },
    Program {
        names: &[
            "ldapsearch",
            "ldapmodify",
            "ldapadd",
            "ldapdelete",
            "ldappasswd",
            "ldapwhoami",
        ],
        apart: &["-w", "-s"],
        joined: &["-w"],
        flags: "xZvcnM",
        ..NONE
    },
    Program {
        names: &[
            "mongo",
            "mongosh",
            "mongodump",
            "mongorestore",
            "mongoexport",
            "mongoimport",
            "cqlsh",
        ],
        apart: &["-p"],
        ..NONE
    },
    Program {
        names: &["sqlcmd", "bcp", "ipmitool", "zip", "unzip"],
        apart: &["-P"],
        joined: &["-P"],
        ..NONE
    },
    Program {
        names: &["7z", "7za", "7zz"],
        joined: &["-p"],
        ..NONE
    },
    Program {
        names: &["lftp"],
        apart: &["-u"],
        ..NONE
    },
    Program {
        names: &["http", "https"],
        apart: &["-a"],
        ..NONE
    },
    Program {
        names: &["smbclient", "rpcclient"],
        apart: &["-U"],
        joined: &["-U"],
        ..NONE
    },
    Program {
        names: &["openssl"],
        apart: &["-k", "-K"],
        ..NONE
    },
    // `aws configure set aws_secret_access_key X`: a name without a dash, and its value.
    Program {
        names: &["aws"],
        apart: &["aws_secret_access_key", "aws_session_token"],
        behind: Some("set"),
        ..NONE
    },
];

/// Where in a command line a word stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Command<'a> {
    /// The word before.
    before: &'a str,
    /// Which of [`PROGRAMS`] were named so far, a bit each.
    programs: u16,
    /// A word of the command has been one of those that options are meant behind.
    behind: Option<&'static str>,
}

const _: () = assert!(PROGRAMS.len() <= u16::BITS as usize);

impl<'a> Command<'a> {
    /// The command that begins with this word.
    pub(super) fn of(word: &'a str) -> Self {
        Self {
            before: word,
            programs: named(word),
            behind: None,
        }
    }

    /// A further word of the command: it may be the program that another starts (`sudo`, `env`,
    /// `sh -c`, `docker exec`), or the image of it. Which of those named an option is for is not
    /// known, so each may take it.
    pub(super) fn pass(&mut self, word: &'a str) {
        let before = std::mem::replace(&mut self.before, word);
        if before != "--name" {
            self.programs |= named(word);
        }
        let behind = PROGRAMS.iter().filter_map(|program| program.behind);
        if let Some(known) = behind.into_iter().find(|known| *known == word) {
            self.behind = Some(known);
        }
    }

    /// Where in a word the secret begins that it holds; its length if the next argument is one.
    pub(super) fn secret_at(&self, word: &str) -> Option<usize> {
        let mut meant = self
            .options()
            .filter(|program| program.behind.is_none() || program.behind == self.behind);
        meant.find_map(|program| program.secret_at(word))
    }

    fn options(&self) -> impl Iterator<Item = &'static Program> {
        let programs = self.programs;
        let named = move |at: &usize| programs & (1 << at) != 0;
        let known = PROGRAMS.iter().enumerate();
        known.filter_map(move |(at, program)| named(&at).then_some(program))
    }
}

/// The programs that a word may name: by a path, or by an image with a tag or a digest.
fn named(word: &str) -> u16 {
    let name = word.rsplit('/').next().unwrap_or(word);
    let name = name.split([':', '@']).next().unwrap_or(name);
    let known = PROGRAMS.iter().enumerate();
    let named = known.filter(|(_, program)| program.names.contains(&name));
    named.fold(0, |all, (at, _)| all | 1 << at)
}

impl Program {
    fn secret_at(&self, word: &str) -> Option<usize> {
        let name = if word.starts_with('-') {
            word
        } else {
            word.rsplit('.').next().unwrap_or(word)
        };
        if self.apart.contains(&name) {
            return Some(word.len());
        }
        if word.starts_with("--") {
            let (name, _) = word.split_once('=')?;
            return self.apart.contains(&name).then_some(name.len() + 1);
        }
        let letters = word.strip_prefix('-')?;
        let at = letters.find(|letter| !self.flags.contains(letter))?;
        let rest = letters.get(at..)?;
        let is_option = |option: &&str| {
            let letter = option.strip_prefix('-');
            letter.is_some_and(|letter| letter.len() == 1 && rest.starts_with(letter))
        };
        if rest.len() == 1 {
            self.apart.iter().any(is_option).then_some(word.len())
        } else {
            let before = "-".len() + at + 1;
            self.joined.iter().any(is_option).then_some(before)
        }
    }
}

//! Options that take a password under a name that does not say so, by program.
//!
//! It knows the options of common clients (their manual pages) and nothing of what else they take.

/// A family of programs with the same options.
struct Program {
    names: &'static [&'static str],
    /// Options whose secret is the next argument, or stands behind `=` if they are long.
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
    /// Name of the program whose options are read.
    program: &'a str,
    /// A word of the command has been one of those that options are meant behind.
    behind: Option<&'static str>,
}

impl<'a> Command<'a> {
    /// The command that begins with this word.
    pub(super) fn of(word: &'a str) -> Self {
        Self {
            program: word.rsplit('/').next().unwrap_or(word),
            behind: None,
        }
    }

    /// A further word of the command: of a program that is not known it may be the program that it
    /// starts (`sudo`, `env`, `sh -c`).
    pub(super) fn pass(&mut self, word: &'a str) {
        let inner = Self::of(word);
        if self.options().next().is_none() && inner.options().next().is_some() {
            *self = inner;
            return;
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
        let name = self.program;
        PROGRAMS
            .iter()
            .filter(move |program| program.names.contains(&name))
    }
}

impl Program {
    fn secret_at(&self, word: &str) -> Option<usize> {
        if self.apart.contains(&word) {
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

#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the configuration file and looks at what it names, once"
)]
//! The configuration from its file.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use plimsoll_journal::check_folder;
use plimsoll_wire::Class;
use rustix::fs::{Mode, OFlags};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Config, ConfigError, Named};

/// Named in a mistake where there is no file.
const DEFAULTS: &str = "the defaults (no --config)";

/// Bytes of a token or of authorities at the most; a system's whole bundle has a quarter.
const MAX_BYTES: u64 = 1 << 20;

/// Reads and checks a file, and whether what it names can be used; the defaults without one, which need
/// `export.ca_file` as well. `node` is the node's name from outside, for a file that gives none; without
/// either it is the host's.
///
/// # Errors
/// Every mistake, the name of the node among them.
pub fn read(path: Option<&Path>, node: Option<&str>) -> Result<Config, ConfigError> {
    read_with(path, node, look)
}

/// [`read`], for a look at the host: what the file names is judged by [`look_at_named`] instead.
///
/// # Errors
/// Every other mistake.
pub fn read_alone(path: &Path, node: Option<&str>) -> Result<Config, ConfigError> {
    read_with(Some(path), node, |_, _| Ok(()))
}

/// Each setting that names a file or folder, its path, and why it cannot be used.
pub fn look_at_named(config: &Config) -> Vec<(&'static str, PathBuf, Option<String>)> {
    let named = super::check::named(config);
    named
        .map(|(place, named, path, _)| (place, path.to_owned(), look(named, path).err()))
        .collect()
}

fn read_with(
    path: Option<&Path>,
    node: Option<&str>,
    look: impl Fn(Named, &Path) -> Result<(), String>,
) -> Result<Config, ConfigError> {
    let outside = node
        .filter(|name| !name.is_empty())
        .map_or_else(host_name, str::to_owned);
    let read = |name: &str, text: &str| {
        let mut config = Config::parse_with_files(name, text, &outside, &look)?;
        if config.node.is_empty() {
            config.node.clone_from(&outside);
        }
        Ok(config)
    };
    let Some(path) = path else {
        return read(DEFAULTS, "");
    };
    let name = path.display().to_string();
    let text =
        fs::read_to_string(path).map_err(|error| ConfigError(vec![format!("{name}: {error}")]))?;
    read(&name, &text)
}

/// Empty where it is no text.
fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_str().unwrap_or_default().to_owned()
}

/// So that a mistake ends the start, and not the first export or nothing at all.
fn look(named: Named, path: &Path) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    match named {
        Named::Token => token(&read_small(path).map_err(text)?)
            .map(drop)
            .map_err(str::to_owned),
        Named::Authorities => authorities(&read_small(path).map_err(text)?),
        // The link need not lead anywhere: it is there in a procfs of other processes too.
        Named::Procfs => match fs::read_dir(path).map_err(text) {
            Ok(_) if path.join("self").symlink_metadata().is_ok() => Ok(()),
            Ok(_) => Err("it holds no procfs".to_owned()),
            Err(why) => Err(why),
        },
        Named::Cgroups => fs::read_dir(path).map(drop).map_err(text),
        Named::Spool => check_folder(path, &Class::ALL.map(Class::as_str)),
    }
}

/// The whole of a file that a setting names. Does not wait for anybody: a FIFO without a writer would
/// hold up the start without a word.
///
/// # Errors
/// Why it cannot be read, or that it is no regular file (links are followed), or too long.
pub(crate) fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let refuse = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why);
    let is_plain = |found: &fs::Metadata| {
        let plain = found.is_file().then_some(());
        plain.ok_or_else(|| refuse("it is no regular file"))
    };
    // Before it is opened, since opening a device may do something; and after, since it may be another
    // by then.
    is_plain(&fs::metadata(path)?)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    is_plain(&file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(refuse("it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// The bearer token that a file holds.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn token(bytes: &[u8]) -> Result<&str, &'static str> {
    match bytes.trim_ascii() {
        [] => Err("it is empty"),
        token if token.iter().all(u8::is_ascii_graphic) => {
            std::str::from_utf8(token).map_err(|_| "it is no text")
        }
        _ => Err("it holds white space or other bytes that no token has"),
    }
}

/// As the export will read them, so that one that is not understood shows now.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn authorities(pem: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| "it is no PEM")?;
        roots
            .add(certificate)
            .map_err(|error| format!("one of its certificates is none: {error}"))?;
    }
    if roots.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of one setting whose value is a path.
    fn said(setting: &str, path: &Path) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("agent.yaml");
        let (section, key) = setting.split_once('.').unwrap();
        let local = "export: { endpoint: 'http://127.0.0.1:1' }\n";
        let text = match section {
            "export" => format!(
                "export:\n  {key}: {}\n  endpoint: http://127.0.0.1:1\n",
                path.display()
            ),
            _ => format!("{section}:\n  {key}: {}\n{local}", path.display()),
        };
        fs::write(&config, text).unwrap();
        let error = read(Some(&config), Some("n1")).err()?.to_string();
        let begin = format!("{}:2: {setting}: must be ", config.display());
        let rest = error
            .strip_prefix(&begin)
            .unwrap_or_else(|| panic!("{error}"));
        let (_, why) = rest.split_once(&format!(": {}: ", path.display())).unwrap();
        Some(why.to_owned())
    }

    const MISSING: &str = "No such file or directory (os error 2)";

    #[test]
    fn a_token_file_holds_a_token() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        let check = |why: Option<&str>| {
            assert_eq!(said("export.token_file", &token).as_deref(), why);
        };
        check(Some(MISSING));
        for (text, why) in [
            ("", Some("it is empty")),
            (" \n", Some("it is empty")),
            (
                "a b",
                Some("it holds white space or other bytes that no token has"),
            ),
            ("secret\n", None),
        ] {
            fs::write(&token, text).unwrap();
            check(why);
        }
    }

    #[test]
    fn a_file_of_authorities_holds_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let check = |why: Option<&str>| {
            assert_eq!(said("export.ca_file", &ca).as_deref(), why);
        };
        check(Some(MISSING));
        let own = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        let begin = "-----BEGIN CERTIFICATE-----\n";
        for (text, why) in [
            ("a", Some("it holds no certificate")),
            (
                &own.signing_key.serialize_pem(),
                Some("it holds no certificate"),
            ),
            (begin, Some("it is no PEM")),
            (&own.cert.pem(), None),
        ] {
            fs::write(&ca, text).unwrap();
            check(why);
        }
        fs::write(&ca, format!("{begin}AAAA\n-----END CERTIFICATE-----\n")).unwrap();
        let why = said("export.ca_file", &ca).unwrap();
        assert!(
            why.starts_with("one of its certificates is none: "),
            "{why}"
        );
    }

    #[test]
    fn only_regular_files_of_some_length_are_read() {
        use rustix::fs::{CWD, FileType, mknodat};
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, at("fifo"), FileType::Fifo, mode, 0).unwrap();
        fs::write(at("long"), vec![b'a'; (1 << 20) + 1]).unwrap();
        fs::write(at("token"), "secret").unwrap();
        std::os::unix::fs::symlink(at("token"), at("link")).unwrap();
        for (name, why) in [
            ("fifo", Some("it is no regular file")),
            (".", Some("it is no regular file")),
            ("long", Some("it is longer than 1 MiB")),
            ("link", None),
        ] {
            for setting in ["export.token_file", "export.ca_file"] {
                let why =
                    why.or((setting == "export.ca_file").then_some("it holds no certificate"));
                assert_eq!(said(setting, &at(name)).as_deref(), why, "{name}");
            }
        }
    }

    #[test]
    fn the_trees_of_the_host_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none");
        for setting in ["host.proc", "host.cgroup"] {
            assert_eq!(said(setting, &missing).as_deref(), Some(MISSING));
        }
        let why = said("host.proc", folder.path());
        assert_eq!(why.as_deref(), Some("it holds no procfs"));
        assert_eq!(said("host.proc", Path::new("/proc")), None);
        // Whether cgroups are there is the host's matter, and a reason in `/readyz`.
        assert_eq!(said("host.cgroup", folder.path()), None);
    }

    #[test]
    fn the_defaults_need_an_authority() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("agent.yaml");
        fs::write(&empty, "").unwrap();
        let what = "export.ca_file: must be given for https://plimsoll-collector.plimsoll.svc:4317: \
                    no authorities are trusted but those in it";
        let error = read(Some(&empty), Some("n1")).unwrap_err().to_string();
        assert_eq!(error, format!("{}: {what}", empty.display()));
        let error = read(None, Some("n1")).unwrap_err().to_string();
        assert_eq!(error, format!("{DEFAULTS}: {what}"));
        let error = read(Some(&folder.path().join("none.yaml")), None).unwrap_err();
        assert!(
            error.to_string().contains("none.yaml: No such file"),
            "{error}"
        );
    }
}

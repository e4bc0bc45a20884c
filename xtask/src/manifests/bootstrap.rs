#![expect(
    clippy::disallowed_methods,
    reason = "shell: runs the script that makes certificates, reads and spoils its files"
)]
//! `daemonset/tls/bootstrap.sh`, tried with openssl: a second run renews the certificate and keeps the authority, a
//! run that fails leaves what was there, and the commands that it prints name files that are there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell;

/// A kubectl for the printed commands: each file that it is given must be there and not empty.
const KUBECTL: &str = r#"
set -eu
kubectl() {
    for word; do
        case $word in
            --cert=* | --key=*) test -s "${word#*=}" ;;
            --from-file=ca.crt=*) test -s "${word#--from-file=ca.crt=}" ;;
            *.yaml) test -s "$word" ;;
        esac || { echo "$word is not there" >&2; kill $$; exit 1; }
    done
}
"#;

struct Folder(PathBuf);

impl Folder {
    /// One that is not there, with a name that a shell reads as two and a half words.
    fn new() -> Result<Self> {
        let place = shell::target().join("manifests/tls of the collector's");
        match std::fs::remove_dir_all(&place) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(Self(place)),
        }
    }

    /// What the script prints.
    fn run(&self) -> Result<String> {
        let mut script = shell::command("sh", &["daemonset/tls/bootstrap.sh"]);
        shell::read(script.arg(&self.0))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        std::fs::read(self.0.join(name)).context(name.to_owned())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

pub(super) fn check() -> Result<()> {
    let folder = Folder::new()?;
    let printed = folder.run()?;
    commands_work(&printed)?;
    let (authority, certificate) = (folder.read("ca.crt")?, folder.read("tls.crt")?);
    folder.run()?;
    if authority != folder.read("ca.crt")? || certificate == folder.read("tls.crt")? {
        bail!("a second run renews the certificate and leaves the authority, and did not");
    }
    a_failure_leaves_what_was_there(&folder)?;
    what_is_missing_is_made_or_told(&folder)
}

fn commands_work(printed: &str) -> Result<()> {
    let (_, commands) = printed
        .split_once("Into the cluster:\n")
        .context("no commands are printed")?;
    let text = [KUBECTL, commands].concat();
    // Not from the project's folder, which the commands must not depend on.
    let mut shell = shell::command("sh", &["-c", &text]);
    shell::run(shell.current_dir("/")).context("the printed commands")
}

/// With a key that is none nothing can be signed.
fn a_failure_leaves_what_was_there(folder: &Folder) -> Result<()> {
    let pair = || Ok::<_, anyhow::Error>((folder.read("tls.key")?, folder.read("tls.crt")?));
    let (before, key) = (pair()?, folder.read("ca.key")?);
    write(&folder.path("ca.key"), b"none")?;
    if folder.run().is_ok() {
        bail!("a key that is none signs");
    }
    if pair()? != before {
        bail!("a run that failed leaves key and certificate as they were, and did not");
    }
    write(&folder.path("ca.key"), &key)
}

fn what_is_missing_is_made_or_told(folder: &Folder) -> Result<()> {
    // As after a run that was cut short; what the key signed before stays good.
    std::fs::remove_file(folder.path("ca.crt"))?;
    let before = folder.read("tls.crt")?;
    write(&folder.path("before.crt"), &before)?;
    folder.run().context("without ca.crt")?;
    let mut verify = shell::command("openssl", &["verify", "-CAfile"]);
    verify.args(["ca.crt", "before.crt"].map(|name| folder.path(name)));
    shell::read(&mut verify).context("a certificate from before, with the new ca.crt")?;
    std::fs::remove_file(folder.path("ca.key"))?;
    let authority = folder.read("ca.crt")?;
    if folder.run().is_ok() || folder.read("ca.crt")? != authority {
        bail!("an authority without its key is told and left, and was not");
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

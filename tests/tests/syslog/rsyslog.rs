//! rsyslog as a receiver over TLS, with certificates of its own authority.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// More than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Certificates and what else rsyslog needs, in a folder.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "tests");
        let key = KeyPair::generate().unwrap();
        place.write("ca.pem", &params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        for name in ["siem", "plimsoll"] {
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let key = KeyPair::generate().unwrap();
            let signed = params.signed_by(&key, &issuer).unwrap();
            place.write(&format!("{name}.pem"), &signed.pem());
            place.write(&format!("{name}.key"), &key.serialize_pem());
        }
        place
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.at(name), text).unwrap();
    }

    /// It takes clients of the authority, and says each message as a line.
    fn configuration(&self, port: u16) -> String {
        let at = |name: &str| self.at(name).display().to_string();
        let mut text = String::new();
        let _infallible = write!(
            text,
            "global(processInternalMessages=\"on\" maxMessageSize=\"128k\" workDirectory=\"{}\"\n\
             \x20 parser.escapeControlCharactersOnReceive=\"off\" defaultNetstreamDriver=\"gtls\"\n\
             \x20 defaultNetstreamDriverCAFile=\"{}\" defaultNetstreamDriverCertFile=\"{}\"\n\
             \x20 defaultNetstreamDriverKeyFile=\"{}\")\n\
             module(load=\"imtcp\" streamDriver.mode=\"1\" streamDriver.authMode=\"x509/certvalid\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" listenPortFileName=\"{}\")\n",
            self.folder.path().display(),
            at("ca.pem"),
            at("siem.pem"),
            at("siem.key"),
            at("port"),
        );
        text.push_str(
            "template(name=\"line\" type=\"string\" string=\"%syslogfacility%.%syslogseverity% \
             %timereported:::date-rfc3339% %hostname% %app-name% %procid% %msgid% %structured-data% %msg%\\n\")\n\
             action(type=\"omfile\" file=\"/dev/stdout\" template=\"line\")\n",
        );
        text
    }
}

/// Where rsyslog was unpacked.
pub(crate) struct Programs {
    rsyslogd: PathBuf,
    libraries: PathBuf,
}

impl Programs {
    pub(crate) fn find() -> Option<Self> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        // `-M` takes no relative path.
        let root = tests.parent()?.join("target/rsyslog").canonicalize().ok()?;
        let rsyslogd = root.join("usr/sbin/rsyslogd");
        let mut libraries = std::fs::read_dir(root.join("usr/lib")).ok()?.flatten();
        let libraries = libraries.find(|of| of.path().join("rsyslog/lmnsd_gtls.so").is_file())?;
        rsyslogd.is_file().then_some(Self {
            rsyslogd,
            libraries: libraries.path(),
        })
    }

    /// On that port, or of 0 on one of its own choice.
    pub(crate) fn start(&self, place: &Place, port: u16) -> Rsyslog {
        place.write("rsyslog.conf", &place.configuration(port));
        let mut child = Command::new(&self.rsyslogd)
            .args(["-n", "-iNONE", "-f"])
            .arg(place.at("rsyslog.conf"))
            .arg("-M")
            .arg(self.libraries.join("rsyslog"))
            .env("LD_LIBRARY_PATH", &self.libraries)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let (told, lines) = channel();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in said.map_while(Result::ok) {
                if told.send(line).is_err() {
                    break;
                }
            }
        });
        let mut rsyslog = Rsyslog {
            child,
            lines,
            port: 0,
        };
        // Its first words come once it listens.
        let first = rsyslog.lines.recv_timeout(PATIENCE).unwrap();
        assert!(first.ends_with(" start"), "{first}");
        let port = std::fs::read_to_string(place.at("port")).unwrap();
        rsyslog.port = port.trim().parse().unwrap();
        rsyslog
    }
}

/// A server of ours; it ends with this.
pub(crate) struct Rsyslog {
    child: Child,
    lines: Receiver<String>,
    pub(crate) port: u16,
}

impl Rsyslog {
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    /// Ends it in order. What it said and nobody has read yet, but for its own words.
    pub(crate) fn end(mut self) -> Vec<String> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
        let rest = self.lines.iter();
        rest.filter(|line| !line.contains(" rsyslogd ")).collect()
    }

    /// Ends it at once.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

//! Everywhere that events go, and what goes wrong there.

use std::path::{Path, PathBuf};

use plimsoll_tests::cloudwatch::{CloudWatch, Fault, Operation, Times};
use plimsoll_tests::elasticsearch::Elasticsearch;
use plimsoll_tests::hec::{Hec, Token};
use plimsoll_tests::otlp::{Otlp, Protocol};
use serde_json::{Value, json};

use crate::rsyslog::{Place, Programs, Rsyslog};

const GROUP: &str = "/plimsoll/soak";
const TOKEN: &str = "5ec7e7-0f";
/// Where documents go: an index, for a data stream takes none without ECS's `@timestamp`.
const INDEX: &str = "plimsoll-soak";

pub(crate) struct Places {
    folder: PathBuf,
    cloudwatch: CloudWatch,
    hec: Hec,
    elastic: Elasticsearch,
    otel: Otlp,
    syslog: Option<Syslog>,
}

/// A receiver of syslog that is killed and started again.
struct Syslog {
    programs: Programs,
    place: Place,
    running: Option<Rsyslog>,
    port: u16,
    /// What the killed ones said.
    lines: Vec<String>,
}

impl Places {
    pub(crate) fn open(folder: &Path) -> Self {
        let (cloudwatch, hec) = (CloudWatch::start().unwrap(), Hec::start().unwrap());
        cloudwatch.create_group(GROUP).unwrap();
        let token = Token {
            has_acks: true,
            ..Token::default()
        };
        hec.add_token(TOKEN, token);
        std::fs::write(folder.join("hec-token"), TOKEN).unwrap();
        let elastic = Elasticsearch::start().unwrap();
        elastic.accept(&format!("ApiKey {TOKEN}"));
        Self {
            folder: folder.to_owned(),
            cloudwatch,
            hec,
            elastic,
            otel: Otlp::start(Protocol::Grpc).unwrap(),
            syslog: Programs::find().map(Syslog::start),
        }
    }

    pub(crate) fn sinks(&self) -> Value {
        let mut sinks = vec![
            json!({
                "name": "aws",
                "cloudwatch": {
                    "group": GROUP,
                    "stream": "cluster-1",
                    "region": "eu-central-1",
                    "endpoint": self.cloudwatch.endpoint(),
                },
            }),
            json!({
                "name": "splunk",
                "hec": {
                    "endpoint": self.hec.endpoint(),
                    "token_file": self.folder.join("hec-token"),
                    "acknowledgement": true,
                    "ack_timeout_s": 2,
                },
            }),
            json!({
                "name": "elastic",
                "format": "ocsf-1.8",
                "elasticsearch": {
                    "endpoint": self.elastic.endpoint(),
                    "index": INDEX,
                    "secret_file": self.folder.join("hec-token"),
                },
            }),
            json!({"name": "otel", "otlp": {"endpoint": self.otel.endpoint(), "gzip": true}}),
            json!({
                "name": "lines",
                "file": {
                    "path": self.folder.join("lines"),
                    "rotate_bytes": 1 << 20,
                    "keep_files": 10_000,
                },
            }),
            json!({
                "name": "older",
                "format": "ocsf-1.3",
                "file": {"path": self.folder.join("older"), "keep_files": 10_000},
            }),
        ];
        if let Some(syslog) = &self.syslog {
            let at = |name: &str| syslog.place.at(name);
            sinks.push(json!({
                "name": "siem",
                "syslog": {
                    "address": format!("127.0.0.1:{}", syslog.port),
                    "server_name": "siem",
                    "ca_file": at("ca.pem"),
                    "cert_file": at("plimsoll.pem"),
                    "key_file": at("plimsoll.key"),
                },
            }));
        }
        Value::Array(sinks)
    }

    pub(crate) const fn has_syslog(&self) -> bool {
        self.syslog.is_some()
    }

    /// Something that goes wrong for a while, and passes.
    pub(crate) fn trouble(&mut self, dice: &mut fastrand::Rng) {
        match dice.u32(..13) {
            0..=3 => self.cloudwatch.trouble(dice),
            4..=6 => self.hec.trouble(dice),
            // Somebody takes the collector's rights away for a moment.
            7 => self.cloudwatch.fail(
                Operation::PutLogEvents,
                Fault::access_denied(),
                Times::Next(1),
            ),
            8 | 9 => self.elastic.trouble(dice),
            10 => self.otel.trouble(dice),
            11 => self.cloudwatch.set_down(dice.bool()),
            _ => self.kill_syslog(),
        }
    }

    /// The receiver of syslog, if there is one.
    pub(crate) fn kill_syslog(&mut self) {
        if let Some(syslog) = &mut self.syslog {
            syslog.kill_and_start();
        }
    }

    /// Everything works from now on.
    pub(crate) fn heal(&self) {
        self.cloudwatch.set_down(false);
        self.cloudwatch.heal();
        self.hec.heal();
        self.elastic.heal();
        self.otel.heal();
    }

    /// The events that each place has, by the sink's name, in the order in which they came.
    pub(crate) fn events(&mut self) -> Vec<Events> {
        let streams = self.cloudwatch.stored_in(GROUP);
        let in_streams = streams.into_values().flatten().map(|event| event.message);
        assert_eq!(self.hec.skipped(), 0);
        let indexed = self.hec.stored().into_iter().map(|stored| stored.event);
        let mut indices = self.elastic.stored();
        // Each under its own name, and so once.
        let documents = indices.remove(INDEX).unwrap_or_default().into_values();
        let records = self.otel.stored().into_iter();
        let records = records.map(|stored| stored.body().to_owned());
        let mut all = vec![
            Events::at_least_once("aws", in_streams.collect()),
            Events::at_least_once("splunk", indexed.collect()),
            Events::at_least_once("elastic", documents.collect()),
            Events::at_least_once("otel", records.collect()),
            Events::once("lines", lines(&self.folder.join("lines"))),
            Events::once("older", lines(&self.folder.join("older"))),
        ];
        if let Some(syslog) = &mut self.syslog {
            all.push(Events::at_most("siem", syslog.end()));
        }
        all
    }
}

/// What a place has.
pub(crate) struct Events {
    pub(crate) sink: &'static str,
    pub(crate) texts: Vec<String>,
    /// None is there twice.
    pub(crate) once: bool,
    /// All are there that must be. Not of syslog: what was on its way to a receiver that was killed is nowhere.
    pub(crate) all: bool,
}

impl Events {
    const fn at_least_once(sink: &'static str, texts: Vec<String>) -> Self {
        Self {
            sink,
            texts,
            once: false,
            all: true,
        }
    }

    const fn once(sink: &'static str, texts: Vec<String>) -> Self {
        Self {
            sink,
            texts,
            once: true,
            all: true,
        }
    }

    const fn at_most(sink: &'static str, texts: Vec<String>) -> Self {
        Self {
            sink,
            texts,
            once: false,
            all: false,
        }
    }
}

impl Syslog {
    fn start(programs: Programs) -> Self {
        let place = Place::new();
        let running = programs.start(&place, 0);
        Self {
            port: running.port,
            running: Some(running),
            programs,
            place,
            lines: Vec::new(),
        }
    }

    fn kill_and_start(&mut self) {
        if let Some(running) = self.running.take() {
            self.lines.extend(running.kill());
        }
        self.running = Some(self.programs.start(&self.place, self.port));
    }

    /// The messages of the lines that are whole.
    fn end(&mut self) -> Vec<String> {
        if let Some(running) = self.running.take() {
            self.lines.extend(running.end());
        }
        let texts = self.lines.drain(..).filter_map(|line| {
            let (_, text) = line.split_once("] ")?;
            let text = text.trim_start_matches('\u{feff}');
            text.ends_with('}').then(|| text.to_owned())
        });
        texts.collect()
    }
}

/// The lines of a folder's files, the oldest first.
fn lines(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|file| file.unwrap().path()).collect();
    files.sort_by_key(|path| {
        let number = path.extension().and_then(|of| of.to_str()?.parse().ok());
        -number.unwrap_or(0_i64)
    });
    let texts = files
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap());
    texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

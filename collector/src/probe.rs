//! `plimsoll-collector check-config --probe`: a marked event to each sink, and what became of it.
//!
//! To CloudWatch Logs it goes into a stream of its own, `PREFIX/probe`; Security Lake gets objects without events, and
//! to files and standard output nothing is written: a probe is
//! no link of the chain, and is to be in nobody's way.

use serde_json::{Value, json};

use crate::api::precise;
use crate::config::sinks::{Format, Sink, SinkKind};
use crate::ocsf::Schema;
use crate::ocsf::event::trail as ocsf;
use crate::ocsf::project::project;
use crate::sinks::cloudwatch::CloudWatch;
use crate::sinks::elasticsearch::Elasticsearch;
use crate::sinks::hec::Hec;
use crate::sinks::lake;
use crate::sinks::otlp::Otlp;
use crate::sinks::syslog::Syslog;
use crate::sinks::{Message, RefusalKind, Refused, Sent};

/// Of the collector, as events say it.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The stream's name behind the prefix.
const STREAM: &str = "probe";
/// Calls at the most: one that makes a missing stream is followed by another.
const CALLS: usize = 4;

/// Lines of a probe would be among those of this command.
const PROBED_STDOUT: &str = "standard output is the collector's own: nothing is written";

/// Sends a marked event at that time, Unix nanoseconds. Where it went, in words.
///
/// # Errors
/// The sink refuses, as it would refuse events.
pub async fn probe(sink: &Sink, now_unix_ns: u64) -> Result<String, Refused> {
    let message = Message {
        seq: 1,
        time_unix_ns: now_unix_ns,
        uid: uid(now_unix_ns),
        text: text(sink.format, now_unix_ns),
    };
    let (message, at_ms) = (std::slice::from_ref(&message), now_unix_ns / 1_000_000);
    match &sink.kind {
        SinkKind::CloudWatch(settings) => {
            let mut to = CloudWatch::new(settings, STREAM);
            until_taken(async || to.send(message, at_ms).await).await?;
            let (uid, stream) = (uid(now_unix_ns), to.stream());
            Ok(format!(
                "{uid} is in log stream {stream} of {}",
                settings.group
            ))
        }
        SinkKind::Hec(settings) => {
            let mut to = Hec::new(settings);
            until_taken(async || to.send(message, at_ms).await).await?;
            Ok(format!("{} is at {}", uid(now_unix_ns), settings.endpoint))
        }
        SinkKind::Elasticsearch(settings) => {
            let mut to = Elasticsearch::new(settings);
            until_taken(async || to.send(message).await).await?;
            let (uid, endpoint) = (uid(now_unix_ns), &settings.endpoint);
            Ok(format!("{uid} is in {} at {endpoint}", settings.index))
        }
        SinkKind::Otlp(settings) => {
            let mut to = Otlp::new(settings);
            until_taken(async || to.send(message).await).await?;
            Ok(format!("{} is at {}", uid(now_unix_ns), settings.endpoint))
        }
        SinkKind::Syslog(settings) => {
            let mut to = Syslog::new(settings);
            until_taken(async || to.send(message, at_ms).await).await?;
            to.close().await;
            let (uid, address) = (uid(now_unix_ns), &settings.address);
            Ok(format!(
                "{uid} was written to {address}, which acknowledges nothing"
            ))
        }
        SinkKind::SecurityLake(settings) => {
            let now_ms = i64::try_from(at_ms).unwrap_or(i64::MAX);
            let keys = lake::probe(settings, now_ms).await?;
            let (count, last) = (keys.len(), keys.last().map_or("", String::as_str));
            Ok(format!(
                "{count} objects without events are in {}, the last is {last}",
                settings.bucket
            ))
        }
        SinkKind::Stdout => Ok(PROBED_STDOUT.to_owned()),
        SinkKind::File(file) => match plimsoll_journal::check_folder(&file.path, &[]) {
            Ok(()) => Ok(format!("files can be written in {}", file.path.display())),
            Err(why) => Err(refused(why)),
        },
    }
}

/// Calls until the message has its fate.
async fn until_taken(mut call: impl AsyncFnMut() -> Result<Sent, Refused>) -> Result<(), Refused> {
    for _ in 0..CALLS {
        let sent = call().await?;
        if let Some(of) = sent.quarantined.into_iter().next() {
            return Err(refused(of.reason.to_string()));
        }
        if sent.taken > 0 {
            return Ok(());
        }
    }
    Err(refused("it gave no answer that says anything".to_owned()))
}

fn refused(what: String) -> Refused {
    Refused {
        kind: RefusalKind::Other,
        what,
        source: None,
        retry_after_ms: None,
    }
}

fn uid(now_unix_ns: u64) -> String {
    format!("probe/{}", precise(now_unix_ns))
}

/// Something that everybody knows for what it is.
fn text(format: Format, now_unix_ns: u64) -> String {
    let event = ocsf::probe(&uid(now_unix_ns), now_unix_ns, VERSION);
    // Its keys are texts: it can always be one.
    let event = serde_json::to_value(event).unwrap_or_default();
    match format {
        Format::Ocsf18 => event.to_string(),
        Format::Ocsf13 => project(&event, Schema::v1_8(), Schema::v1_3())
            .unwrap_or(Value::Null)
            .to_string(),
        Format::Ecs => json!({
            "@timestamp": precise(now_unix_ns),
            "ecs": {"version": crate::ecs::VERSION},
            "event": {"kind": "event", "dataset": "plimsoll.probe", "id": uid(now_unix_ns)},
            "message": ocsf::PROBE_MESSAGE,
        })
        .to_string(),
        Format::Cef => format!(
            "CEF:0|Plimsoll|Plimsoll|{VERSION}|probe|{}|0|rt={}",
            ocsf::PROBE_MESSAGE,
            now_unix_ns / 1_000_000
        ),
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "test: a file where a folder should be"
)]
mod tests {
    use super::*;
    use crate::config::sinks::{File, Route};
    use crate::ocsf::validate::validate;

    #[test]
    fn a_probe_is_a_sound_event_in_every_form() {
        let now = 1_764_561_234_123_456_789;
        for (format, schema) in [
            (Format::Ocsf18, Schema::v1_8()),
            (Format::Ocsf13, Schema::v1_3()),
        ] {
            let event: Value = serde_json::from_str(&text(format, now)).unwrap();
            assert_eq!(validate(schema, &event), []);
            assert_eq!(event["metadata"]["log_name"], "probe");
        }
        let ecs: Value = serde_json::from_str(&text(Format::Ecs, now)).unwrap();
        assert_eq!(ecs["event"]["dataset"], "plimsoll.probe");
        assert!(text(Format::Cef, now).starts_with("CEF:0|Plimsoll|Plimsoll|"));
    }

    #[tokio::test]
    async fn a_folder_of_files_is_only_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let sink = |path: &str| Sink {
            name: "lines".to_owned(),
            kind: SinkKind::File(File {
                path: folder.path().join(path),
                ..File::default()
            }),
            format: Format::Ocsf18,
            route: Route::default(),
        };
        assert!(probe(&sink("lines"), 1).await.is_ok());
        assert!(!folder.path().join("lines").exists());
        std::fs::write(folder.path().join("none"), "").unwrap();
        let why = probe(&sink("none"), 1).await.unwrap_err().to_string();
        assert!(why.contains("is none"), "{why}");
    }
}

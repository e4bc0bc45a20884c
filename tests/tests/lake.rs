#![expect(
    clippy::disallowed_methods,
    reason = "shell: starts moto, DuckDB and pyarrow, and looks whether they are there"
)]
#![expect(clippy::unwrap_used, reason = "a test with a main of its own")]
//! The collector's sink to Security Lake beside those who read it: its objects in moto's S3, looked at by DuckDB and
//! pyarrow, and verified.
//!
//! Needs moto in `target/moto` (see `moto.rs`), and DuckDB and pyarrow in `target/lake`, where `.ci/run` installs them:
//!
//! ```sh
//! python3 -m venv target/lake
//! target/lake/bin/pip install -r tests/tests/lake/requirements.txt
//! ```
//!
//! Without them one line is printed, `SKIP objects of Security Lake: reason`. A word on the command line selects the
//! cases whose name contains it.

#[path = "ocsf/corpus.rs"]
mod corpus;
#[path = "moto/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use plimsoll_collector::cli;
use plimsoll_collector::config::Data;
use plimsoll_collector::config::sinks::{Format, Route, SecurityLake, Sink, SinkKind};
use plimsoll_collector::outlet::lake::LakeOutlet;
use plimsoll_collector::probe::probe;
use plimsoll_collector::reader::{Reader, Source as _};
use plimsoll_collector::sinks::RefusalKind;
use plimsoll_collector::trail::entry::Entry;
use plimsoll_collector::trail::{Draft, Settings, Trail};
use plimsoll_journal::FileStorage;
use plimsoll_tests::checks::{self, Verdict};
use serde_json::{Value, json};
use server::Moto;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// More than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);
/// 2026-11-30, 23:50 UTC.
const BEGIN_MS: u64 = 1_796_082_600_000;
const ACCOUNT: &str = "012345678901";
/// Of the sink's own chain of credentials. Moto asks for none in particular.
const KEY: (&str, &str) = ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");

type Case = fn(&Moto) -> Verdict;

fn main() -> ExitCode {
    if std::env::var_os(KEY.0).as_deref() != Some(OsStr::new(KEY.1)) {
        // The environment is set before there are threads: by a process that becomes this one.
        let mut again = Command::new(std::env::current_exe().unwrap());
        let again = again.args(std::env::args_os().skip(1));
        let error = again
            .env(KEY.0, KEY.1)
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .exec();
        panic!("{error}");
    }
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    if !server::program().is_file() || !python("lake").is_file() {
        let why = "needs moto in target/moto, DuckDB and pyarrow in target/lake";
        let skip = || Verdict::Skipped(why.to_owned());
        return checks::run("lake", [("objects of Security Lake", skip)], None);
    }
    let moto = Moto::start(&server::program());
    let cases: [(&str, Case); 3] = [
        (
            "every_event_is_there_once_as_security_lake_wants_it",
            every_event_is_there_once,
        ),
        (
            "a_bucket_that_is_missing_keeps_the_events_waiting",
            a_missing_bucket,
        ),
        ("a_probe_is_nothing_to_a_query", a_probe),
    ];
    let moto = &moto;
    let cases = cases.map(|(name, case)| (name, move || case(moto)));
    checks::run("lake", cases, filter.as_deref())
}

fn python(of: &str) -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .unwrap()
        .join(format!("target/{of}/bin/python"))
}

/// What a script of this test says.
fn script(of: &str, name: &str, arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/lake")
        .join(name);
    let output = Command::new(python(of))
        .arg(script)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

fn settings(moto: &Moto, bucket: &str) -> SecurityLake {
    SecurityLake {
        bucket: bucket.to_owned(),
        region: "eu-west-1".to_owned(),
        account_id: ACCOUNT.to_owned(),
        endpoint: Some(moto.endpoint.clone()),
        path_style: true,
        ..SecurityLake::default()
    }
}

/// A trail with every kind of event, written down over a quarter of an hour and about two days; in no order of time.
fn trail(folder: &Path, readers: &[&str]) -> (Trail, BTreeSet<String>) {
    let storage = |name: &str| FileStorage::open(&folder.join(name)).unwrap();
    let opened = Settings {
        readers: readers.iter().map(|name| (*name).to_owned()).collect(),
        max_bytes: 1 << 30,
        max_age_ns: None,
        epoch: "20261130T235000Z-00000000000000a1".to_owned(),
        new_journal_epoch: "0".repeat(32),
        version: "0",
    };
    let (trail, _) = Trail::open(storage("trail"), storage("keys"), opened).unwrap();
    let mut dice = fastrand::Rng::with_seed(7);
    // Of requests there are very many.
    let some = corpus::events().enumerate();
    let some = some.filter(|(at, _)| *at < 60 || at % 11 == 0);
    let drafts = some.enumerate().map(|(at, (_, (_, event)))| {
        let mut event = event.as_object().unwrap().clone();
        let time_ms = BEGIN_MS + at as u64 / 10 + dice.u64(..5000) + 600_000 * (at as u64 % 2);
        event.insert("time".to_owned(), time_ms.into());
        Draft {
            event,
            document: "{}".to_owned(),
            time_unix_ns: time_ms * 1_000_000,
            source_seq: at as u64 + 1,
        }
    });
    let drafts: Vec<_> = drafts.collect();
    let third = drafts.len() / 3 + 1;
    for (at, some) in drafts.chunks(third).enumerate() {
        let written_ms = BEGIN_MS + 700_000 + at as u64 * 300_000;
        trail
            .publish(some.to_vec(), "s", written_ms * 1_000_000)
            .unwrap();
    }
    trail.close((BEGIN_MS + 1_400_000) * 1_000_000).unwrap();
    let mut bodies = BTreeSet::new();
    let mut cursor = 0;
    loop {
        let batch = trail.hand_out(readers[0], 100_000, 1 << 30).unwrap();
        let Some(last) = batch.records.last().filter(|last| last.seq > cursor) else {
            break;
        };
        cursor = last.seq;
        let texts = batch
            .records
            .iter()
            .map(|record| Entry::of(&record.payload).unwrap().body);
        bodies.extend(texts);
    }
    trail.put_back(readers[0]).unwrap();
    (trail, bodies)
}

fn data_in(folder: &Path) -> Data {
    Data {
        path: folder.to_owned(),
        ..Data::default()
    }
}

/// Lets a sink store all of the trail.
fn store(runtime: &Runtime, trail: &Trail, name: &str, settings: &SecurityLake, folder: &Path) {
    let stop = CancellationToken::new();
    let handle = runtime.handle().clone();
    let route = Route::default();
    let outlet = LakeOutlet::new(
        (name.trim_start_matches("sink/"), settings, &route),
        &data_in(folder),
        handle,
        stop.clone(),
    );
    let reader = Arc::new(Reader::open(trail.clone(), name));
    let waits = Arc::clone(&reader);
    runtime.block_on(async {
        let gathering = tokio::spawn(reader.gather(outlet, stop.clone()));
        let stored = tokio::time::timeout(PATIENCE, async {
            while waits.fates().in_flight > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(
            stored.await.is_ok(),
            "{:?}: {:?}",
            waits.failing(),
            waits.fates()
        );
        stop.cancel();
        gathering.await.unwrap().unwrap();
    });
}

fn fetch(moto: &Moto, bucket: &str, folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let said = script(
        "moto",
        "bucket.py",
        &[&moto.endpoint, "fetch", bucket, folder],
    );
    said.lines().map(str::to_owned).collect()
}

/// How many events are verified, and what is found; but for the silence of this trail, which has no checkpoints by the
/// clock.
fn verify(folder: &Path) -> (u64, Vec<String>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = ["plimsoll", "audit", "verify", "-o", "json"].map(Into::into);
    let arguments = arguments.into_iter().chain([folder.as_os_str().to_owned()]);
    cli::run(arguments, &mut out, &mut err);
    let report: Result<Value, _> = serde_json::from_slice(&out);
    let report = report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&err)));
    let findings = report["findings"].as_array().unwrap().iter();
    let kinds = findings.map(|finding| finding["kind"].as_str().unwrap().to_owned());
    let kinds = kinds.filter(|kind| kind != "silence").collect();
    (report["events"].as_u64().unwrap(), kinds)
}

fn every_event_is_there_once(moto: &Moto) -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    let (runtime, data) = (Runtime::new().unwrap(), folder.path().join("data"));
    std::fs::create_dir(&data).unwrap();
    script("moto", "bucket.py", &[&moto.endpoint, "make", "lake"]);
    // The second stores all of it once more, as a life that was killed before its cursor moved.
    let (trail, bodies) = trail(folder.path(), &["sink/lake", "sink/again"]);
    let mut settings = settings(moto, "lake");
    settings.sources.http_activity = Some("web/1.0".to_owned());
    store(&runtime, &trail, "sink/lake", &settings, &data);
    let before = fetch(moto, "lake", &folder.path().join("before"));
    store(&runtime, &trail, "sink/again", &settings, &data);
    let lake = folder.path().join("after");
    let after = fetch(moto, "lake", &lake);
    assert_eq!(
        before, after,
        "tried again, the objects have the same names"
    );
    for key in &after {
        let [one, other] =
            ["before", "after"].map(|at| std::fs::read(folder.path().join(at).join(key)).unwrap());
        assert!(one == other, "{key} is another");
    }

    let said: Value =
        serde_json::from_str(&script("lake", "look.py", &[lake.to_str().unwrap()])).unwrap();
    let texts: Vec<&str> = said["texts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| of.as_str().unwrap())
        .collect();
    let count = bodies.len();
    assert_eq!(said["rows"], json!([count, count, count]));
    assert_eq!(texts.len(), count);
    let texts: BTreeSet<String> = texts.into_iter().map(str::to_owned).collect();
    assert!(texts == bodies, "raw_data is what the trail has");
    for of_another in ["of_another_day", "of_another_time", "of_another_event"] {
        assert_eq!(said[of_another], 0, "{of_another}");
    }
    assert!(
        said["observables"].as_u64().unwrap() > 100,
        "{}",
        said["observables"]
    );
    let partition = |day: &str| json!(["eu-west-1", ACCOUNT, day]);
    assert_eq!(
        said["partitions"],
        json!([partition("20261130"), partition("20261201")])
    );
    let classes: Vec<_> = said["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| of[0].clone())
        .collect();
    assert_eq!(classes, [0, 1007, 2004, 4001, 4002, 6002, 6003]);

    check_objects(said["objects"].as_array().unwrap());
    assert!(
        after
            .iter()
            .any(|key| key.starts_with("ext/web/1.0/region=eu-west-1/accountId=012345678901/"))
    );

    assert_eq!(verify(&lake), (count as u64, Vec::new()));
    std::fs::remove_file(lake.join(&after[after.len() / 2])).unwrap();
    assert!(verify(&lake).1.contains(&"gap".to_owned()));
    Verdict::Passed
}

/// What Security Lake asks of each.
fn check_objects(objects: &[Value]) {
    let mut schemas = BTreeSet::new();
    for object in objects {
        let path = object["path"].as_str().unwrap();
        assert!(
            path.ends_with(".zstd.parquet") && path.starts_with("ext/"),
            "{path}"
        );
        assert_eq!(object["codecs"], json!(["ZSTD"]), "{path}");
        assert_eq!(object["class_uid"].as_array().unwrap().len(), 1, "{path}");
        assert_eq!(object["is_sorted"], true, "{path}");
        assert_eq!(object["says_it_is_sorted"], true, "{path}");
        assert_eq!(object["format"], "1.0", "{path}");
        assert!(
            object["group_bytes"].as_u64().unwrap() < 256_000_000,
            "{path}"
        );
        schemas.insert((
            object["class_uid"].to_string(),
            object["schema"].to_string(),
        ));
    }
    assert_eq!(
        schemas.len(),
        7,
        "one for each class, whatever is in an object"
    );
}

fn a_missing_bucket(moto: &Moto) -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    let (runtime, data) = (Runtime::new().unwrap(), folder.path().join("data"));
    std::fs::create_dir(&data).unwrap();
    let (trail, bodies) = trail(folder.path(), &["sink/late"]);
    let settings = settings(moto, "late");
    let stop = CancellationToken::new();
    let route = Route::default();
    let handle = runtime.handle().clone();
    let outlet = LakeOutlet::new(
        ("late", &settings, &route),
        &data_in(&data),
        handle,
        stop.clone(),
    );
    let stats = outlet.stats();
    let reader = Arc::new(Reader::open(trail.clone(), "sink/late"));
    let waits = Arc::clone(&reader);
    runtime.block_on(async {
        let gathering = tokio::spawn(reader.gather(outlet, stop.clone()));
        let failing = async {
            loop {
                if let Some(why) = waits.failing() {
                    return why;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let why = tokio::time::timeout(PATIENCE, failing).await.unwrap();
        assert!(
            why.contains("s3://late/ext/") && why.contains("there is no such bucket"),
            "{why}"
        );
        stop.cancel();
        gathering.await.unwrap().unwrap();
    });
    let missing = RefusalKind::ALL
        .iter()
        .position(|kind| *kind == RefusalKind::Missing);
    assert_eq!(stats.refusals[missing.unwrap()].load(Ordering::Relaxed), 1);
    assert_eq!(waits.fates().in_flight, bodies.len() as u64);
    // Another life, and the bucket is there.
    script("moto", "bucket.py", &[&moto.endpoint, "make", "late"]);
    store(&runtime, &trail, "sink/late", &settings, &data);
    let lake = folder.path().join("lake");
    fetch(moto, "late", &lake);
    assert_eq!(verify(&lake), (bodies.len() as u64, Vec::new()));
    // What is held has no name; and nothing was kept apart.
    assert_eq!(
        std::fs::read_dir(data.join("lake")).map_or(0, Iterator::count),
        0
    );
    assert!(!data.join("quarantine").exists());
    Verdict::Passed
}

fn a_probe(moto: &Moto) -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let sink = |bucket| Sink {
        name: "lake".to_owned(),
        kind: SinkKind::SecurityLake(Box::new(settings(moto, bucket))),
        format: Format::default(),
        route: Route::default(),
    };
    let now_ns = BEGIN_MS * 1_000_000;
    let why = runtime.block_on(probe(&sink("none"), now_ns)).unwrap_err();
    assert_eq!(why.kind, RefusalKind::Missing);
    script("moto", "bucket.py", &[&moto.endpoint, "make", "probed"]);
    let said = runtime.block_on(probe(&sink("probed"), now_ns)).unwrap();
    assert!(
        said.starts_with("7 objects without events are in probed"),
        "{said}"
    );
    let keys = fetch(moto, "probed", folder.path());
    assert_eq!(keys.len(), 7);
    assert!(
        keys.iter()
            .all(|key| key.ends_with("/eventDay=20261130/probe.zstd.parquet")),
        "{keys:?}"
    );
    let said: Value = serde_json::from_str(&script(
        "lake",
        "look.py",
        &[folder.path().to_str().unwrap()],
    ))
    .unwrap();
    assert_eq!(said["rows"], json!([0, 0, 0]));
    Verdict::Passed
}

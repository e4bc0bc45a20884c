//! A window and a service that refuses.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use prost::Message as _;
use serde_json::{Map, json};
use tokio::runtime::Runtime;

use std::path::Path;

use super::*;
use crate::ocsf::event::trail as ocsf;
use crate::sinks::lake::read::raw_data;
use crate::trail::chain;

/// What was put: its key, the sum that its head has, and its bytes.
type Put = (String, String, Vec<u8>);

/// An S3 that answers as it is told, and then takes everything.
struct Bucket {
    address: String,
    puts: Arc<Mutex<Vec<Put>>>,
}

impl Bucket {
    fn start(mut refusals: Vec<(u16, &'static str)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let puts = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&puts);
        refusals.reverse();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                while let Some(put) = request(&mut stream) {
                    let (status, body) = match refusals.pop() {
                        Some((status @ 300.., code)) => {
                            (status, format!("<Error><Code>{code}</Code></Error>"))
                        }
                        _ => (200, String::new()),
                    };
                    all.lock().unwrap().push(put);
                    let length = body.len();
                    let head =
                        format!("HTTP/1.1 {status} S\r\ncontent-length: {length}\r\n\r\n{body}");
                    stream.write_all(head.as_bytes()).unwrap();
                }
            }
        });
        Self { address, puts }
    }

    fn puts(&self) -> Vec<Put> {
        std::mem::take(&mut self.puts.lock().unwrap())
    }
}

fn request(stream: &mut TcpStream) -> Option<Put> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let member = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(of, _)| of.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    };
    if member("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    }
    let mut body = vec![0; member("content-length").unwrap().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let key = path.split('?').next().unwrap().replace("%3D", "=");
    Some((key, member("x-amz-checksum-sha256").unwrap(), body))
}

fn outlet(folder: &Path, bucket: &Bucket, runtime: &Runtime) -> LakeOutlet {
    let settings = Settings {
        bucket: "lake".to_owned(),
        region: "eu-west-1".to_owned(),
        account_id: "012345678901".to_owned(),
        endpoint: Some(bucket.address.clone()),
        path_style: true,
        ..Settings::default()
    };
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
    let aws = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    let client = runtime.block_on(Client::with_aws(&settings, &aws));
    let of = ("lake", &settings, &Route::default());
    let mut outlet = LakeOutlet::new(
        of,
        &Data {
            path: folder.to_owned(),
            ..Data::default()
        },
        runtime.handle().clone(),
        CancellationToken::new(),
    );
    outlet.client = client;
    outlet
}

const NOW_NS: u64 = 1_796_082_600_000_000_000;

fn record(seq: u64, event: Map<String, Value>) -> Record {
    let entry = Entry {
        body: chain::seal(event, "e", seq, &chain::NOTHING).0,
        document: "{}".to_owned(),
        time_unix_ns: NOW_NS,
        ..Entry::default()
    };
    Record {
        seq,
        time_unix_ns: NOW_NS + seq,
        payload: entry.encode_to_vec(),
    }
}

fn event(uid: &str) -> Map<String, Value> {
    let event = serde_json::to_value(ocsf::probe(uid, NOW_NS, "0")).unwrap();
    event.as_object().unwrap().clone()
}

/// Two events of one class, and one of another; and what is none.
fn gather(outlet: &mut LakeOutlet) {
    let mut other = event("other");
    other.insert("class_uid".to_owned(), 6008.into());
    let none = json!({"metadata": {"uid": "none"}})
        .as_object()
        .unwrap()
        .clone();
    for (seq, event) in (1..).zip([event("a"), other, event("b"), none]) {
        assert!(outlet.gather(&record(seq, event)).unwrap());
    }
}

#[test]
fn what_is_refused_is_put_again_and_what_is_there_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::start(vec![
        (503, "SlowDown"),
        (200, "fine"),
        (403, "AccessDenied"),
        (400, "ExpiredToken"),
    ]);
    let runtime = Runtime::new().unwrap();
    let mut outlet = outlet(folder.path(), &bucket, &runtime);
    gather(&mut outlet);
    let mut keys = Vec::new();
    for kind in [
        RefusalKind::Throttled,
        RefusalKind::Denied,
        RefusalKind::Credentials,
    ] {
        let refused = outlet.store().unwrap_err();
        assert_eq!(refused.kind, kind, "{refused}");
        assert!(
            !outlet.apart.path().exists(),
            "nothing is told before all of it is there"
        );
        keys.push(
            bucket
                .puts()
                .into_iter()
                .map(|(key, ..)| key)
                .collect::<Vec<_>>(),
        );
    }
    let (last, made) = outlet.store().unwrap();
    assert_eq!((last, made.delivered, made.quarantined), (4, 3, 1));
    let rest = "region=eu-west-1/accountId=012345678901/eventDay=20261130/e-0000000000000000000";
    let base = format!("/lake/ext/plimsoll-base/{rest}2.zstd.parquet");
    let lifecycle = format!("/lake/ext/plimsoll-lifecycle/{rest}1.zstd.parquet");
    let expect = [
        vec![base.clone()],
        vec![base, lifecycle.clone()],
        vec![lifecycle.clone()],
    ];
    assert_eq!(keys, expect);
    let put = bucket.puts();
    let [(key, sum, bytes)] = put.as_slice() else {
        panic!("{put:?}");
    };
    assert_eq!(*key, lifecycle);
    let mut summed = Summed::of(Vec::new());
    summed.write_all(bytes).unwrap();
    assert_eq!(summed.finish().2, *sum);
    let mut texts = Vec::new();
    let bytes = hyper::body::Bytes::from(bytes.clone());
    raw_data(bytes, |_, text| {
        texts.push(chain::link(text).unwrap().seq);
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(texts, [1, 3]);
    let apart = std::fs::read_to_string(outlet.apart.path()).unwrap();
    assert!(
        apart.contains(NO_PLACE) && apart.lines().count() == 1,
        "{apart}"
    );
    let refusals = outlet
        .stats
        .refusals
        .iter()
        .map(|of| of.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(refusals.sum::<u64>(), 3);
    // All is forgotten, and nothing is left of the files.
    assert_eq!(Gatherer::wait(&outlet, NOW_NS), None);
    assert_eq!(
        std::fs::read_dir(folder.path().join("lake"))
            .unwrap()
            .count(),
        0
    );
}

/// Over by the clock, half of it stored, and then the clock is set back: what comes is of the next window.
#[test]
fn a_window_that_is_being_stored_takes_nothing_in() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::start(vec![(200, "fine"), (503, "SlowDown")]);
    let runtime = Runtime::new().unwrap();
    let mut outlet = outlet(folder.path(), &bucket, &runtime);
    gather(&mut outlet);
    let over = NOW_NS + outlet.bounds().window_ns + window::GRACE_NS;
    assert_eq!(Gatherer::wait(&outlet, over), Some(Duration::ZERO));
    outlet.store().unwrap_err();
    assert_eq!(outlet.held.done.len(), 1);
    assert_eq!(Gatherer::wait(&outlet, NOW_NS), Some(Duration::ZERO));
    let late = record(5, event("late"));
    assert!(!outlet.gather(&late).unwrap());
    let (last, made) = outlet.store().unwrap();
    assert_eq!((last, made.delivered), (4, 3));
    assert!(outlet.gather(&late).unwrap());
    let (last, made) = outlet.store().unwrap();
    assert_eq!((last, made.delivered), (5, 1));
}

#[test]
fn a_life_that_ends_stores_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::start(Vec::new());
    let runtime = Runtime::new().unwrap();
    let mut outlet = outlet(folder.path(), &bucket, &runtime);
    gather(&mut outlet);
    outlet.last.cancel();
    assert!(outlet.store().is_err());
    assert_eq!(bucket.puts(), []);
}

//! The settings of a sink to a bucket of Amazon Security Lake. Pure.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Format, is_endpoint, is_region};
use crate::config::Data;
use crate::config::check::Checks;

/// A bucket of Amazon Security Lake.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityLake {
    /// The bucket.
    pub bucket: String,
    /// What keys begin with.
    pub prefix: String,
    /// What the names of custom sources begin with, where [`sources`](Self::sources) has none.
    pub source: String,
    /// Custom sources, one for each class of OCSF 1.3.
    pub sources: Sources,
    /// The Region, in the way to the objects as well.
    pub region: String,
    /// Number of the account that the events are of.
    pub account_id: String,
    /// Seconds of a window.
    pub window_s: u64,
    /// Bytes of events from which on a window is over.
    pub window_bytes: u64,
    /// Where the service is, if not at the Region's own address.
    pub endpoint: Option<String>,
    /// Whether the bucket is in an address's path and not in its host.
    pub path_style: bool,
    /// A role to take on.
    pub role_arn: Option<String>,
    /// What the role asks for.
    pub external_id: Option<String>,
}

/// Custom sources by class: name, and what else Security Lake has put into the way to the source's objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sources {
    /// Class 6003.
    pub api_activity: Option<String>,
    /// Class 6002.
    pub application_lifecycle: Option<String>,
    /// Class 0: what 1.3 has no class for.
    pub base_event: Option<String>,
    /// Class 2004.
    pub detection_finding: Option<String>,
    /// Class 4002.
    pub http_activity: Option<String>,
    /// Class 4001.
    pub network_activity: Option<String>,
    /// Class 1007.
    pub process_activity: Option<String>,
}

impl Default for SecurityLake {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            prefix: "ext".to_owned(),
            source: "plimsoll".to_owned(),
            sources: Sources::default(),
            region: String::new(),
            account_id: String::new(),
            window_s: 300,
            window_bytes: 512 << 20,
            endpoint: None,
            path_style: false,
            role_arn: None,
            external_id: None,
        }
    }
}

/// Each class with what its source is called behind [`SecurityLake::source`]: short, as Security Lake takes 20
/// characters of a name.
const CLASSES: [(&str, &str); 7] = [
    ("api_activity", "api"),
    ("application_lifecycle", "lifecycle"),
    ("base_event", "base"),
    ("detection_finding", "finding"),
    ("http_activity", "http"),
    ("network_activity", "network"),
    ("process_activity", "process"),
];
/// Characters of a custom source's name at the most (API reference, CreateCustomLogSource).
const SOURCE_CHARS: usize = 20;
/// The longest of what is added to one.
const ADDED_CHARS: usize = "-lifecycle".len();
/// Bytes of a key at the most (S3's user guide, *Naming objects*), and what comes behind prefix and source.
const KEY_BYTES: usize = 1024;
const KEY_REST: usize = 200;

/// Seconds that a window is stored in behind its end.
const STORED_S: u64 = 60;

impl Sources {
    fn of(&self, class: &str) -> Option<&str> {
        let own = match class {
            "api_activity" => &self.api_activity,
            "application_lifecycle" => &self.application_lifecycle,
            "base_event" => &self.base_event,
            "detection_finding" => &self.detection_finding,
            "http_activity" => &self.http_activity,
            "network_activity" => &self.network_activity,
            _ => &self.process_activity,
        };
        own.as_deref()
    }

    /// The folder of a class's source.
    pub fn folder(&self, class: &str, source: &str) -> String {
        let added = CLASSES.iter().find(|(of, _)| *of == class);
        let added = added.map_or(class, |(_, added)| added);
        self.of(class)
            .map_or_else(|| format!("{source}-{added}"), str::to_owned)
    }
}

impl SecurityLake {
    /// The key of an object: the partitions are Security Lake's.
    pub fn key(&self, source: &str, day: &str, name: &str) -> String {
        let prefix = if self.prefix.is_empty() {
            String::new()
        } else {
            format!("{}/", self.prefix)
        };
        format!(
            "{prefix}{source}/region={}/accountId={}/eventDay={day}/{name}",
            self.region, self.account_id
        )
    }

    /// The trail keeps a window until it is stored: one that does not fit into it would be lost each time.
    pub(super) fn check_trail(&self, place: &str, data: &Data, checks: &mut Checks) {
        let age_s = data.max_trail_age_s;
        checks.that(
            age_s.is_none_or(|age_s| self.window_s.saturating_add(STORED_S) <= age_s),
            &format!("{place}.window_s"),
            "be a minute less than data.max_trail_age_s at the most: the trail keeps a window until it is stored",
        );
        checks.that(
            self.window_bytes.saturating_mul(2) <= data.max_trail_bytes,
            &format!("{place}.window_bytes"),
            "be half of data.max_trail_bytes at the most: the trail keeps a window until it is stored",
        );
    }

    pub(super) fn check(&self, place: &str, format: Option<Format>, checks: &mut Checks) {
        let at = |setting: &str| format!("{place}.{setting}");
        checks.that(
            is_bucket(&self.bucket),
            &at("bucket"),
            "be a bucket's name: 3 to 63 small letters, digits, `.` and `-`, the first and the last a letter or digit",
        );
        checks.that(
            self.prefix.is_empty() || is_path(&self.prefix),
            &at("prefix"),
            "be names of letters, digits and `-_.` with `/` between them, or nothing",
        );
        checks.that(
            is_path(&self.source)
                && !self.source.contains('/')
                && self.source.len() <= SOURCE_CHARS - ADDED_CHARS,
            &at("source"),
            "be 1 to 10 letters, digits and `-_.`: Security Lake takes 20 characters of a source's name",
        );
        let mut folders = BTreeSet::new();
        for (class, _) in CLASSES {
            if let Some(source) = self.sources.of(class) {
                checks.that(
                    is_path(source) && self.prefix.len() + source.len() <= KEY_BYTES - KEY_REST,
                    &at(&format!("sources.{class}")),
                    "be names of letters, digits and `-_.` with `/` between them",
                );
            }
            checks.that(
                folders.insert(self.sources.folder(class, &self.source)),
                &at(&format!("sources.{class}")),
                "not be the source of another class: Security Lake takes one class of each",
            );
        }
        checks.that(
            is_region(&self.region),
            &at("region"),
            super::MUST_BE_A_REGION,
        );
        checks.that(
            self.account_id.len() == 12
                && self.account_id.bytes().all(|byte| byte.is_ascii_digit()),
            &at("account_id"),
            "be an account's number: 12 digits, in quotes",
        );
        checks.that(
            (60..=86_400).contains(&self.window_s),
            &at("window_s"),
            "lie between 60 and 86400",
        );
        checks.that(
            (1 << 20..=4 << 30).contains(&self.window_bytes),
            &at("window_bytes"),
            "lie between 1048576 and 4294967296",
        );
        checks.that(
            self.endpoint.as_deref().is_none_or(is_endpoint),
            &at("endpoint"),
            super::MUST_BE_AN_ENDPOINT,
        );
        checks.that(
            self.role_arn.as_deref().is_none_or(is_role),
            &at("role_arn"),
            "be a role, as arn:aws:iam::123456789012:role/NAME",
        );
        checks.that(
            self.external_id.is_none() || self.role_arn.is_some(),
            &at("external_id"),
            "be given together with role_arn",
        );
        checks.that(
            format.is_none_or(|format| format == Format::default()),
            place,
            "have no format: objects are in OCSF 1.3, and hold the events in OCSF 1.8",
        );
    }
}

/// S3's user guide, *General purpose bucket naming rules*.
fn is_bucket(name: &str) -> bool {
    let is_of_end = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| is_of_end(byte) || b".-".contains(byte))
        && bytes.first().is_some_and(is_of_end)
        && bytes.last().is_some_and(is_of_end)
        && !name.contains("..")
}

fn is_path(text: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.split('/').all(|name| {
        !name.is_empty() && name.bytes().all(of_name) && name.bytes().any(|byte| byte != b'.')
    }) && text.len() <= KEY_BYTES - KEY_REST
}

fn is_role(text: &str) -> bool {
    let parts: Vec<_> = text.splitn(6, ':').collect();
    matches!(parts.as_slice(), ["arn", _, "iam", "", account, name]
        if account.len() == 12 && name.starts_with("role/"))
}

#[cfg(test)]
mod tests {
    use crate::config::sinks::SinkKind;
    use crate::config::{Config, ConfigError};

    use super::*;

    fn of(inner: &str) -> Result<SecurityLake, Vec<String>> {
        let text = format!("sinks:\n- name: lake\n  security_lake:\n    {inner}\n");
        let config = Config::parse("", &text).map_err(|ConfigError(lines)| lines)?;
        match config.sinks().remove(0).kind {
            SinkKind::SecurityLake(lake) => Ok(*lake),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_what_security_lake_reads() {
        let lake = of(
            "{bucket: lake, region: eu-west-1, account_id: '012345678901', \
                       sources: {http_activity: web/1.0}}",
        );
        let lake = lake.unwrap();
        let key = |class| {
            let source = lake.sources.folder(class, &lake.source);
            lake.key(&source, "20261201", "a.zstd.parquet")
        };
        let rest = "region=eu-west-1/accountId=012345678901/eventDay=20261201/a.zstd.parquet";
        assert_eq!(key("http_activity"), format!("ext/web/1.0/{rest}"));
        assert_eq!(
            key("process_activity"),
            format!("ext/plimsoll-process/{rest}")
        );
        let tables = crate::sinks::lake::columns::all();
        let names: Vec<_> = tables.iter().map(|table| table.name).collect();
        assert_eq!(names, CLASSES.map(|(name, _)| name));
        for (class, _) in CLASSES {
            assert!(lake.sources.folder(class, "plimsoll").len() <= SOURCE_CHARS);
        }
    }

    #[test]
    fn a_window_fits_into_the_trail() {
        let of = |data: &str, window: &str| {
            let text = format!(
                "data: {data}\nsinks:\n- name: lake\n  security_lake:\n    bucket: lake\n    \
                 region: eu-west-1\n    account_id: '012345678901'\n    {window}\n"
            );
            Config::parse("", &text).map_or_else(|ConfigError(lines)| lines, |_| Vec::new())
        };
        let age = "be a minute less than data.max_trail_age_s at the most: the trail keeps a window until it is stored";
        let bytes = "be half of data.max_trail_bytes at the most: the trail keeps a window until it is stored";
        assert_eq!(of("{max_trail_age_s: 360}", "window_s: 300"), [""; 0]);
        assert_eq!(
            of("{max_trail_age_s: 359}", "window_s: 300"),
            [format!(":8: sinks[0].security_lake.window_s: must {age}")]
        );
        assert_eq!(
            of("{max_trail_bytes: 2097152}", "window_bytes: 1048576"),
            [""; 0]
        );
        assert_eq!(
            of("{max_trail_bytes: 2097151}", "window_bytes: 1048576"),
            [format!(
                ":8: sinks[0].security_lake.window_bytes: must {bytes}"
            )]
        );
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let said = of("bucket: Lake\n    \
             prefix: /ext\n    \
             source: plimsoll-prod\n    \
             sources: {http_activity: a, network_activity: a, base_event: '../b', api: c}\n    \
             region: eu west\n    \
             account_id: '1'\n    \
             window_s: 59\n    \
             window_bytes: 1048575\n    \
             endpoint: http://s3.example.com\n    \
             path_style: maybe\n    \
             external_id: x\n    \
             kms: y\n  \
             format: cef");
        let expect = [
            ":3: sinks[0].security_lake: must have no format: objects are in OCSF 1.3, and hold the events in OCSF 1.8",
            ":4: sinks[0].security_lake.bucket: must be a bucket's name: 3 to 63 small letters, digits, `.` and `-`, \
             the first and the last a letter or digit",
            ":5: sinks[0].security_lake.prefix: must be names of letters, digits and `-_.` with `/` between them, or \
             nothing",
            ":6: sinks[0].security_lake.source: must be 1 to 10 letters, digits and `-_.`: Security Lake takes 20 \
             characters of a source's name",
            ":7: sinks[0].security_lake.sources.api: there is no such setting; there are api_activity",
            ":7: sinks[0].security_lake.sources.base_event: must be names of letters, digits and `-_.` with `/` between them",
            ":7: sinks[0].security_lake.sources.network_activity: must not be the source of another class: Security \
             Lake takes one class of each",
            ":8: sinks[0].security_lake.region: must be a Region, as eu-west-1",
            ":9: sinks[0].security_lake.account_id: must be an account's number: 12 digits, in quotes",
            ":10: sinks[0].security_lake.window_s: must lie between 60 and 86400",
            ":11: sinks[0].security_lake.window_bytes: must lie between 1048576 and 4294967296",
            ":12: sinks[0].security_lake.endpoint: must be https://HOST or https://HOST:PORT; http:// is taken only \
             for loopback addresses",
            ":13: sinks[0].security_lake.path_style: must be true or false, not maybe",
            ":14: sinks[0].security_lake.external_id: must be given together with role_arn",
            ":15: sinks[0].security_lake.kms: there is no such setting",
        ];
        let said = said.unwrap_err();
        assert_eq!(said.len(), expect.len(), "{said:#?}");
        for (said, expect) in said.iter().zip(expect) {
            assert!(said.starts_with(expect), "{said}\n{expect}");
        }
    }
}

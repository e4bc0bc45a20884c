//! What the trail says of itself, in OCSF: that it lives, how far it is, and what signs it.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Event, PRODUCT, exact, millis};
use crate::api::precise;
use crate::ocsf::schema::Schema;
use crate::ocsf::types::{
    ApplicationLifecycle, ApplicationLifecycleActivityId, Common, Feature, Metadata, Product,
    SeverityId,
};

/// `metadata.log_name` of them.
pub const NAME: &str = "checkpoint";

/// `metadata.log_name` of probes.
pub const PROBE: &str = "probe";
/// What a probe says of itself.
pub const PROBE_MESSAGE: &str = "Plimsoll was asked whether events arrive here: this is no event";

/// Why there is a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// A life of the collector begins.
    Open,
    /// It is time, or there are enough events.
    Periodic,
    /// The next key is said.
    Rotate,
    /// This life ends.
    Close,
}

/// The last link of the epoch before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Previous {
    /// Its epoch.
    pub epoch: String,
    /// Its number there.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

/// How far an agent's stream is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// Its node.
    pub node: String,
    /// A life of its spool.
    pub epoch: String,
    /// The highest number that came.
    pub seq: u64,
}

/// A word of the trail on itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checkpoint {
    /// Why now.
    pub why: Why,
    /// The public key that signs this, hex.
    pub key: String,
    /// The one that signs from the next on, hex, where it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_key: Option<String>,
    /// Of the first in an epoch, where there was one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// Security streams that went on since the last checkpoint.
    pub agents: Vec<Agent>,
}

/// The event of a checkpoint: link `seq` of `epoch`, as the collector of that version writes it.
pub fn of(
    checkpoint: &Checkpoint,
    epoch: &str,
    seq: u64,
    time_unix_ns: u64,
    version: &str,
) -> Event {
    let unmapped = json!({ NAME: exact(json!(checkpoint)) });
    let (activity_id, activity, message) = match checkpoint.why {
        Why::Open => (
            ApplicationLifecycleActivityId::Start,
            None,
            format!("audit trail {epoch} begins"),
        ),
        Why::Close => (
            ApplicationLifecycleActivityId::Stop,
            None,
            format!("audit trail {epoch} ends with {seq} events"),
        ),
        Why::Periodic | Why::Rotate => (
            ApplicationLifecycleActivityId::Other,
            Some("Checkpoint".to_owned()),
            format!("audit trail {epoch} has {seq} events"),
        ),
    };
    let common = Common {
        activity_name: activity,
        message: Some(message),
        metadata: metadata(NAME, format!("trail/{epoch}/{seq}"), time_unix_ns, version),
        severity_id: SeverityId::Informational,
        time: millis(time_unix_ns),
        unmapped: match unmapped {
            Value::Object(members) => Some(members),
            _ => None,
        },
        ..Common::default()
    };
    Event::Lifecycle(Box::new(ApplicationLifecycle {
        common,
        activity_id,
        app: Product {
            feature: Some(Feature {
                name: Some("audit trail".to_owned()),
            }),
            ..product(version)
        },
    }))
}

/// A marked event that is none: whether events arrive where they are sent.
pub fn probe(uid: &str, time_unix_ns: u64, version: &str) -> Event {
    Event::Lifecycle(Box::new(ApplicationLifecycle {
        common: Common {
            activity_name: Some("Probe".to_owned()),
            message: Some(PROBE_MESSAGE.to_owned()),
            metadata: metadata(PROBE, uid.to_owned(), time_unix_ns, version),
            severity_id: SeverityId::Informational,
            time: millis(time_unix_ns),
            ..Common::default()
        },
        activity_id: ApplicationLifecycleActivityId::Other,
        app: product(version),
    }))
}

fn metadata(name: &str, uid: String, time_unix_ns: u64, version: &str) -> Metadata {
    Metadata {
        version: Schema::v1_8().version.clone(),
        product: product(version),
        uid: Some(uid),
        log_name: Some(name.to_owned()),
        original_time: Some(precise(time_unix_ns)),
        ..Metadata::default()
    }
}

fn product(version: &str) -> Product {
    Product {
        name: Some(PRODUCT.to_owned()),
        vendor_name: Some(PRODUCT.to_owned()),
        version: Some(version.to_owned()),
        ..Product::default()
    }
}

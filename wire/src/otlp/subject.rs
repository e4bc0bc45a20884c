//! Identity as resource attributes, and back.

use opentelemetry_proto::tonic::common::v1::KeyValue;

use super::{DecodeError, value};
use crate::identity::{Qos, Subject};
use crate::{Identity, names};

pub(super) fn encode(identity: &Identity, out: &mut Vec<KeyValue>) {
    out.push(value::number(names::CGROUP_ID, identity.cgroup_id));
    if let Some(path) = &identity.cgroup_path {
        out.push(value::text(names::CGROUP_PATH, path));
    }
    let kind = match &identity.subject {
        Subject::Container {
            pod_uid,
            container_id,
            runtime,
            qos,
        } => {
            out.push(value::text(names::K8S_POD_UID, pod_uid));
            out.push(value::text(names::CONTAINER_ID, container_id));
            out.extend(
                runtime
                    .as_deref()
                    .map(|name| value::text(names::CONTAINER_RUNTIME_NAME, name)),
            );
            out.push(value::text(names::QOS, qos_name(*qos)));
            "container"
        }
        Subject::Pod { pod_uid, qos } => {
            out.push(value::text(names::K8S_POD_UID, pod_uid));
            out.push(value::text(names::QOS, qos_name(*qos)));
            "pod"
        }
        Subject::Host { unit } => {
            out.push(value::text(names::UNIT, unit));
            "host"
        }
        Subject::Unknown => "unknown",
    };
    out.push(value::text(names::SUBJECT_KIND, kind));
}

pub(super) fn decode(attributes: &[KeyValue]) -> Result<Identity, DecodeError> {
    let text = |name| value::find_text(attributes, name);
    let needed = |name: &'static str| -> Result<String, DecodeError> {
        Ok(text(name)?.ok_or(DecodeError::Missing(name))?.to_owned())
    };
    let subject = match needed(names::SUBJECT_KIND)?.as_str() {
        "container" => Subject::Container {
            pod_uid: needed(names::K8S_POD_UID)?,
            container_id: needed(names::CONTAINER_ID)?,
            runtime: text(names::CONTAINER_RUNTIME_NAME)?.map(ToOwned::to_owned),
            qos: qos(&needed(names::QOS)?)?,
        },
        "pod" => Subject::Pod {
            pod_uid: needed(names::K8S_POD_UID)?,
            qos: qos(&needed(names::QOS)?)?,
        },
        "host" => Subject::Host {
            unit: needed(names::UNIT)?,
        },
        "unknown" => Subject::Unknown,
        _ => {
            return Err(DecodeError::Value {
                name: names::SUBJECT_KIND,
            });
        }
    };
    Ok(Identity {
        cgroup_id: value::find_number(attributes, names::CGROUP_ID)?
            .ok_or(DecodeError::Missing(names::CGROUP_ID))?,
        cgroup_path: text(names::CGROUP_PATH)?.map(ToOwned::to_owned),
        subject,
    })
}

const fn qos_name(qos: Qos) -> &'static str {
    match qos {
        Qos::Guaranteed => "guaranteed",
        Qos::Burstable => "burstable",
        Qos::BestEffort => "best_effort",
    }
}

fn qos(name: &str) -> Result<Qos, DecodeError> {
    [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort]
        .into_iter()
        .find(|qos| qos_name(*qos) == name)
        .ok_or(DecodeError::Value { name: names::QOS })
}

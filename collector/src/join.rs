//! Identity and inventory together: the names of a window or an event.
//!
//! Pure. What the inventory cannot say stays absent and is marked pending; nothing is blank and
//! nothing is guessed. Deliberately does not wait: whoever holds records until a name comes decides
//! how long.

use std::collections::BTreeMap;

use plimsoll_wire::identity::Subject;
use plimsoll_wire::{AuditEvent, Identity};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::inventory::{ContainerName, Index, Resources, Role, Workload};

/// Names that the inventory gave. Stored with history, so that a deleted pod keeps them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Namespace.
    pub namespace: String,
    /// Pod.
    pub pod: String,
    /// Container; `None` for the pod itself, its sandbox, or while pending.
    pub container: Option<String>,
    /// Node.
    pub node: Option<String>,
    /// Topmost controller.
    pub workload: Workload,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// The container's requests when last seen.
    pub requests: Resources,
    /// The container's limits when last seen.
    pub limits: Resources,
    /// The container's part in the pod.
    pub role: Role,
}

/// What an identity is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// One text for people: `shop/api-7d9-x/app`, `host/kubelet.service`, `pod/<uid>/<container id>`,
    /// `cgroup/<id>`.
    pub subject: String,
    /// The inventory's names, if it knows the pod.
    pub names: Option<Names>,
    /// A name is missing that may still come.
    pub pending: bool,
    /// What the pod may do by where and as whom it runs, if the inventory knows it.
    pub standing: Option<Standing>,
    /// The pod is known, and on no node yet as far as the API server has told.
    pub unplaced: bool,
    /// The node that the pod is on, where it is known to be another one than that which speaks of it.
    pub elsewhere: Option<String>,
}

/// Where and as whom a pod runs: what its requests for credentials are judged by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its service account.
    pub service_account: Option<String>,
    /// It is in the node's network namespace, where no hop limit and no policy keeps it from the node's
    /// metadata service.
    pub host_network: bool,
}

/// Whose event it is, for events that have a subject.
pub const fn identity_of(event: &AuditEvent) -> Option<&Identity> {
    match event {
        AuditEvent::Imds(access) => Some(&access.identity),
        AuditEvent::OomKill(kill) => Some(&kill.identity),
        AuditEvent::ContainerEnd(end) => Some(&end.identity),
        AuditEvent::Loss(_)
        | AuditEvent::Misplaced(_)
        | AuditEvent::Agent(_)
        | AuditEvent::Heartbeat(_) => None,
    }
}

/// Joins; see the module.
pub fn join(identity: &Identity, index: &Index) -> Joined {
    let (pod_uid, container_id) = match &identity.subject {
        Subject::Host { unit } => {
            return Joined {
                subject: format!("host/{unit}"),
                names: None,
                pending: false,
                standing: None,
                unplaced: false,
                elsewhere: None,
            };
        }
        Subject::Unknown => {
            let subject = format!("cgroup/{}", identity.cgroup_id);
            return Joined {
                subject,
                names: None,
                pending: false,
                standing: None,
                unplaced: false,
                elsewhere: None,
            };
        }
        Subject::Pod { pod_uid, .. } => (pod_uid, None),
        Subject::Container {
            pod_uid,
            container_id,
            ..
        } => (pod_uid, Some(container_id.as_str())),
    };
    let Some(found) = index.lookup(pod_uid, container_id) else {
        return Joined {
            subject: without_names(pod_uid, container_id),
            names: None,
            pending: true,
            standing: None,
            unplaced: false,
            elsewhere: None,
        };
    };
    let pending = found.container == ContainerName::Pending || found.workload_pending;
    let standing = Standing {
        service_account: found.service_account,
        host_network: found.host_network,
    };
    let container = match found.container {
        ContainerName::Known(name) => Some(name),
        ContainerName::Pending | ContainerName::NotInStatus => None,
    };
    let subject = match (&container, container_id) {
        (Some(container), _) => format!("{}/{}/{container}", found.namespace, found.pod),
        (None, Some(id)) => format!("{}/{}/{id}", found.namespace, found.pod),
        (None, None) => format!("{}/{}", found.namespace, found.pod),
    };
    let names = Names {
        namespace: found.namespace,
        pod: found.pod,
        container,
        node: found.node,
        workload: found.workload,
        labels: found.labels,
        requests: found.requests,
        limits: found.limits,
        role: found.role,
    };
    Joined {
        subject,
        names: Some(names),
        pending,
        standing: Some(standing),
        unplaced: found.unplaced,
        elsewhere: None,
    }
}

/// [`join`] of what a node says. It speaks of its own pods: of another's it gets no names, and so nobody sees
/// among a namespace's events what a stranger made up. Of a pod that is on no node yet nobody gets any. At the door
/// this is asked as well, but a pod may have become known since.
pub fn join_told_by(node: &str, identity: &Identity, index: &Index) -> Joined {
    let joined = join(identity, index);
    let names = joined.names.as_ref();
    let on = names.and_then(|names| names.node.as_deref());
    let elsewhere = on.filter(|on| *on != node).map(str::to_owned);
    if elsewhere.is_none() && !joined.unplaced {
        return joined;
    }
    let subject = match &identity.subject {
        Subject::Container {
            pod_uid,
            container_id,
            ..
        } => without_names(pod_uid, Some(container_id)),
        Subject::Pod { pod_uid, .. } => without_names(pod_uid, None),
        Subject::Host { .. } | Subject::Unknown => joined.subject,
    };
    Joined {
        subject,
        names: None,
        pending: elsewhere.is_none() && is_pending(identity, index),
        standing: None,
        unplaced: joined.unplaced,
        elsewhere,
    }
}

fn without_names(pod_uid: &str, container_id: Option<&str>) -> String {
    match container_id {
        Some(id) => format!("pod/{pod_uid}/{id}"),
        None => format!("pod/{pod_uid}"),
    }
}

/// Whether [`join`] would say that a name is missing which may still come; cheaper than that.
pub fn is_pending(identity: &Identity, index: &Index) -> bool {
    match &identity.subject {
        Subject::Host { .. } | Subject::Unknown => false,
        Subject::Pod { pod_uid, .. } => index.is_pending(pod_uid, None),
        Subject::Container {
            pod_uid,
            container_id,
            ..
        } => index.is_pending(pod_uid, Some(container_id)),
    }
}

impl Joined {
    /// The names as they are put beside an event in sinks and in the API.
    pub fn to_map(&self) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("subject".to_owned(), self.subject.clone().into());
        if let Some(names) = &self.names {
            map.insert("namespace".to_owned(), names.namespace.clone().into());
            map.insert("pod".to_owned(), names.pod.clone().into());
            if let Some(container) = &names.container {
                map.insert("container".to_owned(), container.clone().into());
            }
            map.insert(
                "workload_kind".to_owned(),
                names.workload.kind.clone().into(),
            );
            map.insert(
                "workload_name".to_owned(),
                names.workload.name.clone().into(),
            );
            if let Some(node) = &names.node {
                map.insert("pod_node".to_owned(), node.clone().into());
            }
        }
        if let Some(standing) = &self.standing {
            if let Some(account) = &standing.service_account {
                map.insert("service_account".to_owned(), account.clone().into());
            }
            if standing.host_network {
                map.insert("host_network".to_owned(), true.into());
            }
        }
        if self.elsewhere.is_some() {
            map.insert("misplaced".to_owned(), true.into());
        }
        if self.pending {
            map.insert("name_pending".to_owned(), true.into());
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::parse;
    use plimsoll_wire::identity::Qos;

    fn index() -> Index {
        let text = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, uid: u1}
spec: {nodeName: n1, containers: [{name: app, image: a}, {name: late, image: b}]}
status:
  containerStatuses: [{name: app, containerID: "containerd://c1", image: a, imageID: a, ready: true, restartCount: 0}]
"#;
        let mut index = Index::default();
        for object in &parse::parse("t", text).objects {
            index.apply(object, crate::inventory::Moment::default());
        }
        index
    }

    #[track_caller]
    fn check(subject: Subject, expected: &str) {
        let identity = Identity {
            cgroup_id: 7,
            cgroup_path: None,
            subject,
        };
        assert_eq!(
            Value::Object(join(&identity, &index()).to_map()).to_string(),
            expected
        );
        assert_eq!(
            is_pending(&identity, &index()),
            expected.contains("name_pending")
        );
    }

    fn container(pod_uid: &str, container_id: &str) -> Subject {
        Subject::Container {
            pod_uid: pod_uid.to_owned(),
            container_id: container_id.to_owned(),
            runtime: None,
            qos: Qos::Burstable,
        }
    }

    /// It was not known yet when the record came in.
    #[test]
    fn a_node_gets_names_for_its_own_pods_alone() {
        let identity = Identity {
            cgroup_id: 7,
            cgroup_path: None,
            subject: container("u1", "c1"),
        };
        let its = join_told_by("n1", &identity, &index());
        assert_eq!(its, join(&identity, &index()));
        let another_s = join_told_by("n2", &identity, &index());
        let said = Value::from(another_s.to_map()).to_string();
        assert_eq!(said, r#"{"misplaced":true,"subject":"pod/u1/c1"}"#);
    }

    /// A pod that waits for a node runs nowhere, and whoever speaks of it made it up or knows it sooner.
    #[test]
    fn of_a_pod_without_a_node_nobody_gets_names_yet() {
        let pod =
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p, uid: u1}\nspec: {containers: []}\n";
        let objects = parse::parse("t", pod).objects;
        let identity = Identity {
            cgroup_id: 7,
            cgroup_path: None,
            subject: container("u1", "c1"),
        };
        let mut index = Index::default();
        index.keep(std::time::Duration::from_mins(1));
        let said = |index: &Index| {
            let joined = join_told_by("n2", &identity, index);
            assert_eq!(joined.pending, is_pending(&identity, index));
            Value::from(joined.to_map()).to_string()
        };
        index.apply(&objects[0], crate::inventory::Moment::default());
        assert!(
            said(&index).contains(r#""pod":"p""#),
            "a file may leave it out"
        );
        index.follow("", "Pod");
        assert_eq!(
            said(&index),
            r#"{"name_pending":true,"subject":"pod/u1/c1"}"#
        );
        index.delete(
            "",
            "Pod",
            objects[0].meta(),
            crate::inventory::Moment::default(),
        );
        assert_eq!(said(&index), r#"{"subject":"pod/u1/c1"}"#);
    }

    /// A pod on the node's network reaches the metadata service whatever the hop limit.
    #[test]
    fn where_and_as_whom_a_pod_runs_is_said() {
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: cni, namespace: kube-system, uid: u}\n\
                   spec: {hostNetwork: true, serviceAccountName: aws-node, containers: []}\n";
        let mut index = Index::default();
        for object in &parse::parse("t", pod).objects {
            index.apply(object, crate::inventory::Moment::default());
        }
        let identity = Identity {
            cgroup_id: 7,
            cgroup_path: None,
            subject: Subject::Pod {
                pod_uid: "u".to_owned(),
                qos: Qos::Burstable,
            },
        };
        let said = Value::from(join(&identity, &index).to_map()).to_string();
        let standing = r#""host_network":true,"namespace":"kube-system","pod":"cni","service_account":"aws-node""#;
        assert!(said.contains(standing), "{said}");
    }

    #[test]
    fn names_or_a_mark_that_they_are_missing() {
        check(
            container("u1", "c1"),
            r#"{"container":"app","namespace":"shop","pod":"web","pod_node":"n1","subject":"shop/web/app","workload_kind":"Pod","workload_name":"web"}"#,
        );
        check(
            container("u1", "c2"),
            r#"{"name_pending":true,"namespace":"shop","pod":"web","pod_node":"n1","subject":"shop/web/c2","workload_kind":"Pod","workload_name":"web"}"#,
        );
        check(
            container("u9", "c9"),
            r#"{"name_pending":true,"subject":"pod/u9/c9"}"#,
        );
        check(
            Subject::Pod {
                pod_uid: "u1".to_owned(),
                qos: Qos::Burstable,
            },
            r#"{"namespace":"shop","pod":"web","pod_node":"n1","subject":"shop/web","workload_kind":"Pod","workload_name":"web"}"#,
        );
        check(
            Subject::Host {
                unit: "kubelet.service".to_owned(),
            },
            r#"{"subject":"host/kubelet.service"}"#,
        );
        check(Subject::Unknown, r#"{"subject":"cgroup/7"}"#);
    }
}

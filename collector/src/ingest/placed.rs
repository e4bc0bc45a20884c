//! Whether a record may be about the pod that it names: one on the sender's node, as far as that is
//! known. Pure.
//!
//! A node's token lets records of that node in. Which pods are on it the API server says, not the node: a
//! node that is in somebody else's hands must not write the history of pods elsewhere. A pod that is not
//! known yet is let through, for its name may come after its first records.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use plimsoll_wire::event::Misplaced;
use plimsoll_wire::identity::Subject;
use plimsoll_wire::{AuditEvent, Identity};

/// The node that a pod (by UID) is on; `None` while that is not known.
pub type NodeOfPod = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Time between two records that tell of the same sender, nanoseconds: one that sends such records without
/// end is one line a minute.
const TOLD_EVERY_NS: u64 = 60 * 1_000_000_000;
/// Senders that are remembered.
const MAX_SENDERS: usize = 1024;

/// Where pods are.
#[derive(Clone)]
pub struct Pods(NodeOfPod);

impl std::fmt::Debug for Pods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pods")
    }
}

impl Default for Pods {
    /// None is known.
    fn default() -> Self {
        Self::new(|_| None)
    }
}

/// A pod, and the node that it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// The pod.
    pub pod_uid: String,
    /// Its node.
    pub node: String,
}

impl Pods {
    /// As `node_of` says.
    pub fn new(node_of: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(node_of))
    }

    /// See [`NodeOfPod`].
    pub fn node_of(&self, pod_uid: &str) -> Option<String> {
        (self.0)(pod_uid)
    }

    /// For one request of that sender.
    pub(super) fn for_sender<'a>(&'a self, sender: &'a str) -> Places<'a> {
        Places {
            pods: self,
            sender,
            elsewhere: HashMap::new(),
        }
    }
}

/// Where the pods of one request are: each is looked up once.
pub(super) struct Places<'a> {
    pods: &'a Pods,
    sender: &'a str,
    /// By UID: the node, if it is known and not the sender's.
    elsewhere: HashMap<String, Option<String>>,
}

impl Places<'_> {
    /// The pod that a record names, if it is known to be on another node than the sender's.
    pub(super) fn elsewhere(&mut self, named: &Identity) -> Option<Elsewhere> {
        let (Subject::Pod { pod_uid, .. } | Subject::Container { pod_uid, .. }) = &named.subject
        else {
            return None;
        };
        let node = if let Some(known) = self.elsewhere.get(pod_uid) {
            known.clone()
        } else {
            let found = self.pods.node_of(pod_uid);
            let found = found.filter(|node| node != self.sender);
            self.elsewhere.insert(pod_uid.clone(), found.clone());
            found
        };
        let pod_uid = pod_uid.clone();
        node.map(|node| Elsewhere { pod_uid, node })
    }

    /// The same of every pod that an event names.
    pub(super) fn event_elsewhere(&mut self, event: &AuditEvent) -> Option<Elsewhere> {
        let task = match event {
            AuditEvent::Imds(access) => access.task_identity.as_ref(),
            _ => None,
        };
        let mut named = crate::join::identity_of(event).into_iter().chain(task);
        named.find_map(|identity| self.elsewhere(identity))
    }
}

/// Records that were refused because of [`Pods`], by sender, until they are told.
#[derive(Debug, Default)]
pub(super) struct Findings(BTreeMap<String, Sender>);

#[derive(Debug, Default)]
struct Sender {
    /// Refused and not told: the first pod, and how many records.
    waiting: Option<Misplaced>,
    told_unix_ns: Option<u64>,
}

impl Findings {
    /// `count` records of `sender` were refused, the first because of that pod. Whether it is the first
    /// of this sender, or the first since it was told.
    pub(super) fn note(&mut self, sender: &str, first: &Elsewhere, count: u64) -> bool {
        if !self.0.contains_key(sender) && self.0.len() >= MAX_SENDERS {
            // The metric and the books have them.
            return false;
        }
        let known = self.0.entry(sender.to_owned()).or_default();
        if let Some(waiting) = &mut known.waiting {
            waiting.count += count;
            return false;
        }
        known.waiting = Some(Misplaced {
            sender: sender.to_owned(),
            pod_uid: first.pod_uid.clone(),
            pod_node: first.node.clone(),
            count,
        });
        true
    }

    /// What is to be told now.
    pub(super) fn due(&mut self, now_unix_ns: u64) -> Vec<Misplaced> {
        let rests = |sender: &Sender| {
            let told = sender.told_unix_ns;
            told.is_some_and(|told| now_unix_ns.abs_diff(told) < TOLD_EVERY_NS)
        };
        self.0
            .retain(|_, sender| sender.waiting.is_some() || rests(sender));
        let due = self.0.values_mut().filter(|sender| !rests(sender));
        let taken = due.filter_map(|sender| {
            sender.told_unix_ns = Some(now_unix_ns);
            sender.waiting.take()
        });
        taken.collect()
    }

    /// It could not be told.
    pub(super) fn put_back(&mut self, finding: Misplaced) {
        let known = self.0.entry(finding.sender.clone()).or_default();
        known.told_unix_ns = None;
        match &mut known.waiting {
            Some(waiting) => waiting.count += finding.count,
            None => known.waiting = Some(finding),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elsewhere() -> Elsewhere {
        Elsewhere {
            pod_uid: "p".to_owned(),
            node: "b".to_owned(),
        }
    }

    #[test]
    fn a_pod_is_looked_up_once_for_a_request_and_the_task_counts_as_well() {
        use plimsoll_wire::event::ImdsAccess;
        use plimsoll_wire::identity::Qos;
        let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let pods = Pods::new(move |uid| {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            (uid != "new").then(|| uid.to_owned())
        });
        let on = |uid: &str| Identity {
            subject: Subject::Pod {
                pod_uid: uid.to_owned(),
                qos: Qos::Burstable,
            },
            ..Identity::unknown(7)
        };
        let mut places = pods.for_sender("a");
        for _ in 0..3 {
            assert_eq!(places.elsewhere(&on("a")), None);
            assert_eq!(places.elsewhere(&on("new")), None);
            let found = places.elsewhere(&on("b")).unwrap();
            assert_eq!((found.pod_uid.as_str(), found.node.as_str()), ("b", "b"));
        }
        assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 3);
        let event = AuditEvent::Imds(ImdsAccess {
            identity: on("a"),
            process: None,
            task_identity: Some(on("b")),
            request: serde_json::Map::new(),
        });
        assert!(places.event_elsewhere(&event).is_some());
    }

    #[test]
    fn a_sender_is_told_of_once_a_minute_with_all_that_was_refused() {
        let mut findings = Findings::default();
        let told = |findings: &mut Findings, seconds: u64| -> Vec<u64> {
            let due = findings.due(seconds * 1_000_000_000);
            due.iter().map(|finding| finding.count).collect()
        };
        assert!(findings.note("a", &elsewhere(), 2));
        assert!(!findings.note("a", &elsewhere(), 3));
        assert!(findings.note("c", &elsewhere(), 1));
        assert_eq!(told(&mut findings, 100), [5, 1]);
        assert!(findings.note("a", &elsewhere(), 4));
        assert_eq!(told(&mut findings, 159), [0; 0]);
        assert!(!findings.note("a", &elsewhere(), 1));
        let mut due = findings.due(160 * 1_000_000_000);
        assert_eq!(due.len(), 1);
        findings.put_back(due.remove(0));
        assert_eq!(told(&mut findings, 161), [5]);
        assert_eq!(told(&mut findings, 400), [0; 0]);
        assert!(findings.0.is_empty(), "nothing is remembered for ever");
    }

    #[test]
    fn senders_are_bounded() {
        let mut findings = Findings::default();
        for sender in 0..MAX_SENDERS + 10 {
            let is_told = findings.note(&sender.to_string(), &elsewhere(), 1);
            assert_eq!(is_told, sender < MAX_SENDERS);
        }
        assert_eq!(findings.due(1).len(), MAX_SENDERS);
    }
}

#![expect(clippy::disallowed_methods, reason = "shell: churn has a pace")]
//! Generated clusters of any size: nodes, pods, and the owners of the pods, made of recorded objects
//! whenever they are asked for, so that 50,000 pods of 7 KB each are not held.
//!
//! Everything follows from an object's number: two fleets of one size are the same.
//!
//! | pods | owner | node |
//! | --- | --- | --- |
//! | the first fifth of those on each node | a DaemonSet each | every one |
//! | one in fifty of all | a Job each, every third Job of one CronJob | some |
//! | all others | a ReplicaSet for eight, of a Deployment with an old ReplicaSet too | some |

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::ApiServer;
use super::object::Recipe;
use super::template::Template;

/// Pods of one ReplicaSet.
const REPLICAS: u32 = 8;
/// Jobs of one CronJob.
const JOBS: u32 = 3;
/// Namespaces of the Deployments.
const TEAMS: u32 = 50;
const REGION: &str = "eu-west-1.compute.internal";
const POD: &str = include_str!("templates/pod.json");
const PENDING: &str = r#"{"phase":"Pending","qosClass":"Burstable"}"#;
const SCHEDULED: &str = r#"{"phase":"Pending","conditions":[{"type":"PodScheduled","observedGeneration":1,"status":"True","lastProbeTime":null,"lastTransitionTime":"2026-11-22T07:11:10Z"}],"qosClass":"Burstable"}"#;

/// How large a generated cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fleet {
    nodes: u32,
    pods: u32,
    daemonsets: u32,
    jobs: u32,
    deployments: u32,
}

/// How far a pod has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Without a node.
    Created,
    /// On a node, nothing runs.
    Bound,
    /// Its containers run.
    Running,
    /// With a deletionTimestamp.
    Terminating,
}

/// An object of a fleet, by its number among those of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Namespace(u32),
    Node(u32),
    DaemonSet(u32),
    Job(u32),
    CronJob(u32),
    Deployment(u32),
    ReplicaSet(u32),
    OldReplicaSet(u32),
    Pod(u32, Stage),
}

/// Whom a pod belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    DaemonSet(u32),
    Job(u32),
    ReplicaSet(u32),
}

struct Templates {
    namespace: Template,
    node: Template,
    daemonset: Template,
    job: Template,
    cronjob: Template,
    deployment: Template,
    replicaset: Template,
    created: Template,
    bound: Template,
    running: Template,
}

static TEMPLATES: LazyLock<Templates> = LazyLock::new(|| Templates {
    namespace: Template::parse(include_str!("templates/namespace.json")),
    node: Template::parse(include_str!("templates/node.json")),
    daemonset: Template::parse(include_str!("templates/daemonset.json")),
    job: Template::parse(include_str!("templates/job.json")),
    cronjob: Template::parse(include_str!("templates/cronjob.json")),
    deployment: Template::parse(include_str!("templates/deployment.json")),
    replicaset: Template::parse(include_str!("templates/replicaset.json")),
    created: Template::unplaced(POD, false, PENDING),
    bound: Template::unplaced(POD, true, SCHEDULED),
    running: Template::parse(POD),
});

impl Fleet {
    /// So many nodes and pods, one of each at least.
    pub fn new(nodes: u32, pods: u32) -> Self {
        let (nodes, pods) = (nodes.max(1), pods.max(1));
        let daemonsets = pods / nodes / 5;
        let jobs = pods / 50;
        let rest = pods.saturating_sub(daemonsets * nodes + jobs);
        Self {
            nodes,
            pods,
            daemonsets,
            jobs,
            deployments: rest.div_ceil(REPLICAS).max(1),
        }
    }

    /// The cluster of the budgets: 1,000 nodes and 50,000 pods.
    pub fn large() -> Self {
        Self::new(1_000, 50_000)
    }

    /// The first pod that a Deployment owns.
    fn first_of_deployments(self) -> u32 {
        self.daemonsets * self.nodes + self.jobs
    }

    /// Puts all of it in, before clients come.
    ///
    /// # Errors
    /// A kind is hidden.
    pub fn load(self, server: &ApiServer) -> Result<()> {
        let put = |group: &str, plural: &str, count: u32, what: fn(u32) -> What| {
            server.load_made(group, plural, (0..count).map(|n| self.made(what(n))))
        };
        put("", "namespaces", TEAMS, What::Namespace)?;
        put("", "nodes", self.nodes, What::Node)?;
        put("apps", "daemonsets", self.daemonsets, What::DaemonSet)?;
        put("batch", "jobs", self.jobs, What::Job)?;
        put("batch", "cronjobs", self.jobs.div_ceil(JOBS), What::CronJob)?;
        put("apps", "deployments", self.deployments, What::Deployment)?;
        put("apps", "replicasets", self.deployments, What::ReplicaSet)?;
        put("apps", "replicasets", self.deployments, What::OldReplicaSet)?;
        put("", "pods", self.pods, |n| What::Pod(n, Stage::Running))
    }

    /// Namespace and name of a pod, and its text at that stage. Numbers from the size of the fleet
    /// on are further pods of its Deployments.
    pub fn pod(self, number: u32, stage: Stage) -> ((String, String), Arc<dyn Recipe>) {
        self.made(What::Pod(number, stage))
    }

    fn made(self, what: What) -> ((String, String), Arc<dyn Recipe>) {
        let made = Made { fleet: self, what };
        ((made.namespace(), made.name()), Arc::new(made))
    }

    fn owner(self, pod: u32) -> Owner {
        let of_daemonsets = self.daemonsets * self.nodes;
        if pod < of_daemonsets {
            return Owner::DaemonSet(pod / self.nodes);
        }
        if pod < self.first_of_deployments() {
            return Owner::Job(pod - of_daemonsets);
        }
        let further = (pod - self.first_of_deployments()) / REPLICAS;
        Owner::ReplicaSet(further % self.deployments)
    }

    fn node_of(self, pod: u32) -> u32 {
        if matches!(self.owner(pod), Owner::DaemonSet(_)) {
            return pod % self.nodes;
        }
        let spread = mix(u64::from(pod)) % u64::from(self.nodes);
        u32::try_from(spread).unwrap_or(0)
    }
}

/// What is made when it is asked for.
#[derive(Debug)]
struct Made {
    fleet: Fleet,
    what: What,
}

/// One step of splitmix64: numbers that look like chance.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Five letters as of the API server's names, another for each number below 27⁵.
fn suffix(number: u32) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let all = 27_u64.pow(5);
    // Not a multiple of three: each number has its own.
    let mut left = u64::from(number).wrapping_mul(7_368_787) % all;
    let mut text = String::new();
    for _ in 0..5 {
        let at = usize::try_from(left % 27).unwrap_or(0);
        text.extend(LETTERS.get(at).map(|letter| char::from(*letter)));
        left /= 27;
    }
    text
}

/// So many hexadecimal digits that follow from two numbers.
fn hex(kind: u32, number: u32, digits: usize) -> String {
    let seed = u64::from(kind) << 32 | u64::from(number);
    let mut text = String::new();
    for part in 0.. {
        if text.len() >= digits {
            break;
        }
        text = format!("{text}{:016x}", mix(mix(seed).wrapping_add(part)));
    }
    text.truncate(digits);
    text
}

fn uid(kind: u32, number: u32) -> String {
    let text = hex(kind, number, 32);
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default().to_owned();
    let (a, b, c, d) = (part(0, 8), part(8, 12), part(13, 16), part(17, 20));
    format!("{a}-{b}-4{c}-a{d}-{}", part(20, 32))
}

fn address(second: u32, number: u32) -> String {
    let (high, low) = ((number >> 8) & 255, number & 255);
    format!("10.{}.{high}.{low}", second + ((number >> 16) & 63))
}

impl What {
    fn number(self) -> u32 {
        match self {
            Self::Namespace(n)
            | Self::Node(n)
            | Self::DaemonSet(n)
            | Self::Job(n)
            | Self::CronJob(n)
            | Self::Deployment(n)
            | Self::ReplicaSet(n)
            | Self::OldReplicaSet(n)
            | Self::Pod(n, _) => n,
        }
    }

    fn uid(self) -> String {
        let kind = match self {
            Self::Namespace(_) => 1,
            Self::Node(_) => 2,
            Self::DaemonSet(_) => 3,
            Self::Job(_) => 4,
            Self::CronJob(_) => 5,
            Self::Deployment(_) => 6,
            Self::ReplicaSet(_) => 7,
            Self::OldReplicaSet(_) => 8,
            Self::Pod(..) => 9,
        };
        uid(kind, self.number())
    }
}

impl Made {
    fn of(&self, what: What) -> Self {
        Self {
            fleet: self.fleet,
            what,
        }
    }

    /// What owns it, and that one's apiVersion and kind.
    fn owner(&self) -> Option<(Self, &'static str, &'static str)> {
        let (what, api, kind) = match self.what {
            What::Job(n) => (What::CronJob(n / JOBS), "batch/v1", "CronJob"),
            What::ReplicaSet(n) | What::OldReplicaSet(n) => {
                (What::Deployment(n), "apps/v1", "Deployment")
            }
            What::Pod(n, _) => match self.fleet.owner(n) {
                Owner::DaemonSet(n) => (What::DaemonSet(n), "apps/v1", "DaemonSet"),
                Owner::Job(n) => (What::Job(n), "batch/v1", "Job"),
                Owner::ReplicaSet(n) => (What::ReplicaSet(n), "apps/v1", "ReplicaSet"),
            },
            _ => return None,
        };
        Some((self.of(what), api, kind))
    }

    fn namespace(&self) -> String {
        match self.what {
            What::Namespace(_) | What::Node(_) => String::new(),
            What::DaemonSet(_) => "kube-system".to_owned(),
            What::Job(_) | What::CronJob(_) => "batch".to_owned(),
            What::Deployment(n) | What::ReplicaSet(n) | What::OldReplicaSet(n) => {
                format!("team-{:02}", n % TEAMS)
            }
            What::Pod(..) => self
                .owner()
                .map_or_else(String::new, |(o, ..)| o.namespace()),
        }
    }

    /// The label `app`: the name of the workload.
    fn app(&self) -> String {
        match self.what {
            What::DaemonSet(n) => format!("daemon-{n:02}"),
            What::Job(n) => format!("report-{:04}", n / JOBS),
            What::CronJob(n) => format!("report-{n:04}"),
            What::Deployment(n) | What::ReplicaSet(n) | What::OldReplicaSet(n) => {
                format!("service-{n:04}")
            }
            _ => self.owner().map_or_else(String::new, |(o, ..)| o.app()),
        }
    }

    /// The pod-template-hash.
    fn hash(&self) -> String {
        match self.what {
            What::OldReplicaSet(n) => hex(11, n, 10),
            What::Deployment(n) | What::ReplicaSet(n) => hex(10, n, 10),
            _ => self
                .owner()
                .map_or_else(|| hex(12, 0, 10), |(o, ..)| o.hash()),
        }
    }

    fn name(&self) -> String {
        match self.what {
            What::Namespace(n) => format!("team-{n:02}"),
            What::Node(n) => format!("ip-{}.{REGION}", address(0, n).replace('.', "-")),
            What::Job(n) => format!("{}-{}", self.app(), 29_922_192 + n % JOBS),
            What::ReplicaSet(_) | What::OldReplicaSet(_) => {
                format!("{}-{}", self.app(), self.hash())
            }
            What::Pod(n, _) => {
                let owner = self.owner().map_or_else(String::new, |(o, ..)| o.name());
                format!("{owner}-{}", suffix(n))
            }
            _ => self.app(),
        }
    }

    fn template(&self) -> &'static Template {
        let templates = &*TEMPLATES;
        match self.what {
            What::Namespace(_) => &templates.namespace,
            What::Node(_) => &templates.node,
            What::DaemonSet(_) => &templates.daemonset,
            What::Job(_) => &templates.job,
            What::CronJob(_) => &templates.cronjob,
            What::Deployment(_) => &templates.deployment,
            What::ReplicaSet(_) | What::OldReplicaSet(_) => &templates.replicaset,
            What::Pod(_, Stage::Created) => &templates.created,
            What::Pod(_, Stage::Bound) => &templates.bound,
            What::Pod(_, Stage::Running | Stage::Terminating) => &templates.running,
        }
    }

    fn replicas(&self) -> u32 {
        match self.what {
            What::DaemonSet(_) => self.fleet.nodes,
            What::OldReplicaSet(_) => 0,
            _ => REPLICAS,
        }
    }

    fn fill(&self, hole: &str, out: &mut String) {
        let number = self.what.number();
        let node = match self.what {
            What::Pod(..) => self.fleet.node_of(number),
            _ => number,
        };
        let owner = || self.owner();
        let text = match hole {
            "name" => self.name(),
            "namespace" => self.namespace(),
            "uid" => self.what.uid(),
            "app" => self.app(),
            "hash" => self.hash(),
            "owner" => owner().map_or_else(String::new, |(o, ..)| o.name()),
            "owner-uid" => owner().map_or_else(String::new, |(o, ..)| o.what.uid()),
            "owner-api" => owner().map_or("", |(_, api, _)| api).to_owned(),
            "owner-kind" => owner().map_or("", |(.., kind)| kind).to_owned(),
            "suffix" => suffix(number),
            "replicas" => self.replicas().to_string(),
            "revision" if matches!(self.what, What::OldReplicaSet(_)) => "1".to_owned(),
            "revision" => "2".to_owned(),
            "instance" => hex(13, number, 17),
            "node" => self.of(What::Node(node)).name(),
            "node-ip" => address(0, node),
            "pod-ip" => address(128, number),
            "zone" => ["a", "b", "c"][usize::try_from(node % 3).unwrap_or(0)].to_owned(),
            "id-0" => hex(14, number, 64),
            "id-1" => hex(15, number, 64),
            "image-0" => hex(16, self.owner().map_or(0, |(o, ..)| o.what.number()), 64),
            "image-1" => hex(17, 0, 64),
            other => format!("«{other}»"),
        };
        out.push_str(&text);
    }
}

impl Recipe for Made {
    fn metadata(&self, out: &mut String) {
        if matches!(self.what, What::Pod(_, Stage::Terminating)) {
            out.push_str(
                r#""deletionTimestamp":"2026-11-22T08:11:25Z","deletionGracePeriodSeconds":30,"#,
            );
        }
        self.template()
            .metadata(|hole, out| self.fill(hole, out), out);
    }

    fn rest(&self, out: &mut String) {
        self.template().rest(|hole, out| self.fill(hole, out), out);
    }
}

/// Pods of Deployments that go, and others that come for them.
#[derive(Debug)]
pub struct Churn<'a> {
    server: &'a ApiServer,
    fleet: Fleet,
    oldest: u32,
    next: u32,
}

impl<'a> Churn<'a> {
    /// For a server into which that fleet was put.
    pub fn new(server: &'a ApiServer, fleet: Fleet) -> Self {
        Self {
            server,
            fleet,
            oldest: fleet.first_of_deployments(),
            next: fleet.pods,
        }
    }

    /// One pod is created, the one before it is bound and the one before that runs; the oldest is
    /// terminating, and the one before it is gone: five events, of different pods.
    ///
    /// # Errors
    /// The oldest is gone: this is another server's fleet.
    pub fn step(&mut self) -> Result<()> {
        for (back, stage) in [(0, Stage::Created), (1, Stage::Bound), (2, Stage::Running)] {
            let number = self.next.saturating_sub(back);
            if number >= self.fleet.pods {
                self.apply(number, stage)?;
            }
        }
        self.apply(self.oldest, Stage::Terminating)?;
        if self.oldest > self.fleet.first_of_deployments() {
            let ((namespace, name), _) = self.fleet.pod(self.oldest - 1, Stage::Running);
            self.server.delete("", "pods", &namespace, &name)?;
        }
        (self.next, self.oldest) = (self.next + 1, self.oldest + 1);
        Ok(())
    }

    /// Steps at that pace for so long, a step for each pod; how many were made is told.
    ///
    /// # Errors
    /// As for [`Churn::step`].
    pub fn run(&mut self, pods_per_s: u32, time: Duration) -> Result<u32> {
        let begin = Instant::now();
        let pause = Duration::from_secs(1) / pods_per_s.max(1);
        for step in 0.. {
            let due = begin + pause * step;
            if due >= begin + time {
                return Ok(step);
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.step()?;
        }
        Ok(0)
    }

    fn apply(&self, number: u32, stage: Stage) -> Result<()> {
        let (name, recipe) = self.fleet.pod(number, stage);
        self.server.apply_made(("", "pods"), name, recipe)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn every_object_is_whole_and_every_hole_is_filled() {
        let fleet = Fleet::new(10, 500);
        let pods = [
            Stage::Created,
            Stage::Bound,
            Stage::Running,
            Stage::Terminating,
        ];
        let pods = [0, 105, 300].map(|n| pods.map(|stage| What::Pod(n, stage)));
        let others = [
            What::Namespace(1),
            What::Node(2),
            What::DaemonSet(1),
            What::Job(4),
            What::CronJob(1),
            What::Deployment(3),
            What::ReplicaSet(3),
            What::OldReplicaSet(3),
        ];
        for what in pods.into_iter().flatten().chain(others) {
            let (_, recipe) = fleet.made(what);
            let text = recipe.whole();
            let object: Value =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{what:?}: {e}"));
            assert!(!text.contains('«'), "{what:?}: {text}");
            assert!(
                object["spec"].is_object() && object["metadata"]["uid"].is_string(),
                "{what:?}"
            );
        }
    }

    #[test]
    fn a_pod_is_as_large_as_a_real_one_and_belongs_to_what_is_there() {
        let fleet = Fleet::large();
        let (_, recipe) = fleet.pod(40_000, Stage::Running);
        let pod = recipe.whole();
        assert!((6_000..8_500).contains(&pod.len()), "{} bytes", pod.len());
        let pod: Value = serde_json::from_str(&pod).unwrap();
        let Owner::ReplicaSet(set) = fleet.owner(40_000) else {
            panic!("not of a Deployment")
        };
        let (name, set) = fleet.made(What::ReplicaSet(set));
        let set: Value = serde_json::from_str(&set.whole()).unwrap();
        let owner = &pod["metadata"]["ownerReferences"][0];
        assert_eq!(
            (&owner["uid"], &owner["name"]),
            (&set["metadata"]["uid"], &name.1.into())
        );
        let id = pod["status"]["containerStatuses"][0]["containerID"]
            .as_str()
            .unwrap();
        assert_eq!(id.len(), "containerd://".len() + 64);
    }

    #[test]
    fn names_are_their_own_and_the_pods_are_as_many_as_asked_for() {
        let fleet = Fleet::new(100, 5_000);
        let names: BTreeSet<_> = (0..6_000).map(|n| fleet.pod(n, Stage::Created).0).collect();
        assert_eq!(names.len(), 6_000);
        let owned = fleet.deployments * REPLICAS + fleet.first_of_deployments();
        assert!((5_000..5_000 + REPLICAS).contains(&owned), "{owned}");
    }
}

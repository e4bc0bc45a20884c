#![expect(
    clippy::disallowed_methods,
    reason = "shell: writes kubeconfigs, runs the command line, waits between two looks"
)]
//! What the story has: the stage, an API server that tells of it, Plimsoll, and people.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::super::capabilities::CAPABILITIES;
use super::super::imds::{requests, truth_keys};
use super::super::{Context, Need, folder, rng};
use crate::apiserver::{API_AUDIENCE, ApiServer, Options, Rule, Token, User};
use crate::inventory::{self, Seen};
use crate::network::Beside;
use crate::plimsoll::cluster::{AUDIENCE, Certificate, Cluster, PodNetwork, TokenVolume};
use crate::plimsoll::config::{Container, Settings};
use crate::plimsoll::statefulset::StatefulSet;
use crate::plimsoll::{Plimsoll, read};
use crate::pods::{self, NODE, Owner, Pod};
use crate::stage::{self, Stage};
use crate::{confine, manifest};

/// A person of the team of `shop`, who may see what its workloads use.
pub(super) const TEAM: &str = "alice";
/// One of the security team, who may see everything.
pub(super) const OFFICER: &str = "olga";
/// Of the agent's service account, one after the other.
pub(super) const TOKENS: [&str; 3] = ["agent-token-1", "agent-token-2", "agent-token-3"];
/// The node on which the API server has the stray pod.
pub(super) const ELSEWHERE: &str = "plimsoll-elsewhere";
/// The collector's pod.
const COLLECTOR: [&str; 2] = ["plimsoll", "plimsoll-collector-0"];
/// When what was there before the story was made.
const BEGIN: &str = "2026-11-22T07:11:25Z";
/// For whatever is waited for: an emulated machine stands still for seconds at times.
const PATIENCE: Duration = Duration::from_mins(5);
/// Seconds that an event waits for its names: longer than an API server is away here, and than it takes until
/// it is asked again after that.
const NAME_WAIT_S: u64 = 180;

/// See the module.
pub(super) struct Play {
    pub(super) plimsoll: Plimsoll,
    pub(super) server: ApiServer,
    pub(super) stage: Stage,
    /// The agent's token.
    pub(super) tokens: TokenVolume,
    programs: PathBuf,
    /// The host has a memory controller.
    pub(super) counts_memory: bool,
    mirror: Mirror,
    _beside: Option<Beside>,
    pub(super) dir: tempfile::TempDir,
}

/// What is left when everything has ended in order.
pub(super) struct Stopped {
    pub(super) events: Vec<Value>,
    pub(super) accounting: Value,
    pub(super) server: ApiServer,
}

impl Play {
    /// Plimsoll in a cluster in which nobody lives yet but itself.
    pub(super) fn open(context: &Context) -> Result<Self> {
        let dir = folder()?;
        let server = ApiServer::start(Options {
            tls: true,
            ..Options::default()
        })?;
        server.allow_only(
            &ApiServer::collector(),
            manifest::granted_to_the_collector()?,
        );
        people(&server)?;
        agents(&server, TOKENS[0]);
        let mut stage = context.stage(&dir, Vec::new())?;
        let missing = stage.missing().join("; ");
        ensure!(stage.truth().is_some(), "{missing}");
        let own = own_pod();
        let cgroup = stage.lend(&own)?;
        let mut mirror = Mirror::default();
        let seen = Seen {
            pod: &own,
            ip: Ipv4Addr::LOCALHOST,
            running: true,
        };
        mirror.tell(&server, inventory::objects(&[seen], BEGIN))?;
        let kubeconfig = dir.path().join("kubeconfig");
        std::fs::write(&kubeconfig, server.kubeconfig()).context("writing a kubeconfig")?;
        let none = dir.path().join("no-inventory");
        let mut settings = Settings::new(&context.programs, dir.path(), &none)?;
        settings.window_s = 5;
        settings.container = Some(Container {
            capabilities: CAPABILITIES.to_vec(),
            cgroup,
            capabilities_unknown: false,
            libraries: libraries(context.facts.lab),
        });
        // A machine that others use gets no interface more.
        let own_network = context.facts.lab.then(stage::run_name);
        let beside = own_network.as_deref().map(Beside::build).transpose()?;
        let cluster = Cluster {
            collector: StatefulSet {
                user: manifest::collector_user()?,
                libraries: libraries(context.facts.lab),
            },
            kubeconfig,
            certificate: Certificate::make(dir.path())?,
            token: TokenVolume::make(dir.path().join("agent-token"), TOKENS[0])?,
            reader: OFFICER.to_owned(),
            name_wait_s: NAME_WAIT_S,
            network: beside.as_ref().map(|beside| PodNetwork {
                namespace: beside.name.clone(),
                collector: beside.machine,
                agent: beside.pod,
            }),
        };
        let door = SocketAddr::from((Ipv4Addr::LOCALHOST, settings.ports[0]));
        collector(&server, &cluster, door)?;
        let tokens = cluster.token.clone();
        settings.cluster = Some(cluster);
        let plimsoll = Plimsoll::start(settings)?;
        check_confined(&plimsoll.collector_status()?)?;
        let degraded = &plimsoll.agent()?["health"]["degraded"];
        ensure!(
            !context.facts.lab || degraded.as_array().is_some_and(Vec::is_empty),
            "the agent lacks {degraded}"
        );
        Ok(Self {
            plimsoll,
            server,
            stage,
            tokens,
            programs: context.programs.clone(),
            counts_memory: context.facts.missing(Need::Memory).is_none(),
            mirror,
            _beside: beside,
            dir,
        })
    }

    /// A pod comes: the API server tells of it, and it runs.
    pub(super) fn admit(&mut self, pod: Pod) -> Result<()> {
        self.stage.admit(pod)?;
        self.tick()
    }

    /// The API server tells of a pod that is not there yet, as one of another node.
    pub(super) fn tell_elsewhere(&mut self, pod: &Pod) -> Result<()> {
        self.mirror.elsewhere.insert(pod.uid.clone());
        let seen = Seen {
            pod,
            ip: Ipv4Addr::LOCALHOST,
            running: false,
        };
        let objects = inventory::objects(&[seen], BEGIN);
        self.mirror.tell(&self.server, objects)
    }

    /// Whether the API server has the pod on another node.
    pub(super) fn is_elsewhere(&self, uid: &str) -> bool {
        self.mirror.elsewhere.contains(uid)
    }

    /// The pod goes from the API server.
    pub(super) fn delete(&mut self, pod: &Pod) -> Result<()> {
        self.mirror.deleted.insert(pod.uid.clone());
        let gone = self.server.delete("", "pods", &pod.namespace, &pod.name);
        gone.map(drop)
    }

    /// What `plimsoll` says to somebody who has a kubeconfig with this token.
    pub(super) fn plimsoll(&self, token: &str, words: &[&str]) -> Result<Output> {
        let kubeconfig = self.dir.path().join(token);
        let text = self.server.kubeconfig_of(&json!({"token": token}));
        std::fs::write(&kubeconfig, text).context("writing a kubeconfig")?;
        let mut command = Command::new(self.programs.join("plimsoll"));
        command.args(words).env_clear();
        command.env("KUBECONFIG", &kubeconfig);
        command.output().context("running plimsoll")
    }

    /// Time goes by on the stage, and the API server tells what became of it.
    fn tick(&mut self) -> Result<()> {
        self.mirror.tell(&self.server, self.stage.objects())?;
        self.stage.tick()?;
        self.mirror.tell(&self.server, self.stage.objects())?;
        self.plimsoll.check()
    }

    /// Keeps the stage going until `look` finds something.
    pub(super) fn until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.tick()?;
            if let Some(found) = look(self).with_context(|| format!("until {what}"))? {
                return Ok(found);
            }
            if Instant::now() > deadline {
                let events = self.plimsoll.events()?;
                let last = events.last().map(Value::to_string).unwrap_or_default();
                bail!(
                    "not within {} s: {what}; the last of {} events: {last}",
                    PATIENCE.as_secs(),
                    events.len()
                );
            }
            // An interval of looking, not a synchronisation.
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A pod comes and does its work to the end.
    pub(super) fn run(&mut self, pod: &Pod) -> Result<()> {
        self.admit(pod.clone())?;
        let name = &pod.workload;
        let what = format!("{name} has ended");
        self.until(&what, |play| Ok(play.stage.ended(name).then_some(())))?;
        let failed = self.stage.ends_of(name).iter().any(|end| !end.success);
        ensure!(!failed, "the load {name} failed");
        Ok(())
    }

    /// The same, and what it asked of the metadata service is told, all of it by name.
    pub(super) fn ask(&mut self, pod: &Pod) -> Result<Vec<Value>> {
        self.run(pod)?;
        self.told(pod)
    }

    /// All that a pod asked, once it is told; by name.
    pub(super) fn told(&mut self, pod: &Pod) -> Result<Vec<Value>> {
        let of_pod = |play: &Self| -> Result<Vec<Value>> {
            let events = play.plimsoll.events()?;
            let of_pod = |event: &&Value| read::pod_uid(event) == Some(&pod.uid);
            Ok(requests(&events).filter(of_pod).cloned().collect())
        };
        let keys = truth_keys(&self.stage)?;
        let happened = keys.iter().filter(|key| key.0 == pod.uid).count();
        ensure!(happened > 0, "{} asked for nothing", pod.workload);
        let what = format!("what {} asked is told", pod.workload);
        let told = self.until(&what, |play| {
            Ok(Some(of_pod(play)?).filter(|told| told.len() >= happened))
        })?;
        for event in &told {
            check_names(event, pod)?;
        }
        Ok(told)
    }

    /// The document that somebody with this token is given.
    pub(super) fn as_person(&self, path: &str, token: &str) -> Result<Value> {
        let answer = self.plimsoll.answer(path, Some(token))?;
        ensure!(
            answer.status == 200,
            "{token} asked for {path}: {} {}",
            answer.status,
            answer.text
        );
        serde_json::from_str(&answer.text).with_context(|| format!("{path} answered no JSON"))
    }

    /// Somebody is answered so.
    pub(super) fn check_status(&self, path: &str, token: Option<&str>, status: u16) -> Result<()> {
        let answer = self.plimsoll.answer(path, token)?;
        ensure!(
            answer.status == status,
            "{token:?} asked for {path}: {} instead of {status}: {}",
            answer.status,
            answer.text
        );
        Ok(())
    }

    /// Ends everything in order.
    pub(super) fn stop(self) -> Result<Stopped> {
        let Self {
            mut plimsoll,
            server,
            mut stage,
            ..
        } = self;
        stage.clear()?;
        plimsoll.stop_agent()?;
        let accounting = plimsoll.api("/api/v1/accounting")?;
        plimsoll.stop_collector()?;
        let events = plimsoll.events()?;
        Ok(Stopped {
            events,
            accounting,
            server,
        })
    }
}

/// The event is this pod's, by all its names. Those that ask here are of Deployments.
pub(super) fn check_names(event: &Value, pod: &Pod) -> Result<()> {
    for (key, name) in [
        ("namespace", pod.namespace.as_str()),
        ("pod", &pod.name),
        ("container", &pod.container),
        ("workload_kind", "Deployment"),
        ("workload_name", &pod.workload),
        ("service_account", &pod.workload),
    ] {
        let seen = read::name(event, key);
        ensure!(seen == Some(name), "{key} is {seen:?}, not {name}: {event}");
    }
    Ok(())
}

/// The collector is who its StatefulSet says, and can become nobody else.
fn check_confined(status: &str) -> Result<()> {
    let confine::User { uid, gid, group } = manifest::collector_user()?;
    let none = format!("{:016x}", 0);
    for (field, wanted) in [
        ("Uid", format!("{uid}\t{uid}\t{uid}\t{uid}")),
        ("Gid", format!("{gid}\t{gid}\t{gid}\t{gid}")),
        ("Groups", format!("{group} ")),
        ("CapInh", none.clone()),
        ("CapPrm", none.clone()),
        ("CapEff", none.clone()),
        ("CapAmb", none.clone()),
        ("CapBnd", none),
        ("NoNewPrivs", "1".to_owned()),
        ("Seccomp", "2".to_owned()),
    ] {
        let line = format!("{field}:\t{wanted}");
        ensure!(
            status.lines().any(|said| said == line),
            "the collector is not confined to {line}: {status}"
        );
    }
    Ok(())
}

/// The lab's programs, like those of the images, need none.
fn libraries(is_lab: bool) -> Vec<PathBuf> {
    let folders = ["/lib", "/lib64"].map(PathBuf::from).into_iter();
    folders
        .filter(|folder| !is_lab && folder.is_dir())
        .collect()
}

/// The agent's own pod.
fn own_pod() -> Pod {
    let mut pod = pods::pod(&mut rng(), "plimsoll-agent", &[]);
    "plimsoll-agent".clone_into(&mut pod.namespace);
    pod.owner = Owner::DaemonSet;
    pod
}

/// Who may see what. Of the API server itself the team may what the command line asks for; who is to see
/// everything asks the collector alone.
fn people(server: &ApiServer) -> Result<()> {
    let of_team = manifest::granted_to_people()?;
    for (token, group, granted) in [
        (TEAM, "team-shop", of_team),
        (OFFICER, "security", BTreeSet::new()),
    ] {
        let user = User::person(&format!("{token}@example.com"), &[group]);
        server.allow_only(&user, granted);
        server.token(token, Token::valid(user, API_AUDIENCE));
    }
    let group = "plimsoll.dev";
    let team = Rule::group("team-shop").may("get", group, "sizing");
    server.allow(team.within("shop"));
    for (verb, resource) in [("get", "sizing"), ("read", "audit")] {
        server.allow(Rule::group("security").may(verb, group, resource));
    }
    server.allow(Rule::group("security").may_path("get", "/metrics"));
    Ok(())
}

/// A token of the agent's service account, bound to its pod on this node. It asks the API server for nothing.
pub(super) fn agents(server: &ApiServer, token: &str) {
    let agent = User::service_account("plimsoll-agent", "plimsoll-agent");
    let agent = agent.in_pod("plimsoll-agent-x", "u1").on_node(NODE, "u2");
    server.allow_only(&agent, []);
    server.token(token, Token::valid(agent, AUDIENCE));
}

/// What people find the collector by.
fn collector(server: &ApiServer, cluster: &Cluster, door: SocketAddr) -> Result<()> {
    let [namespace, pod] = COLLECTOR;
    let authority = std::fs::read_to_string(&cluster.certificate.authority)
        .context("reading the authority's certificate")?;
    server.apply(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "plimsoll-ca", "namespace": namespace}, "data": {"ca.crt": authority}}))?;
    server.apply(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod, "namespace": namespace,
            "labels": {"app.kubernetes.io/name": "plimsoll-collector"}},
        "spec": {"containers": [{"name": "collector", "image": "c"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}))?;
    server.forward(namespace, pod, 8443, door);
    Ok(())
}

/// What the API server was told of the stage.
#[derive(Debug, Default)]
struct Mirror {
    told: BTreeMap<[String; 3], Value>,
    /// UIDs of pods that are said to be on [`ELSEWHERE`].
    elsewhere: BTreeSet<String>,
    /// UIDs of pods that are told no more.
    deleted: BTreeSet<String>,
}

impl Mirror {
    /// Tells what is new in it.
    fn tell(&mut self, server: &ApiServer, objects: Vec<Value>) -> Result<()> {
        for mut object in objects {
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
            if self.deleted.contains(uid) {
                continue;
            }
            if self.elsewhere.contains(uid) {
                object["spec"]["nodeName"] = ELSEWHERE.into();
            }
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let metadata = &object["metadata"];
            let key = [
                text(&object["kind"]),
                text(&metadata["namespace"]),
                text(&metadata["name"]),
            ];
            if self.told.get(&key) != Some(&object) {
                server.apply(object.clone())?;
                self.told.insert(key, object);
            }
        }
        Ok(())
    }
}

//! The pods and the host service on the stage: who they are, what they run, what they may use.
//!
//! Pure: names, limits and cgroup paths. It does not know how a cgroup is made (`cgroups`), how a
//! namespace is made (`network`) or how the objects are written down (`inventory`).

use fastrand::Rng;

/// The collector's name for this machine in the inventory, and the agent's.
pub const NODE: &str = "plimsoll-stage";
/// Unit of the host service.
pub const HOST_SERVICE: &str = "system.slice/plimsoll-demo.service";

const MIB: u64 = 1024 * 1024;

/// Kubernetes quality-of-service class; it decides the cgroup path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Requests equal limits.
    Guaranteed,
    /// Some request or limit.
    Burstable,
    /// Neither.
    BestEffort,
}

/// Where a pod's network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The node's own namespace, as with `hostNetwork: true`.
    Node,
    /// Behind the node: one routed hop from the metadata service.
    Pod,
    /// The services' own namespace, as with `hostNetwork: true` on a node that runs EKS Pod Identity:
    /// both ends of a connection have the service's address.
    BesideService,
    /// Behind a second router: answers with the stage's hop limit do not arrive.
    BehindHop,
}

/// Who owns a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A Deployment, through a ReplicaSet.
    Deployment,
    /// A DaemonSet.
    DaemonSet,
    /// A CronJob, through a Job.
    CronJob,
    /// A manifest file of the node: the pod's cgroup carries the file's hash, not the UID.
    StaticFile,
}

/// Requests and limits, as in a pod's spec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU request, thousandths of a core.
    pub cpu_request_millicores: Option<u64>,
    /// CPU limit, thousandths of a core.
    pub cpu_limit_millicores: Option<u64>,
    /// Memory request, bytes.
    pub memory_request_bytes: Option<u64>,
    /// Memory limit, bytes.
    pub memory_limit_bytes: Option<u64>,
}

/// One pod of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the workload: Deployment, DaemonSet, CronJob or static pod.
    pub workload: String,
    /// Name of the pod.
    pub name: String,
    /// Pod UID of the API server.
    pub uid: String,
    /// For a static pod the hash of its file: what the cgroup carries in place of the UID.
    pub config_hash: Option<String>,
    /// Owner.
    pub owner: Owner,
    /// Quality of service.
    pub qos: Qos,
    /// Network.
    pub place: Place,
    /// Name of the container.
    pub container: String,
    /// Container id, 64 hex digits; a new one with each restart.
    pub container_id: String,
    /// Id of the container that ran before, after a restart.
    pub last_container_id: Option<String>,
    /// Restarts so far.
    pub restarts: u32,
    /// Requests and limits.
    pub resources: Resources,
    /// Arguments of `plimsoll-lab workload`.
    pub workload_args: Vec<String>,
    /// Pause between the container's end and its next start, milliseconds.
    pub restart_after_ms: u64,
}

impl Pod {
    /// The UID that the cgroup path carries.
    pub fn cgroup_uid(&self) -> &str {
        self.config_hash.as_deref().unwrap_or(&self.uid)
    }

    /// The pod's slice below the cgroup root, named as kubelet's systemd driver does
    /// (kubernetes `pkg/kubelet/cm/cgroup_manager_linux.go`: dashes of the UID become underscores,
    /// each slice repeats its parents).
    pub fn slice(&self) -> String {
        let uid = self.cgroup_uid().replace('-', "_");
        match self.qos {
            Qos::Guaranteed => format!("kubepods.slice/kubepods-pod{uid}.slice"),
            Qos::Burstable => {
                format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice")
            }
            Qos::BestEffort => {
                format!(
                    "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{uid}.slice"
                )
            }
        }
    }

    /// The container's scope below the cgroup root, as containerd's systemd driver names it.
    pub fn scope(&self) -> String {
        format!(
            "{}/cri-containerd-{}.scope",
            self.slice(),
            self.container_id
        )
    }

    /// Whether its load talks to the metadata service or to Pod Identity.
    pub fn asks_metadata(&self) -> bool {
        self.workload_args
            .first()
            .is_some_and(|load| load.starts_with("imds") || load == "pod-identity")
    }

    /// The container was replaced by a new one of the same pod.
    pub fn restart(&mut self, rng: &mut Rng) {
        let fresh = container_id(rng);
        self.last_container_id = Some(std::mem::replace(&mut self.container_id, fresh));
        self.restarts = self.restarts.saturating_add(1);
    }
}

/// A random container id.
pub fn container_id(rng: &mut Rng) -> String {
    hex(rng, 64)
}

/// A random pod UID (UUID version 4).
pub fn pod_uid(rng: &mut Rng) -> String {
    format!(
        "{}-{}-4{}-{}{}-{}",
        hex(rng, 8),
        hex(rng, 4),
        hex(rng, 3),
        rng.choice(['8', '9', 'a', 'b']).unwrap_or('8'),
        hex(rng, 3),
        hex(rng, 12)
    )
}

fn hex(rng: &mut Rng, digits: usize) -> String {
    (0..digits)
        .filter_map(|_| char::from_digit(rng.u32(0..16), 16))
        .collect()
}

/// A burstable Deployment of one pod in namespace `shop`, to be changed by the caller.
pub fn pod(rng: &mut Rng, workload: &str, args: &[&str]) -> Pod {
    let alphabet: Vec<char> = "bcdfghjklmnpqrstvwxz2456789".chars().collect();
    let mut suffix =
        |n: usize| -> String { (0..n).filter_map(|_| rng.choice(&alphabet)).collect() };
    let name = format!("{workload}-{}-{}", suffix(10), suffix(5));
    Pod {
        namespace: "shop".to_owned(),
        workload: workload.to_owned(),
        name,
        uid: pod_uid(rng),
        config_hash: None,
        owner: Owner::Deployment,
        qos: Qos::Burstable,
        place: Place::Pod,
        container: "app".to_owned(),
        container_id: container_id(rng),
        last_container_id: None,
        restarts: 0,
        resources: Resources {
            cpu_request_millicores: Some(100),
            cpu_limit_millicores: None,
            memory_request_bytes: Some(64 * MIB),
            memory_limit_bytes: Some(128 * MIB),
        },
        workload_args: args.iter().map(|&arg| arg.to_owned()).collect(),
        restart_after_ms: 2_000,
    }
}

/// The pods that `up` shows: each quality of service, each kind of load, each way to the metadata
/// service.
pub fn sample(rng: &mut Rng) -> Vec<Pod> {
    let steady = pod(rng, "catalog", &["steady", "--millicores", "150"]);
    let mut burst = pod(rng, "checkout", &["burst"]);
    burst.qos = Qos::Guaranteed;
    burst.resources = Resources {
        cpu_request_millicores: Some(500),
        cpu_limit_millicores: Some(500),
        memory_request_bytes: Some(64 * MIB),
        memory_limit_bytes: Some(64 * MIB),
    };
    let mut leak = pod(rng, "cart-cache", &["leak", "--bound-mib", "60"]);
    leak.resources.memory_request_bytes = Some(32 * MIB);
    leak.resources.memory_limit_bytes = Some(40 * MIB);
    let mut short = pod(rng, "price-import", &["shortlived"]);
    "batch".clone_into(&mut short.namespace);
    short.restart_after_ms = 3_000;
    let mut v1 = pod(rng, "legacy-report", &["imds-v1"]);
    v1.qos = Qos::BestEffort;
    v1.resources = Resources::default();
    let v2 = pod(rng, "uploader", &["imds-v2"]);
    let mut hop = pod(rng, "thumbnailer", &["imds-hoplimit"]);
    hop.place = Place::BehindHop;
    let ledger = pod(rng, "ledger", &["pod-identity"]);
    vec![
        steady,
        burst,
        leak,
        short,
        v1,
        v2,
        hop,
        with_own_uid(ledger),
        probe(rng),
        mirror(rng),
    ]
}

/// The pod's own UID goes into the token that it shows to Pod Identity.
fn with_own_uid(mut pod: Pod) -> Pod {
    pod.workload_args
        .extend(["--pod-uid".to_owned(), pod.uid.clone()]);
    pod
}

fn probe(rng: &mut Rng) -> Pod {
    let mut pod = pod(rng, "node-probe", &["imds-v2", "--v6"]);
    "ops".clone_into(&mut pod.namespace);
    pod.name = format!("node-probe-{}", hex(rng, 5));
    pod.owner = Owner::DaemonSet;
    pod.place = Place::Node;
    pod
}

fn mirror(rng: &mut Rng) -> Pod {
    let mut pod = pod(rng, "edge-proxy", &["steady", "--millicores", "20"]);
    "kube-system".clone_into(&mut pod.namespace);
    pod.name = format!("edge-proxy-{NODE}");
    pod.owner = Owner::StaticFile;
    pod.config_hash = Some(hex(rng, 32));
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_named_as_the_systemd_driver_names_them() {
        let mut rng = Rng::with_seed(1);
        let mut pod = pod(&mut rng, "api", &["steady"]);
        pod.uid = "0a1b2c3d-1111-4222-8333-444455556666".to_owned();
        pod.container_id = "ab".repeat(32);
        assert_eq!(
            pod.scope(),
            format!(
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d_1111_4222_8333_444455556666.slice/cri-containerd-{}.scope",
                "ab".repeat(32)
            )
        );
        pod.qos = Qos::Guaranteed;
        assert_eq!(
            pod.slice(),
            "kubepods.slice/kubepods-pod0a1b2c3d_1111_4222_8333_444455556666.slice"
        );
        pod.config_hash = Some("0123456789abcdef0123456789abcdef".to_owned());
        pod.qos = Qos::BestEffort;
        assert_eq!(
            pod.slice(),
            "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0123456789abcdef0123456789abcdef.slice"
        );
    }

    #[test]
    fn a_restart_keeps_the_pod_and_changes_the_container() {
        let mut rng = Rng::with_seed(2);
        let mut pod = pod(&mut rng, "api", &["steady"]);
        let before = pod.clone();
        pod.restart(&mut rng);
        assert_eq!(pod.uid, before.uid);
        assert_ne!(pod.container_id, before.container_id);
        assert_eq!(pod.container_id.len(), 64);
        assert_eq!(pod.last_container_id, Some(before.container_id));
        assert_eq!(pod.restarts, 1);
    }

    #[test]
    fn the_sample_covers_every_class_place_and_owner() {
        let pods = sample(&mut Rng::with_seed(3));
        for qos in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
            assert!(pods.iter().any(|pod| pod.qos == qos), "{qos:?}");
        }
        for place in [Place::Node, Place::Pod, Place::BehindHop] {
            assert!(pods.iter().any(|pod| pod.place == place), "{place:?}");
        }
        let mut uids: Vec<_> = pods.iter().map(|pod| pod.uid.as_str()).collect();
        uids.sort_unstable();
        uids.dedup();
        assert_eq!(uids.len(), pods.len());
        assert!(pods.iter().any(|pod| pod.cgroup_uid().len() == 32));
    }
}

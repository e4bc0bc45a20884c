//! The agent's pod: what it may do, and that its settings fit it.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, HTTPGetAction, Namespace, PodSpec, Probe, ServiceAccount,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use plimsoll_agent::config::Config;

use super::objects::Objects;
use super::{AGENTS, COLLECTOR, root};

/// Seconds beyond the drain: two syncs of the spool on a disk that is busy, and the kubelet's own pace.
const AFTER_DRAIN_S: i64 = 10;

fn daemonset(objects: &Objects) -> DaemonSet {
    objects.one("DaemonSet", AGENTS, "plimsoll-agent")
}

fn pod(objects: &Objects) -> PodSpec {
    daemonset(objects).spec.unwrap().template.spec.unwrap()
}

fn container(pod: &PodSpec) -> &Container {
    assert_eq!(pod.containers.len(), 1);
    assert!(pod.init_containers.is_none() && pod.ephemeral_containers.is_none());
    &pod.containers[0]
}

fn config(objects: &Objects) -> Config {
    let map: ConfigMap = objects.one("ConfigMap", AGENTS, "plimsoll-agent");
    let text = &map.data.unwrap()["agent.yaml"];
    Config::parse("agent.yaml", text).unwrap_or_else(|e| panic!("{}: {e}", objects.of))
}

/// What a probe asks over HTTP.
pub(crate) fn asks(probe: Option<&Probe>) -> (&str, &str, Option<&str>) {
    let get: &HTTPGetAction = probe.unwrap().http_get.as_ref().unwrap();
    let IntOrString::String(port) = &get.port else {
        panic!("a probe names its port");
    };
    (get.path.as_deref().unwrap(), port, get.scheme.as_deref())
}

#[test]
fn the_privileged_namespace_holds_the_agent_alone() {
    for objects in Objects::each() {
        let levels = |name: &str| {
            let namespace: Namespace = objects.one("Namespace", "", name);
            let labels = namespace.metadata.labels.unwrap();
            ["enforce", "audit", "warn"]
                .map(|mode| labels[&format!("pod-security.kubernetes.io/{mode}")].clone())
        };
        assert_eq!(levels(AGENTS), ["privileged", "baseline", "baseline"]);
        assert_eq!(levels(COLLECTOR), ["restricted"; 3]);
        let pods: Vec<String> = objects.pods().into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            pods.iter().filter(|name| name.starts_with(AGENTS)).count(),
            1,
            "{pods:?}"
        );
        assert_eq!(pods.len(), 2, "{pods:?}");
        assert!(pods.contains(&format!("{AGENTS}/DaemonSet/plimsoll-agent")));
    }
}

#[test]
fn it_has_these_capabilities_and_nothing_else_of_the_host() {
    for objects in Objects::each() {
        let pod = pod(&objects);
        let of_pod = pod.security_context.clone().unwrap();
        assert_eq!(
            (of_pod.run_as_user, of_pod.run_as_group),
            (Some(0), Some(0))
        );
        let profile = of_pod.seccomp_profile.unwrap();
        assert_eq!(profile.type_, "RuntimeDefault");
        // On Bottlerocket another than none stops the pod.
        assert_eq!(of_pod.app_armor_profile, None);
        assert_eq!(
            [pod.host_network, pod.host_pid, pod.host_ipc],
            [Some(false); 3]
        );
        assert_eq!(pod.host_users, Some(true));
        let context = container(&pod).security_context.clone().unwrap();
        assert_eq!(context.privileged, Some(false));
        assert_eq!(context.allow_privilege_escalation, Some(false));
        assert_eq!(context.read_only_root_filesystem, Some(true));
        assert_eq!((context.run_as_user, context.seccomp_profile), (None, None));
        let capabilities = context.capabilities.unwrap();
        assert_eq!(capabilities.drop.unwrap(), ["ALL"]);
        assert_eq!(
            capabilities.add.unwrap(),
            ["BPF", "NET_ADMIN", "PERFMON", "SYS_PTRACE"]
        );
        let types = context.se_linux_options.map(|options| {
            assert_eq!(
                (options.level, options.role, options.user),
                (None, None, None)
            );
            options.type_.unwrap()
        });
        let deep = (objects.of == "all-options").then(|| "spc_t".to_owned());
        assert_eq!(types, deep, "{}", objects.of);
    }
}

#[test]
fn it_reads_the_host_and_writes_to_its_spool_alone() {
    for objects in Objects::each() {
        let pod = pod(&objects);
        let mounts: BTreeMap<_, _> = container(&pod)
            .volume_mounts
            .iter()
            .flatten()
            .map(|mount| (mount.name.clone(), mount))
            .collect();
        let mut from_host = Vec::new();
        for volume in pod.volumes.iter().flatten() {
            let mount = mounts[&volume.name];
            assert_eq!(mount.mount_propagation, None, "{}", volume.name);
            let read_only = mount.read_only == Some(true);
            if let Some(host) = &volume.host_path {
                from_host.push((host.path.as_str(), mount.mount_path.as_str(), read_only));
                let whole = mount.recursive_read_only.as_deref() == Some("IfPossible");
                assert_eq!(whole, read_only, "{}", host.path);
                let kind = if read_only {
                    "Directory"
                } else {
                    "DirectoryOrCreate"
                };
                assert_eq!(host.type_.as_deref(), Some(kind), "{}", host.path);
            } else {
                assert!(read_only, "{}", volume.name);
                assert!(volume.secret.is_none(), "{}", volume.name);
            }
        }
        assert_eq!(mounts.len(), pod.volumes.as_ref().unwrap().len());
        from_host.sort_unstable();
        let spool = "/var/lib/plimsoll/agent";
        assert_eq!(
            from_host,
            [
                ("/proc", "/host/proc", true),
                ("/sys/fs/cgroup", "/host/cgroup", true),
                // Where the agent and aya look for it.
                ("/sys/kernel/tracing", "/sys/kernel/tracing", true),
                (spool, spool, false),
            ]
        );
        let config = config(&objects);
        assert_eq!(config.host.proc, Path::new("/host/proc"));
        assert_eq!(config.host.cgroup, Path::new("/host/cgroup"));
        assert_eq!(config.spool.path, Path::new(spool));
    }
}

#[test]
fn its_only_token_is_for_the_collector() {
    for objects in Objects::each() {
        let account: ServiceAccount = objects.one("ServiceAccount", AGENTS, "plimsoll-agent");
        assert_eq!(account.automount_service_account_token, Some(false));
        assert_eq!(account.metadata.annotations, None, "no role of AWS");
        let pod = pod(&objects);
        assert_eq!(pod.service_account_name.as_deref(), Some("plimsoll-agent"));
        assert_eq!(pod.automount_service_account_token, Some(false));
        let projected: Vec<_> = pod
            .volumes
            .iter()
            .flatten()
            .filter_map(|volume| Some((&volume.name, volume.projected.as_ref()?)))
            .collect();
        let [(name, volume)] = projected.as_slice() else {
            panic!("{projected:?}");
        };
        let sources = volume.sources.as_ref().unwrap();
        assert_eq!(sources.len(), 1);
        let token = sources[0].service_account_token.as_ref().unwrap();
        assert_eq!(token.audience.as_deref(), Some("plimsoll-collector"));
        assert_eq!(token.expiration_seconds, Some(3600));
        let mounts = container(&pod).volume_mounts.as_ref().unwrap();
        let place = |name: &str| {
            let mount = mounts.iter().find(|mount| mount.name == name).unwrap();
            Path::new(&mount.mount_path).to_owned()
        };
        let export = config(&objects).export;
        assert_eq!(export.token_file, Some(place(name).join(&token.path)));
        assert_eq!(export.ca_file, Some(place("ca").join("ca.crt")));
        assert_eq!(
            export.endpoint,
            "https://plimsoll-collector.plimsoll.svc:4317"
        );
    }
}

#[test]
fn it_asks_no_cloud_and_knows_its_node() {
    for objects in Objects::each() {
        let pod = pod(&objects);
        let env = container(&pod).env.as_ref().unwrap();
        let node = env.iter().find(|entry| entry.name == "NODE_NAME").unwrap();
        let from = node
            .value_from
            .as_ref()
            .unwrap()
            .field_ref
            .as_ref()
            .unwrap();
        assert_eq!(from.field_path, "spec.nodeName");
        let metadata = env
            .iter()
            .find(|entry| entry.name == "AWS_EC2_METADATA_DISABLED");
        assert_eq!(metadata.unwrap().value.as_deref(), Some("true"));
        assert_eq!(env.len(), 2);
        assert_eq!(pod.enable_service_links, Some(false));
    }
}

#[test]
fn the_kubelet_asks_where_it_listens_and_waits_for_its_drain() {
    for objects in Objects::each() {
        let (pod, config) = (pod(&objects), config(&objects));
        let container = container(&pod);
        let ports = container.ports.as_ref().unwrap();
        assert_eq!(ports.len(), 1);
        assert_eq!(ports[0].name.as_deref(), Some("health"));
        assert_eq!((ports[0].host_port, ports[0].container_port), (None, 9464));
        assert_eq!(config.admin.listen, "0.0.0.0:9464");
        let live = ("/livez", "health", None);
        assert_eq!(asks(container.startup_probe.as_ref()), live);
        assert_eq!(asks(container.liveness_probe.as_ref()), live);
        assert_eq!(
            asks(container.readiness_probe.as_ref()),
            ("/readyz", "health", None)
        );
        let grace = pod.termination_grace_period_seconds.unwrap();
        let drain_s = i64::try_from(config.export.drain_ms.div_ceil(1000)).unwrap();
        assert!(grace >= drain_s + AFTER_DRAIN_S, "{grace} s");
    }
}

#[test]
fn it_runs_on_every_node_and_comes_to_a_tenth_of_prods_at_a_time() {
    for objects in Objects::each() {
        let spec = daemonset(&objects).spec.unwrap();
        let rolling = spec.update_strategy.unwrap().rolling_update.unwrap();
        let most = match objects.of {
            "dev" => "100%",
            "staging" => "25%",
            _ => "10%",
        };
        let percent = |text: &str| Some(IntOrString::String(text.to_owned()));
        assert_eq!(rolling.max_unavailable, percent(most), "{}", objects.of);
        // Two would be of one spool.
        assert_eq!(rolling.max_surge, Some(IntOrString::Int(0)));
        let pod = spec.template.spec.unwrap();
        let tolerations = pod.tolerations.unwrap();
        assert_eq!(tolerations.len(), 1);
        assert_eq!(tolerations[0].operator.as_deref(), Some("Exists"));
        assert_eq!(
            (&tolerations[0].key, &tolerations[0].effect),
            (&None, &None)
        );
        assert_eq!(pod.priority_class_name.as_deref(), Some("plimsoll-agent"));
    }
}

#[test]
fn each_right_on_the_node_has_its_reason_in_the_documents() {
    let text = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let pod = pod(&Objects::read("prod"));
    let context = container(&pod).security_context.clone().unwrap();
    let mut rights = context.capabilities.unwrap().add.unwrap();
    let volumes = pod.volumes.iter().flatten();
    rights.extend(volumes.filter_map(|volume| Some(volume.host_path.as_ref()?.path.clone())));
    assert_eq!(rights.len(), 8);
    for right in rights {
        assert!(text.contains(&format!("| `{right}`")), "{right}");
    }
}

//! What the policies of others must let pass: Kyverno's copy of the Pod Security Standards, and Gatekeeper's library.
//! What is needed follows from the agent's pod, and the exceptions are that and no more.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use super::objects::Objects;
use super::{AGENTS, COLLECTOR};

/// What `baseline` lets containers add to their capabilities.
const BASELINE: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
    "SYSLOG",
];
/// SELinux types that `baseline` lets a pod have.
const SELINUX: [&str; 4] = [
    "container_t",
    "container_init_t",
    "container_kvm_t",
    "container_engine_t",
];

fn agent(objects: &Objects) -> PodSpec {
    let set: DaemonSet = objects.one("DaemonSet", AGENTS, "plimsoll-agent");
    set.spec.unwrap().template.spec.unwrap()
}

/// The rules of the chart `kyverno-policies` (3.x, baseline and restricted) that a pod breaks, by policy.
fn broken(pod: &PodSpec) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut broken = BTreeMap::<_, BTreeSet<_>>::new();
    let mut add = |is: bool, policy, rule| {
        if is {
            broken.entry(policy).or_default().insert(rule);
        }
    };
    let of_pod = pod.security_context.clone().unwrap();
    let container = &pod.containers[0];
    let own = container.security_context.clone().unwrap();
    let capabilities = own.capabilities.unwrap();
    let added = capabilities.add.unwrap_or_default();
    let strange = |known: &[&str]| added.iter().any(|name| !known.contains(&name.as_str()));
    let drops_all = capabilities.drop.unwrap_or_default() == ["ALL"];
    add(
        strange(&BASELINE),
        "disallow-capabilities",
        "adding-capabilities",
    );
    let strict = "disallow-capabilities-strict";
    add(
        strange(&["NET_BIND_SERVICE"]),
        strict,
        "adding-capabilities-strict",
    );
    add(!drops_all, strict, "require-drop-all");
    let hosts = [pod.host_network, pod.host_pid, pod.host_ipc].contains(&Some(true));
    add(hosts, "disallow-host-namespaces", "host-namespaces");
    let volumes = || pod.volumes.iter().flatten();
    let from_host = volumes().any(|volume| volume.host_path.is_some());
    add(from_host, "disallow-host-path", "host-path");
    let restricted = volumes().all(|volume| {
        volume.config_map.is_some() || volume.projected.is_some() || volume.secret.is_some()
    });
    add(!restricted, "restrict-volume-types", "restricted-volumes");
    let host_port = |port: &i32| *port != 0;
    let ports = container.ports.iter().flatten();
    let ports = ports
        .filter_map(|port| port.host_port)
        .any(|p| host_port(&p));
    add(ports, "disallow-host-ports", "host-ports-none");
    let privileged = own.privileged == Some(true);
    add(
        privileged,
        "disallow-privileged-containers",
        "privileged-containers",
    );
    let escalates = own.allow_privilege_escalation != Some(false);
    add(
        escalates,
        "disallow-privilege-escalation",
        "privilege-escalation",
    );
    add(
        own.proc_mount.is_some(),
        "disallow-proc-mount",
        "check-proc-mount",
    );
    let selinux = "disallow-selinux";
    for options in [of_pod.se_linux_options, own.se_linux_options]
        .into_iter()
        .flatten()
    {
        let known = |kind: &String| SELINUX.contains(&kind.as_str());
        let strange = options.type_.is_some_and(|kind| !known(&kind));
        add(strange, selinux, "selinux-type");
        let named = options.user.is_some() || options.role.is_some();
        add(named, selinux, "selinux-user-role");
    }
    let not_root = own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true);
    add(!not_root, "require-run-as-nonroot", "run-as-non-root");
    let root = [own.run_as_user, of_pod.run_as_user].contains(&Some(0));
    add(root, "require-run-as-non-root-user", "run-as-non-root-user");
    let profile = of_pod.seccomp_profile.map(|profile| profile.type_);
    let unconfined = profile.as_deref() != Some("RuntimeDefault");
    add(
        unconfined,
        "restrict-seccomp-strict",
        "check-seccomp-strict",
    );
    add(
        of_pod.sysctls.is_some(),
        "restrict-sysctls",
        "check-sysctls",
    );
    broken
}

/// Each rule, and the one that Kyverno makes of it for what makes pods.
#[test]
fn kyverno_lets_pass_what_the_agent_breaks_and_no_more() {
    for objects in Objects::each() {
        let exception: Value = objects.one("PolicyException", "kyverno", "plimsoll-agent");
        let spec = &exception["spec"];
        let mut excepted = BTreeMap::<_, BTreeSet<_>>::new();
        for one in spec["exceptions"].as_array().unwrap() {
            let rules = one["ruleNames"].as_array().unwrap().iter();
            let rules = rules.map(|rule| rule.as_str().unwrap());
            let policy = one["policyName"].as_str().unwrap();
            excepted.entry(policy).or_default().extend(rules);
        }
        let broken = broken(&agent(&objects));
        let generated: BTreeMap<_, BTreeSet<String>> = broken
            .into_iter()
            .map(|(policy, rules)| {
                let both = rules
                    .into_iter()
                    .flat_map(|rule| [rule.to_owned(), format!("autogen-{rule}")]);
                (policy, both.collect())
            })
            .collect();
        let needed: BTreeMap<_, BTreeSet<&str>> = generated
            .iter()
            .map(|(policy, rules)| (*policy, rules.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(excepted, needed, "{}", objects.of);
        let of = |kind: &str, name: &str| json!({ "resources": { "kinds": [kind], "namespaces": [AGENTS], "names": [name] } });
        let matched = json!([
            of("DaemonSet", "plimsoll-agent"),
            of("Pod", "plimsoll-agent-*")
        ]);
        assert_eq!(spec["match"]["any"], matched);
    }
}

/// The collector breaks nothing, so that nothing is excepted for it.
#[test]
fn the_collector_needs_no_exception() {
    for objects in Objects::each() {
        let pods = objects.pods();
        let collector = pods
            .iter()
            .find(|(name, _)| name.starts_with(&format!("{COLLECTOR}/")));
        let pod = collector.unwrap().1.spec.clone().unwrap();
        assert_eq!(broken(&pod), BTreeMap::new(), "{}", objects.of);
    }
}

#[test]
fn gatekeeper_lets_the_agent_mount_what_it_mounts_and_no_more() {
    let objects = Objects::read("all-options");
    let constraint: Value = objects.one("K8sPSPHostFilesystem", "", "plimsoll-agent");
    let matched =
        json!({ "kinds": [{ "apiGroups": [""], "kinds": ["Pod"] }], "namespaces": [AGENTS] });
    assert_eq!(constraint["spec"]["match"], matched);
    let pod = agent(&objects);
    let mounts = pod.containers[0].volume_mounts.clone().unwrap();
    let mut mounted = BTreeSet::new();
    for volume in pod.volumes.iter().flatten() {
        if let Some(host) = &volume.host_path {
            let mount = mounts.iter().find(|mount| mount.name == volume.name);
            mounted.insert((host.path.clone(), mount.unwrap().read_only == Some(true)));
        }
    }
    let allowed = constraint["spec"]["parameters"]["allowedHostPaths"].as_array();
    let allowed: BTreeSet<_> = allowed
        .unwrap()
        .iter()
        .map(|one| {
            let path = one["pathPrefix"].as_str().unwrap().to_owned();
            (path, one["readOnly"] == Value::Bool(true))
        })
        .collect();
    assert_eq!(allowed, mounted);
}

/// What `kubectl apply -l` brings before everything else: namespaces, and what would refuse the agents.
#[test]
fn namespaces_and_exceptions_go_first() {
    for objects in Objects::each() {
        let first: BTreeSet<_> = objects
            .all
            .iter()
            .filter(|object| object["metadata"]["labels"]["plimsoll.dev/apply"] == "first")
            .map(|object| object["kind"].as_str().unwrap())
            .collect();
        assert_eq!(first, BTreeSet::from(["Namespace", "PolicyException"]));
        let namespaces = objects.of_kind("Namespace");
        assert!(
            namespaces
                .into_iter()
                .all(|one| one["metadata"]["labels"]["plimsoll.dev/apply"] == "first")
        );
    }
}

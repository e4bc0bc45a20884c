//! The collector's pod: `restricted`, one writer of one volume, and settings that fit it.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use plimsoll_collector::config::Config;
use plimsoll_collector::run::DRAIN;
use serde_json::Value;

use super::agent::asks;
use super::objects::Objects;
use super::{COLLECTOR, root};

const NAME: &str = "plimsoll-collector";

fn set(objects: &Objects) -> StatefulSet {
    objects.one("StatefulSet", COLLECTOR, NAME)
}

fn pod(objects: &Objects) -> PodSpec {
    let pod = set(objects).spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.containers.len(), 1);
    pod
}

fn config(objects: &Objects) -> Config {
    let map: ConfigMap = objects.one("ConfigMap", COLLECTOR, NAME);
    let text = &map.data.unwrap()["collector.yaml"];
    let config = Config::parse("collector.yaml", text);
    config.unwrap_or_else(|error| panic!("{}: {error}", objects.of))
}

#[test]
fn it_is_restricted() {
    for objects in Objects::each() {
        let pod = pod(&objects);
        let of_pod = pod.security_context.unwrap();
        assert_eq!(of_pod.run_as_non_root, Some(true));
        assert_eq!(of_pod.run_as_user, Some(65532));
        assert_eq!(of_pod.fs_group, Some(65532));
        assert_eq!(of_pod.seccomp_profile.unwrap().type_, "RuntimeDefault");
        for host in [pod.host_network, pod.host_pid, pod.host_ipc] {
            assert_ne!(host, Some(true));
        }
        let context = pod.containers[0].security_context.as_ref().unwrap();
        assert_eq!(context.privileged, Some(false));
        assert_eq!(context.allow_privilege_escalation, Some(false));
        assert_eq!(context.read_only_root_filesystem, Some(true));
        let capabilities = context.capabilities.as_ref().unwrap();
        assert_eq!(capabilities.drop.as_ref().unwrap(), &["ALL"]);
        assert_eq!(capabilities.add, None);
        for volume in pod.volumes.iter().flatten() {
            let allowed = volume.config_map.is_some()
                || volume.secret.is_some()
                || volume.projected.is_some();
            assert!(allowed && volume.host_path.is_none(), "{}", volume.name);
        }
    }
}

#[test]
fn its_token_is_projected_and_short_lived() {
    for objects in Objects::each() {
        let account: ServiceAccount = objects.one("ServiceAccount", COLLECTOR, NAME);
        assert_eq!(account.automount_service_account_token, Some(false));
        let role = account.metadata.annotations.is_some();
        assert_eq!(role, objects.of == "all-options", "{}", objects.of);
        let pod = pod(&objects);
        assert_eq!(pod.service_account_name.as_deref(), Some(NAME));
        assert_eq!(pod.automount_service_account_token, Some(false));
        let tokens: Vec<_> = pod
            .volumes
            .iter()
            .flatten()
            .filter_map(|volume| volume.projected.as_ref()?.sources.as_ref())
            .flatten()
            .filter_map(|source| source.service_account_token.as_ref())
            .collect();
        assert_eq!(tokens.len(), 1);
        // The API server's own audience.
        assert_eq!(tokens[0].audience, None);
        assert_eq!(tokens[0].expiration_seconds, Some(3600));
    }
}

#[test]
fn one_writer_that_may_always_be_moved() {
    for objects in Objects::each() {
        let spec = set(&objects).spec.unwrap();
        assert_eq!(spec.replicas, Some(1));
        // OrderedReady keeps a pod that never becomes ready, and a roll-back with it.
        assert_eq!(spec.pod_management_policy.as_deref(), Some("Parallel"));
        let retention = spec.persistent_volume_claim_retention_policy.unwrap();
        assert_eq!(retention.when_deleted.as_deref(), Some("Retain"));
        assert_eq!(retention.when_scaled.as_deref(), Some("Retain"));
        let claims = spec.volume_claim_templates.unwrap();
        assert_eq!(claims.len(), 1);
        let claim = claims[0].spec.as_ref().unwrap();
        assert_eq!(claim.access_modes.as_ref().unwrap(), &["ReadWriteOncePod"]);
        let budget: PodDisruptionBudget = objects.one("PodDisruptionBudget", COLLECTOR, NAME);
        let budget = budget.spec.unwrap();
        assert_eq!(budget.max_unavailable, Some(IntOrString::Int(1)));
        assert_eq!(budget.min_available, None);
        let grace = spec.template.spec.unwrap().termination_grace_period_seconds;
        let drain = i64::try_from(DRAIN.as_secs()).unwrap();
        assert!(grace.unwrap() >= drain + 20, "the disk and the volume too");
    }
}

#[test]
fn the_kubelet_and_the_services_ask_where_it_listens() {
    for objects in Objects::each() {
        let pod = pod(&objects);
        let container = &pod.containers[0];
        let ports: Vec<_> = container
            .ports
            .iter()
            .flatten()
            .map(|port| (port.name.as_deref().unwrap(), port.container_port))
            .collect();
        assert_eq!(ports, [("otlp", 4317), ("https", 8443)]);
        let live = ("/livez", "https", Some("HTTPS"));
        assert_eq!(asks(container.startup_probe.as_ref()), live);
        assert_eq!(asks(container.liveness_probe.as_ref()), live);
        let ready = ("/readyz", "https", Some("HTTPS"));
        assert_eq!(asks(container.readiness_probe.as_ref()), ready);
        let service: Service = objects.one("Service", COLLECTOR, NAME);
        let service = service.spec.unwrap();
        let served: Vec<_> = service
            .ports
            .iter()
            .flatten()
            .map(|port| (port.port, port.target_port.clone().unwrap()))
            .collect();
        let named = |name: &str| IntOrString::String(name.to_owned());
        assert_eq!(served, [(4317, named("otlp")), (8443, named("https"))]);
        assert_eq!(service.type_.as_deref(), Some("ClusterIP"));
    }
}

#[test]
fn it_goes_to_system_nodes_and_never_to_spot() {
    for objects in Objects::each() {
        let pod = pod(&objects);
        let tolerated: Vec<_> = pod
            .tolerations
            .iter()
            .flatten()
            .map(|one| (one.key.as_deref().unwrap(), one.effect.as_deref().unwrap()))
            .collect();
        let taints = ["node-role.kubernetes.io/system", "CriticalAddonsOnly"];
        assert_eq!(tolerated, taints.map(|taint| (taint, "NoSchedule")));
        let affinity = pod.affinity.unwrap().node_affinity.unwrap();
        let required = affinity
            .required_during_scheduling_ignored_during_execution
            .unwrap();
        let [term] = required.node_selector_terms.as_slice() else {
            panic!("one term, all of which holds");
        };
        for (key, value) in [
            ("eks.amazonaws.com/capacityType", "SPOT"),
            ("karpenter.sh/capacity-type", "spot"),
        ] {
            let rule = term.match_expressions.iter().flatten();
            let rule = rule.clone().find(|rule| rule.key == key).unwrap();
            assert_eq!(rule.operator, "NotIn");
            assert_eq!(rule.values.as_ref().unwrap(), &[value]);
        }
    }
}

/// cert-manager puts the certificate where the collector reads it, for the name that agents ask for.
#[test]
fn its_certificate_is_for_the_name_that_agents_ask_for() {
    const HOST: &str = "plimsoll-collector.plimsoll.svc";
    for of in ["staging", "prod", "all-options"] {
        let objects = Objects::read(of);
        let certificate: Value = objects.one("Certificate", COLLECTOR, NAME);
        let names = certificate["spec"]["dnsNames"].as_array().unwrap();
        assert!(names.contains(&Value::from(HOST)));
        let volumes = pod(&objects).volumes.unwrap();
        let secret = volumes.iter().find_map(|volume| volume.secret.as_ref());
        let secret = secret.unwrap().secret_name.as_deref().unwrap();
        assert_eq!(certificate["spec"]["secretName"], secret);
    }
    let script = std::fs::read_to_string(root().join("daemonset/tls/bootstrap.sh")).unwrap();
    assert!(script.contains(&format!("\nname={HOST}\n")));
    let endpoint = plimsoll_agent::config::Config::default().export.endpoint;
    assert_eq!(endpoint, format!("https://{HOST}:4317"));
}

#[test]
fn its_settings_are_its_own() {
    for objects in Objects::each() {
        let config = config(&objects);
        assert!(config.kubernetes.watch, "{}", objects.of);
        let pod = pod(&objects);
        let mounts = pod.containers[0].volume_mounts.as_ref().unwrap();
        let place = |name: &str| {
            let mount = mounts.iter().find(|mount| mount.name == name).unwrap();
            std::path::PathBuf::from(&mount.mount_path)
        };
        assert_eq!(config.data.path, place("data"));
        assert_eq!(config.ingest.listen.port(), 4317);
        assert_eq!(config.http.listen.port(), 8443);
        let certificate = place("tls").join("tls.crt");
        assert_eq!(config.ingest.tls_cert_file, Some(certificate));
        let key = place("tls").join("tls.key");
        assert_eq!(config.ingest.tls_key_file, Some(key));
        let clients = (objects.of == "all-options").then(|| place("client-ca").join("ca.crt"));
        assert_eq!(config.http.client_ca_file, clients, "{}", objects.of);
    }
}

/// Each environment has a file of its own: what is mended in one is mended in all.
#[test]
fn environments_differ_in_how_much_is_kept_and_in_nothing_else() {
    let alike = |objects: &Objects| {
        let mut config = config(objects);
        config.data.max_journal_bytes = 0;
        config.data.max_trail_bytes = 0;
        config.audit_file.keep_files = 0;
        config.history.max_series = 0;
        // components/client-certificates.
        config.http.client_ca_file = None;
        config
    };
    let prod = alike(&Objects::read("prod"));
    for objects in Objects::each() {
        assert_eq!(alike(&objects), prod, "{}", objects.of);
    }
    let [all, prod] = ["all-options", "prod"].map(|of| config(&Objects::read(of)));
    assert_eq!(all.data, prod.data);
    assert_eq!(all.history, prod.history);
    assert_eq!(all.audit_file, prod.audit_file);
}

/// EKS makes no default class from 1.30 on: a claim that names none waits for ever.
#[test]
fn its_volume_is_of_a_class_that_is_there_and_is_kept() {
    for objects in Objects::each() {
        let claims = set(&objects).spec.unwrap().volume_claim_templates.unwrap();
        let class = claims[0].spec.clone().unwrap().storage_class_name.unwrap();
        let class: StorageClass = objects.one("StorageClass", "", &class);
        assert_eq!(class.reclaim_policy.as_deref(), Some("Retain"));
        assert_eq!(class.allow_volume_expansion, Some(true));
        assert_eq!(class.parameters.unwrap()["encrypted"], "true");
    }
}

/// What its settings let it keep has room: on the volume, and in memory.
#[test]
fn it_has_room_for_what_it_keeps() {
    const MIB: u64 = 1 << 20;
    for objects in Objects::each() {
        let config = config(&objects);
        let series = config.history.max_series as u64;
        let journal = config.data.max_journal_bytes + config.data.max_trail_bytes;
        let files = config.audit_file.keep_files as u64 + 1;
        let audit = files * config.audit_file.rotate_bytes;
        let spec = set(&objects).spec.unwrap();
        let claim = spec.volume_claim_templates.unwrap()[0]
            .spec
            .clone()
            .unwrap();
        let volume = bytes(&claim.resources.unwrap().requests.unwrap()["storage"].0);
        // 8 KiB a series, twice while the history is compacted.
        let needed = journal + audit + series * (16 << 10);
        assert!(volume >= needed + needed / 4, "{}: {needed}", objects.of);
        let resources = pod(&objects).containers[0].resources.clone().unwrap();
        let limit = bytes(&resources.limits.unwrap()["memory"].0);
        // 21 KiB a series, 256 MiB of requests in hand, and 2 KiB for each of 50,000 pods.
        let held = series * (21 << 10) + 256 * MIB + 100 * MIB;
        assert!(limit >= held, "{}: {} MiB", objects.of, held / MIB);
    }
}

/// The table of capacity says what is deployed.
#[test]
fn its_sizes_are_those_of_the_documents() {
    let text = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    for of in ["dev", "staging", "prod"] {
        let objects = Objects::read(of);
        let series = config(&objects).history.max_series.to_string();
        let resources = pod(&objects).containers[0].resources.clone().unwrap();
        let limit = with_unit(&resources.limits.unwrap()["memory"].0);
        let claims = set(&objects).spec.unwrap().volume_claim_templates.unwrap();
        let claim = claims[0].spec.clone().unwrap().resources.unwrap();
        let volume = with_unit(&claim.requests.unwrap()["storage"].0);
        let row = text
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&format!("({of})")))
            .unwrap();
        let wanted = format!("| {} |", grouped(&series));
        assert!(row.contains(&wanted), "{row}: {wanted}");
        assert!(row.ends_with(&format!(", {limit} | {volume} |")), "{row}");
    }
}

/// As documents write it: `1,280 MiB`.
fn with_unit(quantity: &str) -> String {
    let (number, unit) = quantity.split_at(quantity.len() - 2);
    format!("{} {unit}B", grouped(number))
}

fn grouped(digits: &str) -> String {
    match digits.len().checked_sub(3) {
        None | Some(0) => digits.to_owned(),
        Some(at) => {
            let (thousands, rest) = digits.split_at(at);
            format!("{},{rest}", grouped(thousands))
        }
    }
}

/// A quantity in binary units.
fn bytes(quantity: &str) -> u64 {
    let (number, unit) = quantity.split_at(quantity.len() - 2);
    let shift = match unit {
        "Ki" => 10,
        "Mi" => 20,
        "Gi" => 30,
        _ => panic!("{quantity}"),
    };
    number.parse::<u64>().unwrap() << shift
}

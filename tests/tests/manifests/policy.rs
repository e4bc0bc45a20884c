//! Who may speak to whom, and what the admission policy pins.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::objects::Objects;
use super::{AGENTS, COLLECTOR};

fn policy(objects: &Objects, namespace: &str, name: &str) -> NetworkPolicySpec {
    let policy: NetworkPolicy = objects.one("NetworkPolicy", namespace, name);
    policy.spec.unwrap()
}

/// A peer in one line: `namespace labels / pod labels`, or its addresses.
fn peer(peer: &NetworkPolicyPeer) -> String {
    if let Some(block) = &peer.ip_block {
        return block.cidr.clone();
    }
    let labels = |selector: &Option<LabelSelector>| {
        let labels = selector.as_ref().and_then(|one| one.match_labels.clone());
        labels
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    format!(
        "{} / {}",
        labels(&peer.namespace_selector),
        labels(&peer.pod_selector)
    )
}

fn rule(peers: Option<&Vec<NetworkPolicyPeer>>, ports: Option<&Vec<NetworkPolicyPort>>) -> String {
    let peers: Vec<String> = peers.unwrap().iter().map(peer).collect();
    let ports: Vec<String> = ports
        .unwrap()
        .iter()
        .map(|port| {
            let Some(IntOrString::Int(number)) = port.port else {
                panic!("a port is a number");
            };
            format!("{}:{number}", port.protocol.as_deref().unwrap())
        })
        .collect();
    format!("{} on {}", peers.join(" | "), ports.join(" "))
}

fn ways(spec: &NetworkPolicySpec) -> Vec<String> {
    let ins = spec.ingress.iter().flatten();
    let ins = ins.map(|one| format!("from {}", rule(one.from.as_ref(), one.ports.as_ref())));
    let outs = spec.egress.iter().flatten();
    let outs = outs.map(|one| format!("to {}", rule(one.to.as_ref(), one.ports.as_ref())));
    ins.chain(outs).collect()
}

#[test]
fn what_is_not_said_is_denied() {
    for objects in Objects::each() {
        for namespace in [AGENTS, COLLECTOR] {
            let deny = policy(&objects, namespace, "default-deny");
            assert_eq!(
                deny.pod_selector.unwrap_or_default(),
                LabelSelector::default()
            );
            assert_eq!(deny.policy_types.unwrap(), ["Ingress", "Egress"]);
            assert!(deny.ingress.is_none() && deny.egress.is_none());
        }
    }
}

#[test]
fn agents_speak_to_the_collector_and_prometheus_to_both() {
    const NAME: &str = "kubernetes.io/metadata.name";
    const DNS: &str =
        "to kubernetes.io/metadata.name=kube-system / k8s-app=kube-dns on UDP:53 TCP:53";
    for objects in Objects::each() {
        let agent = policy(&objects, AGENTS, "plimsoll-agent");
        assert_eq!(
            ways(&agent),
            [
                format!("from {NAME}=ops /  on TCP:9464"),
                format!(
                    "to {NAME}=plimsoll / app.kubernetes.io/name=plimsoll-collector on TCP:4317"
                ),
                DNS.to_owned(),
            ]
        );
        let collector = policy(&objects, COLLECTOR, "plimsoll-collector");
        assert_eq!(
            ways(&collector),
            [
                format!(
                    "from {NAME}=plimsoll-agent / app.kubernetes.io/name=plimsoll-agent on TCP:4317"
                ),
                format!("from {NAME}=ops /  | plimsoll.dev/reads-collector=true /  on TCP:8443"),
                DNS.to_owned(),
                "to 10.0.0.0/8 | 172.16.0.0/12 | 192.168.0.0/16 | 100.64.0.0/10 on TCP:443"
                    .to_owned(),
            ]
        );
    }
}

/// No policy opens the metadata service, nor everything.
#[test]
fn nobody_may_ask_the_metadata_service() {
    for objects in Objects::each() {
        for object in objects.of_kind("NetworkPolicy") {
            let policy: NetworkPolicy = serde_json::from_value(object.clone()).unwrap();
            for way in ways(&policy.spec.unwrap()) {
                assert!(!way.contains("0.0.0.0/0") && !way.contains("169.254.169.254"));
                let link_local = way.contains("169.254.");
                assert!(
                    !link_local || way == "to 169.254.170.23/32 on TCP:80",
                    "{way}"
                );
            }
        }
    }
}

#[test]
fn the_admission_policy_pins_the_agents_own_image() {
    for objects in Objects::each() {
        let agent = objects
            .pods()
            .into_iter()
            .find(|(name, _)| name.starts_with(AGENTS));
        let image = agent.unwrap().1.spec.unwrap().containers[0].image.clone();
        let map: ConfigMap = objects.one("ConfigMap", COLLECTOR, "plimsoll-agent-admission");
        assert_eq!(map.data.unwrap().get("image"), image.as_ref());
        let binding: ValidatingAdmissionPolicyBinding =
            objects.one("ValidatingAdmissionPolicyBinding", "", "plimsoll-agent");
        let binding = binding.spec.unwrap();
        assert_eq!(binding.validation_actions.unwrap(), ["Deny"]);
        let param = binding.param_ref.unwrap();
        // Who may change things in the guarded namespace cannot change what guards it.
        assert_eq!(param.namespace.as_deref(), Some(COLLECTOR));
        assert_eq!(param.name.as_deref(), Some("plimsoll-agent-admission"));
        assert_eq!(param.parameter_not_found_action.as_deref(), Some("Deny"));
        let policy: ValidatingAdmissionPolicy =
            objects.one("ValidatingAdmissionPolicy", "", "plimsoll-agent");
        let spec = policy.spec.unwrap();
        assert_eq!(spec.failure_policy.as_deref(), Some("Fail"));
        let rules = spec.match_constraints.unwrap().resource_rules.unwrap();
        assert_eq!(
            rules[0].resources.as_ref().unwrap(),
            &["pods", "pods/ephemeralcontainers"]
        );
        assert_eq!(rules[0].operations.as_ref().unwrap(), &["CREATE", "UPDATE"]);
    }
}

//! Rendered objects, by kind, namespace and name, each read as the type that it says it is.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PodTemplateSpec, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::storage::v1::StorageClass;
use plimsoll_tests::manifest;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{RENDERED, root};

/// Kinds that no API server has by itself: their own controllers judge them.
const FOREIGN: [&str; 7] = [
    "cert-manager.io/v1 Certificate",
    "cert-manager.io/v1 Issuer",
    "constraints.gatekeeper.sh/v1beta1 K8sPSPHostFilesystem",
    "kyverno.io/v2 PolicyException",
    "monitoring.coreos.com/v1 PodMonitor",
    "monitoring.coreos.com/v1 PrometheusRule",
    "monitoring.coreos.com/v1 ServiceMonitor",
];

/// One rendering.
pub(crate) struct Objects {
    /// Which.
    pub(crate) of: &'static str,
    /// Its objects, in order.
    pub(crate) all: Vec<Value>,
}

impl Objects {
    /// Reads one.
    pub(crate) fn read(of: &'static str) -> Self {
        let path = root().join(format!("daemonset/rendered/{of}.yaml"));
        let text = std::fs::read_to_string(&path).expect("the rendering is committed");
        let all = manifest::objects(&text).expect("objects");
        Self { of, all }
    }

    /// Each of them.
    pub(crate) fn each() -> impl Iterator<Item = Self> {
        RENDERED.into_iter().map(Self::read)
    }

    /// The objects of a kind.
    pub(crate) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.all.iter().filter(move |object| object["kind"] == kind)
    }

    /// The only object of this kind and name in a namespace; none for objects of the cluster. Of config maps whose
    /// name ends with a hash, the part before it.
    pub(crate) fn one<T: DeserializeOwned>(&self, kind: &str, namespace: &str, name: &str) -> T {
        let mut found = self.of_kind(kind).filter(|object| {
            let metadata = &object["metadata"];
            metadata["namespace"].as_str().unwrap_or_default() == namespace
                && without_hash(metadata["name"].as_str().unwrap()) == name
        });
        let object = found
            .next()
            .unwrap_or_else(|| panic!("{}: no {kind} {namespace}/{name}", self.of));
        assert!(found.next().is_none(), "{}: two of {name}", self.of);
        serde_json::from_value(object.clone()).unwrap()
    }

    /// The pods that are asked for, with their namespace, kind and name.
    pub(crate) fn pods(&self) -> Vec<(String, PodTemplateSpec)> {
        let templates = self.all.iter().filter_map(|object| {
            let template = object["spec"].get("template")?.clone();
            let metadata = &object["metadata"];
            let name = [&metadata["namespace"], &object["kind"], &metadata["name"]]
                .map(|part| part.as_str().unwrap());
            Some((name.join("/"), serde_json::from_value(template).unwrap()))
        });
        templates.collect()
    }
}

/// kustomize ends the name of what it generates with ten characters of a hash.
fn without_hash(name: &str) -> &str {
    let is_hash = |end: &str| {
        end.len() == 10
            && end
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            && end.bytes().any(|byte| byte.is_ascii_digit())
    };
    name.rsplit_once('-')
        .filter(|(_, end)| is_hash(end))
        .map_or(name, |(start, _)| start)
}

/// Every field is one that the type has: what is read and written again is all there, with the same value.
fn strictly<T: DeserializeOwned + Serialize>(object: &Value) -> Result<(), String> {
    let typed: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let again = serde_json::to_value(&typed).map_err(|error| error.to_string())?;
    same("", object, &again)
}

fn same(path: &str, given: &Value, read: &Value) -> Result<(), String> {
    match (given, read) {
        (Value::Object(given), Value::Object(read)) => given.iter().try_for_each(|(key, value)| {
            let path = format!("{path}.{key}");
            let read = read.get(key).ok_or(format!("{path} is no field"))?;
            same(&path, value, read)
        }),
        (Value::Array(given), Value::Array(read)) if given.len() == read.len() => given
            .iter()
            .zip(read)
            .enumerate()
            .try_for_each(|(at, (given, read))| same(&format!("{path}[{at}]"), given, read)),
        _ if given == read => Ok(()),
        _ => Err(format!("{path} is {given} and was read as {read}")),
    }
}

fn judge(object: &Value) -> Result<(), String> {
    let kind = format!(
        "{} {}",
        object["apiVersion"].as_str().unwrap_or_default(),
        object["kind"].as_str().unwrap_or_default()
    );
    match kind.as_str() {
        "admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy" => {
            strictly::<ValidatingAdmissionPolicy>(object)
        }
        "admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding" => {
            strictly::<ValidatingAdmissionPolicyBinding>(object)
        }
        "apps/v1 DaemonSet" => strictly::<DaemonSet>(object),
        "apps/v1 StatefulSet" => strictly::<StatefulSet>(object),
        "networking.k8s.io/v1 NetworkPolicy" => strictly::<NetworkPolicy>(object),
        "policy/v1 PodDisruptionBudget" => strictly::<PodDisruptionBudget>(object),
        "rbac.authorization.k8s.io/v1 ClusterRole" => strictly::<ClusterRole>(object),
        "rbac.authorization.k8s.io/v1 ClusterRoleBinding" => strictly::<ClusterRoleBinding>(object),
        "rbac.authorization.k8s.io/v1 Role" => strictly::<Role>(object),
        "scheduling.k8s.io/v1 PriorityClass" => strictly::<PriorityClass>(object),
        "storage.k8s.io/v1 StorageClass" => strictly::<StorageClass>(object),
        "v1 ConfigMap" => strictly::<ConfigMap>(object),
        "v1 Namespace" => strictly::<Namespace>(object),
        "v1 Service" => strictly::<Service>(object),
        "v1 ServiceAccount" => strictly::<ServiceAccount>(object),
        foreign if FOREIGN.contains(&foreign) => Ok(()),
        unknown => Err(format!(
            "{unknown} is a kind that nothing here is said about"
        )),
    }
}

#[test]
fn every_object_is_one_that_the_api_knows_to_its_last_field() {
    for objects in Objects::each() {
        assert!(objects.all.len() > 20, "{}", objects.of);
        for object in &objects.all {
            let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
            judge(object).unwrap_or_else(|error| panic!("{}: {name}: {error}", objects.of));
        }
    }
}

#[test]
fn a_field_that_there_is_not_is_found() {
    let objects = Objects::read("prod");
    let mut daemonset = objects.of_kind("DaemonSet").next().unwrap().clone();
    assert_eq!(judge(&daemonset), Ok(()));
    daemonset["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = Value::Bool(true);
    assert_eq!(
        judge(&daemonset).unwrap_err(),
        ".spec.template.spec.containers[0].readinesProbe is no field"
    );
}

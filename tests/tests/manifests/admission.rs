//! What the admission policy lets into the agents' namespace: its own expressions, evaluated over the deployed pod,
//! which it takes, and over pods with more rights than that, which it refuses.

use std::sync::Arc;

use cel::{Context, Env};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicySpec,
};
use serde_json::{Value, json};

use super::objects::Objects;
use super::{AGENTS, COLLECTOR};

/// The policy of one rendering.
struct Policy {
    spec: ValidatingAdmissionPolicySpec,
    params: Value,
}

impl Policy {
    fn of(objects: &Objects) -> Self {
        let policy: ValidatingAdmissionPolicy =
            objects.one("ValidatingAdmissionPolicy", "", "plimsoll-agent");
        Self {
            spec: policy.spec.unwrap(),
            params: objects.one("ConfigMap", COLLECTOR, "plimsoll-agent-admission"),
        }
    }

    /// Why a pod is refused: the messages of the validations that do not hold. One that cannot be evaluated
    /// refuses as well (failurePolicy: Fail), and says so.
    fn refuses(&self, pod: &Value) -> Vec<String> {
        let mut variables = serde_json::Map::new();
        for variable in self.spec.variables.iter().flatten() {
            let value = self.value(&variable.expression, pod, &variables);
            let value = value.unwrap_or_else(|error| panic!("{}: {error}", variable.name));
            variables.insert(variable.name.clone(), value);
        }
        let validations = self.spec.validations.iter().flatten();
        let refused = validations.filter_map(|validation| {
            let message = match &validation.message_expression {
                Some(expression) => self.value(expression, pod, &variables).unwrap(),
                None => json!(validation.message.as_ref().unwrap()),
            };
            match self.value(&validation.expression, pod, &variables) {
                Ok(Value::Bool(true)) => None,
                Ok(Value::Bool(false)) => Some(message.as_str().unwrap().to_owned()),
                Ok(other) => panic!("{} is {other}", validation.expression),
                Err(error) => Some(error),
            }
        });
        refused.collect()
    }

    fn value(
        &self,
        expression: &str,
        pod: &Value,
        variables: &serde_json::Map<String, Value>,
    ) -> Result<Value, String> {
        let env = Arc::new(Env::stdlib());
        let program = env.compile(expression).unwrap();
        let mut context = Context::with_env(env);
        context.add_variable("object", pod).unwrap();
        context.add_variable("params", &self.params).unwrap();
        context.add_variable("variables", variables).unwrap();
        let value = program.execute(&context).map_err(|e| e.to_string())?;
        value.json().map_err(|error| error.to_string())
    }
}

/// The pod that the DaemonSet asks for, with what the API server fills in.
fn pod(objects: &Objects) -> Value {
    let daemonset: Value = objects.one("DaemonSet", AGENTS, "plimsoll-agent");
    let mut pod = daemonset["spec"]["template"].clone();
    pod["kind"] = json!("Pod");
    pod["spec"]["serviceAccount"] = json!("plimsoll-agent");
    pod
}

#[test]
fn the_deployed_agent_is_let_in() {
    for objects in Objects::each() {
        let refused = Policy::of(&objects).refuses(&pod(&objects));
        assert_eq!(refused, Vec::<String>::new(), "{}", objects.of);
    }
}

/// A pod with one thing changed is refused for that.
#[track_caller]
fn refused(why: &str, change: impl Fn(&mut Value)) {
    let objects = Objects::read("prod");
    let mut pod = pod(&objects);
    change(&mut pod["spec"]);
    let found = Policy::of(&objects).refuses(&pod);
    assert!(
        found.iter().any(|message| message.contains(why)),
        "{found:?}"
    );
}

fn first(spec: &mut Value) -> &mut Value {
    &mut spec["containers"][0]
}

fn push(list: &mut Value, value: Value) {
    list.as_array_mut().unwrap().push(value);
}

#[test]
fn another_program_is_refused() {
    let image = "runs 777788889999.dkr.ecr.eu-central-1.amazonaws.com/plimsoll-agent@sha256:";
    refused(image, |spec| first(spec)["image"] = json!("busybox"));
    // The same name, another digest.
    refused(image, |spec| {
        let other = first(spec)["image"]
            .as_str()
            .unwrap()
            .replace("0000", "0001");
        first(spec)["image"] = json!(other);
    });
    let alone = "holds the agent alone";
    refused(alone, |spec| {
        let second = first(spec).clone();
        push(&mut spec["containers"], second);
    });
    for kind in ["initContainers", "ephemeralContainers"] {
        refused(alone, |spec| {
            spec[kind] = json!([{ "name": "more", "image": "busybox" }]);
        });
    }
}

#[test]
fn another_identity_is_refused() {
    refused("its own service account", |spec| {
        spec["serviceAccountName"] = json!("default");
    });
    refused("no token for the API server", |spec| {
        spec["automountServiceAccountToken"] = json!(true);
    });
}

#[test]
fn more_rights_are_refused() {
    for namespace in ["hostPID", "hostNetwork", "hostIPC"] {
        refused("no namespace of the host", |spec| {
            spec[namespace] = json!(true);
        });
    }
    let context = |key: &'static str, value: Value| {
        move |spec: &mut Value| first(spec)["securityContext"][key] = value.clone()
    };
    let privileged = "is not privileged";
    refused(privileged, context("privileged", json!(true)));
    refused(privileged, context("allowPrivilegeEscalation", json!(true)));
    refused(privileged, context("readOnlyRootFilesystem", json!(false)));
    refused("drops ALL and adds", |spec| {
        let added = &mut first(spec)["securityContext"]["capabilities"]["add"];
        push(added, json!("SYS_ADMIN"));
    });
    refused("drops ALL and adds", |spec| {
        first(spec)["securityContext"]["capabilities"]["drop"] = json!(["NET_RAW"]);
    });
    let selinux = "SELinux type container_t at the most";
    for options in [
        json!({ "type": "super_t" }),
        json!({ "type": "spc_t" }),
        json!({ "type": "container_t", "level": "s0:c0.c1023" }),
        json!({ "type": "container_t", "user": "system_u" }),
        json!({ "type": "container_t", "role": "system_r" }),
        json!({ "level": "s0" }),
    ] {
        refused(selinux, context("seLinuxOptions", options.clone()));
        refused(selinux, |spec| {
            spec["securityContext"]["seLinuxOptions"] = options.clone();
        });
    }
    let unconfined = json!({ "type": "Unconfined" });
    refused("seccomp", context("seccompProfile", unconfined.clone()));
    refused("seccomp", |spec| {
        spec["securityContext"]["seccompProfile"] = unconfined.clone();
    });
    // Without any security context what asks for it cannot be evaluated: refused too.
    let objects = Objects::read("prod");
    let mut bare = pod(&objects);
    let container = first(&mut bare["spec"]).as_object_mut().unwrap();
    container.remove("securityContext");
    assert!(!Policy::of(&objects).refuses(&bare).is_empty());
}

/// With `components/deep`, and there too nothing else.
#[test]
fn the_type_of_the_runtime_is_for_deep_alone() {
    let objects = Objects::read("all-options");
    let mut pod = pod(&objects);
    let options = &mut first(&mut pod["spec"])["securityContext"]["seLinuxOptions"];
    assert_eq!(options["type"], "spc_t");
    options["type"] = json!("super_t");
    let found = Policy::of(&objects).refuses(&pod);
    let why = "the agent has the SELinux type spc_t at the most, and no level, user or role";
    assert_eq!(found, [why]);
}

#[test]
fn another_token_is_refused() {
    let refused = |source: Value| {
        refused("only token is for plimsoll-collector", |spec| {
            let volume = json!({ "name": "more", "projected": { "sources": [source.clone()] } });
            push(&mut spec["volumes"], volume);
        });
    };
    // Without an audience it is for the API server.
    refused(json!({ "serviceAccountToken": { "path": "token" } }));
    refused(json!({ "serviceAccountToken": { "path": "token", "audience": "sts.amazonaws.com" } }));
    refused(json!({ "secret": { "name": "more" } }));
    refused(json!({ "configMap": { "name": "more" } }));
}

#[test]
fn volumes_of_another_kind_are_refused() {
    for kind in [
        json!({ "secret": { "secretName": "more" } }),
        json!({ "emptyDir": {} }),
        json!({ "persistentVolumeClaim": { "claimName": "more" } }),
        json!({ "csi": { "driver": "more" } }),
        json!({ "nfs": { "server": "more", "path": "/" } }),
        json!({ "downwardAPI": {} }),
        json!({ "image": { "reference": "more" } }),
    ] {
        refused("no volume of another kind", |spec| {
            let mut volume = kind.clone();
            volume["name"] = json!("more");
            push(&mut spec["volumes"], volume);
        });
    }
}

#[test]
fn more_of_the_host_is_refused() {
    let host = |path: &str| json!({ "name": "more", "hostPath": { "path": path } });
    for path in [
        "/",
        "/etc",
        "/var/lib/plimsoll",
        "/var/lib/plimsoll/agent/..",
        "/proc/1",
    ] {
        refused("and its spool from the host", |spec| {
            push(&mut spec["volumes"], host(path));
        });
    }
    // The same folders, but to write.
    for path in ["/proc", "/sys/fs/cgroup", "/sys/kernel/tracing"] {
        refused("writes to nothing of the host", |spec| {
            push(&mut spec["volumes"], host(path));
            let mount = json!({ "name": "more", "mountPath": "/more" });
            push(&mut first(spec)["volumeMounts"], mount);
        });
    }
}

#[test]
fn a_pod_without_volumes_is_judged_too() {
    let objects = Objects::read("prod");
    let mut bare = pod(&objects);
    bare["spec"].as_object_mut().unwrap().remove("volumes");
    first(&mut bare["spec"])
        .as_object_mut()
        .unwrap()
        .remove("volumeMounts");
    assert_eq!(Policy::of(&objects).refuses(&bare), Vec::<String>::new());
}

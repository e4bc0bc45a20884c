//! Which pod a static pod's cgroup is.

use super::*;

const HASH: &str = "0123456789abcdef0123456789abcdef";
const NODE: &str =
    ", ownerReferences: [{apiVersion: v1, kind: Node, name: node-a, uid: n, controller: true}]";

fn at(seconds: u64) -> Moment {
    Moment {
        since_start: Duration::from_secs(seconds),
        unix_ns: seconds * 1_000_000_000,
    }
}

/// A pod with that annotation, further metadata and what comes first in its spec.
fn pod([name, uid]: [&str; 2], [annotation, hash]: [&str; 2], [owner, spec]: [&str; 2]) -> Object {
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: kube-system, uid: {uid}, annotations: {{kubernetes.io/config.{annotation}: '{hash}'}}{owner}}}, spec: {{{spec}containers: []}}}}"
    );
    let mut parsed = crate::inventory::parse::parse("p", &text);
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    parsed.objects.remove(0)
}

fn mirror(name: &str, uid: &str) -> Object {
    pod([name, uid], ["mirror", HASH], [NODE, "nodeName: node-a, "])
}

#[test]
fn a_static_pod_answers_to_its_hash_until_its_time_is_up() {
    let mirror = |uid: &str| mirror("proxy", uid);
    let mut index = Index::keeping(Duration::from_secs(10));
    index.apply(&mirror("one"), at(1));
    // Made anew by the kubelet under another UID; the old one's deletion comes later.
    index.apply(&mirror("two"), at(2));
    assert!(index.lookup(HASH, None).is_some());
    index.delete("", "Pod", mirror("one").meta(), at(3));
    index.expire(at(13));
    assert!(index.lookup(HASH, None).is_some());
    index.delete("", "Pod", mirror("two").meta(), at(14));
    assert!(index.lookup(HASH, None).is_some());
    index.expire(at(24));
    assert!(index.lookup(HASH, None).is_none() && index.static_pods.is_empty());
}

/// Whoever may make a pod may write what annotations and owners they like, and leave out what they like.
#[test]
fn a_pod_that_is_no_mirror_takes_the_name_of_no_cgroup() {
    let mut index = Index::default();
    index.apply(&mirror("proxy", "one"), at(1));
    let uid = "6b1de118-276a-4d3b-9429-6ab1612bc7ff";
    let thief = ["thief", "two"];
    for pod in [
        pod(thief, ["mirror", HASH], ["", "nodeName: node-a, "]),
        pod(thief, ["mirror", HASH], [NODE, ""]),
        pod(thief, ["mirror", HASH], [NODE, "nodeName: node-b, "]),
        pod(thief, ["hash", HASH], [NODE, "nodeName: node-a, "]),
        pod(thief, ["mirror", uid], [NODE, "nodeName: node-a, "]),
    ] {
        index.apply(&pod, at(2));
        assert_eq!(index.lookup(HASH, None).unwrap().pod, "proxy");
        assert!(index.lookup(uid, None).is_none());
    }
}

/// As long as the kubelet has not deleted the one that it did not make.
#[test]
fn a_hash_that_two_pods_claim_is_nobody_s() {
    let mut index = Index::keeping(Duration::from_secs(10));
    for pods in [["proxy", "thief"], ["thief", "proxy"]] {
        for name in pods {
            index.apply(&mirror(name, name), at(1));
        }
        assert!(index.lookup(HASH, None).is_none());
        assert!(index.is_pending(HASH, None));
        index.delete("", "Pod", mirror("thief", "thief").meta(), at(2));
        assert_eq!(index.lookup(HASH, None).unwrap().pod, "proxy");
    }
}

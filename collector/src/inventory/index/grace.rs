//! What is deleted, what comes back, and for how long names are kept.

use k8s_openapi::api::core::v1 as core;

use super::*;

fn pod(uid: usize) -> Object {
    let mut pod = core::Pod::default();
    pod.metadata.name = Some(format!("p-{uid}"));
    pod.metadata.uid = Some(uid.to_string());
    Object::Pod(Box::new(pod))
}

fn at(seconds: u64) -> Moment {
    Moment {
        since_start: Duration::from_secs(seconds),
        unix_ns: seconds * 1_000_000_000,
    }
}

/// All pods there are, at that time.
fn list(index: &mut Index, uids: &[usize], seconds: u64) {
    index.begin("", "Pod");
    for uid in uids {
        index.apply(&pod(*uid), at(seconds));
    }
    index.end("", "Pod", at(seconds));
}

fn known(index: &Index, uids: [usize; 3]) -> [bool; 3] {
    uids.map(|uid| index.lookup(&uid.to_string(), None).is_some())
}

#[test]
fn what_is_gone_is_kept_for_its_time_and_what_comes_back_is_not_gone() {
    let mut index = Index::keeping(Duration::from_secs(10));
    list(&mut index, &[1, 2], 1);
    list(&mut index, &[2], 5);
    assert_eq!((index.pods(), index.gone()), (1, 1));
    list(&mut index, &[2, 1], 6);
    assert_eq!((index.pods(), index.gone()), (2, 0));
    list(&mut index, &[2], 7);
    index.delete("", "Pod", pod(2).meta(), at(9));
    // Told twice, as a stream that is taken up again may.
    index.delete("", "Pod", pod(2).meta(), at(11));
    assert_eq!((index.pods(), index.gone()), (0, 2));
    assert!(!index.expire(at(16)), "the first time it went is no matter");
    assert!(index.expire(at(17)));
    assert_eq!(known(&index, [1, 2, 3]), [false, true, false]);
    assert!(index.expire(at(19)));
    assert_eq!((index.gone(), index.gone.bytes()), (0, 0));
    assert_eq!(index.forgotten(), 0);
}

#[test]
fn no_more_are_kept_than_the_bound_and_the_longest_gone_go_first() {
    let mut index = Index::keeping(Duration::from_secs(10));
    list(&mut index, &(0..MAX_GONE + 3).collect::<Vec<_>>(), 1);
    for uid in 0..MAX_GONE + 3 {
        index.delete("", "Pod", pod(uid).meta(), at(2));
    }
    assert_eq!((index.gone(), index.forgotten()), (MAX_GONE, 3));
    assert_eq!(known(&index, [1, 2, 3]), [false, false, true]);
    let mut none = Index::default();
    list(&mut none, &[1], 1);
    none.delete("", "Pod", pod(1).meta(), at(1));
    assert_eq!((none.gone(), known(&none, [1, 1, 1])[0]), (0, false));
}

#[test]
fn what_is_kept_is_bounded_in_bytes() {
    let large = |uid: usize| {
        let Object::Pod(mut object) = pod(uid) else {
            panic!("a pod")
        };
        object.metadata.name = Some("x".repeat(1 << 20));
        Object::Pod(object)
    };
    let mut index = Index::keeping(Duration::from_secs(10));
    for uid in 0..70 {
        index.apply(&large(uid), at(1));
        index.delete("", "Pod", large(uid).meta(), at(1));
    }
    assert!(index.gone.bytes() <= MAX_GONE_BYTES);
    assert_eq!((index.gone(), index.forgotten()), (63, 7));
}

/// A listing that broke off says nothing of what it did not come to.
#[test]
fn a_listing_that_begins_again_deletes_nothing_in_between() {
    let mut index = Index::default();
    list(&mut index, &[1, 2, 3], 1);
    index.begin("", "Pod");
    index.apply(&pod(1), at(2));
    index.begin("", "Pod");
    assert_eq!(index.pods(), 3);
    index.apply(&pod(2), at(3));
    index.apply(&pod(3), at(3));
    index.end("", "Pod", at(3));
    assert_eq!(known(&index, [1, 2, 3]), [false, true, true]);
}

const LIVES: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: n, uid: u}
spec: {containers: [{name: app, image: a}]}
status:
  containerStatuses:
  - {name: app, containerID: "containerd://NOW", image: a, imageID: a, ready: true, restartCount: 1,
     lastState: {terminated: {containerID: "containerd://BEFORE", exitCode: 1}}}
"#;

/// The status tells of two lives; an event of the one before these may still be on its way.
#[test]
fn lives_that_the_status_has_dropped_keep_their_names() {
    let mut index = Index::default();
    for life in 1..=20 {
        let text = LIVES
            .replace("NOW", &format!("c{life}"))
            .replace("BEFORE", &format!("c{}", life - 1));
        for object in &crate::inventory::parse::parse("lives", &text).objects {
            index.apply(object, at(life));
        }
    }
    let name = |life: u64| {
        index
            .lookup("u", Some(&format!("c{life}")))
            .unwrap()
            .container
    };
    for life in 13..=20 {
        assert_eq!(name(life), ContainerName::Known("app".to_owned()), "{life}");
    }
    assert_eq!(name(12), ContainerName::NotInStatus, "bounded");
}

#[test]
fn a_deleted_pod_without_ids_waits_for_none() {
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: p, uid: u}, spec: {containers: [{name: app, image: a}]}}";
    let mut index = Index::keeping(Duration::from_secs(10));
    let objects = crate::inventory::parse::parse("p", text).objects;
    index.apply(&objects[0], at(1));
    assert!(index.is_pending("u", Some("c")));
    index.delete("", "Pod", objects[0].meta(), at(2));
    assert!(!index.is_pending("u", Some("c")));
    assert_eq!(
        index.lookup("u", Some("c")).unwrap().container,
        ContainerName::NotInStatus
    );
}

/// After a crash the status still tells of the life before.
#[test]
fn the_next_life_of_a_container_is_waited_for() {
    let with = |state: &str| {
        let text = LIVES
            .replace(
                "restartCount: 1,",
                &format!("restartCount: 1, state: {{{state}}},"),
            )
            .replace("NOW", "c1");
        let mut index = Index::default();
        for object in &crate::inventory::parse::parse("lives", &text).objects {
            index.apply(object, at(1));
        }
        index.is_pending("u", Some("c2"))
    };
    assert!(with("terminated: {exitCode: 1}"));
    assert!(with("waiting: {reason: CrashLoopBackOff}"));
    assert!(!with("running: {}"));
}

/// And so it does of a sidecar, which is an init container that lives on; of one that is done there is no next life.
#[test]
fn the_next_life_of_a_sidecar_is_waited_for() {
    let with = |policy: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p, uid: u}}, spec: {{containers: [{{name: app, image: a}}], initContainers: [{{name: mesh, image: m{policy}}}]}}, status: {{containerStatuses: [{{name: app, containerID: 'containerd://a', image: a, imageID: a, ready: true, restartCount: 0, state: {{running: {{}}}}}}], initContainerStatuses: [{{name: mesh, containerID: 'containerd://m1', image: a, imageID: a, ready: true, restartCount: 0, state: {{terminated: {{exitCode: 1}}}}}}]}}}}"
        );
        let mut index = Index::default();
        let parsed = crate::inventory::parse::parse("p", &text);
        assert_eq!(parsed.problems, []);
        index.apply(&parsed.objects[0], at(1));
        index.is_pending("u", Some("m2"))
    };
    assert!(with(", restartPolicy: Always"));
    assert!(!with(""));
}

#[test]
fn a_pod_has_its_address_from_its_start_to_its_end() {
    let with_ip = |uid: &str, phase: &str, host: bool, start: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {uid}, uid: {uid}}}, spec: {{containers: [], hostNetwork: {host}}}, status: {{phase: {phase}, startTime: \"{start}\", podIPs: [{{ip: 10.0.0.7}}, {{ip: \"fd00::7\"}}]}}}}"
        );
        let parsed = crate::inventory::parse::parse("p", &text);
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        parsed.objects.into_iter().next().unwrap()
    };
    let mut index = Index::keeping(Duration::from_secs(100));
    let ip: IpAddr = "fd00::7".parse().unwrap();
    let holder = |index: &Index, seconds| index.holder(ip, at(seconds).unix_ns);
    let pod = |uid: &str| Some(Holder::Pod(uid.into()));
    index.apply(
        &with_ip("host", "Running", true, "1970-01-01T00:00:01Z"),
        at(2),
    );
    assert_eq!(holder(&index, 2), None);
    assert!(index.lookup("host", None).unwrap().host_network);
    index.apply(
        &with_ip("a", "Running", false, "1970-01-01T00:00:10Z"),
        at(12),
    );
    assert_eq!(holder(&index, 11), pod("a"));
    index.apply(
        &with_ip("a", "Succeeded", false, "1970-01-01T00:00:10Z"),
        at(20),
    );
    assert_eq!((holder(&index, 19), holder(&index, 20)), (pod("a"), None));
    index.apply(
        &with_ip("b", "Running", false, "1970-01-01T00:00:20Z"),
        at(21),
    );
    index.delete(
        "",
        "Pod",
        with_ip("b", "Running", false, "1970-01-01T00:00:20Z").meta(),
        at(30),
    );
    assert_eq!((holder(&index, 29), holder(&index, 30)), (pod("b"), None));
    // Of one that has ended before it was told of, too.
    index.apply(
        &with_ip("c", "Failed", false, "1970-01-01T00:00:32Z"),
        at(35),
    );
    assert_eq!((holder(&index, 34), holder(&index, 35)), (pod("c"), None));
    // Nothing is left of one whose address changes.
    for n in 0..20 {
        let Object::Pod(mut moved) = with_ip("d", "Running", false, "1970-01-01T00:00:36Z") else {
            panic!("a pod")
        };
        let ips = moved.status.as_mut().unwrap().pod_ips.as_mut().unwrap();
        ips[0].ip = format!("10.0.1.{n}");
        index.apply(&Object::Pod(moved), at(36));
    }
    let past = index.holder("10.0.1.18".parse().unwrap(), at(36).unix_ns);
    assert_eq!((past, index.addresses.len()), (None, 2 + 1 + 8));
    list(&mut index, &[], 40);
    index.expire(at(200));
    assert_eq!((holder(&index, 29), index.addresses.len()), (None, 0));
}

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

fn owned(uid: &str, kind: &str, api_version: &str) -> Object {
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: n, uid: {uid}, ownerReferences: [{{apiVersion: {api_version}, kind: {kind}, name: o, uid: x, controller: true}}]}}}}"
    );
    crate::inventory::parse::parse("p", &text).objects.remove(0)
}

fn meta(name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ObjectMeta::default()
    }
}

#[test]
fn an_owner_that_is_followed_and_not_known_is_pending_and_no_other_is() {
    let mut index = Index::default();
    index.apply(&owned("u", "ReplicaSet", "apps/v1"), at(1));
    assert!(!index.is_pending("u", None), "nothing is followed");
    index.follow("apps", "ReplicaSet");
    assert!(index.is_pending("u", None));
    assert!(index.lookup("u", None).unwrap().workload_pending);
    index.apply_named("apps", "ReplicaSet", &meta("o", Some("n")));
    assert!(!index.is_pending("u", None));
    index.unfollow("apps", "ReplicaSet");
    index.apply(&owned("v", "Rollout", "argoproj.io/v1alpha1"), at(1));
    assert!(!index.is_pending("v", None));
}

/// A ReplicaSet goes before its last pod does, and a pod may take long to end.
#[test]
fn an_owner_keeps_its_name_for_as_long_as_a_pod_names_it() {
    let mut index = Index::keeping(Duration::from_secs(10));
    for kind in ["ReplicaSet", "Deployment"] {
        index.follow("apps", kind);
    }
    let owner = |name: &str, of: Option<&str>| {
        let mut owner = meta(name, Some("n"));
        owner.owner_references = of.and_then(|of| {
            let mut owners = owned("x", "Deployment", "apps/v1")
                .meta()
                .owner_references
                .clone();
            owners
                .iter_mut()
                .flatten()
                .for_each(|owner| of.clone_into(&mut owner.name));
            owners
        });
        owner
    };
    index.apply_named("apps", "ReplicaSet", &owner("o", Some("web")));
    index.apply_named("apps", "Deployment", &owner("web", None));
    index.apply_named("apps", "ReplicaSet", &owner("other", None));
    index.apply(&owned("u", "ReplicaSet", "apps/v1"), at(1));
    let workload = |index: &Index| {
        let found = index.lookup("u", None);
        found.map(|found| (found.workload.name, found.workload_pending))
    };
    let known = Some(("web".to_owned(), false));
    for (kind, name) in [
        ("Deployment", "web"),
        ("ReplicaSet", "o"),
        ("ReplicaSet", "other"),
    ] {
        index.delete("apps", kind, &meta(name, Some("n")), at(2));
    }
    assert!(index.expire(at(12)), "nobody names the other");
    assert_eq!((index.gone(), workload(&index)), (2, known.clone()));
    // It ends half a minute after its ReplicaSet, and its names have their time from then on.
    index.delete(
        "",
        "Pod",
        owned("u", "ReplicaSet", "apps/v1").meta(),
        at(32),
    );
    for now in 22..42 {
        index.expire(at(now));
        assert_eq!(workload(&index), known, "{now}");
    }
    for now in 42..=72 {
        index.expire(at(now));
        assert_eq!(workload(&index), None, "{now}");
    }
    assert_eq!(
        (index.gone(), index.gone.bytes(), index.owners.len()),
        (0, 0, 0)
    );
}

/// References are what their maker wrote: they may go in a circle.
#[test]
fn deleted_owners_that_name_each_other_go_in_their_time() {
    let mut index = Index::keeping(Duration::from_secs(10));
    index.follow("apps", "ReplicaSet");
    let owner = |name: &str, of: &str| {
        let mut owner = meta(name, Some("n"));
        let mut references = owned("x", "ReplicaSet", "apps/v1")
            .meta()
            .owner_references
            .clone();
        let references_of = references.iter_mut().flatten();
        references_of.for_each(|owner| of.clone_into(&mut owner.name));
        owner.owner_references = references;
        owner
    };
    let circle = [("a", "b"), ("b", "c"), ("c", "a"), ("self", "self")];
    // The pod names `o`, which stands below a circle of its own.
    let named = [("o", "over"), ("over", "o")];
    for (name, of) in circle.into_iter().chain(named) {
        index.apply_named("apps", "ReplicaSet", &owner(name, of));
    }
    index.apply(&owned("u", "ReplicaSet", "apps/v1"), at(1));
    for (n, (name, of)) in (0..).zip(circle.into_iter().chain(named)) {
        index.delete("apps", "ReplicaSet", &owner(name, of), at(2 + 4 * n));
    }
    for now in 12..=60 {
        index.expire(at(now));
    }
    assert_eq!((index.gone(), index.owners.len()), (2, 2));
    index.delete(
        "",
        "Pod",
        owned("u", "ReplicaSet", "apps/v1").meta(),
        at(60),
    );
    for now in 61..=90 {
        index.expire(at(now));
    }
    assert_eq!((index.gone(), index.owners.len()), (0, 0));
}

/// A Job that is deleted and made again has the same name, and may have another owner.
#[test]
fn an_owner_of_the_same_name_is_another_if_its_uid_is() {
    let mut index = Index::default();
    index.follow("batch", "Job");
    index.apply(&owned("u", "Job", "batch/v1"), at(1));
    let job = |uid: Option<&str>| {
        let mut job = meta("o", Some("n"));
        job.uid = uid.map(str::to_owned);
        job.owner_references = owned("x", "CronJob", "batch/v1")
            .meta()
            .owner_references
            .clone();
        job
    };
    let workload = |index: &Index| {
        let found = index.lookup("u", None).unwrap();
        (found.workload.kind, found.workload_pending)
    };
    for (uid, expected) in [
        (Some("another"), ("Job", true)),
        (Some("x"), ("CronJob", false)),
        // Made again while the pod of the one before ends, and told of again.
        (Some("newer"), ("CronJob", false)),
        (Some("newer"), ("CronJob", false)),
        (Some("newest"), ("Job", true)),
        // Of a manifest.
        (None, ("CronJob", false)),
    ] {
        index.apply_named("batch", "Job", &job(uid));
        assert_eq!(
            workload(&index),
            (expected.0.to_owned(), expected.1),
            "{uid:?}"
        );
    }
}

/// Volcano's Job is none of batch's, and a kind of no namespace may own what is in one.
#[test]
fn kinds_are_told_apart_by_their_group() {
    let mut index = Index::default();
    index.apply(&owned("u", "Job", "batch.volcano.sh/v1alpha1"), at(1));
    let job = "{apiVersion: batch/v1, kind: Job, metadata: {name: o, namespace: n, ownerReferences: [{apiVersion: batch/v1, kind: CronJob, name: c, uid: x, controller: true}]}}";
    for object in &crate::inventory::parse::parse("j", job).objects {
        index.apply(object, at(1));
    }
    assert_eq!(index.lookup("u", None).unwrap().workload.kind, "Job");
    let mut owner = meta("o", None);
    owner.owner_references = owned("x", "Fleet", "example.com/v1")
        .meta()
        .owner_references
        .clone();
    index.apply_named("batch.volcano.sh", "Job", &owner);
    assert_eq!(index.lookup("u", None).unwrap().workload.kind, "Fleet");
    let mut strange: Vec<_> = index.strange_kinds().collect();
    strange.sort_unstable();
    let expected = [
        ("batch.volcano.sh/v1alpha1", "Job"),
        ("batch/v1", "CronJob"),
        ("example.com/v1", "Fleet"),
    ];
    assert_eq!(strange, expected);
}

/// Whoever may make a pod may write what owns it, and makes up as many kinds as they like.
#[test]
fn kinds_that_are_made_up_keep_none_from_being_looked_for() {
    let mut index = Index::default();
    let strange = |index: &Index, kind: &str| index.strange_kinds().any(|of| of.1 == kind);
    for n in 0..70 {
        index.apply(&owned("u", &format!("MadeUp{n}"), "example.com/v1"), at(1));
    }
    let real = owned("v", "Rollout", "argoproj.io/v1alpha1");
    index.apply(&real, at(1));
    assert_eq!((index.strange_kinds().count(), index.unheard()), (64, 7));
    assert!(!strange(&index, "Rollout"));
    for n in 0..70 {
        index.set_absent("example.com", &format!("MadeUp{n}"));
        index.apply(&owned("u", "MadeUp0", "example.com/v1"), at(2));
    }
    index.apply(&real, at(2));
    assert_eq!(index.strange_kinds().count(), 1);
    assert!(strange(&index, "Rollout"));
    // It is there, and what was not may be by now.
    index.begin("argoproj.io", "Rollout");
    assert_eq!(index.strange_kinds().count(), 0);
    index.look_again();
    assert!(strange(&index, "MadeUp0") && index.strange_kinds().count() == 64);
}

/// As those of a group whose own server is away.
#[test]
fn kinds_that_nobody_answers_for_keep_none_from_being_looked_for() {
    let mut index = Index::default();
    let made_up = |n: usize| owned("u", &format!("MadeUp{n}"), "away.example.com/v1");
    let counts = |index: &Index| {
        let (strange, unanswered) = (index.strange_kinds(), index.unanswered_kinds());
        (strange.count(), unanswered.count())
    };
    for n in 0..130 {
        index.apply(&made_up(n), at(1));
        index.set_unanswered("away.example.com", &format!("MadeUp{n}"));
    }
    assert_eq!(counts(&index), (0, 64));
    index.apply(&made_up(0), at(2));
    assert_eq!(counts(&index), (0, 64), "it is looked for already");
    index.apply(&owned("v", "Rollout", "argoproj.io/v1alpha1"), at(2));
    assert_eq!(counts(&index), (1, 64));
    assert_eq!(index.unheard(), 0);
    // Until there is an answer.
    index.begin("away.example.com", "MadeUp0");
    index.set_absent("away.example.com", "MadeUp1");
    assert_eq!(counts(&index), (1, 62));
    index.apply(&made_up(1), at(3));
    assert_eq!(counts(&index), (1, 62), "it is not there");
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

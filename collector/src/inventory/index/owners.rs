//! Whose names owners keep and for how long, and which kinds of owners are looked for.

use super::*;

fn at(seconds: u64) -> Moment {
    Moment {
        since_start: Duration::from_secs(seconds),
        unix_ns: seconds * 1_000_000_000,
    }
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

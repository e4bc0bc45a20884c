use super::*;
use crate::inventory::parse::parse;

fn pod(name: &str, uid: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: n\n  ownerReferences:\n  - {{apiVersion: apps/v1, kind: ReplicaSet, name: r, uid: r-1, controller: true}}\n  uid: {uid}\n"
    )
}

/// Everything that is said of these files.
#[track_caller]
fn check(files: &[(&str, String)], expected: &[&str]) {
    let parsed: Vec<_> = files
        .iter()
        .map(|(name, text)| (Path::new(*name), parse(name, text).objects))
        .collect();
    let found = find(
        parsed
            .iter()
            .map(|(name, objects)| (*name, objects.as_slice())),
    );
    let news: Vec<&Twice> = found.iter().collect();
    let read = |file: &Path| {
        let (_, text) = files.iter().find(|(name, _)| Path::new(*name) == file)?;
        Some(text.clone())
    };
    let said: Vec<String> = tell(&news, read).iter().map(ToString::to_string).collect();
    assert_eq!(said, expected);
}

#[test]
fn two_objects_of_one_uid_are_told_with_both_places() {
    let set =
        "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: r, namespace: n, uid: r-1}\n";
    check(
        &[(
            "a",
            pod("one", "u1") + "---\n" + &pod("two", "u2") + "---\n" + set,
        )],
        &[],
    );
    check(
        &[
            ("a", pod("one", "u1")),
            ("b", pod("two", "u2") + "---\n" + &pod("other", "u1")),
        ],
        &[
            "b:17: metadata.uid: Pod n/other: its UID u1 is that of Pod n/one at a:8 too; this one is used",
        ],
    );
    // In one file, and across kinds; nothing without a UID.
    let list = "{\n\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [\n{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"p\",\n\"uid\": \"r-1\"}},\n{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"q\",\n\"uid\": \"r-1\"}}]}";
    check(
        &[("a", set.to_owned()), ("b", list.to_owned())],
        &["b:6: metadata.uid: Pod q: its UID r-1 is that of Pod p at b:4 too; this one is used"],
    );
    // What is no object that is read, or none at all, is not counted.
    let other = "apiVersion: example.org/v1\nkind: Widget\nmetadata:\n  uid: u1\n---\n\
                 apiVersion: v1\nkind: Pod\nmetadata:\n  uid: u1\nspec: wrong\n---\n";
    check(
        &[(
            "a",
            format!("{other}{}---\n{}", pod("one", "u1"), pod("two", "u1")),
        )],
        &[
            "a:28: metadata.uid: Pod n/two: its UID u1 is that of Pod n/one at a:19 too; this one is used",
        ],
    );
    let nameless = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, uid: ''}\n".to_owned();
    check(&[("a", nameless.clone()), ("b", nameless)], &[]);
}

#[test]
fn a_copy_of_everything_is_told_in_part() {
    let all: Vec<String> = (0..MAX_TOLD + 3)
        .map(|n| pod(&format!("p{n}"), &format!("u{n}")))
        .collect();
    let text = all.join("---\n");
    let parsed = parse("a", &text).objects;
    let files = [
        (Path::new("a"), parsed.as_slice()),
        (Path::new("b"), &parsed),
    ];
    let found = find(files.into_iter());
    let news: Vec<&Twice> = found.iter().collect();
    let mut reads = 0;
    let problems = tell(&news, |_| {
        reads += 1;
        None
    });
    assert_eq!((problems.len(), reads), (MAX_TOLD + 1, 2));
    assert_eq!(problems[0].line, None, "it cannot be read any more");
    let last = problems.last().unwrap().to_string();
    assert!(last.starts_with("b: 3 more UIDs are of"), "{last}");
}

use super::*;
use proptest::prelude::*;

const LIST: &str = "\
# two documents, one a list
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: good, namespace: shop, uid: u1}
  spec:
    containers: [{name: app, image: x, resources: {requests: {cpu: 1, memory: 1e6}}}]
- apiVersion: v1
  kind: Pod
  metadata: {name: bad, namespace: shop}
  spec:
    containers:
    - name: app
      image: x
      ports:
      - containerPort: \"eighty\"
- apiVersion: v1
  kind: Secret
  metadata: {name: s}
---
apiVersion: v1
kind: Namespace
metadata:
  name: shop
---
---
kind: Secret
";

fn messages(parsed: &Parsed) -> Vec<String> {
    parsed.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_malformed_object_costs_itself_only() {
    let parsed = parse("all.yaml", LIST);
    assert!(
        matches!(
            parsed.objects.as_slice(),
            [Object::Pod(_), Object::Namespace(_)]
        ),
        "{:?}",
        parsed.objects
    );
    assert_eq!(parsed.ignored.values().sum::<u64>(), 2);
    assert_eq!(
        messages(&parsed),
        [
            "all.yaml:18: items[1].spec.containers[0].ports[0].containerPort: Pod shop/bad: invalid type: string \"eighty\", expected i32"
        ]
    );
    assert!(!parsed.broken);
}

#[test]
fn syntax_errors_name_the_line() {
    let parsed = parse(
        "x.yaml",
        "kind: Namespace\napiVersion: v1\nmetadata: {name: a}\n---\nkind: [\n",
    );
    assert_eq!(parsed.objects.len(), 1);
    assert!(parsed.broken);
    assert!(
        matches!(
            parsed.problems.as_slice(),
            [Problem {
                line: Some(5..=6),
                ..
            }]
        ),
        "{:?}",
        parsed.problems
    );
}

#[test]
fn json_lists_as_kubectl_prints_them() {
    let parsed = parse(
        "all.json",
        r#"{"apiVersion":"v1","kind":"List","items":[
{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"api","namespace":"shop"}},
{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":7}}]}"#,
    );
    assert!(matches!(parsed.objects.as_slice(), [Object::Deployment(_)]));
    assert_eq!(
        messages(&parsed),
        [
            "all.json:3: items[1].metadata.name: Deployment without a name: invalid type: integer `7`, expected a string"
        ]
    );
}

#[test]
fn quantities_are_checked_where_they_stand() {
    let pod = "kind: Pod\napiVersion: v1\nmetadata: {name: p}\nspec:\n  containers:\n  - name: app\n    resources:\n      limits:\n        memory: 64MB\n";
    let parsed = parse("q.yaml", pod);
    assert!(parsed.objects.is_empty());
    let [problem] = parsed.problems.as_slice() else {
        panic!("{:?}", parsed.problems)
    };
    assert_eq!(
        (problem.line, problem.field.as_deref()),
        (Some(9), Some("spec.containers[0].resources.limits.memory"))
    );
    assert!(
        problem.message.contains("unknown suffix `MB`"),
        "{}",
        problem.message
    );
}

#[test]
fn what_is_no_object_is_named() {
    assert_eq!(
        messages(&parse("n.yaml", "just text")),
        ["n.yaml:1: not a Kubernetes object: `kind` is missing"]
    );
    assert!(parse("empty.yaml", "\n---\n").problems.is_empty());
}

proptest! {
    #[test]
    fn any_text_has_an_answer(text in "\\PC{0,200}") {
        let _: Parsed = parse("fuzz", &text);
    }
}

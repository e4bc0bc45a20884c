use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::lists::MAX_LISTS;
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
apiVersion: v1
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

/// Names and texts of a list of quantities.
fn known(list: Option<&BTreeMap<String, Quantity>>) -> Vec<(&str, &str)> {
    let list = list.into_iter().flatten();
    list.map(|(name, quantity)| (name.as_str(), quantity.0.as_str()))
        .collect()
}

/// A pod of which one quantity is none: told with its place, and all else is known.
#[test]
fn a_quantity_that_is_none_costs_itself_only() {
    let pod = "\
kind: Pod
apiVersion: v1
metadata: {name: p, namespace: shop, uid: u1}
spec:
  overhead: {cpu: tenth}
  containers:
  - name: app
    resources:
      requests: {cpu: 250m, memory: -1}
      limits:
        cpu: [1]
        memory: 64MB
        nvidia.com/gpu: 1
";
    let parsed = parse("q.yaml", pod);
    let rest = "; the rest of the object is used";
    assert_eq!(
        messages(&parsed),
        [
            format!(
                "q.yaml:11: spec.containers[0].resources.limits.cpu: Pod shop/p: must be a quantity, as 250m or 64Mi{rest}"
            ),
            format!(
                "q.yaml:12: spec.containers[0].resources.limits.memory: Pod shop/p: `64MB` is not a quantity: unknown suffix `MB` (known: n u m k M G T P E Ki Mi Gi Ti Pi Ei, or an exponent such as e3){rest}"
            ),
            format!(
                "q.yaml:9: spec.containers[0].resources.requests.memory: Pod shop/p: `-1` is negative{rest}"
            ),
            format!(
                "q.yaml:5: spec.overhead.cpu: Pod shop/p: `tenth` is not a quantity: it has no number{rest}"
            ),
        ]
    );
    let [Object::Pod(pod)] = parsed.objects.as_slice() else {
        panic!("{:?}", parsed.objects)
    };
    let resources = pod.spec.as_ref().unwrap().containers[0].resources.as_ref();
    assert_eq!(
        (
            known(resources.unwrap().requests.as_ref()),
            known(resources.unwrap().limits.as_ref())
        ),
        (
            vec![("cpu", "250m"), ("memory", "unknown")],
            vec![
                ("cpu", "unknown"),
                ("memory", "unknown"),
                ("nvidia.com/gpu", "1")
            ]
        )
    );
    assert!(
        pod.spec
            .as_ref()
            .unwrap()
            .overhead
            .iter()
            .flatten()
            .next()
            .is_none()
    );
    assert!(!parsed.broken);
}

#[test]
fn lines_of_huge_json_are_not_looked_for() {
    let pod = r#"{"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": 1}"#;
    let said = |padding: usize| {
        let text = format!("{pod}{}", " ".repeat(padding));
        messages(&parse("h.json", &text))
    };
    let field = "spec: Pod p: invalid type: integer `1`, expected PodSpec";
    assert_eq!(said(1), [format!("h.json:1: {field}")]);
    assert_eq!(said(MAX_JSON_WITH_LINES), [format!("h.json: {field}")]);
}

/// Owners and nodes keep their names as well; of kinds that are not read nothing is said.
#[test]
fn quantities_of_other_kinds() {
    let template = "spec: {template: {spec: {containers: [{name: a, resources: {limits: {memory: {x: 1}}}}]}}}";
    let text = format!(
        "kind: Deployment\napiVersion: apps/v1\nmetadata: {{name: d, namespace: n}}\n{template}\n---\n\
         kind: Node\napiVersion: v1\nmetadata: {{name: n}}\nstatus: {{allocatable: {{cpu: 4x}}}}\n---\n\
         kind: Widget\napiVersion: example.org/v1\nmetadata: {{name: w}}\nspec: {{limits: {{cpu: all}}}}\n"
    );
    let parsed = parse("o.yaml", &text);
    let fields: Vec<_> = parsed.problems.iter().map(|p| p.field.as_deref()).collect();
    assert_eq!(
        fields,
        [
            Some("spec.template.spec.containers[0].resources.limits.memory"),
            Some("status.allocatable.cpu")
        ]
    );
    assert_eq!((parsed.objects.len(), parsed.ignored.len()), (2, 1));
}

#[test]
fn what_is_no_object_is_named() {
    assert_eq!(
        messages(&parse("n.yaml", "just text")),
        ["n.yaml:1: kind: must be given, as text, in a Kubernetes object"]
    );
    assert!(parse("empty.yaml", "\n---\n").problems.is_empty());
}

#[test]
fn an_object_without_a_version_is_told_and_not_ignored() {
    let texts = [
        ("{\"kind\":\"Pod\"}", ":1: apiVersion: "),
        (
            "kind: Namespace\napiVersion: v1\n---\n# none\nmetadata: {name: p}\nkind: Secret\n",
            ":5: apiVersion: ",
        ),
        ("kind: Pod\napiVersion: 1\n", ":2: apiVersion: "),
        (
            "kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Node, metadata: {name: n}}\n- {apiVersion: '', kind: Pod}\n",
            ":5: items[1].apiVersion: ",
        ),
        ("apiVersion: v1\nkind: 7\n", ":2: kind: "),
    ];
    for (text, place) in texts {
        let parsed = parse("p.yaml", text);
        let expect = format!("p.yaml{place}must be given, as text, in a Kubernetes object");
        assert_eq!(messages(&parsed), [expect], "{text}");
        assert!(parsed.ignored.is_empty());
    }
}

/// A few lines that stand for a thousand million values.
fn bomb() -> String {
    let line = |(name, inner): (char, char)| {
        format!(
            "{name}: &{name} [*{inner}{}]\n",
            format!(",*{inner}").repeat(9)
        )
    };
    let lines: String = ('b'..='i').zip('a'..).map(line).collect();
    format!("a: &a [{}0]\n{lines}", "0,".repeat(9))
}

#[test]
fn a_message_has_one_line_number_and_no_words_of_the_library() {
    let too_much = "holds too much, or too much once its aliases (`*name`) are written out";
    let first = "kind: Namespace\napiVersion: v1\n---\n";
    for (text, expect) in [
        ("kind: [\n", "f:4: unclosed bracket '['"),
        ("x: 1\nx: 2\n", "f:5: duplicate mapping key: x"),
        ("a: \"x\n", "f:4: unclosed quote"),
        ("a: *x\n", "f:4: alias references unknown anchor"),
        (&bomb(), &format!("f:9: {too_much}")),
    ] {
        let parsed = parse("f", &format!("{first}{text}"));
        assert_eq!(messages(&parsed), [expect], "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_has_an_answer(text in "\\PC{0,200}") {
        let _: Parsed = parse("fuzz", &text);
    }
}

/// The API server names an item's kind only in the list, and `kubectl get -o yaml` only in the item.
#[test]
fn a_list_names_the_kind_of_its_items() {
    let parsed = parse(
        "raw.json",
        r#"{"kind": "PodList", "apiVersion": "v1", "items": [
            {"metadata": {"name": "a", "uid": "u"}, "spec": {"containers": []}},
            {"metadata": {"name": "b", "uid": "v"}, "spec": {"containers": 1}},
            {"kind": "Pod", "metadata": {"name": "c", "uid": "w"}}]}"#,
    );
    assert!(matches!(parsed.objects.as_slice(), [Object::Pod(_)]));
    assert_eq!(
        messages(&parsed),
        [
            "raw.json:3: items[1].spec.containers: Pod b: invalid type: integer `1`, expected a sequence",
            "raw.json:4: items[2].apiVersion: must be given, as text, in a Kubernetes object",
        ]
    );
    let nameless = parse(
        "list.yaml",
        "{kind: List, apiVersion: v1, items: [{metadata: {}}]}",
    );
    assert_eq!(nameless.problems.len(), 1);
}

/// A sequence that is no list of Kubernetes: its items stand in no field.
#[test]
fn an_item_of_a_bare_sequence_is_named_by_its_number() {
    let text = "- {apiVersion: v1, kind: Node, metadata: {name: n}}\n- {apiVersion: v1, kind: Pod, metadata: {name: 7}}\n- - {kind: Pod}\n";
    let parsed = parse("bare.yaml", text);
    assert_eq!(parsed.objects.len(), 1);
    assert_eq!(
        messages(&parsed),
        [
            "bare.yaml:2: [1].metadata.name: Pod without a name: invalid type: integer `7`, expected a string",
            "bare.yaml:3: [2][0].apiVersion: must be given, as text, in a Kubernetes object",
        ]
    );
}

/// What `curl` and `kubectl get --raw` leave behind when they were refused, or asked for less.
#[test]
fn a_server_s_word_in_the_place_of_objects_is_told() {
    let ask = "ask for the objects whole, as `kubectl get -o json` does";
    for (text, expect) in [
        (
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods is forbidden","reason":"Forbidden","code":403}"#,
            "the server's answer is a Status and no objects: 403: pods is forbidden".to_owned(),
        ),
        (
            r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[]}"#,
            format!("a Table is made for the eye and holds no objects; {ask}"),
        ),
        (
            r#"{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","items":[{"metadata":{"name":"p"}}]}"#,
            format!("PartialObjectMetadataList holds names without what they stand for; {ask}"),
        ),
    ] {
        let parsed = parse("s.json", text);
        assert_eq!(messages(&parsed), [format!("s.json:1: kind: {expect}")]);
        assert!(parsed.broken && parsed.ignored.is_empty(), "{text}");
    }
    let named_so = "{kind: Status, apiVersion: example.org/v1, metadata: {name: s}}";
    assert_eq!(
        parse("o.yaml", named_so).ignored["example.org/v1/Status"],
        1
    );
}

#[test]
fn a_part_of_a_list_is_used_and_told() {
    let list = |metadata: &str| {
        let pod = r#"{"metadata": {"name": "a", "uid": "u"}}"#;
        let list = format!(
            r#"{{"kind": "PodList", "apiVersion": "v1", "metadata": {{{metadata}}},
            "items": [{pod}]}}"#
        );
        let parsed = parse("l.json", &list);
        assert_eq!(parsed.objects.len(), 1);
        messages(&parsed)
    };
    let told = |rest: &str| {
        format!(
            "l.json:1: metadata.continue: PodList: is the first part of a list, {rest} are not in it; ask without `limit`"
        )
    };
    let both = r#""continue": "abc", "remainingItemCount": 7"#;
    assert_eq!(list(both), [told("7 more")]);
    assert_eq!(list(r#""continue": "abc""#), [told("the rest")]);
    assert!(list(r#""continue": "", "resourceVersion": "9""#).is_empty());
}

#[test]
fn lists_in_lists_are_read() {
    let inner = "{kind: PodList, apiVersion: v1, items: [{metadata: {name: a, uid: u}}, {metadata: {name: 7}}]}";
    let text = format!("kind: List\napiVersion: v1\nitems:\n- {inner}\n");
    let parsed = parse("n.yaml", &text);
    assert!(matches!(parsed.objects.as_slice(), [Object::Pod(_)]));
    assert_eq!(
        messages(&parsed),
        [
            "n.yaml:4: items[0].items[1].metadata.name: Pod without a name: invalid type: integer `7`, expected a string"
        ]
    );
    let uids = std::collections::BTreeSet::from(["u"]);
    assert_eq!(uid_lines(&text, &uids)["u"], [Some(4)]);
    let deep = (0..=MAX_LISTS).fold(inner.to_owned(), |inner, _| {
        format!("{{kind: List, apiVersion: v1, items: [{inner}]}}")
    });
    let parsed = parse("d.yaml", &deep);
    assert!(parsed.objects.is_empty());
    assert!(messages(&parsed)[0].ends_with("more than 8 lists within one another are not read"));
    let own = "{kind: AllowList, apiVersion: example.org/v1, metadata: {name: l}, spec: {}}";
    assert_eq!(parse("o.yaml", own).ignored["example.org/v1/AllowList"], 1);
}

#[test]
fn pods_without_a_uid_are_told_once_for_a_file() {
    let pod = "kind: Pod\napiVersion: v1\nmetadata: {name: p}\n";
    let why = "manifests are not enough, the cluster's own pods are needed (`kubectl get pods -A -o json`)";
    let parsed = parse("m.yaml", pod);
    assert_eq!(parsed.objects.len(), 1);
    let one = "1 pod has no UID (metadata.uid) and names nothing that runs";
    assert_eq!(messages(&parsed), [format!("m.yaml: {one}: {why}")]);
    let parsed = parse(
        "m.yaml",
        &format!("{pod}---\nkind: Pod\napiVersion: v1\n---\n{LIST}"),
    );
    let two = "2 pods have no UID (metadata.uid) and name nothing that runs";
    assert_eq!(messages(&parsed)[1..], [format!("m.yaml: {two}: {why}")]);
}

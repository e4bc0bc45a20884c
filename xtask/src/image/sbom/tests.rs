use super::*;
use crate::image::plan::AGENT;

const TREE: &str = "\
0|plimsoll-agent v0.1.0 (/somewhere/agent)|Apache-2.0
1|anyhow v1.0.0|MIT/Apache-2.0
1|serde v1.0.2|MIT OR Apache-2.0
2|serde_derive v1.0.2 (proc-macro)|MIT OR Apache-2.0
3|syn v2.0.0|MIT OR Apache-2.0
1|plimsoll-wire v0.1.0 (/somewhere/wire)|Apache-2.0
2|serde v1.0.2|MIT OR Apache-2.0 (*)
";
const LOCK: &str = r#"version = 4

[[package]]
name = "anyhow"
version = "1.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "aa11"

[[package]]
name = "plimsoll-agent"
version = "0.1.0"
dependencies = [
 "anyhow",
]
"#;

fn krate(name: &str, version: &str) -> Crate {
    (name.to_owned(), version.to_owned())
}

fn about() -> About {
    About {
        architecture: "amd64",
        epoch_s: 0,
        created: "1970-01-01T00:00:00Z".to_owned(),
        version: "0.1.0".to_owned(),
        revision: String::new(),
        licence: "Apache-2.0".to_owned(),
    }
}

fn document() -> Value {
    let tree = Tree::parse(TREE).unwrap();
    let linked = tree
        .crates
        .keys()
        .filter(|one| one.0 != "syn" && one.0 != "serde_derive");
    let parts = [Part {
        kind: "file",
        name: "plimsoll.bpf.o".to_owned(),
        version: None,
        purl: None,
        sha256: Some("bb22".to_owned()),
        licence: "Apache-2.0 OR GPL-2.0-only",
    }];
    let facts = Facts {
        tree: &tree,
        linked: &linked.cloned().collect(),
        checksums: &checksums(LOCK),
        parts: &parts,
    };
    bom(&AGENT, &about(), &facts)
}

#[test]
fn cargos_tree_is_read_with_its_edges() {
    let tree = Tree::parse(TREE).unwrap();
    assert_eq!(tree.crates.len(), 6);
    assert_eq!(tree.crates[&krate("anyhow", "1.0.0")], "MIT OR Apache-2.0");
    assert_eq!(tree.crates[&krate("serde", "1.0.2")], "MIT OR Apache-2.0");
    let of_wire = &tree.edges[&krate("plimsoll-wire", "0.1.0")];
    assert_eq!(of_wire, &BTreeSet::from([krate("serde", "1.0.2")]));
    assert_eq!(
        tree.roots,
        BTreeSet::from([krate("plimsoll-agent", "0.1.0")])
    );
    for strange in ["0|", "x|a v1|MIT", "1|a|MIT", "no bars"] {
        assert!(Tree::parse(strange).is_err(), "{strange}");
    }
}

#[test]
fn only_packages_of_a_registry_have_checksums() {
    assert_eq!(
        checksums(LOCK),
        BTreeMap::from([(krate("anyhow", "1.0.0"), "aa11".to_owned())])
    );
}

/// What CycloneDX 1.6's schema (bom-1.6.schema.json) demands of the fields that are used here.
fn assert_shape(bom: &Value) {
    const TYPES: [&str; 4] = ["application", "container", "file", "library"];
    assert_eq!(
        (&bom["bomFormat"], &bom["specVersion"]),
        (&json!("CycloneDX"), &json!("1.6"))
    );
    assert!(bom["version"].as_u64().is_some_and(|version| version >= 1));
    let root = &bom["metadata"]["component"];
    let mut references = BTreeSet::new();
    for component in bom["components"].as_array().unwrap().iter().chain([root]) {
        assert!(
            TYPES.contains(&component["type"].as_str().unwrap()),
            "{component}"
        );
        assert!(
            component["name"]
                .as_str()
                .is_some_and(|name| !name.is_empty()),
            "{component}"
        );
        let scope = component["scope"].as_str().unwrap_or("required");
        assert!(
            ["required", "optional", "excluded"].contains(&scope),
            "{component}"
        );
        let reference = component["bom-ref"].as_str().unwrap();
        assert!(references.insert(reference), "{reference} is there twice");
        // One expression, or many licences: here always the one.
        if let Some(licences) = component.get("licenses") {
            assert_eq!(licences.as_array().map(Vec::len), Some(1), "{component}");
            assert!(licences[0]["expression"].is_string(), "{component}");
        }
    }
    for dependency in bom["dependencies"].as_array().unwrap() {
        let to = dependency["dependsOn"].as_array().unwrap();
        for reference in to.iter().chain([&dependency["ref"]]) {
            assert!(
                references.contains(reference.as_str().unwrap()),
                "{reference} is nobody's"
            );
        }
    }
}

#[test]
fn a_bill_of_materials_has_the_shape_and_every_part() {
    let bom = document();
    assert_shape(&bom);
    let find = |reference: &str| {
        let components = bom["components"].as_array().unwrap();
        components
            .iter()
            .find(|one| one["bom-ref"] == reference)
            .unwrap()
            .clone()
    };
    let anyhow = find("cargo:anyhow@1.0.0");
    assert_eq!(anyhow["purl"], "pkg:cargo/anyhow@1.0.0");
    assert_eq!(
        anyhow["hashes"],
        json!([{ "alg": "SHA-256", "content": "aa11" }])
    );
    assert_eq!(anyhow["scope"], "required");
    assert_eq!(find("cargo:syn@2.0.0")["scope"], "excluded");
    assert_eq!(find("cargo:plimsoll-wire@0.1.0").get("purl"), None);
    let object = find("file:plimsoll.bpf.o");
    assert_eq!(
        object["hashes"],
        json!([{ "alg": "SHA-256", "content": "bb22" }])
    );
    let of_root = &bom["dependencies"][0];
    assert_eq!(of_root["ref"], bom["metadata"]["component"]["bom-ref"]);
    assert_eq!(
        of_root["dependsOn"],
        json!(["cargo:plimsoll-agent@0.1.0", "file:plimsoll.bpf.o"])
    );
}

#[test]
fn the_same_facts_make_the_same_document() {
    assert_eq!(document().to_string(), document().to_string());
}

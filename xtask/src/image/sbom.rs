//! What an image is made of, as a CycloneDX 1.6 document: the crates that cargo resolved for its package on its target,
//! the C libraries and the kernel object linked into it, the files beside it. Reads no file.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::layout::About;
use super::plan::Image;

/// The format of the lines of `cargo tree --prefix depth` that [`Tree::parse`] reads.
pub(crate) const TREE_FORMAT: &str = "|{p}|{l}";

/// A crate: name and version.
pub(crate) type Crate = (String, String);

/// What cargo resolved.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    /// Every crate with its licence, as SPDX spells it.
    pub(crate) crates: BTreeMap<Crate, String>,
    edges: BTreeMap<Crate, BTreeSet<Crate>>,
    roots: BTreeSet<Crate>,
}

impl Tree {
    /// Reads what `cargo tree --prefix depth` printed in [`TREE_FORMAT`].
    ///
    /// # Errors
    /// A line is of another shape.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut tree = Self::default();
        let mut above: Vec<Crate> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let strange = || format!("cargo tree: a strange line: {line}");
            let mut fields = line.split('|');
            let (depth, package) = (fields.next(), fields.next());
            let depth: usize = depth
                .and_then(|depth| depth.parse().ok())
                .with_context(strange)?;
            let mut words = package.unwrap_or_default().split(' ');
            let name = words.next().filter(|name| !name.is_empty());
            let version = words.next().and_then(|version| version.strip_prefix('v'));
            let (name, version) = name.zip(version).with_context(strange)?;
            let licence = fields.next().unwrap_or_default().trim_end_matches(" (*)");
            let one = (name.to_owned(), version.to_owned());
            above.truncate(depth);
            match above.last() {
                Some(parent) => tree
                    .edges
                    .entry(parent.clone())
                    .or_default()
                    .insert(one.clone()),
                None => tree.roots.insert(one.clone()),
            };
            above.push(one.clone());
            tree.crates.insert(one, spdx(licence));
        }
        Ok(tree)
    }

    /// Adds another tree.
    pub(crate) fn extend(&mut self, other: Self) {
        self.crates.extend(other.crates);
        self.roots.extend(other.roots);
        for (from, to) in other.edges {
            self.edges.entry(from).or_default().extend(to);
        }
    }
}

/// Old manifests write `MIT/Apache-2.0`.
fn spdx(licence: &str) -> String {
    licence.replace('/', " OR ").replace("  ", " ")
}

/// What is in the image and is no crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// CycloneDX' word: `file` or `library`.
    pub(crate) kind: &'static str,
    /// Its name: a path in the image, or a package.
    pub(crate) name: String,
    /// Its version, where it has one of its own.
    pub(crate) version: Option<String>,
    /// The package URL of what comes from a distribution.
    pub(crate) purl: Option<String>,
    /// The checksum in hex.
    pub(crate) sha256: Option<String>,
    /// The licence, as SPDX spells it.
    pub(crate) licence: &'static str,
}

/// All that goes into the document.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// Crates, those that only build something included.
    pub(crate) tree: &'a Tree,
    /// Crates whose code is in the image; the others ran on the machine that built it.
    pub(crate) linked: &'a BTreeSet<Crate>,
    /// The checksums of the crates' archives.
    pub(crate) checksums: &'a BTreeMap<Crate, String>,
    /// The rest.
    pub(crate) parts: &'a [Part],
}

/// The document.
pub(crate) fn bom(image: &Image, about: &About, facts: &Facts<'_>) -> Value {
    let root = format!("{}@{}", image.name, about.version);
    let crates = facts.tree.crates.iter();
    let crates = crates.map(|(one, licence)| {
        let scope = if facts.linked.contains(one) {
            "required"
        } else {
            "excluded"
        };
        let mut component = json!({
            "type": "library",
            "bom-ref": reference(one),
            "name": one.0,
            "version": one.1,
            "scope": scope,
        });
        if let Some(checksum) = facts.checksums.get(one) {
            set(
                &mut component,
                "purl",
                json!(format!("pkg:cargo/{}@{}", one.0, one.1)),
            );
            set(&mut component, "hashes", hashes(checksum));
        }
        if !licence.is_empty() {
            set(
                &mut component,
                "licenses",
                json!([{ "expression": licence }]),
            );
        }
        component
    });
    let components: Vec<Value> = crates.chain(facts.parts.iter().map(part)).collect();
    let direct = facts.tree.roots.iter().map(reference);
    let direct = direct.chain(facts.parts.iter().map(part_reference));
    let mut dependencies = vec![json!({ "ref": root, "dependsOn": direct.collect::<Vec<_>>() })];
    dependencies.extend(facts.tree.crates.keys().map(|one| {
        let to = facts
            .tree
            .edges
            .get(one)
            .into_iter()
            .flatten()
            .map(reference);
        json!({ "ref": reference(one), "dependsOn": to.collect::<Vec<_>>() })
    }));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": about.created,
            "tools": { "components": [{ "type": "application", "name": "cargo xtask image" }] },
            "component": {
                "type": "container",
                "bom-ref": root,
                "name": image.name,
                "version": about.version,
                "description": image.description,
                "licenses": [{ "expression": about.licence }],
            },
        },
        "components": components,
        "dependencies": dependencies,
    })
}

fn reference((name, version): &Crate) -> String {
    format!("cargo:{name}@{version}")
}

fn part_reference(part: &Part) -> String {
    format!("{}:{}", part.kind, part.name)
}

fn hashes(sha256: &str) -> Value {
    json!([{ "alg": "SHA-256", "content": sha256 }])
}

fn part(part: &Part) -> Value {
    let mut component = json!({
        "type": part.kind,
        "bom-ref": part_reference(part),
        "name": part.name,
        "licenses": [{ "expression": part.licence }],
    });
    if let Some(version) = &part.version {
        set(&mut component, "version", json!(version));
    }
    if let Some(purl) = &part.purl {
        set(&mut component, "purl", json!(purl));
    }
    if let Some(sha256) = &part.sha256 {
        set(&mut component, "hashes", hashes(sha256));
    }
    component
}

fn set(component: &mut Value, key: &str, value: Value) {
    if let Some(object) = component.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// The checksums in a `Cargo.lock`.
pub(crate) fn checksums(lock: &str) -> BTreeMap<Crate, String> {
    let packages = lock.split("[[package]]").skip(1);
    let read = |package: &str| {
        let field = |name: &str| {
            let lines = package.lines();
            let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
            values
                .next()
                .map(|value| value.trim_matches('"').to_owned())
        };
        Some(((field("name")?, field("version")?), field("checksum")?))
    };
    packages.filter_map(read).collect()
}

#[cfg(test)]
mod tests;

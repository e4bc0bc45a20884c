//! Text to Kubernetes objects: YAML with several documents, JSON, and `List`s of either.
//!
//! Owns the shapes of `kubectl get -o yaml|json` output, of the API server's own lists (`kubectl get
//! --raw`) and of manifests, and says line and field of what is wrong. One malformed object costs
//! itself and nothing else, and a quantity that is none not even its object. Does no I/O: `file` is
//! only a name to put into messages.

mod lists;
mod located;
mod quantities;
mod uids;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;
use serde_saphyr::Spanned;

use self::located::Located;
pub use self::uids::uid_lines;

/// Nodes (maps, lists, scalars) of one YAML document; a `kubectl get pods -A` of some thousand pods
/// has about a million.
const MAX_YAML_NODES: usize = 8_000_000;
/// Largest document of JSON of which a message gives lines, bytes: they are found by the reader of YAML,
/// and that would take it minutes. The message names the field and the object all the same.
const MAX_JSON_WITH_LINES: usize = 32 << 20;

/// Group and kind of every [`Object`].
pub const KINDS: [(&str, &str); 9] = [
    ("", "Pod"),
    ("", "Namespace"),
    ("", "Node"),
    ("apps", "ReplicaSet"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("batch", "Job"),
    ("batch", "CronJob"),
];

/// An object that the index understands.
#[derive(Clone, Debug)]
pub enum Object {
    /// `v1 Pod`
    Pod(Box<Pod>),
    /// `v1 Namespace`
    Namespace(Box<Namespace>),
    /// `v1 Node`
    Node(Box<Node>),
    /// `apps/v1 ReplicaSet`
    ReplicaSet(Box<ReplicaSet>),
    /// `apps/v1 Deployment`
    Deployment(Box<Deployment>),
    /// `apps/v1 StatefulSet`
    StatefulSet(Box<StatefulSet>),
    /// `apps/v1 DaemonSet`
    DaemonSet(Box<DaemonSet>),
    /// `batch/v1 Job`
    Job(Box<Job>),
    /// `batch/v1 CronJob`
    CronJob(Box<CronJob>),
}

impl Object {
    /// Its metadata.
    pub const fn meta(&self) -> &ObjectMeta {
        self.head().1
    }

    /// The group of its API, and its kind.
    pub const fn group_kind(&self) -> (&'static str, &'static str) {
        let (kind, _) = self.head();
        match self {
            Self::Pod(_) | Self::Namespace(_) | Self::Node(_) => ("", kind),
            Self::ReplicaSet(_)
            | Self::Deployment(_)
            | Self::StatefulSet(_)
            | Self::DaemonSet(_) => ("apps", kind),
            Self::Job(_) | Self::CronJob(_) => ("batch", kind),
        }
    }

    /// Its kind and its metadata.
    pub const fn head(&self) -> (&'static str, &ObjectMeta) {
        match self {
            Self::Pod(pod) => ("Pod", &pod.metadata),
            Self::Namespace(namespace) => ("Namespace", &namespace.metadata),
            Self::Node(node) => ("Node", &node.metadata),
            Self::ReplicaSet(set) => ("ReplicaSet", &set.metadata),
            Self::Deployment(deployment) => ("Deployment", &deployment.metadata),
            Self::StatefulSet(set) => ("StatefulSet", &set.metadata),
            Self::DaemonSet(set) => ("DaemonSet", &set.metadata),
            Self::Job(job) => ("Job", &job.metadata),
            Self::CronJob(job) => ("CronJob", &job.metadata),
        }
    }
}

/// Something in a file that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named to us.
    pub file: String,
    /// Line, counted from 1, where it is known.
    pub line: Option<u64>,
    /// Path of the field: `spec.containers[0].resources`.
    pub field: Option<String>,
    /// What is wrong, and with which object.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": ")?;
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        write!(f, "{}", self.message)
    }
}

/// What one text held.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// Objects in the order of the text.
    pub objects: Vec<Object>,
    /// Objects of kinds that sizing and naming do not need, by `apiVersion/kind`.
    pub ignored: BTreeMap<String, u64>,
    /// Documents, objects and quantities that were left out.
    pub problems: Vec<Problem>,
    /// A document could not be read at all, or is a server's word in the place of objects, so what it
    /// was to hold is unknown.
    pub broken: bool,
}

/// Parses a whole file.
pub fn parse(file: &str, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    each_document(file, text, |document, value| match value {
        Ok(Value::Null) => {}
        Ok(value) => document.take(value, &mut parsed),
        Err(error) => {
            parsed.broken = true;
            let line = error.location().map(|l| l.line() + document.first_line);
            let message = plimsoll_settings::too_much(&error).map_or_else(
                || message(&error.without_snippet().to_string()),
                str::to_owned,
            );
            parsed.problems.push(Problem {
                file: file.to_owned(),
                line,
                field: None,
                message,
            });
        }
    });
    parsed.problems.extend(without_uid(file, &parsed.objects));
    parsed
}

/// Pods that no container can be of: one word for all of a file's, which is manifests then.
fn without_uid(file: &str, objects: &[Object]) -> Option<Problem> {
    let nameless = |object: &&Object| match object {
        Object::Pod(pod) => pod.metadata.uid.as_ref().is_none_or(String::is_empty),
        _ => false,
    };
    let message = match objects.iter().filter(nameless).count() {
        0 => return None,
        1 => "1 pod has no UID (metadata.uid) and names nothing that runs".to_owned(),
        n => format!("{n} pods have no UID (metadata.uid) and name nothing that runs"),
    };
    Some(Problem {
        file: file.to_owned(),
        line: None,
        field: None,
        message: format!(
            "{message}: manifests are not enough, the cluster's own pods are needed (`kubectl get pods -A -o json`)"
        ),
    })
}

/// Reads the documents of a text one by one.
fn each_document(
    file: &str,
    text: &str,
    mut take: impl FnMut(&Document<'_>, Result<Value, serde_saphyr::Error>),
) {
    // JSON is YAML, but its own parser is several times faster, and large inventories are JSON.
    if text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str::<Value>(text)
    {
        let document = Document {
            has_lines: text.len() <= MAX_JSON_WITH_LINES,
            ..Document::new(file, text, 0)
        };
        take(&document, Ok(value));
        return;
    }
    for (first_line, document) in documents(text) {
        let document = Document::new(file, document, first_line);
        let value = serde_saphyr::from_str_with_options::<Value>(document.text, options());
        take(&document, value);
    }
}

/// The YAML documents of a text, each with the number of lines before it. A line that begins with
/// `---` ends a document wherever it stands: inside a block scalar it would be indented.
fn documents(text: &str) -> Vec<(u64, &str)> {
    let mut documents = Vec::new();
    let (mut begin, mut begin_line, mut at) = (0, 0, 0);
    for (number, line) in (0_u64..).zip(text.split_inclusive('\n')) {
        let marker = line.trim_end();
        if marker == "---" || marker.starts_with("--- ") {
            documents.push((begin_line, text.get(begin..at).unwrap_or_default()));
            (begin, begin_line) = (at + line.len(), number + 1);
        }
        at += line.len();
    }
    documents.push((begin_line, text.get(begin..).unwrap_or_default()));
    documents
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        // YAML 1.2: a pod called `n` is no boolean.
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_nodes: MAX_YAML_NODES,
            max_events: 2 * MAX_YAML_NODES,
        },
    }
}

/// What the reader of YAML says, without the place, which is that in the document and not in the file,
/// and without what it says to programmers.
fn message(said: &str) -> String {
    let first = said.lines().next().unwrap_or_default();
    let (what, _place) = first.rsplit_once(" at line ").unwrap_or((first, ""));
    let (what, _advice) = what
        .split_once(", set DuplicateKeyPolicy")
        .unwrap_or((what, ""));
    what.to_owned()
}

/// One document of a file, to say where in it something is.
struct Document<'a> {
    file: &'a str,
    text: &'a str,
    first_line: u64,
    /// Whether it is read for its lines.
    has_lines: bool,
    /// Read for the first message: a large file may have thousands.
    places: OnceCell<Option<Spanned<Located>>>,
}

impl<'a> Document<'a> {
    const fn new(file: &'a str, text: &'a str, first_line: u64) -> Self {
        Self {
            file,
            text,
            first_line,
            has_lines: true,
            places: OnceCell::new(),
        }
    }

    /// Takes an object, or each object of a list.
    fn take(&self, value: Value, into: &mut Parsed) {
        for (item, at) in self.items(value, into) {
            self.take_one(item, &at, into);
        }
    }

    fn take_one(&self, value: Value, prefix: &[Step], into: &mut Parsed) {
        let mut given = |field: &'static str| {
            let text = text_of(&value, field).filter(|text| !text.is_empty());
            if text.is_none() {
                let steps: Vec<Step> = prefix.iter().cloned().chain([field.into()]).collect();
                let must = "must be given, as text, in a Kubernetes object";
                into.problems.push(self.problem(&steps, must));
            }
            text
        };
        let Some(kind) = given("kind") else { return };
        let Some(version) = given("apiVersion") else {
            return;
        };
        let name = object_name(&value);
        let mut told = |path: Vec<Step>, message: &str| {
            let steps: Vec<Step> = prefix.iter().cloned().chain(path).collect();
            into.problems
                .push(self.problem(&steps, &format!("{kind} {name}: {message}")));
        };
        let mut bad = Vec::new();
        let Some(result) = object(&version, &kind, value, &mut bad) else {
            *into.ignored.entry(format!("{version}/{kind}")).or_default() += 1;
            return;
        };
        for (path, why) in bad {
            told(path, &format!("{why}; the rest of the object is used"));
        }
        match result {
            Ok(object) => into.objects.push(object),
            Err((path, message)) => told(path, &message),
        }
    }

    fn problem(&self, path: &[Step], message: &str) -> Problem {
        let field = (!path.is_empty()).then(|| shown(path));
        Problem {
            file: self.file.to_owned(),
            line: self.line_of(path),
            field,
            message: message.to_owned(),
        }
    }

    /// The line of the deepest part of the path that the text has. Read again only for a message, and
    /// once for all of a document's.
    fn line_of(&self, path: &[Step]) -> Option<u64> {
        let read = || Located::read(self.text, options());
        let read = || self.has_lines.then(read).flatten();
        let root = self.places.get_or_init(read).as_ref()?;
        Some(located::line_of(root, path) + self.first_line)
    }
}

/// One step of a field's path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

fn shown(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        // Writing to a string cannot fail.
        let _ignored: fmt::Result = match step {
            Step::Index(index) => write!(out, "[{index}]"),
            Step::Key(key) if out.is_empty() => write!(out, "{key}"),
            Step::Key(key) => write!(out, ".{key}"),
        };
    }
    out
}

/// Reads one object of a kind that is understood. A quantity that is none is left out.
///
/// # Errors
/// The field that is not as it should be, and why.
pub fn one(version: &str, kind: &str, value: Value) -> Result<Object, String> {
    let read = object(version, kind, value, &mut Vec::new());
    let read = read.ok_or_else(|| format!("{version} {kind} is not understood"))?;
    read.map_err(|(path, why)| match path.as_slice() {
        [] => why,
        path => format!("{}: {why}", shown(path)),
    })
}

/// `None` of other kinds.
fn object(
    version: &str,
    kind: &str,
    value: Value,
    bad: &mut Vec<Wrong>,
) -> Option<Result<Object, Wrong>> {
    Some(match (version, kind) {
        ("v1", "Pod") => typed(value, bad).map(|of| Object::Pod(Box::new(of))),
        ("v1", "Namespace") => typed(value, bad).map(|of| Object::Namespace(Box::new(of))),
        ("v1", "Node") => typed(value, bad).map(|of| Object::Node(Box::new(of))),
        ("apps/v1", "ReplicaSet") => typed(value, bad).map(|of| Object::ReplicaSet(Box::new(of))),
        ("apps/v1", "Deployment") => typed(value, bad).map(|of| Object::Deployment(Box::new(of))),
        ("apps/v1", "StatefulSet") => typed(value, bad).map(|of| Object::StatefulSet(Box::new(of))),
        ("apps/v1", "DaemonSet") => typed(value, bad).map(|of| Object::DaemonSet(Box::new(of))),
        ("batch/v1", "Job") => typed(value, bad).map(|of| Object::Job(Box::new(of))),
        ("batch/v1", "CronJob") => typed(value, bad).map(|of| Object::CronJob(Box::new(of))),
        _ => return None,
    })
}

/// A place in an object and what is wrong there.
type Wrong = (Vec<Step>, String);

/// Reads an object without its `bad` quantities.
fn typed<T: DeserializeOwned>(mut value: Value, bad: &mut Vec<Wrong>) -> Result<T, Wrong> {
    bad.extend(quantities::take_out_bad(&mut value));
    serde_path_to_error::deserialize(value).map_err(|error| {
        let steps = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                Segment::Seq { index } => Some(Step::Index(*index)),
                Segment::Map { key } => Some(Step::Key(key.clone())),
                Segment::Enum { .. } | Segment::Unknown => None,
            })
            .collect();
        (steps, error.inner().to_string())
    })
}

fn text_of(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn object_name(value: &Value) -> String {
    let meta = |key| value.pointer(key).and_then(Value::as_str);
    match (meta("/metadata/namespace"), meta("/metadata/name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (None, Some(name)) => name.to_owned(),
        (_, None) => "without a name".to_owned(),
    }
}

#[cfg(test)]
mod tests;

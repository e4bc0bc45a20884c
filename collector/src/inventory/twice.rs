//! Objects that have the UID of another: one of the two is not what it seems, and of two pods only one
//! can be found. Pure; where they stand is looked up in the texts again, for a message.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::parse::{Object, Problem, uid_lines};

/// Told of at one look; of the others, how many they are. A folder that holds a copy of another has
/// thousands.
pub(super) const MAX_TOLD: usize = 20;

/// One object among those that have a UID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: PathBuf,
    /// Which of the file's objects with this UID, from 0.
    nth: usize,
    /// Kind, namespace and name.
    what: String,
}

impl Place {
    fn of((file, nth, object): (&Path, usize, &Object)) -> Self {
        let (kind, meta) = object.head();
        let name = meta.name.as_deref().unwrap_or_default();
        let what = match &meta.namespace {
            Some(namespace) => format!("{kind} {namespace}/{name}"),
            None => format!("{kind} {name}"),
        };
        Self {
            file: file.to_owned(),
            nth,
            what,
        }
    }
}

/// Two objects with one UID; the second comes later and is used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Twice {
    uid: String,
    first: Place,
    second: Place,
}

/// Of every UID that more than one object has, the last two of them, which is used and which would be.
pub(super) fn find<'a>(files: impl Iterator<Item = (&'a Path, &'a [Object])>) -> BTreeSet<Twice> {
    let mut seen: HashMap<&str, (&Path, usize, &Object)> = HashMap::new();
    let mut found: BTreeMap<&str, Twice> = BTreeMap::new();
    for (file, objects) in files {
        for object in objects {
            let (_, meta) = object.head();
            let Some(uid) = meta.uid.as_deref().filter(|uid| !uid.is_empty()) else {
                continue;
            };
            let before = seen.get(uid).copied();
            let nth = match before {
                Some((first, nth, _)) if first == file => nth + 1,
                _ => 0,
            };
            let this = (file, nth, object);
            seen.insert(uid, this);
            if let Some(first) = before {
                let twice = Twice {
                    uid: uid.to_owned(),
                    first: Place::of(first),
                    second: Place::of(this),
                };
                found.insert(uid, twice);
            }
        }
    }
    found.into_values().collect()
}

/// What is said of them; `read` gives the text of a file, if it can be read.
pub(super) fn tell(news: &[&Twice], mut read: impl FnMut(&Path) -> Option<String>) -> Vec<Problem> {
    let (told, left) = news.split_at(news.len().min(MAX_TOLD));
    let mut wanted: BTreeMap<&Path, BTreeSet<&str>> = BTreeMap::new();
    for twice in told {
        for place in [&twice.first, &twice.second] {
            wanted.entry(&place.file).or_default().insert(&twice.uid);
        }
    }
    let lines: BTreeMap<&Path, BTreeMap<String, Vec<Option<u64>>>> = wanted
        .into_iter()
        .filter_map(|(file, uids)| Some((file, uid_lines(&read(file)?, &uids))))
        .collect();
    let line_of = |uid: &str, place: &Place| {
        let of_file = lines.get(place.file.as_path())?;
        *of_file.get(uid)?.get(place.nth)?
    };
    let mut problems: Vec<Problem> = told
        .iter()
        .map(|Twice { uid, first, second }| {
            let at = match line_of(uid, first) {
                Some(line) => format!("{}:{line}", first.file.display()),
                None => first.file.display().to_string(),
            };
            let (this, other) = (&second.what, &first.what);
            Problem {
                file: second.file.display().to_string(),
                line: line_of(uid, second),
                field: Some("metadata.uid".to_owned()),
                message: format!(
                    "{this}: its UID {uid} is that of {other} at {at} too; this one is used"
                ),
            }
        })
        .collect();
    if let Some(next) = left.first() {
        problems.push(Problem {
            file: next.second.file.display().to_string(),
            line: None,
            field: None,
            message: format!(
                "{} more UIDs are of more than one object, here and elsewhere",
                left.len()
            ),
        });
    }
    problems
}

#[cfg(test)]
mod tests;

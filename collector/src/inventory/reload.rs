#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads inventory files, waits between looks"
)]
//! The inventory's files: read at start, looked at again every few seconds, read again on change.
//!
//! Owns paths, time stamps and the last good state of each file. A file that cannot be read or
//! parsed keeps what it last said; a file that is gone takes its objects with it. Only regular files
//! are read: a pipe would keep the inventory waiting for whoever writes into it.

mod listed;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;

use super::index::Moment;
use super::parse::{self, KINDS, Object, Problem};
use super::shared::{IndexReader, IndexWriter};
use super::twice::{self, Twice};
use listed::Listed;
pub use listed::MAX_FILES;

/// Largest file that is read.
pub const MAX_FILE_BYTES: u64 = 256 << 20;
/// What was left out of one file that [`Left`] names, and kinds that the log does; of the rest it says
/// how much it is.
const MAX_NAMED: usize = 16;

/// What a look at the files found.
#[derive(Clone, Debug, Default)]
pub struct Reloaded {
    /// Files that are new, changed or gone.
    pub changed: usize,
    /// Objects in the index now.
    pub objects: usize,
    /// Objects of other kinds, by `apiVersion/kind`.
    pub ignored: BTreeMap<String, u64>,
    /// What was left out, in the files that changed.
    pub problems: Vec<Problem>,
}

impl Reloaded {
    /// Objects of other kinds in words: how many, and of which kinds.
    pub fn of_other_kinds(&self) -> String {
        let count = self.ignored.values().sum::<u64>();
        let kinds: Vec<&str> = self.ignored.keys().map(String::as_str).collect();
        match kinds.get(..MAX_NAMED) {
            _ if kinds.is_empty() => "0".to_owned(),
            Some(first) if kinds.len() > MAX_NAMED => {
                let more = kinds.len() - MAX_NAMED;
                format!("{count} ({} and {more} kinds more)", first.join(", "))
            }
            _ => format!("{count} ({})", kinds.join(", ")),
        }
    }
}

/// Modification time, length and inode: a file that was put in another's place is another one.
type Stamp = (SystemTime, u64, u64);

#[derive(Default)]
struct FileState {
    /// Of what was read; a file that could not be read is tried at each look.
    stamp: Option<Stamp>,
    /// Why it could not be read the last time: told once.
    trouble: Option<String>,
    /// What was left out of what it says, [`MAX_NAMED`] at most.
    left_out: Vec<String>,
    objects: Vec<Object>,
    ignored: BTreeMap<String, u64>,
}

/// The index that is served, and the files that it comes from.
pub struct Inventory {
    paths: Vec<PathBuf>,
    files: BTreeMap<PathBuf, FileState>,
    /// What the last listing of the folders met: told once.
    listing: Vec<Problem>,
    index: IndexWriter,
    last: LastLook,
    /// Objects that have the UID of another: told once.
    twice: BTreeSet<Twice>,
    began: Instant,
}

/// What the last look left; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct LastLook(Arc<RwLock<Left>>);

/// See [`LastLook`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Each file or folder that could not be read, with the reason, and what was left out of those
    /// that could.
    pub troubles: Vec<String>,
}

impl LastLook {
    /// As it is now.
    pub fn get(&self) -> Left {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Inventory {
    /// Reads every path (files, or folders of `.yaml`, `.yml` and `.json`) once.
    pub fn open(paths: Vec<PathBuf>) -> (Self, Reloaded) {
        let mut inventory = Self {
            paths,
            files: BTreeMap::new(),
            listing: Vec::new(),
            index: IndexWriter::default(),
            last: LastLook::default(),
            twice: BTreeSet::new(),
            began: Instant::now(),
        };
        let reloaded = inventory.look();
        (inventory, reloaded)
    }

    /// A reader of the index, for the parts that join.
    pub fn reader(&self) -> IndexReader {
        self.index.reader()
    }

    /// Keeps the names of deleted pods and of their owners for so long after the look that missed them.
    #[must_use]
    pub fn keeping_deleted(mut self, keep: Duration) -> Self {
        self.index.write().keep(keep);
        self
    }

    /// What the last look left, for metrics and for whoever judges health.
    pub fn last_look(&self) -> LastLook {
        self.last.clone()
    }

    fn note_last(&self) {
        let files = self.files.iter().filter_map(|(path, state)| {
            let trouble = state.trouble.as_ref()?;
            Some(format!("{}: {trouble}", path.display()))
        });
        let left_out = self.files.values().flat_map(|state| &state.left_out);
        let listing = self.listing.iter().map(ToString::to_string);
        let left = Left {
            troubles: listing.chain(files).chain(left_out.cloned()).collect(),
        };
        *self.last.0.write().unwrap_or_else(PoisonError::into_inner) = left;
    }

    /// Looks at the files and reads those that changed since the last look.
    pub fn look(&mut self) -> Reloaded {
        self.look_at(Moment {
            since_start: self.began.elapsed(),
            unix_ns: unix_ns(),
        })
    }

    /// [`look`](Self::look), at that time.
    fn look_at(&mut self, now: Moment) -> Reloaded {
        let mut reloaded = Reloaded::default();
        let mut listed = Listed::default();
        for path in &self.paths {
            listed.list(path, 0);
        }
        let Listed {
            found,
            unsure,
            problems,
            ..
        } = listed;
        if problems != self.listing {
            reloaded.problems.clone_from(&problems);
            self.listing = problems;
        }
        self.files.retain(|path, _| {
            // A folder that cannot be looked into now says nothing about what is in it.
            let kept =
                found.contains_key(path) || unsure.iter().any(|place| path.starts_with(place));
            if !kept {
                reloaded.changed += 1;
            }
            kept
        });
        for (path, stamp) in found {
            let known = self
                .files
                .get(&path)
                .is_some_and(|state| state.stamp == Some(stamp));
            if !known && self.read_one(&path, stamp, &mut reloaded.problems) {
                reloaded.changed += 1;
            }
        }
        self.tell_index(reloaded.changed > 0, now);
        if reloaded.changed > 0 {
            reloaded.problems.extend(self.find_twice());
        }
        self.note_last();
        reloaded.objects = self.files.values().map(|state| state.objects.len()).sum();
        for (kind, count) in self.files.values().flat_map(|state| &state.ignored) {
            *reloaded.ignored.entry(kind.clone()).or_default() += count;
        }
        reloaded
    }

    /// Looks every so often until cancelled; `on_change` is told of each look that found something.
    /// Both run on a thread that may wait for the disk.
    ///
    /// # Errors
    /// A look that panicked.
    pub async fn watch(
        mut self,
        every: Duration,
        cancelled: CancellationToken,
        mut on_change: impl FnMut(&Reloaded) + Send + 'static,
    ) -> Result<(), tokio::task::JoinError> {
        while cancelled
            .run_until_cancelled(tokio::time::sleep(every))
            .await
            .is_some()
        {
            (self, on_change) = tokio::task::spawn_blocking(move || {
                let reloaded = self.look();
                if reloaded.changed > 0 || !reloaded.problems.is_empty() {
                    on_change(&reloaded);
                }
                (self, on_change)
            })
            .await?;
        }
        Ok(())
    }

    /// False if it still cannot be read, for the reason that was told.
    fn read_one(&mut self, path: &Path, stamp: Stamp, problems: &mut Vec<Problem>) -> bool {
        let state = self.files.entry(path.to_owned()).or_default();
        let file = path.display().to_string();
        if stamp.1 > MAX_FILE_BYTES {
            let trouble = format!(
                "{} bytes are more than the {MAX_FILE_BYTES} that are read",
                stamp.1
            );
            problems.push(whole(&file, &trouble));
            state.stamp = Some(stamp);
            state.trouble = Some(trouble);
            return true;
        }
        match read_text(path) {
            Ok(text) => {
                state.stamp = Some(stamp);
                state.trouble = None;
                let parsed = parse::parse(&file, &text);
                state.left_out = named(&file, &parsed.problems);
                problems.extend(parsed.problems);
                if parsed.broken {
                    state.trouble = Some(
                        "is no inventory: that is YAML or JSON of Kubernetes objects".to_owned(),
                    );
                }
                if parsed.broken && !state.objects.is_empty() {
                    problems.push(whole(&file, "keeping what this file said before"));
                } else {
                    state.objects = parsed.objects;
                    state.ignored = parsed.ignored;
                }
            }
            Err(error) => {
                let trouble = format!("cannot be read: {error}");
                if state.trouble.as_ref() == Some(&trouble) {
                    return false;
                }
                problems.push(whole(&file, &trouble));
                state.trouble = Some(trouble);
            }
        }
        true
    }

    /// What is new about objects that have the UID of another.
    fn find_twice(&mut self) -> Vec<Problem> {
        let files = self.files.iter();
        let found =
            twice::find(files.map(|(path, state)| (path.as_path(), state.objects.as_slice())));
        let news: Vec<&Twice> = found.difference(&self.twice).collect();
        // Read again: of an object nothing but its words is kept.
        let problems = twice::tell(&news, |file| read_text(file).ok());
        self.twice = found;
        problems
    }

    /// Gives the index all that the files say, if that has changed, and has it forget what it may.
    fn tell_index(&mut self, changed: bool, now: Moment) {
        let mut index = self.index.write();
        index.expire(now);
        if !changed {
            return;
        }
        for (group, kind) in KINDS {
            index.begin(group, kind);
        }
        for object in self.files.values().flat_map(|state| &state.objects) {
            index.apply(object, now);
        }
        for (group, kind) in KINDS {
            index.end(group, kind, now);
        }
    }
}

/// Now, by the wall clock.
fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// The text of a file that was a regular one when it was listed. If it is none any more, this waits
/// for nobody all the same.
fn read_text(path: &Path) -> std::io::Result<String> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(std::io::Error::other("it is no regular file any more"));
    }
    if found.len() > MAX_FILE_BYTES {
        return Err(std::io::Error::other("it has grown too large"));
    }
    let mut text = String::new();
    // One more, to see that it has grown: a part of a text says another thing than the whole.
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other("it has grown too large"));
    }
    Ok(text)
}

/// The first of them, and how many more there are.
fn named(file: &str, problems: &[Problem]) -> Vec<String> {
    let first = problems.iter().take(MAX_NAMED).map(ToString::to_string);
    let more = problems.len().saturating_sub(MAX_NAMED);
    let rest = (more > 0).then(|| format!("{file}: and {more} more, see the log"));
    first.chain(rest).collect()
}

fn whole(file: &str, message: &str) -> Problem {
    Problem {
        file: file.to_owned(),
        line: None,
        field: None,
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests;

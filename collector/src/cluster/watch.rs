#![expect(
    clippy::disallowed_methods,
    reason = "shell: has the clock, owns the tasks that follow the API server"
)]
//! The cluster's objects, followed at the API server and written into the index.
//!
//! ```text
//!  Follower (one for each kind) ─► changes ─► writer ─► Index
//!        ▲                                                │
//!        └── discovery ◄── kinds of owners that nobody follows
//! ```
//!
//! Owns the tasks and which kinds there are. A kind that is not there is looked for again every
//! [`Waits::look_again`]; a cluster may learn it at any time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use kube::Client;
use kube::core::ApiResource;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Clock;
use super::census::{Census, Name, State};
use super::discover::{self, Found, Wanted};
use super::follow::{Change, Follower};
use super::kinds;
use crate::inventory::{Index, IndexReader, IndexWriter, Moment};

/// How long it is waited for what only somebody else can change.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// Until a kind that is not there is looked for again.
    pub look_again: Duration,
    /// Until a look whether pods have owners of a kind that nobody follows, and for what the server gave no answer
    /// about.
    pub look_for_owners: Duration,
    /// After a refusal for want of rights, and for a kind to be there that every cluster has; up to twice
    /// that, so that not all ask at a time.
    pub refused: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            look_again: Duration::from_mins(5),
            look_for_owners: Duration::from_secs(10),
            refused: Duration::from_mins(1),
        }
    }
}

/// Changes that wait for the writer, and that it takes at once.
const CHANGES: usize = 256;
/// Between two looks for names whose time is up.
const EXPIRE_EVERY: Duration = Duration::from_secs(5);

/// A task of the watch failed.
#[derive(Debug, thiserror::Error)]
#[error("follow the cluster's objects")]
pub struct WatchError(#[from] tokio::task::JoinError);

/// The clock from now on.
pub fn clock() -> Clock {
    let began = Instant::now();
    Arc::new(move || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Moment {
            since_start: began.elapsed(),
            unix_ns: since.map_or(0, |since| {
                u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
            }),
        }
    })
}

/// What a task of the watch was.
enum Task {
    Writer,
    /// This kind is not there any more.
    Follower(Arc<ApiResource>),
    Discovery(Vec<(Wanted, Found)>),
}

struct Watch {
    client: Client,
    changes: mpsc::Sender<Change>,
    census: Arc<Census>,
    clock: Clock,
    waits: Waits,
    tasks: JoinSet<Task>,
    search: Search,
    /// Looked for without an answer, and told so.
    unanswered: BTreeSet<Name>,
}

/// Which kinds need not be looked for.
#[derive(Default)]
struct Search {
    following: BTreeSet<Name>,
    /// No answer yet.
    asked: BTreeSet<Name>,
    /// Not there.
    missed: BTreeSet<Name>,
}

impl Search {
    /// Those to ask about, which are asked from now on, and those that were asked about and are not there.
    fn sort(&mut self, wanted: Vec<Wanted>) -> (Vec<Wanted>, Vec<Wanted>) {
        let (missed, mut new): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .partition(|of| self.missed.contains(&of.name()));
        new.retain(|of| {
            let name = of.name();
            !self.following.contains(&name) && self.asked.insert(name)
        });
        (new, missed)
    }
}

/// Follows the cluster until `stop`.
pub async fn run(
    client: Client,
    mut index: IndexWriter,
    census: Arc<Census>,
    clock: Clock,
    waits: Waits,
    stop: CancellationToken,
) -> Result<(), WatchError> {
    // What is not listed yet is not known yet, from the first moment on.
    for kind in kinds::BUILT_IN.iter().filter(|kind| kind.names) {
        index.write().follow(kind.group, kind.kind);
    }
    let (changes, heard) = mpsc::channel(CHANGES);
    let reader = index.reader();
    let mut watch = Watch {
        client,
        changes,
        census,
        clock: Arc::clone(&clock),
        waits,
        tasks: JoinSet::new(),
        search: Search::default(),
        unanswered: BTreeSet::new(),
    };
    let known = Arc::clone(&watch.census);
    watch.tasks.spawn(async move {
        write(index, heard, clock, known).await;
        Task::Writer
    });
    for kind in &kinds::BUILT_IN {
        watch.follow(Arc::new(kind.resource()), kind.whole, false);
    }
    let mut look_again = tokio::time::interval_at(
        tokio::time::Instant::now() + waits.look_again,
        waits.look_again,
    );
    let mut look = tokio::time::interval(waits.look_for_owners);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = look_again.tick() => {
                watch.search.missed.clear();
                watch.unanswered.clear();
                watch.tell(Change::LookAgain).await;
            }
            _ = look.tick() => {
                let [owners, unanswered] = owners(&reader);
                watch.discover(kinds::OPTIONAL.iter().map(Wanted::from).collect());
                // By themselves: who waits for a server that is away holds up no other.
                let missed = [watch.discover(owners), watch.discover(unanswered)];
                for of in missed.iter().flatten() {
                    // Too many are not there to be known by whoever asks.
                    watch.tell(Change::NotThere(of.resource())).await;
                }
            }
            Some(ended) = watch.tasks.join_next() => watch.ended(ended?).await,
        }
    }
}

impl Watch {
    fn follow(&mut self, of: Arc<ApiResource>, whole: bool, optional: bool) {
        let name = (of.group.clone(), of.kind.clone());
        if !self.search.following.insert(name) {
            return;
        }
        let follower = Follower {
            client: self.client.clone(),
            of: Arc::clone(&of),
            optional,
            changes: self.changes.clone(),
            census: Arc::clone(&self.census),
            clock: Arc::clone(&self.clock),
            refused_wait: self.waits.refused,
        };
        self.tasks.spawn(async move {
            if whole {
                follower.follow::<true>().await;
            } else {
                follower.follow::<false>().await;
            }
            Task::Follower(of)
        });
    }

    /// Looks for those of them that are neither followed nor looked for; those that are known to be missing.
    fn discover(&mut self, wanted: Vec<Wanted>) -> Vec<Wanted> {
        let (wanted, missed) = self.search.sort(wanted);
        if !wanted.is_empty() {
            let client = self.client.clone();
            self.tasks
                .spawn(async move { Task::Discovery(discover::find(&client, wanted).await) });
        }
        missed
    }

    /// Whoever writes takes it in its turn, and waits for nobody. False if nobody listens any more.
    async fn tell(&self, change: Change) -> bool {
        self.changes.send(change).await.is_ok()
    }

    async fn ended(&mut self, task: Task) {
        match task {
            // It ends with the last of those that tell it something, of which this is one.
            Task::Writer => {}
            Task::Follower(of) => {
                self.search
                    .following
                    .remove(&(of.group.clone(), of.kind.clone()));
            }
            Task::Discovery(found) => {
                for (wanted, found) in found {
                    self.search.asked.remove(&wanted.name());
                    match found {
                        Found::Served(of) => self.follow(Arc::new(of), false, true),
                        Found::Absent => {
                            self.search.missed.insert(wanted.name());
                            let of = wanted.resource();
                            // Kinds that somebody wrote into a pod are without number.
                            if kinds::of(&of.group, &of.kind).is_some() {
                                self.census.set(&of, State::Absent);
                            }
                            self.tell(Change::NotThere(of)).await;
                        }
                        Found::Unknown(why) => {
                            self.tell(Change::NoAnswer(wanted.resource())).await;
                            if self.unanswered.insert(wanted.name()) {
                                tracing::warn!(
                                    kind = wanted.kind,
                                    error = why,
                                    "whether the cluster has this kind is not known"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Kinds of owners that nobody follows, and those of them that nobody answered about.
fn owners(index: &IndexReader) -> [Vec<Wanted>; 2] {
    let index = index.get();
    let unanswered = index.unanswered_kinds().map(Wanted::owner).collect();
    let strange = index.strange_kinds().map(Wanted::owner).collect();
    [strange, unanswered]
}

/// The one writer of the index.
async fn write(
    mut index: IndexWriter,
    mut heard: mpsc::Receiver<Change>,
    clock: Clock,
    census: Arc<Census>,
) {
    let mut expire = tokio::time::interval(EXPIRE_EVERY);
    let mut changes = Vec::with_capacity(CHANGES);
    loop {
        tokio::select! {
            count = heard.recv_many(&mut changes, CHANGES) => {
                if count == 0 {
                    return;
                }
                let now = clock();
                let mut index = index.write();
                for change in changes.drain(..) {
                    apply(&mut index, change, now, &census);
                }
            }
            _ = expire.tick() => {
                index.write().expire(clock());
            }
        }
    }
}

fn apply(index: &mut Index, change: Change, now: Moment, census: &Census) {
    let names = |of: &ApiResource| kinds::names(&of.group, &of.kind);
    match change {
        Change::Begin(of) => {
            index.begin(&of.group, &of.kind);
            if names(&of) {
                index.follow(&of.group, &of.kind);
            }
        }
        Change::Object(object) => index.apply(&object, now),
        Change::Named(of, _) | Change::Deleted(of, _) if !names(&of) => {}
        Change::Named(of, meta) => index.apply_named(&of.group, &of.kind, &meta),
        Change::Unread(of, meta) => index.touch(&of.group, &of.kind, &meta),
        Change::Deleted(of, meta) => index.delete(&of.group, &of.kind, &meta, now),
        Change::End(of) => {
            index.end(&of.group, &of.kind, now);
            census.set(&of, State::Live);
        }
        Change::Untold(of) => index.unfollow(&of.group, &of.kind),
        Change::NotThere(of) => index.set_absent(&of.group, &of.kind),
        Change::NoAnswer(of) => index.set_unanswered(&of.group, &of.kind),
        Change::LookAgain => index.look_again(),
        Change::Gone(of) => {
            index.begin(&of.group, &of.kind);
            index.end(&of.group, &of.kind, now);
            index.forget_kind(&of.group, &of.kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_again_and_not_asked_about() {
        let fleets = || Wanted::owner(("example.com/v1", "Fleet"));
        let other = || Wanted::owner(("example.com/v1", "Squad"));
        let mut search = Search::default();
        let none = Vec::new;
        assert_eq!(search.sort(vec![fleets()]), (vec![fleets()], none()));
        let asked = search.sort(vec![fleets(), other()]);
        assert_eq!(asked, (vec![other()], none()), "it is on its way");
        search.asked.clear();
        search.missed.insert(fleets().name());
        search.following.insert(other().name());
        for _ in 0..2 {
            let asked = search.sort(vec![fleets(), other()]);
            assert_eq!(asked, (none(), vec![fleets()]));
        }
        search.missed.clear();
        assert_eq!(search.sort(vec![fleets()]), (vec![fleets()], none()));
    }
}

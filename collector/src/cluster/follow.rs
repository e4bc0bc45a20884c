#![expect(clippy::disallowed_methods, reason = "shell: waits between requests")]
//! One kind of objects, followed for ever: listed, watched, listed anew where the server has forgotten.
//!
//! kube's watcher does the protocol; what it leaves to us is here: which way of listing the server can
//! do, what an error means, how long to wait, and that an object that cannot be read costs itself. What
//! is heard goes to the one writer, in the order of the server.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::ApiResource;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;

use super::Clock;
use super::census::{Census, Failure, State};
use super::item::Item;
use crate::errors;
use crate::inventory::{Object, parse};

/// Longest silence within a list, or between its pages; longer than a request may have to wait for its turn.
const STALLED: Duration = Duration::from_mins(3);
/// Waits after failures in a row: so long at first, doubled each time, with jitter.
const FIRST_WAIT: Duration = Duration::from_millis(800);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Time without a failure, after which the next one is the first.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(2);
/// Lists that begin to tell and do not end, or that expire, before another way of listing is tried.
const MOST_BROKEN_LISTS: u32 = 2;
/// Objects on one page of a list.
const PAGE: u32 = 500;

/// What is heard of a kind.
#[derive(Debug)]
pub(super) enum Change {
    /// A listing begins.
    Begin(Arc<ApiResource>),
    /// An object, whole.
    Object(Box<Object>),
    /// An object's metadata.
    Named(Arc<ApiResource>, Box<ObjectMeta>),
    /// An object that cannot be read. It is there; what is known of it stays.
    Unread(Arc<ApiResource>, Box<ObjectMeta>),
    /// An object is deleted.
    Deleted(Arc<ApiResource>, Box<ObjectMeta>),
    /// The listing is whole.
    End(Arc<ApiResource>),
    /// Its objects are not told: nobody may see them, or there are none for now.
    Untold(Arc<ApiResource>),
    /// There is no such kind any more.
    Gone(Arc<ApiResource>),
    /// A kind of owners was looked for, and there is none.
    NotThere(ApiResource),
    /// The same, and the server did not say.
    NoAnswer(ApiResource),
    /// Kinds that were not there are looked for again.
    LookAgain,
}

/// How objects are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// As the first events of a watch (KEP-3157), which costs the server least.
    Stream,
    /// Page by page.
    Pages,
    /// In one piece, where pages expire before the next is asked for.
    Whole,
}

impl Way {
    fn config(self) -> watcher::Config {
        let config = watcher::Config::default();
        match self {
            Self::Stream => config.streaming_lists(),
            Self::Pages => config.page_size(PAGE),
            Self::Whole => watcher::Config {
                page_size: None,
                ..config
            },
        }
    }
}

/// How far following has come, over all its streams.
#[derive(Debug)]
struct Course {
    way: Way,
    /// The server can stream lists, as far as is known.
    streams: bool,
    /// In a row, and the last one's time.
    failures: u32,
    failed_at: Option<Duration>,
}

impl Course {
    const fn new() -> Self {
        Self {
            way: Way::Stream,
            streams: true,
            failures: 0,
            failed_at: None,
        }
    }

    /// One more failure; how many were before it. A list that comes to its end is no sign that all is well: what
    /// follows it may fail each time, and listing everything is what costs.
    fn failed(&mut self, now: Duration) -> u32 {
        let is_old = |at: Duration| now.saturating_sub(at) > FORGOTTEN_AFTER;
        if self.failed_at.is_none_or(is_old) {
            self.failures = 0;
        }
        let before = self.failures;
        self.failed_at = Some(now);
        self.failures = before.saturating_add(1);
        before
    }

    /// The way that costs the server least.
    const fn best(&self) -> Way {
        if self.streams {
            Way::Stream
        } else {
            Way::Pages
        }
    }

    const fn no_streams(&mut self) {
        self.streams = false;
        self.way = Way::Pages;
    }

    /// Lists did not come to their end: another way is tried.
    const fn broken(&mut self) {
        self.way = match self.way {
            Way::Stream => Way::Pages,
            Way::Pages => Way::Whole,
            Way::Whole => self.best(),
        };
    }

    /// A list is whole. What made others break has passed, and the next is asked for as the first was.
    const fn listed(&mut self) {
        self.way = self.best();
    }
}

/// What an error of the watcher means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The server does not stream lists.
    NoStream,
    /// There is no such kind.
    NoKind,
    /// A line of the stream is no event.
    Unreadable,
    Failed(Failure),
}

fn meaning(error: &watcher::Error, way: Way) -> Meaning {
    use watcher::Error as E;
    let status = match error {
        E::WatchError(status)
        | E::InitialListFailed(kube::Error::Api(status))
        | E::WatchStartFailed(kube::Error::Api(status))
        | E::WatchFailed(kube::Error::Api(status)) => status,
        E::WatchFailed(kube::Error::SerdeError(_)) => return Meaning::Unreadable,
        E::InitialListFailed(_) | E::WatchStartFailed(_) | E::WatchFailed(_) => {
            return Meaning::Failed(Failure::Connection);
        }
        E::NoResourceVersion => return Meaning::Failed(Failure::Other),
    };
    let starting = matches!(error, E::WatchStartFailed(_));
    match status.code {
        400 | 422 if starting && way == Way::Stream => Meaning::NoStream,
        404 | 405 => Meaning::NoKind,
        401 => Meaning::Failed(Failure::Unauthorized),
        403 => Meaning::Failed(Failure::Forbidden),
        410 => Meaning::Failed(Failure::Expired),
        429 => Meaning::Failed(Failure::Throttled),
        500..=599 => Meaning::Failed(Failure::Server),
        _ => Meaning::Failed(Failure::Other),
    }
}

/// The wait after so many failures in a row, the first being 0; `jitter` lies between 0 and 1.
fn wait(failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << failures.min(16));
    doubled.min(LONGEST_WAIT).mul_f64(1.0 + jitter)
}

/// Follows a kind. Ends when nobody listens any more, and, of an `optional` kind, when there is no such
/// kind. One that every cluster has may be missing while a server starts, and is asked for again.
pub(super) struct Follower {
    pub(super) client: Client,
    pub(super) of: Arc<ApiResource>,
    pub(super) optional: bool,
    pub(super) changes: mpsc::Sender<Change>,
    pub(super) census: Arc<Census>,
    pub(super) clock: Clock,
    /// After a refusal for want of rights, which somebody has to grant, and for a kind to be there.
    pub(super) refused_wait: Duration,
}

/// How a stream came to its end.
enum Ended {
    /// To be begun anew.
    Anew,
    NoKind,
    NobodyListens,
}

impl Follower {
    /// See [`Follower`]. `WHOLE` objects, or their metadata.
    pub(super) async fn follow<const WHOLE: bool>(self) {
        let mut course = Course::new();
        loop {
            match self.stream::<WHOLE>(&mut course).await {
                Ended::Anew => {}
                Ended::NoKind => {
                    self.census.set(&self.of, State::Absent);
                    self.tell(Change::Gone(Arc::clone(&self.of))).await;
                    return;
                }
                Ended::NobodyListens => return,
            }
        }
    }

    /// Follows in one way as long as that serves.
    async fn stream<const WHOLE: bool>(&self, course: &mut Course) -> Ended {
        let way = course.way;
        let api: Api<Item<WHOLE>> = Api::all_with(self.client.clone(), self.of.as_ref());
        let mut stream = pin!(watcher::watcher(api, way.config()));
        // Lists that broke off, and whether this one has told of anything yet.
        let (mut broken, mut begun, mut listing) = (0, false, true);
        // Whether it is known why the next list begins.
        let mut said = true;
        loop {
            let next = if listing {
                tokio::time::timeout(STALLED, stream.next()).await
            } else {
                Ok(stream.next().await)
            };
            let error = match next {
                Ok(None) => return Ended::Anew,
                Ok(Some(Ok(event))) => {
                    match event {
                        Event::Init => {
                            if !said {
                                let why = "it ended before all was told";
                                self.failed(Failure::Connection, why);
                                self.pause(course).await;
                            }
                            broken += u32::from(begun || !said);
                            (listing, begun, said) = (true, false, false);
                        }
                        Event::InitDone => {
                            (listing, begun, broken, said) = (false, false, 0, true);
                            course.listed();
                        }
                        Event::Apply(_) | Event::Delete(_) => {}
                        Event::InitApply(_) => begun = true,
                    }
                    if broken == MOST_BROKEN_LISTS {
                        course.broken();
                        return Ended::Anew;
                    }
                    if !self.heard(event).await {
                        return Ended::NobodyListens;
                    }
                    continue;
                }
                Ok(Some(Err(error))) => {
                    said = true;
                    error
                }
                Err(_) => {
                    let why = format!("no answer within {} s", STALLED.as_secs());
                    self.failed(Failure::Stalled, &why);
                    self.pause(course).await;
                    course.broken();
                    return Ended::Anew;
                }
            };
            match meaning(&error, way) {
                Meaning::NoStream => {
                    course.no_streams();
                    return Ended::Anew;
                }
                Meaning::NoKind if self.optional => return Ended::NoKind,
                Meaning::NoKind => {
                    self.refused(State::Absent).await;
                    return Ended::Anew;
                }
                Meaning::Unreadable => {
                    self.unreadable("a line of the stream", &errors::chain(&error));
                    // Which object it told of is not known: all are told anew.
                    self.pause(course).await;
                    return Ended::Anew;
                }
                Meaning::Failed(Failure::Forbidden) => {
                    self.failed(Failure::Forbidden, &errors::chain(&error));
                    self.refused(State::Denied).await;
                    // Listed anew, so that it is told when it may be seen again.
                    return Ended::Anew;
                }
                Meaning::Failed(failure) => {
                    self.failed(failure, &errors::chain(&error));
                    self.pause(course).await;
                    let expired = failure == Failure::Expired;
                    if expired && !listing {
                        return Ended::Anew;
                    }
                    // An expired list counts once, and a page that was refused for any other reason is no
                    // fault of pages. Streams that break off are one of streams; whatever happens to a list in one
                    // piece, pages may come by now.
                    broken += u32::from(expired || way == Way::Whole);
                    begun &= way == Way::Stream && !expired;
                    if broken == MOST_BROKEN_LISTS {
                        course.broken();
                        return Ended::Anew;
                    }
                }
            }
        }
    }

    /// Somebody has to do something before it is otherwise.
    async fn refused(&self, state: State) {
        self.census.set(&self.of, state);
        self.tell(Change::Untold(Arc::clone(&self.of))).await;
        tokio::time::sleep(self.refused_wait.mul_f64(1.0 + fastrand::f64())).await;
    }

    /// Waits after one more failure.
    async fn pause(&self, course: &mut Course) {
        let before = course.failed((self.clock)().since_start);
        tokio::time::sleep(wait(before, fastrand::f64())).await;
    }

    fn failed(&self, failure: Failure, why: &str) {
        let kind = self.of.kind.as_str();
        // A version that is too old is the way of the world, and no word in the log.
        if failure == Failure::Expired {
            tracing::debug!(kind, why, "listed anew");
        } else {
            tracing::warn!(kind, error = why, "the API server does not tell");
        }
        let now = (self.clock)().since_start;
        self.census.failed(&self.of, failure, why, now);
    }

    fn unreadable(&self, object: &str, why: &str) {
        let now = (self.clock)().since_start;
        if self.census.malformed(&self.of, now) {
            let kind = self.of.kind.as_str();
            tracing::warn!(kind, object, error = why, "left out: it cannot be read");
        }
    }

    /// False if nobody listens.
    async fn heard<const WHOLE: bool>(&self, event: Event<Item<WHOLE>>) -> bool {
        let of = || Arc::clone(&self.of);
        let change = match event {
            Event::Init => {
                self.census.set(&self.of, State::Listing);
                Change::Begin(of())
            }
            Event::InitDone => Change::End(of()),
            Event::Delete(item) => {
                self.census.changed(&self.of);
                Change::Deleted(of(), Box::new(item.metadata))
            }
            Event::InitApply(item) | Event::Apply(item) => {
                self.census.changed(&self.of);
                self.applied(item)
            }
        };
        self.tell(change).await
    }

    fn applied<const WHOLE: bool>(&self, item: Item<WHOLE>) -> Change {
        let meta = Box::new(item.metadata);
        if !WHOLE {
            return Change::Named(Arc::clone(&self.of), meta);
        }
        match read(&self.of, item.text.get()) {
            Ok(object) => Change::Object(Box::new(object)),
            Err(why) => {
                self.unreadable(&named(&meta), &why);
                Change::Unread(Arc::clone(&self.of), meta)
            }
        }
    }

    async fn tell(&self, change: Change) -> bool {
        self.changes.send(change).await.is_ok()
    }
}

fn named(meta: &ObjectMeta) -> String {
    let name = meta.name.as_deref().unwrap_or("without a name");
    match &meta.namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

/// Reads a whole object. A quantity that is none costs itself, as in a file.
fn read(of: &ApiResource, text: &str) -> Result<Object, String> {
    let read = match (of.group.as_str(), of.kind.as_str()) {
        ("", "Pod") => {
            serde_json::from_str::<core::Pod>(text).map(|pod| Object::Pod(Box::new(pod)))
        }
        ("", "Node") => {
            serde_json::from_str::<core::Node>(text).map(|node| Object::Node(Box::new(node)))
        }
        (_, kind) => return Err(format!("{kind} is not read whole")),
    };
    read.or_else(|_| {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        parse::one(&of.api_version, &of.kind, value)
    })
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn api(code: u16) -> kube::Error {
        let mut status = Status::failure("no", "No");
        status.code = code;
        kube::Error::Api(status.boxed())
    }

    #[test]
    fn errors_mean_what_the_server_means_by_them() {
        use watcher::Error as E;
        let check = |error: &E, way, expected| {
            assert_eq!(meaning(error, way), expected, "{error}");
        };
        let failed = Meaning::Failed;
        check(
            &E::WatchStartFailed(api(422)),
            Way::Stream,
            Meaning::NoStream,
        );
        check(
            &E::WatchStartFailed(api(422)),
            Way::Pages,
            failed(Failure::Other),
        );
        check(&E::WatchStartFailed(api(404)), Way::Stream, Meaning::NoKind);
        check(
            &E::InitialListFailed(api(403)),
            Way::Pages,
            failed(Failure::Forbidden),
        );
        check(
            &E::InitialListFailed(api(410)),
            Way::Pages,
            failed(Failure::Expired),
        );
        check(
            &E::WatchFailed(api(401)),
            Way::Stream,
            failed(Failure::Unauthorized),
        );
        check(
            &E::WatchStartFailed(api(429)),
            Way::Stream,
            failed(Failure::Throttled),
        );
        let mut gone = Status::failure("too old", "Expired");
        gone.code = 410;
        check(
            &E::WatchError(gone.boxed()),
            Way::Stream,
            failed(Failure::Expired),
        );
        let text = serde_json::from_str::<Value>("{").unwrap_err();
        let broken = E::WatchFailed(kube::Error::SerdeError(text));
        check(&broken, Way::Stream, Meaning::Unreadable);
    }

    #[test]
    fn waits_double_up_to_a_bound_and_differ() {
        let waits: Vec<u128> = (0..8).map(|n| wait(n, 0.0).as_millis()).collect();
        assert_eq!(
            waits,
            [800, 1600, 3200, 6400, 10_000, 10_000, 10_000, 10_000]
        );
        assert_eq!(wait(99, 0.5).as_millis(), 15_000);
    }

    #[test]
    fn a_list_between_two_failures_does_not_make_them_the_first() {
        let mut course = Course::new();
        let minutes = |m: u64| Duration::from_mins(m);
        assert_eq!(course.failed(minutes(5)), 0);
        course.listed();
        assert_eq!(course.failed(minutes(6)), 1);
        course.listed();
        assert_eq!(course.failed(minutes(8)), 2);
        assert_eq!(course.failed(minutes(8) + FORGOTTEN_AFTER), 3);
        let later = minutes(8) + FORGOTTEN_AFTER * 2 + Duration::from_secs(1);
        assert_eq!(course.failed(later), 0, "that was long ago");
    }

    /// What a list in one piece costs the server is asked of it while nothing else comes to its end.
    #[test]
    fn the_way_that_costs_least_is_come_back_to() {
        let mut course = Course::new();
        course.broken();
        course.broken();
        assert_eq!(course.way, Way::Whole);
        course.listed();
        assert_eq!(course.way, Way::Stream);
        course.no_streams();
        let ways = [(); 4].map(|()| {
            course.broken();
            course.way
        });
        assert_eq!(ways, [Way::Whole, Way::Pages, Way::Whole, Way::Pages]);
        course.broken();
        course.listed();
        assert_eq!(course.way, Way::Pages);
    }

    #[test]
    fn an_object_is_read_as_far_as_it_can_be() {
        let pod = |resources: &str| {
            let text = format!(
                r#"{{"metadata":{{"name":"p","uid":"u"}},"spec":{{"containers":[{{"name":"a","resources":{resources}}}]}}}}"#
            );
            let pods = ApiResource::erase::<core::Pod>(&());
            read(&pods, &text)
        };
        assert!(matches!(
            pod(r#"{"limits":{"cpu":"1"}}"#),
            Ok(Object::Pod(_))
        ));
        // One quantity is none, and costs itself.
        assert!(matches!(
            pod(r#"{"limits":{"cpu":["1"]}}"#),
            Ok(Object::Pod(_))
        ));
        let why = pod("7").unwrap_err();
        assert!(why.starts_with("spec.containers[0].resources: "), "{why}");
    }
}

//! How the server misbehaves: which calls, how often, and what happens to their answers.

use std::time::Duration;

use serde_json::{Value, json};

use super::status::{self, Canned};

/// What kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Any,
    List,
    Watch,
}

/// Calls that a fault meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct On {
    what: What,
    path: String,
    skip: u32,
    times: u32,
}

impl On {
    fn new(what: What, path: &str) -> Self {
        Self {
            what,
            path: path.to_owned(),
            skip: 0,
            times: 1,
        }
    }

    /// Any call of that path; a path that ends with `*` stands for all that begin so.
    pub fn any(path: &str) -> Self {
        Self::new(What::Any, path)
    }

    /// Lists and pages of lists.
    pub fn list(path: &str) -> Self {
        Self::new(What::List, path)
    }

    /// Watches.
    pub fn watch(path: &str) -> Self {
        Self::new(What::Watch, path)
    }

    /// Not the first `calls` of them: the second page of a list is `skip(1)`.
    #[must_use]
    pub fn skip(mut self, calls: u32) -> Self {
        self.skip = calls;
        self
    }

    /// So many of them; one when nothing is said.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// All of them, until [`super::ApiServer::heal`].
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u32::MAX)
    }

    fn is(&self, path: &str, watch: Option<bool>) -> bool {
        let path = match self.path.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == self.path,
        };
        path && match self.what {
            What::Any => true,
            What::List => watch == Some(false),
            What::Watch => watch == Some(true),
        }
    }
}

/// A place in an answer: after so many items or events, and so many bytes of the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// Whole items of a list, or events of a watch, bookmarks among them.
    pub items: usize,
    /// Bytes of the one that follows.
    pub bytes: usize,
}

/// After so many items, and in the middle of the next one.
pub fn amid(items: usize, bytes: usize) -> Point {
    Point { items, bytes }
}

/// After so many items.
pub fn after(items: usize) -> Point {
    amid(items, 0)
}

/// What happens to an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This is answered instead.
    Answer(Canned),
    /// No byte, until the client leaves.
    Hang,
    /// The connection is reset (RST) before a byte of the answer.
    ResetAtOnce,
    /// The true answer, so much later.
    Late(Duration),
    /// The true answer, once [`super::ApiServer::release`] says so.
    Held,
    /// The connection is reset (RST) there.
    Reset(Point),
    /// The connection is closed there, without the end of the chunked body.
    Cut(Point),
    /// Nothing more comes, and the connection stays.
    Stall(Point),
    /// The answer ends there as if it were whole: a watch that is closed.
    End(Point),
    /// So many bytes at a time, with a pause after each.
    Drip {
        /// At a time.
        bytes: usize,
        /// After each.
        pause: Duration,
    },
    /// Every event twice.
    Twice,
    /// Events of different objects change places with their neighbours.
    Swapped,
    /// Something that does not belong there, before the item of that number.
    Insert {
        /// Items before it.
        at: usize,
        /// An item of a list, or an event without its line feed.
        text: String,
        /// Nothing comes after it.
        last: bool,
    },
}

impl Fault {
    /// 429 by API Priority and Fairness.
    pub fn too_many_requests(retry_after_s: u64) -> Self {
        Self::Answer(status::too_many_requests(retry_after_s))
    }

    /// A Status of that code, as for an error of the server.
    pub fn status(code: u16, reason: &str, message: &str) -> Self {
        let status = status::failure(code, reason, message, None);
        Self::Answer(Canned::json(code, status.to_string()))
    }

    /// 503 in plain text, as a load balancer or an API server that shuts down gives it.
    pub fn unavailable() -> Self {
        Self::Answer(status::stale_api())
    }

    /// 410 to a list or to a watch, as HTTP status.
    pub fn gone() -> Self {
        Self::Answer(status::list_too_old())
    }

    /// A watch whose event of that number is an ERROR with Status 410, and the end.
    pub fn gone_event(at: usize) -> Self {
        Self::error_event(at, &status::watch_too_old(1, 2))
    }

    /// A watch whose event of that number is an ERROR with this Status, and the end.
    pub fn error_event(at: usize, status: &Value) -> Self {
        Self::Insert {
            at,
            text: json!({"type": "ERROR", "object": status}).to_string(),
            last: true,
        }
    }

    /// A watch that is closed at once.
    pub fn closed() -> Self {
        Self::End(after(0))
    }

    /// A watch with a line that is no JSON.
    pub fn bad_json(at: usize) -> Self {
        Self::line(
            at,
            r#"{"type":"MODIFIED","object":{"kind":"Pod","metadata":{"name":x"}}}"#,
        )
    }

    /// A watch with a line that ends too early: kube's client passes over it without a word.
    pub fn cut_line(at: usize) -> Self {
        Self::line(
            at,
            r#"{"type":"MODIFIED","object":{"kind":"Pod","metadata":{"na"#,
        )
    }

    /// A watch with that line more.
    pub fn line(at: usize, text: &str) -> Self {
        Self::Insert {
            at,
            text: text.to_owned(),
            last: false,
        }
    }

    /// A list with an item more, which may be anything.
    pub fn item(at: usize, item: &Value) -> Self {
        Self::Insert {
            at,
            text: item.to_string(),
            last: false,
        }
    }

    /// A watch with an event whose object has members of the wrong types.
    pub fn wrong_types(at: usize, api_version: &str, kind: &str) -> Self {
        let metadata = json!({"name": "wrong-types", "namespace": "default", "resourceVersion": "1",
            "uid": "00000000-0000-4000-8000-000000000000"});
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata,
            "spec": {"containers": "none", "nodeName": 7, "replicas": "many", "template": []},
            "status": [1, 2]});
        Self::Insert {
            at,
            text: json!({"type": "MODIFIED", "object": object}).to_string(),
            last: false,
        }
    }
}

/// The faults that are still to come, in the order in which they were scripted.
#[derive(Debug, Default)]
pub(super) struct Script(Vec<(On, Fault)>);

impl Script {
    pub(super) fn push(&mut self, on: On, fault: Fault) {
        self.0.push((on, fault));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault of this call; `watch` is `None` for what is neither list nor watch.
    pub(super) fn next(&mut self, path: &str, watch: Option<bool>) -> Option<Fault> {
        for (on, fault) in &mut self.0 {
            if !on.is(path, watch) || on.times == 0 {
                continue;
            }
            if on.skip > 0 {
                on.skip -= 1;
                continue;
            }
            if on.times != u32::MAX {
                on.times -= 1;
            }
            return Some(fault.clone());
        }
        None
    }

    /// What has not happened, of what was to happen a number of times.
    pub(super) fn left(&self) -> Vec<String> {
        let left = |on: &On| on.times > 0 && on.times != u32::MAX;
        let told = self.0.iter().filter(|(on, _)| left(on));
        told.map(|(on, fault)| format!("{on:?}: {fault:?}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_meet_the_calls_they_were_scripted_for() {
        let mut script = Script::default();
        script.push(On::list("/a").skip(1).times(2), Fault::Hang);
        script.push(On::watch("/a*").always(), Fault::Twice);
        let mut next = |path, watch| script.next(path, watch);
        assert_eq!(next("/a", Some(false)), None);
        assert_eq!(next("/a", Some(false)), Some(Fault::Hang));
        assert_eq!(next("/b", Some(false)), None);
        assert_eq!(next("/a/b", Some(true)), Some(Fault::Twice));
        assert_eq!(script.left().len(), 1);
        assert_eq!(script.next("/a", Some(false)), Some(Fault::Hang));
        assert_eq!(script.next("/a", Some(false)), None);
        assert_eq!(script.left(), Vec::<String>::new());
    }
}

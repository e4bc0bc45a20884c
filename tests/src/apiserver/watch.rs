#![expect(
    clippy::disallowed_methods,
    reason = "shell: watches end and tell bookmarks by the clock"
)]
//! Watches: what there is, if it is asked for, then what happens, with bookmarks in between.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::catalog::Resource;
use super::object::{Object, PARTIAL};
use super::out::{Out, Over};
use super::query::{Form, WatchOptions};
use super::status;
use super::store::{Change, Kind, Name};
use super::{Pulse, Shared};

/// How long a watch lasts that does not say it: an API server takes 30 to 60 minutes.
const UNTOLD: Duration = Duration::from_mins(30);

/// A watch that can begin.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) index: usize,
    pub(super) resource: Resource,
    pub(super) namespace: Option<String>,
    pub(super) options: WatchOptions,
    pub(super) form: Form,
}

impl Watch {
    /// Tells events until the time is over, the log is compacted away or the client leaves.
    pub(super) async fn send(self, shared: Arc<Shared>, mut out: Out) -> Result<(), Over> {
        let mut pulse = shared.pulse.subscribe();
        let Pulse {
            bookmarks: mut told,
            ends,
        } = *pulse.borrow_and_update();
        let Some(mut position) = self.begin(&shared, &mut out).await? else {
            return out.end().await;
        };
        let timeout = tokio::time::sleep(self.options.timeout.unwrap_or(UNTOLD));
        let mut bookmarks = tokio::time::interval(shared.options.bookmark_every);
        bookmarks.tick().await;
        tokio::pin!(timeout);
        loop {
            // Before the changes: what came before a bookmark is told before it.
            let Pulse {
                bookmarks: asked,
                ends: ended,
            } = *pulse.borrow_and_update();
            let (changes, version) = {
                let state = shared.state();
                let version = state.store.version().max(position);
                (state.store.since(self.index, position), version)
            };
            // A watcher that is too slow is dropped, as by the real watch cache.
            let Ok(changes) = changes else { break };
            for change in changes {
                self.tell(&change, &mut out).await?;
            }
            position = version;
            out.flush().await?;
            if asked != told {
                told = asked;
                self.bookmark(position, false, &mut out).await?;
            }
            if ended != ends {
                break;
            }
            tokio::select! {
                () = &mut timeout => break,
                () = out.left() => return Err(Over),
                _ = bookmarks.tick() => told = told.wrapping_sub(1),
                woken = pulse.changed() => if woken.is_err() { break },
            }
        }
        self.bookmark(position, false, &mut out).await?;
        out.end().await
    }

    /// Sends what there is; tells after which version it goes on, or nothing when it is refused.
    async fn begin(&self, shared: &Shared, out: &mut Out) -> Result<Option<u64>, Over> {
        out.begin().await?;
        let (objects, current, compacted) = {
            let state = shared.state();
            let (version, compacted) = (state.store.version(), state.store.compacted());
            (state.store.now(self.index), version, compacted)
        };
        let from = self.options.from;
        if self.options.initial {
            if let Some(asked) = from.filter(|asked| *asked > current) {
                return self.refuse(status::future(asked, current), out).await;
            }
            for object in objects.values().filter(|o| self.takes(o)) {
                self.event("ADDED", object, out).await?;
            }
            if self.options.initial_end {
                self.bookmark(current, true, out).await?;
            }
            out.flush().await?;
            return Ok(Some(current));
        }
        let Some(asked) = from else {
            return Ok(Some(current));
        };
        if asked < compacted {
            return self
                .refuse(status::watch_too_old(asked, compacted), out)
                .await;
        }
        Ok(Some(asked))
    }

    async fn refuse(&self, status: Value, out: &mut Out) -> Result<Option<u64>, Over> {
        let event = json!({"type": "ERROR", "object": status}).to_string();
        out.item(&Name::default(), event).await?;
        Ok(None)
    }

    fn takes(&self, object: &Object) -> bool {
        let within = |namespace: &String| object.name().0 == *namespace;
        let selected = self.options.selector.as_ref();
        self.namespace.as_ref().is_none_or(within) && selected.is_none_or(|s| s.takes(object))
    }

    /// An object that a selector begins to take is ADDED, one that it takes no more is DELETED.
    async fn tell(&self, change: &Change, out: &mut Out) -> Result<(), Over> {
        let now = change.kind != Kind::Deleted && self.takes(&change.object);
        let before = change.previous.as_ref().is_some_and(|p| self.takes(p));
        let kind = match (before, now) {
            (false, false) => return Ok(()),
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        self.event(kind, &change.object, out).await
    }

    async fn event(&self, kind: &str, object: &Object, out: &mut Out) -> Result<(), Over> {
        let mut text = format!("{{\"type\":\"{kind}\",\"object\":");
        match self.form {
            Form::Whole => object.write_typed(&self.resource, &mut text),
            Form::Metadata => object.write_partial(&mut text),
        }
        text.push('}');
        out.item(&object.name(), text).await
    }

    async fn bookmark(&self, version: u64, initial_end: bool, out: &mut Out) -> Result<(), Over> {
        if !self.options.bookmarks {
            return Ok(());
        }
        let annotations = if initial_end {
            r#","annotations":{"k8s.io/initial-events-end":"true"}"#
        } else {
            ""
        };
        let metadata = format!("\"metadata\":{{\"resourceVersion\":\"{version}\"{annotations}}}");
        let object = match self.form {
            Form::Whole => {
                let rest = empty(&self.resource.kind);
                format!("{}{metadata}{rest}}}", self.resource.typed())
            }
            Form::Metadata => format!("{PARTIAL}{metadata}}}"),
        };
        let text = format!("{{\"type\":\"BOOKMARK\",\"object\":{object}}}");
        out.bookmark(text).await?;
        out.flush().await
    }
}

/// What Go writes of an object that has nothing in it: bookmarks are such.
fn empty(kind: &str) -> String {
    const TEMPLATE: &str = r#""template":{"metadata":{},"spec":{"containers":null}}"#;
    match kind {
        "Pod" => r#","spec":{"containers":null},"status":{}"#.to_owned(),
        "NetworkPolicy" => r#","spec":{"podSelector":{}}"#.to_owned(),
        "Deployment" => {
            format!(r#","spec":{{"selector":null,{TEMPLATE},"strategy":{{}}}},"status":{{}}"#)
        }
        "ReplicaSet" => {
            format!(r#","spec":{{"selector":null,{TEMPLATE}}},"status":{{"replicas":0}}"#)
        }
        "DaemonSet" => format!(
            r#","spec":{{"selector":null,{TEMPLATE},"updateStrategy":{{}}}},"status":{{"currentNumberScheduled":0,"numberMisscheduled":0,"desiredNumberScheduled":0,"numberReady":0}}"#
        ),
        "StatefulSet" => format!(
            r#","spec":{{"selector":null,{TEMPLATE},"serviceName":"","updateStrategy":{{}}}},"status":{{"replicas":0,"availableReplicas":0}}"#
        ),
        "Job" => format!(r#","spec":{{{TEMPLATE}}},"status":{{}}"#),
        "CronJob" => format!(
            r#","spec":{{"schedule":"","jobTemplate":{{"metadata":{{}},"spec":{{{TEMPLATE}}}}}}},"status":{{}}"#
        ),
        "HorizontalPodAutoscaler" => r#","spec":{"scaleTargetRef":{"kind":"","name":""},"maxReplicas":0},"status":{"desiredReplicas":0,"currentMetrics":null}"#.to_owned(),
        "Node" => r#","spec":{},"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":0}},"nodeInfo":{"machineID":"","systemUUID":"","bootID":"","kernelVersion":"","osImage":"","containerRuntimeVersion":"","kubeletVersion":"","kubeProxyVersion":"","operatingSystem":"","architecture":""}}"#.to_owned(),
        "Service" => r#","spec":{},"status":{"loadBalancer":{}}"#.to_owned(),
        "Namespace" | "ResourceQuota" | "PersistentVolumeClaim" => {
            r#","spec":{},"status":{}"#.to_owned()
        }
        _ => String::new(),
    }
}

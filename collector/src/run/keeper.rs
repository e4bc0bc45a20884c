//! The upkeep of the audit trail: checkpoints when it is time, what is gone and which agents are silent told, what all
//! have removed.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_wire::Class;
use tokio_util::sync::CancellationToken;

use super::RunError;
use crate::api;
use crate::errors::chain;
use crate::ingest::Store;
use crate::ocsf::event::trail::Agent;
use crate::trail::Trail;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) trail: Trail,
    pub(super) store: Store,
    /// Whether a node is there, if that is known.
    pub(super) is_there: IsThere,
}

/// Whether a node is there, if that is known.
pub(super) type IsThere = Arc<dyn Fn(&str) -> Option<bool> + Send + Sync>;

impl Keeper {
    /// Until `stop`. A disk that refuses is no end: it is tried again.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), RunError> {
        while stop
            .run_until_cancelled(tokio::time::sleep(EVERY))
            .await
            .is_some()
        {
            let keeper = self.clone();
            let kept = tokio::task::spawn_blocking(move || keeper.keep())
                .await
                .map_err(RunError::Task)?;
            let failed = kept.err().map(|error| chain(&error));
            match (self.trail.upkeep_fails(), &failed) {
                (None, Some(error)) => tracing::error!(
                    error,
                    "the audit trail cannot be kept up, trying again each second (said once)"
                ),
                (Some(_), None) => tracing::info!("the audit trail is kept up again"),
                _ => {}
            }
            self.trail.note_upkeep(failed);
        }
        Ok(())
    }

    fn keep(&self) -> Result<(), RunError> {
        let told = self.store.tell_agents(api::unix_ns(), &*self.is_there);
        let ticked = self.trail.tick(|| self.agents(), api::unix_ns());
        let bounded = self.hold_bound();
        // Each of them, whatever became of the others: what readers have passed makes room.
        let synced = self.trail.sync_positions();
        bounded?;
        told?;
        ticked?;
        Ok(synced?)
    }

    fn hold_bound(&self) -> Result<(), RunError> {
        loop {
            let (gone, held) = self.trail.hold_bound(api::unix_ns());
            self.store.tell_gone(&gone)?;
            self.trail.told();
            if held? {
                return Ok(());
            }
        }
    }

    /// How far the security streams are.
    fn agents(&self) -> Vec<Agent> {
        let streams = self.store.streams().into_iter();
        streams
            .filter(|stream| stream.class == Class::Security)
            .map(|stream| Agent {
                seq: stream.watermark(),
                node: stream.node,
                epoch: stream.epoch,
            })
            .collect()
    }

    /// The trail's last word in this life.
    pub(super) async fn close(self) -> Result<(), RunError> {
        tokio::task::spawn_blocking(move || {
            // For the next life, which publishes it; without, it is noticed there once more.
            drop(self.store.tell_agents(api::unix_ns(), &*self.is_there));
            self.trail.close(api::unix_ns())?;
            Ok(self.trail.sync_positions()?)
        })
        .await
        .map_err(RunError::Task)?
    }
}

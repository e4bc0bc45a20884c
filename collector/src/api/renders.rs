//! Where answers are made that take time: off the threads that serve, few at once.
//!
//! To gather the books waits for the journals' locks, and so for a disk; to group a fleet and to write a
//! page takes a core for a while. The receiver has the same threads and the same cores: so this is done
//! on threads that may wait, by [`MAX_PAGES`] at a time, however many ask and however often. The others
//! wait in the order in which they came; how many that can be is bounded by the door's connections.

use std::sync::Arc;

use axum::response::Response;
use tokio::sync::Semaphore;

use super::{ApiError, ApiState};

/// Pages and documents that are made at the same time.
const MAX_PAGES: usize = 2;
/// Metrics that are gathered at the same time; apart, so that no reader of pages is before a scrape.
const MAX_SCRAPES: usize = 1;

/// See the module.
#[derive(Debug)]
pub(super) struct Renders {
    pages: Arc<Semaphore>,
    scrapes: Arc<Semaphore>,
}

impl Default for Renders {
    fn default() -> Self {
        Self {
            pages: Arc::new(Semaphore::new(MAX_PAGES)),
            scrapes: Arc::new(Semaphore::new(MAX_SCRAPES)),
        }
    }
}

/// A page or a document, whole, made from the state; or a part of it.
pub(super) async fn page<T: Send + 'static>(
    state: Arc<ApiState>,
    make: impl FnOnce(&ApiState) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let turns = Arc::clone(&state.renders.pages);
    in_turn(turns, state, make).await
}

/// The metrics.
pub(super) async fn scrape(
    state: Arc<ApiState>,
    make: impl FnOnce(&ApiState) -> Result<Response, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let turns = Arc::clone(&state.renders.scrapes);
    in_turn(turns, state, make).await
}

async fn in_turn<T: Send + 'static>(
    turns: Arc<Semaphore>,
    state: Arc<ApiState>,
    make: impl FnOnce(&ApiState) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let turn = turns
        .acquire_owned()
        .await
        .map_err(|error| ApiError::internal(&error))?;
    tokio::task::spawn_blocking(move || {
        // Held to the end of the work, also for a client that has gone.
        let _turn = turn;
        make(&state)
    })
    .await
    .map_err(|error| ApiError::internal(&error))?
}

#![expect(
    clippy::disallowed_methods,
    reason = "shell: waits for calls, and not for ever when the collector ends"
)]
//! A sink's call, waited for on the outlet's own thread.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::sinks::{RefusalKind, Refused, Sent};

/// After the end was asked for, a call that is under way has this long.
const LAST_CALL: Duration = Duration::from_secs(5);

/// Waits for the call, until soon after `stop`.
pub(super) fn wait(
    runtime: &Handle,
    stop: &CancellationToken,
    call: impl Future<Output = Result<Sent, Refused>>,
) -> Result<Sent, Refused> {
    runtime.block_on(async {
        let given_up = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_CALL).await;
        };
        tokio::select! {
            sent = call => sent,
            () = given_up => Err(Refused {
                kind: RefusalKind::Unavailable,
                what: "the collector ends, and there is no answer yet".to_owned(),
                source: None,
                retry_after_ms: None,
            }),
        }
    })
}

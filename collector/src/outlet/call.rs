//! A sink's call, waited for on the outlet's own thread.

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::sinks::{RefusalKind, Refused, Sent};

/// Waits for the call, until `last`.
pub(super) fn wait(
    runtime: &Handle,
    last: &CancellationToken,
    call: impl Future<Output = Result<Sent, Refused>>,
) -> Result<Sent, Refused> {
    runtime.block_on(async {
        last.run_until_cancelled(call).await.unwrap_or_else(|| {
            Err(Refused {
                kind: RefusalKind::Unavailable,
                what: "the collector ends, and there is no answer yet".to_owned(),
                source: None,
                retry_after_ms: None,
            })
        })
    })
}

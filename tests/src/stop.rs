#![expect(
    clippy::disallowed_methods,
    reason = "shell: a thread that waits for signals"
)]
//! Ctrl-C and SIGTERM as something to wait for with a time limit.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Says when the run is to end.
#[derive(Debug)]
pub struct Stop {
    signals: Receiver<()>,
    sender: Sender<()>,
}

impl Stop {
    /// Takes SIGINT and SIGTERM over from now on.
    ///
    /// # Errors
    /// The signals cannot be taken.
    pub fn on_signals() -> Result<Self> {
        let (sender, signals) = channel();
        let own = sender.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("building the signal runtime")?;
        let guard = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).context("taking SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("taking SIGTERM")?;
        drop(guard);
        std::thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if sender.send(()).is_err() {
                        return;
                    }
                }
            });
        });
        Ok(Self {
            signals,
            sender: own,
        })
    }

    /// As a signal does.
    pub fn ask(&self) {
        // Only this one receives, and it lives.
        let _asked = self.sender.send(());
    }

    /// Waits at most `timeout`; true if the run is to end.
    pub fn wait(&self, timeout: Duration) -> bool {
        !matches!(
            self.signals.recv_timeout(timeout),
            Err(RecvTimeoutError::Timeout)
        )
    }
}

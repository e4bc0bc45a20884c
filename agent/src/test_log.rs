//! What is logged, for tests that count the words.

use std::sync::{Arc, LazyLock, Mutex};

/// What the agent logs on the thread that [starts](Self::start) it.
#[derive(Clone, Default)]
pub(crate) struct TestLog(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for TestLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl TestLog {
    /// Until the guard is dropped.
    pub(crate) fn start(&self) -> tracing::subscriber::DefaultGuard {
        // Of one subscriber alone it is asked only in the thread that comes to a message first whether
        // anybody wants it: another test's thread would say no for this one as well.
        static SECOND: LazyLock<tracing::Dispatch> = LazyLock::new(|| {
            tracing_subscriber::fmt()
                .with_writer(std::io::sink)
                .finish()
                .into()
        });
        LazyLock::force(&SECOND);
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false);
        tracing::subscriber::set_default(subscriber.with_writer(move || log.clone()).finish())
    }

    /// The lines in which these words stand.
    pub(crate) fn lines(&self, with: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains(with));
        lines.map(str::to_owned).collect()
    }
}

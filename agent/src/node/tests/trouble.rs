//! A disk that refuses.

use super::*;

/// What the node logs on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_refuses_is_told_once_and_so_is_its_end() {
    let mut stage = Stage::new(&[]);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false);
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    let told = |with: &str| {
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(with)).count()
    };
    tracing::subscriber::with_default(subscriber, || {
        let folders = ["usage", "security"].map(|class| stage.folder.path().join(class));
        for folder in &folders {
            std::fs::remove_dir_all(folder).unwrap();
        }
        let mut write = || {
            stage.node.heartbeat();
            stage.node.write();
        };
        for _ in 0..5 {
            write();
        }
        assert_eq!(told("spool could not be written"), 1);
        assert_eq!(told("spool can be written again"), 0);
        for folder in &folders {
            std::fs::create_dir(folder).unwrap();
        }
        write();
        write();
        assert_eq!(told("spool can be written again"), 1);
        assert_eq!(told("spool could not be written"), 1);
    });
}

//! Answers that take time hold up nobody but those who wait for them.

use std::sync::Condvar;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::*;

/// Books behind a disk that does not answer, until it is told to.
struct Disk {
    answers: Mutex<bool>,
    told: Condvar,
    waiting: AtomicUsize,
    most: AtomicUsize,
    /// A permit for each that has begun to wait.
    entered: Semaphore,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            answers: Mutex::default(),
            told: Condvar::new(),
            waiting: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            entered: Semaphore::new(0),
        }
    }
}

impl Disk {
    fn wait(&self) {
        let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(waiting, Ordering::SeqCst);
        self.entered.add_permits(1);
        let answers = self.answers.lock().unwrap();
        let within = Duration::from_secs(20);
        let silent = |answers: &mut bool| !*answers;
        let (answers, late) = self
            .told
            .wait_timeout_while(answers, within, silent)
            .unwrap();
        assert!(!late.timed_out(), "nobody else was answered meanwhile");
        drop(answers);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn answer(&self) {
        *self.answers.lock().unwrap() = true;
        self.told.notify_all();
    }
}

async fn status(router: Router, path: &'static str) -> u16 {
    let request = Request::get(path).body(Body::empty()).unwrap();
    router.oneshot(request).await.unwrap().status().as_u16()
}

/// All of this is one thread, as the receiver's would be: it answers while pages wait for the disk,
/// however many are asked for.
#[tokio::test]
async fn pages_that_wait_for_the_disk_hold_up_no_thread_and_are_few_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::<Disk>::default();
    let books = Arc::clone(&disk);
    let state = state(&dir)
        .with_accounting(Arc::new(move || {
            books.wait();
            Vec::new()
        }))
        .with_metrics(Arc::new(|| "# EOF\n".to_owned()));
    let router = router(Arc::new(state));
    let mut asked = JoinSet::new();
    for path in ["/nodes", "/", "/api/v1/accounting", "/nodes", "/", "/nodes"] {
        asked.spawn(status(router.clone(), path));
    }
    // Two are at it.
    disk.entered.acquire_many(2).await.unwrap().forget();
    for path in ["/livez", "/readyz", "/metrics", "/assets/plimsoll.css"] {
        assert_eq!(status(router.clone(), path).await, 200, "{path}");
    }
    // One who reloads is gone before the answer, and takes nobody's turn.
    asked.spawn(status(router.clone(), "/nodes")).abort();
    assert!(asked.join_next().await.unwrap().unwrap_err().is_cancelled());
    disk.answer();
    let answered = asked.join_all().await;
    assert_eq!(answered, [200; 6]);
    assert_eq!(disk.most.load(Ordering::SeqCst), 2);
}

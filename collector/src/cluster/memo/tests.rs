//! A clock that is set by hand, and questions that are counted.
#![expect(clippy::disallowed_methods, reason = "a clock has to begin somewhere")]

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::*;

struct Asked {
    memo: Memo<u8, usize>,
    seconds: Arc<AtomicU64>,
    questions: AtomicUsize,
}

impl Asked {
    fn of(most: usize) -> Self {
        let seconds = Arc::<AtomicU64>::default();
        let (shown, begin) = (Arc::clone(&seconds), Instant::now());
        let clock = move || begin + Duration::from_secs(shown.load(Ordering::Relaxed));
        Self {
            memo: Memo::new(most, Arc::new(clock)),
            seconds,
            questions: AtomicUsize::new(0),
        }
    }

    /// The number of the question that was answered.
    async fn get(&self, key: u8, lasts_s: u64) -> Result<usize, Full> {
        let lasts = Lasts::Answer(Duration::from_secs(lasts_s));
        self.said(key, lasts).await
    }

    async fn unanswered(&self, key: u8, lasts_s: u64) -> Result<usize, Full> {
        let lasts = Lasts::NoAnswer(Duration::from_secs(lasts_s));
        self.said(key, lasts).await
    }

    async fn said(&self, key: u8, lasts: Lasts) -> Result<usize, Full> {
        let ask = async {
            let number = self.questions.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::task::yield_now().await;
            (number, lasts)
        };
        self.memo.get(&key, ask).await
    }
}

#[tokio::test]
async fn an_answer_counts_for_its_time_and_no_longer() {
    let asked = Asked::of(10);
    assert_eq!(asked.get(1, 60).await, Ok(1));
    asked.seconds.store(59, Ordering::Relaxed);
    assert_eq!(asked.get(1, 60).await, Ok(1));
    assert_eq!(asked.get(2, 60).await, Ok(2));
    asked.seconds.store(60, Ordering::Relaxed);
    assert_eq!(asked.get(1, 60).await, Ok(3));
}

#[tokio::test]
async fn what_is_no_answer_takes_the_place_of_none() {
    let asked = Asked::of(1);
    assert_eq!(asked.get(1, 60).await, Ok(1));
    asked.seconds.store(60, Ordering::Relaxed);
    assert_eq!(asked.unanswered(1, 0).await, Ok(2));
    assert_eq!(asked.memo.last(&1), Some(1), "of the question before");
    let asked = Asked::of(1);
    assert_eq!(asked.unanswered(1, 0).await, Ok(1));
    assert!(asked.memo.is_empty());
}

#[tokio::test]
async fn no_answer_is_kept_beside_the_last_one() {
    let asked = Asked::of(10);
    assert_eq!(asked.get(1, 60).await, Ok(1));
    asked.seconds.store(60, Ordering::Relaxed);
    assert_eq!(asked.unanswered(1, 5).await, Ok(2));
    asked.seconds.store(64, Ordering::Relaxed);
    assert_eq!(asked.get(1, 60).await, Ok(2), "not asked for again");
    assert_eq!(asked.memo.last(&1), Some(1));
    asked.seconds.store(65, Ordering::Relaxed);
    assert_eq!(asked.get(1, 60).await, Ok(3), "the first counts no longer");
    assert_eq!(asked.memo.last(&1), Some(3));
    assert_eq!(asked.unanswered(2, 5).await, Ok(4));
    assert_eq!(asked.memo.last(&2), None, "there was none");
}

#[tokio::test]
async fn what_has_no_answer_takes_no_place_of_one_that_had() {
    let asked = Asked::of(2);
    assert_eq!(asked.get(1, 1).await, Ok(1));
    asked.seconds.store(60, Ordering::Relaxed);
    for key in 2..20 {
        assert_eq!(asked.unanswered(key, 5).await, Ok(usize::from(key)));
    }
    assert_eq!((asked.memo.len(), asked.memo.last(&1)), (2, Some(1)));
}

#[tokio::test]
async fn the_same_question_is_asked_once_however_many_ask_it_at_a_time() {
    let asked = Asked::of(10);
    let answers = tokio::join!(asked.get(1, 60), asked.get(1, 60), asked.get(1, 60));
    assert_eq!(answers, (Ok(1), Ok(1), Ok(1)));
    // Of one that goes away before its answer another asks.
    let open = asked.memo.get(&2, std::future::pending());
    let mut open = std::pin::pin!(open);
    let first = std::future::poll_fn(|context| {
        std::task::Poll::Ready(open.as_mut().poll(context).is_ready())
    });
    assert!(!first.await);
    let (next, ()) = tokio::join!(asked.get(2, 60), async {
        tokio::task::yield_now().await;
        open.set(asked.memo.get(&2, std::future::pending()));
    });
    assert_eq!(next, Ok(2));
}

#[tokio::test]
async fn what_ends_first_goes_first_and_what_is_open_stays() {
    let asked = Asked::of(2);
    assert_eq!(asked.get(1, 60).await, Ok(1));
    for key in 2..20 {
        assert_eq!(asked.get(key, 5).await, Ok(usize::from(key)));
    }
    assert_eq!((asked.memo.len(), asked.get(1, 60).await), (2, Ok(1)));
    let open = [1, 2].map(|key| {
        let slot = asked.memo.slot(&key);
        slot.unwrap()
    });
    assert_eq!(asked.get(3, 5).await, Err(Full));
    drop(open);
    asked.seconds.store(100, Ordering::Relaxed);
    assert_eq!(asked.get(3, 5).await, Ok(20));
    assert_eq!(asked.memo.last(&1), Some(1), "there is room for it");
    assert_eq!(asked.get(4, 5).await, Ok(21));
    assert_eq!(asked.memo.last(&1), None, "what has ended goes");
    assert_eq!(asked.memo.len(), 2);
}

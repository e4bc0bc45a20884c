//! A destination with a backlog, and what happens meanwhile.

use std::time::Instant;

use super::*;

/// More than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(30);
const BACKLOG: u64 = 500;
const NEWS: u64 = 120;

/// Notes who took what, in what order.
struct Noted {
    taken: Arc<Mutex<Vec<u64>>>,
    /// Publishes what happens now; once, while a batch is in the hand of the first.
    news: Option<Box<dyn FnOnce() + Send>>,
    /// The numbers that are news.
    until_taken: std::ops::RangeInclusive<u64>,
    /// It takes half of what it is given.
    is_beside: bool,
    turn: u32,
}

impl Destination for Noted {
    type Item = u64;
    type Error = std::io::Error;
    const BATCH: usize = 50;

    fn name(&self) -> &'static str {
        "noted"
    }

    fn resume(&mut self, _: &str) -> std::io::Result<Resumed> {
        Ok(Resumed::default())
    }

    fn decode(record: &Record) -> Result<u64, PayloadError> {
        Ok(record.seq)
    }

    fn take(&mut self, items: Vec<u64>, _: &str, last_seq: u64) -> std::io::Result<Taken> {
        self.turn += 1;
        if self.is_beside {
            if self.turn.is_multiple_of(2) {
                return Err(std::io::ErrorKind::ConnectionReset.into());
            }
            let some = items.get(..items.len().div_ceil(2)).unwrap();
            self.taken.lock().unwrap().extend(some);
            return Ok(Taken {
                filtered: 1,
                ..Taken::all(*some.last().unwrap())
            });
        }
        self.taken.lock().unwrap().extend(items);
        if self.turn == 2
            && let Some(news) = self.news.take()
        {
            news();
            let begin = Instant::now();
            let last = *self.until_taken.end();
            while !self.taken.lock().unwrap().contains(&last) {
                assert!(begin.elapsed() < PATIENCE, "it waits behind the backlog");
                std::thread::yield_now();
            }
        }
        Ok(Taken::all(last_seq))
    }

    fn pause(&mut self, _: u32) -> Option<Duration> {
        Some(Duration::ZERO)
    }

    fn beside(&self) -> Option<Self> {
        Some(Self {
            taken: Arc::clone(&self.taken),
            news: None,
            until_taken: self.until_taken.clone(),
            is_beside: true,
            turn: 0,
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_now_does_not_wait_for_what_has_waited() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::begin(dir.path());
    let trail = life.file.source().clone();
    let Life {
        store,
        security,
        publisher,
        ..
    } = life;
    commit(&store, Class::Security, 1..=BACKLOG, 0);
    let publisher = Arc::new(Mutex::new(publisher));
    let publish = {
        let publisher = Arc::clone(&publisher);
        move || {
            let mut publisher = publisher.lock().unwrap();
            while security.carry_some(&mut *publisher, None).unwrap() == Carried::Some {}
        }
    };
    publish();
    let before = trail.last().unwrap();
    assert!(before >= BACKLOG);
    let news = move || {
        commit(&store, Class::Security, BACKLOG + 1..=BACKLOG + NEWS, 0);
        publish();
    };
    let taken = Arc::new(Mutex::new(Vec::new()));
    let destination = Noted {
        taken: Arc::clone(&taken),
        news: Some(Box::new(news)),
        until_taken: before + 1..=before + NEWS,
        is_beside: false,
        turn: 0,
    };
    let reader = Arc::new(Reader::open(trail.clone(), FileSink::NAME));
    let stop = CancellationToken::new();
    let pace = Pace {
        retry: Duration::ZERO,
        late: Duration::ZERO,
    };
    let carrying = tokio::spawn(Arc::clone(&reader).carry_with(destination, stop.clone(), pace));
    let begin = Instant::now();
    while reader.fates().in_flight > 0 {
        assert!(begin.elapsed() < PATIENCE, "{:?}", reader.fates());
        assert_eq!(reader.fates().unaccounted(), 0);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop.cancel();
    carrying.await.unwrap().unwrap();

    let fates = reader.fates();
    assert_eq!((fates.unaccounted(), fates.in_flight), (0, 0), "{fates:?}");
    assert!(fates.filtered > 0, "what the lane filtered is counted");
    let taken = taken.lock().unwrap().clone();
    let at = |seq: u64| taken.iter().position(|taken| *taken == seq).unwrap();
    assert!(at(before + NEWS) < at(before), "ahead of the backlog");
    let once: BTreeSet<u64> = taken.iter().copied().collect();
    assert_eq!(once.len(), taken.len(), "nothing is taken twice");
    assert_eq!(once, (1..=trail.last().unwrap()).collect());
}

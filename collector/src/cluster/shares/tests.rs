#![expect(clippy::disallowed_methods, reason = "a clock has to begin somewhere")]

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const FEW: Share = Share {
    open: 2,
    a_minute: 6,
};

/// Shares for so many askers, and a clock in seconds.
fn shares(most: usize) -> (Shares<u32>, Arc<AtomicU64>) {
    let seconds = Arc::<AtomicU64>::default();
    let (shown, begin) = (Arc::clone(&seconds), Instant::now());
    let clock = move || begin + Duration::from_secs(shown.load(Ordering::Relaxed));
    let mut shares = Shares::new(FEW, Arc::new(clock));
    shares.most = most;
    (shares, seconds)
}

fn wait_of(found: Result<Part<'_, u32>, Spent>) -> u64 {
    found.unwrap_err().0.as_secs()
}

#[test]
fn each_asker_has_so_many_questions_a_minute() {
    let (shares, seconds) = shares(9);
    for _ in 0..6 {
        drop(shares.take(&1).unwrap());
    }
    assert_eq!(wait_of(shares.take(&1)), 10);
    assert!(shares.take(&2).is_ok(), "another's are its own");
    seconds.store(10, Ordering::Relaxed);
    shares.take(&1).unwrap().give_back();
    assert!(shares.take(&1).is_ok(), "the good one did not count");
    assert_eq!(wait_of(shares.take(&1)), 10);
}

#[tokio::test]
async fn each_asker_has_so_many_questions_at_a_time() {
    let (shares, _) = shares(9);
    let parts: Vec<_> = (0..3).map(|_| shares.take(&1).unwrap()).collect();
    let first = parts[0].turn_now().unwrap();
    let _second = parts[1].turn_now().unwrap();
    assert_eq!(parts[2].turn_now().unwrap_err(), Spent(UNTIL_A_TURN));
    let other = shares.take(&2).unwrap();
    assert!(other.turn_now().is_ok());
    let mut waiting = std::pin::pin!(parts[2].turn());
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("a third turn"),
        () = std::future::ready(()) => {}
    }
    drop(first);
    assert!(waiting.await.is_ok());
    // What had no turn was given back.
    for _ in 0..4 {
        assert!(shares.take(&1).is_ok());
    }
    assert!(shares.take(&1).is_err());
}

/// What one asker waits for is told to that one alone: nothing was asked.
#[tokio::test]
async fn a_turn_that_does_not_come_in_time_is_given_up() {
    let (mut shares, _) = shares(9);
    shares.turn_within = Duration::ZERO;
    let parts: Vec<_> = (0..3).map(|_| shares.take(&1).unwrap()).collect();
    let _turns = [parts[0].turn_now().unwrap(), parts[1].turn_now().unwrap()];
    assert_eq!(parts[2].turn().await.unwrap_err(), Spent(UNTIL_A_TURN));
    let left = (0..9).filter(|_| shares.take(&1).is_ok()).count();
    assert_eq!(left, 4, "two of six are used");
}

#[test]
fn askers_beyond_the_bound_share_until_others_have_rested() {
    let (shares, seconds) = shares(3);
    let asking = shares.take(&1).unwrap();
    let _turn = asking.turn_now().unwrap();
    asking.give_back();
    drop(shares.take(&2).unwrap());
    drop(shares.take(&3).unwrap());
    for stranger in 4..10 {
        drop(shares.take(&stranger).unwrap());
    }
    assert!(shares.take(&10).is_err(), "they have one share together");
    assert!(shares.take(&2).is_ok());
    seconds.store(1000, Ordering::Relaxed);
    assert!(shares.take(&11).is_ok());
    let known = shares.lock();
    let mut kept: Vec<_> = known.keys().copied().collect();
    kept.sort_unstable();
    assert_eq!(kept, [Some(1), Some(11)], "who asks still has not rested");
}

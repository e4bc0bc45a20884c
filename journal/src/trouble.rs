//! When a refusal that goes on is worth a word: as it begins, once a minute, and when it is over.
//! Pure: knows neither what refuses nor the time.

/// Nanoseconds between two words on the same trouble.
const AGAIN_NS: u64 = 60_000_000_000;

/// Whether something is refused now, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble(Option<Since>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Since {
    began_ns: u64,
    told_ns: u64,
    /// What had been shed by then.
    shed: u64,
}

/// A trouble that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// Seconds from the first refusal.
    pub lasted_s: u64,
    /// Records shed meanwhile.
    pub shed: u64,
}

impl Trouble {
    /// Refused once more, by a clock that the caller keeps to; `shed` is a cumulative count of records,
    /// asked for as the trouble begins. Whether it is to be told.
    pub fn failed(&mut self, now_ns: u64, shed: impl FnOnce() -> u64) -> bool {
        let Some(since) = &mut self.0 else {
            self.0 = Some(Since {
                began_ns: now_ns,
                told_ns: now_ns,
                shed: shed(),
            });
            return true;
        };
        let is_due = now_ns.saturating_sub(since.told_ns) >= AGAIN_NS;
        if is_due {
            since.told_ns = now_ns;
        }
        is_due
    }

    /// It went well. What is over by that, if anything was; nothing is asked for if nothing was.
    pub fn ended(&mut self, now_ns: u64, shed: impl FnOnce() -> u64) -> Option<Over> {
        self.0.take().map(|since| Over {
            lasted_s: now_ns.saturating_sub(since.began_ns) / 1_000_000_000,
            shed: shed().saturating_sub(since.shed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_at_first_each_minute_and_at_its_end() {
        let (mut trouble, began) = (Trouble::default(), 5);
        let after = |s: u64| began + s * 1_000_000_000;
        assert_eq!(trouble.ended(began, || unreachable!("nothing was")), None);
        let told: Vec<u64> = (0..150)
            .filter(|s| trouble.failed(after(*s), || 3 + s))
            .collect();
        assert_eq!(told, [0, 60, 120]);
        let over = Over {
            lasted_s: 150,
            shed: 149,
        };
        assert_eq!(trouble.ended(after(150), || 152), Some(over));
        assert_eq!(trouble.ended(after(151), || 152), None);
        assert!(trouble.failed(after(152), || 152), "another one");
    }
}

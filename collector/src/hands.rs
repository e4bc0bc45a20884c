//! What the readers of one journal have in hand, and what they never had.
//!
//! ```text
//!  hand out: behind the cursor ─► settle: the cursor moves ─┐
//!      ▲            │                                       ├─► what was shed meanwhile, unsettled: shed
//!      └─ put back ◄┴───────────────────────────────────────┘
//! ```
//!
//! A record that is in a reader's hand is in flight, whatever becomes of its segment: so no record is
//! both shed and delivered, and none is neither. Whoever owns the journal owns these, behind the same lock.

use std::collections::BTreeMap;

use plimsoll_journal::{Batch, Journal, JournalError, Storage};

/// Numbers from and to, inclusive.
pub type Range = (u64, u64);

/// Which of a journal's bounds was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    /// That in bytes.
    #[default]
    Bytes,
    /// That in time.
    Age,
}

impl Bound {
    /// What becomes of a record that it takes.
    pub const fn fate(self) -> &'static str {
        match self {
            Self::Bytes => "shed",
            Self::Age => "expired",
        }
    }
}

/// A bound in time: that old is a record at the most, nanoseconds, and by the clock it is now so late.
#[derive(Clone, Copy, Debug)]
pub struct Age {
    /// `None`: as old as may be.
    pub most_ns: Option<u64>,
    /// Unix nanoseconds.
    pub now_ns: u64,
}

impl Age {
    /// Whether all of the oldest file is too old.
    pub fn is_over<S: Storage>(self, journal: &Journal<S>) -> bool {
        let newest = journal.oldest_segment_newest_unix_ns();
        self.most_ns
            .zip(newest)
            .is_some_and(|(most, newest)| self.now_ns.saturating_sub(newest) > most)
    }
}

/// The journal as one reader sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Records before the reader, and in its hand.
    pub waiting: u64,
    /// Records that came in since the start.
    pub entered: u64,
    /// Records that were shed before the reader had them, since the start.
    pub shed: u64,
    /// Records that were older than their bound before the reader had them, since the start.
    pub expired: u64,
    /// Records that the start found damaged before the reader had them, and that no earlier start
    /// has told of.
    pub lost: u64,
    /// Records that turned out to be damaged when another reader came to them, before this one.
    pub damaged: u64,
}

/// Records that were shed and that a reader never had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// How many.
    pub count: u64,
    /// The first of them, and the last.
    pub range: Range,
    /// The last that the reader had before.
    pub had: u64,
    /// Why they went.
    pub bound: Bound,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Hands(BTreeMap<String, Books>);

#[derive(Debug, Default)]
struct Books {
    hand: Option<Hand>,
    shed: u64,
    expired: u64,
    lost: u64,
    damaged: u64,
}

/// What a reader was given and has not settled. The journal may shed it meanwhile, and what lies
/// behind it: until the reader says what it took, nobody knows which of it was shed unread, so it
/// stays in flight. Had the process ended by then, the next start finds it missing.
#[derive(Debug)]
struct Hand {
    /// Numbers of the records, rising: one batch, or as many as are put somewhere together.
    seqs: Vec<u64>,
    /// Records behind the cursor that went from the journal since, in the hand or not.
    gone: u64,
    /// Of them the first number and the last.
    range: Range,
    /// Why the last of them went.
    bound: Bound,
}

impl Hand {
    const fn went(&mut self, count: u64, (first, last): Range, bound: Bound) {
        self.bound = bound;
        if self.gone == 0 {
            self.range.0 = first;
        }
        self.gone += count;
        self.range.1 = last;
    }

    /// Of what is gone, the last that the reader had when it is done up to `seq`.
    fn had_of(&self, seq: u64) -> Option<u64> {
        let last = seq.min(self.range.1);
        let had = self.seqs.partition_point(|had| *had <= last);
        self.seqs.get(had.checked_sub(1)?).copied()
    }

    /// Of what is gone, the records that are not settled by everything up to `seq`.
    fn unread_after(&self, seq: u64) -> u64 {
        let (_, last) = self.range;
        let had = self.seqs.iter().filter(|had| **had <= seq.min(last));
        self.gone.saturating_sub(had.count() as u64)
    }
}

impl Hands {
    fn of(&mut self, reader: &str) -> &mut Books {
        self.0.entry(reader.to_owned()).or_default()
    }

    /// The reader was given this batch, besides what is in its hand.
    pub fn given(&mut self, reader: &str, batch: &Batch) {
        match &mut self.of(reader).hand {
            Some(hand) => hand
                .seqs
                .extend(batch.records.iter().map(|record| record.seq)),
            None if batch.records.is_empty() => {}
            hand @ None => {
                *hand = Some(Hand {
                    seqs: batch.records.iter().map(|record| record.seq).collect(),
                    gone: 0,
                    range: (0, 0),
                    bound: Bound::default(),
                });
            }
        }
    }

    /// The last that is in the reader's hand.
    pub fn last_in_hand(&self, reader: &str) -> Option<u64> {
        self.0.get(reader)?.hand.as_ref()?.seqs.last().copied()
    }

    /// The reader is done up to `seq`: its cursor moves, and what else was in its hand is the journal's
    /// again. What was shed of it meanwhile, unread.
    pub fn settle<S: Storage>(
        &mut self,
        journal: &mut Journal<S>,
        reader: &str,
        seq: u64,
    ) -> Result<Option<Unread>, JournalError> {
        journal.set_cursor(reader, seq)?;
        match self.of(reader).hand.take() {
            Some(hand) => {
                let unread = hand.unread_after(seq);
                let before = hand.had_of(seq).unwrap_or(seq);
                self.book_shed(journal, reader, unread, (hand.range, before), hand.bound)
            }
            None => Ok(None),
        }
    }

    /// What is in the reader's hand is the journal's again.
    pub fn put_back<S: Storage>(
        &mut self,
        journal: &mut Journal<S>,
        reader: &str,
    ) -> Result<Option<Unread>, JournalError> {
        let cursor = journal.cursor(reader).unwrap_or(0);
        self.settle(journal, reader, cursor)
    }

    /// Sheds a segment for that bound, and the books of these readers learn what each never had; `None` if there is no
    /// segment.
    pub fn shed_oldest<S: Storage>(
        &mut self,
        journal: &mut Journal<S>,
        readers: &[impl AsRef<str>],
        bound: Bound,
    ) -> Result<Option<Vec<Unread>>, JournalError> {
        let count = |journal: &Journal<S>, reader: &str| {
            journal.count_after(journal.cursor(reader).unwrap_or(0))
        };
        let readers: Vec<_> = readers
            .iter()
            .map(|reader| (reader.as_ref(), count(journal, reader.as_ref())))
            .collect();
        let Some(shed) = journal.shed_oldest()? else {
            return Ok(None);
        };
        let range = (shed.first_seq, shed.last_seq);
        let mut all = Vec::new();
        for (reader, before) in readers {
            let unread = before.saturating_sub(count(journal, reader));
            match &mut self.of(reader).hand {
                Some(hand) if unread > 0 => hand.went(unread, range, bound),
                Some(_) => {}
                None => {
                    let had = journal.cursor(reader).unwrap_or(0);
                    all.extend(self.book_shed(journal, reader, unread, (range, had), bound)?);
                }
            }
        }
        Ok(Some(all))
    }

    /// The reader never had `unread` records, the last of them the range's last. Until the owner has told it, the
    /// journal remembers.
    fn book_shed<S: Storage>(
        &mut self,
        journal: &mut Journal<S>,
        reader: &str,
        unread: u64,
        ((first, last), had): (Range, u64),
        bound: Bound,
    ) -> Result<Option<Unread>, JournalError> {
        if unread == 0 {
            return Ok(None);
        }
        journal.note_untold((first.max(had + 1), last));
        // It may have been read on behind what went.
        let cursor = journal.cursor(reader).unwrap_or(0);
        journal.set_cursor(reader, cursor.max(last))?;
        let books = self.of(reader);
        match bound {
            Bound::Bytes => books.shed += unread,
            Bound::Age => books.expired += unread,
        }
        Ok(Some(Unread {
            count: unread,
            range: (first.max(had + 1), last),
            had,
            bound,
        }))
    }

    /// Records that the reader never had were found damaged.
    pub fn lose(&mut self, reader: &str, count: u64) {
        self.of(reader).lost += count;
    }

    /// Numbers that the reader has not had cannot be read, as another reader found. What is in its hand it has had.
    pub fn damage(&mut self, reader: &str, (first, last): Range) {
        let books = self.of(reader);
        let in_hand = books.hand.as_ref().and_then(|hand| hand.seqs.last());
        let first = first.max(in_hand.map_or(0, |last| last + 1));
        books.damaged += (last + 1).saturating_sub(first);
    }

    /// The journal as this reader sees it, when `entered` records came in since the start and `unsynced`
    /// more are in its hands.
    pub fn held<S: Storage>(
        &mut self,
        journal: &Journal<S>,
        reader: &str,
        entered: u64,
        unsynced: u64,
    ) -> Held {
        let waiting = journal
            .count_after(journal.cursor(reader).unwrap_or(0))
            .saturating_sub(unsynced);
        let books = self.of(reader);
        Held {
            waiting: waiting + books.hand.as_ref().map_or(0, |hand| hand.gone),
            entered,
            shed: books.shed,
            expired: books.expired,
            lost: books.lost,
            damaged: books.damaged,
        }
    }
}

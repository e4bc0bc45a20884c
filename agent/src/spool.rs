//! What waits for the collector: one durable journal for each class, and one bound for all.
//!
//! ```text
//!  UsageWindow ─┐                  ┌─ usage/     shed first
//!               ├─ append ─ commit ┤                        ─► next_batch ─► delivered | rejected
//!  AuditEvent ──┘                  └─ security/  shed last
//! ```
//!
//! Owns the bound in bytes, what is shed when it is reached, and the books of both classes. A record
//! that is shed, damaged or refused becomes a [`Loss`] event of the security stream. While the disk
//! refuses, each journal holds a bounded amount in memory; what does not fit is shed, newest first
//! there, so that evidence which is held already stays. Knows nothing of gRPC and has no clock.

use std::collections::VecDeque;

use plimsoll_journal::{Journal, JournalError, Options, Recovery, Storage};
use plimsoll_wire::event::{Loss, StageFates};
use plimsoll_wire::fate::Fates;
use plimsoll_wire::{AuditEvent, Class, UsageWindow, otlp, stage};
use prost::Message;

mod stream;

use stream::Stream;

/// The journals' one reader.
pub const CURSOR: &str = "export";

/// Sizes of one class at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Which class.
    pub class: Class,
    /// On disk and in memory.
    pub bytes: u64,
    /// Not acknowledged.
    pub records: u64,
    /// Time of the oldest record that is not acknowledged, Unix nanoseconds; `None` if there is none.
    pub oldest_unix_ns: Option<u64>,
    /// Reads that the disk refused, since the start.
    pub read_errors: u64,
}

/// A batch on its way out: ascending numbers, each with the record's protobuf bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// (number, payload)
    pub records: Vec<(u64, Vec<u8>)>,
}

impl Outgoing {
    /// The number that an acknowledgement of the whole batch names.
    pub fn last_seq(&self) -> Option<u64> {
        self.records.last().map(|(seq, _)| *seq)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Spool<S> {
    usage: Stream<S>,
    security: Stream<S>,
    max_bytes: u64,
    /// Losses that are not on record yet.
    unreported: Vec<Loss>,
    /// Losses on record that the collector has not acknowledged, by number: one that is shed itself
    /// is told again.
    reported: VecDeque<(u64, Loss)>,
    /// The number of the last loss record, until it is known that the next life does not tell what
    /// was shed once more.
    told: Option<u64>,
    /// Numbers that are gone, of which their journal does not know yet that they are told.
    gone: Vec<(Class, (u64, u64))>,
    failing: bool,
}

impl<S: Storage> Spool<S> {
    /// Opens both journals. `new_epoch` names a spool that is new; what an earlier life left damaged
    /// is told, and becomes a loss record with the next [`commit`](Self::commit).
    pub fn open(
        usage: S,
        security: S,
        max_bytes: u64,
        new_epoch: &str,
    ) -> Result<(Self, [Recovery; 2]), JournalError> {
        let open = |class: Class, storage: S| {
            let number = if class == Class::Usage { 1 } else { 2 };
            let mut options = Options::new(number, &[CURSOR], new_epoch.to_owned());
            // Several segments within the bound, so that shedding takes a part and not all.
            options.segment_bytes = options.segment_bytes.min(max_bytes / 16).max(64 << 10);
            let (mut journal, recovery) = Journal::open(storage, options)?;
            if journal.epoch() == new_epoch && !recovery.positions_lost {
                // A folder that is new says so: without positions the next life would have to take
                // them for lost, though nobody has acknowledged anything yet. If the disk refuses,
                // the first acknowledgement tries again.
                drop(journal.sync_positions());
            }
            Ok::<_, JournalError>((Stream::new(class, journal), recovery))
        };
        let (usage, usage_recovery) = open(Class::Usage, usage)?;
        let (security, security_recovery) = open(Class::Security, security)?;
        let mut spool = Self {
            usage,
            security,
            max_bytes,
            unreported: Vec::new(),
            reported: VecDeque::new(),
            told: None,
            gone: Vec::new(),
            failing: false,
        };
        for (class, recovery) in [
            (Class::Usage, &usage_recovery),
            (Class::Security, &security_recovery),
        ] {
            spool.note_gone(class, "undecodable", &recovery.missing);
            spool.note_gone(class, "lost", &recovery.untold);
        }
        Ok((spool, [usage_recovery, security_recovery]))
    }

    /// The life of a class's journal: part of every record's name.
    pub fn epoch(&self, class: Class) -> &str {
        self.stream(class).journal.epoch()
    }

    /// Takes a window.
    pub fn window(&mut self, window: &UsageWindow, now_unix_ns: u64) {
        self.append(
            Class::Usage,
            &otlp::metrics::encode(window).encode_to_vec(),
            now_unix_ns,
        );
    }

    /// Takes an event that happened at `time_unix_ns`. A loss is kept until the journal has room for
    /// it, and added to others of its kind meanwhile: one that is shed would be told as another.
    pub fn event(&mut self, event: &AuditEvent, time_unix_ns: u64, now_unix_ns: u64) {
        if let AuditEvent::Loss(loss) = event {
            self.note(loss.clone());
            return;
        }
        let record = otlp::logs::encode(event, time_unix_ns);
        self.append(Class::Security, &record.encode_to_vec(), now_unix_ns);
    }

    fn append(&mut self, class: Class, payload: &[u8], now_unix_ns: u64) {
        if !self.stream_mut(class).append(payload, now_unix_ns) {
            self.note_loss(class, "shed", 1, None);
        }
    }

    /// Makes everything durable that was taken, within the bound. After an error the records are
    /// kept, and the next call tries again.
    pub fn commit(&mut self, now_unix_ns: u64) -> Result<(), JournalError> {
        self.report_losses(now_unix_ns);
        let done = self.make_room().and_then(|()| {
            // Security first: if the disk has room for one of them, it is this.
            let security = self.security.sync();
            let usage = self.usage.sync();
            security.and(usage)
        });
        if let Err(error) = &done
            && error.is_disk_full()
        {
            // Room for evidence: what can be done without goes now. If that fails as well, the disk's
            // first word is the one to tell.
            drop(self.shed(Class::Usage));
        }
        self.failing = done.is_err();
        // What was shed and is on record is not to be told again by the next life. If the disk
        // refuses, the next commit tries again.
        drop(self.remember_told());
        done
    }

    /// Run by run: a mark below which nothing is told again would hide damage that comes later.
    fn remember_told(&mut self) -> Result<(), JournalError> {
        let Some(record) = self.told else {
            return Ok(());
        };
        if record > self.security.journal.durable_seq() {
            return Ok(());
        }
        if self.unreported.is_empty() {
            for (class, range) in std::mem::take(&mut self.gone) {
                self.stream_mut(class).journal.mark_told(&[range]);
            }
        }
        self.usage.journal.sync_positions()?;
        self.security.journal.sync_positions()?;
        self.told = None;
        Ok(())
    }

    /// Records, usage and security, that are on no disk, and those that were lost before without a
    /// record of it on the disk.
    pub fn undurable(&self) -> [u64; 2] {
        let durable = self.security.journal.durable_seq();
        let pending = self.reported.iter().filter(|(seq, _)| *seq > durable);
        let told: Vec<_> = pending.map(|(_, loss)| loss).collect();
        let untold = self.unreported.iter().chain(told.iter().copied());
        let lost = |class| {
            let of_class = untold.clone().filter(|loss| loss.lost_class == class);
            of_class.map(|loss| loss.count).sum::<u64>()
        };
        // What tells of losses is no loss itself.
        let records = self.security.journal.pending().saturating_sub(told.len());
        [
            self.usage.journal.pending() as u64 + lost(Class::Usage),
            records as u64 + lost(Class::Security),
        ]
    }

    /// Records shed since the start.
    pub const fn shed_total(&self) -> u64 {
        self.usage.shed_total() + self.security.shed_total()
    }

    /// The disk refused the last commit.
    pub const fn is_failing(&self) -> bool {
        self.failing
    }

    fn make_room(&mut self) -> Result<(), JournalError> {
        while self.usage.bytes() + self.security.bytes() > self.max_bytes {
            if !self.shed(Class::Usage)? && !self.shed(Class::Security)? {
                break;
            }
        }
        Ok(())
    }

    /// Sheds the oldest segment of a class; false if it has none.
    fn shed(&mut self, class: Class) -> Result<bool, JournalError> {
        let Some(shed) = self.stream_mut(class).shed_oldest()? else {
            return Ok(false);
        };
        if shed.count > 0 {
            let range = (shed.first_seq, shed.last_seq);
            self.note_loss(class, "shed", shed.count, Some(range));
            self.gone.push((class, range));
        }
        while class == Class::Security
            && let Some((_, loss)) = self.reported.pop_front_if(|(seq, _)| *seq <= shed.last_seq)
        {
            self.note(loss);
        }
        Ok(true)
    }

    fn note_loss(&mut self, class: Class, fate: &str, count: u64, range: Option<(u64, u64)>) {
        self.note(Loss {
            stage: stage::SPOOL.to_owned(),
            lost_class: class,
            fate: fate.to_owned(),
            count,
            first_seq: range.map(|(first, _)| first),
            last_seq: range.map(|(_, last)| last),
        });
    }

    /// Keeps a loss for the next commit, with others of its kind: there are few kinds.
    fn note(&mut self, new: Loss) {
        let known = self.unreported.iter_mut().find(|loss| {
            loss.stage == new.stage
                && loss.lost_class == new.lost_class
                && loss.fate == new.fate
                && loss.first_seq.is_some() == new.first_seq.is_some()
        });
        if let Some(loss) = known {
            loss.count += new.count;
            loss.first_seq = loss.first_seq.min(new.first_seq);
            loss.last_seq = loss.last_seq.max(new.last_seq);
            return;
        }
        self.unreported.push(new);
    }

    fn report_losses(&mut self, now_unix_ns: u64) {
        let losses = std::mem::take(&mut self.unreported);
        for loss in losses {
            let record = otlp::logs::encode(&AuditEvent::Loss(loss.clone()), now_unix_ns);
            let payload = record.encode_to_vec();
            match self.security.append_or_refuse(&payload, now_unix_ns) {
                Some(seq) => {
                    self.told = Some(seq);
                    self.reported.push_back((seq, loss));
                }
                None => self.unreported.push(loss),
            }
        }
    }

    /// The oldest durable records that are not acknowledged. Empty if there are none.
    pub fn next_batch(
        &mut self,
        class: Class,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Outgoing, JournalError> {
        let (batch, damaged) = self.stream_mut(class).read(max_records, max_bytes)?;
        self.note_gone(class, "undecodable", &damaged);
        Ok(batch)
    }

    /// Goes on behind a segment that [`next_batch`](Self::next_batch) could not read, and counts and
    /// tells what was in it. How many records that were.
    pub fn skip_unreadable(&mut self, class: Class) -> u64 {
        let given_up = self.stream_mut(class).give_up();
        self.note_gone(class, "undecodable", &given_up);
        given_up.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// These numbers are gone; those that no earlier life has told become a loss.
    fn note_gone(&mut self, class: Class, fate: &str, ranges: &[(u64, u64)]) {
        for (first, last) in self.stream(class).journal.untold(ranges) {
            self.note_loss(class, fate, last - first + 1, Some((first, last)));
            self.gone.push((class, (first, last)));
        }
    }

    /// The collector has everything up to `seq`; of these it refused `rejected` for good.
    pub fn acknowledge(
        &mut self,
        class: Class,
        seq: u64,
        rejected: u64,
    ) -> Result<(), JournalError> {
        if rejected > 0 {
            self.note_loss(class, "rejected", rejected, None);
        }
        while class == Class::Security
            && self
                .reported
                .pop_front_if(|(told, _)| *told <= seq)
                .is_some()
        {}
        self.stream_mut(class).acknowledge(seq, rejected)
    }

    /// The books of both classes since the start; what an earlier life left behind counts as emitted.
    pub fn fates(&self) -> Vec<StageFates> {
        [&self.usage, &self.security]
            .into_iter()
            .map(Stream::fates)
            .collect()
    }

    /// Sizes.
    pub fn levels(&self) -> [Level; 2] {
        [self.usage.level(), self.security.level()]
    }

    const fn stream(&self, class: Class) -> &Stream<S> {
        match class {
            Class::Usage => &self.usage,
            Class::Security => &self.security,
        }
    }

    const fn stream_mut(&mut self, class: Class) -> &mut Stream<S> {
        match class {
            Class::Usage => &mut self.usage,
            Class::Security => &mut self.security,
        }
    }
}

/// Nothing happened to any record yet.
const fn no_fates() -> Fates {
    Fates {
        emitted: 0,
        lost: 0,
        undecodable: 0,
        filtered: 0,
        shed: 0,
        expired: 0,
        rejected: 0,
        quarantined: 0,
        delivered: 0,
        in_flight: 0,
    }
}

#[cfg(test)]
mod tests;

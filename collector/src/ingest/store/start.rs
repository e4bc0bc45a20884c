//! A start: what earlier lives left, in the checkpoint and in the journals behind it.
//!
//! What damage took is counted and told here, once over all lives: numbers that a record tells of
//! already are known from the checkpoint and from that record itself.

use std::sync::{Arc, Mutex};

use plimsoll_journal::{Journal, Options, Recovery, Storage};
use plimsoll_wire::Class;
use prost::Message;

use super::inner::{Checkpoint, Inner, SEEN, checkpoint_failed, keep, reader_of};
use super::{Folders, StoreError, failed};
use crate::hands::Hands;
use crate::ingest::checkpoint::Slots;
use crate::ingest::dedupe::{Bounds, Dedupe};
use crate::ingest::losses::{self, Losses};
use crate::ingest::watch::Watch;
use crate::ingest::{Counts, decode, place};

/// Reads of one place before its segment is given up; the start does not wait between them.
const READ_ATTEMPTS: u32 = 3;

impl<S: Storage> Inner<S> {
    pub(super) fn open(
        folders: Folders<S>,
        max_bytes: u64,
        new_epochs: [String; 2],
        bounds: Bounds,
        counts: Arc<Counts>,
    ) -> Result<(Self, [Recovery; 2]), StoreError> {
        let mut max_record_bytes = 0;
        let mut open = |class: Class, storage: S, number: u8, epoch: String| {
            let mut options = Options::new(number, &[SEEN, reader_of(class)], epoch);
            // Several segments within the bound, so that shedding takes a part and not all.
            options.segment_bytes = options.segment_bytes.min(max_bytes / 16).max(64 << 10);
            max_record_bytes = options.max_record_bytes;
            Journal::open(storage, options).map_err(failed(class))
        };
        let [usage_epoch, security_epoch] = new_epochs;
        let (usage, usage_found) = open(Class::Usage, folders.usage, 1, usage_epoch)?;
        let (security, security_found) =
            open(Class::Security, folders.security, 2, security_epoch)?;
        let (slots, body) = Slots::open(folders.seen, max_bytes / 16);
        let checkpoint = body.and_then(|body| Checkpoint::decode(body.as_slice()).ok());
        let checkpoint = checkpoint.unwrap_or_default();
        let mut inner = Self {
            journals: [usage, security],
            slots,
            seen: Dedupe::restore(bounds, checkpoint.streams),
            losses: Losses::default(),
            watch: Arc::new(Mutex::new(Watch::restore(checkpoint.agents))),
            counts,
            max_bytes,
            max_age_ns: None,
            max_record_bytes,
            refused_unwritten: false,
            entered: [0; 2],
            unsynced: [(0, 0); 2],
            hands: [Hands::default(), Hands::default()],
        };
        for class in Class::ALL {
            let at = place(class);
            let known = checkpoint.epochs.get(at).map(String::as_str);
            let same = known == Some(inner.journal(class).epoch());
            let told = |numbers: &[u64]| numbers.get(at).copied().filter(|_| same).unwrap_or(0);
            inner.replay(class, told(&checkpoint.journal_seq))?;
        }
        Ok((inner, [usage_found, security_found]))
    }

    /// Remembers what came in after the checkpoint. A segment that cannot be read is given up, as
    /// one that could not even be opened is: a bad sector is no reason not to start.
    ///
    /// # Errors
    /// The process cannot read what is there: that gives up nothing.
    pub(super) fn replay(&mut self, class: Class, checkpoint: u64) -> Result<(), StoreError> {
        let mut from = checkpoint + 1;
        let mut failures = 0;
        loop {
            let batch = match self.journal(class).read(from, 1000, 4 << 20) {
                Ok(batch) => {
                    self.lose(class, &batch.damaged);
                    batch
                }
                Err(error) if error.is_of_process() => return Err(failed(class)(error)),
                Err(error) => {
                    failures += 1;
                    if failures >= READ_ATTEMPTS {
                        failures = 0;
                        if !self.pass_unreadable(class, from, &failed(class)(error)) {
                            break;
                        }
                    }
                    continue;
                }
            };
            let Some(last) = batch.records.last().map(|record| record.seq) else {
                break;
            };
            for record in &batch.records {
                let id = match class {
                    Class::Usage => decode::usage_window(&record.payload).map(|(id, _)| id),
                    Class::Security => {
                        decode::audit_event(&record.payload).map(|(id, time_unix_ns, event)| {
                            self.losses.found(&id, &event);
                            self.watch()
                                .found(&id, (time_unix_ns, record.time_unix_ns), &event);
                            id
                        })
                    }
                };
                if let Ok(id) = id {
                    self.seen.accept_found(&id);
                }
            }
            from = last + 1;
        }
        self.seen.synced(class);
        Ok(())
    }

    /// Gives up a segment; what its reader has not had is lost. False if there was none to give up.
    fn pass_unreadable(&mut self, class: Class, from: u64, error: &StoreError) -> bool {
        let given_up = self.journal(class).give_up_segment(from);
        let records = self.lose(class, &given_up);
        tracing::error!(
            class = class.as_str(),
            records,
            error = error as &dyn std::error::Error,
            "gave up a part of the journal that cannot be read at the start"
        );
        !given_up.is_empty()
    }

    /// These numbers turned out to be unreadable at the start: what the reader has not had of them, and no earlier
    /// life has told, is lost. How many that are.
    fn lose(&mut self, class: Class, ranges: &[(u64, u64)]) -> u64 {
        let reader = reader_of(class);
        let journal = self.journal(class);
        let cursor = journal.cursor(reader).unwrap_or(0);
        let untold = journal.untold(ranges);
        journal.mark_told(&losses::within(&untold, 0, cursor + 1));
        let unread = losses::within(&untold, cursor, u64::MAX);
        let unread = self.losses.not_on_record(class, &unread);
        let count = losses::count_after(&unread, cursor);
        self.hands(class).lose(reader, count);
        self.losses.note_all(class, "lost", &unread);
        count
    }

    /// Counts and tells what the start found damaged. What cannot be told now waits.
    pub(super) fn begin(&mut self, recoveries: &[Recovery; 2], now: u64) {
        for (class, recovery) in Class::ALL.into_iter().zip(recoveries) {
            let reader = reader_of(class);
            let cursor = self.journal(class).cursor(reader).unwrap_or(0);
            let sure = losses::within(&recovery.missing, cursor, recovery.unsure_from);
            let sure = self.losses.not_on_record(class, &sure);
            self.hands(class)
                .lose(reader, losses::count_after(&sure, cursor));
            let untold = self.losses.not_on_record(class, &recovery.untold);
            for (first, last) in sure.iter().chain(&untold) {
                tracing::error!(
                    class = class.as_str(),
                    first,
                    last,
                    "journal was damaged, or shed what it did not tell: records are lost"
                );
            }
            self.losses.note_all(class, "lost", &sure);
            self.losses.note_all(class, "lost", &untold);
            let torn_from = cursor.max(recovery.unsure_from.saturating_sub(1));
            let torn = losses::count_after(&recovery.missing, torn_from);
            // What was torn, what the reader has had, and what a record tells of.
            let settled = [
                losses::without(&recovery.missing, &sure),
                losses::without(&recovery.untold, &untold),
            ];
            self.journal(class).mark_told(&settled.concat());
            if torn > 0 {
                // Whoever got no answer sends again. Had there been one, the node's own numbers
                // show the gap.
                tracing::warn!(
                    class = class.as_str(),
                    at_most = torn,
                    "journal has a torn end: what was not acknowledged comes again"
                );
            }
        }
        let mut begun = self.tell(now);
        if begun.is_ok() {
            for class in Class::ALL {
                let written = self.journal(class).sync_positions().map_err(failed(class));
                keep(&mut begun, written);
            }
        }
        keep(
            &mut begun,
            self.slots.hold_room().map_err(checkpoint_failed),
        );
        if let Err(error) = begun {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "journal opened, but its disk refuses"
            );
        }
    }
}

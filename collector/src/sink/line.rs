//! One audit record as one line of JSON. Pure.

use serde::Serialize;
use serde_json::Value;

use crate::api::{AuditRecord, Document};

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    document: Document<'a>,
    journal: JournalPlace<'a>,
}

#[derive(Serialize)]
struct JournalPlace<'a> {
    epoch: &'a str,
    seq: u64,
}

/// Appends the line. `journal` names the record's place in the collector's own journal.
pub fn write(out: &mut Vec<u8>, journal_epoch: &str, journal_seq: u64, record: &AuditRecord) {
    let line = Line {
        document: record.document(),
        journal: JournalPlace {
            epoch: journal_epoch,
            seq: journal_seq,
        },
    };
    // Its keys are strings and a vector has always room: this cannot fail.
    drop(serde_json::to_writer(&mut *out, &line));
    out.push(b'\n');
}

/// Where a file's lines end, in terms of one journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The last line of that journal has this number.
    At(u64),
    /// There are lines, but all are of another journal.
    OtherJournal,
    /// No line says its place.
    Nowhere,
}

/// The journal's place in the last whole line that has one of this epoch, and how many bytes are
/// whole lines.
pub fn last_whole(bytes: &[u8], journal_epoch: &str) -> (Place, usize) {
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let mut place = Place::Nowhere;
    let lines = bytes.get(..whole).unwrap_or_default();
    for line in lines.rsplit(|byte| *byte == b'\n') {
        match place_of(line) {
            Some((epoch, seq)) if epoch == journal_epoch => return (Place::At(seq), whole),
            Some(_) => place = Place::OtherJournal,
            None => {}
        }
    }
    (place, whole)
}

/// The last whole line, without its end.
pub fn last(bytes: &[u8]) -> Option<Vec<u8>> {
    let whole = bytes.get(..memchr::memrchr(b'\n', bytes)?)?;
    let begin = memchr::memrchr(b'\n', whole).map_or(0, |at| at + 1);
    whole.get(begin..).map(<[u8]>::to_vec)
}

fn place_of(line: &[u8]) -> Option<(String, u64)> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let journal = line.get("journal")?;
    let epoch = journal.get("epoch")?.as_str()?.to_owned();
    Some((epoch, journal.get("seq")?.as_u64()?))
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::event::Loss;
    use plimsoll_wire::{AuditEvent, Class, RecordId};

    use super::*;

    #[test]
    fn a_torn_line_is_not_believed() {
        let event = AuditEvent::Loss(Loss {
            stage: "spool".into(),
            lost_class: Class::Usage,
            fate: "shed".into(),
            count: 1,
            first_seq: None,
            last_seq: None,
        });
        let id = RecordId {
            node: "n".into(),
            epoch: "e".into(),
            class: Class::Security,
            seq: 9,
        };
        let record = AuditRecord {
            time_unix_ns: 1_700_000_000_000_000_000,
            id,
            event,
            names: serde_json::Map::new(),
        };
        let mut bytes = Vec::new();
        for seq in [7, 8] {
            write(&mut bytes, "j", seq, &record);
        }
        let whole = bytes.len() / 2;
        insta::assert_snapshot!(String::from_utf8_lossy(&bytes[..whole]));
        assert_eq!(last_whole(&bytes, "j"), (Place::At(8), bytes.len()));
        assert_eq!(
            last_whole(&bytes, "other"),
            (Place::OtherJournal, bytes.len())
        );
        for cut in whole..bytes.len() {
            assert_eq!(last_whole(&bytes[..cut], "j"), (Place::At(7), whole));
        }
        assert_eq!(last_whole(&bytes[..3], "j"), (Place::Nowhere, 0));
    }
}

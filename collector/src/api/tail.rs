#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the end of the audit file"
)]
//! The newest events of an audit file, so that the audit page is not empty after a restart.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::AuditRing;

/// Most bytes read from the file's end.
const MAX_TAIL_BYTES: u64 = 16 << 20;

/// Loads the newest lines of a file of [`super::AuditRecord::to_document`] lines. Returns how many
/// lines were no such document; a line that the beginning of the tail cuts is not counted.
pub fn load_tail(path: &Path, ring: &AuditRing) -> io::Result<usize> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let begin = length.saturating_sub(MAX_TAIL_BYTES);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(MAX_TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = match begin {
        0 => text.as_ref(),
        _ => text.split_once('\n').map_or("", |(_, whole)| whole),
    };
    Ok(ring.load(whole.lines()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::AuditQuery;
    use crate::api::tests::access;

    #[test]
    fn the_newest_lines_come_back_and_a_cut_one_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let line = |seq| {
            access(seq, seq * 1_000_000_000, "CRED", "shop")
                .to_document()
                .to_string()
        };
        let padding = "x".repeat(usize::try_from(MAX_TAIL_BYTES).unwrap());
        std::fs::write(
            &path,
            format!("{}\n{padding}\n{}\nnoise\n{}\n", line(1), line(2), line(3)),
        )
        .unwrap();
        let ring = AuditRing::default();
        assert_eq!(load_tail(&path, &ring).unwrap(), 1);
        let (found, _) = ring.query(&AuditQuery::default(), 0).unwrap();
        assert_eq!(
            found.iter().map(|record| record.id.seq).collect::<Vec<_>>(),
            [3, 2]
        );
        assert!(load_tail(&dir.path().join("none"), &ring).is_err());
    }
}

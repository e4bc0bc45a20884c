#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the end of the audit file"
)]
//! The newest events of an audit file, so that the audit page is not empty after a restart.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::AuditRing;

/// Most bytes read, of all files together.
const MAX_TAIL_BYTES: u64 = 16 << 20;

/// Loads the newest lines of a file of [`super::AuditRecord::to_document`] lines, and of those that
/// were put aside before it (`.1` is the newest of them). Returns how many lines were no such
/// document; a line that the beginning of the tail cuts is not counted.
pub fn load_tail(path: &Path, ring: &AuditRing) -> io::Result<usize> {
    let mut tails = vec![read_tail(path, MAX_TAIL_BYTES)?];
    let mut left = MAX_TAIL_BYTES;
    for number in 1_u32.. {
        left = left.saturating_sub(tails.last().map_or(0, |tail| tail.len() as u64));
        let mut older = path.as_os_str().to_owned();
        older.push(format!(".{number}"));
        if left == 0 || !Path::new(&older).exists() {
            break;
        }
        tails.push(read_tail(Path::new(&older), left)?);
    }
    let oldest_first = tails.iter().rev();
    Ok(oldest_first.map(|tail| ring.load(tail.lines())).sum())
}

/// The last whole lines of a file.
fn read_tail(path: &Path, most: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let begin = length.saturating_sub(most);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(match begin {
        0 => text.into_owned(),
        _ => text
            .split_once('\n')
            .map_or("", |(_, whole)| whole)
            .to_owned(),
    })
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

    #[test]
    fn files_that_were_put_aside_come_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        for (seq, name) in [(3, ""), (2, ".1"), (1, ".2"), (9, ".4")] {
            let line = access(seq, seq * 1_000_000_000, "CRED", "shop").to_document();
            std::fs::write(
                dir.path().join(format!("audit.jsonl{name}")),
                format!("{line}\n"),
            )
            .unwrap();
        }
        let ring = AuditRing::default();
        assert_eq!(load_tail(&path, &ring).unwrap(), 0);
        let (found, _) = ring.query(&AuditQuery::default(), 0).unwrap();
        assert_eq!(
            found.iter().map(|record| record.id.seq).collect::<Vec<_>>(),
            [3, 2, 1],
            "what a hole in the row hides is older than all of it"
        );
    }
}

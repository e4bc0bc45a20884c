#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the end of the audit file"
)]
//! The newest events of an audit file, so that the audit page is not empty after a restart.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::AuditRing;

/// Most bytes read, of all files together.
const MAX_TAIL_BYTES: u64 = 16 << 20;

/// Loads the newest lines of a file of [`super::AuditRecord::to_document`] lines, and of those that were
/// put aside before it (`.1` is the newest of them). A rotation that was cut off leaves one of them out,
/// or the file itself: what is behind is there all the same. Returns how many lines were no such
/// document; a line that the beginning of the tail cuts is not counted. A file that cannot be read is an
/// error that names it, and keeps out nothing of the others; two in a row that are not there or cannot be
/// read are the end.
pub fn load_tail(path: &Path, ring: &AuditRing) -> io::Result<usize> {
    let mut tails = Vec::new();
    let mut left = MAX_TAIL_BYTES;
    let (mut is_missed, mut unreadable) = (false, None);
    for number in 0_u32.. {
        let mut name = path.as_os_str().to_owned();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        let name = Path::new(&name);
        match read_tail(name, left) {
            Ok((tail, written_unix_ns)) => {
                is_missed = false;
                left = left.saturating_sub(tail.len() as u64);
                tails.push((tail, written_unix_ns));
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    unreadable.get_or_insert_with(|| named(name, &error));
                }
                if is_missed {
                    break;
                }
                is_missed = true;
            }
        }
        if left == 0 {
            break;
        }
    }
    let oldest_first = tails.iter().rev();
    let refused = oldest_first.map(|(tail, written)| ring.load(tail.lines(), *written));
    let refused = refused.sum();
    unreadable.map_or(Ok(refused), Err)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The last whole lines of a file, and when it was written last, Unix nanoseconds.
fn read_tail(path: &Path, most: u64) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let facts = file.metadata()?;
    let length = facts.len();
    let written = facts.modified().ok();
    let written = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let written = written.and_then(|time| u64::try_from(time.as_nanos()).ok());
    let begin = length.saturating_sub(most);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = match begin {
        0 => text.into_owned(),
        _ => text
            .split_once('\n')
            .map_or("", |(_, whole)| whole)
            .to_owned(),
    };
    Ok((whole, written.unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::AuditQuery;
    use crate::api::Seen;
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
        let (found, _) = ring.query(&AuditQuery::default(), &Seen::All, 0).unwrap();
        assert_eq!(
            found.iter().map(|record| record.id.seq).collect::<Vec<_>>(),
            [3, 2]
        );
        assert_eq!(load_tail(&dir.path().join("none"), &ring).unwrap(), 0);
        assert!(load_tail(&path.join("no folder"), &ring).is_err());
    }

    /// Numbers in what is found, of files with these ends, each with one line.
    #[track_caller]
    fn check(files: &[(u64, &str)], expected: &[u64]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        for (seq, end) in files {
            let line = access(*seq, seq * 1_000_000_000, "CRED", "shop").to_document();
            let file = dir.path().join(format!("audit.jsonl{end}"));
            std::fs::write(file, format!("{line}\n")).unwrap();
        }
        let ring = AuditRing::default();
        assert_eq!(load_tail(&path, &ring).unwrap(), 0);
        let (found, _) = ring.query(&AuditQuery::default(), &Seen::All, 0).unwrap();
        let found: Vec<u64> = found.iter().map(|record| record.id.seq).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn files_that_were_put_aside_come_before_it() {
        check(&[(3, ""), (2, ".1"), (1, ".2")], &[3, 2, 1]);
        // No rotation of ours leaves two out.
        check(&[(3, ""), (2, ".1"), (1, ".4")], &[3, 2]);
    }

    /// A folder in the place of a file: it can be opened and not read, whoever asks.
    #[test]
    fn a_file_that_cannot_be_read_is_told_and_hides_nothing() {
        for bad in [0, 1, 2] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("audit.jsonl");
            for (at, end) in ["", ".1", ".2"].into_iter().enumerate() {
                let file = dir.path().join(format!("audit.jsonl{end}"));
                if at == bad {
                    std::fs::create_dir(file).unwrap();
                    continue;
                }
                let line = access(at as u64, 1, "CRED", "shop").to_document();
                std::fs::write(file, format!("{line}\n")).unwrap();
            }
            let ring = AuditRing::default();
            let error = load_tail(&path, &ring).unwrap_err().to_string();
            assert!(error.contains("audit.jsonl"), "{error}");
            let (found, _) = ring.query(&AuditQuery::default(), &Seen::All, 0).unwrap();
            assert_eq!(found.len(), 2, "without the file {bad}");
        }
    }

    #[test]
    fn a_rotation_that_was_cut_off_hides_nothing() {
        // Before the file was put aside, and before the next was begun.
        check(&[(3, ""), (2, ".2"), (1, ".3")], &[3, 2, 1]);
        check(&[(3, ".1"), (2, ".2"), (1, ".3")], &[3, 2, 1]);
        // In the midst of the others.
        check(&[(3, ""), (2, ".1"), (1, ".3")], &[3, 2, 1]);
    }
}

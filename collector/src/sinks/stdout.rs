//! The sink to standard output: a line for each event. The collector's own log goes to standard error.
//!
//! A message counts as taken once its line is in the pipe, whole: what becomes of it behind that nobody says. A line
//! that was cut off is gone on with where it was, as the same message comes again. Where it does not, as the trail had no room
//! for it any longer, the torn line ends before the next one begins.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio_util::sync::CancellationToken;

use super::{Message, QuarantineReason, Quarantined, RefusalKind, Refused, Sent};

/// A pipe that can be written to takes so many bytes without waiting: PIPE_BUF, pipe(7).
const CHUNK: usize = 4096;
/// How long nobody may read before that is a refusal.
const STALL: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// See the module.
#[derive(Debug, Default)]
pub struct Stdout {
    to: Option<OwnedFd>,
    /// Of the message with that number so many bytes of its line are written.
    begun: Option<(u64, usize)>,
}

impl Stdout {
    /// What is read at the other end of that, in place of standard output.
    #[cfg(test)]
    const fn to(to: OwnedFd) -> Self {
        Self {
            to: Some(to),
            begun: None,
        }
    }

    /// Writes as many lines as are taken before nobody reads for a second, or before `last`.
    ///
    /// # Errors
    /// Not one was taken whole.
    pub fn send(
        &mut self,
        messages: &[Message],
        last: &CancellationToken,
    ) -> Result<Sent, Refused> {
        let mut sent = Sent::default();
        for message in messages {
            if message.text.is_empty() {
                sent.quarantined.push(Quarantined {
                    seq: message.seq,
                    reason: QuarantineReason::Empty,
                });
            } else if let Err(source) = self.line(message, last) {
                if sent.taken > 0 {
                    break;
                }
                return Err(refused(source));
            } else {
                sent.delivered += 1;
            }
            sent.taken += 1;
        }
        Ok(sent)
    }

    fn line(&mut self, message: &Message, last: &CancellationToken) -> io::Result<()> {
        if self.begun.is_some_and(|(seq, _)| seq != message.seq) {
            self.some(b"\n", last)?;
            self.begun = None;
        }
        let line = [message.text.as_bytes(), b"\n"].concat();
        let mut at = self.begun.take().map_or(0, |(_, at)| at);
        while let Some(rest) = line.get(at..).filter(|rest| !rest.is_empty()) {
            match self.some(rest, last) {
                Ok(written) => at += written,
                Err(error) => {
                    self.begun = (at > 0).then_some((message.seq, at));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn some(&mut self, rest: &[u8], last: &CancellationToken) -> io::Result<usize> {
        let to = match &self.to {
            Some(to) => to,
            None => self.to.insert(io::stdout().as_fd().try_clone_to_owned()?),
        };
        if last.is_cancelled() {
            return Err(io::Error::other("the collector ends"));
        }
        let mut polled = [PollFd::new(to, PollFlags::OUT)];
        if poll(&mut polled, Some(&STALL))? == 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads"));
        }
        let rest = rest.get(..CHUNK).unwrap_or(rest);
        Ok(rustix::io::write(to, rest)?)
    }
}

fn refused(source: io::Error) -> Refused {
    Refused {
        kind: RefusalKind::Unavailable,
        what: "write to standard output".to_owned(),
        source: Some(source.into()),
        retry_after_ms: None,
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test reads at the same time")]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn message(seq: u64, bytes: usize) -> Message {
        Message {
            seq,
            time_unix_ns: 1,
            uid: seq.to_string(),
            text: "x".repeat(bytes),
        }
    }

    #[test]
    fn each_line_is_there_whole_and_once_however_often_nobody_reads() {
        let (mut reads, writes) = io::pipe().unwrap();
        let mut sink = Stdout::to(writes.into());
        let last = CancellationToken::new();
        // More than a pipe holds, so that the second line is cut off.
        let messages = [message(1, 60_000), message(2, 60_000), message(3, 3)];
        assert_eq!(sink.send(&messages, &last).unwrap().taken, 1);
        let why = sink.send(&messages[1..], &last).unwrap_err();
        assert_eq!(why.kind, RefusalKind::Unavailable);
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reads.read_to_string(&mut text).map(|_| text)
        });
        assert_eq!(sink.send(&messages[1..], &last).unwrap().taken, 2);
        drop(sink);
        let text = reading.join().unwrap().unwrap();
        let lengths: Vec<_> = text.lines().map(str::len).collect();
        assert_eq!(
            (lengths, text.ends_with('\n')),
            (vec![60_000, 60_000, 3], true)
        );
    }

    /// The trail has shed it: nothing else is written into its line.
    #[test]
    fn a_torn_line_that_does_not_come_again_ends_before_the_next() {
        let (mut reads, writes) = io::pipe().unwrap();
        let mut sink = Stdout::to(writes.into());
        let last = CancellationToken::new();
        sink.send(&[message(1, 100_000)], &last).unwrap_err();
        sink.send(&[message(2, 3)], &last).unwrap_err();
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reads.read_to_string(&mut text).map(|_| text)
        });
        assert_eq!(sink.send(&[message(2, 3)], &last).unwrap().taken, 1);
        drop(sink);
        let text = reading.join().unwrap().unwrap();
        assert!(text.ends_with("x\nxxx\n") && text.lines().count() == 2);
    }

    #[test]
    fn a_reader_that_is_gone_is_a_refusal() {
        let (reads, writes) = io::pipe().unwrap();
        drop(reads);
        let mut sink = Stdout::to(writes.into());
        let why = sink
            .send(&[message(1, 3)], &CancellationToken::new())
            .unwrap_err();
        assert_eq!(why.kind, RefusalKind::Unavailable);
        let last = CancellationToken::new();
        last.cancel();
        let (_reads, writes) = io::pipe().unwrap();
        assert!(
            Stdout::to(writes.into())
                .send(&[message(1, 3)], &last)
                .is_err()
        );
    }

    #[test]
    fn what_is_empty_is_kept_apart() {
        let (_reads, writes) = io::pipe().unwrap();
        let sent = Stdout::to(writes.into())
            .send(&[message(1, 0), message(2, 3)], &CancellationToken::new())
            .unwrap();
        assert_eq!(
            (sent.taken, sent.delivered, sent.quarantined.len()),
            (2, 1, 1)
        );
    }
}

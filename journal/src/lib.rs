//! The durable log behind the agent's spool and the collector's journal.
//!
//! One [`Journal`] is one folder and one class of record. Records get the numbers 1, 2, 3, …; the
//! count goes on over restarts, and a number is never given to two records that anybody has seen.
//! A hole in the numbers is damage or a deliberate shed, and either is reported.
//!
//! ```text
//!  append ─► pending (memory) ─ sync: write + fdatasync ─► segment files ─► read ─► set_cursor
//!                                                          oldest removed when every cursor is past
//! ```
//!
//! Deliberately not known here: what a record holds, who reads it, how much room all classes may
//! take together (the owner of several journals decides which one sheds), and the time of day.
//!
//! * [`frame`]: the bytes of one record, and finding records among damaged bytes
//! * `seal`: the end of a file that is not written again, by which a start knows it without reading it
//! * `positions`: the two-slot file that holds the cursors
//! * `numbers`: which of what is gone is on record
//! * [`inspect`]: a folder looked at from outside
//! * [`Storage`]: the seam to the disk; [`FileStorage`] is the real one

#![forbid(unsafe_code)]

pub mod frame;
pub mod inspect;
mod journal;
mod numbers;
mod positions;
mod recovery;
mod seal;
mod segment;
mod storage;
mod trouble;

mod file;
mod place;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use file::{FileStorage, ReadOnly, make_folder};
pub use journal::{Batch, Journal, JournalError, Options, Record, Shed, Stats};
pub use place::check_folder;
pub use recovery::{Damage, Recovery};
pub use storage::{Files, Storage};
pub use trouble::{Over, Trouble};

//! The accounting document: every stage's counts, and whether the law holds.

use plimsoll_wire::fate::Fates;
use plimsoll_wire::stage;
use serde::{Deserialize, Serialize};

use crate::sizing::rfc3339;

/// `schema` of the document.
pub const SCHEMA: &str = "plimsoll.accounting/v1";

/// Counts of one stage, class and destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRow {
    /// Node the stage is on; `None` for the collector.
    pub node: Option<String>,
    /// One of [`stage`].
    pub stage: String,
    /// Class or kind of record.
    pub class: String,
    /// Destination, for sinks.
    pub destination: Option<String>,
    /// The counts.
    pub fates: Fates,
}

/// A row with its balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountedRow {
    /// The row.
    #[serde(flatten)]
    pub row: StageRow,
    /// Emitted minus all fates: zero, or a bug.
    pub unaccounted: i64,
}

/// A stream of a node with numbers that never came. A loss record of the node explains each, or
/// records were taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Node name.
    pub node: String,
    /// Life of its spool.
    pub epoch: String,
    /// Stream.
    pub class: String,
    /// How many numbers never came.
    pub missing: u64,
    /// The newest ranges, from and to inclusive.
    pub ranges: Vec<(u64, u64)>,
}

/// `/api/v1/accounting`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountingDocument {
    /// [`SCHEMA`]
    pub schema: String,
    /// RFC 3339.
    pub as_of: String,
    /// Every row balances.
    pub balanced: bool,
    /// Sum of what no fate explains, over all rows, without sign.
    pub unaccounted: u64,
    /// By node, the collector last, and then along the way that a record goes.
    pub stages: Vec<AccountedRow>,
    /// Streams with numbers that never came.
    #[serde(default)]
    pub gaps: Vec<Gap>,
}

/// What rows are in order by.
fn along_the_way(row: &StageRow) -> impl Ord + '_ {
    let StageRow {
        node,
        stage,
        class,
        destination,
        ..
    } = row;
    let is_collector = node.is_none();
    (
        is_collector,
        node,
        stage::place(stage),
        stage,
        class,
        destination,
    )
}

impl AccountingDocument {
    /// Balances every row.
    pub fn new(mut rows: Vec<StageRow>, now_unix_ns: u64) -> Self {
        rows.sort_by(|a, b| along_the_way(a).cmp(&along_the_way(b)));
        let balance = |fates: &Fates| {
            let difference = fates.unaccounted();
            i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
        };
        let stages: Vec<AccountedRow> = rows
            .into_iter()
            .map(|row| AccountedRow {
                unaccounted: balance(&row.fates),
                row,
            })
            .collect();
        let unaccounted = stages.iter().fold(0_u64, |sum, row| {
            sum.saturating_add(row.unaccounted.unsigned_abs())
        });
        Self {
            schema: SCHEMA.to_owned(),
            as_of: rfc3339(now_unix_ns),
            balanced: unaccounted == 0,
            unaccounted,
            stages,
            gaps: Vec::new(),
        }
    }
}

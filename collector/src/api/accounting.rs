//! The accounting document: every stage's counts, and whether the law holds.

use plimsoll_wire::fate::Fates;
use serde::{Deserialize, Serialize};

use crate::sizing::rfc3339;

/// `schema` of the document.
pub const SCHEMA: &str = "plimsoll.accounting/v1";

/// Counts of one stage, class and destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRow {
    /// Node the stage is on; `None` for the collector.
    pub node: Option<String>,
    /// `security_ring`, `agent`, `spool`, `collector`, `sink`, ….
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
    /// By node, stage, class.
    pub stages: Vec<AccountedRow>,
}

impl AccountingDocument {
    /// Balances every row.
    pub fn new(mut rows: Vec<StageRow>, now_unix_ns: u64) -> Self {
        rows.sort_by(|a, b| {
            (&a.node, &a.stage, &a.class, &a.destination).cmp(&(
                &b.node,
                &b.stage,
                &b.class,
                &b.destination,
            ))
        });
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
        }
    }
}

//! The sink to a bucket of Amazon Security Lake: objects of Parquet, one for each window, class and day.
//!
//! ```text
//!  event ─► object::projected (OCSF 1.3) ─► window: which go together ─► object: columns ─► client (shell): PutObject
//!            └─ columns: which there are, of the class alone
//! ```
//!
//! What is told here of Security Lake is from its user guide, *Collecting data from custom sources*: a source for each
//! class, `PREFIX/SOURCE/region=R/accountId=A/eventDay=YYYYMMDD/`, an object every five minutes to a day.
//!
//! Each object has the same columns as every other of its class, and in `raw_data` the events as they are in the trail:
//! the chain can be verified from there. How a window is held and stored is the matter of `outlet/lake.rs`.

pub mod client;
pub mod columns;
pub mod interpret;
pub mod object;
pub mod read;
pub mod shred;
pub mod spool;
pub mod sum;
pub mod window;

use self::client::{Body, Client, Object};
use self::object::Writer;
use self::sum::Summed;
use super::{BoxError, RefusalKind, Refused};
use crate::config::sinks::SecurityLake as Settings;

/// What a probe's objects are called: there is one for each day.
const PROBE: &str = "probe.zstd.parquet";

/// Puts an object without events where those of each class go today: it shows whether they may be put there, and is
/// nothing to a query. Where they are.
///
/// # Errors
/// One is refused, as events would be.
pub async fn probe(settings: &Settings, now_ms: i64) -> Result<Vec<String>, Refused> {
    let client = Client::new(settings);
    let mut keys = Vec::new();
    for table in columns::all() {
        let folder = settings.sources.folder(table.name, &settings.source);
        let key = settings.key(&folder, &window::day(now_ms), PROBE);
        let object = empty(table).map_err(|source| Refused {
            kind: RefusalKind::Other,
            what: "make an object without events".to_owned(),
            source: Some(source),
            retry_after_ms: None,
        })?;
        client.put(&key, &object).await?;
        keys.push(key);
    }
    Ok(keys)
}

fn empty(table: &'static columns::Table) -> Result<Object, BoxError> {
    let writer = Writer::new(table, Summed::of(Vec::new()))?;
    let (bytes, len, sha256) = writer.finish()?.finish();
    Ok(Object {
        body: Body::Bytes(bytes),
        len,
        sha256,
    })
}

#[cfg(test)]
mod tests;

//! An object: rows of one class in Parquet, in the order in which they are given. Knows where it writes only as a
//! place for bytes.
//!
//! What Security Lake asks of an object (userguide/custom-sources.html): one class, sorted by time, zstandard, pages of
//! 1 MB at the most before they are packed, row groups of 256 MB at the most after. Row groups are far smaller here:
//! each is held in memory until it is written.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::ColumnPath;
use serde_json::Value;

use super::columns::{Column, Kind, RAW_DATA, TIME, TIME_DT, Table};
use super::shred::{Filled, Rows, Values};
use crate::ocsf::Schema;
use crate::ocsf::project::project;

/// Bytes of events in a row group, from which on it is closed.
pub const GROUP_BYTES: usize = 8 << 20;
/// An event that is longer has a row group of its own: two such in one page would be more than a page takes.
pub const LONG_EVENT: usize = 192 << 10;
/// Bytes of a page from which on it is closed. It has so many at the most, and a run or a long event more.
const PAGE_BYTES: usize = 512 << 10;
/// Bytes of a column that are written at once.
const RUN_BYTES: usize = 64 << 10;
/// The profile that [`TIME_DT`] is of.
const DATETIME: &str = "datetime";

/// An event of the trail in OCSF 1.3, and its class there; `None` if it is none of ours.
pub fn projected(event: &Value) -> Option<(i64, Value)> {
    let mut projected = project(event, Schema::v1_8(), Schema::v1_3())?;
    let class_uid = projected.get("class_uid")?.as_i64()?;
    let time = projected.get(TIME)?.as_i64()?;
    let members = projected.as_object_mut()?;
    members.insert(TIME_DT.to_owned(), time.into());
    let metadata = members.get_mut("metadata")?.as_object_mut()?;
    let profiles = metadata.get_mut("profiles").and_then(Value::as_array_mut);
    if let Some(profiles) = profiles
        && !profiles.iter().any(|profile| profile == DATETIME)
    {
        profiles.push(DATETIME.into());
    }
    Some((class_uid, projected))
}

/// Rows on their way into an object.
pub struct Writer<W: Write + Send> {
    table: &'static Table,
    file: SerializedFileWriter<W>,
    rows: Rows<'static>,
    /// Bytes of events in them.
    bytes: usize,
}

impl<W: Write + Send> Writer<W> {
    /// Begins an object of a class.
    ///
    /// # Errors
    /// It cannot be written to.
    pub fn new(table: &'static Table, to: W) -> Result<Self, ParquetError> {
        let file =
            SerializedFileWriter::new(to, Arc::clone(&table.schema), properties(table)?.into())?;
        Ok(Self {
            table,
            file,
            rows: Rows::of(&table.columns),
            bytes: 0,
        })
    }

    /// Adds an event: as [`projected`], and its text.
    ///
    /// # Errors
    /// As above.
    pub fn add(&mut self, mut event: Value, text: &str) -> Result<(), ParquetError> {
        let is_long = text.len() > LONG_EVENT;
        if is_long || self.bytes + text.len() > GROUP_BYTES {
            self.group()?;
        }
        if let Some(members) = event.as_object_mut() {
            members.insert(RAW_DATA.to_owned(), text.into());
        }
        self.rows.push(&event);
        self.bytes += text.len();
        if is_long {
            self.group()?;
        }
        Ok(())
    }

    /// Ends the object.
    ///
    /// # Errors
    /// As above.
    pub fn finish(mut self) -> Result<W, ParquetError> {
        self.group()?;
        self.file.into_inner()
    }

    fn group(&mut self) -> Result<(), ParquetError> {
        if self.bytes == 0 {
            return Ok(());
        }
        let rows = std::mem::replace(&mut self.rows, Rows::of(&self.table.columns));
        self.bytes = 0;
        let mut group = self.file.next_row_group()?;
        for filled in rows.filled {
            let Some(mut column) = group.next_column()? else {
                break;
            };
            write(&mut column, &filled)?;
            column.close()?;
        }
        group.close().map(drop)
    }
}

/// In runs: the library looks at a page's length only behind what it is given at once.
fn write(column: &mut SerializedColumnWriter<'_>, filled: &Filled) -> Result<(), ParquetError> {
    for (levels, values) in filled.runs(RUN_BYTES) {
        let definitions = filled.definitions.get(levels.clone());
        let repetitions = filled.repetitions.get(levels);
        let written = match (column.untyped(), &filled.values) {
            (ColumnWriter::BoolColumnWriter(to), Values::Bool(of)) => {
                to.write_batch(of.get(values).unwrap_or_default(), definitions, repetitions)
            }
            (ColumnWriter::Int32ColumnWriter(to), Values::Int(of)) => {
                to.write_batch(of.get(values).unwrap_or_default(), definitions, repetitions)
            }
            (ColumnWriter::Int64ColumnWriter(to), Values::Long(of)) => {
                to.write_batch(of.get(values).unwrap_or_default(), definitions, repetitions)
            }
            (ColumnWriter::DoubleColumnWriter(to), Values::Double(of)) => {
                to.write_batch(of.get(values).unwrap_or_default(), definitions, repetitions)
            }
            (ColumnWriter::ByteArrayColumnWriter(to), Values::Text(of)) => {
                to.write_batch(of.get(values).unwrap_or_default(), definitions, repetitions)
            }
            _ => {
                let what = "a column is of another type than its schema".to_owned();
                return Err(ParquetError::General(what));
            }
        };
        written?;
    }
    Ok(())
}

fn properties(table: &Table) -> Result<WriterProperties, ParquetError> {
    let raw = ColumnPath::from(RAW_DATA);
    Ok(WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_created_by(concat!("plimsoll-collector ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_data_page_size_limit(PAGE_BYTES)
        .set_dictionary_page_size_limit(PAGE_BYTES)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        // Each is another.
        .set_column_dictionary_enabled(raw.clone(), false)
        .set_column_statistics_enabled(raw, EnabledStatistics::None)
        .set_sorting_columns(leaf(&table.columns, TIME).map(|column_idx| {
            vec![SortingColumn {
                column_idx,
                descending: false,
                nulls_first: false,
            }]
        }))
        .build())
}

/// Which of the leaves a column at the top is.
fn leaf(columns: &[Column], name: &str) -> Option<i32> {
    fn leaves(kind: &Kind) -> usize {
        match kind {
            Kind::Group(within) => within.iter().map(|column| leaves(&column.kind)).sum(),
            _ => 1,
        }
    }
    let at = columns.iter().position(|column| column.name == name)?;
    let before = columns.iter().take(at).map(|column| leaves(&column.kind));
    i32::try_from(before.sum::<usize>()).ok()
}

//! The events in an object, for whoever verifies them: the column `raw_data`, and nothing else. Knows where it reads
//! only as a source of bytes.

use std::ops::ControlFlow;

use parquet::column::reader::ColumnReader;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};

use super::columns::RAW_DATA;

/// Rows read at once.
const ROWS: usize = 256;

/// Gives each text with the number of its row, from 1 on.
///
/// # Errors
/// It is no Parquet, is damaged, or has no such column.
pub fn raw_data<R: ChunkReader + 'static>(
    from: R,
    mut each: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
) -> Result<(), ParquetError> {
    let file = SerializedFileReader::new(from)?;
    let schema = file.metadata().file_metadata().schema_descr_ptr();
    let columns = schema.columns().iter();
    let Some(at) = columns
        .map(|column| column.path().string())
        .position(|name| name == RAW_DATA)
    else {
        let what = format!("it has no column {RAW_DATA}");
        return Err(ParquetError::General(what));
    };
    let most = schema.column(at).max_def_level();
    let mut number = 0;
    for group in 0..file.num_row_groups() {
        let ColumnReader::ByteArrayColumnReader(mut column) =
            file.get_row_group(group)?.get_column_reader(at)?
        else {
            return Err(ParquetError::General(format!("{RAW_DATA} is no text")));
        };
        loop {
            let (mut texts, mut levels) = (Vec::new(), Vec::new());
            let said = (most > 0).then_some(&mut levels);
            let (rows, ..) = column.read_records(ROWS, said, None, &mut texts)?;
            if rows == 0 {
                break;
            }
            let mut texts = texts.iter();
            for row in 0..rows {
                number += 1;
                // A row of which it says nothing is one that nobody of us wrote.
                let has_text = levels.get(row).is_none_or(|level| *level == most);
                let text = has_text.then(|| texts.next()).flatten();
                if each(number, text.map_or(&[], |text| text.data())).is_break() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

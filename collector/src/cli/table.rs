//! Aligned columns.

use std::fmt::Write as _;
use std::io::Write;

/// Longest cell; the rest is cut with an ellipsis.
const MAX_CELL: usize = 72;

/// A column's head and side.
#[derive(Clone, Copy)]
pub(super) enum Column {
    /// Text, left.
    Left(&'static str),
    /// Numbers, right.
    Right(&'static str),
}

impl Column {
    const fn head(self) -> &'static str {
        match self {
            Self::Left(head) | Self::Right(head) => head,
        }
    }
}

/// Widths that fit the heads and every row.
pub(super) fn widths(columns: &[Column], rows: &[Vec<String>]) -> Vec<usize> {
    let cell = |row: &Vec<String>, at: usize| {
        row.get(at)
            .map_or(0, |cell| cell.chars().count().min(MAX_CELL))
    };
    columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            rows.iter()
                .map(|row| cell(row, at))
                .max()
                .unwrap_or(0)
                .max(column.head().len())
        })
        .collect()
}

/// Heads and rows.
pub(super) fn print(
    columns: &[Column],
    rows: &[Vec<String>],
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let widths = widths(columns, rows);
    let heads: Vec<String> = columns
        .iter()
        .map(|column| column.head().to_owned())
        .collect();
    print_row(columns, &widths, &heads, out)?;
    rows.iter()
        .try_for_each(|row| print_row(columns, &widths, row, out))
}

/// One row in given widths.
pub(super) fn print_row(
    columns: &[Column],
    widths: &[usize],
    row: &[String],
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let mut line = String::new();
    for ((column, width), cell) in columns.iter().zip(widths).zip(row) {
        let width = *width;
        let mut cell = printable(cell);
        if cell.chars().count() > MAX_CELL {
            cell = cell.chars().take(MAX_CELL - 1).chain(['…']).collect();
        }
        // Writing to a string cannot fail.
        let _ignored: std::fmt::Result = match column {
            Column::Left(_) => write!(line, "{cell:<width$}  "),
            Column::Right(_) => write!(line, "{cell:>width$}  "),
        };
    }
    writeln!(out, "{}", line.trim_end())
}
/// Without control characters: those of a foreign path must not reach the terminal.
pub(super) fn printable(text: &str) -> String {
    let replace = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(replace).collect()
}

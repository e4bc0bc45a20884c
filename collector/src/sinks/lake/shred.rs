//! An event into columns, by definition and repetition levels (Dremel; parquet-format, *Nested Encoding*). Pure.

use std::ops::Range;

use parquet::data_type::ByteArray;
use serde_json::Value;

use super::columns::{Column, Kind};

/// The values of a column, without its nulls.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// See [`Kind`].
    Bool(Vec<bool>),
    /// See there.
    Int(Vec<i32>),
    /// See there.
    Long(Vec<i64>),
    /// See there.
    Double(Vec<f64>),
    /// See there.
    Text(Vec<ByteArray>),
}

/// A column of some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Filled {
    /// How much of the way to each value is there.
    pub definitions: Vec<i16>,
    /// Which list a value goes on with; 0 for a new row.
    pub repetitions: Vec<i16>,
    /// Those that are there.
    pub values: Values,
    /// The definition level of a value that is there.
    whole: i16,
}

impl Filled {
    fn of(kind: &Kind, whole: i16) -> Option<Self> {
        let values = match kind {
            Kind::Group(_) => return None,
            Kind::Bool => Values::Bool(Vec::new()),
            Kind::Int => Values::Int(Vec::new()),
            Kind::Long | Kind::Timestamp => Values::Long(Vec::new()),
            Kind::Double => Values::Double(Vec::new()),
            Kind::Text | Kind::Json => Values::Text(Vec::new()),
        };
        Some(Self {
            definitions: Vec::new(),
            repetitions: Vec::new(),
            values,
            whole,
        })
    }

    /// Runs of rows, whose texts have so many bytes at the most unless one row alone has more: the levels and the
    /// values of each.
    pub fn runs(&self, bytes: usize) -> Vec<(Range<usize>, Range<usize>)> {
        let mut runs = Vec::new();
        let (mut level, mut value) = (0, 0);
        let (mut behind, mut run_bytes) = (0, 0);
        let lengths = |at: usize| match &self.values {
            Values::Text(texts) => texts.get(at).map_or(0, ByteArray::len),
            _ => 0,
        };
        let mut row = (0, 0, 0);
        let levels = self.definitions.iter().zip(&self.repetitions);
        for (at, (definition, repetition)) in levels.enumerate() {
            if *repetition == 0 {
                row = (at, behind, 0);
            }
            if *definition == self.whole {
                row.2 += lengths(behind);
                run_bytes += lengths(behind);
                behind += 1;
            }
            let (begin, first, row_bytes) = row;
            if run_bytes > bytes && begin > level {
                runs.push((level..begin, value..first));
                (level, value, run_bytes) = (begin, first, row_bytes);
            }
        }
        runs.push((level..self.definitions.len(), value..behind));
        runs
    }

    fn level(&mut self, at: Level) {
        self.definitions.push(at.definition);
        self.repetitions.push(at.repetition);
    }

    /// Whether the value is one of the column's; it is null otherwise.
    fn put(&mut self, value: &Value, kind: &Kind) -> bool {
        match &mut self.values {
            Values::Bool(values) => push(values, value.as_bool()),
            Values::Int(values) => {
                let int = value.as_i64().and_then(|long| i32::try_from(long).ok());
                push(values, int)
            }
            Values::Long(values) => push(values, value.as_i64()),
            Values::Double(values) => push(values, value.as_f64()),
            Values::Text(values) if *kind == Kind::Json => push(
                values,
                Some(ByteArray::from(value.to_string().into_bytes())),
            ),
            Values::Text(values) => push(
                values,
                value.as_str().map(|text| text.as_bytes().to_vec().into()),
            ),
        }
    }
}

fn push<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
    let is_there = value.is_some();
    values.extend(value);
    is_there
}

/// The columns of some rows, in the order of the schema's leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows<'a> {
    columns: &'a [Column],
    /// See there.
    pub filled: Vec<Filled>,
}

#[derive(Clone, Copy, Default)]
struct Level {
    definition: i16,
    repetition: i16,
    /// Of the innermost list.
    depth: i16,
}

impl<'a> Rows<'a> {
    /// None yet.
    pub fn of(columns: &'a [Column]) -> Self {
        fn leaves(columns: &[Column], outside: i16, filled: &mut Vec<Filled>) {
            for column in columns {
                let own = i16::from(!column.is_required) + if column.is_list { 2 } else { 0 };
                match &column.kind {
                    Kind::Group(within) => leaves(within, outside + own, filled),
                    kind => filled.extend(Filled::of(kind, outside + own)),
                }
            }
        }
        let mut filled = Vec::new();
        leaves(columns, 0, &mut filled);
        Self { columns, filled }
    }

    /// Adds a row. What the columns have no place for is left out.
    pub fn push(&mut self, event: &Value) {
        let mut leaves = self.filled.iter_mut();
        for column in self.columns {
            shred(
                column,
                event.get(&column.name),
                Level::default(),
                &mut leaves,
            );
        }
    }
}

/// Fills the leaves of a column, which are the next ones.
fn shred<'f>(
    column: &Column,
    value: Option<&Value>,
    at: Level,
    leaves: &mut impl Iterator<Item = &'f mut Filled>,
) {
    let mut leaves_of = Vec::new();
    leaves_of.extend(leaves.take(count(&column.kind)));
    fill(column, value, at, &mut leaves_of);
}

fn count(kind: &Kind) -> usize {
    match kind {
        Kind::Group(within) => within.iter().map(|column| count(&column.kind)).sum(),
        _ => 1,
    }
}

fn fill(column: &Column, value: Option<&Value>, at: Level, leaves: &mut [&mut Filled]) {
    let value = value.filter(|value| !value.is_null());
    let there = Level {
        definition: at.definition + i16::from(!column.is_required),
        ..at
    };
    if !column.is_list {
        return one(&column.kind, value, (at, there), leaves);
    }
    let Some(values) = value.and_then(Value::as_array) else {
        return nulls(at, leaves);
    };
    if values.is_empty() {
        return nulls(there, leaves);
    }
    for (index, value) in values.iter().enumerate() {
        let depth = at.depth + 1;
        let element = Level {
            definition: there.definition + 1,
            repetition: if index == 0 { at.repetition } else { depth },
            depth,
        };
        let within = Level {
            definition: element.definition + 1,
            ..element
        };
        let value = Some(value).filter(|value| !value.is_null());
        one(&column.kind, value, (element, within), leaves);
    }
}

/// A value, or null at the first of the levels.
fn one(
    kind: &Kind,
    value: Option<&Value>,
    (absent, there): (Level, Level),
    leaves: &mut [&mut Filled],
) {
    match (kind, value) {
        (_, None) => nulls(absent, leaves),
        (Kind::Group(_), Some(value)) if !value.is_object() => nulls(absent, leaves),
        (Kind::Group(within), Some(value)) => {
            let mut rest = leaves;
            for column in within {
                let (own, behind) = rest.split_at_mut(count(&column.kind).min(rest.len()));
                fill(column, value.get(&column.name), there, own);
                rest = behind;
            }
        }
        (kind, Some(value)) => {
            for leaf in leaves {
                let is_put = leaf.put(value, kind);
                leaf.level(if is_put { there } else { absent });
            }
        }
    }
}

fn nulls(at: Level, leaves: &mut [&mut Filled]) {
    for leaf in leaves {
        leaf.level(at);
    }
}

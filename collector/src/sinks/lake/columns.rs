//! The columns of a class: what our events have of OCSF 1.3, nested and typed, the same in every object. Pure.
//!
//! From the schema's own data and from the list of what our events set (`collector/ocsf`), and from nothing that an
//! event says: a crawler that has seen one object has seen all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::ParquetError;
use parquet::schema::types::{Type, TypePtr};

use crate::ocsf::Schema;
use crate::ocsf::schema::{Attribute, Object};

/// The exact event, in OCSF 1.8: a link of the chain.
pub const RAW_DATA: &str = "raw_data";
/// Milliseconds since 1970: OCSF's Long.
pub const TIME: &str = "time";
/// The same as a timestamp, which queries of Security Lake's own sources are written for.
pub const TIME_DT: &str = "time_dt";

/// What a column is, or a group of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Bool,
    /// OCSF's integers: 32 bits.
    Int,
    /// OCSF's longs.
    Long,
    /// Milliseconds since 1970, as a timestamp.
    Timestamp,
    /// OCSF's floats.
    Double,
    /// A text.
    Text,
    /// What may have any members: its JSON, as a text.
    Json,
    /// An object.
    Group(Vec<Column>),
}

/// A column, or a group of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// OCSF's name.
    pub name: String,
    /// See there.
    pub kind: Kind,
    /// It is a list of such.
    pub is_list: bool,
    /// It is in every event.
    pub is_required: bool,
}

/// A class of OCSF 1.3.
#[derive(Debug)]
pub struct Table {
    /// Its number.
    pub class_uid: i64,
    /// Its name: `http_activity`.
    pub name: &'static str,
    /// By name.
    pub columns: Vec<Column>,
    /// The same for Parquet.
    pub schema: TypePtr,
}

/// What a list adds to a name in words.
const LIST: (&str, &str) = ("list", "element");

static TABLES: LazyLock<Vec<Table>> = LazyLock::new(tables);

/// Those of every class that an event of ours can be of.
pub fn all() -> &'static [Table] {
    &TABLES
}

/// That of a class.
pub fn table(class_uid: i64) -> Option<&'static Table> {
    all().iter().find(|table| table.class_uid == class_uid)
}

/// What our events set, by class and object of OCSF 1.8.
const SET: &str = include_str!("../../../ocsf/attributes.txt");
/// What comes by itself, and what we add.
const ALWAYS: [&str; 8] = [
    "category_name",
    "category_uid",
    "class_name",
    "class_uid",
    "type_name",
    "type_uid",
    RAW_DATA,
    TIME_DT,
];

#[expect(clippy::expect_used, reason = "the data is in the program, and tested")]
fn tables() -> Vec<Table> {
    let set = Set::of(SET);
    let schema = Schema::v1_3();
    let table = |(name, class): (&'static String, &'static crate::ocsf::schema::Class)| {
        let columns = set.columns(schema, &class.of, &set.of_class(name), &mut Vec::new());
        Table {
            class_uid: class.uid,
            name,
            schema: Arc::new(root(&columns).expect("a schema of Parquet")),
            columns,
        }
    };
    schema.classes.iter().map(table).collect()
}

/// Names of attributes by class and object.
struct Set<'a> {
    classes: BTreeMap<&'a str, BTreeSet<&'a str>>,
    objects: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Set<'a> {
    fn of(text: &'a str) -> Self {
        let mut set = Self {
            classes: BTreeMap::new(),
            objects: BTreeMap::new(),
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for (of, names) in lines.filter_map(|line| line.split_once(':')) {
            let names = names.split_whitespace().collect();
            match of.strip_prefix("class ") {
                Some(class) => set.classes.insert(class, names),
                None => set.objects.insert(of, names),
            };
        }
        set
    }

    /// What events of a class of 1.3 have: also those that are told in it because 1.3 has no place for them in their
    /// own, which are those of HTTP without an answer, and in the base event any.
    fn of_class(&self, class: &str) -> BTreeSet<&'a str> {
        let is_told_in = |of: &str| match class {
            "base_event" => true,
            "network_activity" => of == class || of == "http_activity",
            _ => of == class,
        };
        let classes = self.classes.iter();
        let own = classes.filter(|(of, _)| **of == "*" || is_told_in(of));
        own.flat_map(|(_, names)| names)
            .copied()
            .chain(ALWAYS)
            .collect()
    }

    /// Columns of those attributes that the object has. An object within itself is left out.
    fn columns(
        &self,
        schema: &Schema,
        of: &Object,
        names: &BTreeSet<&str>,
        within: &mut Vec<String>,
    ) -> Vec<Column> {
        let set = of.attributes.iter();
        let set = set.filter(|(name, _)| names.contains(name.as_str()));
        let siblings: BTreeSet<&str> = set
            .clone()
            .filter_map(|(_, attribute)| attribute.sibling.as_deref())
            .collect();
        let all = of.attributes.iter().filter(|(name, _)| {
            let name = name.as_str();
            names.contains(name) || siblings.contains(name)
        });
        all.filter_map(|(name, attribute)| {
            let kind = self.kind(schema, name, attribute, within)?;
            Some(Column {
                name: name.clone(),
                kind,
                is_list: attribute.is_array,
                is_required: within.is_empty()
                    && [TIME, TIME_DT, RAW_DATA].contains(&name.as_str()),
            })
        })
        .collect()
    }

    fn kind(
        &self,
        schema: &Schema,
        name: &str,
        attribute: &Attribute,
        within: &mut Vec<String>,
    ) -> Option<Kind> {
        if let Some(object) = attribute.object_type.as_deref() {
            let of = schema.objects.get(object)?;
            if of.attributes.is_empty() {
                return Some(Kind::Json);
            }
            if within.iter().any(|outer| outer == object) {
                return None;
            }
            within.push(object.to_owned());
            let names = self.objects.get(object).cloned().unwrap_or_default();
            let columns = self.columns(schema, of, &names, within);
            within.pop();
            return (!columns.is_empty()).then_some(Kind::Group(columns));
        }
        Some(match attribute.kind.as_str() {
            _ if name == TIME_DT && within.is_empty() => Kind::Timestamp,
            "boolean_t" => Kind::Bool,
            "integer_t" | "port_t" => Kind::Int,
            "long_t" | "timestamp_t" => Kind::Long,
            "float_t" => Kind::Double,
            "json_t" => Kind::Json,
            _ => Kind::Text,
        })
    }
}

fn root(columns: &[Column]) -> Result<Type, ParquetError> {
    let fields = columns.iter().map(Column::parquet);
    let fields = fields.collect::<Result<_, _>>()?;
    Type::group_type_builder("event")
        .with_fields(fields)
        .build()
}

impl Column {
    fn parquet(&self) -> Result<TypePtr, ParquetError> {
        let own = if self.is_required {
            Repetition::REQUIRED
        } else {
            Repetition::OPTIONAL
        };
        if !self.is_list {
            return self.kind.parquet(&self.name, own).map(Arc::new);
        }
        // As parquet-format says in LogicalTypes.md, *Lists*.
        let (list, element) = LIST;
        let element = self.kind.parquet(element, Repetition::OPTIONAL)?;
        let repeated = Type::group_type_builder(list)
            .with_repetition(Repetition::REPEATED)
            .with_fields(vec![Arc::new(element)])
            .build()?;
        let outer = Type::group_type_builder(&self.name)
            .with_repetition(own)
            .with_logical_type(Some(LogicalType::List))
            .with_fields(vec![Arc::new(repeated)]);
        outer.build().map(Arc::new)
    }
}

impl Kind {
    fn parquet(&self, name: &str, repetition: Repetition) -> Result<Type, ParquetError> {
        let (physical, logical) = match self {
            Self::Group(columns) => {
                let fields = columns.iter().map(Column::parquet);
                return Type::group_type_builder(name)
                    .with_repetition(repetition)
                    .with_fields(fields.collect::<Result<_, _>>()?)
                    .build();
            }
            Self::Bool => (Physical::BOOLEAN, None),
            Self::Int => (Physical::INT32, None),
            Self::Long => (Physical::INT64, None),
            Self::Timestamp => {
                let logical = LogicalType::timestamp(true, TimeUnit::MILLIS);
                (Physical::INT64, Some(logical))
            }
            Self::Double => (Physical::DOUBLE, None),
            Self::Text | Self::Json => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        Type::primitive_type_builder(name, physical)
            .with_repetition(repetition)
            .with_logical_type(logical)
            .build()
    }
}

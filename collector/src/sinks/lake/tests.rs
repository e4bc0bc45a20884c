//! Objects as they are written, by Parquet's own reader; others read them in tests/tests/lake.rs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use hyper::body::Bytes;
use parquet::basic::Compression;
use parquet::column::page::Page;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::printer::print_schema;
use serde_json::{Value, json};

use super::columns::{self, Column, Kind};
use super::object::{GROUP_BYTES, LONG_EVENT, Writer, projected};
use super::read::raw_data;
use super::shred::{Rows, Values};
use crate::ocsf::event::trail as ocsf;

#[test]
fn columns_are_of_the_class_alone() {
    let mut text = Vec::new();
    for table in columns::all() {
        text.extend(format!("{} {}\n", table.class_uid, table.name).into_bytes());
        print_schema(&mut text, &table.schema);
    }
    insta::assert_snapshot!(String::from_utf8(text).unwrap());
}

fn column(name: &str, kind: Kind, is_list: bool) -> Column {
    Column {
        name: name.to_owned(),
        kind,
        is_list,
        is_required: false,
    }
}

/// The example of Dremel's paper, with a wrapped list in place of a bare one.
#[test]
fn levels_say_where_a_value_is_missing() {
    let language = Kind::Group(vec![
        column("code", Kind::Text, false),
        column("country", Kind::Text, false),
    ]);
    let name = Kind::Group(vec![
        column("language", language, true),
        column("url", Kind::Text, false),
    ]);
    let columns = [column("id", Kind::Long, false), column("name", name, true)];
    let mut rows = Rows::of(&columns);
    rows.push(&json!({"id": 10, "name": [
        {"language": [{"code": "en-us", "country": "us"}, {"code": "en"}], "url": "http://A"},
        {"url": "http://B"},
        {"language": [{"code": "en-gb", "country": "gb"}]},
        null,
        {"language": []},
    ]}));
    rows.push(&json!({"id": "none", "name": []}));
    rows.push(&json!({"other": 1}));
    let [id, code, country, url] = rows.filled.as_slice() else {
        panic!("{rows:?}");
    };
    assert_eq!(
        (id.definitions.as_slice(), &id.values),
        (&[1, 0, 0][..], &Values::Long(vec![10]))
    );
    assert_eq!(code.repetitions, [0, 2, 1, 1, 1, 1, 0, 0]);
    assert_eq!(code.definitions, [7, 7, 3, 7, 2, 4, 1, 0]);
    assert_eq!(country.definitions, [7, 6, 3, 7, 2, 4, 1, 0]);
    assert_eq!(url.repetitions, [0, 1, 1, 1, 1, 0, 0]);
    assert_eq!(url.definitions, [4, 4, 3, 2, 3, 1, 0]);
    let texts = Values::Text(["http://A", "http://B"].map(Into::into).to_vec());
    assert_eq!(url.values, texts);
}

fn checkpoint(seq: u64, padding: usize) -> (Value, String) {
    let event = ocsf::probe(&format!("u/{seq}"), 1_790_000_000_000_000_000 + seq, "0");
    let mut event = serde_json::to_value(event).unwrap();
    event["unmapped"] = json!({"padding": "ä\"".repeat(padding / 4), "seq": seq});
    let text = event.to_string();
    (projected(&event).unwrap().1, text)
}

fn object(events: &[(Value, String)]) -> Vec<u8> {
    let mut writer = Writer::new(columns::table(6002).unwrap(), Vec::new()).unwrap();
    for (event, text) in events {
        writer.add(event.clone(), text).unwrap();
    }
    writer.finish().unwrap()
}

fn texts(object: Vec<u8>) -> Vec<String> {
    let mut texts = Vec::new();
    raw_data(Bytes::from(object), |number, text| {
        assert_eq!(number, texts.len() as u64 + 1);
        texts.push(String::from_utf8(text.to_vec()).unwrap());
        ControlFlow::Continue(())
    })
    .unwrap();
    texts
}

/// Events of all lengths, up to the longest that there is.
#[test]
fn pages_and_row_groups_are_bounded_and_every_text_is_there() {
    let mut lengths: Vec<usize> = (0..6000).map(|at| at * 7 % 3000).collect();
    let long = [
        LONG_EVENT - 1000,
        LONG_EVENT,
        LONG_EVENT + 1000,
        970_000,
        970_000,
        LONG_EVENT - 1000,
    ];
    lengths.splice(40..40, long);
    lengths.splice(40..40, [LONG_EVENT - 1000; 40]);
    let events: Vec<_> = (0..)
        .zip(lengths)
        .map(|(seq, length)| checkpoint(seq, length))
        .collect();
    let bytes = Bytes::from(object(&events));
    let file = SerializedFileReader::new(bytes.clone()).unwrap();
    assert!(file.num_row_groups() > 4);
    for at in 0..file.num_row_groups() {
        let group = file.get_row_group(at).unwrap();
        let raw: i64 = group
            .metadata()
            .columns()
            .iter()
            .map(parquet::file::metadata::ColumnChunkMetaData::compressed_size)
            .sum();
        assert!(usize::try_from(raw).unwrap() <= GROUP_BYTES * 2, "{raw}");
        for column in 0..group.num_columns() {
            let of = group.metadata().column(column);
            assert!(matches!(of.compression(), Compression::ZSTD(_)));
            let mut pages = group.get_column_page_reader(column).unwrap();
            while let Some(page) = pages.get_next_page().unwrap() {
                let bytes = page.buffer().len();
                assert!(bytes <= 1_000_000, "{bytes} of {}", of.column_path());
                assert!(!matches!(page, Page::DataPageV2 { .. }));
            }
        }
    }
    let expect: Vec<_> = events.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts(bytes.to_vec()), expect);
}

#[test]
fn objects_of_other_events_have_the_same_columns_and_none_may_be_empty() {
    let of = |object: Vec<u8>| {
        let file = SerializedFileReader::new(Bytes::from(object)).unwrap();
        file.metadata().file_metadata().schema().clone()
    };
    let (none, one) = (object(&[]), object(&[checkpoint(1, 9)]));
    assert_eq!(of(none.clone()), of(one));
    assert_eq!(texts(none), Vec::<String>::new());
}

#[test]
fn what_is_no_object_is_told() {
    let nothing = |_: u64, _: &[u8]| ControlFlow::Continue(());
    assert!(raw_data(Bytes::from_static(b"PAR1"), nothing).is_err());
    let mut cut = object(&[checkpoint(1, 90_000)]);
    let middle = cut.len() / 2;
    cut.drain(middle..middle + 9);
    assert!(raw_data(Bytes::from(cut), nothing).is_err());
}

#[test]
fn a_projected_event_says_its_time_twice() {
    let (event, _) = checkpoint(5, 0);
    let of: BTreeMap<&str, &Value> =
        [("time", &event["time"]), ("time_dt", &event["time_dt"])].into();
    assert_eq!(of["time"], of["time_dt"]);
    assert_eq!(event["metadata"]["profiles"], json!(["datetime"]));
    assert!(projected(&json!({"class_uid": 6002})).is_none());
}

use std::path::PathBuf;

use serde::Deserialize;

use super::*;

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Ship {
    name: String,
    hold: Hold,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Hold {
    max_bytes: u64,
    paths: Vec<PathBuf>,
    crew: Vec<Sailor>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sailor {
    name: String,
    age: u8,
}

fn parse(text: &str) -> Result<Ship, ConfigError> {
    let layout = Layout {
        top: &["name"],
        sections: &[("hold", names_of::<Hold>())],
        lists: &[("hold.crew", names_of::<Sailor>()), ("hold.paths", &[])],
    };
    read("ship.yaml", text, layout, |ship: &Ship| {
        let nameless = |sailor: &Sailor| sailor.name.is_empty();
        let crew = ship.hold.crew.iter().enumerate();
        let mut wrong: Vec<Wrong> = crew
            .filter(|(_, sailor)| nameless(sailor))
            .map(|(at, _)| (format!("hold.crew[{at}].name"), "must be given".to_owned()))
            .collect();
        if ship.hold.max_bytes > 100 {
            wrong.push(("hold.max_bytes".to_owned(), "must fit".to_owned()));
        }
        wrong
    })
}

#[track_caller]
fn check(text: &str, expect: &[&str]) {
    let said = parse(text).err().map(|error| error.0).unwrap_or_default();
    let said: Vec<_> = said
        .iter()
        .map(|line| line.strip_prefix("ship.yaml").unwrap())
        .collect();
    assert_eq!(said, expect);
}

#[test]
fn a_text_without_a_mistake_is_what_it_says() {
    let ship = parse("name: a\nhold: { max_bytes: 5, paths: [b], crew: [{ name: c, age: 7 }] }\n");
    let hold = Hold {
        max_bytes: 5,
        paths: vec!["b".into()],
        crew: vec![Sailor {
            name: "c".into(),
            age: 7,
        }],
    };
    let name = "a".into();
    assert_eq!(ship.unwrap(), Ship { name, hold });
    assert_eq!(parse(" \n").unwrap(), Ship::default());
}

/// One that cannot be read takes no other with it, and the numbers stay those of the text.
#[test]
fn each_part_of_a_list_is_judged_for_itself() {
    check(
        "hold:\n\
         \x20 crew:\n\
         \x20   - { name: 'a, b', age: old }\n\
         \x20   - name: [c]\n\
         \x20     aeg: 3\n\
         \x20   - d\n\
         \x20   - age: 300\n\
         \x20   - { name: e }\n\
         \x20 paths: [a, [b], { c: d }]\n\
         \x20 max_bytes: 101\n",
        &[
            ":3: hold.crew[0].age: must be a whole number within its bounds, not old",
            ":4: hold.crew[1].name: must be a single value",
            ":5: hold.crew[1].aeg: there is no such setting; did you mean age?",
            ":6: hold.crew[2]: must be settings: name, age",
            ":7: hold.crew[3].age: must be a whole number within its bounds, not 300",
            ":7: hold.crew[3].name: must be given",
            ":9: hold.paths[1]: must be a single value",
            ":9: hold.paths[2]: must be a single value",
            ":10: hold.max_bytes: must fit",
        ],
    );
}

#[test]
fn what_must_be_a_list_says_so() {
    check(
        "hold: { crew: me, paths: { a: b } }\n",
        &[
            ":1: hold.crew: must be a list, not me",
            ":1: hold.paths: must be a list",
        ],
    );
    check(
        "hold: { max_bytes: [1] }\n",
        &[":1: hold.max_bytes: must be a single value"],
    );
}

#[test]
fn a_value_that_holds_brackets_or_lines_stays_one_value() {
    check(
        "hold:\n\
         \x20 max_bytes: x\n\
         \x20 crew:\n\
         \x20   - name: a, [b]\n\
         \x20   - name: |\n\
         \x20       c\n\
         \x20       d\n",
        &[":2: hold.max_bytes: must be a plain number of bytes, as 1048576, not x"],
    );
}

use std::path::PathBuf;

use serde::Deserialize;

use super::*;

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Ship {
    name: String,
    hold: Hold,
    flag: Flag,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Flag {
    is_up: bool,
    masts: u8,
    motto: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Hold {
    max_bytes: u64,
    paths: Vec<PathBuf>,
    crew: Vec<Sailor>,
    lock: Lock,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Lock {
    turns: u8,
    keepers: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sailor {
    name: String,
    age: u8,
    chest: Option<Chest>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Chest {
    coins: u8,
    maps: Vec<u8>,
    lock: Lock,
}

fn parse(text: &str) -> Result<Ship, ConfigError> {
    let layout = Layout {
        top: &["name"],
        sections: &[
            ("hold", names_of::<Hold>()),
            ("hold.lock", names_of::<Lock>()),
            ("flag", names_of::<Flag>()),
            ("hold.crew[].chest", names_of::<Chest>()),
            ("hold.crew[].chest.lock", names_of::<Lock>()),
        ],
        lists: &[
            ("hold.crew", names_of::<Sailor>()),
            ("hold.paths", &[]),
            ("hold.lock.keepers", &[]),
            ("hold.crew[].chest.maps", &[]),
            ("hold.crew[].chest.lock.keepers", &[]),
        ],
    };
    read("ship.yaml", text, layout, |ship: &Ship| {
        let nameless = |sailor: &Sailor| sailor.name.is_empty();
        let crew = ship.hold.crew.iter().enumerate();
        let mut wrong: Vec<Wrong> = crew
            .filter(|(_, sailor)| nameless(sailor))
            .map(|(at, _)| (format!("hold.crew[{at}].name"), "must be given".to_owned()))
            .collect();
        for (at, sailor) in ship.hold.crew.iter().enumerate() {
            if sailor.chest.as_ref().is_some_and(|chest| chest.coins == 0) {
                wrong.push((
                    format!("hold.crew[{at}].chest.coins"),
                    "must be some".into(),
                ));
            }
        }
        if ship.hold.lock.turns > 100 {
            wrong.push(("hold.lock.turns".to_owned(), "must be fewer".to_owned()));
        }
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
            chest: None,
        }],
        lock: Lock::default(),
    };
    let name = "a".into();
    let flag = Flag::default();
    assert_eq!(ship.unwrap(), Ship { name, hold, flag });
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
            ":6: hold.crew[2]: must be settings: name, age, chest",
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

/// What is given twice hides nothing: neither what else is wrong nor, at the same place, the value.
#[test]
fn what_is_given_twice_is_named_with_both_lines_and_hides_nothing() {
    check(
        "hold:\n\
         \x20 max_bytes: 101\n\
         \x20 max_bytes: 5\n\
         \x20 crew:\n\
         \x20   - { name: a, age: 5, age: old }\n\
         flag:\n\
         \x20 masts: many\n\
         hold:\n\
         \x20 max_byte: 7\n",
        &[
            ":2: hold.max_bytes: must fit",
            ":3: hold.max_bytes: is given twice, first in line 2",
            ":5: hold.crew[0].age: is given twice, first in line 5",
            ":5: hold.crew[0].age: must be a whole number within its bounds, not old",
            ":7: flag.masts: must be a whole number within its bounds, not many",
            ":8: hold: is given twice, first in line 1",
            ":9: hold.max_byte: there is no such setting; did you mean max_bytes?",
        ],
    );
    check(
        "name: a\nname: b\n",
        &[":2: name: is given twice, first in line 1"],
    );
}

/// What a merge brings and the place itself says again is said once.
#[test]
fn what_is_merged_is_not_given_twice() {
    let crew = "hold:\n  crew:\n    - &a { name: a, age: 3 }\n    - { <<: *a, age: 4 }\n";
    let ship = parse(crew).unwrap();
    assert_eq!(
        (ship.hold.crew[1].name.as_str(), ship.hold.crew[1].age),
        ("a", 4)
    );
    check(&format!("{crew}name:\n"), &[":5: name: must have a value"]);
}

/// The reader would take each of these.
#[test]
fn a_value_is_written_as_its_kind_is() {
    check(
        "flag: { is_up: \"true\", masts: 0x3 }\n",
        &[
            ":1: flag.is_up: must be true or false without quotes, not \"true\"",
            ":1: flag.masts: must be a whole number in decimal digits, not 0x3",
        ],
    );
    check(
        "hold:\n  max_bytes: '5'\n  crew: [{ name: a, age: 1_0 }]\n",
        &[
            ":2: hold.max_bytes: must be a whole number without quotes, not '5'",
            ":3: hold.crew[0].age: must be a whole number in decimal digits, not 1_0",
        ],
    );
    check("flag: { is_up: yes, masts: 3, motto: '0x3' }\n", &[]);
    check("flag: { masts: &m 3 }\nhold: { max_bytes: *m }\n", &[]);
    check(
        "flag: { masts: &m 3, is_up: *m }\nhold: { max_bytes: *m }\n",
        &[":1: flag.is_up: must be true or false, not 3"],
    );
}

#[test]
fn what_is_left_empty_is_told_so() {
    check(
        "name:\nflag: { is_up: null, masts: ~, motto: null }\nhold: { paths: [null], crew: }\n",
        &[
            ":1: name: must have a value",
            ":2: flag.is_up: must have a value",
            ":2: flag.masts: must have a value",
            ":3: hold.paths[0]: must have a value",
            ":3: hold.crew: must be a list",
        ],
    );
}

/// The words of the library speak of its types and functions.
#[test]
fn nothing_is_told_in_the_words_of_a_library() {
    for text in [
        "name: a\n---\nname: b\n",
        "name: *a\n",
        "name: [\n",
        "name: \"a\n",
        "name: a\n b: c\n  d: e\n",
        "? [a]\n: b\n",
        "name: !!binary a\n",
        "name: a: b\n",
        "flag: { motto: 3 }\nname:\n",
        "- a\n",
        "a\n",
    ] {
        let told = parse(text).unwrap_err().to_string();
        for word in [
            "from_",
            "Options",
            "Policy",
            "Option<",
            "deserialize",
            "serde",
            "scalar",
            "String",
            "use ",
        ] {
            assert!(!told.contains(word), "{word} is in {told:?} of {text:?}");
        }
        assert!(told.starts_with("ship.yaml:"), "{told}");
    }
}

/// Nothing is known of it: not that a setting that must be there is left out either.
#[test]
fn what_cannot_be_read_has_no_mistakes_of_value() {
    let layout = Layout {
        top: &["name"],
        sections: &[],
        lists: &[],
    };
    let needs_name = |ship: &Ship| {
        let none = ("name".to_owned(), "must be given".to_owned());
        if ship.name.is_empty() {
            vec![none]
        } else {
            Vec::new()
        }
    };
    let lines = |text: &str| read("s", text, layout, needs_name).unwrap_err().0.len();
    for text in ["name: [", "- a\n", "a: 1\n---\nb: 2\n", "x: *y\n"] {
        assert_eq!(lines(text), 1, "{text}");
    }
    assert_eq!(lines(""), 1);
}

#[test]
fn a_text_that_is_too_much_says_so() {
    let line = |(name, inner): (char, char)| {
        let more = format!(",*{inner}").repeat(9);
        format!("{name}: &{name} [*{inner}{more}]\n")
    };
    let lines: String = ('b'..='i').zip('a'..).map(line).collect();
    let bomb = format!("a: &a [{}0]\n{lines}", "0,".repeat(9));
    let too_much = "holds too much, or too much once its aliases (`*name`) are written out";
    check(&bomb, &[&format!(":6: {too_much}")]);
}

#[test]
fn a_section_within_a_section_is_read_like_any_other() {
    let lock = |text: &str| parse(text).unwrap().hold.lock;
    let locked = Lock {
        turns: 2,
        keepers: vec!["a".into()],
    };
    assert_eq!(
        lock("hold:\n  lock: {turns: 2, keepers: [a]}\n  max_bytes: 5\n"),
        locked
    );
    // Its values are checked although something else cannot be read, and what is wrong in it is told.
    check(
        "hold:\n  max_bytes: x\n  lock:\n    turns: 101\n    keepers:\n    - a\n    - [b]\n",
        &[
            ":2: hold.max_bytes: must be a plain number of bytes, as 1048576, not x",
            ":4: hold.lock.turns: must be fewer",
            ":7: hold.lock.keepers[1]: must be a single value",
        ],
    );
    check(
        "hold:\n  lock:\n    turn: 1\n    turns: 300\nflag: {is_up: true}\n",
        &[
            ":3: hold.lock.turn: there is no such setting; did you mean turns?",
            ":4: hold.lock.turns: must be a whole number within its bounds, not 300",
        ],
    );
    check(
        "hold:\n  lock: 5\n",
        &[":2: hold.lock: must be a section of settings"],
    );
}

#[test]
fn a_section_within_an_element_is_read_like_any_other() {
    let text = "hold:\n  crew:\n  - name: a\n    chest: {coins: 1, maps: [2], lock: {turns: 3}}\n";
    let chest = Chest {
        coins: 1,
        maps: vec![2],
        lock: Lock {
            turns: 3,
            keepers: Vec::new(),
        },
    };
    assert_eq!(parse(text).unwrap().hold.crew[0].chest, Some(chest));
    check(
        "hold:\n\
         \x20 max_bytes: x\n\
         \x20 crew:\n\
         \x20   - name: a\n\
         \x20     chest:\n\
         \x20       lock:\n\
         \x20         turn: 1\n\
         \x20         turns: 300\n\
         \x20   - name: b\n\
         \x20     age: 400\n\
         \x20     chest:\n\
         \x20       coins: 5\n\
         \x20       coin: 5\n\
         \x20       maps:\n\
         \x20         - 1\n\
         \x20         - old\n\
         \x20         - [2]\n\
         \x20   - name: c\n\
         \x20     chest: full\n\
         \x20   - chest: { coins: 1, maps: none }\n\
         \x20     name: d\n\
         \x20   - chest: { coins: [1], maps: {}, lock: [] }\n\
         \x20     name: e\n",
        &[
            ":2: hold.max_bytes: must be a plain number of bytes, as 1048576, not x",
            ":5: hold.crew[0].chest.coins: must be some",
            ":7: hold.crew[0].chest.lock.turn: there is no such setting; did you mean turns?",
            ":8: hold.crew[0].chest.lock.turns: must be a whole number within its bounds, not 300",
            ":10: hold.crew[1].age: must be a whole number within its bounds, not 400",
            ":13: hold.crew[1].chest.coin: there is no such setting; did you mean coins?",
            ":16: hold.crew[1].chest.maps[1]: must be a whole number within its bounds, not old",
            ":17: hold.crew[1].chest.maps[2]: must be a single value",
            ":19: hold.crew[2].chest: must be a section of settings",
            ":20: hold.crew[3].chest.maps: must be a list, not none",
            ":22: hold.crew[4].chest.coins: must be a single value",
            ":22: hold.crew[4].chest.maps: must be a list",
            ":22: hold.crew[4].chest.lock: must be a section of settings",
        ],
    );
    check(
        "hold:\n  crew:\n  - name: a\n    chest:\n      maps: [1]\n",
        &[":4: hold.crew[0].chest.coins: must be some"],
    );
}

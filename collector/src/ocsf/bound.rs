//! Events that are too long for a destination: their longest texts are shortened, never their bytes cut. Pure.

use serde_json::{Map, Value};

/// What is put where a text was cut.
const CUT: &str = "…";
/// No text is cut to less than this.
const SHORTEST: usize = 64;
/// What says which event it is, and is never cut.
const WHOLE: [&str; 2] = ["metadata", "type_name"];

/// Shortens the longest texts of an event until its JSON has at most `limit` bytes, and says so in `metadata`
/// (`is_truncated`, `untruncated_size` in bytes). True if that was needed.
pub fn bound(event: &mut Map<String, Value>, limit: usize) -> bool {
    let size = |event: &Map<String, Value>| {
        serde_json::to_string(event).map_or(usize::MAX, |text| text.len())
    };
    let whole = size(event);
    if whole <= limit {
        return false;
    }
    if let Some(metadata) = event.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("is_truncated".to_owned(), true.into());
        metadata.insert("untruncated_size".to_owned(), whole.into());
    }
    let (mut longest, mut most) = longest_in(event);
    while size(event) > limit && (longest > SHORTEST || most > 1) {
        // Texts first: a list of short ones says more than a long one's end.
        if longest > SHORTEST {
            longest = (longest / 2).max(SHORTEST);
        } else {
            most /= 2;
        }
        for (name, value) in event.iter_mut() {
            if !WHOLE.contains(&name.as_str()) {
                shorten(value, longest, most);
            }
        }
    }
    true
}

/// Bytes of the longest text, and values in the longest list or object.
fn longest_in(event: &Map<String, Value>) -> (usize, usize) {
    fn of(value: &Value) -> (usize, usize) {
        let within: Vec<_> = match value {
            Value::String(text) => return (text.len(), 0),
            Value::Array(values) => values.iter().map(of).collect(),
            Value::Object(members) => members.values().map(of).collect(),
            _ => return (0, 0),
        };
        let deeper = |of: fn(&(usize, usize)) -> usize| within.iter().map(of).max().unwrap_or(0);
        (
            deeper(|(text, _)| *text),
            deeper(|(_, list)| *list).max(within.len()),
        )
    }
    let all: Vec<_> = event.values().map(of).collect();
    let most = |of: fn(&(usize, usize)) -> usize| all.iter().map(of).max().unwrap_or(0);
    (most(|(text, _)| *text), most(|(_, list)| *list))
}

fn shorten(value: &mut Value, to: usize, most: usize) {
    match value {
        Value::String(text) if text.len() > to => {
            text.truncate(text.floor_char_boundary(to.saturating_sub(CUT.len())));
            text.push_str(CUT);
        }
        Value::Array(values) => {
            values.truncate(most);
            for value in values {
                shorten(value, to, most);
            }
        }
        Value::Object(members) => {
            if members.len() > most {
                *members = std::mem::take(members).into_iter().take(most).collect();
            }
            for value in members.values_mut() {
                shorten(value, to, most);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn event(texts: &[String]) -> Map<String, Value> {
        let event = json!({
            "metadata": {"uid": "u".repeat(100), "version": "1.8.0"},
            "process": {"cmd_line": texts.concat()},
            "unmapped": {"all": texts, "n": 7},
        });
        event.as_object().unwrap().clone()
    }

    #[test]
    fn what_fits_is_left_alone() {
        let mut short = event(&["é".repeat(200)]);
        let len = serde_json::to_string(&short).unwrap().len();
        let before = short.clone();
        assert!(!bound(&mut short, len));
        assert_eq!(short, before);
        assert!(bound(&mut short, len - 1));
        assert_eq!(short["metadata"]["untruncated_size"], len);
    }

    #[test]
    fn lists_of_short_texts_are_cut_as_well() {
        let mut long = event(&vec!["x".to_owned(); 100_000]);
        assert!(bound(&mut long, 2000));
        assert!(serde_json::to_string(&long).unwrap().len() <= 2000);
        assert!(long["unmapped"]["all"].as_array().unwrap().len() > 50);
    }

    proptest! {
        #[test]
        fn the_longest_texts_are_shortened_until_it_fits(texts in prop::collection::vec("\\PC{0,900}", 0..6)) {
            let mut long = event(&texts);
            let is_cut = bound(&mut long, 2500);
            let text = serde_json::to_string(&long).unwrap();
            prop_assert!(text.len() <= 2500);
            prop_assert_eq!(is_cut, long["metadata"].get("is_truncated").is_some());
            prop_assert_eq!(long["metadata"]["uid"].as_str().unwrap().len(), 100);
            if let (true, Some(first)) = (is_cut, texts.first()) {
                let kept = long["unmapped"]["all"][0].as_str().unwrap();
                let kept = kept.strip_suffix(CUT).unwrap_or(kept);
                prop_assert!(first.starts_with(kept));
            }
        }
    }
}

//! The licences of what is in an image, as one text: who made it under which licence, and each licence's text once.
//! Reads no file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A piece of software, with the licence texts that came with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Licensed {
    /// Name and version.
    pub(crate) what: String,
    /// The licence, as SPDX spells it.
    pub(crate) licence: String,
    /// Files with their texts.
    pub(crate) texts: Vec<(String, String)>,
}

/// A line for each piece, then each text with the pieces that brought it.
pub(crate) fn document(pieces: &[Licensed]) -> String {
    let mut pieces: Vec<&Licensed> = pieces.iter().collect();
    pieces.sort();
    let mut by_text: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut out = String::from("What this image is made of, and under which licences.\n\n");
    for piece in pieces {
        let without = if piece.texts.is_empty() {
            " (its package has no text of it)"
        } else {
            ""
        };
        let licence = if piece.licence.is_empty() {
            "see below"
        } else {
            &piece.licence
        };
        say(&mut out, &format!("{}: {licence}{without}\n", piece.what));
        for (file, text) in &piece.texts {
            let brought = format!("{} ({file})", piece.what);
            by_text.entry(even(text)).or_default().push(brought);
        }
    }
    // In the order of who brought them, so that it does not change with a word of a text.
    let mut texts: Vec<_> = by_text.iter().map(|(text, by)| (by, text)).collect();
    texts.sort();
    for (by, text) in texts {
        say(
            &mut out,
            &format!("\n{}\n{}\n\n{text}\n", "=".repeat(80), by.join("\n")),
        );
    }
    out
}

/// The same words however their lines end, so that one text is one.
fn even(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    lines.join("\n")
}

fn say(out: &mut String, text: &str) {
    // A string takes all that is written to it.
    let _taken = out.write_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn licensed(what: &str, texts: &[(&str, &str)]) -> Licensed {
        Licensed {
            what: what.to_owned(),
            licence: "MIT".to_owned(),
            texts: texts
                .iter()
                .map(|(file, text)| ((*file).to_owned(), (*text).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn a_text_that_many_bring_is_there_once_and_the_order_of_reading_does_not_matter() {
        let one = licensed("a 1.0", &[("LICENSE", "Words.\r\nMore.\n")]);
        let two = licensed("b 2.0", &[("COPYING", "Words.\nMore.")]);
        let none = licensed("c 3.0", &[]);
        let text = document(&[none.clone(), two.clone(), one.clone()]);
        assert_eq!(text, document(&[one, two, none]));
        assert_eq!(text.matches("Words.").count(), 1);
        assert!(
            text.contains("\na 1.0 (LICENSE)\nb 2.0 (COPYING)\n\nWords.\nMore.\n"),
            "{text}"
        );
        assert!(
            text.contains("c 3.0: MIT (its package has no text of it)\n"),
            "{text}"
        );
    }
}

//! Objects as text with holes: recorded ones whose names, ids and numbers are filled in anew.

/// Text between the holes, and the name of the hole after it.
type Piece = (String, String);

/// An object whose text is held once for all that are made of it.
#[derive(Debug)]
pub(super) struct Template {
    metadata: Vec<Piece>,
    rest: Vec<Piece>,
}

impl Template {
    /// From an object as JSON, one member a line, with holes such as `«name»`.
    pub(super) fn parse(text: &str) -> Self {
        let text: String = text.lines().map(str::trim).collect();
        let inner = text.strip_prefix("{\"metadata\":{").unwrap_or(&text);
        let inner = inner.strip_suffix('}').unwrap_or(inner);
        // Within metadata only f:spec stands, and escaped quotes.
        let (metadata, rest) = inner.split_once("},\"spec\":").unwrap_or((inner, "{}"));
        Self {
            metadata: pieces(metadata),
            rest: pieces(&format!(",\"spec\":{rest}")),
        }
    }

    /// Without `spec.nodeName`, if it is to have none yet, and with another status.
    pub(super) fn unplaced(text: &str, node: bool, status: &str) -> Self {
        let whole: String = text.lines().map(str::trim).collect();
        let (spec, _) = whole.split_once(",\"status\":").unwrap_or((&whole, ""));
        let spec = if node {
            spec.to_owned()
        } else {
            spec.replace("\"nodeName\":\"«node»\",", "")
        };
        Self::parse(&format!("{spec},\"status\":{status}}}"))
    }

    pub(super) fn metadata(&self, fill: impl FnMut(&str, &mut String), out: &mut String) {
        write(&self.metadata, fill, out);
    }

    pub(super) fn rest(&self, fill: impl FnMut(&str, &mut String), out: &mut String) {
        write(&self.rest, fill, out);
    }
}

fn pieces(text: &str) -> Vec<Piece> {
    let piece = |part: &str| {
        let (before, hole) = part.split_once('«').unwrap_or((part, ""));
        (before.to_owned(), hole.to_owned())
    };
    text.split('»').map(piece).collect()
}

fn write(pieces: &[Piece], mut fill: impl FnMut(&str, &mut String), out: &mut String) {
    for (text, hole) in pieces {
        out.push_str(text);
        if !hole.is_empty() {
            fill(hole, out);
        }
    }
}

//! What a body has in it: two lines for each document. Pure.

use serde::Deserialize;
use serde_json::Value;

/// What is to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Create {
    pub(super) index: String,
    pub(super) id: String,
    /// The document, its bytes as they came.
    pub(super) document: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    create: Target,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    #[serde(rename = "_index")]
    index: String,
    #[serde(rename = "_id")]
    id: String,
}

/// Kind and words of an error.
pub(super) type Wrong = (&'static str, String);

/// Reads a body, which is wrong as a whole or not at all.
pub(super) fn read(body: &[u8]) -> Result<Vec<Create>, Wrong> {
    let illegal = |words: &str| ("illegal_argument_exception", words.to_owned());
    let text = std::str::from_utf8(body).map_err(|_| illegal("not UTF-8"))?;
    let lines = text
        .strip_suffix('\n')
        .ok_or_else(|| illegal("The bulk request must be terminated by a newline [\\n]"))?;
    let lines: Vec<_> = lines.split('\n').collect();
    let creates = lines.chunks(2).enumerate().map(|(at, two)| {
        let &[action, document] = two else {
            return Err(illegal("a document is missing"));
        };
        let action: Action = serde_json::from_str(action)
            .map_err(|_| illegal(&format!("Malformed action/metadata line [{}]", 2 * at + 1)))?;
        let (index, id) = (action.create.index, action.create.id);
        if id.is_empty() || id.len() > 512 {
            let words = "id is too long or empty".to_owned();
            return Err(("action_request_validation_exception", words));
        }
        let document = document.to_owned();
        Ok(Create {
            index,
            id,
            document,
        })
    });
    creates.collect()
}

/// What is wrong with a document for its index, by itself.
pub(super) fn judge(create: &Create) -> Result<(), (u16, Wrong)> {
    let index = create.index.as_str();
    if index.is_empty()
        || index.contains(|c: char| c.is_uppercase() || " \"*\\<|,>/?#:".contains(c))
    {
        let words = format!("Invalid index name [{index}]");
        return Err((400, ("invalid_index_name_exception", words)));
    }
    if index.starts_with("missing") {
        let words = format!("no such index [{index}]");
        return Err((404, ("index_not_found_exception", words)));
    }
    let wrong = |words: &str| Err((400, ("document_parsing_exception", words.to_owned())));
    let Ok(Value::Object(document)) = serde_json::from_str(&create.document) else {
        return wrong("failed to parse");
    };
    if index.starts_with("logs-") && !document.contains_key("@timestamp") {
        return wrong("data stream timestamp field [@timestamp] is missing");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_whole_or_not_at_all() {
        let one = "{\"create\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{\"b\" : 1.0}\n";
        let read_of = read(format!("{one}{one}").as_bytes()).unwrap();
        assert_eq!(
            (read_of.len(), read_of[0].document.as_str()),
            (2, "{\"b\" : 1.0}")
        );
        for body in [
            "",
            "\n",
            one.trim_end(),
            "{\"index\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{}\n",
            "{\"create\":{\"_index\":\"a\"}}\n{}\n",
            "{\"create\":{\"_index\":\"a\",\"_id\":\"\"}}\n{}\n",
            "{\"create\":{\"_index\":\"a\",\"_id\":\"1\",\"_type\":\"x\"}}\n{}\n",
            "{\"create\":{\"_index\":\"a\",\"_id\":\"1\"}}\n",
        ] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_document_is_judged_by_itself() {
        let of = |index: &str, document: &str| {
            let create = Create {
                index: index.to_owned(),
                id: "1".to_owned(),
                document: document.to_owned(),
            };
            judge(&create)
                .err()
                .map(|(status, (kind, _))| (status, kind))
        };
        assert_eq!(of("a", "{}"), None);
        assert_eq!(of("logs-a-b", r#"{"@timestamp":1}"#), None);
        assert_eq!(
            of("logs-a-b", "{}"),
            Some((400, "document_parsing_exception"))
        );
        assert_eq!(of("a", "[]"), Some((400, "document_parsing_exception")));
        assert_eq!(of("A", "{}"), Some((400, "invalid_index_name_exception")));
        assert_eq!(
            of("missing", "{}"),
            Some((404, "index_not_found_exception"))
        );
    }
}

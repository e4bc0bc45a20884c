//! OTLP values and attributes: to JSON and back without loss, and typed look-ups.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use serde_json::{Map, Number};

use super::DecodeError;

/// Deepest nesting of a body.
pub const MAX_DEPTH: usize = 16;

/// An attribute.
pub fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// A text attribute.
pub fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

/// An integer attribute. OTLP has signed integers only: from 2⁶³ on it becomes eight big-endian
/// bytes.
pub fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, unsigned(value))
}

fn unsigned(value: u64) -> Value {
    i64::try_from(value).map_or_else(
        |_| Value::BytesValue(value.to_be_bytes().to_vec()),
        Value::IntValue,
    )
}

/// The attribute of that name.
pub fn find<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes
        .iter()
        .find(|attribute| attribute.key == key)?
        .value
        .as_ref()?
        .value
        .as_ref()
}

/// The text of that name, `None` if it is absent.
pub fn find_text<'a>(
    attributes: &'a [KeyValue],
    key: &str,
) -> Result<Option<&'a str>, DecodeError> {
    match find(attributes, key) {
        None => Ok(None),
        Some(Value::StringValue(text)) => Ok(Some(text)),
        Some(_) => Err(wrong_type(key, "text")),
    }
}

/// The unsigned integer of that name, `None` if it is absent.
pub fn find_number(attributes: &[KeyValue], key: &str) -> Result<Option<u64>, DecodeError> {
    let expected = "an unsigned integer";
    match find(attributes, key) {
        None => Ok(None),
        Some(Value::IntValue(int)) => u64::try_from(*int)
            .map(Some)
            .map_err(|_| wrong_type(key, expected)),
        Some(Value::BytesValue(bytes)) => <[u8; 8]>::try_from(bytes.as_slice())
            .map(|bytes| Some(u64::from_be_bytes(bytes)))
            .map_err(|_| wrong_type(key, expected)),
        Some(_) => Err(wrong_type(key, expected)),
    }
}

pub(super) fn wrong_type(name: &str, expected: &'static str) -> DecodeError {
    // A foreign name may be of any length.
    DecodeError::Type {
        name: name.chars().take(200).collect(),
        expected,
    }
}

/// JSON as an OTLP value. Deeper than [`MAX_DEPTH`] the JSON text stands for the rest.
pub fn from_json(json: serde_json::Value) -> AnyValue {
    encode(json, 0)
}

fn encode(json: serde_json::Value, depth: usize) -> AnyValue {
    use serde_json::Value as Json;
    let value = match json {
        Json::Null => None,
        Json::Bool(bool) => Some(Value::BoolValue(bool)),
        Json::Number(number) => Some(if let Some(int) = number.as_i64() {
            Value::IntValue(int)
        } else if let Some(int) = number.as_u64() {
            unsigned(int)
        } else {
            Value::DoubleValue(number.as_f64().unwrap_or(f64::NAN))
        }),
        Json::String(text) => Some(Value::StringValue(text)),
        nested if depth >= MAX_DEPTH => Some(Value::StringValue(nested.to_string())),
        Json::Array(values) => Some(Value::ArrayValue(ArrayValue {
            values: values
                .into_iter()
                .map(|value| encode(value, depth + 1))
                .collect(),
        })),
        Json::Object(map) => Some(Value::KvlistValue(KeyValueList {
            values: map
                .into_iter()
                .map(|(key, value)| KeyValue {
                    key,
                    value: Some(encode(value, depth + 1)),
                    ..KeyValue::default()
                })
                .collect(),
        })),
    };
    AnyValue { value }
}

/// An OTLP value as JSON. Bytes are an integer if there are eight of them (see [`number`]);
/// anything that JSON cannot hold is an error.
pub fn to_json(value: &AnyValue) -> Result<serde_json::Value, DecodeError> {
    decode(value, "body", 0)
}

fn decode(value: &AnyValue, name: &str, depth: usize) -> Result<serde_json::Value, DecodeError> {
    use serde_json::Value as Json;
    if depth > MAX_DEPTH {
        return Err(DecodeError::TooDeep);
    }
    Ok(match &value.value {
        None => Json::Null,
        Some(Value::BoolValue(bool)) => Json::Bool(*bool),
        Some(Value::IntValue(int)) => Json::Number((*int).into()),
        Some(Value::DoubleValue(double)) => Json::Number(
            Number::from_f64(*double).ok_or_else(|| wrong_type(name, "a finite number"))?,
        ),
        Some(Value::StringValue(text)) => Json::String(text.clone()),
        Some(Value::BytesValue(bytes)) => {
            let bytes = <[u8; 8]>::try_from(bytes.as_slice())
                .map_err(|_| wrong_type(name, "an integer of eight bytes"))?;
            Json::Number(u64::from_be_bytes(bytes).into())
        }
        Some(Value::StringValueStrindex(_)) => {
            return Err(wrong_type(name, "a value of the logs signal"));
        }
        Some(Value::ArrayValue(array)) => Json::Array(
            array
                .values
                .iter()
                .map(|value| decode(value, name, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        Some(Value::KvlistValue(list)) => {
            let mut map = Map::new();
            for KeyValue { key, value, .. } in &list.values {
                let value = match value {
                    Some(value) => decode(value, key, depth + 1)?,
                    None => Json::Null,
                };
                map.insert(key.clone(), value);
            }
            Json::Object(map)
        }
    })
}

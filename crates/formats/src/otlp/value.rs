//! Values and attributes (`common.proto`, `resource.proto`): their messages, what they cost, and their text: that of
//! a string as it is, of all others as JSON.

use std::mem::size_of;

use prost::{Message, Oneof};

use crate::wire::{Shape, Type};

pub(super) static ANY_VALUE: Shape = Shape {
    name: "AnyValue",
    cost: 2 * size_of::<AnyValue>(),
    fields: &[
        (1, Type::Bytes),
        (2, Type::Varint),
        (3, Type::Varint),
        (4, Type::Fixed64),
        (5, Type::Message(&ARRAY_VALUE)),
        (6, Type::Message(&KEY_VALUE_LIST)),
        (7, Type::Bytes),
    ],
};
static ARRAY_VALUE: Shape = Shape { name: "ArrayValue", cost: 0, fields: &[(1, Type::Message(&ANY_VALUE))] };
static KEY_VALUE_LIST: Shape =
    Shape { name: "KeyValueList", cost: 0, fields: &[(1, Type::Message(&KEY_VALUE))] };
pub(super) static KEY_VALUE: Shape = Shape {
    name: "KeyValue",
    cost: 2 * size_of::<KeyValue>(),
    fields: &[(1, Type::Bytes), (2, Type::Message(&ANY_VALUE))],
};
pub(super) static RESOURCE: Shape =
    Shape { name: "Resource", cost: 0, fields: &[(1, Type::Message(&KEY_VALUE))] };

#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub(super) value: Option<Value>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Value {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Array(ArrayValue),
    #[prost(message, tag = "6")]
    Map(KeyValueList),
    #[prost(bytes, tag = "7")]
    Bytes(Vec<u8>),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValueList {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<KeyValue>,
}

impl KeyValue {
    pub(super) fn text(key: &str, value: &str) -> Self {
        let value = AnyValue { value: Some(Value::String(value.to_owned())) };
        Self { key: key.to_owned(), value: Some(value) }
    }

    /// The text of its value; empty where it has none.
    pub(super) fn value_text(&self) -> String {
        self.value.as_ref().map(AnyValue::text).unwrap_or_default()
    }
}

impl AnyValue {
    /// A string as it is, nothing as nothing, everything else as JSON.
    pub(super) fn text(&self) -> String {
        match &self.value {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Bytes(bytes)) => base64(bytes),
            Some(_) => {
                let mut out = String::new();
                self.json(&mut out);
                out
            }
        }
    }

    /// Messages within messages were counted before they were read: this does not go deep either.
    fn json(&self, out: &mut String) {
        match &self.value {
            None => out.push_str("null"),
            Some(Value::String(text)) => quoted(out, text),
            Some(Value::Bool(value)) => out.push_str(if *value { "true" } else { "false" }),
            Some(Value::Int(value)) => out.push_str(itoa::Buffer::new().format(*value)),
            Some(Value::Double(value)) if value.is_finite() => {
                out.push_str(ryu::Buffer::new().format_finite(*value));
            }
            Some(Value::Double(value)) => quoted(out, &value.to_string()),
            Some(Value::Array(array)) => {
                listed(out, ['[', ']'], &array.values, |out, value| value.json(out));
            }
            Some(Value::Map(map)) => listed(out, ['{', '}'], &map.values, |out, pair| {
                quoted(out, &pair.key);
                out.push(':');
                match &pair.value {
                    Some(value) => value.json(out),
                    None => out.push_str("null"),
                }
            }),
            Some(Value::Bytes(bytes)) => quoted(out, &base64(bytes)),
        }
    }
}

fn listed<T>(out: &mut String, brackets: [char; 2], items: &[T], mut one: impl FnMut(&mut String, &T)) {
    out.push(brackets[0]);
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        one(out, item);
    }
    out.push(brackets[1]);
}

/// A JSON string.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Bytes as the letters of RFC 4648, padded.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |place: usize| u32::from(chunk.get(place).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize] as char;
            out.push(if place <= chunk.len() { letter } else { '=' });
        }
    }
    out
}

/// Bytes as two digits each; empty for none, and for an id of zeros, which stands for none.
pub(super) fn id_text(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| *byte == 0) {
        return String::new();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    #[test]
    fn each_value_has_its_text() {
        let list = |values| any(Value::Array(ArrayValue { values }));
        let map = KeyValueList {
            values: vec![KeyValue::text("a\"", "b\n\u{1}"), KeyValue { key: "n".into(), value: None }],
        };
        for (value, text) in [
            (AnyValue { value: None }, ""),
            (any(Value::String("as \"it\" is".into())), "as \"it\" is"),
            (any(Value::Bool(true)), "true"),
            (any(Value::Int(i64::MIN)), "-9223372036854775808"),
            (any(Value::Double(0.5)), "0.5"),
            (any(Value::Double(f64::NAN)), "\"NaN\""),
            (any(Value::Bytes(b"any carnal pleas".to_vec())), "YW55IGNhcm5hbCBwbGVhcw=="),
            (any(Value::Bytes(b"sure.".to_vec())), "c3VyZS4="),
            (
                list(vec![any(Value::Int(1)), any(Value::String("x".into())), AnyValue { value: None }]),
                "[1,\"x\",null]",
            ),
            (any(Value::Map(map)), "{\"a\\\"\":\"b\\n\\u0001\",\"n\":null}"),
            (list(vec![any(Value::Bytes(vec![0]))]), "[\"AA==\"]"),
        ] {
            assert_eq!(value.text(), text);
        }
    }

    #[test]
    fn ids_are_hexadecimal() {
        assert_eq!(id_text(&[0x0a, 0xff]), "0aff");
        assert_eq!(id_text(&[0; 16]), "");
        assert_eq!(id_text(&[]), "");
    }
}

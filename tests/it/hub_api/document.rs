//! Every good answer that the tests of the hub's API get is held against the hub's own description
//! of it, but compressed ones: nothing may be missing, nothing may be there that is not described.

use std::sync::OnceLock;

use serde_json::Value;

use super::stage::Answer;

/// Fails if this answer is not as the document says. Refusals have tests of their own.
pub fn assert_described(method: &str, path: &str, answer: &Answer) {
    let is_plain = answer.header("content-encoding").is_none();
    if answer.header("content-type") != Some("application/json") || !is_plain || answer.status >= 400 {
        return;
    }
    let document = document();
    let path = path.split('?').next().unwrap();
    let paths = document["paths"].as_object().unwrap();
    let operation = paths.iter().find(|(template, _)| is_path(path, template));
    let operation = operation.map(|(_, operations)| &operations[method.to_lowercase()]);
    let said = operation.map(|operation| &operation["responses"][answer.status.to_string()]);
    let schema = said.map(|said| &said["content"]["application/json"]["schema"]);
    let schema = schema.filter(|schema| !schema.is_null());
    let schema =
        schema.unwrap_or_else(|| panic!("{method} {path}: answer {} is not described", answer.status));
    let mut faults = Vec::new();
    compare(schema, &answer.json(), "answer", &mut faults);
    assert!(faults.is_empty(), "{method} {path}: {faults:#?}");
}

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::from_str(include_str!("../golden/openapi.json")).unwrap())
}

/// A parameter stands for one part of the path; the last one for all that is left.
fn is_path(path: &str, template: &str) -> bool {
    let (path, template): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), template.split('/').collect());
    let fits = |(part, wanted): (&&str, &&str)| wanted.starts_with('{') || part == wanted;
    let whole =
        path.len() == template.len() || (template.last() == Some(&"{rest}") && path.len() > template.len());
    whole && path.iter().zip(&template).all(fits)
}

/// Notes where a value is not as a schema says: the part of JSON Schema that the document uses.
fn compare(schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.trim_start_matches('#');
        return compare(document().pointer(pointer).unwrap(), value, place, faults);
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    if !kinds.iter().any(|kind| is_kind(value, kind)) {
        return faults.push(format!("{place} is {value}, not {}", kinds.join(" or ")));
    }
    let words = schema["enum"].as_array();
    if words.is_some_and(|words| !words.contains(value)) {
        faults.push(format!("{place} is {value}, none of {}", schema["enum"]));
    }
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        compare(&schema["items"], item, &format!("{place}[{n}]"), faults);
    }
    if value.is_object() && schema["properties"].is_object() {
        compare_members(schema, value, place, faults);
    }
}

fn compare_members(schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    let (members, known) = (value.as_object().unwrap(), schema["properties"].as_object().unwrap());
    let needed = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let missing = needed.filter(|name| !members.contains_key(*name));
    faults.extend(missing.map(|name| format!("{place} has no {name}")));
    for (name, member) in members {
        match known.get(name) {
            Some(schema) => compare(schema, member, &format!("{place}.{name}"), faults),
            None => faults.push(format!("{place}.{name} is not described")),
        }
    }
}

fn is_kind(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("the document has a type {other}"),
    }
}

#[test]
fn what_is_missing_unknown_or_of_another_kind_is_found() {
    let schema = serde_json::json!({ "type": "array", "items": { "type": "object", "required": ["id"],
        "properties": { "id": { "type": "string", "enum": ["a"] }, "n": { "type": ["integer", "null"] } } } });
    let found = |value: Value| {
        let mut faults = Vec::new();
        compare(&schema, &value, "answer", &mut faults);
        faults
    };
    assert!(found(serde_json::json!([{ "id": "a", "n": null }, { "id": "a" }])).is_empty());
    assert_eq!(found(serde_json::json!([{ "n": 1 }])), ["answer[0] has no id"]);
    assert_eq!(found(serde_json::json!([{ "id": "b" }])), ["answer[0].id is \"b\", none of [\"a\"]"]);
    assert_eq!(
        found(serde_json::json!([{ "id": "a", "n": 1.5 }])),
        ["answer[0].n is 1.5, not integer or null"]
    );
    assert_eq!(found(serde_json::json!([{ "id": "a", "m": 1 }])), ["answer[0].m is not described"]);
    assert!(is_path("/a/x/v1/y/z", "/a/{agent}/v1/{rest}") && !is_path("/a/x", "/a/{agent}/v1/{rest}"));
}

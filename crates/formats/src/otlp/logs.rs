//! `ExportLogsServiceRequest` (`logs_service.proto`, `logs.proto`) into neutral records, one by one.

use std::mem::size_of;

use fieldpost_model::TimeMs;
use prost::Message;

use super::metrics::{parts, read};
use super::partial::Rejections;
use super::value::{ANY_VALUE, AnyValue, KEY_VALUE, KeyValue, RESOURCE, Resource, id_text};
use super::{OtlpError, check_length, time_ms};
use crate::pushed::Limits;
use crate::wire::{Shape, Type, check};

static REQUEST: Shape =
    Shape { name: "ExportLogsServiceRequest", cost: 0, fields: &[(1, Type::Message(&RESOURCE_LOGS))] };
static RESOURCE_LOGS: Shape = Shape {
    name: "ResourceLogs",
    cost: 0,
    fields: &[(1, Type::Message(&RESOURCE)), (2, Type::Message(&SCOPE_LOGS))],
};
static SCOPE_LOGS: Shape = Shape { name: "ScopeLogs", cost: 0, fields: &[(2, Type::Message(&LOG_RECORD))] };
static LOG_RECORD: Shape = Shape {
    name: "LogRecord",
    cost: size_of::<RecordMessage>(),
    fields: &[
        (1, Type::Fixed64),
        (2, Type::Varint),
        (3, Type::Bytes),
        (5, Type::Message(&ANY_VALUE)),
        (6, Type::Message(&KEY_VALUE)),
        (9, Type::Bytes),
        (10, Type::Bytes),
        (11, Type::Fixed64),
        (12, Type::Bytes),
    ],
};

#[derive(Clone, PartialEq, Message)]
pub(super) struct RecordMessage {
    #[prost(fixed64, tag = "1")]
    pub(super) time_unix_nano: u64,
    #[prost(uint32, tag = "2")]
    pub(super) severity_number: u32,
    #[prost(string, tag = "3")]
    pub(super) severity_text: String,
    #[prost(message, optional, tag = "5")]
    pub(super) body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(bytes = "vec", tag = "9")]
    pub(super) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    pub(super) span_id: Vec<u8>,
    #[prost(fixed64, tag = "11")]
    pub(super) observed_time_unix_nano: u64,
    #[prost(string, tag = "12")]
    pub(super) event_name: String,
}

/// A log record. Texts of values that are no strings are JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRecord<'a> {
    /// When it happened, or was seen, or arrived: the first that is known. Milliseconds since 1970.
    pub time_ms: TimeMs,
    /// 1 to 24 in steps of four from trace, debug, info, warn, error to fatal; 0 where it is not given.
    pub severity: u8,
    /// The source's own word for it; empty where there is none.
    pub severity_text: &'a str,
    /// What it says.
    pub body: &'a str,
    /// Names and values as they came; `trace_id`, `span_id` and `event_name` last, where there are any.
    pub attributes: &'a [(String, String)],
    /// Names and values of who wrote it.
    pub resource: &'a [(String, String)],
}

/// Reads a request and hands on its records. On an error nothing was handed on; what was rejected of a sound request
/// is in the answer.
pub fn decode_logs(
    message: &[u8],
    limits: &Limits,
    received_ms: TimeMs,
    mut visit: impl FnMut(LogRecord<'_>),
) -> Result<Rejections, OtlpError> {
    check_length(message, limits)?;
    check(message, &REQUEST, usize::MAX)?;
    let mut rejections = Rejections::default();
    for resource_logs in parts(message, 1) {
        let records = parts(resource_logs, 2).flat_map(|scope| parts(scope, 2));
        let resource = parts(resource_logs, 1).collect::<Vec<_>>().concat();
        match read::<Resource>(&resource, &RESOURCE) {
            Ok(resource) => {
                let resource = texts(&resource.attributes);
                for bytes in records {
                    match read::<RecordMessage>(bytes, &LOG_RECORD) {
                        Ok(message) => record(&message, &resource, received_ms, &mut visit),
                        Err(reason) => rejections.add("", 1, reason),
                    }
                }
            }
            Err(reason) => records.for_each(|_| rejections.add("", 1, &reason)),
        }
    }
    Ok(rejections)
}

fn record(
    message: &RecordMessage,
    resource: &[(String, String)],
    received_ms: TimeMs,
    visit: &mut impl FnMut(LogRecord<'_>),
) {
    let mut attributes = texts(&message.attributes);
    let more = [
        ("trace_id", id_text(&message.trace_id)),
        ("span_id", id_text(&message.span_id)),
        ("event_name", message.event_name.clone()),
    ];
    let more = more.into_iter().filter(|(_, value)| !value.is_empty());
    attributes.extend(more.map(|(name, value)| (name.to_owned(), value)));
    let seen_ms = time_ms(message.observed_time_unix_nano, received_ms);
    visit(LogRecord {
        time_ms: time_ms(message.time_unix_nano, seen_ms),
        severity: u8::try_from(message.severity_number).ok().filter(|number| *number <= 24).unwrap_or(0),
        severity_text: &message.severity_text,
        body: &message.body.as_ref().map(AnyValue::text).unwrap_or_default(),
        attributes: &attributes,
        resource,
    });
}

fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    attributes.iter().map(|attribute| (attribute.key.clone(), attribute.value_text())).collect()
}

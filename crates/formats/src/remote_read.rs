//! Prometheus remote read: which series a request asks for, and the answer with their samples. Of the kinds of
//! answers the one that everybody reads is written: whole samples in one message (`SAMPLES`).

use fieldpost_model::TimeMs;
use prost::Message;

use crate::pushed::{Label, Limits, Sample};
pub use crate::remote_write::RequestError as Error;
use crate::remote_write::{decompress, v1};
use crate::wire::{Shape, Type, check, fields};

/// The value of `Content-Type` of request and answer.
pub const CONTENT_TYPE: &str = "application/x-protobuf";
/// The value of their `Content-Encoding`.
pub const CONTENT_ENCODING: &str = crate::remote_write::CONTENT_ENCODING;

static REQUEST: Shape = Shape { name: "ReadRequest", cost: 0, fields: &[(1, Type::Message(&QUERY))] };
static QUERY: Shape = Shape {
    name: "Query",
    cost: 0,
    fields: &[(1, Type::Varint), (2, Type::Varint), (3, Type::Message(&MATCHER))],
};
static MATCHER: Shape =
    Shape { name: "LabelMatcher", cost: 0, fields: &[(1, Type::Varint), (2, Type::Bytes), (3, Type::Bytes)] };

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Matches,
    /// `!~`
    MatchesNot,
}

/// One of the questions of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// First instant that is asked for.
    pub from_ms: TimeMs,
    /// Last one.
    pub to_ms: TimeMs,
    /// Names of labels, how they are compared, and with what. All must hold.
    pub matchers: Vec<(String, Comparison, String)>,
}

/// Reads a request out of its compression.
pub fn decode(block: &[u8], limits: &Limits) -> Result<Vec<Query>, Error> {
    let mut message = Vec::new();
    decompress(block, limits, &mut message)?;
    check(&message, &REQUEST, usize::MAX)?;
    Ok(fields(&message).filter(|field| field.number == 1).map(|field| query(field.value.bytes())).collect())
}

fn query(message: &[u8]) -> Query {
    let mut query = Query::default();
    for field in fields(message) {
        match field.number {
            1 => query.from_ms = field.value.number().cast_signed(),
            2 => query.to_ms = field.value.number().cast_signed(),
            3 => query.matchers.push(matcher(field.value.bytes())),
            _ => {}
        }
    }
    query
}

fn matcher(message: &[u8]) -> (String, Comparison, String) {
    let (mut label, mut how, mut value) = (String::new(), Comparison::Equal, String::new());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for field in fields(message) {
        match (field.number, field.value.number()) {
            (1, 1) => how = Comparison::NotEqual,
            (1, 2) => how = Comparison::Matches,
            (1, 3) => how = Comparison::MatchesNot,
            (2, _) => label = text(field.value.bytes()),
            (3, _) => value = text(field.value.bytes()),
            _ => {}
        }
    }
    (label, how, value)
}

/// Results by query, each already written.
#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(bytes = "vec", repeated, tag = "1")]
    results: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<v1::TimeSeries>,
}

/// An answer that is being written: `begin` for each query of the request, `push` for each of its series.
#[derive(Debug, Default)]
pub struct Encoder {
    results: Vec<Vec<u8>>,
}

impl Encoder {
    /// The next query's results.
    pub fn begin(&mut self) {
        self.results.push(Vec::new());
    }

    /// A series of it: labels by name, samples by time.
    pub fn push(&mut self, labels: &[Label<'_>], samples: impl Iterator<Item = Sample>) {
        let Some(result) = self.results.last_mut() else { return };
        let series = v1::TimeSeries::of(labels, samples);
        // Protobuf joins what is written one after the other.
        v1::append(result, &QueryResult { timeseries: vec![series] });
    }

    /// The body of the answer, compressed.
    pub fn finish(self) -> Result<Vec<u8>, Error> {
        let message = ReadResponse { results: self.results }.encode_to_vec();
        let too_long = |_| Error::TooLong { n_bytes: message.len(), max: u32::MAX as usize };
        snap::raw::Encoder::new().compress_vec(&message).map_err(too_long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Asked {
        #[prost(message, repeated, tag = "1")]
        queries: Vec<Question>,
        #[prost(int32, repeated, tag = "2")]
        kinds: Vec<i32>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Question {
        #[prost(int64, tag = "1")]
        from_ms: i64,
        #[prost(int64, tag = "2")]
        to_ms: i64,
        #[prost(message, repeated, tag = "3")]
        matchers: Vec<Condition>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Condition {
        #[prost(int32, tag = "1")]
        how: i32,
        #[prost(string, tag = "2")]
        name: String,
        #[prost(string, tag = "3")]
        value: String,
    }

    fn packed(message: &impl Message) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).unwrap()
    }

    #[test]
    fn requests_are_read_as_they_were_written() {
        let matchers = vec![Condition { how: 3, name: "a".into(), value: "b.*".into() }];
        let queries = vec![Question { from_ms: -5, to_ms: 7, matchers }, Question::default()];
        let read = decode(&packed(&Asked { queries, kinds: vec![1, 0] }), &Limits::default()).unwrap();
        let matchers = vec![("a".to_owned(), Comparison::MatchesNot, "b.*".to_owned())];
        assert_eq!(read, [Query { from_ms: -5, to_ms: 7, matchers }, Query::default()]);
        assert!(decode(b"nonsense", &Limits::default()).is_err());
    }

    #[test]
    fn answers_keep_their_queries_apart() {
        let mut encoder = Encoder::default();
        let sample = |time_ms| Sample { time_ms, value: -0.0, start_ms: None };
        encoder.begin();
        encoder.push(&[("a", "1")], [sample(1), sample(2)].into_iter());
        encoder.push(&[("a", "2")], [sample(3)].into_iter());
        encoder.begin();
        let message = snap::raw::Decoder::new().decompress_vec(&encoder.finish().unwrap()).unwrap();
        let answer = ReadResponse::decode(message.as_slice()).unwrap();
        let results: Vec<_> =
            answer.results.iter().map(|result| QueryResult::decode(result.as_slice()).unwrap()).collect();
        assert_eq!(results.iter().map(|result| result.timeseries.len()).collect::<Vec<_>>(), [2, 0]);
        assert_eq!(results[0].timeseries[0].samples.len(), 2);
    }
}

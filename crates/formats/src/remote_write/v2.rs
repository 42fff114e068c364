//! Remote write 2.0 (release candidate 4): `io.prometheus.write.v2.Request` of
//! `prompb/io/prometheus/write/v2/types.proto`. Every text stands once in a table of strings; series refer to it and
//! carry what is known of their family. Start times are read from where candidates before 4 had them, too.

use std::collections::HashMap;

use prost::Message;

use super::RequestError;
use super::v1::{append, kind_number, kind_of, present};
use crate::delivery::Delivery;
use crate::pushed::{Label, Limits, Metadata, Outcome, Pushed, PushedSeries, Sample, SeriesFault, shown};
use crate::wire::{Shape, Type, Value, check, fields, varints};

/// Most strings in the table. A request of the longest allowed has fewer, unless it is made of tiny ones.
const SYMBOLS_MAX: usize = 2 << 20;

static REQUEST: Shape =
    Shape { name: "Request", cost: 0, fields: &[(4, Type::Bytes), (5, Type::Message(&TIME_SERIES))] };
static TIME_SERIES: Shape = Shape {
    name: "TimeSeries",
    cost: 0,
    fields: &[
        (1, Type::Varints),
        (2, Type::Message(&SAMPLE)),
        (3, Type::Bytes),
        (4, Type::Bytes),
        (5, Type::Message(&METADATA)),
        (6, Type::Varint),
    ],
};
static SAMPLE: Shape =
    Shape { name: "Sample", cost: 0, fields: &[(1, Type::Fixed64), (2, Type::Varint), (3, Type::Varint)] };
static METADATA: Shape =
    Shape { name: "Metadata", cost: 0, fields: &[(1, Type::Varint), (3, Type::Varint), (4, Type::Varint)] };

/// The request, as it is written.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(string, repeated, tag = "4")]
    pub(super) symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub(super) timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TimeSeries {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<Point>,
    #[prost(message, optional, tag = "5")]
    pub(super) metadata: Option<References>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Point {
    #[prost(double, optional, tag = "1")]
    pub(super) value: Option<f64>,
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
    /// 0 where it is not known.
    #[prost(int64, tag = "3")]
    pub(super) start_timestamp: i64,
}

/// `Metadata`: a kind, and texts by reference.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct References {
    #[prost(uint32, tag = "1")]
    pub(super) kind: u32,
    #[prost(uint32, tag = "3")]
    pub(super) help_ref: u32,
    #[prost(uint32, tag = "4")]
    pub(super) unit_ref: u32,
}

/// Reads a message that is not longer than the limits allow.
pub(super) fn decode(
    message: &[u8],
    limits: &Limits,
    visit: impl FnMut(Pushed<'_>),
) -> Result<Outcome, RequestError> {
    check(message, &REQUEST, usize::MAX)?;
    let symbols = Symbols::of(message)?;
    let mut delivery = Delivery::new(limits, visit);
    let mut labels = Vec::new();
    for field in fields(message).filter(|field| field.number == 5) {
        series(field.value.bytes(), &symbols, &mut labels, &mut delivery);
    }
    Ok(delivery.finish())
}

fn series<'a, V>(
    series: &'a [u8],
    symbols: &Symbols<'a>,
    labels: &mut Vec<Label<'a>>,
    delivery: &mut Delivery<'_, V>,
) where
    V: FnMut(Pushed<'_>),
{
    let (mut about, mut created_ms, mut n_histograms, mut n_exemplars) = (None, 0, 0, 0);
    for field in fields(series) {
        match field.number {
            3 => n_histograms += 1,
            4 => n_exemplars += 1,
            5 => about = Some(field.value),
            6 => created_ms = field.value.number().cast_signed(),
            _ => {}
        }
    }
    delivery.unsupported(n_histograms, n_exemplars);
    labels.clear();
    let of = |number| fields(series).filter(move |field| field.number == number).map(|field| field.value);
    let read = pairs(of(1).flat_map(varints), symbols, |label| delivery.label(labels, label));
    let before = read.and_then(|()| about.map(|value| metadata(value, symbols)).transpose());
    delivery.series(labels, before, of(2).map(|value| sample(value, created_ms)));
}

/// Reads references, a name's and a value's in turn.
fn pairs<'a>(
    mut refs: impl Iterator<Item = u64>,
    symbols: &Symbols<'a>,
    mut take: impl FnMut(Label<'a>) -> Result<(), SeriesFault>,
) -> Result<(), SeriesFault> {
    let mut n_refs = 1;
    while let Some(name) = refs.next() {
        let value = refs.next().ok_or(SeriesFault::OddReferences { n_refs })?;
        take((symbols.text(name)?, symbols.text(value)?))?;
        n_refs += 2;
    }
    Ok(())
}

fn metadata<'a>(value: Value<'a>, symbols: &Symbols<'a>) -> Result<Metadata<'a>, SeriesFault> {
    let (mut kind, mut help, mut unit) = (0, 0, 0);
    for field in fields(value.bytes()) {
        match field.number {
            1 => kind = field.value.number(),
            3 => help = field.value.number(),
            4 => unit = field.value.number(),
            _ => {}
        }
    }
    Ok(Metadata { kind: kind_of(kind), help: symbols.text(help)?, unit: symbols.text(unit)? })
}

fn sample(value: Value<'_>, created_ms: i64) -> Sample {
    let mut sample = Sample { time_ms: 0, value: 0.0, start_ms: None };
    let mut start_ms = created_ms;
    for field in fields(value.bytes()) {
        match field.number {
            1 => sample.value = f64::from_bits(field.value.number()),
            2 => sample.time_ms = field.value.number().cast_signed(),
            3 => start_ms = field.value.number().cast_signed(),
            _ => {}
        }
    }
    sample.start_ms = (start_ms != 0).then_some(start_ms);
    sample
}

/// The table of strings; nothing where one is not UTF-8, for only a series that refers to it is wrong.
struct Symbols<'a>(Vec<Option<&'a str>>);

impl<'a> Symbols<'a> {
    fn of(message: &'a [u8]) -> Result<Self, RequestError> {
        let mut symbols = Vec::new();
        for field in fields(message).filter(|field| field.number == 4) {
            if symbols.len() == SYMBOLS_MAX {
                return Err(RequestError::TooManySymbols { max: SYMBOLS_MAX });
            }
            symbols.push(str::from_utf8(field.value.bytes()).ok());
        }
        match symbols.first() {
            None | Some(Some("")) => Ok(Self(symbols)),
            Some(first) => Err(RequestError::FirstSymbol { found: shown(first.unwrap_or("no UTF-8")) }),
        }
    }

    /// The text that a reference leads to. 0 is no text, even where the table is empty.
    fn text(&self, reference: u64) -> Result<&'a str, SeriesFault> {
        if reference == 0 {
            return Ok("");
        }
        let found = usize::try_from(reference).ok().and_then(|place| self.0.get(place));
        let found = found.ok_or(SeriesFault::NoSymbol { reference, n_symbols: self.0.len() })?;
        found.ok_or_else(|| SeriesFault::NotUtf8 { found: format!("string {reference} of the table") })
    }
}

/// The table of strings while a request is written: what stands in it and where.
#[derive(Default)]
pub(super) struct Interner {
    places: HashMap<Box<str>, u32>,
    /// The table, as it will stand in the request.
    pub(super) written: Vec<u8>,
}

impl Interner {
    /// Place of the text, which is put there if it is new.
    fn place(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        if self.places.is_empty() {
            append(&mut self.written, &Request { symbols: vec![String::new()], timeseries: Vec::new() });
        }
        append(&mut self.written, &Request { symbols: vec![text.to_owned()], timeseries: Vec::new() });
        // The empty string is not among the places and stands first.
        let place = self.places.len() as u32 + 1;
        self.places.insert(text.into(), place);
        place
    }
}

/// Appends a series to the series of a request.
pub(super) fn append_series(request: &mut Vec<u8>, symbols: &mut Interner, series: PushedSeries<'_>) {
    let mut place = |text: &str| symbols.place(text);
    let mut labels_refs = Vec::with_capacity(2 * series.labels.len());
    for (name, value) in series.labels {
        labels_refs.extend([place(name), place(value)]);
    }
    let metadata = series.metadata.map(|metadata| References {
        kind: kind_number(metadata.kind),
        help_ref: place(metadata.help),
        unit_ref: place(metadata.unit),
    });
    let point = |sample: &Sample| Point {
        value: present(sample.value),
        timestamp: sample.time_ms,
        start_timestamp: sample.start_ms.unwrap_or(0),
    };
    let samples = series.samples.iter().map(point).collect();
    append(
        request,
        &Request { symbols: Vec::new(), timeseries: vec![TimeSeries { labels_refs, samples, metadata }] },
    );
}

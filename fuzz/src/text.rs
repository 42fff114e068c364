//! Targets without files beneath them: text and blobs in, values out.

use std::path::Path;

use fieldpost::config::yaml::Document;
use fieldpost::config::{Config, Files, Request};
use fieldpost::hub;
use fieldpost_formats::negotiate::accepts_gzip;
use fieldpost_formats::{Dialect, ParsedFamily, parse, write};
use fieldpost_model::{ByteSize, Family, Pattern, Period, Selector};
use fieldpost_store::codec::{
    IdGroup, RowColumn, Rows, decode_axis, decode_row, decode_table, decode_window, encode_axis, encode_row,
    encode_table, encode_window,
};

use super::Ready;

/// Pages of metrics, sound ones.
const PAGES: [&str; 4] = [
    "# HELP a_total Help with \\\\ and \\n.\n# TYPE a_total counter\na_total{b=\"c\",d=\"e\\\"\\\\\\n\"} 1 1700000000000\n",
    "# TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3.5\nh_count 2\n",
    "# TYPE s summary\ns{a=\"b\",quantile=\"0.99\"} 4.35e-06\ns_sum{a=\"b\"} 1e+06\ns_count{a=\"b\"} 7\nplain NaN\n",
    "# A comment.\n\n  g{ x = \"1\" , } -Inf\ng{x=\"2\"}\t0.25\n",
];

/// What the parser reads, the writer writes, and the parser reads the same again.
pub fn metrics_text() -> Ready {
    let seeds = PAGES.iter().map(|page| page.as_bytes().to_vec()).collect();
    Ready { seeds, run: Box::new(read_and_write) }
}

fn read_and_write(data: &[u8]) {
    let Ok(families) = parse(data) else { return };
    let text = written(&families);
    let again = parse(&text).unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(&text)));
    // Not-a-number differs from itself; the texts do not.
    assert_eq!(written(&again), text);
    let normalised: Vec<ParsedFamily> = families.into_iter().map(ParsedFamily::normalised).collect();
    written(&normalised);
}

fn written(families: &[ParsedFamily]) -> Vec<u8> {
    let mut out = Vec::new();
    for family in families {
        let help = family.help.clone().unwrap_or_default();
        let header = Family { name: family.name.as_str().into(), help: help.into(), kind: family.kind };
        write::header(&mut out, Dialect::Text, &header, |_| false);
        for sample in &family.samples {
            let mut series = format!("{}{}{{", family.name, sample.suffix).into_bytes();
            for (name, value) in &sample.labels {
                series.extend_from_slice(format!("{name}=\"").as_bytes());
                write::escaped_label(&mut series, value);
                series.extend_from_slice(b"\",");
            }
            series.push(b'}');
            let series = String::from_utf8(series).expect("names and values are UTF-8");
            match sample.time_ms {
                Some(time_ms) => write::sample_at(&mut out, Dialect::Text, &series, sample.value, time_ms),
                None => write::sample(&mut out, &series, sample.value),
            }
        }
    }
    out
}

/// A config file: whatever it says, each fault has words and nothing panics.
pub fn config(folder: &Path) -> Ready {
    let file = folder.join("agent.yaml");
    let request = Request {
        files: Files { named_file: Some(file.clone()), ..Files::default() },
        state_dir: folder.to_owned(),
        ..Request::default()
    };
    let seeds = [
        "interval: 1s\ncollectors:\n  all: false\n  textfile:\n    directory: [/a, /b]\n  netdev: {interval: 2s}\n",
        "a: &x {b: [1, 2, ~]}\nc: *x\n? d\n: |\n  text\n'e': \"f\\n\"\n--- # second\ng: !!str 1\n",
        "collectors:\n  filesystem:\n    mount_points_exclude: \"^/(dev|proc)($|/)\"\nstore: {path: /tmp}\nlog: {}\n",
    ];
    let run = move |data: &[u8]| {
        let Ok(text) = std::str::from_utf8(data) else { return };
        let document = Document::read(text);
        assert!(document.faults.iter().all(|fault| !fault.text.is_empty()), "each fault has words");
        // Building the whole config is a thousand times slower than reading the text: only some inputs go there.
        if data.len().is_multiple_of(64) {
            std::fs::write(&file, data).expect("the file can be written");
            let refusals = [request.load::<Config>().err(), request.load::<hub::Config>().err()];
            for problems in refusals.into_iter().flatten() {
                assert!(!problems.0.is_empty() && !problems.summary().is_empty(), "a refusal says why");
            }
        }
    };
    Ready { seeds: seeds.map(|seed| seed.as_bytes().to_vec()).to_vec(), run: Box::new(run) }
}

/// Blobs of the store: any bytes, and any bytes within a sound frame.
pub fn store_codec() -> Ready {
    let groups = [IdGroup {
        times_ms: vec![1_000, 2_000, 3_000],
        ids: vec![0, 1, 2],
        values: vec![1.0, 2.0, 3.0, 0.5, 0.25, f64::NAN, fieldpost_model::ABSENT, 7.0, 7.0],
    }];
    let column = |part, values: [f64; 3]| RowColumn { id: 7, part, axis: 0, values: values.to_vec() };
    let row = [
        column(0, [1.0, 2.0, 4.0]),
        column(1, [0.1, f64::NAN, 0.3]),
        column(2, [fieldpost_model::ABSENT; 3]),
    ];
    let ticks = vec![(1_000, Rows::from([(1, [3; 8])])), (2_000, Rows::from([(1, [4; 8]), (2, [5; 8])]))];
    let seeds = vec![
        // Version, one group of three instants and two series, one of them with differences.
        vec![1, 1, 3, 208, 15, 0, 0, 2, 0, 1, 1, 3, 2, 4, 2, 2],
        encoded(&groups),
        encode_axis(&[1_000, 2_000, 3_000]),
        encode_row(&row),
        encode_table(&mut Rows::new(), ticks),
    ];
    Ready { seeds, run: Box::new(decode) }
}

fn decode(data: &[u8]) {
    for blob in [data, &framed(data)] {
        decode_groups(blob);
        if let Ok(times_ms) = decode_axis(blob) {
            assert_eq!(decode_axis(&encode_axis(&times_ms)), Ok(times_ms));
        }
        decode_ticks(blob);
    }
    decode_columns(data);
    // A row's blob with the input as its head and as its chunks: version, length of the head, head, chunks.
    if let [n_head, rest @ ..] = data {
        let (head, chunks) = rest.split_at(usize::from(*n_head).min(rest.len()));
        let head = framed(head);
        let length = [(head.len() & 0x7f) as u8 | 0x80, (head.len() >> 7) as u8];
        decode_columns(&[&[1], &length[..], &head, chunks].concat());
    }
}

fn decode_groups(blob: &[u8]) {
    let Ok(groups) = decode_window(blob) else { return };
    for group in &groups {
        assert_eq!(group.values.len(), group.ids.len() * group.times_ms.len());
    }
    let again = decode_window(&encoded(&groups)).expect("what is encoded decodes");
    assert_eq!(bits(&groups), bits(&again));
}

fn decode_columns(blob: &[u8]) {
    let Ok(columns) = decode_row(blob, |_, _| true) else { return };
    let again = decode_row(&encode_row(&columns), |_, _| true).expect("what is encoded decodes");
    let bits = |columns: &[RowColumn]| -> Vec<Vec<u64>> {
        columns.iter().map(|column| column.values.iter().map(|value| value.to_bits()).collect()).collect()
    };
    assert_eq!(bits(&columns), bits(&again));
}

fn decode_ticks(blob: &[u8]) {
    let mut ticks = Vec::new();
    // Few ticks are kept: each is a copy of all rows.
    let keep = |time_ms, rows: &Rows| {
        if ticks.len() < 16 {
            ticks.push((time_ms, rows.clone()));
        }
    };
    if decode_table(&mut Rows::new(), blob, keep).is_ok() {
        let mut again = Vec::new();
        let blob = encode_table(&mut Rows::new(), ticks.clone());
        decode_table(&mut Rows::new(), &blob, |time_ms, rows| again.push((time_ms, rows.clone())))
            .expect("what is encoded decodes");
        assert_eq!(ticks, again);
    }
}

fn encoded(groups: &[IdGroup]) -> Vec<u8> {
    encode_window(groups.iter().map(|group| (&*group.times_ms, &*group.ids, &*group.values)))
}

fn bits(groups: &[IdGroup]) -> Vec<(&[i64], &[u32], Vec<u64>)> {
    let bits = |group: &IdGroup| group.values.iter().map(|value| value.to_bits()).collect();
    groups.iter().map(|group| (&*group.times_ms, &*group.ids, bits(group))).collect()
}

/// A zstd frame that holds the bytes as they are (RFC 8878): one segment, its size in four bytes, raw blocks.
fn framed(plain: &[u8]) -> Vec<u8> {
    const BLOCK_BYTES_MAX: usize = 64 << 10;
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    out.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    let n_blocks = plain.len().div_ceil(BLOCK_BYTES_MAX).max(1);
    for position in 0..n_blocks {
        let block = &plain[position * BLOCK_BYTES_MAX..plain.len().min((position + 1) * BLOCK_BYTES_MAX)];
        let header = (block.len() as u32) << 3 | u32::from(position + 1 == n_blocks);
        out.extend_from_slice(&header.to_le_bytes()[..3]);
        out.extend_from_slice(block);
    }
    out
}

/// What comes with a request: headers, selectors, periods, sizes, patterns. The first byte chooses.
pub fn requests() -> Ready {
    let seeds = [
        "0application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        "1gzip;q=0.5, deflate, *;q=0",
        "2node_load1{host=~\"web.*\",mode!=\"idle\",a!~\"b|c\",d=\"e\\\"\\\\\\n\"}",
        "31h30m15s500ms",
        "464MiB",
        "5^(veth.*|[a-f0-9]{15})$",
        "6[1, {a: b}]",
    ];
    let run = |data: &[u8]| {
        let Ok(text) = std::str::from_utf8(data) else { return };
        let Some(choice) = text.chars().next() else { return };
        request(choice, &text[choice.len_utf8()..]);
    };
    Ready { seeds: seeds.map(|seed| seed.as_bytes().to_vec()).to_vec(), run: Box::new(run) }
}

fn request(choice: char, text: &str) {
    match choice {
        '0' => drop(Dialect::negotiate(text).content_type()),
        '1' => drop(accepts_gzip(text)),
        '2' => {
            if let Ok(selector) = Selector::parse(text) {
                selector.accepts("node_load1", |label| (label == "host").then_some("web1"));
            }
        }
        '3' => {
            if let Ok(period) = text.parse::<Period>() {
                assert_eq!(period.to_string().parse(), Ok(period), "a period is shown as it is written");
            }
        }
        '4' => {
            if let Ok(size) = text.parse::<ByteSize>() {
                assert_eq!(size.to_string().parse(), Ok(size), "a size is shown as it is written");
            }
        }
        '5' => {
            if let Ok(pattern) = Pattern::new(text) {
                pattern.is_match("eth0");
            }
        }
        _ => drop(fieldpost::config::yaml::value_of(text)),
    }
}

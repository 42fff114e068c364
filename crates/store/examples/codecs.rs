//! Records numbers of this machine's /proc into a store, and compares codecs on what a store
//! has. `codecs record FOLDER SECONDS`, then `codecs compare FOLDER`.

// A program for people at a terminal.
#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldpost_model::{Catalog, Family, Group, Kind, Owner, Series, SeriesId, TimeMs, Window};
use fieldpost_store::codec::{RowColumn, encode_axis, encode_row};
use fieldpost_store::{Config, Reader, Samples, Store, StoreOptions};

/// Files of `name value...` lines, most of what an agent samples.
const FILES: [&str; 8] = [
    "/proc/stat",
    "/proc/vmstat",
    "/proc/meminfo",
    "/proc/diskstats",
    "/proc/net/dev",
    "/proc/net/sockstat",
    "/proc/softirqs",
    "/proc/schedstat",
];

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["record", folder, seconds] => record(Path::new(folder), seconds.parse()?),
        ["compare", folder] => compare(Path::new(folder)),
        _ => Err("usage: codecs record FOLDER SECONDS | codecs compare FOLDER".into()),
    }
}

/// Every number of the files, named by file, first word of its line, and position.
fn look() -> Vec<(String, f64)> {
    let mut numbers = Vec::new();
    for path in FILES {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        for (n, line) in text.lines().enumerate() {
            let words = line.split_ascii_whitespace();
            for (position, word) in words.enumerate() {
                if let Ok(number) = word.parse::<f64>() {
                    let first = line.split_ascii_whitespace().next().unwrap_or_default();
                    let factor = if path == "/proc/meminfo" { 1024.0 } else { 1.0 };
                    numbers.push((format!("{path}:{n}:{first}:{position}"), number * factor));
                }
            }
        }
    }
    numbers
}

fn record(folder: &Path, seconds: i64) -> Result<(), Failure> {
    let (store, _) = Store::open(StoreOptions::new(Config { path: folder.to_owned(), ..Config::default() }))?;
    let catalog = Catalog::new();
    let family = Family { name: "proc".into(), help: "A number of /proc.".into(), kind: Kind::Counter };
    let clock = StoreOptions::new(Config::default()).clock;
    let begin = (clock)();
    let mut ticks: Vec<(TimeMs, Vec<(SeriesId, f64)>)> = Vec::new();
    for _ in 0..seconds {
        std::thread::sleep(Duration::from_millis((1000 - (clock)().rem_euclid(1000)) as u64));
        let now = (clock)() / 1000 * 1000;
        let resolve = |name: &str| catalog.resolve(Owner(1), &family, "", &[("of", name)]);
        ticks.push((now, look().into_iter().map(|(name, value)| (resolve(&name), value)).collect()));
        if ticks.len() == 10 {
            store.append(window(&catalog, &std::mem::take(&mut ticks)));
        }
    }
    let closed = store.close()?;
    let io = std::fs::read_to_string("/proc/self/io")?;
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap_or("0");
    let per_sample = written.parse::<f64>()? / closed.n_samples_stored as f64;
    println!("{} ms, {closed:?}, {per_sample:.2} bytes written a sample", (clock)() - begin);
    Ok(())
}

fn window(catalog: &Catalog, ticks: &[(TimeMs, Vec<(SeriesId, f64)>)]) -> Window {
    let mut columns: HashMap<SeriesId, Vec<f64>> = HashMap::new();
    for (position, (_, samples)) in ticks.iter().enumerate() {
        for (id, value) in samples {
            let column = columns.entry(*id).or_insert_with(|| vec![fieldpost_model::ABSENT; ticks.len()]);
            column[position] = *value;
        }
    }
    let mut columns: Vec<_> = columns.into_iter().collect();
    columns.sort_by_key(|(id, _)| *id);
    let view = catalog.read();
    let series: Vec<Arc<Series>> = columns.iter().filter_map(|(id, _)| view.get(*id).cloned()).collect();
    let values = columns.into_iter().flat_map(|(_, column)| column).collect();
    let times_ms: Vec<TimeMs> = ticks.iter().map(|(time_ms, _)| *time_ms).collect();
    let (from_ms, to_ms) = (times_ms[0], times_ms[times_ms.len() - 1] + 1000);
    Window { from_ms, to_ms, groups: vec![Group { times_ms, series, values }] }
}

fn compare(folder: &Path) -> Result<(), Failure> {
    let mut all: HashMap<String, Samples> = HashMap::new();
    let everything = fieldpost_model::Selector::default();
    Reader::open(folder)?.scan(&everything, 0, i64::MAX, |series, samples| {
        all.entry(series.text.clone()).or_default().extend_from_slice(samples);
    })?;
    let mut columns: Vec<_> = all.into_iter().collect();
    columns.sort_by(|a, b| a.0.cmp(&b.0));
    let columns: Vec<Samples> = columns.into_iter().map(|(_, samples)| samples).collect();
    let n_samples: usize = columns.iter().map(Vec::len).sum();
    let constant = columns.iter().filter(|c| c.iter().all(|s| s.1 == c[0].1)).count();
    println!("{} series, {constant} constant, {n_samples} samples", columns.len());
    println!("| codec | 120 values | 600 | 3 600 |\n|---|---|---|---|");
    type Codec = (&'static str, fn(&[Samples]) -> usize);
    let codecs: [Codec; 4] = [
        ("rows: decimal to whole, constants elided, shorter of pco and delta+zstd", rows),
        ("pco on floats", floats),
        ("decimal to whole, delta, zstd 3", delta),
        ("XOR of floats, bit-packed (Gorilla)", gorilla),
    ];
    for (name, codec) in codecs {
        print!("| {name} |");
        for length in [120, 600, 3_600] {
            let began = Instant::now();
            let pieces = columns.chunks(16).flat_map(|group| pieces(group, length));
            let bytes: usize = pieces.map(|piece| codec(&piece)).sum();
            let seconds = began.elapsed().as_secs_f64();
            let speed = n_samples as f64 * 8.0 / seconds / 1e6;
            print!(" {:.3} B, {speed:.0} MB/s |", bytes as f64 / n_samples as f64);
        }
        println!();
    }
    Ok(())
}

/// Sixteen series cut into spans of so many samples.
fn pieces(group: &[Samples], length: usize) -> Vec<Vec<Samples>> {
    let longest = group.iter().map(Vec::len).max().unwrap_or(0);
    let cut = |column: &Samples, start: usize| {
        column[start.min(column.len())..(start + length).min(column.len())].to_vec()
    };
    (0..longest)
        .step_by(length)
        .map(|start| group.iter().map(|column| cut(column, start)).collect())
        .collect()
}

fn values(column: &Samples) -> Vec<f64> {
    column.iter().map(|(_, value)| *value).collect()
}

fn rows(group: &[Samples]) -> usize {
    let columns: Vec<RowColumn> =
        group.iter().zip(0..).map(|(c, id)| RowColumn { id, part: 0, axis: 0, values: values(c) }).collect();
    let times: Vec<TimeMs> = group.first().map(|c| c.iter().map(|s| s.0).collect()).unwrap_or_default();
    // One axis serves all groups of an hour; a share of it is counted here.
    encode_row(&columns).len() + encode_axis(&times).len() / 30
}

fn floats(group: &[Samples]) -> usize {
    let config = pco::ChunkConfig::default();
    let packed = |c: &Samples| pco::standalone::simple_compress(&values(c), &config).map_or(0, |b| b.len());
    group.iter().map(packed).sum()
}

fn delta(group: &[Samples]) -> usize {
    let mut plain = Vec::new();
    for column in group {
        let mut last = 0_i64;
        for value in values(column) {
            // Hundredths, as most numbers of a host are whole or have two digits.
            let whole = (value * 100.0).round() as i64;
            let step = whole.wrapping_sub(last);
            last = whole;
            let mut zigzag = ((step << 1) ^ (step >> 63)) as u64;
            while zigzag >= 0x80 {
                plain.push(zigzag as u8 | 0x80);
                zigzag >>= 7;
            }
            plain.push(zigzag as u8);
        }
    }
    zstd::bulk::compress(&plain, 3).map_or(0, |bytes| bytes.len())
}

/// Only counts bits, as in the paper: control bits, and the block of bits that differ.
fn gorilla(group: &[Samples]) -> usize {
    let mut bits = 0;
    for column in group {
        let (mut last, mut leading, mut trailing) = (0_u64, 65, 0);
        for value in values(column) {
            let xor = value.to_bits() ^ last;
            last = value.to_bits();
            if xor == 0 {
                bits += 1;
            } else if leading <= 64 && xor.leading_zeros() >= leading && xor.trailing_zeros() >= trailing {
                bits += 2 + (64 - leading - trailing) as usize;
            } else {
                (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
                bits += 2 + 5 + 6 + (64 - leading - trailing) as usize;
            }
        }
    }
    bits.div_ceil(8)
}

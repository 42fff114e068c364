//! Records numbers of this machine's /proc into a store, and compares codecs on what a store
//! has: `codecs record FOLDER SECONDS`, then `codecs compare FOLDER`. `codecs replay` plays a
//! recording into another store and says what was written; `codecs time` opens one and asks it.

// A program for people at a terminal.
#![allow(clippy::print_stdout)]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use fieldpost_model::{Catalog, Family, Group, Kind, Owner, Series, SeriesId, TimeMs, Window};
use fieldpost_store::codec::{RowColumn, decode_row, decode_window, encode_row, encode_window};
use fieldpost_store::{Config, Reader, Samples, Store, StoreOptions, StoredSeries};

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

/// Where replays begin: an hour of November 2026.
const START_MS: TimeMs = 1_795_219_200_000;

const USAGE: &str = "usage: codecs record FOLDER SECONDS | codecs compare FOLDER
       codecs replay FROM TO WINDOW_SECONDS HOURS | codecs time FOLDER SELECTOR";

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["record", folder, seconds] => record(Path::new(folder), seconds.parse()?),
        ["compare", folder] => compare(Path::new(folder)),
        ["replay", from, to, window_s, n_hours] => {
            replay(Path::new(from), Path::new(to), window_s.parse()?, n_hours.parse()?)
        }
        ["time", folder, selector] => time(Path::new(folder), selector),
        _ => Err(USAGE.into()),
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
    println!("{} ms, {closed:?}", (clock)() - begin);
    report_written(closed.n_samples_stored)
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

/// All series of a store with their samples, by text.
fn read_all(folder: &Path) -> Result<Vec<(StoredSeries, Samples)>, Failure> {
    let mut all: BTreeMap<String, (StoredSeries, Samples)> = BTreeMap::new();
    let everything = fieldpost_model::Selector::default();
    Reader::open(folder)?.scan(&everything, 0, i64::MAX, |series, samples| {
        let (_, known) = all.entry(series.text.clone()).or_insert_with(|| (series.clone(), Vec::new()));
        known.extend_from_slice(samples);
    })?;
    Ok(all.into_values().collect())
}

/// Packs sixteen series; answers the blobs.
type Encode = fn(&[Samples]) -> Vec<Vec<u8>>;
/// Unpacks one blob; answers how many numbers came out.
type Decode = fn(&[u8]) -> usize;

fn compare(folder: &Path) -> Result<(), Failure> {
    let columns: Vec<Samples> = read_all(folder)?.into_iter().map(|(_, samples)| samples).collect();
    let n_samples: usize = columns.iter().map(Vec::len).sum();
    let constant = columns.iter().filter(|c| c.iter().all(|s| s.1 == c[0].1)).count();
    println!("{} series, {constant} constant, {n_samples} samples", columns.len());
    println!("| codec | 10 values | 600 | 3 600 | packs / unpacks, MB/s |\n|---|---|---|---|---|");
    let codecs: [(&'static str, Encode, Decode); 5] = [
        (
            "windows: decimal to whole, constants elided, deltas, zstd 1 over all columns",
            windows,
            unpack_window,
        ),
        ("rows: decimal to whole, constants elided, shorter of pco and delta+zstd", rows, unpack_row),
        ("pco on floats", floats, unpack_floats),
        ("decimal to whole, delta, zstd 3", delta, unpack_delta),
        ("XOR of floats, bit-packed (Gorilla)", gorilla, |_| 0),
    ];
    for (name, encode, decode) in codecs {
        print!("| {name} |");
        let mut speeds = String::new();
        // A window of all series over an hour is more than a blob may hold.
        let lengths = if name.starts_with("windows") { &[10, 600][..] } else { &[10, 600, 3_600] };
        for &length in lengths {
            // A window packs all series together, a row sixteen.
            let pieces: Vec<Vec<Samples>> = if name.starts_with("windows") {
                pieces(&columns, length)
            } else {
                columns.chunks(16).flat_map(|group| pieces(group, length)).collect()
            };
            let began = Instant::now();
            let blobs: Vec<Vec<u8>> = pieces.iter().flat_map(|piece| encode(piece)).collect();
            let packed = began.elapsed();
            let bytes: usize = blobs.iter().map(Vec::len).sum();
            let began = Instant::now();
            let n_back: usize = blobs.iter().map(|blob| decode(blob)).sum();
            let speed = |span: Duration| n_samples as f64 * 8.0 / span.as_secs_f64() / 1e6;
            // At the length at which each is used.
            if (length == 10) == name.starts_with("windows") {
                speeds = format!("{:.0}", speed(packed));
                if n_back > 0 {
                    speeds += &format!(" / {:.0}", speed(began.elapsed()));
                }
            }
            print!(" {:.3} B |", bytes as f64 / n_samples as f64);
        }
        println!("{} {speeds} |", if lengths.len() == 3 { "" } else { " - |" });
    }
    Ok(())
}

/// Plays what a store has, from its first sample on, into another one, again and again for so
/// many hours: in windows of so many seconds, each on the disk before the next, merges included.
fn replay(from: &Path, to: &Path, window_s: i64, n_hours: i64) -> Result<(), Failure> {
    let all = read_all(from)?;
    let begin = all.iter().filter_map(|(_, samples)| samples.first()).map(|s| s.0).min().unwrap_or(0);
    let catalog = Catalog::new();
    let mut series: Vec<(Arc<Series>, Samples)> = Vec::new();
    for (stored, samples) in all {
        let labels: Vec<_> = stored.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let suffix = stored.name.strip_prefix(&stored.family).unwrap_or_default();
        let (name, help) = (stored.family.as_str().into(), stored.help.as_str().into());
        let id = catalog.resolve(Owner(1), &Family { name, help, kind: stored.kind }, suffix, &labels);
        series.extend(catalog.read().get(id).map(|series| (Arc::clone(series), samples)));
    }
    let now_ms = Arc::new(AtomicI64::new(START_MS));
    let clock = Arc::clone(&now_ms);
    let options = StoreOptions::new(Config { path: to.to_owned(), ..Config::default() });
    let (store, _) =
        Store::open(StoreOptions { clock: Arc::new(move || clock.load(Ordering::Relaxed)), ..options })?;
    let patience = Duration::from_secs(600);
    for hour in 0..n_hours {
        for from_ms in (0..3_600_000).step_by(window_s as usize * 1000) {
            let span = begin + from_ms..begin + from_ms + window_s * 1000;
            let shift_ms = START_MS + hour * 3_600_000 - begin;
            store.append(cut_window(&series, span, shift_ms));
            now_ms.store(START_MS + hour * 3_600_000 + from_ms + window_s * 1000, Ordering::Relaxed);
            store.flush(patience);
        }
        store.tend(patience);
    }
    // The first window of the next hour closes the last one.
    store.append(cut_window(&series, begin..begin + 1000, START_MS + n_hours * 3_600_000 - begin));
    store.flush(patience);
    store.tend(patience);
    report_written(store.close()?.n_samples_stored)
}

fn report_written(n_samples: u64) -> Result<(), Failure> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap_or("0");
    let per_sample = written.parse::<f64>()? / n_samples as f64;
    println!("{n_samples} samples, {per_sample:.3} bytes written a sample");
    Ok(())
}

/// One window of a recording, its series grouped by common instants.
fn cut_window(series: &[(Arc<Series>, Samples)], span: std::ops::Range<TimeMs>, shift_ms: i64) -> Window {
    let mut groups: BTreeMap<Vec<TimeMs>, Group> = BTreeMap::new();
    for (series, samples) in series {
        let first = samples.partition_point(|(time_ms, _)| *time_ms < span.start);
        let end = samples.partition_point(|(time_ms, _)| *time_ms < span.end);
        let times_ms: Vec<TimeMs> =
            samples[first..end].iter().map(|(time_ms, _)| time_ms + shift_ms).collect();
        if times_ms.is_empty() {
            continue;
        }
        let group = groups.entry(times_ms.clone()).or_insert_with(|| Group { times_ms, ..Group::default() });
        group.series.push(Arc::clone(series));
        group.values.extend(samples[first..end].iter().map(|(_, value)| *value));
    }
    let (from_ms, to_ms) = (span.start + shift_ms, span.end + shift_ms);
    Window { from_ms, to_ms, groups: groups.into_values().collect() }
}

/// Opens a store, and asks it for one series over a day.
fn time(folder: &Path, selector: &str) -> Result<(), Failure> {
    let began = Instant::now();
    let (store, opened) =
        Store::open(StoreOptions::new(Config { path: folder.to_owned(), ..Config::default() }))?;
    println!("opened in {:?}, {} bytes, {opened:?}", began.elapsed(), store.stats().bytes);
    let selector = fieldpost_model::Selector::parse(selector)?;
    for _ in 0..3 {
        let (began, mut n_samples) = (Instant::now(), 0);
        let day = START_MS..START_MS + 86_400_000;
        store_reader(&store)?.scan(&selector, day.start, day.end, |_, samples| n_samples += samples.len())?;
        println!("{n_samples} samples of a day in {:?}", began.elapsed());
    }
    store.close()?;
    Ok(())
}

fn store_reader(store: &Store) -> Result<Reader, Failure> {
    Ok(Reader::open(store.folder())?)
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

fn windows(columns: &[Samples]) -> Vec<Vec<u8>> {
    let columns: Vec<&Samples> = columns.iter().filter(|column| !column.is_empty()).collect();
    let Some(longest) = columns.iter().max_by_key(|column| column.len()) else { return Vec::new() };
    let times: Vec<TimeMs> = longest.iter().map(|s| s.0).collect();
    // Series of other instants would be groups of their own; here they are padded.
    let padded = |c: &&Samples| {
        let mut values = values(c);
        values.resize(times.len(), fieldpost_model::ABSENT);
        values
    };
    let numbers: Vec<f64> = columns.iter().flat_map(padded).collect();
    let ids: Vec<u32> = (0..columns.len() as u32).collect();
    vec![encode_window([(&times[..], &ids[..], &numbers[..])].into_iter())]
}

fn unpack_window(blob: &[u8]) -> usize {
    decode_window(blob).map_or(0, |groups| groups.iter().map(|group| group.values.len()).sum())
}

fn rows(group: &[Samples]) -> Vec<Vec<u8>> {
    let columns: Vec<RowColumn> =
        group.iter().zip(0..).map(|(c, id)| RowColumn { id, part: 0, axis: 0, values: values(c) }).collect();
    vec![encode_row(&columns)]
}

fn unpack_row(blob: &[u8]) -> usize {
    decode_row(blob, |_, _| true).map_or(0, |columns| columns.iter().map(|column| column.values.len()).sum())
}

fn floats(group: &[Samples]) -> Vec<Vec<u8>> {
    let config = pco::ChunkConfig::default();
    group.iter().filter_map(|c| pco::standalone::simple_compress(&values(c), &config).ok()).collect()
}

fn unpack_floats(blob: &[u8]) -> usize {
    pco::standalone::simple_decompress::<f64>(blob).map_or(0, |values| values.len())
}

fn delta(group: &[Samples]) -> Vec<Vec<u8>> {
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
    zstd::bulk::compress(&plain, 3).into_iter().collect()
}

fn unpack_delta(blob: &[u8]) -> usize {
    let plain = zstd::bulk::decompress(blob, 64 << 20).unwrap_or_default();
    let (mut n_values, mut whole, mut shift, mut number) = (0, 0_i64, 0, 0_u64);
    for byte in plain {
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            whole = whole.wrapping_add((number >> 1) as i64 ^ -((number & 1) as i64));
            n_values += usize::from(std::hint::black_box(whole as f64 / 100.0).is_finite());
            (shift, number) = (0, 0);
        }
    }
    n_values
}

/// Only counts bits, as in the paper: control bits, and the block of bits that differ.
fn gorilla(group: &[Samples]) -> Vec<Vec<u8>> {
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
    vec![vec![0; bits.div_ceil(8)]]
}

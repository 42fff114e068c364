//! Requests made to take memory: small ones that say much, or hold very many small things. What they take is measured
//! as the peak of this process, so that nothing else may run in it: one test, one bomb after the other.

use fieldpost_formats::{Limits, otlp, remote_write};
use remote_write::Version;

/// What reading one request may add to the memory that was there before, bytes.
const GROWTH_MAX: usize = 40 << 20;
/// How many small things a request holds. At 50 bytes or more for each they would take more than is allowed.
const N_THINGS: usize = 1_000_000;

/// A field of `/proc/self/status`, in bytes.
fn status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// By how much the peak rises while something runs.
fn growth(run: impl FnOnce()) -> usize {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS:");
    run();
    status("VmHWM:").saturating_sub(before)
}

/// Bytes as a field of a message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

/// Very many empty messages in a field.
fn many(number: u8) -> Vec<u8> {
    field(number, &[]).repeat(N_THINGS)
}

/// Takes a message of one format.
type Reader = fn(&[u8]);

fn remote_write_1(message: &[u8]) {
    let _ = remote_write::decode(Version::V1, message, &Limits::default(), |_| {});
}

fn remote_write_2(message: &[u8]) {
    let _ = remote_write::decode(Version::V2, message, &Limits::default(), |_| {});
}

fn otlp_metrics(message: &[u8]) {
    otlp::decode_metrics(message, &Limits::default(), 0, |_| {}).unwrap();
}

fn otlp_logs(message: &[u8]) {
    otlp::decode_logs(message, &Limits::default(), 0, |_| {}).unwrap();
}

#[test]
fn bombs_take_no_more_memory_than_allowed() {
    let in_scope = |inner: &[u8]| field(1, &field(2, &field(2, inner)));
    let gauge = |points: &[u8]| in_scope(&[field(1, b"m"), field(5, points)].concat());
    let list = field(5, &many(1));
    let bombs: [(&str, Vec<u8>, Reader); 11] = [
        ("labels of 1.0", field(1, &many(1)), remote_write_1),
        ("samples of 1.0", field(1, &many(2)), remote_write_1),
        ("series of 1.0", many(1), remote_write_1),
        ("families of 1.0", many(3), remote_write_1),
        ("references of 2.0", field(5, &field(1, &vec![0; N_THINGS])), remote_write_2),
        ("strings of 2.0", many(4), remote_write_2),
        ("points", gauge(&many(1)), otlp_metrics),
        ("attributes of a point", gauge(&field(1, &many(7))), otlp_metrics),
        ("values of a list", gauge(&field(1, &field(7, &field(2, &list)))), otlp_metrics),
        ("attributes of a resource", field(1, &field(1, &many(1))), otlp_metrics),
        ("attributes of a record", in_scope(&many(6)), otlp_logs),
    ];
    for (name, message, read) in bombs {
        let growth = growth(|| read(&message));
        assert!(growth < GROWTH_MAX, "{name}: {growth} bytes for {} bytes", message.len());
    }
    // A block of a few bytes that claims 1 GiB.
    let growth = growth(|| {
        let block = [0x80, 0x80, 0x80, 0x80, 0x04, 0x00, 0x00];
        remote_write::decompress(&block, &Limits::default(), &mut Vec::new()).unwrap_err();
    });
    assert!(growth < 1 << 20, "{growth} bytes for a claim");
}

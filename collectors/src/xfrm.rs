//! Errors of IPsec transformations, from /proc/net/xfrm_stat.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::Seen;
use crate::text::{fields, lines, number};

/// Settings.
pub type Config = Common;

/// Fields of the file, what follows `node_xfrm_` in their series, and the help text.
const COUNTERS: &[(&str, &str, &str)] = &[
    ("XfrmInError", "in_error_packets_total", "All errors not matched by other"),
    ("XfrmInBufferError", "in_buffer_error_packets_total", "No buffer is left"),
    ("XfrmInHdrError", "in_hdr_error_packets_total", "Header error"),
    (
        "XfrmInNoStates",
        "in_no_states_packets_total",
        "No state is found i.e. Either inbound SPI, address, or IPsec protocol at SA is wrong",
    ),
    (
        "XfrmInStateProtoError",
        "in_state_proto_error_packets_total",
        "Transformation protocol specific error e.g. SA key is wrong",
    ),
    ("XfrmInStateModeError", "in_state_mode_error_packets_total", "Transformation mode specific error"),
    (
        "XfrmInStateSeqError",
        "in_state_seq_error_packets_total",
        "Sequence error i.e. Sequence number is out of window",
    ),
    ("XfrmInStateExpired", "in_state_expired_packets_total", "State is expired"),
    (
        "XfrmInStateMismatch",
        "in_state_mismatch_packets_total",
        "State has mismatch option e.g. UDP encapsulation type is mismatch",
    ),
    ("XfrmInStateInvalid", "in_state_invalid_packets_total", "State is invalid"),
    (
        "XfrmInTmplMismatch",
        "in_tmpl_mismatch_packets_total",
        "No matching template for states e.g. Inbound SAs are correct but SP rule is wrong",
    ),
    (
        "XfrmInNoPols",
        "in_no_pols_packets_total",
        "No policy is found for states e.g. Inbound SAs are correct but no SP is found",
    ),
    ("XfrmInPolBlock", "in_pol_block_packets_total", "Policy discards"),
    ("XfrmInPolError", "in_pol_error_packets_total", "Policy error"),
    ("XfrmOutError", "out_error_packets_total", "All errors which is not matched others"),
    ("XfrmOutBundleGenError", "out_bundle_gen_error_packets_total", "Bundle generation error"),
    ("XfrmOutBundleCheckError", "out_bundle_check_error_packets_total", "Bundle check error"),
    ("XfrmOutNoStates", "out_no_states_packets_total", "No state is found"),
    (
        "XfrmOutStateProtoError",
        "out_state_proto_error_packets_total",
        "Transformation protocol specific error",
    ),
    ("XfrmOutStateModeError", "out_state_mode_error_packets_total", "Transformation mode specific error"),
    (
        "XfrmOutStateSeqError",
        "out_state_seq_error_packets_total",
        "Sequence error i.e. Sequence number overflow",
    ),
    ("XfrmOutStateExpired", "out_state_expired_packets_total", "State is expired"),
    ("XfrmOutPolBlock", "out_pol_block_packets_total", "Policy discards"),
    ("XfrmOutPolDead", "out_pol_dead_packets_total", "Policy is dead"),
    ("XfrmOutPolError", "out_pol_error_packets_total", "Policy error"),
    ("XfrmFwdHdrError", "fwd_hdr_error_packets_total", "Forward routing of a packet is not allowed"),
    ("XfrmOutStateInvalid", "out_state_invalid_packets_total", "State is invalid, perhaps expired"),
    ("XfrmAcquireError", "acquire_error_packets_total", "State hasn’t been fully acquired before use"),
];

struct Xfrm {
    file: KeptFile,
    buffer: Vec<u8>,
    seen: Seen<SeriesId>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Xfrm {
        file: KeptFile::new(env.roots.procfs.join("net/xfrm_stat")),
        buffer: Vec::new(),
        seen: Seen::default(),
    }))
}

impl Collector for Xfrm {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        self.seen.begin();
        for line in lines(text) {
            let (name, value) = parse(line).ok_or_else(|| {
                CollectError::parse(self.file.path(), "expected lines of a name and a number")
            })?;
            let id = *self.seen.get(name, || series(tick, name));
            tick.set(id, value as f64);
        }
        self.seen.end(tick);
        Ok(())
    }
}

fn series(tick: &Tick, name: &[u8]) -> SeriesId {
    match COUNTERS.iter().find(|row| row.0.as_bytes() == name) {
        Some((_, name, help)) => tick.counter(&format!("node_xfrm_{name}"), help, &[]),
        None => SeriesId::NONE,
    }
}

/// A line `XfrmInError  1` of /proc/net/xfrm_stat.
fn parse(line: &[u8]) -> Option<(&[u8], u64)> {
    let mut fields = fields(line);
    Some((fields.next()?, number(fields.next()?)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn known_counters_are_given() {
        let tree = tempfile::tempdir().unwrap();
        let text = "XfrmInError             \t1\nXfrmBrandNew \t9\nXfrmOutPolDead          \t7656\n";
        write(tree.path(), "proc/net/xfrm_stat", text);
        assert_eq!(
            page(tree.path(), build).unwrap(),
            ["node_xfrm_in_error_packets_total 1", "node_xfrm_out_pol_dead_packets_total 7656"]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&line);
        }
    }
}

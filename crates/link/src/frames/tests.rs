//! Frames: what is written is read, in any pieces; what is not written so is refused.

use proptest::prelude::*;

use super::*;

fn any_frame() -> impl Strategy<Value = Frame> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    let span = || {
        (any::<i32>(), any::<u32>())
            .prop_map(|(from, more)| (i64::from(from), i64::from(from) + i64::from(more)))
    };
    let item = (1..=SEQ_MAX, span(), any::<u64>(), any::<u32>(), bytes());
    let lost = (1_u64..1 << 40, any::<u32>(), span(), any::<u64>(), "\\PC{0,30}");
    prop_oneof![
        "\\PC{0,60}".prop_map(Frame::Scope),
        bytes().prop_map(Frame::Definitions),
        item.prop_map(|(seq, (from_ms, to_ms), n_samples, checksum, blob)| {
            Frame::Item(Item { seq, from_ms, to_ms, n_samples, checksum, blob })
        }),
        lost.prop_map(|(from, more, (from_ms, to_ms), n_samples, reason)| {
            Frame::Lost(Lost { from, to: from + u64::from(more), from_ms, to_ms, n_samples, reason })
        }),
        (0..=SEQ_MAX).prop_map(Frame::Newest),
    ]
}

fn decode_in_pieces(bytes: &[u8], piece: usize) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for bytes in bytes.chunks(piece.max(1)) {
        decoder.feed(bytes);
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
    }
    decoder.finish().map(|()| frames)
}

fn encoded(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| encode(frame, &mut bytes).unwrap());
    bytes
}

proptest! {
    #[test]
    fn frames_survive_any_cutting_into_pieces(frames in proptest::collection::vec(any_frame(), 0..12), piece in 1_usize..300) {
        prop_assert_eq!(decode_in_pieces(&encoded(&frames), piece), Ok(frames));
    }

    #[test]
    fn frames_cut_off_are_told_from_whole_ones(frames in proptest::collection::vec(any_frame(), 1..6), cut in any::<prop::sample::Index>()) {
        let bytes = encoded(&frames);
        let cut = cut.index(bytes.len());
        match decode_in_pieces(&bytes[..cut], 64) {
            Ok(fewer) => prop_assert_eq!(encoded(&fewer).len(), cut),
            Err(error) => prop_assert!(matches!(error, FrameError::Cut(_))),
        }
    }

    #[test]
    fn arbitrary_bytes_neither_panic_nor_are_hoarded(bytes in proptest::collection::vec(any::<u8>(), 0..4000), piece in 1_usize..500) {
        let mut decoder = Decoder::new();
        for bytes in bytes.chunks(piece) {
            decoder.feed(bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
        prop_assert!(decoder.buffer.capacity() <= 2 * bytes.len() + 64);
    }

    #[test]
    fn unknown_frames_that_may_be_skipped_are(before in any_frame(), kind in SKIPPABLE.., content in proptest::collection::vec(any::<u8>(), 0..500), after in any_frame(), piece in 1_usize..300) {
        let mut bytes = encoded(std::slice::from_ref(&before));
        bytes.extend_from_slice(&(content.len() as u32 + 1).to_le_bytes());
        bytes.push(kind);
        bytes.extend_from_slice(&content);
        bytes.extend_from_slice(&encoded(std::slice::from_ref(&after)));
        prop_assert_eq!(decode_in_pieces(&bytes, piece), Ok(vec![before, after]));
    }
}

#[test]
fn a_large_frame_that_is_skipped_is_never_kept() {
    let mut decoder = Decoder::new();
    decoder.feed(&(FRAME_BYTES_MAX as u32).to_le_bytes());
    decoder.feed(&[SKIPPABLE]);
    assert_eq!(decoder.next_frame(), Ok(None));
    for _ in 0..(FRAME_BYTES_MAX - 1) / 1024 {
        decoder.feed(&[0; 1024]);
        assert_eq!(decoder.next_frame(), Ok(None));
    }
    assert!(decoder.buffer.capacity() < 4096);
    assert!(decoder.finish().is_err());
    decoder.feed(&[0; 1023]);
    decoder.feed(&encoded(&[Frame::Newest(3)]));
    assert_eq!(decoder.next_frame(), Ok(Some(Frame::Newest(3))));
    assert_eq!(decoder.finish(), Ok(()));
}

#[test]
fn what_no_receiver_takes_is_not_written() {
    let mut bytes = vec![1, 2, 3];
    let large = Frame::Definitions(vec![0; FRAME_BYTES_MAX]);
    assert_eq!(encode(&large, &mut bytes), Err(FrameError::Length(FRAME_BYTES_MAX + 1)));
    assert_eq!(encode(&Frame::Scope("x".repeat(1025)), &mut bytes), Err(FrameError::Text(1025)));
    assert_eq!(bytes, [1, 2, 3]);
}

#[test]
fn hostile_frames_are_refused() {
    let refused = |bytes: &[u8]| decode_in_pieces(bytes, 4096).unwrap_err();
    assert_eq!(refused(&[0, 0, 0, 0]), FrameError::Length(0));
    assert_eq!(refused(&[1, 0, 0, 1, 1]), FrameError::Length((1 << 24) + 1));
    assert_eq!(refused(&[1, 0, 0, 0, 99]), FrameError::Unknown(99));
    assert_eq!(refused(&[1, 0, 0, 0, 0]), FrameError::Unknown(0));
    assert!(matches!(refused(&[2, 0, 0, 0, 1, 0xff]), FrameError::Content { kind: 1, .. }));
    let item = |seq, from_ms, to_ms| Item { seq, from_ms, to_ms, n_samples: 1, checksum: 0, blob: vec![] };
    for bad in [item(0, 0, 1), item(SEQ_MAX + 1, 0, 1), item(1, 5, 4)] {
        assert!(matches!(refused(&encoded(&[Frame::Item(bad)])), FrameError::Content { kind: 3, .. }));
    }
    assert!(matches!(refused(&encoded(&[Frame::Newest(u64::MAX)])), FrameError::Content { kind: 5, .. }));
}

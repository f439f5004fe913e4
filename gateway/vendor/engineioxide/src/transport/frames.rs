//! A count of the frames that a client sends: whether a message has begun that is not whole, and since when.
//!
//! The websocket library keeps that to itself, and is asked for whole messages only. A message that comes in pieces
//! (frames without FIN, a frame byte by byte) would hold its memory for as long as the heartbeat is answered between them.
//! Only headers are looked at (RFC 6455, 5.2); whatever is wrong with a frame is for the library to find.

use tokio::time::Instant;

/// The longest header: two bytes, a length of eight bytes, a mask.
const HEADER: usize = 14;
/// The most frames that a message may come in.
const MOST: u16 = 1024;

/// The frames of one connection.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    header: [u8; HEADER],
    /// The bytes of the header that came.
    came: u8,
    /// The frames of the message that is not whole.
    frames: u16,
    /// The bytes of the payload that are missing.
    missing: u64,
    since: Option<Instant>,
}

impl Frames {
    /// Takes note of what was read.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        while let [next, rest @ ..] = bytes {
            if self.missing > 0 {
                let here = bytes
                    .len()
                    .min(usize::try_from(self.missing).unwrap_or(usize::MAX));
                self.missing -= here as u64;
                bytes = &bytes[here..];
            } else {
                self.header[usize::from(self.came)] = *next;
                self.came += 1;
                bytes = rest;
                match payload(&self.header[..usize::from(self.came)]) {
                    Some(length) => self.missing = length,
                    None => continue,
                }
            }
            if self.missing == 0 {
                self.frame_ended();
            }
        }
        if (self.came > 0 || self.frames > 0) && self.since.is_none() {
            self.since = Some(Instant::now());
        }
    }

    /// The beginning of the message or frame that is not whole.
    pub(crate) fn unfinished(&self) -> Option<Instant> {
        self.since
    }

    /// Returns whether a message comes in more frames than it may.
    pub(crate) fn too_many(&self) -> bool {
        self.frames > MOST
    }

    fn frame_ended(&mut self) {
        self.came = 0;
        let first = self.header[0];
        let (last, control) = (first & 0x80 != 0, first & 0x08 != 0);
        if !control {
            // Control frames may come between those of a message.
            self.frames = if last {
                0
            } else {
                self.frames.saturating_add(1)
            };
        }
        if self.frames == 0 {
            self.since = None;
        }
    }
}

/// The length of the payload, once the header is whole.
fn payload(header: &[u8]) -> Option<u64> {
    let [_, second, rest @ ..] = header else {
        return None;
    };
    let digits = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    if rest.len() < digits + mask {
        return None;
    }
    Some(match digits {
        0 => u64::from(second & 0x7f),
        _ => rest[..digits]
            .iter()
            .fold(0, |length, digit| length << 8 | u64::from(*digit)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame, FrameHeader,
        coding::{Control, Data, OpCode},
    };

    use super::*;

    fn frame(opcode: OpCode, last: bool, length: usize) -> Vec<u8> {
        let header = FrameHeader {
            is_final: last,
            opcode,
            mask: Some([1, 2, 3, 4]),
            ..FrameHeader::default()
        };
        let mut bytes = Vec::new();
        let frame = Frame::from_payload(header, vec![b'x'; length].into());
        frame.format(&mut bytes).unwrap();
        bytes
    }

    fn kind() -> impl Strategy<Value = (OpCode, bool)> {
        prop_oneof![
            (Just(OpCode::Data(Data::Text)), any::<bool>()),
            (Just(OpCode::Data(Data::Continue)), any::<bool>()),
            (Just(OpCode::Control(Control::Ping)), Just(true)),
        ]
    }

    proptest! {
        /// However the bytes are cut, the state after each piece is that of the frames that are whole by then.
        #[test]
        fn what_is_unfinished_is_known_wherever_it_is_cut(
            frames in prop::collection::vec((kind(), prop_oneof![0..3usize, 120..130usize, Just(70_000)]), 1..6),
            cuts in prop::collection::vec(1..40_000usize, 1..20),
        ) {
            let mut it = Frames::default();
            let (mut bytes, mut ends, mut open) = (Vec::new(), vec![(0, false)], false);
            for ((opcode, last), length) in frames {
                bytes.extend(frame(opcode, last, length));
                open = if matches!(opcode, OpCode::Data(_)) { !last } else { open };
                ends.push((bytes.len(), open));
            }
            let (mut at, mut cuts) = (0, cuts.into_iter().cycle());
            while at < bytes.len() {
                let end = bytes.len().min(at + cuts.next().unwrap());
                it.read(&bytes[at..end]);
                at = end;
                let (whole, open) = *ends.iter().rev().find(|(whole, _)| *whole <= at).unwrap();
                prop_assert_eq!(it.unfinished().is_some(), open || whole < at);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_is_that_of_the_first_byte() {
        let second = std::time::Duration::from_secs(1);
        let (mut it, start) = (Frames::default(), Instant::now());
        let text = frame(OpCode::Data(Data::Text), false, 10);
        it.read(&text[..3]);
        tokio::time::advance(second).await;
        it.read(&text[3..]);
        it.read(&frame(OpCode::Control(Control::Ping), true, 4));
        assert_eq!(it.unfinished(), Some(start), "a ping ends nothing");
        // The next one begins in the same piece.
        let end = frame(OpCode::Data(Data::Continue), true, 0);
        it.read(&[&end[..], &text[..5]].concat());
        assert_eq!(it.unfinished(), Some(start + second));
    }

    #[test]
    fn a_message_of_empty_frames_has_an_end() {
        let mut it = Frames::default();
        it.read(&frame(OpCode::Data(Data::Text), false, 0));
        it.read(&frame(OpCode::Data(Data::Continue), false, 0).repeat(usize::from(MOST) - 1));
        assert!(!it.too_many());
        it.read(&frame(OpCode::Data(Data::Continue), false, 0));
        assert!(it.too_many());
    }
}

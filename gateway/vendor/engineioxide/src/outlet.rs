//! Sending one text to many sockets without encoding it for each of them, and without a way through the engine.

use std::{fmt, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use engineioxide_core::{Packet, PacketBuf, Str};
use smallvec::smallvec;
use tokio::sync::mpsc::error::TrySendError;

use crate::queue::PacketQueue;

/// The way out to one client. Cheap to clone.
///
/// The request that a [`Socket`](crate::Socket) keeps has one among its extensions.
#[derive(Debug, Clone)]
pub struct Outlet(Arc<PacketQueue>);

/// A message that can be sent to many clients. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SharedText {
    /// The text as a frame of a websocket.
    frame: Bytes,
    /// The text.
    message: Str,
}

impl SharedText {
    /// A message out of a text that begins with `4`, the type of a packet that holds one.
    ///
    /// Returns [`None`] if it does not.
    pub fn new(packet: &str) -> Option<Self> {
        if !packet.starts_with('4') {
            return None;
        }
        let head = frame_header(0x81, packet.len());
        let mut frame = BytesMut::with_capacity(head.len() + packet.len());
        frame.put_slice(&head);
        let header = frame.len();
        frame.put_slice(packet.as_bytes());
        let frame = frame.freeze();
        // SAFETY: it is the end of a string, whose first character is one byte long.
        let message = unsafe { Str::from_bytes_unchecked(frame.slice(header + 1..)) };
        Some(Self { frame, message })
    }

    /// How many bytes of it go over a websocket.
    pub fn wire_len(&self) -> usize {
        self.frame.len()
    }

    /// The bytes that are counted while it is queued: those of its packet.
    pub(crate) fn queued_len(&self) -> usize {
        1 + self.message.len()
    }

    /// What goes over a websocket.
    pub(crate) fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The message as a packet that can be queued.
    pub(crate) fn packets(&self) -> PacketBuf {
        smallvec![Packet::Message(self.message.clone())]
    }
}

/// The header of the one frame of a message, without a mask, as a server sends it (RFC 6455, 5.2).
pub(crate) fn frame_header(first: u8, len: usize) -> Bytes {
    let mut header = BytesMut::with_capacity(10);
    header.put_u8(first);
    match len {
        len @ ..126 => header.put_u8(len as u8),
        len @ ..0x1_0000 => {
            header.put_u8(126);
            header.put_u16(len as u16);
        }
        len => {
            header.put_u8(127);
            header.put_u64(len as u64);
        }
    }
    header.freeze()
}

impl fmt::Display for SharedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Outlet {
    pub(crate) fn new(queue: Arc<PacketQueue>) -> Self {
        Self(queue)
    }

    /// Sends messages, in the order of all that is sent to this client. Over an idle websocket they go in one write.
    ///
    /// If the buffer has not room for all of them or the socket is disconnected, nothing is sent and an error is
    /// returned.
    pub fn send(&self, texts: &[SharedText]) -> Result<(), TrySendError<()>> {
        self.0.try_send_texts(texts)
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::{
        Message,
        protocol::{Role, WebSocket},
    };

    use super::*;

    #[test]
    fn frames_are_read_by_a_client() {
        for len in [1, 2, 125, 126, 127, 0xffff, 0x1_0000, 0x2_0000] {
            let packet = format!("4{}", "x".repeat(len - 1));
            let text = SharedText::new(&packet).unwrap();
            let frame = std::io::Cursor::new(text.frame().to_vec());
            let mut client = WebSocket::from_raw_socket(frame, Role::Client, None);
            assert_eq!(client.read().unwrap(), Message::text(packet));
            assert_eq!(client.get_ref().position(), text.wire_len() as u64);
        }
    }

    #[test]
    fn only_messages_are_shared() {
        assert!(SharedText::new("2").is_none());
        assert!(SharedText::new("\u{e4}").is_none());
        assert_eq!(SharedText::new("4\u{e4}").unwrap().to_string(), "\u{e4}");
    }
}

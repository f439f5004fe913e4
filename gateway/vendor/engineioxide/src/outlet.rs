//! Sending one text to many sockets without encoding it for each of them, and without a way through the engine.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use engineioxide_core::{Packet, PacketBuf, Str};
use smallvec::smallvec;
use tokio::sync::mpsc::error::TrySendError;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::queue::PacketQueue;

/// The way out to one client. Cheap to clone.
///
/// The request that a [`Socket`](crate::Socket) keeps has one among its extensions.
#[derive(Debug, Clone)]
pub struct Outlet(Arc<PacketQueue>);

/// A message that can be sent to many clients. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SharedText {
    /// The text with the type of its packet: what goes over a websocket.
    packet: Utf8Bytes,
    /// The text.
    message: Str,
}

impl SharedText {
    /// A message out of a text that begins with `4`, the type of a packet that holds one.
    ///
    /// Returns [`None`] if it does not.
    pub fn new(packet: String) -> Option<Self> {
        if !packet.starts_with('4') {
            return None;
        }
        let packet = Utf8Bytes::from(packet);
        let message = Bytes::from(packet.clone()).slice(1..);
        Some(Self {
            packet,
            // SAFETY: it was a string, and its first character was one byte long.
            message: unsafe { Str::from_bytes_unchecked(message) },
        })
    }

    /// How many bytes of it go over a websocket.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.packet.len()
    }

    /// What goes over a websocket.
    pub(crate) fn packet(&self) -> Utf8Bytes {
        self.packet.clone()
    }

    /// The message as a packet that can be queued.
    pub(crate) fn packets(&self) -> PacketBuf {
        smallvec![Packet::Message(self.message.clone())]
    }
}

impl fmt::Display for SharedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.packet)
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

//! The stream below a websocket, which frames can be written to as they are, past the websocket, and which counts those
//! that are read.
//!
//! They may be written while the websocket has nothing buffered. What the stream does not take at once it keeps, and
//! writes before anything else.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    outlet::{SharedText, frame_header},
    transport::frames::Frames,
};

/// The most frames in one write.
const FRAMES: usize = 64;

/// A stream with what it has not taken yet.
pub(super) struct Ahead<S> {
    stream: S,
    rest: VecDeque<Bytes>,
    frames: Frames,
}

impl<S> Ahead<S>
where
    S: AsyncWrite + Unpin,
{
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            rest: VecDeque::new(),
            frames: Frames::default(),
        }
    }

    /// The frames that were read.
    pub(super) fn frames(&self) -> &Frames {
        &self.frames
    }

    /// Keeps a message that is larger than the websocket should copy. It is for the next flush, and the websocket must have
    /// nothing to write.
    pub(super) fn push(&mut self, message: Message) {
        let opcode = if message.is_binary() { 0x82 } else { 0x81 };
        let payload = message.into_data();
        self.rest.push_back(frame_header(opcode, payload.len()));
        self.rest.push_back(payload);
    }

    /// Writes the frames of these texts. Returns whether the stream has taken all of them. What it has not taken, and any
    /// error, is for the next flush.
    pub(super) fn write(&mut self, cx: &mut Context<'_>, texts: &[SharedText]) -> bool {
        let mut taken = 0;
        if self.rest.is_empty() {
            let stream = Pin::new(&mut self.stream);
            let written = match texts {
                [text] => stream.poll_write(cx, text.frame()),
                texts => {
                    let mut slices = [IoSlice::new(&[]); FRAMES];
                    let count = texts.len().min(FRAMES);
                    for (slice, text) in slices.iter_mut().zip(texts) {
                        *slice = IoSlice::new(text.frame());
                    }
                    stream.poll_write_vectored(cx, &slices[..count])
                }
            };
            if let Poll::Ready(Ok(bytes)) = written {
                taken = bytes;
            }
        }
        for text in texts {
            let frame = text.frame();
            if taken < frame.len() {
                self.rest.push_back(frame.slice(taken..));
            }
            taken = taken.saturating_sub(frame.len());
        }
        self.rest.is_empty()
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(first) = self.rest.front_mut() {
            let bytes = ready!(Pin::new(&mut self.stream).poll_write(cx, first))?;
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            first.advance(bytes);
            if first.is_empty() {
                self.rest.pop_front();
            }
        }
        if self.rest.capacity() > 0 {
            // Gives the memory back.
            self.rest = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> AsyncRead for Ahead<S>
where
    S: AsyncRead + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.frames.read(&buf.filled()[before..]);
        read
    }
}

impl<S> AsyncWrite for Ahead<S>
where
    S: AsyncWrite + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Takes so many bytes, and counts the writes.
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
        writes: usize,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.room == 0 {
                return Poll::Pending;
            }
            let bytes = buf.len().min(self.room);
            self.room -= bytes;
            self.writes += 1;
            self.taken.extend_from_slice(&buf[..bytes]);
            Poll::Ready(Ok(bytes))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.to_vec()).collect();
            self.poll_write(cx, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn texts_go_in_one_write_and_wherever_it_ends_the_rest_comes_first() {
        let texts: Vec<_> = (0..FRAMES + 2)
            .map(|number| SharedText::new(&format!("4{number}")).unwrap())
            .collect();
        let frames: Vec<u8> = texts
            .iter()
            .flat_map(|text| text.frame().to_vec())
            .collect();
        let vectored: usize = texts[..FRAMES].iter().map(SharedText::wire_len).sum();
        for room in 0..=vectored {
            let mut ahead = Ahead::new(Narrow {
                room,
                taken: Vec::new(),
                writes: 0,
            });
            let all = poll_fn(|cx| Poll::Ready(ahead.write(cx, &texts))).await;
            assert!(!all && ahead.stream.writes <= 1);
            assert_eq!(ahead.stream.taken, frames[..room]);
            ahead.stream.room = usize::MAX;
            ahead.write_all(b"behind").await.unwrap();
            assert_eq!(ahead.stream.taken, [&frames, &b"behind"[..]].concat());
        }
    }
}

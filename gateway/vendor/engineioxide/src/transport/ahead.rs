//! The stream below a websocket, which frames can be written to as they are, past the websocket.
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

use crate::outlet::SharedText;

/// The most frames in one write.
const FRAMES: usize = 64;

/// A stream with what it has not taken yet.
pub(super) struct Ahead<S> {
    stream: S,
    rest: VecDeque<Bytes>,
}

impl<S> Ahead<S>
where
    S: AsyncWrite + Unpin,
{
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            rest: VecDeque::new(),
        }
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
        Pin::new(&mut self.stream).poll_read(cx, buf)
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

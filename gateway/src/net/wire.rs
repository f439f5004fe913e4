//! A TCP connection that can be cut off from outside, even while a write to it does not return.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use socket2::SockRef;
use ticket_shared::http::ParseFailures;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::shares::Seat;

/// What a connection shares with those who may cut it off.
#[derive(Debug, Default)]
pub struct WireState {
    aborted: AtomicBool,
    /// That the client has closed its side is not told yet.
    end_held: AtomicBool,
    /// It has.
    end_seen: AtomicBool,
    /// Something was read since it was last forgotten.
    has_read: AtomicBool,
    /// The header of its request did not come in time.
    timed_out: AtomicBool,
    wakers: Mutex<[Option<Waker>; 3]>,
}

/// Which of the wakers.
#[derive(Clone, Copy)]
enum Side {
    Read = 0,
    Write = 1,
    /// Of who waits until the client closes its side.
    End = 2,
}

impl WireState {
    /// Makes what waits for the connection, and whatever comes later, fail at once.
    pub fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        let wakers = {
            let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *wakers)
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Holds back that the client has closed its side: if its whole request has come, it is answered.
    pub(super) fn hold_end(&self) {
        self.end_held.store(true, Ordering::Release);
    }

    /// Tells from now on that the client has closed its side.
    pub(super) fn tell_end(&self) {
        self.end_held.store(false, Ordering::Release);
        self.wake(Side::Read);
    }

    /// Resolves once the client has closed its side, as was held back.
    pub(crate) async fn ended(&self) {
        poll_fn(|cx| {
            self.register(Side::End, cx);
            if self.end_seen() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Ends the reading: the header of a request did not come in time, and its client is told.
    pub(super) fn time_out(&self) {
        self.timed_out.store(true, Ordering::Release);
        self.wake(Side::Read);
    }

    /// Whether the client has closed its side, as was held back.
    pub(super) fn end_seen(&self) -> bool {
        self.end_seen.load(Ordering::Acquire)
    }

    /// Whether something was read.
    pub(super) fn has_read(&self) -> bool {
        self.has_read.load(Ordering::Acquire)
    }

    pub(super) fn note_read(&self) {
        self.has_read.store(true, Ordering::Release);
    }

    /// From now on nothing was.
    pub(super) fn forget_read(&self) {
        self.has_read.store(false, Ordering::Release);
    }

    /// Whether it was cut off.
    pub fn aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    /// Fails where the connection was cut off; else makes sure that a later cut wakes this task.
    fn check(&self, side: Side, cx: &Context<'_>) -> io::Result<()> {
        self.register(side, cx);
        // After the waker stands there: a cut in between is seen here or wakes.
        if self.aborted() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    fn register(&self, side: Side, cx: &Context<'_>) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut wakers[side as usize];
        if !slot
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *slot = Some(cx.waker().clone());
        }
    }

    fn wake(&self, side: Side) {
        let waker = {
            let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
            wakers[side as usize].take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

/// The connection.
#[derive(Debug)]
pub struct Wire {
    stream: ParseFailures<TcpStream>,
    state: Arc<WireState>,
    /// Given back once the connection is closed.
    _seat: Option<Arc<Seat>>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, state: Arc<WireState>, seat: Option<Arc<Seat>>) -> Self {
        Self {
            stream: ParseFailures::new(stream),
            state,
            _seat: seat,
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.state.aborted() {
            // What the client did not take would keep the connection in the system's hands for long.
            let _ = SockRef::from(self.stream.stream()).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.state.check(Side::Read, cx)?;
        if self.state.timed_out.load(Ordering::Acquire) {
            self.stream.time_out();
            return Poll::Ready(Ok(()));
        }
        let (before, room) = (buf.filled().len(), buf.remaining());
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.state.note_read();
        } else if room > 0
            && matches!(read, Poll::Ready(Ok(())))
            && self.state.end_held.load(Ordering::Acquire)
        {
            self.state.end_seen.store(true, Ordering::Release);
            self.state.wake(Side::End);
            return Poll::Pending;
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.state.check(Side::Write, cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.state.check(Side::Write, cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.check(Side::Write, cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.check(Side::Write, cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn a_cut_ends_what_waits_and_what_comes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let state = Arc::new(WireState::default());
        let wire = Wire::new(listener.accept().await.unwrap().0, Arc::clone(&state), None);
        let (mut reader, mut writer) = tokio::io::split(wire);
        let fills = async {
            let junk = vec![0; 1024 * 1024];
            // Ends: the client does not read, so one of the writes waits until the cut.
            while writer.write_all(&junk).await.is_ok() {}
        };
        let cuts = async {
            tokio::task::yield_now().await;
            state.abort();
        };
        let mut byte = [0];
        let (read, (), ()) = tokio::join!(reader.read(&mut byte), fills, cuts);
        let kind = io::ErrorKind::ConnectionAborted;
        assert_eq!(read.unwrap_err().kind(), kind);
        assert_eq!(writer.write(b"x").await.unwrap_err().kind(), kind);
        drop(reader.unsplit(writer));
        let mut rest = Vec::new();
        let end = client.read_to_end(&mut rest).await.unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    }
}

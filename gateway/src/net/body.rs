//! A request's body that is read to its end, whoever gives it up: an answer that comes before all of the body has come
//! would be lost to a reset if the connection were closed with bytes unread (RFC 9112, 9.6).

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::WireState;

/// How much of a body is read after its answer, and for how long.
const MOST: u64 = 8 * 1024 * 1024;
const LONGEST: Duration = Duration::from_secs(5);
/// After how many looks in vain a body is cut short whose client has closed its side.
const VAIN: u8 = 8;

/// The body of a request.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// Here until it is dropped.
    incoming: Option<Incoming>,
    asked: bool,
    /// How often nothing came after the client closed its side.
    vain: u8,
    wire: Arc<WireState>,
    rest: Arc<Rest>,
}

/// What is left of a request's body when it was given up.
#[derive(Debug, Default)]
pub(super) struct Rest {
    unread: Mutex<Option<Unread>>,
    /// The body was broken: nothing behind it can be read.
    broken: AtomicBool,
}

#[derive(Debug)]
struct Unread {
    incoming: Incoming,
    /// Somebody has begun to read it.
    asked: bool,
}

impl RequestBody {
    /// The body, and what will be left of it. `wire` is the connection whose client may close its side after all of it.
    pub(super) fn new(incoming: Incoming, wire: Arc<WireState>) -> (Self, Arc<Rest>) {
        wire.hold_end();
        let rest = Arc::<Rest>::default();
        let body = Self {
            incoming: Some(incoming),
            asked: false,
            vain: 0,
            wire,
            rest: Arc::clone(&rest),
        };
        (body, rest)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.asked = true;
        let Some(incoming) = self.incoming.as_mut() else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(incoming).poll_frame(cx);
        if let Poll::Ready(frame) = &frame {
            self.vain = 0;
            if matches!(frame, Some(Err(_))) {
                self.rest.broken.store(true, Ordering::Release);
            }
        } else if self.wire.end_seen() {
            // The connection may have read more than it has given out.
            self.vain += 1;
            if self.vain <= VAIN {
                cx.waker().wake_by_ref();
            } else {
                self.wire.tell_end();
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map(Body::size_hint)
            .unwrap_or_default()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take()
            && !incoming.is_end_stream()
        {
            *self.rest.unread() = Some(Unread {
                incoming,
                asked: self.asked,
            });
        }
    }
}

impl Rest {
    /// The request was answered. Returns what reads on, if something is left that is worth it, and whether the
    /// connection can't be kept.
    pub(super) fn answered(
        &self,
        waits_for_continue: bool,
    ) -> (Option<impl Future<Output = ()> + use<>>, bool) {
        if self.broken.load(Ordering::Acquire) {
            return (None, true);
        }
        let Some(Unread { incoming, asked }) = self.unread().take() else {
            return (None, false);
        };
        // A client that waits to be told to go on does not send it.
        if waits_for_continue && !asked {
            return (None, true);
        }
        let closes = incoming.size_hint().lower() > MOST;
        (Some(discard(incoming)), closes)
    }

    fn unread(&self) -> MutexGuard<'_, Option<Unread>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn discard(mut body: Incoming) {
    let read = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            if bytes > MOST {
                return;
            }
        }
    };
    // Whoever sends slower than that, or more, may lose its answer.
    let _ = tokio::time::timeout(LONGEST, read).await;
}

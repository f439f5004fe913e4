//! The packets of a [`Socket`](crate::Socket) that wait for its transport.
//!
//! Semantically a bounded [`mpsc`](tokio::sync::mpsc) channel of [`PacketBuf`]s beside a
//! [`watch`](tokio::sync::watch) channel for the volatile ones. In contrast to them it allocates nothing
//! while it is empty: most of the sockets of a server are idle most of the time.
//!
//! Anyone may send. Only the holder of the lock of [`Socket::internal_rx`](crate::Socket) may receive.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use engineioxide_core::PacketBuf;
use tokio::sync::{Notify, mpsc::error::TrySendError};

/// A bounded queue of [`PacketBuf`]s.
pub(crate) struct PacketQueue {
    capacity: usize,
    state: Mutex<State>,
    /// Notifies those who wait for a free slot or for the end.
    changed: Notify,
}

#[derive(Default)]
struct State {
    packets: VecDeque<PacketBuf>,
    /// The slots of permits that are not used yet.
    reserved: usize,
    /// Only the latest volatile packet is kept.
    volatile: Option<Box<PacketBuf>>,
    closed: bool,
    receiver: Option<Waker>,
}

impl State {
    fn pop(&mut self) -> Option<PacketBuf> {
        let packets = self.packets.pop_front();
        if self.packets.is_empty() {
            // Gives the memory back.
            self.packets = VecDeque::new();
        }
        packets
    }
}

impl PacketQueue {
    /// Creates a queue with `capacity` slots.
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a queue requires capacity > 0");
        Self {
            capacity,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot for packets that are sent later.
    pub(crate) fn try_reserve(&self) -> Result<Slot<'_>, TrySendError<()>> {
        let mut state = self.state();
        if state.closed {
            Err(TrySendError::Closed(()))
        } else if state.packets.len() + state.reserved >= self.capacity {
            Err(TrySendError::Full(()))
        } else {
            state.reserved += 1;
            drop(state);
            Ok(Slot { queue: self })
        }
    }

    /// Sends packets if there is a free slot.
    pub(crate) fn try_send(&self, packets: PacketBuf) -> Result<(), TrySendError<PacketBuf>> {
        match self.try_reserve() {
            Ok(slot) => {
                slot.send(packets);
                Ok(())
            }
            Err(TrySendError::Full(())) => Err(TrySendError::Full(packets)),
            Err(TrySendError::Closed(())) => Err(TrySendError::Closed(packets)),
        }
    }

    /// Sends packets as soon as there is a free slot. Gives them back if the queue is closed.
    pub(crate) async fn send(&self, mut packets: PacketBuf) -> Result<(), PacketBuf> {
        loop {
            // Before the attempt: what changes in between is noticed.
            let changed = self.changed.notified();
            match self.try_send(packets) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(packets)) => return Err(packets),
                Err(TrySendError::Full(full)) => packets = full,
            }
            changed.await;
        }
    }

    /// Replaces the volatile packets. Returns false if the queue is closed.
    pub(crate) fn send_volatile(&self, packets: PacketBuf) -> bool {
        let mut state = self.state();
        if state.closed {
            return false;
        }
        state.volatile = Some(Box::new(packets));
        wake(state);
        true
    }

    /// Closes the queue: nothing can be sent any more. What is in the queue can still be received.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        wake(state);
        self.changed.notify_waiters();
    }

    /// Whether the queue is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Waits until the queue is closed.
    pub(crate) async fn closed(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_closed() {
                return;
            }
            changed.await;
        }
    }

    /// Receives the next packets, or the volatile ones if there are no others.
    ///
    /// Resolves to [`None`] once the queue is closed and empty.
    pub(crate) fn poll_recv(&self, cx: &Context<'_>) -> Poll<Option<PacketBuf>> {
        let mut state = self.state();
        if let Some(packets) = state.pop() {
            self.popped(state);
            return Poll::Ready(Some(packets));
        }
        if let Some(packets) = state.volatile.take() {
            return Poll::Ready(Some(*packets));
        }
        if state.closed && state.reserved == 0 {
            return Poll::Ready(None);
        }
        match &mut state.receiver {
            Some(waker) => waker.clone_from(cx.waker()),
            waker => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Receives the next packets, or the volatile ones if there are no others.
    ///
    /// Resolves to [`None`] once the queue is closed and empty.
    pub(crate) async fn recv(&self) -> Option<PacketBuf> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Receives the next packets if there are any, but no volatile ones.
    pub(crate) fn try_recv(&self) -> Option<PacketBuf> {
        let mut state = self.state();
        let packets = state.pop()?;
        self.popped(state);
        Some(packets)
    }

    /// One slot became free.
    fn popped(&self, state: MutexGuard<'_, State>) {
        let was_full = state.packets.len() + state.reserved + 1 >= self.capacity;
        drop(state);
        if was_full {
            self.changed.notify_waiters();
        }
    }
}

/// Wakes the receiver, without the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.receiver.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl fmt::Debug for PacketQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("PacketQueue")
            .field("capacity", &self.capacity)
            .field("len", &state.packets.len())
            .field("reserved", &state.reserved)
            .field("closed", &state.closed)
            .finish_non_exhaustive()
    }
}

/// A slot of the queue. It is given back if it is dropped without being used.
pub(crate) struct Slot<'a> {
    queue: &'a PacketQueue,
}

impl Slot<'_> {
    /// Uses the slot.
    pub(crate) fn send(self, packets: PacketBuf) {
        let mut state = self.queue.state();
        state.reserved -= 1;
        state.packets.push_back(packets);
        wake(state);
        std::mem::forget(self);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.reserved -= 1;
        // A receiver of a closed queue waits for the last slot.
        wake(state);
        self.queue.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use engineioxide_core::{Packet, Str};
    use futures_util::FutureExt;
    use smallvec::smallvec;

    use super::*;

    fn packets(text: &'static str) -> PacketBuf {
        smallvec![Packet::Message(Str::from(text))]
    }

    #[tokio::test]
    async fn keeps_the_order_and_the_bound() {
        let queue = PacketQueue::new(2);
        queue.try_send(packets("a")).unwrap();
        let slot = queue.try_reserve().unwrap();
        assert_eq!(
            queue.try_send(packets("c")),
            Err(TrySendError::Full(packets("c")))
        );
        slot.send(packets("b"));
        assert!(matches!(queue.try_reserve(), Err(TrySendError::Full(()))));
        assert_eq!(queue.recv().await, Some(packets("a")));
        queue.try_send(packets("c")).unwrap();
        assert_eq!(queue.recv().await, Some(packets("b")));
        assert_eq!(queue.recv().await, Some(packets("c")));
        assert_eq!(queue.recv().now_or_never(), None);
        assert_eq!(queue.state().packets.capacity(), 0);
    }

    #[tokio::test]
    async fn an_unused_slot_is_given_back() {
        let queue = PacketQueue::new(1);
        drop(queue.try_reserve().unwrap());
        queue.try_send(packets("a")).unwrap();
    }

    #[tokio::test]
    async fn wakes_the_receiver() {
        let queue = Arc::new(PacketQueue::new(1));
        let receiver = tokio::spawn({
            let queue = queue.clone();
            async move { queue.recv().await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        queue.try_send(packets("a")).unwrap();
        assert_eq!(receiver.await.unwrap(), Some(packets("a")));
    }

    #[tokio::test]
    async fn send_waits_for_a_slot() {
        let queue = Arc::new(PacketQueue::new(1));
        queue.try_send(packets("a")).unwrap();
        let sender = tokio::spawn({
            let queue = queue.clone();
            async move { queue.send(packets("b")).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!sender.is_finished());
        assert_eq!(queue.recv().await, Some(packets("a")));
        sender.await.unwrap().unwrap();
        assert_eq!(queue.recv().await, Some(packets("b")));
    }

    #[tokio::test]
    async fn closes_behind_what_was_sent() {
        let queue = Arc::new(PacketQueue::new(3));
        let closed = tokio::spawn({
            let queue = queue.clone();
            async move { queue.closed().await }
        });
        queue.try_send(packets("a")).unwrap();
        let slot = queue.try_reserve().unwrap();
        queue.close();
        closed.await.unwrap();
        assert!(queue.is_closed());
        assert_eq!(
            queue.try_send(packets("b")),
            Err(TrySendError::Closed(packets("b")))
        );
        assert!(!queue.send_volatile(packets("b")));
        assert_eq!(queue.recv().await, Some(packets("a")));
        assert_eq!(queue.recv().now_or_never(), None, "a permit is left");
        slot.send(packets("c"));
        assert_eq!(queue.recv().await, Some(packets("c")));
        assert_eq!(queue.recv().await, None);
    }

    #[tokio::test]
    async fn only_the_latest_volatile_packet_is_kept_and_comes_last() {
        let queue = PacketQueue::new(2);
        queue.send_volatile(packets("old"));
        queue.send_volatile(packets("new"));
        queue.try_send(packets("a")).unwrap();
        assert_eq!(queue.recv().await, Some(packets("a")));
        assert_eq!(queue.recv().await, Some(packets("new")));
        assert_eq!(queue.recv().now_or_never(), None);
    }
}

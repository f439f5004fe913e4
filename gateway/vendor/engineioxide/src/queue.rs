//! The packets of a [`Socket`](crate::Socket) that wait for its transport.
//!
//! Semantically a bounded [`mpsc`](tokio::sync::mpsc) channel of [`PacketBuf`]s beside a
//! [`watch`](tokio::sync::watch) channel for the volatile ones. In contrast to them it allocates nothing
//! while it is empty: most of the sockets of a server are idle most of the time.
//!
//! It is bounded by packets and, for a session with an [`Account`], by bytes: a packet that comes while more than so many
//! wait has no room.
//!
//! Anyone may send. Only the holder of the lock of [`Socket::internal_rx`](crate::Socket) may receive.
//!
//! A receiver that can be written to without waiting may [`attach`](PacketQueue::attach) its [`Sink`]. While it
//! waits with nothing left to do, the sender writes its packets itself: neither are they queued nor is the task of
//! the receiver woken. Who may write is decided under the lock of the queue, and it is one at a time:
//! the receiver from the moment it is given packets until it asks for more, or one sender until its write returns.
//! Everything that is sent meanwhile is queued. So the order is that of the calls, as it is without a sink.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use engineioxide_core::PacketBuf;
use tokio::sync::{Notify, mpsc::error::TrySendError};

use crate::{outlet::SharedText, session::Account};

/// What is sent.
pub(crate) enum Outgoing<'a> {
    /// Packets for this receiver.
    Packets(PacketBuf),
    /// What others get, too, each with a slot of its own.
    Texts(&'a [SharedText]),
}

impl Outgoing<'_> {
    fn slots(&self) -> usize {
        match self {
            Self::Packets(_) => 1,
            Self::Texts(texts) => texts.len(),
        }
    }

    /// The bytes that are counted while it is queued.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Packets(packets) => bytes_of(packets),
            Self::Texts(texts) => texts.iter().map(SharedText::queued_len).sum(),
        }
    }

    /// As it can be queued.
    pub(crate) fn queue(self, mut put: impl FnMut(PacketBuf)) {
        match self {
            Self::Packets(packets) => put(packets),
            Self::Texts(texts) => texts.iter().map(SharedText::packets).for_each(put),
        }
    }

    /// The same, before all that is queued.
    fn queue_first(self, queue: &mut VecDeque<PacketBuf>) {
        match self {
            Self::Packets(packets) => queue.push_front(packets),
            Self::Texts(texts) => {
                let packets = texts.iter().rev().map(SharedText::packets);
                packets.for_each(|packets| queue.push_front(packets));
            }
        }
    }
}

/// The bytes of packets that are queued, about as many as they have on the wire.
pub(crate) fn bytes_of(packets: &PacketBuf) -> usize {
    packets
        .iter()
        .map(|packet| packet.get_size_hint(false))
        .sum()
}

/// Where a sender may write to itself.
pub(crate) trait Sink: Send + Sync {
    /// Writes as much as is possible without waiting.
    fn try_write<'a>(&self, outgoing: Outgoing<'a>) -> Written<'a>;
}

/// What became of packets that a sender has given to a [`Sink`].
pub(crate) enum Written<'a> {
    /// They are written.
    All,
    /// The sink has taken them, but the receiver has to flush it.
    Buffered,
    /// Somebody else uses the sink: it has not taken them.
    Busy(Outgoing<'a>),
}

/// Who may write to the [`Sink`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The receiver, or nobody if there is none.
    #[default]
    Receiver,
    /// The receiver waits and has written everything: the next sender.
    NextSender,
    /// A sender is writing.
    Sender,
    /// A sender is writing, and the receiver waits for its end.
    SenderAwaited,
}

/// A bounded queue of [`PacketBuf`]s.
pub(crate) struct PacketQueue {
    capacity: usize,
    max_bytes: usize,
    /// Follows the session.
    account: Option<Account>,
    state: Mutex<State>,
    /// Notifies those who wait for the end.
    ended: Notify,
}

#[derive(Default)]
struct State {
    packets: VecDeque<PacketBuf>,
    /// The bytes of all of them.
    bytes: usize,
    /// The slots of permits that are not used yet.
    reserved: usize,
    /// Only the latest volatile packet is kept.
    volatile: Option<Box<PacketBuf>>,
    closed: bool,
    receiver: Option<Waker>,
    /// Away while a sender is writing.
    sink: Option<Arc<dyn Sink>>,
    attached: bool,
    turn: Turn,
    /// The sink has to be flushed.
    buffered: bool,
}

impl State {
    /// Whether a sender is writing. The receiver is woken at its end, from now on.
    fn await_sender(&mut self) -> bool {
        let sending = matches!(self.turn, Turn::Sender | Turn::SenderAwaited);
        if sending {
            self.turn = Turn::SenderAwaited;
        }
        sending
    }

    fn park(&mut self, cx: &Context<'_>) {
        match &mut self.receiver {
            Some(waker) => waker.clone_from(cx.waker()),
            waker => *waker = Some(cx.waker().clone()),
        }
    }

    fn pop(&mut self) -> Option<PacketBuf> {
        let packets = self.packets.pop_front();
        self.bytes -= packets.as_ref().map_or(0, bytes_of);
        if self.packets.is_empty() {
            // Gives the memory back.
            self.packets = VecDeque::new();
        }
        packets
    }
}

impl PacketQueue {
    /// Creates a queue with `capacity` slots, and as many bytes as the account says.
    pub(crate) fn new(capacity: usize, account: Option<Account>) -> Self {
        assert!(capacity > 0, "a queue requires capacity > 0");
        Self {
            capacity,
            max_bytes: account
                .as_ref()
                .map_or(usize::MAX, |account| account.max_queued_bytes()),
            account,
            state: Mutex::default(),
            ended: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account of the session, if there is one.
    pub(crate) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Takes a slot for packets that are sent later.
    pub(crate) fn try_reserve(&self) -> Result<Slot<'_>, TrySendError<()>> {
        self.reserve(1).map(|_| Slot { queue: self })
    }

    fn reserve(&self, slots: usize) -> Result<MutexGuard<'_, State>, TrySendError<()>> {
        let reserved = self.reserve_unreported(slots);
        if let (Err(TrySendError::Full(())), Some(account)) = (&reserved, &self.account) {
            account.overflowed();
        }
        reserved
    }

    fn reserve_unreported(&self, slots: usize) -> Result<MutexGuard<'_, State>, TrySendError<()>> {
        let mut state = self.state();
        if state.closed {
            Err(TrySendError::Closed(()))
        } else if state.packets.len() + state.reserved + slots > self.capacity
            || state.bytes > self.max_bytes
        {
            Err(TrySendError::Full(()))
        } else {
            state.reserved += slots;
            Ok(state)
        }
    }

    /// Sends packets if there is a free slot. If not, nothing is lost that the client has to know of.
    pub(crate) fn try_send_unreported(&self, packets: PacketBuf) {
        if let Ok(state) = self.reserve_unreported(1) {
            self.put(state, Outgoing::Packets(packets));
        }
    }

    /// Sends what others get, too, if there are free slots for all of it.
    pub(crate) fn try_send_texts(&self, texts: &[SharedText]) -> Result<(), TrySendError<()>> {
        let state = self.reserve(texts.len())?;
        self.put(state, Outgoing::Texts(texts));
        Ok(())
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
        self.ended.notify_waiters();
    }

    /// Whether the queue is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Waits until the queue is closed.
    pub(crate) async fn closed(&self) {
        loop {
            let ended = self.ended.notified();
            if self.is_closed() {
                return;
            }
            ended.await;
        }
    }

    /// Receives the next packets, or the volatile ones if there are no others.
    ///
    /// None at all are to be handled as packets are: a sender has written to the sink, and it has to be flushed.
    ///
    /// Whoever has attached a sink must have flushed it before.
    ///
    /// Resolves to [`None`] once the queue is closed and empty.
    pub(crate) fn poll_recv(&self, cx: &Context<'_>) -> Poll<Option<PacketBuf>> {
        let mut state = self.state();
        if state.await_sender() {
            state.park(cx);
            return Poll::Pending;
        }
        state.turn = Turn::Receiver;
        if std::mem::take(&mut state.buffered) {
            return Poll::Ready(Some(PacketBuf::new()));
        }
        if let Some(packets) = state.pop() {
            return Poll::Ready(Some(packets));
        }
        if let Some(packets) = state.volatile.take() {
            return Poll::Ready(Some(*packets));
        }
        if state.closed && state.reserved == 0 {
            return Poll::Ready(None);
        }
        if state.attached {
            state.turn = Turn::NextSender;
        }
        state.park(cx);
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
        self.state().pop()
    }

    /// Lets senders write to this sink while the receiver waits in [`poll_recv`](Self::poll_recv), until the
    /// attachment is dropped.
    pub(crate) fn attach(&self, sink: Arc<dyn Sink>) -> Attached<'_> {
        let mut state = self.state();
        state.sink = Some(sink);
        state.attached = true;
        Attached { queue: self }
    }

    /// Gives packets to the sink or into the queue. Their slots are reserved, and no longer in the end.
    fn put<'a>(&'a self, mut state: MutexGuard<'a, State>, outgoing: Outgoing<'_>) {
        let slots = outgoing.slots();
        let sink = match state.turn {
            Turn::NextSender => state.sink.take(),
            _ => None,
        };
        let Some(sink) = sink else {
            state.reserved -= slots;
            outgoing.queue(|packets| {
                state.bytes += bytes_of(&packets);
                state.packets.push_back(packets);
            });
            return wake(state);
        };

        state.turn = Turn::Sender;
        drop(state);
        let written = sink.try_write(outgoing);

        let mut state = self.state();
        state.reserved -= slots;
        let awaited = state.turn == Turn::SenderAwaited;
        state.turn = Turn::Receiver;
        match written {
            Written::All => (),
            Written::Buffered => state.buffered = true,
            // Before all that came meanwhile.
            Written::Busy(outgoing) => {
                let state = &mut *state;
                state.bytes += outgoing.bytes();
                outgoing.queue_first(&mut state.packets);
            }
        }
        let mut detached = None;
        if state.attached {
            state.sink = Some(sink);
        } else {
            detached = Some(sink);
        }
        let idle = state.packets.is_empty() && state.volatile.is_none() && !state.buffered;
        if idle && !awaited && !state.closed && state.attached {
            state.turn = Turn::NextSender;
        } else {
            wake(state);
        }
        drop(detached);
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
        let packets = Outgoing::Packets(packets);
        self.queue.put(self.queue.state(), packets);
        std::mem::forget(self);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.reserved -= 1;
        // A receiver of a closed queue waits for the last slot.
        wake(state);
    }
}

/// A [`Sink`] that senders may write to.
pub(crate) struct Attached<'a> {
    queue: &'a PacketQueue,
}

impl Attached<'_> {
    /// From now on no sender writes. Waits for the one that does.
    pub(crate) async fn end(&self) {
        poll_fn(|cx| {
            let mut state = self.queue.state();
            state.attached = false;
            if state.await_sender() {
                state.park(cx);
                return Poll::Pending;
            }
            state.turn = Turn::Receiver;
            Poll::Ready(())
        })
        .await;
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.attached = false;
        state.buffered = false;
        if state.turn == Turn::NextSender {
            state.turn = Turn::Receiver;
        }
        let sink = state.sink.take();
        drop(state);
        drop(sink);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use engineioxide_core::{Packet, Str, TransportType};
    use futures_util::FutureExt;
    use http::Extensions;
    use smallvec::smallvec;

    use super::*;
    use crate::session::{Received, Session, SessionObserver, Verdict};

    fn packets(text: &'static str) -> PacketBuf {
        smallvec![Packet::Message(Str::from(text))]
    }

    #[tokio::test]
    async fn keeps_the_order_and_the_bound() {
        let queue = PacketQueue::new(2, None);
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
        let queue = PacketQueue::new(1, None);
        drop(queue.try_reserve().unwrap());
        queue.try_send(packets("a")).unwrap();
    }

    #[tokio::test]
    async fn wakes_the_receiver() {
        let queue = Arc::new(PacketQueue::new(1, None));
        let receiver = tokio::spawn({
            let queue = queue.clone();
            async move { queue.recv().await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        queue.try_send(packets("a")).unwrap();
        assert_eq!(receiver.await.unwrap(), Some(packets("a")));
    }

    /// Remembers how often a packet had no room.
    #[derive(Debug, Default)]
    struct Ledger(AtomicUsize);

    impl SessionObserver for Ledger {
        fn max_queued_bytes(&self) -> usize {
            10
        }
        fn opened(&self, _: Session) {}
        fn carried(&self, _: TransportType, _: &Extensions) {}
        fn received(&self, _: Received<'_>) -> Verdict {
            Verdict::Accept
        }
        fn overflowed(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn closed(&self) {}
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_the_account_learns_of_what_is_lost() {
        let ledger = Arc::new(Ledger::default());
        let queue = PacketQueue::new(100, Some(ledger.clone()));
        let text = SharedText::new("4shared").unwrap();
        for round in 0..3 {
            // Four and seven bytes: the second goes beyond the bound, the third has no room.
            queue.try_send(packets("abc")).unwrap();
            queue.try_send_texts(std::slice::from_ref(&text)).unwrap();
            assert_eq!(queue.state().bytes, 11);
            queue.try_send(packets("d")).unwrap_err();
            queue
                .try_send_texts(std::slice::from_ref(&text))
                .unwrap_err();
            assert!(matches!(queue.try_reserve(), Err(TrySendError::Full(()))));
            assert_eq!(ledger.0.load(Ordering::Relaxed), 3 * (round + 1));
            assert_eq!(queue.recv().await, Some(packets("abc")));
            assert_eq!(queue.try_recv(), Some(text.packets()));
            assert_eq!(queue.state().bytes, 0);
        }
        queue.close();
        queue.try_send(packets("a")).unwrap_err();
        assert_eq!(
            ledger.0.load(Ordering::Relaxed),
            9,
            "a closed queue is not full"
        );
    }

    #[tokio::test]
    async fn closes_behind_what_was_sent() {
        let queue = Arc::new(PacketQueue::new(3, None));
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
        let queue = PacketQueue::new(2, None);
        queue.send_volatile(packets("old"));
        queue.send_volatile(packets("new"));
        queue.try_send(packets("a")).unwrap();
        assert_eq!(queue.recv().await, Some(packets("a")));
        assert_eq!(queue.recv().await, Some(packets("new")));
        assert_eq!(queue.recv().now_or_never(), None);
    }

    /// Takes what it is given, all of it, or with a rest, or not at all, in turns.
    #[derive(Default)]
    struct Recorder {
        calls: AtomicUsize,
        log: Mutex<Vec<Packet>>,
    }

    impl Sink for Recorder {
        fn try_write<'a>(&self, outgoing: Outgoing<'a>) -> Written<'a> {
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            if call % 5 == 3 {
                return Written::Busy(outgoing);
            }
            let mut log = self.log.try_lock().expect("one writes at a time");
            outgoing.queue(|packets| log.extend(packets));
            if call % 7 == 6 {
                Written::Buffered
            } else {
                Written::All
            }
        }
    }

    #[tokio::test]
    async fn each_senders_packets_are_written_once_and_in_order() {
        const SENDERS: usize = 3;
        const PACKETS: usize = 20_000;
        let queue = Arc::new(PacketQueue::new(8, None));
        let sink = Arc::new(Recorder::default());

        let receiver = tokio::spawn({
            let (queue, sink) = (queue.clone(), sink.clone());
            async move {
                let attached = queue.attach(sink.clone());
                while let Some(packets) = queue.recv().await {
                    let mut log = sink.log.try_lock().expect("one writes at a time");
                    log.extend(packets);
                    while let Some(packets) = queue.try_recv() {
                        log.extend(packets);
                    }
                }
                attached.end().await;
            }
        });
        let senders = (0..SENDERS).map(|sender| {
            let queue = queue.clone();
            tokio::task::spawn_blocking(move || {
                let text = |i| SharedText::new(&format!("4{sender} {i}")).unwrap();
                for i in (0..PACKETS).step_by(2) {
                    let texts = [text(i), text(i + 1)];
                    // The first one sends two for everybody, the others one by one for this receiver.
                    if sender == 0 {
                        while queue.try_send_texts(&texts).is_err() {
                            std::thread::yield_now();
                        }
                        continue;
                    }
                    for text in texts {
                        while queue.try_send(text.packets()).is_err() {
                            std::thread::yield_now();
                        }
                    }
                }
            })
        });
        for sender in senders.collect::<Vec<_>>() {
            sender.await.unwrap();
        }
        queue.close();
        receiver.await.unwrap();

        let mut next = [0; SENDERS];
        for packet in sink.log.lock().unwrap().drain(..) {
            let message = packet.into_message();
            let (sender, i) = message.split_once(' ').unwrap();
            let next = &mut next[sender.parse::<usize>().unwrap()];
            assert_eq!(i, next.to_string());
            *next += 1;
        }
        assert_eq!(next, [PACKETS; SENDERS]);
        let calls = sink.calls.load(Ordering::Relaxed);
        assert!(calls > 0, "senders wrote themselves");
    }

    #[tokio::test]
    async fn nobody_writes_after_the_end_of_the_attachment() {
        let queue = PacketQueue::new(8, None);
        let sink = Arc::new(Recorder::default());
        let attached = queue.attach(sink.clone());
        assert_eq!(queue.recv().now_or_never(), None);
        queue.try_send(packets("a")).unwrap();
        attached.end().await;
        queue.try_send(packets("b")).unwrap();
        drop(attached);
        queue.try_send(packets("c")).unwrap();
        assert_eq!(sink.log.lock().unwrap().len(), 1);
        assert_eq!(queue.recv().await, Some(packets("b")));
        assert_eq!(queue.recv().await, Some(packets("c")));
        assert_eq!(Arc::strong_count(&sink), 1);
    }
}

//! A bounded queue with many senders and one receiver, which holds memory only while something waits in it.
//!
//! Every socket and every followed ticket has one, and most of them are empty most of the time. A channel of tokio
//! keeps room for 32 items from its beginning on: with two of them that was a fifth of what an idle connection cost.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// A mailbox for at most `bound` items.
pub fn mailbox<T>(bound: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        bound,
        state: Mutex::new(State {
            items: VecDeque::new(),
            receiver: None,
            closed: false,
        }),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// Puts items in. Cheap to clone.
pub struct Sender<T>(Arc<Shared<T>>);

/// Takes items out, in the order in which they were put in. Once it is dropped, nothing can be put in any more.
pub struct Receiver<T>(Arc<Shared<T>>);

/// Why an item was not taken, with the item.
#[derive(Debug, PartialEq, Eq)]
pub enum Unsent<T> {
    /// As many wait as may.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

impl<T> Unsent<T> {
    /// The item.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(item) | Self::Closed(item) => item,
        }
    }
}

struct Shared<T> {
    bound: usize,
    state: Mutex<State<T>>,
}

struct State<T> {
    items: VecDeque<T>,
    receiver: Option<Waker>,
    closed: bool,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, item: T, bound: usize) -> Result<(), Unsent<T>> {
        let receiver = {
            let mut state = self.state();
            if state.closed {
                return Err(Unsent::Closed(item));
            }
            if state.items.len() >= bound {
                return Err(Unsent::Full(item));
            }
            state.items.push_back(item);
            state.receiver.take()
        };
        // Without the lock, which the one that wakes up needs.
        if let Some(receiver) = receiver {
            receiver.wake();
        }
        Ok(())
    }
}

impl<T> Sender<T> {
    /// Puts an item in.
    ///
    /// # Errors
    /// Gives it back where it finds no room or no receiver.
    pub fn try_send(&self, item: T) -> Result<(), Unsent<T>> {
        self.0.put(item, self.0.bound)
    }

    /// Puts an item in even where the mailbox is full: for the few that must arrive.
    ///
    /// # Errors
    /// Gives it back where there is no receiver.
    pub fn send_beyond(&self, item: T) -> Result<(), T> {
        self.0.put(item, usize::MAX).map_err(Unsent::into_inner)
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.0.state().closed
    }
}

impl<T> Receiver<T> {
    /// The next item; waits for it. Nothing is lost where the wait is given up.
    pub async fn recv(&mut self) -> T {
        // Whoever always finds something lets others run now and then.
        tokio::task::coop::consume_budget().await;
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next item, where one waits.
    pub fn try_recv(&mut self) -> Option<T> {
        self.0.state().items.pop_front()
    }

    /// The next item, where one waits that is `wanted`.
    pub fn try_recv_if(&mut self, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        let mut state = self.0.state();
        if state.items.front().is_some_and(wanted) {
            state.items.pop_front()
        } else {
            None
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.state().items.is_empty()
    }

    fn poll_recv(&self, cx: &Context<'_>) -> Poll<T> {
        let mut state = self.0.state();
        if let Some(item) = state.items.pop_front() {
            return Poll::Ready(item);
        }
        // An idle one holds no memory; a busy one does not come here between two items.
        state.items = VecDeque::new();
        match &mut state.receiver {
            Some(waker) => waker.clone_from(cx.waker()),
            waker => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let rest = {
            let mut state = self.0.state();
            state.closed = true;
            state.receiver = None;
            std::mem::take(&mut state.items)
        };
        // Without the lock: what is dropped with an item is not known here.
        drop(rest);
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn order_and_bound_are_kept_and_memory_is_not() {
        let (sender, mut receiver) = mailbox(2);
        sender.try_send(1).unwrap();
        sender.try_send(2).unwrap();
        assert_eq!(sender.try_send(3), Err(Unsent::Full(3)));
        sender.send_beyond(4).unwrap();
        assert_eq!(sender.try_send(5), Err(Unsent::Full(5)));
        for wanted in [1, 2] {
            assert_eq!(receiver.recv().await, wanted);
        }
        assert_eq!(receiver.try_recv_if(|item| *item == 5), None);
        assert_eq!(receiver.try_recv_if(|item| *item == 4), Some(4));
        assert_eq!(receiver.try_recv_if(|_| true), None);
        assert_eq!(receiver.try_recv(), None);
        assert_eq!(receiver.recv().now_or_never(), None);
        assert!(receiver.is_empty());
        assert_eq!(receiver.0.state().items.capacity(), 0);
    }

    #[tokio::test]
    async fn many_senders_wake_one_receiver() {
        const EACH: usize = 10_000;
        let (sender, mut receiver) = mailbox(16);
        let senders: Vec<_> = (0..3)
            .map(|number| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    for turn in 0..EACH {
                        let mut item = (number, turn);
                        while let Err(unsent) = sender.try_send(item) {
                            item = unsent.into_inner();
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let mut next = [0; 3];
        for _ in 0..3 * EACH {
            let (number, turn) = receiver.recv().await;
            assert_eq!(next[number], turn, "each one's items keep their order");
            next[number] += 1;
        }
        for sender in senders {
            sender.join().unwrap();
        }
    }

    #[tokio::test]
    async fn nothing_goes_to_a_receiver_that_is_gone() {
        let (sender, receiver) = mailbox(2);
        let item = Arc::new(());
        sender.try_send(Arc::clone(&item)).unwrap();
        drop(receiver);
        assert_eq!(Arc::strong_count(&item), 1, "what waited is freed");
        assert!(sender.is_closed());
        assert_eq!(
            sender.try_send(Arc::clone(&item)),
            Err(Unsent::Closed(item))
        );
        assert!(sender.send_beyond(Arc::new(())).is_err());
    }
}

//! Waiting for a signal that is given once, in tasks that are polled a hundred thousand times before.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A signal to all tasks.
#[derive(Clone, Debug, Default)]
pub(super) struct Signal {
    given: Arc<AtomicBool>,
    pub(super) token: CancellationToken,
}

impl Signal {
    pub(super) fn give(&self) {
        self.given.store(true, Ordering::Release);
        self.token.cancel();
    }

    pub(super) fn until(&self) -> Until {
        Until {
            given: Arc::clone(&self.given),
            waiting: Box::pin(self.token.clone().cancelled_owned()),
            registered: None,
        }
    }
}

/// Resolves when the signal is given; see [`Lifecycle::until_stopping`](super::Lifecycle::until_stopping).
///
/// A token's own future takes a lock that all tasks share whenever it is polled, made or dropped. This one takes it
/// once: as long as the same task polls it, it only looks at a flag.
#[derive(Debug)]
pub struct Until {
    given: Arc<AtomicBool>,
    waiting: Pin<Box<WaitForCancellationFutureOwned>>,
    registered: Option<Waker>,
}

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.given.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        if let Some(waker) = &self.registered
            && waker.will_wake(cx.waker())
        {
            return Poll::Pending;
        }
        self.registered = Some(cx.waker().clone());
        self.waiting.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, task::Wake};

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    #[test]
    fn it_wakes_whoever_polled_last_and_stays_given() {
        let signal = Signal::default();
        let mut until = signal.until();
        let (first, second) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
        for counter in [&first, &first, &second, &second] {
            let waker = Waker::from(Arc::clone(counter));
            let mut cx = Context::from_waker(&waker);
            assert_eq!(Pin::new(&mut until).poll(&mut cx), Poll::Pending);
        }
        signal.give();
        assert_eq!(first.0.load(Ordering::Acquire), 0);
        assert_eq!(second.0.load(Ordering::Acquire), 1);
        let waker = Waker::from(Arc::clone(&second));
        let mut cx = Context::from_waker(&waker);
        for mut until in [until, signal.until()] {
            assert_eq!(Pin::new(&mut until).poll(&mut cx), Poll::Ready(()));
        }
    }
}

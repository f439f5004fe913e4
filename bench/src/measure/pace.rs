//! Sending at a fixed rate, whatever the server does: on a thread of its own, because the runtime's timers are too
//! coarse, and by times that are fixed beforehand, so that waiting counts as latency.

use std::{thread, time::Duration};

use super::{message::Clock, wire::Lost};

/// How long after its start the first one is due.
const LEAD: u64 = 20_000;

/// Calls `send` with a number from 0 and the time when it is due, so many times a second and in all. Returns when
/// the first was due, in microseconds of the clock.
///
/// # Errors
/// What `send` failed with.
pub(crate) async fn pace(
    clock: Clock,
    rate: u64,
    count: u64,
    mut send: impl FnMut(u64, u64) -> Result<(), Lost> + Send + 'static,
) -> anyhow::Result<u64> {
    let first = clock.now() + LEAD;
    let thread = tokio::task::spawn_blocking(move || {
        for number in 0..count {
            let at = first + due(number, rate);
            let mut now = clock.now();
            while now < at {
                thread::park_timeout(Duration::from_micros(at - now));
                now = clock.now();
            }
            send(number, at)?;
        }
        Ok::<_, Lost>(())
    });
    thread.await??;
    Ok(first)
}

/// When the one of this number is due, in microseconds after the first.
fn due(number: u64, rate: u64) -> u64 {
    number.saturating_mul(1_000_000) / rate.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_does_not_drift() {
        assert_eq!(due(0, 3), 0);
        assert_eq!(due(1, 3), 333_333);
        assert_eq!(due(3, 3), 1_000_000);
        assert_eq!(due(3_000_000, 3), 1_000_000_000_000);
    }

    #[tokio::test]
    async fn everything_is_sent_in_order_and_never_early() {
        let clock = Clock::start();
        let (sender, receiver) = std::sync::mpsc::channel();
        let first = pace(clock, 1_000, 20, move |number, at| {
            sender.send((number, at, clock.now())).ok();
            Ok(())
        });
        let first = first.await.unwrap();
        let sent: Vec<_> = receiver.iter().collect();
        assert_eq!(sent.len(), 20);
        for (place, (number, at, now)) in (0..).zip(sent) {
            assert_eq!((number, at), (place, first + place * 1_000));
            assert!(now >= at);
        }
    }
}

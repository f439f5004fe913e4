//! Whether a part that the gateway depends on answers, as `/health` shows it: asked at most once a second for all who want
//! to know, and told in time whatever hangs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ticket_shared::lifecycle::Lifecycle;
use tokio::{sync::watch, time::Instant};

/// How long an answer holds.
const EVERY: Duration = Duration::from_secs(1);
/// How long who asks waits. A part that takes longer counts as down.
const PATIENCE: Duration = Duration::from_millis(800);

/// What is known of one part. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct PartHealth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    answers: watch::Sender<Option<Answer>>,
    asking: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    asked: Instant,
    up: bool,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            answers: watch::Sender::new(None),
            asking: AtomicBool::new(false),
        }
    }
}

/// Lets others ask again, also where asking panicked.
struct Asking(PartHealth);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.0.asking.store(false, Ordering::Release);
    }
}

impl PartHealth {
    /// Whether the part is up; `ask` asks it where that is not known.
    pub async fn up(
        &self,
        life: &Lifecycle,
        ask: impl Future<Output = bool> + Send + 'static,
    ) -> bool {
        let mut answers = self.0.answers.subscribe();
        if let Some(up) = fresh(*answers.borrow_and_update()) {
            return up;
        }
        if !self.0.asking.swap(true, Ordering::AcqRel) {
            let asking = Asking(self.clone());
            // The one who asked just now may have been answered since.
            if let Some(up) = fresh(*answers.borrow_and_update()) {
                return up;
            }
            life.spawn(async move {
                let asked = Instant::now();
                let up = ask.await;
                let answer = Some(Answer { asked, up });
                asking.0.0.answers.send_replace(answer);
            });
        }
        match tokio::time::timeout(PATIENCE, answers.changed()).await {
            Ok(Ok(())) => answers.borrow().is_some_and(|answer| answer.up),
            _ => false,
        }
    }
}

fn fresh(answer: Option<Answer>) -> Option<bool> {
    let answer = answer.filter(|answer| answer.asked.elapsed() < EVERY)?;
    Some(answer.up)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn a_part_is_asked_once_a_second_for_all() {
        let (part, life) = (PartHealth::default(), Lifecycle::default());
        let asked = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let asked = Arc::clone(&asked);
            async move {
                asked.fetch_add(1, Ordering::AcqRel);
                tokio::time::sleep(Duration::from_millis(100)).await;
                true
            }
        };
        for seconds in 1..=2 {
            let all = join_all((0..100).map(|_| part.up(&life, ask()))).await;
            assert!(all.into_iter().all(|up| up));
            assert_eq!(asked.load(Ordering::Acquire), seconds);
            tokio::time::sleep(EVERY).await;
        }
    }

    #[tokio::test]
    async fn what_hangs_counts_as_down_in_time_and_is_not_asked_again_meanwhile() {
        let (part, life) = (PartHealth::default(), Lifecycle::default());
        assert!(!part.up(&life, std::future::pending()).await);
        let not_asked = async { panic!("asked while it is being asked") };
        assert!(!part.up(&life, not_asked).await);
        life.shutdown(Duration::ZERO).await;
    }

    #[tokio::test]
    async fn a_part_that_comes_back_is_up_again() {
        let (part, life) = (PartHealth::default(), Lifecycle::default());
        assert!(!part.up(&life, async { false }).await);
        tokio::time::sleep(EVERY).await;
        assert!(part.up(&life, async { true }).await);
    }
}

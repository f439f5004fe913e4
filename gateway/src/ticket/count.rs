//! Counts over all tickets. MongoDB looks at every ticket for them, so one request counts for all who ask meanwhile, and
//! what was counted answers for two seconds.
//!
//! A change, through whichever gateway, is in the next answer as long as counting takes little: the append script numbers
//! those that counts may show. Between two counts there is a pause, a multiple of what the first took; who comes in a long
//! one gets the last figures. So do all while MongoDB does not answer.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use fred::interfaces::{ClientLike, KeysInterface};
use futures::future::try_join_all;
use ticket_shared::{domain::Counts, id::Id, redis::hot_path};

use super::Tickets;
use crate::error::Error;

/// How long figures answer for.
const FRESH: Duration = Duration::from_secs(2);
/// The pause after counting, in multiples of what it took: counting takes a fifth of one slot at most.
const PAUSE: u32 = 4;
/// The longest pause that is waited for.
const PATIENCE: Duration = Duration::from_millis(250);
/// The tickets that MongoDB may be behind with. Each of them costs Redis a microsecond or two and MongoDB a comparison.
const BEHIND: usize = 100_000;

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Counting {
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Last>,
}

/// What to do for who asks.
#[derive(Debug)]
enum Step {
    Answer(Result<Counts, Error>),
    /// Count, after so long.
    Count(Duration),
}

#[derive(Debug, Default, Clone)]
struct Last {
    known: Option<Counts>,
    /// The last attempt, and how it failed if it did.
    tried: Option<Tried>,
}

#[derive(Debug, Clone)]
struct Tried {
    began: Instant,
    ended: Instant,
    /// Changes before it began.
    changes: u64,
    failed: Option<Error>,
}

impl Last {
    /// What to do for who asks now, after so many changes.
    fn step(&self, now: Instant, changes: u64) -> Step {
        let Some(tried) = &self.tried else {
            return Step::Count(Duration::ZERO);
        };
        let since = now.saturating_duration_since(tried.ended);
        let unchanged = tried.failed.is_some() || tried.changes == changes;
        let pause = ((tried.ended - tried.began) * PAUSE).saturating_sub(since);
        if since < FRESH && (unchanged || pause > PATIENCE) {
            return Step::Answer(self.known_or(tried.failed.clone()));
        }
        Step::Count(pause.min(PATIENCE))
    }

    /// The last known figures, unless it is Redis that does not answer: then nothing of what was acknowledged is known.
    fn known_or(&self, failed: Option<Error>) -> Result<Counts, Error> {
        let of_redis = matches!(failed, Some(Error::Unavailable { part: "redis", .. }));
        match (&self.known, failed) {
            (Some(known), None) => Ok(*known),
            (Some(known), Some(_)) if !of_redis => Ok(*known),
            (_, Some(error)) => Err(error),
            (None, None) => Err(Error::Internal("counted nothing".into())),
        }
    }
}

impl Counting {
    fn step(&self, changes: u64) -> Step {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.step(Instant::now(), changes)
    }

    fn note(
        &self,
        began: Instant,
        changes: u64,
        counted: Result<Counts, Error>,
    ) -> Result<Counts, Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = match counted {
            Ok(counts) => {
                last.known = Some(counts);
                None
            }
            Err(error) => {
                tracing::warn!(error = %error, known = last.known.is_some(), "tickets not counted");
                Some(error)
            }
        };
        last.tried = Some(Tried {
            began,
            ended: Instant::now(),
            changes,
            failed: failed.clone(),
        });
        last.known_or(failed)
    }
}

impl Tickets {
    /// How many tickets there are.
    ///
    /// # Errors
    /// Redis can't be reached; or MongoDB, and nothing is known yet.
    pub async fn counts(&self) -> Result<Counts, Error> {
        let counting = &self.0.counting;
        if let Step::Answer(answer) = counting.step(self.changes().await?) {
            return answer;
        }
        let _turn = counting.turn.lock().await;
        // Another request may have counted meanwhile.
        match counting.step(self.changes().await?) {
            Step::Answer(answer) => return answer,
            Step::Count(pause) => tokio::time::sleep(pause).await,
        }
        let changes = self.changes().await?;
        let began = Instant::now();
        let counted = self.count().await;
        counting.note(began, changes, counted)
    }

    /// The number of changes that counts may show.
    async fn changes(&self) -> Result<u64, Error> {
        let client = self.0.redis.with_options(&hot_path());
        let keys = &self.0.keys;
        let numbers = (0..keys.partitions()).map(|partition| {
            let (client, key) = (client.clone(), keys.changes(partition));
            async move { client.get::<Option<u64>, _>(key).await }
        });
        let numbers = try_join_all(numbers).await?;
        Ok(numbers.into_iter().flatten().sum())
    }

    /// The tickets that MongoDB is behind with first, then MongoDB without them: one that is persisted between the two is
    /// neither missed nor counted twice.
    async fn count(&self) -> Result<Counts, Error> {
        let behind = self.heads(BEHIND).await?;
        let ids: Vec<Id> = behind.iter().map(|(id, _)| *id).collect();
        let mut counts = self.0.store.counts(&ids).await?;
        for (_, head) in behind {
            counts.add(head.status, head.agent_id.is_some(), 1);
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(took_ms: u64, failed: Option<Error>) -> (Last, Instant) {
        let began = Instant::now();
        let ended = began + Duration::from_millis(took_ms);
        let tried = Tried {
            began,
            ended,
            changes: 7,
            failed,
        };
        let known = Some(Counts {
            total: 3,
            ..Counts::default()
        });
        let tried = Some(tried);
        (Last { known, tried }, ended)
    }

    fn down(part: &'static str) -> Error {
        Error::Unavailable {
            part,
            reason: String::new(),
        }
    }

    fn answer(step: Step) -> Option<Result<u64, Error>> {
        match step {
            Step::Answer(answer) => Some(answer.map(|counts| counts.total)),
            Step::Count(_) => None,
        }
    }

    fn pause(step: &Step) -> Option<u128> {
        match step {
            Step::Answer(_) => None,
            Step::Count(pause) => Some(pause.as_millis()),
        }
    }

    #[test]
    fn figures_answer_for_two_seconds_unless_something_changed_and_counting_is_cheap() {
        let (cheap, ended) = last(10, None);
        let after = |ms| ended + Duration::from_millis(ms);
        assert!(answer(cheap.step(after(1_999), 7)).is_some());
        assert_eq!(pause(&cheap.step(after(2_000), 7)), Some(0));
        assert_eq!(pause(&cheap.step(after(30), 8)), Some(10));
        assert_eq!(pause(&cheap.step(after(40), 8)), Some(0));
        let (dear, ended) = last(3_000, None);
        let after = |ms| ended + Duration::from_millis(ms);
        assert!(answer(dear.step(after(1_999), 8)).is_some());
        assert_eq!(pause(&dear.step(after(2_000), 8)), Some(250));
        assert_eq!(pause(&Last::default().step(ended, 0)), Some(0));
    }

    #[test]
    fn without_mongodb_the_last_known_figures_answer_without_redis_nothing() {
        let (mut without, ended) = last(3_000, Some(down("mongo")));
        assert!(matches!(answer(without.step(ended, 8)), Some(Ok(3))));
        without.known = None;
        assert!(matches!(answer(without.step(ended, 8)), Some(Err(_))));
        let (no_redis, ended) = last(1_000, Some(down("redis")));
        assert!(matches!(answer(no_redis.step(ended, 8)), Some(Err(_))));
    }
}

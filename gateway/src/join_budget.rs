//! Answers of joins that are built at the same time: an answer may take megabytes until it is written out.
//!
//! What counts is the most that its messages may take. A person has four at a time, so that who joins with many
//! connections takes nobody's turn; all together have a few hundred megabytes, which joins of usual messages don't get near.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::error::Error;

/// Answers of one person.
const PERSON: usize = 4;
/// Messages of all answers: of 32 KiB each at most, 512 MiB.
const MESSAGES: usize = 16_384;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many persons the table holds before those without a join are dropped.
const PERSONS: usize = 1_024;

/// The joins of one gateway. Cheap to clone.
#[derive(Debug, Clone)]
pub struct JoinBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    messages: Arc<Semaphore>,
    persons: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// The turn of one join, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct JoinTurn(
    #[expect(dead_code, reason = "given back when it is dropped")] OwnedSemaphorePermit,
);

impl Default for JoinBudget {
    fn default() -> Self {
        Self(Arc::new(Inner {
            messages: Arc::new(Semaphore::new(MESSAGES)),
            persons: Mutex::default(),
        }))
    }
}

impl JoinBudget {
    /// The turn of a person's join.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if it does not come in time.
    pub async fn person(&self, key: &str) -> Result<JoinTurn, Error> {
        wait(self.of(key), 1, "too many of your joins are under way").await
    }

    /// The turn of an answer with so many messages at most.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if it does not come in time.
    pub async fn answer(&self, messages: usize) -> Result<JoinTurn, Error> {
        let messages = u32::try_from(messages.min(MESSAGES)).unwrap_or(u32::MAX);
        let all = Arc::clone(&self.0.messages);
        wait(all, messages, "too many joins are under way").await
    }

    fn of(&self, key: &str) -> Arc<Semaphore> {
        let mut persons = self
            .0
            .persons
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(person) = persons.get(key).and_then(Weak::upgrade) {
            return person;
        }
        if persons.len() >= PERSONS {
            persons.retain(|_, person| person.strong_count() > 0);
        }
        let person = Arc::new(Semaphore::new(PERSON));
        persons.insert(key.to_owned(), Arc::downgrade(&person));
        person
    }
}

async fn wait(turns: Arc<Semaphore>, count: u32, late: &'static str) -> Result<JoinTurn, Error> {
    match timeout(PATIENCE, turns.acquire_many_owned(count)).await {
        Ok(Ok(turn)) => Ok(JoinTurn(turn)),
        _ => Err(Error::Overloaded(late)),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_person_has_four_at_a_time_and_takes_nobody_elses_turn() {
        let budget = JoinBudget::default();
        let mut turns = Vec::new();
        for _ in 0..PERSON {
            turns.push(budget.person("user:a").await.unwrap());
        }
        let mut next = Box::pin(budget.person("user:a"));
        assert!(next.as_mut().now_or_never().is_none());
        assert!(budget.person("user:b").now_or_never().is_some());
        turns.pop();
        assert!(next.await.is_ok());
    }

    #[tokio::test]
    async fn all_answers_together_are_bounded() {
        let budget = JoinBudget::default();
        let mut turns = Vec::new();
        while let Some(turn) = budget.answer(300).now_or_never() {
            turns.push(turn.unwrap());
        }
        assert_eq!(turns.len(), MESSAGES / 300);
        assert!(budget.answer(300).now_or_never().is_none());
        drop(turns);
        assert!(budget.answer(300).now_or_never().is_some());
    }

    #[tokio::test]
    async fn persons_without_a_join_are_forgotten() {
        let budget = JoinBudget::default();
        for n in 0..3 * PERSONS {
            drop(budget.person(&format!("user:{n}")).await.unwrap());
        }
        assert!(budget.0.persons.lock().unwrap().len() <= PERSONS);
    }
}

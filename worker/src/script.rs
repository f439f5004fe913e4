//! Lua scripts, many calls in one round trip.

use fred::{clients::Client, error::Error, interfaces::LuaInterface, types::Value};
use futures::future;
use ticket_shared::redis::{Failure, failure};

/// How many calls are sent at once: few enough that all are answered within a command's time.
const CHUNK: usize = 500;

/// A script.
#[derive(Debug)]
pub(crate) struct Script {
    text: &'static str,
    sha: String,
}

/// One call of a script.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) keys: Vec<String>,
    pub(crate) args: Vec<Value>,
}

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        Self {
            sha: fred::util::sha1_hash(text),
            text,
        }
    }

    /// Calls the script for each of `calls`, in order. The answers stand in the same order. Where Redis does
    /// not know the script yet, those calls are made again with its text.
    pub(crate) async fn run(&self, redis: &Client, calls: &[Call]) -> Vec<Result<Value, Error>> {
        let mut answers = Vec::with_capacity(calls.len());
        for chunk in calls.chunks(CHUNK) {
            let mut part = self.send(redis, chunk.iter().collect(), false).await;
            let unknown: Vec<usize> = (0..part.len())
                .filter(
                    |&at| matches!(&part[at], Err(error) if failure(error) == Failure::NoScript),
                )
                .collect();
            if !unknown.is_empty() {
                let again = unknown.iter().map(|&at| &chunk[at]).collect();
                let answered = self.send(redis, again, true).await;
                for (at, answer) in unknown.into_iter().zip(answered) {
                    part[at] = answer;
                }
            }
            answers.append(&mut part);
        }
        answers
    }

    /// The client writes them one after the other without waiting for answers; fred's own pipelines know no
    /// scripts.
    async fn send(
        &self,
        redis: &Client,
        calls: Vec<&Call>,
        with_text: bool,
    ) -> Vec<Result<Value, Error>> {
        let answers = calls.into_iter().map(|call| async move {
            let Call { keys, args } = call.clone();
            if with_text {
                redis.eval(self.text, keys, args).await
            } else {
                redis.evalsha(self.sha.as_str(), keys, args).await
            }
        });
        future::join_all(answers).await
    }
}

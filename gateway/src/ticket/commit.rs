//! Appends travel in groups: whatever came while the group before was on its way goes with the next, in one call
//! of the script. Much of what a call costs Redis, the client library and the system, a group pays once. Where
//! nothing waits, a group is one append, and waits for nothing.
//!
//! Where appends must have reached replicas before they are acknowledged, a group ends with one `WAIT`. That counts
//! the writes of its own connection, so these groups have one of their own.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use fred::{
    clients::{Client, Pipeline},
    error::{Error as RedisError, ErrorKind},
    interfaces::{ClientLike, KeysInterface, ServerInterface},
    types::{CustomCommand, Key, Value},
};
use ticket_shared::{
    config::{BadSetting, Secret},
    lifecycle::Lifecycle,
    redis::{self, COMMAND_TIMEOUT, Failure, failure},
    stream::Keys,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::warm::fresh_epoch;
use crate::{error::Error, script::Script};

/// How many appends go together. Redis does nothing else meanwhile.
const GROUP: usize = 64;
/// How many appends one caller may ask for at once.
pub const RUN: usize = 16;
/// How many may wait for their group.
const QUEUE: usize = 8_192;
/// How long replicas may take. Below the deadline of a command, which the `WAIT` itself is.
const REPLICAS: Duration = Duration::from_millis(800);

/// How many keys an append has.
pub(super) const KEYS: usize = 6;
/// How many arguments.
pub(super) const ARGS: usize = 10;

/// Appends of one caller, which are done one after the other within one call of the script.
struct Job {
    run: Vec<Words>,
    /// Until when it may be sent. Later nobody would wait for its answer.
    until: Instant,
    done: oneshot::Sender<Result<Vec<Result<Value, Error>>, Error>>,
}

/// The keys and arguments of an append, one behind the other in one piece of memory.
pub(super) struct Words {
    text: Bytes,
    /// Where each of them ends.
    ends: [usize; KEYS + ARGS],
}

impl Words {
    pub(super) fn new(keys: &[String; KEYS], args: &[&[u8]; ARGS]) -> Self {
        let words = || {
            keys.iter()
                .map(String::as_bytes)
                .chain(args.iter().copied())
        };
        let mut text = Vec::with_capacity(words().map(<[u8]>::len).sum());
        let mut ends = [0; KEYS + ARGS];
        for (word, end) in words().zip(&mut ends) {
            text.extend_from_slice(word);
            *end = text.len();
        }
        let text = text.into();
        Self { text, ends }
    }

    fn word(&self, place: usize) -> Bytes {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text.slice(start..self.ends[place])
    }

    fn keys(&self) -> impl Iterator<Item = Bytes> {
        (0..KEYS).map(|place| self.word(place))
    }

    fn args(&self) -> impl Iterator<Item = Bytes> {
        (KEYS..KEYS + ARGS).map(|place| self.word(place))
    }
}

/// Commits appends. Cheap to clone.
#[derive(Clone)]
pub struct Commit(Vec<mpsc::Sender<Job>>);

impl Commit {
    /// Commits over `client`. On a cluster each partition has groups of its own, because a script touches the keys
    /// of one slot only.
    pub fn start(client: &Client, keys: &Keys, life: &Lifecycle) -> Self {
        let lanes = if client.is_clustered() {
            keys.partitions()
        } else {
            1
        };
        Self(
            (0..lanes)
                .map(|_| Lane::start(client.clone(), None, life))
                .collect(),
        )
    }

    /// Commits on `replicas` as well, over a connection of its own.
    ///
    /// # Errors
    /// Names `REDIS_URL`, or `DURABILITY` on a cluster, where one connection does not reach every server.
    pub fn on_replicas(
        url: &Secret,
        keys: &Keys,
        replicas: u16,
        life: &Lifecycle,
    ) -> Result<Self, BadSetting> {
        let client = redis::client(url)?;
        if client.is_clustered() {
            return Err(BadSetting::new(
                "DURABILITY",
                "replica does not work with a Redis Cluster; use stream",
            ));
        }
        drop(client.connect());
        let wait = Wait {
            mark: keys.commit(),
            replicas: i64::from(replicas),
        };
        Ok(Self(vec![Lane::start(client, Some(wait), life)]))
    }

    /// Runs the append script for entries of a partition, at most [`RUN`], one after the other and with nothing between
    /// them. Answers once what it did is committed: for each what the script says, or why Redis refused it.
    ///
    /// # Errors
    /// [`Error::Overloaded`] where too many wait, or Redis refuses writes. [`Error::Unavailable`] where Redis does
    /// not answer in time or too few replicas have it: it may be appended, and sending it again with its id is safe.
    pub(super) async fn call(
        &self,
        partition: u16,
        run: Vec<Words>,
    ) -> Result<Vec<Result<Value, Error>>, Error> {
        let (done, answer) = oneshot::channel();
        let job = Job {
            run,
            until: Instant::now() + COMMAND_TIMEOUT,
            done,
        };
        self.0[usize::from(partition) % self.0.len()]
            .try_send(job)
            .map_err(|_| Error::Overloaded("too many changes wait for the store"))?;
        answer
            .await
            .map_err(|_| unavailable("the process is stopping"))?
    }
}

/// What a group waits for after its appends.
struct Wait {
    mark: String,
    replicas: i64,
}

/// Sends one group after the other.
struct Lane {
    client: Client,
    script: Script,
    wait: Option<Wait>,
}

impl Lane {
    fn start(client: Client, wait: Option<Wait>, life: &Lifecycle) -> mpsc::Sender<Job> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let lane = Self {
            client,
            script: Script::new(include_str!("append.lua")),
            wait,
        };
        life.spawn_vital("commit", lane.run(queue, life.clone()));
        jobs
    }

    async fn run(self, mut queue: mpsc::Receiver<Job>, life: Lifecycle) {
        let mut waiting = VecDeque::with_capacity(GROUP);
        let mut stopping = life.until_stopping();
        loop {
            if waiting.is_empty() {
                tokio::select! {
                    () = &mut stopping => return,
                    job = queue.recv() => match job {
                        Some(job) => waiting.push_back(job),
                        None => return,
                    }
                }
            }
            while waiting.len() < GROUP
                && let Ok(job) = queue.try_recv()
            {
                waiting.push_back(job);
            }
            self.commit(group(&mut waiting)).await;
        }
    }

    /// Answers all of `jobs`.
    async fn commit(&self, mut jobs: Vec<Job>) {
        // Redis did not answer the group before. These were not sent, and their callers have waited long enough.
        let now = Instant::now();
        for job in jobs.extract_if(.., |job| job.until <= now) {
            let _ = job.done.send(Err(unavailable("waited in vain")));
        }
        if jobs.is_empty() {
            return;
        }
        match self.send(&jobs).await {
            Ok(answers) => {
                let mut answers = answers.into_iter();
                for job in jobs {
                    // Whoever asked may have given up.
                    let own = answers.by_ref().take(job.run.len()).collect();
                    let _ = job.done.send(Ok(own));
                }
            }
            Err(error) => {
                for job in jobs {
                    let _ = job.done.send(Err(error.clone().into()));
                }
            }
        }
    }

    /// As many answers as there are appends in `jobs`, in their order.
    async fn send(&self, jobs: &[Job]) -> Result<Vec<Result<Value, Error>>, RedisError> {
        let fresh = fresh_epoch()
            .map_err(|error| RedisError::new(ErrorKind::InvalidArgument, error.to_string()))?;
        let count = jobs.iter().map(|job| job.run.len()).sum::<usize>();
        let mut keys = Vec::with_capacity(count * KEYS);
        let mut args = Vec::with_capacity(count * ARGS + 1);
        args.push(fresh.into());
        for words in jobs.iter().flat_map(|job| &job.run) {
            keys.extend(words.keys().map(Key::from));
            args.extend(words.args().map(Value::Bytes));
        }
        let (answer, reached) = match &self.wait {
            None => (self.script.call(&self.client, keys, args).await?, true),
            Some(wait) => self.send_and_wait(wait, keys, args).await?,
        };
        match answer {
            Value::Array(answers) if answers.len() == count => Ok(answers
                .into_iter()
                .map(|answer| {
                    if reached {
                        refused(answer)
                    } else {
                        Err(unavailable("too few replicas have it"))
                    }
                })
                .collect()),
            _ => Err(RedisError::new(ErrorKind::Parse, "answers are missing")),
        }
    }

    /// Sends a group in one pipeline, so that all of it is on one connection: a `WAIT` on another would count
    /// nothing. Says whether enough replicas have it.
    async fn send_and_wait(
        &self,
        wait: &Wait,
        keys: Vec<Key>,
        args: Vec<Value>,
    ) -> Result<(Value, bool), RedisError> {
        let mut answers = self.pipeline(wait, &keys, &args, false).await?;
        if let Some(Err(error)) = answers.first()
            && failure(error) == Failure::NoScript
        {
            // A new server.
            answers = self.pipeline(wait, &keys, &args, true).await?;
        }
        let reached = answers.pop().transpose()?;
        let reached = reached.and_then(|count| count.as_i64()).unwrap_or(0) >= wait.replicas;
        match answers.into_iter().next() {
            Some(answer) => Ok((answer?, reached)),
            None => Err(RedisError::new(ErrorKind::Parse, "the answer is missing")),
        }
    }

    async fn pipeline(
        &self,
        wait: &Wait,
        keys: &[Key],
        args: &[Value],
        text: bool,
    ) -> Result<Vec<Result<Value, RedisError>>, RedisError> {
        let pipeline: Pipeline<Client> = self.client.pipeline();
        let (command, which) = if text {
            ("EVAL", self.script.text())
        } else {
            ("EVALSHA", self.script.sha())
        };
        let mut words: Vec<Value> = vec![which.into(), keys.len().to_string().into()];
        words.extend(keys.iter().cloned().map(Value::from));
        words.extend(args.iter().cloned());
        // The pipeline has no methods of its own for scripts.
        let _: () = pipeline
            .custom(CustomCommand::new_static(command, None, false), words)
            .await?;
        // A repeat writes nothing. This does, so that the `WAIT` covers everything that was there before.
        let _: () = pipeline.set(&wait.mark, "1", None, None, false).await?;
        let timeout = i64::try_from(REPLICAS.as_millis()).unwrap_or(i64::MAX);
        let _: () = pipeline.wait(wait.replicas, timeout).await?;
        Ok(pipeline.try_all::<Value>().await)
    }
}

/// The first of those that wait, as many as go together: at least one.
fn group(waiting: &mut VecDeque<Job>) -> Vec<Job> {
    let mut appends = 0;
    let fits = waiting.iter().take_while(|job| {
        appends += job.run.len();
        appends <= GROUP
    });
    let count = fits.count().max(1).min(waiting.len());
    waiting.drain(..count).collect()
}

/// The answer of one append, or why Redis refused it.
fn refused(answer: Value) -> Result<Value, Error> {
    let Value::Array(items) = &answer else {
        return Ok(answer);
    };
    match &items[..] {
        [word, reason] if word.as_bytes() == Some(b"failed") => {
            let reason = reason.as_string().unwrap_or_default();
            Err(RedisError::new(ErrorKind::Unknown, reason).into())
        }
        _ => Ok(answer),
    }
}

fn unavailable(reason: &str) -> Error {
    Error::Unavailable {
        part: "redis",
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(appends: usize) -> Job {
        let keys = [const { String::new() }; KEYS];
        let run = (0..appends).map(|_| Words::new(&keys, &[b""; ARGS]));
        Job {
            run: run.collect(),
            until: Instant::now(),
            done: oneshot::channel().0,
        }
    }

    #[test]
    fn a_group_takes_what_fits_and_never_part_of_a_run() {
        let sizes = |runs: &[usize]| {
            let mut waiting: VecDeque<_> = runs.iter().map(|run| job(*run)).collect();
            let mut groups = Vec::new();
            while !waiting.is_empty() {
                let group = group(&mut waiting);
                groups.push(group.iter().map(|job| job.run.len()).collect::<Vec<_>>());
            }
            groups
        };
        assert_eq!(sizes(&[1, 2]), [vec![1, 2]]);
        assert_eq!(
            sizes(&[16, 16, 16, 15, 2, 63, 1, 1]),
            [vec![16, 16, 16, 15], vec![2], vec![63, 1], vec![1]]
        );
        assert_eq!(sizes(&[GROUP + 1, 1]), [vec![GROUP + 1], vec![1]]);
    }
}

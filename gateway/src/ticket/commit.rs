//! Appends travel in groups, each of which is one call of the script.
//!
//! Where appends must have reached replicas before they are acknowledged, a group ends with one `WAIT`. That counts
//! the writes of its own connection, so these groups have one of their own.

use std::time::Duration;

use bytes::Bytes;
use fred::{
    clients::{Client, Pipeline},
    error::{Error as RedisError, ErrorKind},
    interfaces::{ClientLike, KeysInterface, ServerInterface},
    types::{CustomCommand, Key, Value},
};
use ticket_shared::{
    config::BadSetting,
    lifecycle::Lifecycle,
    redis::{self, Entrance, Failure, failure},
    stream::Keys,
};

use super::{outcomes::Outcomes, warm::fresh_epoch};
use crate::{
    error::Error,
    lane::{Carrier, Lanes, unavailable},
    script::{Script, refused},
};

/// How many appends one caller may ask for at once.
pub const RUN: usize = 16;
/// How long replicas may take. Below the deadline of a command, which the `WAIT` itself is.
const REPLICAS: Duration = Duration::from_millis(800);

/// How many keys a run has.
pub(super) const KEYS: usize = 6;
/// How many arguments are about all of it, after the number of its appends.
const ABOUT: usize = 6;
/// How many arguments each append has.
const ARGS: usize = 6;

/// Appends of one caller to one ticket, as the script takes them: keys and arguments one behind the other in one piece
/// of memory.
pub(super) struct Run {
    text: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    appends: usize,
}

impl Run {
    pub(super) fn new(keys: &[String; KEYS], appends: usize, about: &[&[u8]; ABOUT]) -> Self {
        let mut run = Self {
            // Most messages fit.
            text: Vec::with_capacity(512 * (appends + 1)),
            ends: Vec::with_capacity(KEYS + 1 + ABOUT + appends * ARGS),
            appends,
        };
        run.extend(keys.iter().map(String::as_bytes));
        run.extend([appends.to_string().as_bytes()]);
        run.extend(about.iter().copied());
        run
    }

    /// One of the appends.
    pub(super) fn append(&mut self, args: &[&[u8]; ARGS]) {
        self.extend(args.iter().copied());
    }

    fn extend<'a>(&mut self, words: impl IntoIterator<Item = &'a [u8]>) {
        for word in words {
            self.text.extend_from_slice(word);
            self.ends.push(self.text.len());
        }
    }

    /// The keys, then the arguments.
    fn words(self) -> impl Iterator<Item = Bytes> {
        let (text, mut start) = (Bytes::from(self.text), 0);
        self.ends.into_iter().map(move |end| {
            let word = text.slice(start..end);
            start = end;
            word
        })
    }
}

/// Commits appends. Cheap to clone.
#[derive(Clone)]
pub struct Commit {
    lanes: Lanes<Appends>,
    outcomes: Outcomes,
}

impl Commit {
    /// Commits over `client`.
    pub fn start(client: &Client, keys: &Keys, life: &Lifecycle) -> Self {
        let outcomes = Outcomes::default();
        let appends = || Appends::over(client.clone(), None, outcomes.clone());
        let lanes = Lanes::start(client, keys, life, appends);
        Self { lanes, outcomes }
    }

    /// Commits on `replicas` as well, over a connection of its own.
    ///
    /// # Errors
    /// Names `REDIS_URL`, or `DURABILITY` on a cluster, where one connection does not reach every server.
    pub fn on_replicas(
        entrance: &Entrance,
        replicas: u16,
        life: &Lifecycle,
    ) -> Result<Self, BadSetting> {
        let (client, keys) = (redis::client(entrance.url())?, entrance.keys());
        if client.is_clustered() || keys.apart() {
            return Err(BadSetting::new(
                "DURABILITY",
                "replica does not work with a Redis Cluster; use stream",
            ));
        }
        redis::keep_on_primary(&client, life);
        redis::tell_why(&client, life);
        entrance.connect(&client, life);
        let wait = || Wait {
            mark: keys.commit(),
            replicas: i64::from(replicas),
        };
        let outcomes = Outcomes::default();
        let appends = || Appends::over(client.clone(), Some(wait()), outcomes.clone());
        let lanes = Lanes::start(&client, keys, life, appends);
        Ok(Self { lanes, outcomes })
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
        run: Run,
    ) -> Result<Vec<Result<Value, Error>>, Error> {
        self.lanes.call(partition, run).await
    }

    /// The outcomes of the appends.
    pub fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }
}

/// What a group waits for after its appends.
struct Wait {
    mark: String,
    replicas: i64,
}

/// Carries appends to Redis. Those of one caller are done one after the other, with nothing between them.
struct Appends {
    client: Client,
    script: Script,
    wait: Option<Wait>,
    outcomes: Outcomes,
}

impl Carrier for Appends {
    type Call = Run;
    type Answer = Vec<Result<Value, Error>>;
    const NAME: &'static str = "commit";
    const GROUP: usize = 64;
    const QUEUE: usize = 8_192;

    fn size(run: &Run) -> usize {
        run.appends
    }

    async fn send(&self, runs: Vec<Run>) -> Result<Vec<Self::Answer>, RedisError> {
        let fresh = fresh_epoch()
            .map_err(|error| RedisError::new(ErrorKind::InvalidArgument, error.to_string()))?;
        let appends: Vec<usize> = runs.iter().map(|run| run.appends).collect();
        let words = runs.iter().map(|run| run.ends.len()).sum::<usize>();
        let mut keys = Vec::with_capacity(runs.len() * KEYS);
        let mut args = Vec::with_capacity(words + 1);
        args.push(fresh.into());
        for run in runs {
            let mut words = run.words();
            keys.extend(words.by_ref().take(KEYS).map(Key::from));
            args.extend(words.map(Value::Bytes));
        }
        let (answer, reached) = match &self.wait {
            None => {
                let answer = self.script.call(&self.client, keys, args).await;
                (self.noted(answer)?, true)
            }
            Some(wait) => {
                let answer = self.send_and_wait(wait, keys, args).await;
                self.noted(answer)?
            }
        };
        let Value::Array(answers) = answer else {
            return Err(missing());
        };
        if answers.len() != appends.iter().sum::<usize>() {
            return Err(missing());
        }
        let mut answers = answers.into_iter().map(|answer| {
            if reached {
                refused(answer)
            } else {
                Err(unavailable("too few replicas have it"))
            }
        });
        let of_run = |appends| answers.by_ref().take(appends).collect();
        Ok(appends.into_iter().map(of_run).collect())
    }
}

impl Appends {
    fn over(client: Client, wait: Option<Wait>, outcomes: Outcomes) -> Self {
        Self {
            client,
            script: Script::new(include_str!("append.lua")),
            wait,
            outcomes,
        }
    }

    fn noted<T>(&self, answer: Result<T, RedisError>) -> Result<T, RedisError> {
        match &answer {
            Ok(_) => self.outcomes.succeeded(),
            Err(error) => self.outcomes.failed(error),
        }
        answer
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
            None => Err(missing()),
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

fn missing() -> RedisError {
    RedisError::new(ErrorKind::Parse, "answers are missing")
}

//! Appends that must have reached replicas before they are acknowledged.
//!
//! `WAIT` counts the writes of its own connection, so these appends have one of their own, and are committed
//! in groups: a batch of appends, one write that stands behind them all, one `WAIT`, all answers.

use std::time::Duration;

use fred::{
    clients::{Client, Pipeline},
    error::Error as RedisError,
    interfaces::{ClientLike, KeysInterface, ServerInterface},
    types::{CustomCommand, Value},
};
use ticket_shared::{
    config::{BadSetting, Secret},
    lifecycle::Lifecycle,
    redis::{self, Failure, failure},
    stream::Keys,
};
use tokio::sync::{mpsc, oneshot};

use crate::{error::Error, script::Script};

/// How many appends are committed together.
const GROUP: usize = 256;
/// How many may wait for their group.
const QUEUE: usize = 8_192;
/// How long replicas may take. Below the deadline of a command, which the `WAIT` itself is.
const REPLICAS: Duration = Duration::from_millis(800);

/// One append.
struct Job {
    keys: Vec<String>,
    args: Vec<Value>,
    done: oneshot::Sender<Result<Value, Error>>,
}

/// Commits appends on replicas. Cheap to clone.
#[derive(Clone)]
pub struct Commit(mpsc::Sender<Job>);

impl Commit {
    /// Commits on `replicas` of them, over a connection of its own.
    ///
    /// # Errors
    /// Names `REDIS_URL`, or `DURABILITY` on a cluster, where one connection does not reach every server.
    pub fn start(
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
        let (jobs, queue) = mpsc::channel(QUEUE);
        let group = Group {
            client,
            mark: keys.commit(),
            replicas: i64::from(replicas),
        };
        life.spawn_vital("commit", group.run(queue, life.clone()));
        Ok(Self(jobs))
    }

    /// Runs the append script, and answers once what it did has reached the replicas.
    ///
    /// # Errors
    /// [`Error::Overloaded`] where too many wait. [`Error::Unavailable`] also where too few replicas have it: it
    /// may be appended, and sending it again with its id is safe.
    pub(super) async fn call(&self, keys: Vec<String>, args: Vec<Value>) -> Result<Value, Error> {
        let (done, answer) = oneshot::channel();
        let job = Job { keys, args, done };
        self.0
            .try_send(job)
            .map_err(|_| Error::Overloaded("too many changes wait for the replicas"))?;
        answer
            .await
            .map_err(|_| unavailable("the process is stopping"))?
    }
}

struct Group {
    client: Client,
    mark: String,
    replicas: i64,
}

impl Group {
    async fn run(self, mut queue: mpsc::Receiver<Job>, life: Lifecycle) {
        let script = Script::new(include_str!("append.lua"));
        loop {
            let mut jobs = Vec::new();
            tokio::select! {
                () = life.stopping().cancelled() => return,
                received = queue.recv_many(&mut jobs, GROUP) => if received == 0 { return },
            }
            self.commit(&script, jobs).await;
        }
    }

    async fn commit(&self, script: &Script, jobs: Vec<Job>) {
        let answers = match self.send(script, &jobs).await {
            Ok(answers) => answers,
            Err(error) => {
                for job in jobs {
                    let _ = job.done.send(Err(error.clone().into()));
                }
                return;
            }
        };
        for (job, answer) in jobs.into_iter().zip(answers) {
            // Whoever asked may have given up.
            let _ = job.done.send(answer);
        }
    }

    /// Sends a group in one pipeline, so that all of it is on one connection: a `WAIT` on another would count
    /// nothing.
    async fn send(
        &self,
        script: &Script,
        jobs: &[Job],
    ) -> Result<Vec<Result<Value, Error>>, RedisError> {
        let mut answers = self.once(script, jobs, false).await?;
        if answers
            .iter()
            .any(|answer| matches!(answer, Err(error) if failure(error) == Failure::NoScript))
        {
            // A new server. The appends that it did know of would be repeats now; it knew none.
            answers = self.once(script, jobs, true).await?;
        }
        let reached = match answers.pop() {
            Some(Ok(replicas)) => replicas.as_i64().unwrap_or(0) >= self.replicas,
            Some(Err(error)) => return Err(error),
            None => false,
        };
        Ok(answers
            .into_iter()
            .take(jobs.len())
            .map(|answer| match answer {
                Ok(answer) if reached => Ok(answer),
                Ok(_) => Err(unavailable("too few replicas have it")),
                Err(error) => Err(error.into()),
            })
            .collect())
    }

    async fn once(
        &self,
        script: &Script,
        jobs: &[Job],
        text: bool,
    ) -> Result<Vec<Result<Value, RedisError>>, RedisError> {
        let pipeline: Pipeline<Client> = self.client.pipeline();
        let (command, which) = if text {
            ("EVAL", script.text())
        } else {
            ("EVALSHA", script.sha())
        };
        for job in jobs {
            let mut words: Vec<Value> = vec![which.into(), job.keys.len().to_string().into()];
            words.extend(job.keys.iter().map(|key| Value::from(key.as_str())));
            words.extend(job.args.iter().cloned());
            // The pipeline has no methods of its own for scripts.
            let _: () = pipeline
                .custom(CustomCommand::new_static(command, None, false), words)
                .await?;
        }
        // A repeat writes nothing. This does, so that the `WAIT` covers everything that was there before.
        let _: () = pipeline.set(&self.mark, "1", None, None, false).await?;
        let timeout = i64::try_from(REPLICAS.as_millis()).unwrap_or(i64::MAX);
        let _: () = pipeline.wait(self.replicas, timeout).await?;
        Ok(pipeline.try_all::<Value>().await)
    }
}

fn unavailable(reason: &str) -> Error {
    Error::Unavailable {
        part: "redis",
        reason: reason.to_owned(),
    }
}

//! Calls of a script that travel in groups: whatever came while the group before was on its way goes with the next.
//! Much of what a call costs Redis, the client library and the system, a group pays once. Where nothing waits, a group
//! is one call, and waits for nothing.

use std::{collections::VecDeque, future::Future, sync::Arc};

use fred::{clients::Client, error::Error as RedisError, interfaces::ClientLike};
use ticket_shared::{lifecycle::Lifecycle, redis::COMMAND_TIMEOUT, stream::Keys};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::error::Error;

/// What carries the groups.
pub(crate) trait Carrier: Send + Sync + 'static {
    /// What one caller asks for. It is never split over two groups.
    type Call: Send;
    /// What that caller is told.
    type Answer: Send;
    /// The name of its task.
    const NAME: &'static str;
    /// How much goes together, by [`Carrier::size`]. Redis does nothing else meanwhile.
    const GROUP: usize;
    /// How many calls may wait for their group.
    const QUEUE: usize;

    /// How much of a group a call takes.
    fn size(call: &Self::Call) -> usize;

    /// Sends a group. Answers each of `calls`, in their order.
    fn send(
        &self,
        calls: Vec<Self::Call>,
    ) -> impl Future<Output = Result<Vec<Self::Answer>, RedisError>> + Send;
}

/// Hands calls to a [`Carrier`], one group after the other. On a cluster each partition has a lane of its own, because a
/// script touches the keys of one slot only. Cheap to clone.
pub(crate) struct Lanes<C: Carrier>(Arc<[mpsc::Sender<Job<C>>]>);

struct Job<C: Carrier> {
    call: C::Call,
    /// Until when it may be sent. Later nobody would wait for its answer.
    until: Instant,
    done: oneshot::Sender<Result<C::Answer, Error>>,
}

impl<C: Carrier> Clone for Lanes<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Carrier> Lanes<C> {
    /// Starts as many lanes as the server behind `client` needs; `carrier` makes what each is to have.
    pub(crate) fn start(
        client: &Client,
        keys: &Keys,
        life: &Lifecycle,
        carrier: impl Fn() -> C,
    ) -> Self {
        let count = if client.is_clustered() || keys.apart() {
            keys.partitions()
        } else {
            1
        };
        let lane = |_| {
            let (jobs, queue) = mpsc::channel(C::QUEUE);
            life.spawn_vital(C::NAME, run(carrier(), queue, life.clone()));
            jobs
        };
        Self((0..count).map(lane).collect())
    }

    /// Sends `call`, for a ticket of this partition, with the next group, and waits for its answer.
    ///
    /// # Errors
    /// [`Error::Overloaded`] where too many wait, or Redis refuses the group. [`Error::Unavailable`] where Redis does not
    /// answer in time: it may have been performed all the same.
    pub(crate) async fn call(&self, partition: u16, call: C::Call) -> Result<C::Answer, Error> {
        let (done, answer) = oneshot::channel();
        let job = Job {
            call,
            until: Instant::now() + COMMAND_TIMEOUT,
            done,
        };
        self.0[usize::from(partition) % self.0.len()]
            .try_send(job)
            .map_err(|_| Error::Overloaded("too much waits for Redis"))?;
        answer
            .await
            .map_err(|_| unavailable("the process is stopping"))?
    }
}

async fn run<C: Carrier>(carrier: C, mut queue: mpsc::Receiver<Job<C>>, life: Lifecycle) {
    let mut waiting = VecDeque::new();
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
        while waiting.len() < C::GROUP
            && let Ok(job) = queue.try_recv()
        {
            waiting.push_back(job);
        }
        send(&carrier, group(&mut waiting)).await;
    }
}

/// Answers all of `jobs`.
async fn send<C: Carrier>(carrier: &C, jobs: Vec<Job<C>>) {
    // Redis did not answer the group before. These were not sent, and their callers have waited long enough.
    let now = Instant::now();
    let (mut calls, mut waiting) = (Vec::new(), Vec::new());
    for job in jobs {
        if job.until <= now {
            // Here and below: whoever asked may have given up.
            let _ = job.done.send(Err(unavailable("waited in vain")));
        } else {
            calls.push(job.call);
            waiting.push(job.done);
        }
    }
    if calls.is_empty() {
        return;
    }
    match carrier.send(calls).await {
        // Who finds no answer takes the end of its channel for one.
        Ok(answers) => {
            for (done, answer) in waiting.into_iter().zip(answers) {
                let _ = done.send(Ok(answer));
            }
        }
        Err(error) => {
            for done in waiting {
                let _ = done.send(Err(error.clone().into()));
            }
        }
    }
}

/// The first of those that wait, as many as go together: at least one.
fn group<C: Carrier>(waiting: &mut VecDeque<Job<C>>) -> Vec<Job<C>> {
    let mut size = 0;
    let fits = waiting.iter().take_while(|job| {
        size += C::size(&job.call);
        size <= C::GROUP
    });
    let count = fits.count().max(1).min(waiting.len());
    waiting.drain(..count).collect()
}

/// Redis is not there for this call.
pub(crate) fn unavailable(reason: &str) -> Error {
    Error::Unavailable {
        part: "redis",
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sizes;

    impl Carrier for Sizes {
        type Call = usize;
        type Answer = ();
        const NAME: &'static str = "test";
        const GROUP: usize = 64;
        const QUEUE: usize = 1;

        fn size(call: &usize) -> usize {
            *call
        }

        async fn send(&self, calls: Vec<usize>) -> Result<Vec<()>, RedisError> {
            Ok(calls.into_iter().map(|_| ()).collect())
        }
    }

    #[test]
    fn a_group_takes_what_fits_and_never_part_of_a_call() {
        let groups = |sizes: &[usize]| {
            let mut waiting: VecDeque<Job<Sizes>> = sizes
                .iter()
                .map(|call| Job {
                    call: *call,
                    until: Instant::now(),
                    done: oneshot::channel().0,
                })
                .collect();
            let mut groups = Vec::new();
            while !waiting.is_empty() {
                let group = group(&mut waiting);
                groups.push(group.iter().map(|job| job.call).collect::<Vec<_>>());
            }
            groups
        };
        assert_eq!(groups(&[1, 2]), [vec![1, 2]]);
        assert_eq!(
            groups(&[16, 16, 16, 15, 2, 63, 1, 1]),
            [vec![16, 16, 16, 15], vec![2], vec![63, 1], vec![1]]
        );
        assert_eq!(groups(&[65, 1]), [vec![65], vec![1]]);
    }
}

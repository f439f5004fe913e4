//! One followed ticket: the task that lets sockets in and out and emits to them, in order.
//!
//! Everything that the sockets of this gateway see of the ticket goes through this one task. So a socket's
//! join answer and the events after it fit together without a gap or a repeat: the log is read, the socket is
//! put into the room and answered, and only then comes the next entry.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use socketioxide::{extract::SocketRef, socket::Sid};
use ticket_shared::{
    event::{ErrorCode, Nothing},
    id::Id,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

mod catch_up;
mod emit;
mod join;
mod member;
mod members;
mod outbox;
mod typing;

pub use emit::{TYPING, changed};
pub use member::Seat;

use emit::TOGETHER;
use member::Member;
use members::Members;
use outbox::Outbox;
use typing::{Typing, Typist};

use super::{Command, Follower, Shared};
use crate::{
    access::Grant, adapter::Adapter, error::Error, mailbox, presence::GRACE, queue, socket::Reply,
};

/// How long a ticket is followed after its last socket left: past the grace of that socket's person.
const LINGER: Duration = Duration::from_secs(5);

/// A socket that wants in.
pub struct JoinRequest {
    /// The socket.
    pub socket: SocketRef<Adapter>,
    /// As whom.
    pub seat: Arc<Seat>,
    /// What it may see.
    pub grant: Grant,
    /// The last `seq` that it saw, and the epoch, where it comes back.
    pub since: Option<(u64, Option<String>)>,
    /// Answers the client. Done by the ticket's task, so that no event comes before the answer.
    pub reply: Reply,
    /// Gives the socket's own task the outcome, once a success is answered.
    pub done: oneshot::Sender<Outcome>,
}

/// A socket that leaves.
pub struct LeaveRequest {
    /// The socket.
    pub socket: SocketRef<Adapter>,
    /// The person said so; else the connection ended.
    pub on_purpose: bool,
    /// Answers the client, where it asked.
    pub reply: Option<Reply>,
}

/// The end of a join: what became of the answer, and whether the socket is in the ticket now. The ticket's task owns who is
/// in it; a connection only notes what it is told here.
#[derive(Debug)]
pub struct Outcome {
    /// Whether the socket had gone, or the error that nothing was answered for yet.
    pub answered: Result<Option<ErrorCode>, Error>,
    /// Whether the socket is in the ticket.
    pub membership: Membership,
}

/// Whether a socket is in a ticket after a join.
#[derive(Debug)]
pub enum Membership {
    /// As before: the ticket's task was not reached.
    Unchanged,
    /// It is, at this seat.
    In(Arc<Seat>),
    /// It is not.
    Out,
}

/// The task's state.
pub(super) struct Room {
    ticket: Id,
    shared: Shared,
    missed: Arc<AtomicBool>,
    /// Everybody of this gateway, by socket.
    members: Members<Sid, Box<Member>>,
    /// What the members have seen; nothing before the first of them came.
    seen: Option<Seen>,
    /// Who types.
    typing: HashMap<Typist, Typing>,
    next_beat: Instant,
    /// When to look whether somebody's grace is over.
    sweep_at: Option<Instant>,
    /// When to stop following.
    end_at: Option<Instant>,
    /// What the members are to be told.
    outbox: Outbox,
    /// When the members are told something again at the earliest.
    next_round: Option<Instant>,
    /// Writes to sockets since the runtime had a turn.
    in_row: usize,
}

#[derive(Debug)]
struct Seen {
    seq: u64,
    epoch: String,
    /// When the log was last known to be there.
    checked: Instant,
}

impl Room {
    pub(super) fn new(ticket: Id, shared: Shared, missed: Arc<AtomicBool>) -> Self {
        Self {
            ticket,
            next_beat: shared.presence.next_beat(ticket),
            members: Members::new(shared.metrics.clone()),
            shared,
            missed,
            seen: None,
            typing: HashMap::new(),
            sweep_at: None,
            end_at: Some(Instant::now() + LINGER),
            outbox: Outbox::default(),
            next_round: None,
            in_row: 0,
        }
    }

    /// Runs until nobody is left.
    pub(super) async fn run(
        mut self,
        follower: Follower,
        mut commands: mailbox::Receiver<Command>,
        subscribed: oneshot::Receiver<Result<(), Error>>,
    ) {
        match subscribed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                return Box::pin(Self::refuse(error, &follower, self.ticket, commands)).await;
            }
            // The subscribing task is gone: the process is stopping.
            Err(_) => return,
        }
        self.members.follow();
        let mut stopping = self.shared.life.until_stopping();
        let mut timer = Box::pin(sleep_until(self.next_timer()));
        loop {
            // Set only where it changes: that costs more than most of what is done here.
            let next = self.next_timer();
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            if let Some(round) = self.next_round.take() {
                // What comes meanwhile waits in the queue.
                timer.as_mut().reset(round);
                tokio::select! {
                    () = &mut stopping => break,
                    () = &mut timer => continue,
                }
            }
            let command = tokio::select! {
                () = &mut stopping => break,
                command = commands.recv() => command,
                () = &mut timer => {
                    Box::pin(self.timers()).await;
                    self.flush().await;
                    if self.end_at.is_some_and(|end| end <= Instant::now()) {
                        if !follower.confirmed() {
                            // Nobody else may know what was seen here.
                            self.end_at = Some(Instant::now() + LINGER);
                        } else if follower.end(self.ticket, &commands) {
                            break;
                        }
                    }
                    continue;
                }
            };
            self.obey(command).await;
            // What has come meanwhile goes with it.
            for _ in 1..TOGETHER {
                let Some(command) = commands.try_recv() else {
                    break;
                };
                self.obey(command).await;
            }
            if self.missed.swap(false, Ordering::AcqRel) {
                Box::pin(self.catch_up()).await;
            }
            self.flush().await;
        }
    }

    /// Without a subscription nobody gets in. The next one who asks begins anew.
    async fn refuse(
        error: Error,
        follower: &Follower,
        ticket: Id,
        mut commands: mailbox::Receiver<Command>,
    ) {
        let reason = error.to_string();
        while !follower.end(ticket, &commands) {
            // Not empty, so this does not wait.
            if let Command::Join(request) = commands.recv().await {
                let error = Error::Unavailable {
                    part: "redis",
                    reason: reason.clone(),
                };
                let outcome = Outcome {
                    answered: Err(error),
                    membership: Membership::Out,
                };
                let _ = request.done.send(outcome);
            }
        }
    }

    /// What is rare is boxed: else an idle ticket's task would be as large as the largest of it.
    async fn obey(&mut self, command: Command) {
        match command {
            Command::Frame(frame) => Box::pin(self.frame(&frame)).await,
            // Leases may be gone with what was missed.
            Command::CatchUp => self.next_beat = Instant::now(),
            Command::Compare(done) => {
                // A gateway that gave up waiting asks again.
                let _ = done.send(Box::pin(self.catch_up()).await);
            }
            Command::Join(request) => Box::pin(self.join(*request)).await,
            Command::Leave(request) => Box::pin(self.leave(request)).await,
            Command::Release(done) => {
                let sockets: Vec<_> = self
                    .members
                    .values()
                    .map(|member| member.socket.clone())
                    .collect();
                for socket in sockets {
                    Box::pin(self.leave(LeaveRequest {
                        socket,
                        on_purpose: false,
                        reply: None,
                    }))
                    .await;
                }
                // Whoever asked may have given up waiting.
                let _ = done.send(());
            }
        }
    }

    fn next_timer(&self) -> Instant {
        let typing = self.typing.values().flat_map(Typing::ends);
        let others = [Some(self.next_beat), self.sweep_at, self.end_at];
        typing
            .chain(others.into_iter().flatten())
            .min()
            .unwrap_or(self.next_beat)
    }

    async fn timers(&mut self) {
        let now = Instant::now();
        self.end_typing(now).await;
        self.flush().await;
        let sweep = self.sweep_at.is_some_and(|at| at <= now);
        let beat = self.next_beat <= now;
        if sweep {
            self.sweep_at = None;
        }
        if beat {
            self.next_beat = self.shared.presence.next_beat(self.ticket);
            // Sockets whose end nobody told us of, or that had to leave while the queue was full.
            let gone: Vec<_> = self
                .members
                .values()
                .filter(|m| !m.listens())
                .map(|m| m.socket.clone())
                .collect();
            for socket in gone {
                self.leave(LeaveRequest {
                    socket,
                    on_purpose: false,
                    reply: None,
                })
                .await;
            }
        }
        if !sweep && !beat {
            return;
        }
        let leases = self.members.values().map(|member| member.lease());
        match self.shared.presence.beat(self.ticket, leases).await {
            Ok(position) if self.is_at(&position) => return,
            Ok(_) => {}
            Err(error) => tracing::debug!(error = %error, "presence not renewed"),
        }
        if beat && !self.members.is_empty() {
            self.catch_up().await;
        }
    }

    /// Lets a socket out.
    async fn leave(&mut self, request: LeaveRequest) {
        let LeaveRequest {
            socket,
            on_purpose,
            reply,
        } = request;
        // It is still told what happened before.
        self.flush().await;
        if let Some(member) = self.members.remove(&socket.id) {
            let left = if on_purpose {
                socket.leave(queue::inside(self.ticket));
                self.shared
                    .presence
                    .leave(self.ticket, member.lease())
                    .await
            } else {
                self.sweep_at = Some(Instant::now() + GRACE + Duration::from_millis(50));
                self.shared
                    .presence
                    .disconnected(self.ticket, member.lease())
                    .await
            };
            if let Err(error) = left {
                // The lease runs out by itself.
                tracing::debug!(error = %error, "presence not told of a socket that left");
            }
            if self.members.is_empty() {
                self.end_at = Some(Instant::now() + LINGER);
            }
        }
        if let Some(reply) = reply {
            reply.send(Ok(Nothing {}));
        }
    }
}

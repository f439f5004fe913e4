//! Appending to a ticket's log: the one way in which anything changes, for sockets and REST alike.

use std::time::Instant;

use serde_json::json;
use ticket_shared::{
    domain::{Agent, Message, Status},
    id::Id,
    redis::COMMAND_TIMEOUT,
    stream::{Actor, Entry, NewMessage, preview},
};

pub use super::commit::RUN;

mod call;
mod open;
mod repeat;

use call::{Answer, Call};
pub use open::Opened;

use super::{Tickets, view::gone};
use crate::{
    access::{Grant, Reach},
    error::Error,
};

/// Attempts of an append: its ticket is brought back, a change of server is settled, and either may happen again.
const TRIES: usize = 4;

/// A change of a ticket that is no message.
#[derive(Debug, Clone)]
pub enum Change {
    /// Set the status.
    Status(Status),
    /// Give it to somebody, or take it from everybody.
    Assign(Option<Agent>),
}

impl Tickets {
    /// Appends messages, one after the other with nothing between them, or finds the first one where one was sent before;
    /// says which. At most [`RUN`] go at once.
    ///
    /// # Errors
    /// Of each message: [`Error::TicketNotFound`], [`Error::Overloaded`], [`Error::Unavailable`]. After the last it may
    /// be in the log all the same; sending it again with its id is safe.
    pub async fn send_all(
        &self,
        ticket: Id,
        messages: Vec<NewMessage>,
        grant: &Grant,
    ) -> Vec<Result<(Message, bool), Error>> {
        let calls: Result<Vec<Call>, Error> = messages
            .iter()
            .map(|message| {
                Ok(Call {
                    op: "message",
                    known: Some(message.id),
                    expected: None,
                    change: serde_json::to_string(message)?,
                    more: [
                        if message.internal { "1" } else { "0" }.into(),
                        serde_json::to_string(&preview(message))?,
                    ],
                })
            })
            .collect();
        let began = Instant::now();
        let answers = match calls {
            Ok(calls) => match self.append(ticket, grant, &calls).await {
                // The outcome is unknown. Under the same ids a second try can't double them. After a whole deadline it
                // would only keep the client waiting: that one may try again itself.
                Err(Error::Unavailable { part: "redis", .. })
                    if began.elapsed() < COMMAND_TIMEOUT =>
                {
                    self.append(ticket, grant, &calls).await
                }
                answers => answers,
            },
            Err(error) => Err(error),
        };
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => return messages.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut sent = Vec::with_capacity(messages.len());
        for (message, answer) in messages.into_iter().zip(answers) {
            sent.push(match answer {
                Ok(Answer::Done { seq, at, .. }) => Ok((message.at(ticket, seq, at), false)),
                Ok(Answer::Repeat { seq, frame }) => {
                    match self.first(ticket, message.id, seq, frame).await {
                        Ok(Some(first)) => Ok((first, true)),
                        Ok(None) => Box::pin(self.send_anew(ticket, message, grant)).await,
                        Err(error) => Err(error),
                    }
                }
                Ok(_) => Err(Error::Internal("append: a message was refused".into())),
                Err(error) => Err(error),
            });
        }
        sent
    }

    /// Appends one message, as [`Tickets::send_all`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn send(
        &self,
        ticket: Id,
        message: NewMessage,
        grant: &Grant,
    ) -> Result<(Message, bool), Error> {
        let sent = self.send_all(ticket, vec![message], grant).await.pop();
        sent.unwrap_or_else(|| Err(Error::Internal("append: no answer".into())))
    }

    /// Changes a ticket. The entry carries it as it is then.
    ///
    /// # Errors
    /// [`Error::Conflict`] where its newest `seq` is not `expected`; otherwise as [`Tickets::send`], but with an unknown
    /// outcome after [`Error::Unavailable`].
    pub async fn change(
        &self,
        ticket: Id,
        change: Change,
        by: &Actor,
        expected: Option<u64>,
        grant: &Grant,
    ) -> Result<Entry, Error> {
        let call = match change {
            Change::Status(to) => Call {
                op: "status",
                known: None,
                expected,
                change: json!({ "to": to, "by": by }).to_string(),
                more: [to.as_str().into(), String::new()],
            },
            Change::Assign(to) => {
                let change = json!({ "to": to, "by": by }).to_string();
                let (id, name) = to
                    .map(|agent| (agent.agent_id, agent.agent_name))
                    .unwrap_or_default();
                Call {
                    op: "assigned",
                    known: None,
                    expected,
                    change,
                    more: [id, name],
                }
            }
        };
        match self.append_one(ticket, grant, call).await? {
            Answer::Done { frame, .. } => Ok(Entry::decode(&frame)?),
            Answer::Stale(now) => Err(Error::Conflict(
                "the ticket has changed meanwhile",
                Box::new(now),
            )),
            _ => Err(Error::Internal(
                "append: unexpected answer to a change".into(),
            )),
        }
    }

    async fn append_one(&self, id: Id, grant: &Grant, call: Call) -> Result<Answer, Error> {
        let answers = self.append(id, grant, &[call]).await?;
        let answer = answers.into_iter().next();
        answer.unwrap_or_else(|| Err(Error::Internal("append: no answer".into())))
    }

    /// Appends as one caller's calls say, in their order. An error for all of them means that what became of any of them
    /// is not known, or that none was looked at.
    async fn append(
        &self,
        id: Id,
        grant: &Grant,
        calls: &[Call],
    ) -> Result<Vec<Result<Answer, Error>>, Error> {
        self.0.admission.admit()?;
        let mut answers = Vec::with_capacity(calls.len());
        if !matches!(grant.reach, Reach::All | Reach::Of(_)) {
            self.permit(id, &grant.reach).await?;
        }
        for _ in 0..TRIES {
            let rest = &calls[answers.len()..];
            if rest.is_empty() {
                return Ok(answers);
            }
            let mut told = self.append_once(id, grant, rest).await?.into_iter();
            // What keeps the first of them out keeps out all that come after it: they are of one ticket and one caller, and
            // nothing happens between them. So they stay in order when they are tried again.
            let hurdle = loop {
                match told.next() {
                    Some(Ok(hurdle @ (Answer::Cold | Answer::Unsettled | Answer::Hidden))) => {
                        break hurdle;
                    }
                    Some(answer) => answers.push(answer),
                    None => return Ok(answers),
                }
            };
            if matches!(hurdle, Answer::Hidden) {
                return Err(self.hidden(id, &grant.reach).await);
            }
            if matches!(hurdle, Answer::Unsettled) {
                self.settled(self.0.keys.partition(id)).await?;
                continue;
            }
            self.permit(id, &grant.reach).await?;
            Box::pin(self.warm(id)).await?;
        }
        Err(gone())
    }

    /// The error for a ticket that the script found to be somebody else's: after the work that one takes which it did
    /// not find.
    async fn hidden(&self, id: Id, reach: &Reach) -> Error {
        self.permit(id, reach)
            .await
            .err()
            .unwrap_or(Error::TicketNotFound)
    }

    async fn append_once(
        &self,
        id: Id,
        grant: &Grant,
        calls: &[Call],
    ) -> Result<Vec<Result<Answer, Error>>, Error> {
        let keys = &self.0.keys;
        let run = call::run(id, &self.0.log_keys(id), &keys.live(id), grant, calls)?;
        let told = self.0.commit.call(keys.partition(id), run).await?;
        let told = told.into_iter().zip(calls);
        told.map(|(answer, call)| {
            match answer.and_then(|answer| call.answer(id, grant, answer)) {
                // Then nothing is known of the others either, and all of them are tried again, in order.
                Err(error @ Error::Unavailable { .. }) => Err(error),
                Ok(Answer::Limited { retry_after_ms }) => {
                    Ok(Err(Error::RateLimited { retry_after_ms }))
                }
                Ok(answer @ Answer::Done { seq, at, .. }) => {
                    self.acknowledged(id, seq, at);
                    Ok(Ok(answer))
                }
                answer => Ok(answer),
            }
        })
        .collect()
    }
}

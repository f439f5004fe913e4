//! Appending to a ticket's log: the one way in which anything changes, for sockets and REST alike.

use std::time::Instant;

use serde_json::json;
use ticket_shared::{
    domain::{Agent, Message, Status, Ticket, UserType},
    id::Id,
    redis::COMMAND_TIMEOUT,
    stream::{Actor, Base, Entry, Head, NewMessage, preview},
};

use super::{
    Tickets,
    view::{Part, parse_refusal},
};
use crate::{
    access::{Grant, Reach},
    error::Error,
    script::Items,
};

/// A change of a ticket that is no message.
#[derive(Debug, Clone)]
pub enum Change {
    /// Set the status.
    Status(Status),
    /// Give it to somebody, or take it from everybody.
    Assign(Option<Agent>),
}

/// What came of opening a ticket.
#[derive(Debug)]
pub enum Opened {
    /// It is new. The entry carries it.
    New(Box<Entry>),
    /// The same request had opened it before.
    Before(Box<Ticket>),
}

/// What the script answered.
enum Answer {
    Done {
        seq: u64,
        at: i64,
        frame: bytes::Bytes,
    },
    Repeat {
        seq: u64,
        frame: Option<bytes::Bytes>,
    },
    Stale(Ticket),
    Exists(Ticket, Base),
    Cold,
    Hidden,
    Distrusted {
        seq: u64,
        epoch: String,
    },
}

/// One call of the script, less the keys.
struct Call {
    op: &'static str,
    /// The message to look for among those sent before.
    known: Option<Id>,
    /// The newest `seq` that the caller saw, where the change depends on that.
    expected: Option<u64>,
    grant: Grant,
    change: String,
    /// What the script needs for it.
    more: [String; 2],
}

impl Tickets {
    /// Appends a message, or finds the first one where it was sent before; says which.
    ///
    /// # Errors
    /// [`Error::TicketNotFound`], [`Error::Overloaded`], [`Error::Unavailable`]. After the last the message may
    /// be in the log all the same; sending it again with its id is safe.
    pub async fn send(
        &self,
        ticket: Id,
        message: NewMessage,
        grant: &Grant,
    ) -> Result<(Message, bool), Error> {
        let call = Call {
            op: "message",
            known: Some(message.id),
            expected: None,
            grant: grant.clone(),
            change: serde_json::to_string(&message)?,
            more: [
                if message.internal { "1" } else { "0" }.into(),
                serde_json::to_string(&preview(&message))?,
            ],
        };
        let began = Instant::now();
        let answer = match self.append(ticket, &call).await {
            // The outcome is unknown. Under the same id a second try can't double it. After a whole deadline it
            // would only keep the client waiting: that one may try again itself.
            Err(Error::Unavailable { part: "redis", .. }) if began.elapsed() < COMMAND_TIMEOUT => {
                self.append(ticket, &call).await?
            }
            answer => answer?,
        };
        match answer {
            Answer::Done { seq, at, .. } => Ok((message.at(ticket, seq, at), false)),
            Answer::Repeat { seq, frame } => Ok((self.first(message.id, seq, frame).await?, true)),
            _ => Err(Error::Internal("append: a message was refused".into())),
        }
    }

    /// The message as it was first sent: from the live log, or from MongoDB.
    async fn first(&self, id: Id, seq: u64, frame: Option<bytes::Bytes>) -> Result<Message, Error> {
        if let Some(message) = frame
            .map(|frame| Entry::decode(&frame))
            .transpose()?
            .and_then(|entry| entry.message())
        {
            return Ok(message);
        }
        match self.0.store.message(id).await? {
            Some(message) => Ok(message),
            None => Err(Error::Internal(format!(
                "message {id} of seq {seq} is neither in the log nor stored"
            ))),
        }
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
        let grant = grant.clone();
        let call = match change {
            Change::Status(to) => Call {
                op: "status",
                known: None,
                expected,
                grant,
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
                    grant,
                    change,
                    more: [id, name],
                }
            }
        };
        match self.append(ticket, &call).await? {
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

    /// Opens a ticket under an id of its own, or finds it where that was done before: `retried` says that the
    /// id is derived from an idempotency key, so that this may be a repeat.
    ///
    /// # Errors
    /// [`Error::Conflict`] where the same key came with another body; otherwise as [`Tickets::send`].
    pub async fn open(
        &self,
        id: Id,
        base: &Base,
        head: &Head,
        by: Option<Actor>,
        retried: bool,
    ) -> Result<Opened, Error> {
        if retried && let Some(before) = self.opened_before(id, base).await? {
            return Ok(Opened::Before(Box::new(before)));
        }
        let call = Call {
            op: "created",
            known: None,
            expected: None,
            grant: Grant::TEAM,
            change: json!({ "by": by }).to_string(),
            more: [serde_json::to_string(base)?, serde_json::to_string(head)?],
        };
        match self.append(id, &call).await? {
            Answer::Done { frame, .. } => Ok(Opened::New(Box::new(Entry::decode(&frame)?))),
            Answer::Exists(ticket, first) => {
                same(ticket, &first, base).map(|ticket| Opened::Before(Box::new(ticket)))
            }
            _ => Err(Error::Internal(
                "append: unexpected answer to a creation".into(),
            )),
        }
    }

    /// The ticket that an earlier request of the same key opened, if it has left Redis since. Where MongoDB
    /// can't be asked, a new ticket matters more than a repeat that comes a day late.
    async fn opened_before(&self, id: Id, base: &Base) -> Result<Option<Ticket>, Error> {
        if let Some(view) = self.peek(id, Part::NONE).await? {
            let ticket = view.ticket(id, UserType::Agent);
            return same(ticket, &view.base, base).map(Some);
        }
        match self.0.store.ticket(id).await {
            Ok(Some(stored)) => {
                let ticket =
                    ticket_shared::stream::ticket(id, &stored.base, &stored.head, &stored.numbers);
                same(ticket, &stored.base, base).map(Some)
            }
            Ok(None) => Ok(None),
            Err(error) => {
                tracing::warn!(error = %error, "idempotency key not looked up, mongodb unreachable");
                Ok(None)
            }
        }
    }

    async fn append(&self, id: Id, call: &Call) -> Result<Answer, Error> {
        if self.0.admission.refuses() {
            return Err(Error::Overloaded("too much is owed to the database"));
        }
        if !matches!(call.grant.reach, Reach::All | Reach::Of(_)) {
            self.permit(id, &call.grant.reach).await?;
        }
        for _ in 0..3 {
            match self.append_once(id, call).await? {
                Answer::Cold => {
                    self.permit(id, &call.grant.reach).await?;
                    self.warm(id).await?;
                }
                Answer::Hidden => return Err(self.hide(id).await),
                Answer::Distrusted { seq, epoch } => self.reconcile(id, seq, &epoch).await?,
                answer => return Ok(answer),
            }
        }
        Err(Error::Internal(
            "append: the ticket does not stay in Redis".into(),
        ))
    }

    async fn append_once(&self, id: Id, call: &Call) -> Result<Answer, Error> {
        let keys = &self.0.keys;
        let (id_text, channel) = (id.to_string(), keys.live(id));
        let known = call.known.map(Id::bytes);
        let expected = call.expected.map(|seq| seq.to_string());
        let owner = match &call.grant.reach {
            Reach::Of(user) => serde_json::to_string(user)?,
            Reach::All | Reach::These(_) => String::new(),
        };
        let args = [
            call.op.as_bytes(),
            id_text.as_bytes(),
            channel.as_bytes(),
            known.as_ref().map_or(&[], |bytes| &bytes[..]),
            expected.as_deref().unwrap_or_default().as_bytes(),
            match call.grant.side {
                UserType::User => b"1",
                UserType::Agent => b"0",
            },
            owner.as_bytes(),
            call.change.as_bytes(),
            call.more[0].as_bytes(),
            call.more[1].as_bytes(),
        ];
        let names = self.0.log_keys(id);
        let answer = self.0.commit.call(keys.partition(id), names, args).await?;
        let mut items = Items::of(answer);
        match items.text().as_deref() {
            Some("ok") => {
                let (seq, at) = (items.number(), items.number());
                let frame = items.bytes().unwrap_or_default();
                tracing::debug!(ticket.id = %id, seq, kind = call.op, "appended");
                Ok(Answer::Done {
                    seq,
                    at: i64::try_from(at).unwrap_or(0),
                    frame,
                })
            }
            Some("repeat") => Ok(Answer::Repeat {
                seq: items.number(),
                frame: items.bytes(),
            }),
            Some("stale") => {
                let (ticket, _) = parse_refusal(&mut items, id, call.grant.side)?;
                Ok(Answer::Stale(ticket))
            }
            Some("exists") => parse_refusal(&mut items, id, call.grant.side)
                .map(|(ticket, base)| Answer::Exists(ticket, base)),
            Some("cold") => Ok(Answer::Cold),
            Some("hidden") => Ok(Answer::Hidden),
            Some("distrusted") => Ok(Answer::Distrusted {
                seq: items.number(),
                epoch: items.text().unwrap_or_default(),
            }),
            _ => Err(Error::Internal("append: unknown answer".into())),
        }
    }
}

/// The ticket, where the request that opened it said the same as this one.
fn same(ticket: Ticket, first: &Base, now: &Base) -> Result<Ticket, Error> {
    if first.fingerprint == now.fingerprint {
        return Ok(ticket);
    }
    Err(Error::Conflict(
        "the idempotency key was used with another body",
        Box::new(ticket),
    ))
}

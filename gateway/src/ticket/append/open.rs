//! Opening a ticket, which is the first entry of its log.

use serde_json::json;
use ticket_shared::{
    domain::Ticket,
    id::Id,
    stream::{Actor, Base, Entry, Head},
};

use super::call::{Answer, Call};
use crate::{
    access::Grant,
    error::Error,
    ticket::{Tickets, view::Part},
};

/// The outcome of opening a ticket.
#[derive(Debug)]
pub enum Opened {
    /// It is new. The entry carries it.
    New(Box<Entry>),
    /// The same request had opened it before.
    Before(Box<Ticket>),
}

impl Tickets {
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
        grant: &Grant,
    ) -> Result<Opened, Error> {
        if retried && let Some(before) = self.opened_before(id, base, grant).await? {
            return Ok(Opened::Before(Box::new(before)));
        }
        let call = Call {
            op: "created",
            known: None,
            expected: None,
            change: json!({ "by": by }).to_string(),
            more: [serde_json::to_string(base)?, serde_json::to_string(head)?],
        };
        // Whose it will be stands in it alone.
        let anybody = Grant {
            side: grant.side,
            ..Grant::TEAM
        };
        match self.append_one(id, &anybody, call).await? {
            Answer::Done { frame, .. } => Ok(Opened::New(Box::new(Entry::decode(&frame)?))),
            Answer::Exists(ticket, first) => {
                if !grant.reach.admits(id, first.user_id.as_deref()) {
                    return Err(Error::TicketNotFound);
                }
                same(ticket, &first, base).map(|ticket| Opened::Before(Box::new(ticket)))
            }
            _ => Err(Error::Internal(
                "append: unexpected answer to a creation".into(),
            )),
        }
    }

    /// The ticket that an earlier request of the same key opened, if it has left Redis since. Where MongoDB
    /// can't be asked nobody can say, and opening it anew would restart an old ticket's log at 1.
    async fn opened_before(
        &self,
        id: Id,
        base: &Base,
        grant: &Grant,
    ) -> Result<Option<Ticket>, Error> {
        if let Some(view) = self.peek(id, Part::NONE).await? {
            let ticket = view.show(id, grant)?;
            return same(ticket, &view.base, base).map(Some);
        }
        let Some(stored) = self.0.store.ticket(id).await? else {
            return Ok(None);
        };
        let ticket = grant.show(id, &stored.base, &stored.head, &stored.numbers)?;
        same(ticket, &stored.base, base).map(Some)
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

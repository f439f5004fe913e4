//! Pages of a ticket's messages, from the live log and, where that does not reach back, from MongoDB.
//!
//! Whatever is above the log's floor is in the log, and whatever is not is in MongoDB: the two never have to
//! be compared. So what was acknowledged is read back at once, with or without a worker.

use ticket_shared::{
    domain::{Message, Ticket, UserType},
    id::Id,
    stream,
};

use super::{
    Tickets,
    view::{Part, View, Which},
};
use crate::{access::Grant, error::Error, store::Edge};

/// Which messages of a ticket.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Above this `seq`.
    pub after: Option<u64>,
    /// Below this `seq`.
    pub before: Option<u64>,
    /// At most so many: the oldest of them where `after` is given, else the newest.
    pub limit: usize,
}

/// The messages that a side of the ticket may see.
pub const fn visible_to(side: UserType) -> Which {
    match side {
        UserType::Agent => Which::Messages,
        UserType::User => Which::Public,
    }
}

impl Tickets {
    /// The ticket as it is now. One that is only in MongoDB stays there: reading old tickets must not fill
    /// Redis.
    ///
    /// # Errors
    /// [`Error::TicketNotFound`]; or Redis, or MongoDB where it is needed, can't be reached.
    pub async fn ticket(&self, id: Id, grant: &Grant) -> Result<Ticket, Error> {
        self.permit(id, &grant.reach).await?;
        if let Some(view) = self.peek(id, Part::NONE).await? {
            return view.show(id, grant);
        }
        let stored = self
            .0
            .store
            .ticket(id)
            .await?
            .ok_or(Error::TicketNotFound)?;
        if stored.numbered {
            return grant.show(id, &stored.base, &stored.head, &stored.numbers);
        }
        let view = self.read(id, Part::NONE).await?;
        view.show(id, grant)
    }

    /// A page of messages, oldest first. Internal ones are among them where the caller may see those.
    ///
    /// # Errors
    /// As [`Tickets::ticket`].
    pub async fn messages(&self, id: Id, page: Page, grant: &Grant) -> Result<Vec<Message>, Error> {
        self.permit(id, &grant.reach).await?;
        let which = visible_to(grant.side);
        let high = page.before.map(|before| before.saturating_sub(1));
        let part = Part {
            oldest_first: page.after.is_some(),
            low: page.after.map_or(0, |after| after.saturating_add(1)),
            high,
            limit: page.limit,
            which,
        };
        let view = if let Some(view) = self.peek(id, part).await? {
            view
        } else {
            let stored = self
                .0
                .store
                .ticket(id)
                .await?
                .ok_or(Error::TicketNotFound)?;
            if stored.numbered {
                let edge = if page.after.is_some() {
                    Edge::Oldest
                } else {
                    Edge::Newest
                };
                let span = (page.after, page.before);
                let store = &self.0.store;
                return Ok(store.messages(id, span, page.limit, edge, which).await?);
            }
            self.read(id, part).await?
        };
        match page.after {
            Some(after) if after < view.floor => {
                let before = page
                    .before
                    .map_or(view.floor + 1, |before| before.min(view.floor + 1));
                let mut messages = self
                    .stored(
                        id,
                        &view,
                        (Some(after), before),
                        page.limit,
                        Edge::Oldest,
                        which,
                    )
                    .await?;
                let room = page.limit.saturating_sub(messages.len());
                messages.extend(
                    view.messages()
                        .filter(|message| message.seq > view.floor)
                        .take(room),
                );
                Ok(messages)
            }
            Some(_) => Ok(view.messages().collect()),
            None => self.newest(id, &view, page.before, page.limit, which).await,
        }
    }

    /// The newest messages below `before`, oldest first: those of `view`, which was read newest first, and
    /// what is missing from MongoDB.
    ///
    /// # Errors
    /// MongoDB is needed and can't be reached.
    pub async fn newest(
        &self,
        id: Id,
        view: &View,
        before: Option<u64>,
        limit: usize,
        which: Which,
    ) -> Result<Vec<Message>, Error> {
        let mut messages: Vec<Message> = view
            .messages()
            .filter(|message| message.seq > view.floor)
            .collect();
        messages.reverse();
        let edge = before.map_or(view.floor + 1, |before| before.min(view.floor + 1));
        if messages.len() < limit && edge > 1 {
            let wanted = limit - messages.len();
            let older = self
                .stored(id, view, (None, edge), wanted, Edge::Newest, which)
                .await?;
            messages.splice(0..0, older);
        }
        Ok(messages)
    }

    /// Every message after `since`, oldest first; nothing where those are more than `limit`.
    ///
    /// # Errors
    /// Redis, or MongoDB where it is needed, can't be reached.
    pub async fn missed(
        &self,
        id: Id,
        view: &View,
        since: u64,
        limit: usize,
        which: Which,
    ) -> Result<Option<Vec<Message>>, Error> {
        let newest = view.numbers.seq;
        let part = Part {
            high: Some(newest),
            ..Part::after(since.max(view.floor), limit + 1, which)
        };
        let Some(log) = self.peek(id, part).await? else {
            return Ok(None);
        };
        // Trimmed in between: what was read may begin too late.
        if log.floor > since.max(view.floor) || log.epoch != view.epoch {
            return Ok(None);
        }
        let mut messages = Vec::new();
        if since < view.floor {
            messages = self
                .stored(
                    id,
                    view,
                    (Some(since), view.floor + 1),
                    limit + 1,
                    Edge::Oldest,
                    which,
                )
                .await?;
        }
        messages.extend(log.messages());
        Ok((messages.len() <= limit).then_some(messages))
    }

    /// Messages below the log's floor. While a ticket of the former server waits for its numbers they are
    /// counted anew, which gives the same ones.
    async fn stored(
        &self,
        id: Id,
        view: &View,
        (after, before): (Option<u64>, u64),
        limit: usize,
        edge: Edge,
        which: Which,
    ) -> Result<Vec<Message>, Error> {
        if !view.numbering() {
            let span = (after, Some(before));
            return Ok(self.0.store.messages(id, span, limit, edge, which).await?);
        }
        let store = &self.0.store;
        let mut page = store.unnumbered(id, Some(view.adopted)).await?;
        page.messages.retain(|message| {
            let shown = which != Which::Public || !message.internal;
            shown && message.seq < before && after.is_none_or(|after| message.seq > after)
        });
        if edge == Edge::Newest {
            let skip = page.messages.len().saturating_sub(limit);
            page.messages.drain(..skip);
        }
        page.messages.truncate(limit);
        let all = (0..page.messages.len()).collect();
        store.complete(id, &mut page, all).await?;
        Ok(page.messages)
    }
}

impl View {
    /// The messages among the entries that were read, in the order of the read.
    pub fn messages(&self) -> impl Iterator<Item = Message> {
        self.entries.iter().filter_map(stream::Entry::message)
    }
}

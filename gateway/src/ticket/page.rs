//! Pages of a ticket's messages, from the live log and, where that does not reach back, from MongoDB.
//!
//! Whatever is above the log's floor is in the log, and whatever is not is in MongoDB: the two never have to
//! be compared. So what was acknowledged is read back at once, with or without a worker.

use ticket_shared::{
    domain::{Message, Ticket},
    id::Id,
    stream,
};

use super::{
    Tickets,
    view::{Part, View, Which},
};
use crate::{error::Error, store::Edge};

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

impl Tickets {
    /// The ticket as it is now. One that is only in MongoDB stays there: reading old tickets must not fill
    /// Redis.
    ///
    /// # Errors
    /// [`Error::TicketNotFound`]; or Redis, or MongoDB where it is needed, can't be reached.
    pub async fn ticket(&self, id: Id) -> Result<Ticket, Error> {
        if let Some(view) = self.peek(id, Part::NONE).await? {
            return Ok(view.ticket(id));
        }
        let stored = self
            .0
            .store
            .ticket(id)
            .await?
            .ok_or(Error::TicketNotFound)?;
        if stored.numbered {
            return Ok(stream::ticket(
                id,
                &stored.base,
                &stored.head,
                &stored.numbers,
            ));
        }
        Ok(self.read(id, Part::NONE).await?.ticket(id))
    }

    /// A page of messages, oldest first. Internal ones are among them.
    ///
    /// # Errors
    /// As [`Tickets::ticket`].
    pub async fn messages(&self, id: Id, page: Page) -> Result<Vec<Message>, Error> {
        let high = page.before.map(|before| before.saturating_sub(1));
        let part = Part {
            oldest_first: page.after.is_some(),
            low: page.after.map_or(0, |after| after.saturating_add(1)),
            high,
            limit: page.limit,
            which: Which::Messages,
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
                let Page {
                    after,
                    before,
                    limit,
                } = page;
                return Ok(self
                    .0
                    .store
                    .messages(id, after, before, limit, edge)
                    .await?);
            }
            self.read(id, part).await?
        };
        match page.after {
            Some(after) if after < view.floor => {
                let before = page
                    .before
                    .map_or(view.floor + 1, |before| before.min(view.floor + 1));
                let mut messages = self
                    .stored(id, &view, Some(after), before, page.limit, Edge::Oldest)
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
            None => {
                self.newest(id, &view, page.before, page.limit, Which::Messages)
                    .await
            }
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
        let mut edge = before.map_or(view.floor + 1, |before| before.min(view.floor + 1));
        while messages.len() < limit && edge > 1 {
            let wanted = limit - messages.len();
            let older = self
                .stored(id, view, None, edge, wanted, Edge::Newest)
                .await?;
            let full = older.len() == wanted;
            edge = older.first().map_or(0, |message| message.seq);
            let seen = older
                .into_iter()
                .filter(|message| which != Which::Public || !message.internal);
            messages.splice(0..0, seen);
            if !full {
                break;
            }
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
                    Some(since),
                    view.floor + 1,
                    limit + 1,
                    Edge::Oldest,
                )
                .await?;
            if messages.len() > limit {
                return Ok(None);
            }
            messages.retain(|message| which != Which::Public || !message.internal);
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
        after: Option<u64>,
        before: u64,
        limit: usize,
        edge: Edge,
    ) -> Result<Vec<Message>, Error> {
        if !view.numbering() {
            return Ok(self
                .0
                .store
                .messages(id, after, Some(before), limit, edge)
                .await?);
        }
        let mut all = self.0.store.unnumbered(id, Some(view.adopted)).await?;
        all.retain(|message| message.seq < before && after.is_none_or(|after| message.seq > after));
        let skip = if edge == Edge::Newest {
            all.len().saturating_sub(limit)
        } else {
            0
        };
        Ok(all.into_iter().skip(skip).take(limit).collect())
    }
}

impl View {
    /// The messages among the entries that were read, in the order of the read.
    pub fn messages(&self) -> impl Iterator<Item = Message> {
        self.entries.iter().filter_map(stream::Entry::message)
    }
}

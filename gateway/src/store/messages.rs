//! Reading messages.
//!
//! Numbers are dense, so a page lies in a narrow range of them: looking there first keeps a page as cheap in
//! a ticket of 100,000 messages as in one of ten, also on servers that do not stop at a limit.

use std::collections::HashMap;

use mongodb::{
    bson::{Document, doc},
    options::FindOptions,
};
use ticket_shared::{domain::Message, id::Id};

use ticket_mongo::{MARK, documents, form, words};

use super::{Store, StoreError};
use crate::ticket::view::Which;

const MESSAGES: &str = "messages";

/// Which end of a range a page is taken from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edge {
    /// The lowest numbers.
    Oldest,
    /// The highest numbers.
    Newest,
}

/// The messages of a ticket that another server wrote, as they are to be numbered.
#[derive(Debug)]
pub struct Unnumbered {
    /// All of them, in order, without their texts.
    pub messages: Vec<Message>,
    /// The encoded `_id` of those that are stored under an id of another kind.
    pub legacy: HashMap<Id, String>,
}

/// Numbers between two others, both excluded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Span {
    after: i64,
    before: i64,
}

impl Span {
    fn new(after: Option<u64>, before: Option<u64>) -> Self {
        // Numbers beyond the range of the database are beyond every message.
        let bound = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
        Self {
            after: after.map_or(0, bound),
            before: before.map_or(i64::MAX, bound),
        }
    }

    /// Splits off the part at this edge that most likely holds `limit` messages: other entries share the
    /// numbers, but more than half of them are messages. The second part is what is left.
    fn split(self, limit: i64, edge: Edge) -> (Self, Option<Self>) {
        let reach = limit.saturating_mul(2);
        let cut = match edge {
            Edge::Oldest => self.after.saturating_add(reach),
            // Without an upper bound nothing is known of where the newest ones are.
            Edge::Newest if self.before == i64::MAX => return (self, None),
            Edge::Newest => self.before.saturating_sub(reach).saturating_sub(1),
        };
        if cut <= self.after || cut >= self.before.saturating_sub(1) {
            return (self, None);
        }
        let low = Self {
            after: self.after,
            before: cut + 1,
        };
        let high = Self {
            after: cut,
            before: self.before,
        };
        match edge {
            Edge::Oldest => (low, Some(high)),
            Edge::Newest => (high, Some(low)),
        }
    }
}

impl Store {
    /// The message of this id.
    ///
    /// # Errors
    /// [`StoreError`]; malformed where it belongs to no ticket.
    pub async fn message(&self, id: Id) -> Result<Option<Message>, StoreError> {
        let found = self.find_all(MESSAGES, id).await?;
        let Some(document) = documents::one(&found) else {
            return Ok(None);
        };
        let malformed = |problem| StoreError::Malformed {
            collection: MESSAGES,
            id,
            problem,
        };
        let ticket =
            documents::ticket_of(&document).ok_or_else(|| malformed("ticketId is no id"))?;
        Ok(documents::message(ticket, &document))
    }

    /// Numbered messages of a ticket between two numbers (both excluded), at most `limit` of them, from this
    /// edge of the range; always in rising order. [`Edge::Newest`] is much cheaper with an upper bound.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn messages(
        &self,
        ticket: Id,
        (after, before): (Option<u64>, Option<u64>),
        limit: usize,
        edge: Edge,
        which: Which,
    ) -> Result<Vec<Message>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let span = Span::new(after, before);
        if limit == 0 || span.before.saturating_sub(span.after) < 2 {
            return Ok(Vec::new());
        }
        let (near, far) = span.split(limit, edge);
        let mut filter = of_ticket(ticket);
        if which == Which::Public {
            filter.extend(words::visible_to_customers());
        }
        let mut page = self.page(ticket, &filter, near, limit, edge).await?;
        let missing = limit.saturating_sub(i64::try_from(page.len()).unwrap_or(i64::MAX));
        if let Some(far) = far
            && missing > 0
        {
            let rest = self.page(ticket, &filter, far, missing, edge).await?;
            match edge {
                Edge::Oldest => page.extend(rest),
                Edge::Newest => page.splice(..0, rest).for_each(drop),
            }
        }
        Ok(page)
    }

    async fn page(
        &self,
        ticket: Id,
        filter: &Document,
        span: Span,
        limit: i64,
        edge: Edge,
    ) -> Result<Vec<Message>, StoreError> {
        let direction = match edge {
            Edge::Oldest => 1,
            Edge::Newest => -1,
        };
        let mut filter = filter.clone();
        filter.insert("seq", doc! { "$gt": span.after, "$lt": span.before });
        // Numbers of other servers are no places in the log.
        filter.insert(MARK, doc! { "$gt": 0 });
        let options = FindOptions::builder()
            .sort(doc! { "seq": direction, "_id": direction })
            .limit(limit.saturating_add(1))
            .build();
        let documents = self.find(MESSAGES, filter, options).await?;
        let mut messages: Vec<Message> = documents
            .iter()
            .filter_map(|found| documents::message(ticket, found))
            .collect();
        // Pages are cut by numbers. Two of one number, as there are where Redis lost its data, must not be parted.
        if let Ok(limit) = usize::try_from(limit)
            && let [.., last, next] = &messages[..]
            && messages.len() > limit
            && last.seq != next.seq
        {
            messages.pop();
        }
        if edge == Edge::Newest {
            messages.reverse();
        }
        Ok(messages)
    }

    /// Id and `seq` of every numbered message of the ticket that its client gave an id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn client_ids(&self, ticket: Id) -> Result<Vec<(Id, u64)>, StoreError> {
        let mut filter = of_ticket(ticket);
        filter.insert("seq", doc! { "$gt": 0 });
        filter.insert(MARK, doc! { "$gt": 0 });
        filter.insert("clientMessageId", doc! { "$ne": null });
        let options = FindOptions::builder()
            .projection(doc! { "seq": 1, MARK: 1 })
            .build();
        let mut ids = Vec::new();
        self.find_each(MESSAGES, filter, options, |found| {
            let message = documents::message(ticket, found);
            ids.extend(message.map(|message| (message.id, message.seq)));
        })
        .await?;
        Ok(ids)
    }

    /// All messages that the former server wrote for a ticket, numbered from 2 by time and id, in that
    /// order. It gives the same numbers while they are being written: `upto` is the highest of them once they
    /// have been given out (`None` before), and messages of the log, above it, are left out. They come without
    /// their texts: [`Store::complete`] reads those that are needed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unnumbered(
        &self,
        ticket: Id,
        upto: Option<u64>,
    ) -> Result<Unnumbered, StoreError> {
        let mut filter = of_ticket(ticket);
        if let Some(upto) = upto {
            let upto = i64::try_from(upto).unwrap_or(i64::MAX);
            // Those of the log, above it, may be many.
            let low = doc! { "seq": { "$not": { "$gt": upto } } };
            filter.insert("$or", [low, doc! { MARK: { "$not": { "$gt": 0 } } }]);
        }
        let options = FindOptions::builder()
            .projection(documents::numbering())
            .build();
        let (mut messages, mut legacy) = (Vec::new(), HashMap::new());
        self.find_each(MESSAGES, filter, options, |found| {
            messages.extend(documents::message(ticket, found));
            legacy.extend(documents::legacy_id(found));
        })
        .await?;
        let messages = documents::number(messages, upto);
        Ok(Unnumbered { messages, legacy })
    }

    /// Reads those of a ticket's messages at `places` in full.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn complete(
        &self,
        ticket: Id,
        unnumbered: &mut Unnumbered,
        places: Vec<usize>,
    ) -> Result<(), StoreError> {
        let Unnumbered { messages, legacy } = unnumbered;
        let ids = places.iter().flat_map(|place| {
            let id = messages[*place].id;
            match legacy.get(&id).and_then(|text| form::decode(text)) {
                Some(own) => vec![own],
                None => form::forms(id).collect(),
            }
        });
        // By `_id`.
        let filter = doc! { "_id": { "$in": ids.collect::<Vec<_>>() } };
        let documents = self.find(MESSAGES, filter, FindOptions::default()).await?;
        let full = documents
            .iter()
            .filter_map(|found| documents::message(ticket, found));
        let mut full: HashMap<Id, Message> = full.map(|message| (message.id, message)).collect();
        for place in places {
            let message = &mut messages[place];
            if let Some(full) = full.remove(&message.id) {
                let seq = message.seq;
                *message = Message { seq, ..full };
            }
        }
        Ok(())
    }
}

/// The former server stored the ticket's id as an object id or as its text, and adoption leaves it so.
fn of_ticket(ticket: Id) -> Document {
    doc! { "ticketId": { "$in": form::forms(ticket).collect::<Vec<_>>() } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_looked_for_near_its_edge_first() {
        let all = Span::new(None, Some(1_000));
        let span = |after, before| Span { after, before };
        assert_eq!(
            all.split(50, Edge::Newest),
            (span(899, 1_000), Some(span(0, 900)))
        );
        assert_eq!(
            all.split(50, Edge::Oldest),
            (span(0, 101), Some(span(100, 1_000)))
        );
        for whole in [
            Span::new(None, None),
            Span::new(Some(950), Some(1_000)),
            Span::new(Some(5), Some(3)),
            Span::new(Some(u64::MAX), Some(u64::MAX)),
        ] {
            assert_eq!(whole.split(50, Edge::Newest), (whole, None));
        }
        let most = Span::new(None, Some(1_000));
        assert_eq!(most.split(i64::MAX, Edge::Oldest), (most, None));
    }
}

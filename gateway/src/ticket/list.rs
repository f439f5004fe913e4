//! Lists and counts over all tickets: MongoDB's, with those on top that it does not have as they are.
//!
//! The tickets with entries that the worker has not persisted are asked for first, then MongoDB without them.
//! A ticket that is persisted between the two is left out of MongoDB's part and taken from Redis, so it can
//! neither be missed nor seen twice.

use fred::{
    interfaces::{ClientLike, SortedSetsInterface},
    types::Value,
};
use futures::future::try_join_all;
use ticket_shared::{
    domain::{Counts, Ticket},
    id::Id,
    redis::hot_path,
};

use super::{Tickets, view::Part};
use crate::{access::Grant, error::Error};

/// Where a page of tickets ends: the time and id of its last one. Newer ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// When that ticket was opened, in ms since 1970.
    pub created_at: i64,
    /// Its id.
    pub id: Id,
}

impl Cursor {
    /// The cursor that continues after `ticket`.
    pub fn of(ticket: &Ticket) -> Self {
        Self {
            created_at: ticket.created_at.0,
            id: ticket.id,
        }
    }

    /// As clients carry it.
    pub fn encode(self) -> String {
        format!("{:x}-{}", self.created_at, self.id)
    }

    /// Reads what a client carried.
    pub fn decode(text: &str) -> Option<Self> {
        let (created_at, id) = text.split_once('-')?;
        let created_at = i64::from_str_radix(created_at, 16).ok()?;
        // No ticket is from before 1970 or after the year 9999, and a database may refuse such a time.
        if !(0..253_402_300_800_000).contains(&created_at) {
            return None;
        }
        Some(Self {
            created_at,
            id: id.parse().ok()?,
        })
    }
}

impl Tickets {
    /// Tickets that the caller may see, newest first, after `cursor`; at most `limit`.
    ///
    /// # Errors
    /// Redis or MongoDB can't be reached.
    pub async fn list(
        &self,
        cursor: Option<Cursor>,
        limit: usize,
        grant: &Grant,
    ) -> Result<Vec<Ticket>, Error> {
        let mut tickets = self.unpersisted(grant).await?;
        let hot: Vec<Id> = tickets.iter().map(|ticket| ticket.id).collect();
        let after = cursor.map(|cursor| (cursor.created_at, cursor.id));
        tickets.retain(|ticket| {
            after.is_none_or(|after| (ticket.created_at.0, ticket.id) < after)
                && grant.reach.admits(ticket.id, ticket.user_id.as_deref())
        });
        tickets.extend(self.0.store.tickets(after, &hot, limit, grant).await?);
        tickets.sort_by_key(|ticket| std::cmp::Reverse((ticket.created_at.0, ticket.id)));
        tickets.truncate(limit);
        Ok(tickets)
    }

    /// How many tickets there are.
    ///
    /// # Errors
    /// Redis or MongoDB can't be reached.
    pub async fn counts(&self) -> Result<Counts, Error> {
        let tickets = self.unpersisted(&Grant::TEAM).await?;
        let hot: Vec<Id> = tickets.iter().map(|ticket| ticket.id).collect();
        let mut counts = self.0.store.counts(&hot).await?;
        for ticket in tickets {
            counts.add(ticket.status, ticket.assigned_agent.is_some(), 1);
        }
        Ok(counts)
    }

    /// The tickets that MongoDB does not have as they are.
    async fn unpersisted(&self, grant: &Grant) -> Result<Vec<Ticket>, Error> {
        let client = self.0.redis.with_options(&hot_path());
        let keys = &self.0.keys;
        let dirty = try_join_all((0..keys.partitions()).map(|partition| {
            let (client, key) = (client.clone(), keys.dirty(partition));
            async move {
                client
                    .zrange::<Vec<Value>, _, _, _>(key, 0, -1, None, false, None, false)
                    .await
            }
        }))
        .await?;
        let ids = dirty
            .into_iter()
            .flatten()
            .filter_map(|member| member.as_str()?.parse::<Id>().ok());
        let views = try_join_all(
            ids.map(|id| async move { Ok::<_, Error>((id, self.peek(id, Part::NONE).await?)) }),
        )
        .await?;
        Ok(views
            .into_iter()
            .filter_map(|(id, view)| view?.show(id, grant).ok())
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_client_and_nothing_else_does() {
        let cursor = Cursor {
            created_at: 1_763_861_116_007,
            id: Id::from_bytes([7; 12]),
        };
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        for bad in [
            "",
            "-",
            "zz-070707070707070707070707",
            "19aaf-07",
            "7fffffffffffffff-070707070707070707070707",
            "e677d21fdc00-070707070707070707070707",
            "{\"$gt\":\"\"}",
        ] {
            assert_eq!(Cursor::decode(bad), None, "{bad}");
        }
    }
}

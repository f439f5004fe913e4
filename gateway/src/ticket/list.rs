//! Lists over all tickets: MongoDB's, with what it does not have as it is. That is asked for first, so that a ticket which
//! is persisted meanwhile can neither be missed nor seen twice.

use ticket_mongo::date;
use ticket_shared::{domain::Ticket, id::Id};

use super::Tickets;
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
        let sign = if self.created_at < 0 { "-" } else { "" };
        format!("{sign}{:x}-{}", self.created_at.unsigned_abs(), self.id)
    }

    /// Reads what a client carried.
    pub fn decode(text: &str) -> Option<Self> {
        let (created_at, id) = text.rsplit_once('-')?;
        let created_at = i64::from_str_radix(created_at, 16).ok()?;
        // Times beyond these are never shown.
        if !(date::FIRST..=date::LAST).contains(&created_at) {
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
        let after = cursor.map(|cursor| (cursor.created_at, cursor.id));
        let created = self.created(after, limit, &grant.reach).await?;
        let stored = self.0.store.tickets(after, &[], limit, grant).await?;
        let stored = stored
            .into_iter()
            .filter(|ticket| !created.contains_key(&ticket.id));
        let mut tickets: Vec<Ticket> = created
            .iter()
            .filter_map(|(id, view)| view.show(*id, grant).ok())
            .chain(stored)
            .collect();
        tickets.retain(|ticket| {
            after.is_none_or(|after| (ticket.created_at.0, ticket.id) < after)
                && grant.reach.admits(ticket.id, ticket.user_id.as_deref())
        });
        tickets.sort_by_key(|ticket| std::cmp::Reverse((ticket.created_at.0, ticket.id)));
        tickets.truncate(limit);
        let ids: Vec<Id> = tickets.iter().map(|ticket| ticket.id).collect();
        let newer = self.behind(&ids).await?;
        for ticket in &mut tickets {
            if let Some(Ok(now)) = newer
                .get(&ticket.id)
                .map(|view| view.show(ticket.id, grant))
            {
                *ticket = now;
            }
        }
        Ok(tickets)
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
        for created_at in [
            cursor.created_at,
            0,
            -1,
            -31_536_000_000,
            date::FIRST,
            date::LAST,
        ] {
            let cursor = Cursor {
                created_at,
                ..cursor
            };
            assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        }
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

//! Permission to touch a ticket, where it depends on whose the ticket is.
//!
//! A ticket of somebody else and one that does not exist cost the same: one call of a script that answers with a
//! digit, one query that finds nothing. So neither the answer nor its time tells them apart.

use ticket_shared::id::Id;

use super::Tickets;
use crate::{access::Reach, error::Error};

impl Tickets {
    /// Checks that a ticket is within reach. If that is a list of tickets, it says nothing of whether they exist.
    ///
    /// # Errors
    /// [`Error::TicketNotFound`]; or Redis, or MongoDB if it is needed, can't be reached.
    pub async fn permit(&self, id: Id, reach: &Reach) -> Result<(), Error> {
        let user = match reach {
            Reach::All => return Ok(()),
            Reach::These(tickets) if tickets.contains(&id) => return Ok(()),
            Reach::These(_) => return Err(Error::TicketNotFound),
            Reach::Of(user) => user,
        };
        let name = serde_json::to_string(user)?;
        let keys = vec![self.0.keys.state(id)];
        let owned = self
            .0
            .owned
            .call(&self.0.redis, keys, vec![name.into()])
            .await?;
        if owned.as_u64() == Some(1) || self.0.store.owned(id, reach).await? {
            return Ok(());
        }
        Err(Error::TicketNotFound)
    }
}

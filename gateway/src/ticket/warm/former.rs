//! States of former versions while MongoDB can't be reached.

use ticket_shared::id::Id;

use super::super::Tickets;
use crate::error::Error;

impl Tickets {
    /// Accepts a ticket's state of a former version if the ticket's other keys prove it. Returns whether it did.
    ///
    /// # Errors
    /// Redis can't be reached.
    pub(super) async fn accept_former(&self, id: Id) -> Result<bool, Error> {
        let keys = &self.0.keys;
        let names = vec![
            keys.state(id),
            keys.log(id),
            keys.idem(id),
            keys.epoch(keys.partition(id)),
        ];
        let accepted = self.0.former.call(&self.0.redis, names, Vec::new()).await?;
        Ok(accepted.as_u64() == Some(1))
    }
}

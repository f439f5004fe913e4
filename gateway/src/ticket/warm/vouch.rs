//! Whether a ticket that is whole in Redis has lost its end.

use fred::interfaces::{ClientLike, LuaInterface};
use futures::future::try_join;
use ticket_shared::{id::Id, redis::hot_path};

use super::{super::Tickets, salvage::Salvage};
use crate::{error::Error, store::Edge, ticket::view::Which};

/// Notes the server under which a ticket was compared, unless it has moved on.
const NOTE: &str = "if redis.call('HGET', KEYS[1], 'seq') ~= ARGV[1] then return 0 end \
     redis.call('HSET', KEYS[1], 'server', ARGV[2]) \
     return 1";

impl Tickets {
    /// Compares a ticket with MongoDB after a restart of Redis. Answers whether that has nothing more of it, which is noted.
    ///
    /// # Errors
    /// Redis or MongoDB can't be reached.
    pub(super) async fn vouch(&self, id: Id, salvage: &Salvage) -> Result<bool, Error> {
        let (seq, store) = (salvage.newest(None), &self.0.store);
        let above = (Some(seq), None);
        let (stored, more) = try_join(
            store.ticket(id),
            store.messages(id, above, 1, Edge::Oldest, Which::Messages),
        )
        .await?;
        if !more.is_empty() || stored.is_some_and(|stored| stored.numbers.seq > seq) {
            return Ok(false);
        }
        let redis = self.0.redis.with_options(&hot_path());
        let args = vec![seq.to_string(), salvage.server.clone()];
        let noted: i64 = redis.eval(NOTE, self.0.keys.state(id), args).await?;
        Ok(noted == 1)
    }
}

//! The epoch of a ticket's counter: while it stays, a number never means two things.

use fred::interfaces::{ClientLike, HashesInterface, LuaInterface};
use ticket_shared::{id::Id, redis::hot_path};

use super::{Tickets, warm::fresh_epoch};
use crate::error::Error;

/// Sets another epoch, unless somebody was faster. Answers with the one that holds now.
const END: &str = "if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then \
     redis.call('HSET', KEYS[1], 'epoch', ARGV[2]) end \
     return redis.call('HGET', KEYS[1], 'epoch')";

impl Tickets {
    /// The epoch that holds for a ticket. Where Redis has none, it begins.
    ///
    /// # Errors
    /// Redis can't be reached or refuses writes.
    pub async fn epoch(&self, ticket: Id) -> Result<String, Error> {
        let redis = self.0.redis.with_options(&hot_path());
        let key = self.0.keys.epoch(self.0.keys.partition(ticket));
        if let Some(epoch) = redis.hget(key.clone(), "epoch").await? {
            return Ok(epoch);
        }
        let _: bool = redis.hsetnx(key.clone(), "epoch", fresh_epoch()?).await?;
        Ok(redis.hget(key, "epoch").await?)
    }

    /// Ends an epoch whose numbers can't be trusted any more, and answers with the next.
    ///
    /// # Errors
    /// Redis can't be reached or refuses writes.
    pub async fn end_epoch(&self, ticket: Id, epoch: &str) -> Result<String, Error> {
        let redis = self.0.redis.with_options(&hot_path());
        let key = self.0.keys.epoch(self.0.keys.partition(ticket));
        Ok(redis
            .eval(END, vec![key], vec![epoch.to_owned(), fresh_epoch()?])
            .await?)
    }
}

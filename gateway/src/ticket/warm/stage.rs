//! The ids of a large ticket's messages, put into Redis ahead of the rest of it: in batches, because a script that sets
//! all of them at once would hold up everybody else.

use std::collections::HashMap;

use fred::{
    interfaces::{ClientLike, HashesInterface, KeysInterface},
    types::Value,
};
use ticket_shared::{id::Id, redis::hot_path};

use super::super::Tickets;
use crate::error::Error;

/// Number of ids that the script that puts a ticket into Redis sets by itself, and of those in a batch.
const BATCH: usize = 1_000;
/// Seconds after which staged ids go that no ticket was put in place with.
const STAYS: i64 = 300;

impl Tickets {
    /// Stages these ids where they are many, and takes them out of `sent`. Returns under which key, and how many.
    pub(super) async fn stage(
        &self,
        id: Id,
        sent: &mut HashMap<Id, u64>,
    ) -> Result<Option<(String, usize)>, Error> {
        if sent.len() <= BATCH {
            return Ok(None);
        }
        let key = format!("{}:{}", self.0.keys.idem(id), Id::fresh()?);
        let redis = self.0.redis.with_options(&hot_path());
        let all: Vec<(Id, u64)> = sent.drain().collect();
        for batch in all.chunks(BATCH) {
            let fields: Vec<(fred::types::Key, Value)> = batch
                .iter()
                .map(|(message, seq)| {
                    let field = fred::types::Key::from(&message.bytes()[..]);
                    (field, seq.to_string().into())
                })
                .collect();
            let fields = fred::types::Map::try_from(fields)?;
            let _: () = redis.hset(&key, fields).await?;
            let _: () = redis.expire(&key, STAYS, None).await?;
        }
        Ok(Some((key, all.len())))
    }
}

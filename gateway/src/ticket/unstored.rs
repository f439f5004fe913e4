//! Tickets that MongoDB does not have as they are, read from Redis: as many as are asked for, whatever the backlog.
//!
//! Where a ticket stands in a list, and in whose, never changes: so a page of MongoDB lacks only the tickets that MongoDB
//! has nothing of. The append script keeps an index of those, by creation, for all and for each customer; the worker
//! takes them out with their first entry. What else is on a page is read again where MongoDB is behind.

use std::collections::{BTreeMap, HashMap};

use fred::{
    interfaces::{ClientLike, SortedSetsInterface},
    types::{Value, sorted_sets::ZRange},
};
use futures::future::try_join_all;
use ticket_shared::{id::Id, redis::hot_path, stream::Head};

use super::{Tickets, view::View};
use crate::{access::Reach, error::Error, script::Items};

/// Tickets in one call of the script: some 0.3 ms of Redis' time.
const CALL: usize = 64;
/// How often the newest are read again where some of them were in MongoDB by now.
const TRIES: usize = 3;

/// A ticket's place in a list: when it was opened, in ms since 1970, and its id.
pub(super) type Place = (i64, Id);

/// Which tickets the script answers for.
#[derive(Clone, Copy)]
enum Which {
    /// MongoDB has nothing of them.
    Created,
    /// MongoDB lacks something of them.
    Dirty,
    /// The same, and only their heads.
    Heads,
}

impl Which {
    const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Dirty => "dirty",
            Self::Heads => "head",
        }
    }
}

impl Tickets {
    /// The newest tickets strictly after a place that MongoDB has nothing of, at most `limit`; and among them, for who may
    /// see certain tickets only, any of those that MongoDB is behind with.
    ///
    /// # Errors
    /// Redis can't be reached.
    pub(super) async fn created(
        &self,
        after: Option<Place>,
        limit: usize,
        reach: &Reach,
    ) -> Result<HashMap<Id, View>, Error> {
        let owner = match reach {
            Reach::These(ids) => return self.behind(ids).await,
            Reach::Of(user) => Some(user.as_str()),
            Reach::All => None,
        };
        let mut views = HashMap::new();
        for _ in 0..TRIES {
            let keys = (0..self.0.keys.partitions()).map(|partition| match owner {
                Some(user) => self.0.keys.created_by(partition, user),
                None => self.0.keys.created(partition),
            });
            let newest = try_join_all(keys.map(|key| self.newest_in(key, after, limit))).await?;
            let mut places = newest.concat();
            places.sort_unstable_by(|a, b| b.cmp(a));
            places.truncate(limit);
            let ids: Vec<Id> = places.into_iter().map(|(_, id)| id).collect();
            views = self.views(&ids, Which::Created, owner).await?;
            // What left the index made room for others.
            if views.len() == ids.len() {
                break;
            }
        }
        Ok(views)
    }

    /// Those of `ids` that MongoDB is behind with.
    ///
    /// # Errors
    /// Redis can't be reached.
    pub(super) async fn behind(&self, ids: &[Id]) -> Result<HashMap<Id, View>, Error> {
        self.views(ids, Which::Dirty, None).await
    }

    /// Every ticket that MongoDB is behind with, at most `limit` of them. It costs what the backlog is.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if there are more; Redis can't be reached.
    pub(super) async fn heads(&self, limit: usize) -> Result<Vec<(Id, Head)>, Error> {
        let client = self.0.redis.with_options(&hot_path());
        let keys = &self.0.keys;
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let dirty = try_join_all((0..keys.partitions()).map(|partition| {
            let (client, key) = (client.clone(), keys.dirty(partition));
            async move {
                client
                    .zrange::<Vec<String>, _, _, _>(key, 0, most, None, false, None, false)
                    .await
            }
        }))
        .await?;
        let ids: Vec<Id> = dirty
            .into_iter()
            .flatten()
            .filter_map(|member| member.parse().ok())
            .collect();
        if ids.len() > limit {
            return Err(Error::Overloaded(
                "backlog: too much waits to be stored in MongoDB",
            ));
        }
        let answers = self.ask(&ids, Which::Heads, None).await?;
        answers
            .into_iter()
            .filter_map(|(id, answer)| {
                let head = answer.as_bytes().map(serde_json::from_slice)?;
                Some(head.map(|head| (id, head)).map_err(Error::from))
            })
            .collect()
    }

    async fn views(
        &self,
        ids: &[Id],
        which: Which,
        owner: Option<&str>,
    ) -> Result<HashMap<Id, View>, Error> {
        let mut views = HashMap::new();
        for (id, answer) in self.ask(ids, which, owner).await? {
            if let Value::Array(_) = answer
                && let Some(view) = View::parse(answer)?
            {
                views.insert(id, view);
            }
        }
        Ok(views)
    }

    /// Asks the script for tickets, each partition's in calls of their own.
    async fn ask(
        &self,
        ids: &[Id],
        which: Which,
        owner: Option<&str>,
    ) -> Result<Vec<(Id, Value)>, Error> {
        let keys = &self.0.keys;
        let mut of_partition: BTreeMap<u16, Vec<Id>> = BTreeMap::new();
        for id in ids {
            let of = of_partition.entry(keys.partition(*id)).or_default();
            of.push(*id);
        }
        let calls = of_partition.iter().flat_map(|(partition, ids)| {
            let index = match owner {
                Some(user) => keys.created_by(*partition, user),
                None => keys.created(*partition),
            };
            let names = [index, keys.dirty(*partition)];
            ids.chunks(CALL).map(move |ids| (names.clone(), ids))
        });
        let answers = try_join_all(calls.map(|(names, ids)| async move {
            let states = ids.iter().map(|id| keys.state(*id));
            let names: Vec<String> = names.into_iter().chain(states).collect();
            let mut args: Vec<Value> = vec![which.name().into()];
            args.extend(ids.iter().map(|id| Value::from(id.to_string())));
            let mut items = Items::of(self.0.hot.call(&self.0.redis, names, args).await?);
            let answers = ids.iter().map(|id| (*id, items.value()));
            Ok::<_, Error>(answers.collect::<Vec<_>>())
        }))
        .await?;
        Ok(answers.concat())
    }

    /// The newest tickets of an index strictly after a place, at most `limit`.
    async fn newest_in(
        &self,
        key: String,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Place>, Error> {
        let client = self.0.redis.with_options(&hot_path());
        let page = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let (mut places, mut offset) = (Vec::new(), 0);
        loop {
            let max = after.map_or_else(|| ZRange::from("+inf"), |(at, _)| ZRange::from(at));
            let found: Vec<(String, f64)> = client
                .zrevrangebyscore(&key, max, "-inf", true, Some((offset, page)))
                .await?;
            let last = i64::try_from(found.len()).unwrap_or(page) < page;
            let found = found.into_iter().filter_map(|(id, at)| {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "times in ms are whole and far below 2^53"
                )]
                Some((at as i64, id.parse().ok()?))
            });
            // Those of the same millisecond may be before it.
            places.extend(found.filter(|place| after.is_none_or(|after| *place < after)));
            if last || places.len() >= limit {
                places.truncate(limit);
                return Ok(places);
            }
            offset += page;
        }
    }
}

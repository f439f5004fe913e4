//! Reading tickets, one, as a list, and as counts.
//!
//! Lists are ordered by `(createdAt, _id)`, which an index serves where `createdAt` is a date and `_id` an
//! object id. Documents of the former server may have neither; they are few, and a second query orders them
//! by what is known of their time.

use std::cmp::Reverse;

use futures::future::try_join;
use mongodb::{
    bson::{Bson, DateTime, Document, doc, oid::ObjectId},
    options::FindOptions,
};
use ticket_mongo::{
    date,
    documents::{self, LISTED_AT},
    fields::Fields,
    form, words,
};
use ticket_shared::{
    domain::{Counts, Status, Ticket},
    id::Id,
};

use super::{Store, StoreError, Stored};
use crate::access::{Grant, Reach};

const TICKETS: &str = "tickets";

/// Pages that are read for one, at most: more than one only if the database finds tickets that are not the caller's.
const ROUNDS: usize = 16;

/// The id that orders a ticket whose `_id` is a text.
const LISTED_ID: &str = "_listedId";

impl Store {
    /// The ticket of this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket(&self, id: Id) -> Result<Option<Stored>, StoreError> {
        let found = self.find_all(TICKETS, id).await?;
        Ok(documents::one(&found).map(|document| documents::stored(id, &document)))
    }

    /// Tickets within the caller's reach, newest first by `(createdAt, _id)`, strictly after the cursor (of which the first part is in
    /// ms since 1970), without those in `excluding`, at most `limit`. A ticket of the former server that has
    /// not been adopted shows no messages here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn tickets(
        &self,
        after: Option<(i64, Id)>,
        excluding: &[Id],
        limit: usize,
        grant: &Grant,
    ) -> Result<Vec<Ticket>, StoreError> {
        let (mut after, mut tickets) = (after, Vec::new());
        for _ in 0..ROUNDS {
            if tickets.len() >= limit {
                break;
            }
            let page = self.listed(after, excluding, limit, &grant.reach).await?;
            let more = page.len() >= limit;
            after = page.last().map(|(id, last)| (last.base.created_at, *id));
            // The database may compare by its own rules, such as a collation that knows no letter case.
            tickets.extend(page.iter().filter_map(|(id, stored)| {
                let Stored {
                    base,
                    head,
                    numbers,
                    ..
                } = stored;
                grant.show(*id, base, head, numbers).ok()
            }));
            if !more {
                break;
            }
        }
        tickets.truncate(limit);
        Ok(tickets)
    }

    /// The newest tickets that the database finds within reach, at most `limit`.
    async fn listed(
        &self,
        after: Option<(i64, Id)>,
        excluding: &[Id],
        limit: usize,
        reach: &Reach,
    ) -> Result<Vec<(Id, Stored)>, StoreError> {
        let at_most = i64::try_from(limit).unwrap_or(i64::MAX);
        let options = FindOptions::builder()
            .sort(doc! { "createdAt": -1, "_id": -1 })
            .limit(at_most)
            .batch_size(1_000)
            .build();
        let (regular, odd) = try_join(
            self.find(TICKETS, regular(after, excluding, reach), options),
            self.aggregate(TICKETS, odd(after, excluding, reach, at_most)),
        )
        .await?;
        let mut page: Vec<_> = regular
            .iter()
            .chain(&odd)
            .filter_map(|found| {
                let id = documents::id(found)?;
                Some((id, documents::stored(id, found)))
            })
            .collect();
        page.sort_by_key(|(id, stored)| Reverse((stored.base.created_at, *id)));
        page.truncate(limit);
        Ok(page)
    }

    /// Whether there is a ticket of this id within reach. A ticket beyond it costs what none costs: the database
    /// answers with nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn owned(&self, id: Id, reach: &Reach) -> Result<bool, StoreError> {
        let mut filter = doc! { "_id": { "$in": excluded(&[id]) } };
        if let Some((field, condition)) = within(reach) {
            filter.insert("$and", [doc! { field: condition }]);
        }
        let options = FindOptions::builder()
            .projection(doc! { "userId": 1 })
            .limit(1)
            .build();
        let found = self.find(TICKETS, filter, options).await?;
        Ok(found.iter().any(|document| {
            let owner = documents::stored(id, document).base.user_id;
            reach.admits(id, owner.as_deref())
        }))
    }

    /// How many tickets there are, without those in `excluding`. It looks at every ticket.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn counts(&self, excluding: &[Id]) -> Result<Counts, StoreError> {
        let documents = self.aggregate_all(TICKETS, groups(excluding)).await?;
        let mut counts = Counts::default();
        for group in &documents {
            let fields = Fields(group);
            let (Some(key), Some(tickets)) = (fields.within("_id"), fields.number("tickets"))
            else {
                continue;
            };
            let status = key.text("status").and_then(|name| words::status(&name));
            counts.add(status.unwrap_or_default(), key.flag("assigned"), tickets);
        }
        Ok(counts)
    }
}

fn excluded(ids: &[Id]) -> Vec<Bson> {
    ids.iter().copied().flat_map(form::forms).collect()
}

/// What comes strictly after the cursor, by these two fields.
fn beyond((at, id): (i64, Id), at_field: &str, id_field: &str) -> Document {
    let (at, id) = (DateTime::from_millis(at), ObjectId::from_bytes(id.bytes()));
    doc! {
        // Said apart, because an index can be entered by it.
        at_field: { "$lte": at },
        "$or": [{ at_field: { "$lt": at } }, { at_field: at, id_field: { "$lt": id } }],
    }
}

/// What restricts a filter to the tickets within reach.
fn within(reach: &Reach) -> Option<(&'static str, Document)> {
    match reach {
        Reach::All => None,
        // The forms in which the former server or its clients' schemas keep a person's id, if reading them gives this
        // text again: `7` is not `7.0`.
        Reach::Of(user) => {
            let number = user.parse::<i64>().ok();
            let float = user.parse::<f64>().ok();
            let object = ObjectId::parse_str(user).ok();
            let forms: Vec<Bson> = [
                Some(user.as_str().into()),
                object.filter(|id| id.to_hex() == *user).map(Bson::from),
                number
                    .filter(|number| number.to_string() == *user)
                    .map(Bson::from),
                float
                    .filter(|number| number.to_string() == *user)
                    .map(Bson::from),
            ]
            .into_iter()
            .flatten()
            .collect();
            Some(("userId", doc! { "$in": forms }))
        }
        Reach::These(tickets) => Some(("_id", doc! { "$in": excluded(tickets) })),
    }
}

/// The times that an index orders as they are listed.
fn regular_times() -> [DateTime; 2] {
    [date::FIRST, date::LAST].map(DateTime::from_millis)
}

/// The filter for tickets that an index can order.
fn regular(after: Option<(i64, Id)>, excluding: &[Id], reach: &Reach) -> Document {
    let [first, last] = regular_times();
    let mut filter = after.map_or_else(Document::new, |cursor| beyond(cursor, "createdAt", "_id"));
    let at = filter
        .entry("createdAt".to_owned())
        .or_insert_with(|| doc! { "$lte": last }.into());
    if let Some(at) = at.as_document_mut() {
        at.insert("$gte", first);
    }
    filter.insert(
        "_id",
        doc! { "$type": "objectId", "$nin": excluded(excluding) },
    );
    if let Some((field, condition)) = within(reach) {
        filter.insert("$and", [doc! { field: condition }]);
    }
    filter
}

/// What `createdAt` may be instead of a date or nothing.
const NO_DATES: [&str; 6] = [
    "string",
    "number",
    "bool",
    "object",
    "objectId",
    "timestamp",
];

/// The pipeline for all other tickets: those whose `createdAt` is no date of four digits, or whose `_id` is a text.
/// Each part of the first match is a range of an index.
fn odd(after: Option<(i64, Id)>, excluding: &[Id], reach: &Reach, limit: i64) -> Vec<Document> {
    let convert = |input: &str, to| {
        doc! { "$convert": { "input": input, "to": to, "onError": null, "onNull": null } }
    };
    let listed_id = format!("${LISTED_ID}");
    let mut place = after.map_or_else(Document::new, |cursor| beyond(cursor, LISTED_AT, LISTED_ID));
    let known = doc! { LISTED_ID: { "$ne": null } };
    place.insert("$and", [known]);
    let [first, last] = regular_times();
    let mut candidates = doc! {
        "_id": { "$nin": excluded(excluding) },
        "$or": [
            { "createdAt": null },
            { "createdAt": { "$type": NO_DATES.to_vec() } },
            { "createdAt": { "$lt": first } },
            { "createdAt": { "$gt": last } },
            { "_id": { "$type": "string" } },
        ],
        "$and": [addressable()],
    };
    if let Some((field, condition)) = within(reach) {
        candidates.insert("$and", [addressable(), doc! { field: condition }]);
    }
    vec![
        doc! { "$match": candidates },
        doc! { "$set": { LISTED_ID: convert("$_id", "objectId") } },
        doc! { "$set": {
            LISTED_AT: {
                "$ifNull": [date::expression("$createdAt"), convert(&listed_id, "date")],
            },
        } },
        doc! { "$match": place },
        doc! { "$sort": { LISTED_AT: -1, LISTED_ID: -1 } },
        doc! { "$limit": limit },
    ]
}

/// The condition under which a ticket has an id that a request can name, as [`form::id`] has it.
fn addressable() -> Document {
    doc! { "$or": [
        { "_id": { "$type": "objectId" } },
        { "_id": { "$regex": "^(?:[0-9a-f]{24}|[0-9A-F]{24})$" } },
    ] }
}

/// The pipeline that counts by status and by whether somebody is assigned. Both rules are those by which
/// documents are read: an unknown status is open, and an agent is what has an id.
fn groups(excluding: &[Id]) -> Vec<Document> {
    let known = [Status::Pending.as_str(), Status::Closed.as_str()];
    let text = doc! { "$cond": [{ "$eq": [{ "$type": "$status" }, "string"] }, "$status", ""] };
    let name = doc! { "$toLower": { "$trim": { "input": text } } };
    let status = doc! { "$let": {
        "vars": { "name": name },
        "in": { "$cond": [{ "$in": ["$$name", known.to_vec()] }, "$$name", "open"] },
    } };
    let agent = ["agentId", "id", "_id"].map(|key| format!("$assignedAgent.{key}"));
    let [agent_id, id, object_id] = agent;
    let assigned = doc! { "$let": {
        "vars": { "who": { "$ifNull": [agent_id, id, object_id, "$assignedAgent", null] } },
        "in": { "$and": [
            { "$in": [{ "$type": "$$who" }, ["string", "objectId", "int", "long", "double"]] },
            { "$ne": ["$$who", ""] },
        ] },
    } };
    vec![
        doc! { "$match": {
            "_id": { "$nin": excluded(excluding) },
            "$and": [addressable()],
        } },
        doc! { "$group": {
            "_id": {
                "status": status,
                "assigned": assigned,
            },
            "tickets": { "$sum": 1 },
        } },
    ]
}

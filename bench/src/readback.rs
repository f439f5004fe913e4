//! What is there at the end of a run: read from MongoDB itself and from every gateway's REST.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};
use mongodb::{
    Client, Database,
    bson::{Document, RawDocumentBuf, doc, oid::ObjectId},
};
use serde_json::Value;
use ticket_shared::{
    domain::{Counts, Status},
    id::Id,
};

use crate::{
    client::answers::heard,
    history::{Facts, Heard, Key, Rest, Shown, Stored},
    rest,
    world::DATABASE,
};

/// How many messages a page holds.
const PAGE: usize = 200;
/// How many requests run at once.
const LANES: usize = 4;

/// The run's database.
pub(crate) async fn open(uri: &str) -> anyhow::Result<Database> {
    Ok(Client::with_uri_str(uri).await?.database(DATABASE))
}

/// How many entries of the tickets' logs are stored.
pub(crate) async fn entries(database: &Database) -> anyhow::Result<u64> {
    let count = |name: &str| {
        let collection = database.collection::<Document>(name);
        async move { collection.count_documents(doc! {}).await }
    };
    Ok(count("messages").await? + count("events").await?)
}

/// Everything that MongoDB holds of these tickets.
pub(crate) async fn stored(database: &Database, tickets: &[Id]) -> anyhow::Result<Vec<Stored>> {
    let places: HashMap<Id, usize> = tickets
        .iter()
        .enumerate()
        .map(|(place, id)| (*id, place))
        .collect();
    let mut stored = vec![Stored::default(); tickets.len()];
    let mut put = |document: &RawDocumentBuf, field: &str, put: &dyn Fn(&mut Stored)| {
        let id = document.get_object_id(field).ok().map(id);
        if let Some(stored) = id.and_then(|id| stored.get_mut(*places.get(&id)?)) {
            put(stored);
        }
    };
    for document in all(database, "tickets").await? {
        let facts = facts_of_document(&document);
        put(&document, "_id", &|stored| stored.facts = facts);
    }
    for document in all(database, "events").await? {
        let seq = number(&document, "seq");
        put(&document, "ticketId", &|stored| stored.changes.push(seq));
    }
    for document in all(database, "messages").await? {
        if let Some(message) = message_of_document(&document) {
            put(&document, "ticketId", &|stored| {
                stored.messages.push(message);
            });
        }
    }
    for stored in &mut stored {
        stored.messages.sort_by_key(|message| message.seq);
    }
    Ok(stored)
}

async fn all(database: &Database, name: &str) -> anyhow::Result<Vec<RawDocumentBuf>> {
    let cursor = database
        .collection::<RawDocumentBuf>(name)
        .find(doc! {})
        .await?;
    Ok(cursor.try_collect().await?)
}

fn id(id: ObjectId) -> Id {
    Id::from_bytes(id.bytes())
}

fn number(document: &RawDocumentBuf, field: &str) -> u64 {
    document
        .get_i64(field)
        .ok()
        .and_then(|n| n.try_into().ok())
        .unwrap_or(0)
}

fn message_of_document(document: &RawDocumentBuf) -> Option<Heard> {
    Some(Heard {
        seq: number(document, "seq"),
        id: id(document.get_object_id("_id").ok()?),
        key: document
            .get_str("clientMessageId")
            .ok()
            .and_then(Key::parse),
        internal: document.get_bool("internal").unwrap_or(false),
    })
}

fn facts_of_document(document: &RawDocumentBuf) -> Option<Facts> {
    Some(Facts {
        seq: number(document, "seq"),
        messages: number(document, "messageCount"),
        status: Status::parse(document.get_str("status").ok()?)?,
        assigned: document.get_document("assignedAgent").is_ok(),
    })
}

/// What one gateway shows of these tickets; of each the newest `pages` pages of messages.
pub(crate) async fn shown(
    gateway: &str,
    tickets: &[Id],
    pages: usize,
) -> Result<Rest, rest::Error> {
    let shown: Vec<Shown> = stream::iter(tickets)
        .map(|ticket| one(gateway, *ticket, pages))
        .buffered(LANES)
        .try_collect()
        .await?;
    let mut rest = Rest {
        tickets: shown,
        counts: counts(&rest::get(gateway, "/tickets/stats/counts").await?),
    };
    let mut listed: HashMap<String, Facts> = HashMap::new();
    let mut path = format!("/tickets?limit={PAGE}");
    loop {
        let page = rest::get(gateway, &path).await?;
        for ticket in page["tickets"].as_array().into_iter().flatten() {
            let id = ticket["_id"].as_str().unwrap_or_default().to_owned();
            listed.extend(facts(ticket).map(|facts| (id, facts)));
        }
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/tickets?limit={PAGE}&cursor={cursor}");
    }
    for (shown, id) in rest.tickets.iter_mut().zip(tickets) {
        shown.listed = listed.get(&id.to_string()).copied();
    }
    Ok(rest)
}

async fn one(gateway: &str, ticket: Id, pages: usize) -> Result<Shown, rest::Error> {
    let answer = rest::get(gateway, &format!("/tickets/{ticket}")).await?;
    let mut newest_first: Vec<Vec<Heard>> = Vec::new();
    let mut path = format!("/tickets/{ticket}/messages?limit={PAGE}");
    let mut above = 0;
    loop {
        let page = rest::get(gateway, &path).await?;
        let messages = page["messages"].as_array().into_iter().flatten();
        newest_first.push(messages.filter_map(heard).collect());
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        if newest_first.len() >= pages {
            above = cursor.parse::<u64>().unwrap_or(1).saturating_sub(1);
            break;
        }
        path = format!("/tickets/{ticket}/messages?limit={PAGE}&before={cursor}");
    }
    Ok(Shown {
        facts: facts(&answer["ticket"]),
        listed: None,
        messages: newest_first.into_iter().rev().flatten().collect(),
        above,
    })
}

fn facts(ticket: &Value) -> Option<Facts> {
    Some(Facts {
        seq: ticket["seq"].as_u64()?,
        messages: ticket["messageCount"].as_u64()?,
        status: Status::parse(ticket["status"].as_str()?)?,
        assigned: !ticket["assignedAgent"].is_null(),
    })
}

fn counts(counts: &Value) -> Option<Counts> {
    Some(Counts {
        open: counts["open"].as_u64()?,
        pending: counts["pending"].as_u64()?,
        closed: counts["closed"].as_u64()?,
        total: counts["total"].as_u64()?,
        unassigned: counts["unassigned"].as_u64()?,
    })
}

/// The `seq` of every ticket's document; 0 where there is none.
pub(crate) async fn seqs(database: &Database, tickets: &[Id]) -> anyhow::Result<Vec<u64>> {
    let seqs: HashMap<Id, u64> = all(database, "tickets")
        .await?
        .iter()
        .filter_map(|document| {
            Some((
                id(document.get_object_id("_id").ok()?),
                number(document, "seq"),
            ))
        })
        .collect();
    Ok(tickets
        .iter()
        .map(|id| seqs.get(id).copied().unwrap_or(0))
        .collect())
}

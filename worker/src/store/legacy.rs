//! Documents of another server, made ours: one document of a ticket under an `ObjectId`, and what an adoption is about
//! to replace is kept.
//!
//! What must hold:
//! - Each step changes nothing if it is done again, and nothing is lost between two of them: a document whose `_id` is a
//!   text is removed only after its twin is stored.
//! - Nothing is done to a ticket that is marked: its fields are ours.

use std::collections::HashMap;

use mongodb::{
    bson::{Bson, Document, RawDocumentBuf, doc},
    options::FindOptions,
};
use ticket_mongo::{LEGACY, MARK, fields::Fields, form};
use ticket_shared::id::Id;

use super::{Effort, Failure, Refused, Store, Unstored};
use crate::fold::{Adoption, Scope, Update, Writes};

/// Tickets that are looked for at once.
const CHUNK: usize = 200;
/// Messages in one command.
const MESSAGES: usize = 1_000;

impl Store {
    /// Prepares the documents of tickets that are about to be numbered.
    ///
    /// # Errors
    /// As [`Store::perform`].
    pub(super) async fn take_over(
        &self,
        adopted: &[Adoption],
        effort: Effort,
    ) -> Result<Vec<Refused>, Unstored> {
        let mut refused = Vec::new();
        for chunk in adopted.chunks(CHUNK) {
            let ids: Vec<Id> = chunk.iter().map(|adoption| adoption.ticket).collect();
            let found = self.documents_of(&ids).await?;
            let mut writes = Writes::default();
            let mut superseded = Vec::new();
            for adoption in chunk {
                let found = found.get(&adoption.ticket).map_or(&[][..], Vec::as_slice);
                superseded.extend(texts(found));
                writes.tickets.extend(merged(adoption, found));
            }
            let more = self.write(&writes, effort).await?;
            let kept = |id: &Bson| !is_refused(&more, chunk, id);
            superseded.retain(kept);
            refused.extend(more);
            self.remove(superseded).await?;
            let messages = chunk.iter().flat_map(|adoption| &adoption.messages);
            self.keep_numbers(&messages.cloned().collect::<Vec<_>>())
                .await?;
        }
        Ok(refused)
    }

    /// Makes one document of two that stand for one ticket, for all tickets. An earlier version of this product left
    /// such pairs behind.
    ///
    /// # Errors
    /// As [`Store::perform`]; doing it again goes on.
    pub(crate) async fn merge_twins(&self) -> Result<u64, Failure> {
        let mut after = String::new();
        let mut merged = 0;
        loop {
            let filter = doc! { "_id": { "$type": "string", "$gt": &after } };
            let options = FindOptions::builder()
                .projection(doc! { "_id": 1 })
                .sort(doc! { "_id": 1 })
                .limit(i64::try_from(MESSAGES).unwrap_or(1))
                .build();
            let page = self.find("tickets", filter, options).await?;
            let mut ids = page
                .iter()
                .filter_map(|document| document.get_str("_id").ok());
            let Some(last) = ids.next_back() else {
                return Ok(merged);
            };
            let addressable: Vec<Id> = page
                .iter()
                .filter_map(|found| Fields(found).id("_id"))
                .collect();
            after = last.to_owned();
            for (ticket, found) in self.documents_of(&addressable).await? {
                if found.len() > texts(&found).len() {
                    let adoption = Adoption {
                        entry: 0,
                        ticket,
                        messages: Vec::new(),
                        set: Document::new(),
                    };
                    self.take_over(std::slice::from_ref(&adoption), Effort::Together)
                        .await
                        .map_err(|unstored| unstored.failure)?;
                    merged += 1;
                }
            }
        }
    }

    /// The documents of tickets, in whatever form they hold their ids.
    async fn documents_of(&self, ids: &[Id]) -> Result<HashMap<Id, Vec<RawDocumentBuf>>, Failure> {
        let forms: Vec<Bson> = ids.iter().copied().flat_map(form::forms).collect();
        let filter = doc! { "_id": { "$in": forms } };
        let mut found: HashMap<Id, Vec<RawDocumentBuf>> = HashMap::new();
        for document in self.find("tickets", filter, FindOptions::default()).await? {
            if let Some(id) = Fields(&document).id("_id") {
                found.entry(id).or_default().push(document);
            }
        }
        Ok(found)
    }

    async fn remove(&self, ids: Vec<Bson>) -> Result<(), Failure> {
        if ids.is_empty() {
            return Ok(());
        }
        let deletes: Vec<Document> = ids
            .into_iter()
            .map(|id| doc! { "q": { "_id": id }, "limit": 1 })
            .collect();
        let command = doc! { "delete": "tickets", "deletes": deletes, "ordered": false };
        self.write_command(command).await.map(drop)
    }

    /// Keeps the numbers that another server gave its messages.
    async fn keep_numbers(&self, messages: &[Bson]) -> Result<(), Failure> {
        for ids in messages.chunks(MESSAGES) {
            let room = [
                doc! { LEGACY: null },
                doc! { LEGACY: { "$type": "object" } },
            ];
            let filter = doc! {
                "_id": { "$in": ids }, MARK: null, "seq": { "$exists": true }, "$or": room.to_vec(),
            };
            let rename = doc! { "$rename": { "seq": format!("{LEGACY}.seq") } };
            let update = doc! { "q": filter, "u": rename, "multi": true };
            let command = doc! { "update": "messages", "updates": [update], "ordered": false };
            self.write_command(command).await?;
        }
        Ok(())
    }
}

/// The ids of those documents whose id is a text.
fn texts(found: &[RawDocumentBuf]) -> Vec<Bson> {
    let ids = found
        .iter()
        .filter_map(|document| document.get_str("_id").ok());
    ids.map(Bson::from).collect()
}

/// If a ticket with this text as its id was not stored under its own form.
fn is_refused(refused: &[Refused], adopted: &[Adoption], id: &Bson) -> bool {
    refused.iter().any(|refused| {
        let adoption = adopted
            .iter()
            .find(|adoption| adoption.entry == refused.entry);
        adoption.is_some_and(|adoption| form::forms(adoption.ticket).any(|form| form == *id))
    })
}

/// The update that makes one document, under an `ObjectId`, of what was found, and keeps what the adoption replaces.
fn merged(adoption: &Adoption, found: &[RawDocumentBuf]) -> Option<Update> {
    let one = ticket_mongo::documents::one(found)?;
    if ticket_mongo::documents::is_marked(&one) && found.len() == 1 {
        return None;
    }
    let one = Document::try_from(one).ok()?;
    let own = found
        .iter()
        .find(|document| document.get_object_id("_id").is_ok())
        .and_then(|document| Document::try_from(document.clone()).ok());
    let marked = own.as_ref().is_some_and(|own| own.contains_key(MARK));
    let kept = if marked {
        Document::new()
    } else {
        kept(&one, adoption)
    };
    let mut set = Document::new();
    for (key, value) in &one {
        let missing = own.as_ref().is_none_or(|own| !own.contains_key(key));
        if key != "_id" && missing {
            set.insert(key, value.clone());
        }
    }
    let mut more = Document::new();
    if !kept.is_empty() {
        keep(&mut set, &one, kept);
        // It would pass for a number of ours.
        set.remove("seq");
        if own.as_ref().is_some_and(|own| own.contains_key("seq")) {
            more.insert("$unset", doc! { "seq": "" });
        }
    }
    let mut filter = doc! { "_id": form::object_id(adoption.ticket) };
    if !marked {
        filter.insert(MARK, Bson::Null);
    }
    (!set.is_empty() || !more.is_empty()).then_some(Update {
        entry: adoption.entry,
        scope: Scope::Ticket,
        filter,
        set,
        more,
        upsert: own.is_none(),
    })
}

/// What an adoption replaces with something else.
fn kept(one: &Document, adoption: &Adoption) -> Document {
    let replaced = adoption.set.iter().filter_map(|(key, new)| {
        let old = one.get(key)?;
        (*old != Bson::Null && !same(old, new)).then(|| (key.clone(), old.clone()))
    });
    let mut kept: Document = replaced.collect();
    if let Some(id @ Bson::String(_)) = one.get("_id") {
        kept.insert("_id", id.clone());
    }
    kept
}

fn same(old: &Bson, new: &Bson) -> bool {
    let whole = |value: &Bson| match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        _ => None,
    };
    old == new || whole(old).is_some_and(|old| whole(new) == Some(old))
}

/// Puts what is kept into the field for it. Another server may have one of that name.
fn keep(set: &mut Document, one: &Document, kept: Document) {
    let mut all = match one.get(LEGACY) {
        Some(Bson::Document(theirs)) => theirs.clone(),
        None | Some(Bson::Null) => Document::new(),
        Some(other) => doc! { LEGACY: other.clone() },
    };
    for (key, value) in kept {
        // What was kept first is the other server's.
        all.entry(key).or_insert(value);
    }
    set.insert(LEGACY, all);
}

#[cfg(test)]
mod tests {
    use mongodb::bson::oid::ObjectId;

    use super::*;

    fn raw(document: &Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(document).unwrap()
    }

    fn adoption() -> Adoption {
        Adoption {
            entry: 3,
            ticket: Id::from_bytes([7; 12]),
            messages: Vec::new(),
            set: doc! { "status": "closed", "seq": 2_i64, "tags": ["a"] },
        }
    }

    #[test]
    fn a_text_id_becomes_an_object_id_and_what_is_replaced_is_kept() {
        let text = "07".repeat(12);
        let old = doc! { "_id": &text, "status": "Closed", "seq": 2, "tags": ["a"], "x": 1 };
        let update = merged(&adoption(), &[raw(&old)]).unwrap();
        assert!(update.upsert);
        assert_eq!(
            update.set,
            doc! {
                "status": "Closed", "tags": ["a"], "x": 1,
                "legacy": { "status": "Closed", "_id": &text },
            }
        );
        assert_eq!(update.filter.get(MARK), Some(&Bson::Null));
    }

    #[test]
    fn a_twin_gets_what_it_lacks_and_keeps_what_is_ours() {
        let own =
            doc! { "_id": ObjectId::from_bytes([7; 12]), "status": "open", MARK: 1, "seq": 5 };
        let text = doc! { "_id": "07".repeat(12), "status": "Closed", "userId": "u1", "seq": 9 };
        let update = merged(&adoption(), &[raw(&text), raw(&own)]).unwrap();
        assert_eq!(update.set, doc! { "userId": "u1" });
        assert!(!update.upsert);
        assert_eq!(merged(&adoption(), &[raw(&own)]), None);
        assert_eq!(merged(&adoption(), &[]), None);
    }

    #[test]
    fn numbers_of_another_server_are_kept_aside() {
        let own = doc! { "_id": ObjectId::from_bytes([7; 12]), "seq": 1_042, "legacy": "theirs" };
        let update = merged(&adoption(), &[raw(&own)]).unwrap();
        assert_eq!(
            update.set,
            doc! { "legacy": { "legacy": "theirs", "seq": 1_042 } }
        );
        assert_eq!(update.more, doc! { "$unset": { "seq": "" } });
    }
}

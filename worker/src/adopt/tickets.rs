//! The second pass: tickets are put into our words, their arrays become messages, and they are numbered.

use std::collections::HashMap;

use mongodb::{
    bson::{Bson, Document, RawDocumentBuf, doc},
    options::FindOptions,
};
use ticket_mongo::{LEGACY, LOG_VERSION, MARK, documents, form};
use ticket_shared::{domain::Message, id::Id, stream::Entry};

use super::{
    AdoptError, Run, Scan,
    claim::Claimed,
    number,
    report::{
        CHANGED, EMBEDDED, GIVEN, IN_USE, LATE, MARKED, NUMBERED, READY, REFUSED, RENAMED, TICKETS,
    },
    translate,
};
use crate::{
    fold::{Writes, fold},
    store::Effort,
};

/// Tickets that are looked at together.
const PAGE: u32 = 100;

/// Tickets that are claimed together: a gateway that wants one of them waits for all of them.
const CLAIMED: usize = 25;

impl Run<'_> {
    pub(super) async fn tickets(&mut self) -> Result<(), AdoptError> {
        let mut scan = Scan::new("tickets", PAGE).ids();
        loop {
            let (next, page) = self.patiently(|| scan.next(self.store)).await?;
            if page.is_empty() {
                return Ok(());
            }
            for some in page.chunks(CLAIMED) {
                self.report.add(TICKETS, some.len());
                self.claimed(some).await?;
                self.passed(some.len()).await?;
            }
            scan = next;
        }
    }

    /// Takes over those tickets that nobody uses, given by their `_id`.
    async fn claimed(&mut self, some: &[Document]) -> Result<(), AdoptError> {
        let ids: Vec<Id> = some.iter().filter_map(translate::id_of_ticket).collect();
        let claims = self.claims.clone();
        let Claimed {
            claim,
            in_use,
            elsewhere,
        } = claims.take(&ids, self.dry).await?;
        self.report.add(IN_USE, in_use + elsewhere);
        if claim.tickets.is_empty() {
            return Ok(());
        }
        let work = Box::pin(async {
            let page = self.free(some, &claim.tickets).await?;
            self.page(page).await
        });
        let done = claims.holding(&claim, work).await;
        if !matches!(done, Err(AdoptError::Lost)) {
            claims.give(&claim).await?;
        }
        done
    }

    /// Reads the claimed ones of these tickets: what was read of them before may have changed since.
    async fn free(
        &self,
        some: &[Document],
        claimed: &[Id],
    ) -> Result<Vec<(Id, Document)>, AdoptError> {
        let held = |document: &Document| {
            let id = translate::id_of_ticket(document)?;
            claimed.contains(&id).then_some(id)
        };
        let ids: Vec<Bson> = some
            .iter()
            .filter(|document| held(document).is_some())
            .filter_map(|document| document.get("_id").cloned())
            .collect();
        let filter = doc! { "_id": { "$in": ids } };
        let found = self
            .patiently(|| {
                self.store
                    .find("tickets", filter.clone(), FindOptions::default())
            })
            .await?;
        let found = found
            .into_iter()
            .filter_map(|found| Document::try_from(found).ok());
        Ok(found
            .filter_map(|found| Some((held(&found)?, found)))
            .collect())
    }

    async fn page(&mut self, page: Vec<(Id, Document)>) -> Result<(), AdoptError> {
        let (mut updates, mut embedded, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
        let mut ready = Vec::new();
        for (id, old) in page {
            let set = translate::ticket(&old, &self.mapping);
            let messages = translate::embedded(id, &old, &self.mapping);
            let raw = RawDocumentBuf::try_from(&old).ok();
            if raw.as_deref().is_some_and(documents::is_of_earlier_version) {
                self.mark(id).await?;
                continue;
            }
            let mut new = old.clone();
            new.extend(set.clone());
            if translate::is_foreign(&old) {
                self.rename(id, &old, &mut new).await?;
            } else if !set.is_empty() {
                let mut filter = doc! { "_id": old.get("_id").cloned() };
                if !old.contains_key(MARK) {
                    filter.insert(MARK, Bson::Null);
                }
                updates.push(doc! { "q": filter, "u": { "$set": set } });
            }
            if old.contains_key(MARK) {
                ready.push((id, messages));
            } else {
                embedded.extend(messages);
                fresh.push((id, new));
            }
        }
        let refused = self.write("tickets", &updates).await?;
        self.report.add(CHANGED, updates.len() - refused);
        self.late(ready).await?;
        self.insert(embedded).await?;
        self.number(fresh).await
    }

    /// Gives a ticket an `ObjectId`.
    async fn rename(
        &mut self,
        id: Id,
        old: &Document,
        new: &mut Document,
    ) -> Result<(), AdoptError> {
        let own = old.get("_id").cloned().unwrap_or(Bson::Null);
        let object_id = form::object_id(id);
        let mut legacy = match new.get(LEGACY) {
            Some(Bson::Document(theirs)) => theirs.clone(),
            _ => Document::new(),
        };
        legacy.insert("_id", own.clone());
        new.insert(LEGACY, legacy);
        new.remove("_id");
        self.report.add(RENAMED, 1);
        let stored = doc! {
            "q": { "_id": object_id }, "u": { "$setOnInsert": new.clone() }, "upsert": true,
        };
        new.insert("_id", object_id);
        let refused = self.write("tickets", std::slice::from_ref(&stored)).await?;
        if self.dry || refused > 0 {
            return Ok(());
        }
        // Another ticket may stand under that id already.
        let copy = doc! { "_id": object_id, format!("{LEGACY}._id"): own.clone() };
        let options = FindOptions::builder().projection(doc! { "_id": 1 }).build();
        let copies = self
            .patiently(|| self.store.find("tickets", copy.clone(), options.clone()))
            .await?;
        if copies.is_empty() {
            self.report.add(REFUSED, 1);
            return Ok(());
        }
        let delete = doc! { "delete": "tickets", "deletes": [{ "q": { "_id": own }, "limit": 1 }] };
        self.patiently(|| self.store.write_command(delete.clone()))
            .await?;
        Ok(())
    }

    /// Marks a ticket that an earlier version numbered, and its messages.
    async fn mark(&mut self, id: Id) -> Result<(), AdoptError> {
        self.report.add(MARKED, 1);
        let forms: Vec<Bson> = form::forms(id).collect();
        let messages = doc! {
            "q": { "ticketId": { "$in": forms.clone() }, "seq": { "$gt": 0 }, MARK: null },
            "u": { "$set": { MARK: LOG_VERSION } }, "multi": true,
        };
        self.write("messages", &[messages]).await?;
        let ticket = doc! {
            "q": { "_id": { "$in": forms } }, "u": { "$set": { MARK: LOG_VERSION } },
        };
        self.write("tickets", &[ticket]).await?;
        Ok(())
    }

    /// Counts messages of tickets that were numbered before which have no number: those of arrays that are not stored,
    /// and those that are.
    async fn late(&mut self, ready: Vec<(Id, Vec<Document>)>) -> Result<(), AdoptError> {
        self.report.add(READY, ready.len());
        if ready.is_empty() {
            return Ok(());
        }
        let tickets: Vec<Bson> = ready.iter().flat_map(|(id, _)| form::forms(*id)).collect();
        // By the index of the messages' places: there are few that are not numbered.
        let filter = doc! { "ticketId": { "$in": tickets }, MARK: null };
        let stored = self
            .patiently(|| {
                let options = FindOptions::default();
                self.store.find("messages", filter.clone(), options)
            })
            .await?;
        let unnumbered = stored.iter().filter(|found| {
            let ticket = documents::ticket_of(found);
            // One that its server deleted has no place in the log.
            ticket.is_some_and(|ticket| documents::message(ticket, found).is_some())
        });
        let ids: Vec<Bson> = ready
            .iter()
            .flat_map(|(_, messages)| messages)
            .filter_map(|message| message.get("_id").cloned())
            .collect();
        let mut missing = ids.len();
        for ids in ids.chunks(1_000) {
            let filter = doc! { "_id": { "$in": ids.to_vec() } };
            let options = FindOptions::builder().projection(doc! { "_id": 1 }).build();
            let there = self
                .patiently(|| self.store.find("messages", filter.clone(), options.clone()))
                .await?;
            missing = missing.saturating_sub(there.len());
        }
        self.report.add(LATE, unnumbered.count() + missing);
        Ok(())
    }

    async fn insert(&mut self, messages: Vec<Document>) -> Result<(), AdoptError> {
        self.report.add(EMBEDDED, messages.len());
        if self.dry {
            return Ok(());
        }
        for chunk in messages.chunks(1_000) {
            let command =
                doc! { "insert": "messages", "documents": chunk.to_vec(), "ordered": false };
            let reply = self
                .patiently(|| self.store.write_command(command.clone()))
                .await?;
            let errors = reply
                .get_array("writeErrors")
                .map_or(&[][..], |errors| errors);
            let twice = |error: &Bson| {
                error
                    .as_document()
                    .and_then(|error| error.get_i32("code").ok())
                    == Some(11_000)
            };
            let refused = errors.iter().filter(|error| !twice(error)).count();
            self.report.add(REFUSED, refused);
        }
        Ok(())
    }

    /// Numbers tickets, as the product does at their first touch.
    async fn number(&mut self, fresh: Vec<(Id, Document)>) -> Result<(), AdoptError> {
        if self.dry {
            self.report.add(NUMBERED, fresh.len());
            return Ok(());
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut found = self.messages_of(fresh.iter().map(|(id, _)| *id)).await?;
        let mut given = 0;
        let mut numbered = 0;
        for (id, ticket) in fresh {
            let Ok(raw) = RawDocumentBuf::try_from(&ticket) else {
                continue;
            };
            let (messages, legacy) = found.remove(&id).unwrap_or_default();
            let messages = documents::number(messages, None);
            given += messages.len();
            numbered += 1;
            let stored = documents::stored(id, &raw);
            entries.extend(number::entries(id, &stored, &messages, &legacy));
        }
        let entries: Vec<&Entry> = entries.iter().collect();
        let mut messages = fold(&entries);
        // A ticket is marked once all of its messages are, so that one that was ended between the two is begun again.
        let tickets = Writes {
            tickets: std::mem::take(&mut messages.tickets),
            ..Writes::default()
        };
        for writes in [messages, tickets] {
            let refused = self
                .patiently(|| async {
                    let done = self.store.perform(&writes, Effort::Together).await;
                    done.map_err(|unstored| unstored.failure)
                })
                .await?;
            self.report.add(REFUSED, refused.len());
        }
        self.report.add(NUMBERED, numbered);
        self.report.add(GIVEN, given);
        Ok(())
    }

    async fn messages_of(
        &self,
        ids: impl Iterator<Item = Id>,
    ) -> Result<HashMap<Id, (Vec<Message>, HashMap<Id, String>)>, AdoptError> {
        let forms: Vec<Bson> = ids.flat_map(form::forms).collect();
        let filter = doc! { "ticketId": { "$in": forms } };
        let documents = self
            .patiently(|| {
                self.store
                    .find("messages", filter.clone(), FindOptions::default())
            })
            .await?;
        let mut found: HashMap<Id, (Vec<Message>, HashMap<Id, String>)> = HashMap::new();
        for document in &documents {
            let Some(ticket) = documents::ticket_of(document) else {
                continue;
            };
            let Some(message) = documents::message(ticket, document) else {
                continue;
            };
            let (messages, legacy) = found.entry(ticket).or_default();
            messages.push(message);
            legacy.extend(documents::legacy_id(document));
        }
        Ok(found)
    }
}

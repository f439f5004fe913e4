//! Another server's documents in our words: which fields are to be set, decided on values.
//!
//! What must hold: fields that are not ours are left alone; what is replaced is kept under `legacy`, once; a document
//! that was translated is not translated again.

use mongodb::bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use ticket_mongo::{
    LEGACY, MARK, date, documents,
    fields::{self, Fields},
    form, words,
};
use ticket_shared::id::Id;

use super::mapping::Mapping;

/// The value under the first of these names that is there; a dot reaches into documents.
fn source<'a>(document: &'a Document, mapping: &Mapping, field: &str) -> Option<&'a Bson> {
    let mut found = mapping
        .names(field)
        .filter_map(|name| reach(document, name));
    found.find(|value| !matches!(value, Bson::Null | Bson::Undefined))
}

fn reach<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    if let Some(value) = document.get(path) {
        return Some(value);
    }
    let (root, rest) = path.split_once('.')?;
    reach(document.get(root)?.as_document()?, rest)
}

/// A value as raw BSON, which is what documents are read from.
fn raw<T>(value: &Bson, read: impl Fn(mongodb::bson::RawBsonRef<'_>) -> Option<T>) -> Option<T> {
    let document = RawDocumentBuf::try_from(&doc! { "v": value }).ok()?;
    document.get("v").ok().flatten().and_then(read)
}

/// A person's id: a text, an id, a number, or what a document says of itself.
fn person(value: &Bson) -> Option<Bson> {
    let value = match value {
        Bson::Document(within) => ["agentId", "userId", "_id", "id", "$id"]
            .into_iter()
            .find_map(|key| within.get(key).filter(|id| **id != Bson::Null))?,
        value => value,
    };
    raw(value, fields::person).map(Bson::from)
}

fn text(value: &Bson) -> Option<Bson> {
    match value {
        Bson::Document(within) => {
            let name = within.get("name").or_else(|| within.get("text"))?;
            raw(name, fields::person).map(Bson::from)
        }
        value => raw(value, fields::person).map(Bson::from),
    }
}

fn time(value: &Bson) -> Option<Bson> {
    raw(value, date::millis).map(|ms| DateTime::from_millis(ms).into())
}

/// The ticket that a value refers to.
pub(super) fn ticket_id(value: &Bson) -> Option<Id> {
    let value = match value {
        // Populated, or a reference of the driver's.
        Bson::Document(within) => ["_id", "id", "$id"]
            .into_iter()
            .find_map(|key| within.get(key).filter(|id| **id != Bson::Null))?,
        value => value,
    };
    raw(value, |value| form::id_or_derived("tickets", value))
}

fn word(mapping: &Mapping, field: &str, value: &Bson) -> Option<Bson> {
    let text = raw(value, fields::person)?;
    mapping.our_word(field, &text).map(Bson::from)
}

/// A change in the making.
struct Setting<'a> {
    document: &'a Document,
    /// Only what is missing may be set.
    missing_only: bool,
    set: Document,
    kept: Document,
}

impl Setting<'_> {
    fn field(&mut self, name: &str, value: Option<Bson>) {
        let Some(value) = value else { return };
        match self.document.get(name) {
            Some(old) if *old == value => {}
            Some(old) if *old != Bson::Null => {
                if !self.missing_only {
                    self.kept.insert(name, old.clone());
                    self.set.insert(name, value);
                }
            }
            _ => {
                self.set.insert(name, value);
            }
        }
    }

    fn done(mut self) -> Document {
        if self.kept.is_empty() {
            return self.set;
        }
        let mut all = match self.document.get(LEGACY) {
            Some(Bson::Document(theirs)) => theirs.clone(),
            None | Some(Bson::Null) => Document::new(),
            Some(other) => doc! { LEGACY: other.clone() },
        };
        for (key, value) in self.kept {
            all.entry(key).or_insert(value);
        }
        self.set.insert(LEGACY, all);
        self.set
    }
}

/// The fields of a message that are to be set.
pub(super) fn message(document: &Document, mapping: &Mapping) -> Document {
    let read = |field| source(document, mapping, field);
    let mut setting = Setting {
        document,
        // What is numbered is in use: nothing that was shown changes.
        missing_only: document.contains_key(MARK),
        set: Document::new(),
        kept: Document::new(),
    };
    let ticket = read("ticketId").and_then(ticket_id);
    let object_id = ticket.map(|id| Bson::ObjectId(form::object_id(id)));
    setting.field("ticketId", object_id);
    setting.field("senderId", read("senderId").and_then(person));
    setting.field("senderName", read("senderName").and_then(text));
    let side = read("senderType").and_then(|value| word(mapping, "senderType", value));
    setting.field("senderType", side);
    setting.field("content", read("content").and_then(text));
    setting.field("createdAt", read("createdAt").and_then(time));
    if is_internal(document, mapping) {
        setting.field("internal", Some(true.into()));
    }
    setting.done()
}

fn is_internal(document: &Document, mapping: &Mapping) -> bool {
    let mapped = mapping.maps("internal")
        && source(document, mapping, "internal")
            .and_then(|value| raw(value, |value| Some(words::truthy(value))))
            .unwrap_or(false);
    mapped || RawDocumentBuf::try_from(document).is_ok_and(|raw| words::is_internal(&raw))
}

/// The fields of a ticket that are to be set.
pub(super) fn ticket(document: &Document, mapping: &Mapping) -> Document {
    let read = |field| source(document, mapping, field);
    let mut setting = Setting {
        document,
        missing_only: document.contains_key(MARK),
        set: Document::new(),
        kept: Document::new(),
    };
    let subject = read("subject").or_else(|| document.get("title"));
    setting.field("subject", subject.and_then(text));
    setting.field("description", read("description").and_then(text));
    setting.field("userId", read("userId").and_then(person));
    setting.field("userName", read("userName").and_then(text));
    for field in ["status", "priority"] {
        setting.field(
            field,
            read(field).and_then(|value| word(mapping, field, value)),
        );
    }
    for field in ["createdAt", "updatedAt", "closedAt"] {
        setting.field(field, read(field).and_then(time));
    }
    if mapping.maps("assignedAgent") {
        setting.field("assignedAgent", read("assignedAgent").cloned());
    }
    if mapping.maps("tags") {
        setting.field("tags", read("tags").cloned());
    }
    setting.done()
}

/// The messages in the arrays of a ticket.
pub(super) fn embedded(id: Id, document: &Document, mapping: &Mapping) -> Vec<Document> {
    let raw = RawDocumentBuf::try_from(document);
    let opened = raw.map_or(0, |raw| documents::stored(id, &raw).base.created_at);
    let mut messages = Vec::new();
    for (name, array) in &mapping.embedded {
        let Some(Bson::Array(elements)) = reach(document, name) else {
            continue;
        };
        let within = mapping.within(array);
        for (place, element) in elements.iter().enumerate() {
            let mut message = match element {
                Bson::Document(element) => element.clone(),
                other => doc! { "content": other.clone() },
            };
            let own_id = message.remove("_id");
            message.remove("ticketId");
            let mut found = self::message(&message, &within);
            if array.internal {
                found.insert("internal", true);
            }
            let index = i64::try_from(place).unwrap_or(0);
            message.extend(found);
            if !matches!(message.get("createdAt"), Some(Bson::DateTime(_))) {
                // Elements stand in the order in which they were written.
                message.insert("createdAt", DateTime::from_millis(opened + index));
            }
            message.insert("ticketId", form::object_id(id));
            let derived = Id::of_legacy("messages", name, &format!("{id}:{place}"));
            match own_id {
                Some(id @ Bson::ObjectId(_)) => message.insert("_id", id),
                Some(other) => {
                    message.insert(LEGACY, doc! { "_id": other });
                    message.insert("_id", form::object_id(derived))
                }
                None => message.insert("_id", form::object_id(derived)),
            };
            messages.push(message);
        }
    }
    messages
}

/// The ticket of a document, whatever kind its id is of.
pub(super) fn id_of_ticket(document: &Document) -> Option<Id> {
    ticket_id(document.get("_id")?)
}

/// If a document's id is not one that a request can name.
pub(super) fn is_foreign(document: &Document) -> bool {
    let raw = RawDocumentBuf::try_from(document);
    raw.is_ok_and(|raw| Fields(&raw).id("_id").is_none())
}

#[cfg(test)]
mod tests {
    use mongodb::bson::oid::ObjectId;

    use super::*;

    fn mapping(text: &str) -> Mapping {
        Mapping::parse(text).unwrap()
    }

    #[test]
    fn a_message_is_put_into_our_words_once() {
        let mapping = mapping(
            "ticketId = \"tid\"\ncontent = [\"text\", \"body\"]\nsenderId = \"from\"\n\
             senderName = \"from.name\"\ncreatedAt = \"date\"\ninternal = \"hidden\"\n",
        );
        let ticket = "0123456789abcdefabcdef00";
        let mut old = doc! {
            "_id": 5, "tid": ticket, "body": "hi", "from": { "_id": 7, "name": "U" },
            "date": "2023-05-05 10:00", "senderType": "ADMIN", "hidden": 1, "x": { "y": 1 },
        };
        let set = message(&old, &mapping);
        assert_eq!(
            set,
            doc! {
                "ticketId": ObjectId::parse_str(ticket).unwrap(), "senderId": "7", "senderName": "U",
                "senderType": "agent", "content": "hi",
                "createdAt": DateTime::from_millis(1_683_280_800_000), "internal": true,
                "legacy": { "senderType": "ADMIN" },
            }
        );
        old.extend(set);
        assert_eq!(message(&old, &mapping), Document::new());
    }

    #[test]
    fn what_is_numbered_only_gets_what_it_lacks() {
        let mapping = mapping("content = \"text\"\ncreatedAt = \"date\"");
        let old =
            doc! { "_id": 1, MARK: 1, "text": "hi", "createdAt": "2020", "date": "2021-01-01" };
        assert_eq!(message(&old, &mapping), doc! { "content": "hi" });
    }

    #[test]
    fn arrays_become_messages_with_ids_that_stay() {
        let mapping =
            mapping("[embedded.comments]\ncontent = \"text\"\n[embedded.notes]\ninternal = true\n");
        let id = Id::from_bytes([7; 12]);
        let own = ObjectId::from_bytes([9; 12]);
        let old = doc! {
            "_id": 1, "createdAt": DateTime::from_millis(5),
            "comments": [{ "_id": own, "text": "a" }, { "text": "b", "by": 1 }], "notes": ["c"],
        };
        let found = embedded(id, &old, &mapping);
        assert_eq!(found, embedded(id, &old, &mapping));
        assert_eq!(found.len(), 3);
        assert_eq!(found[0]["_id"], own.into());
        assert_eq!(
            (&found[1]["content"], &found[1]["by"]),
            (&"b".into(), &1.into())
        );
        assert_eq!(found[1]["createdAt"], DateTime::from_millis(6).into());
        assert_eq!(
            (&found[2]["content"], &found[2]["internal"]),
            (&"c".into(), &true.into())
        );
    }
}

//! Words of other servers: names of states and sides, marks of internal notes and of deleted messages.
//!
//! What must hold: whatever may be an internal note is one, for a query as for a document that was read.

use mongodb::bson::{Bson, Document, RawBsonRef, RawDocument, doc};
use ticket_shared::domain::{Priority, Status, UserType};

/// Fields that mark an internal note where they are true.
pub const INTERNAL: [&str; 26] = [
    "internal",
    "isInternal",
    "is_internal",
    "internalNote",
    "internal_note",
    "isInternalNote",
    "is_internal_note",
    "internalOnly",
    "private",
    "isPrivate",
    "is_private",
    "privateNote",
    "isPrivateNote",
    "agentOnly",
    "agentsOnly",
    "staffOnly",
    "isStaffOnly",
    "hidden",
    "isHidden",
    "is_hidden",
    "isNote",
    "is_note",
    "internalComment",
    "isInternalComment",
    "is_internal_comment",
    "hiddenFromCustomer",
];

/// Fields that mark an internal note where they are there and not true.
pub const PUBLIC: [&str; 9] = [
    "public",
    "isPublic",
    "is_public",
    "visibleToCustomer",
    "visibleToUser",
    "visible_to_customer",
    "isVisibleToCustomer",
    "customerVisible",
    "isCustomerVisible",
];

/// Fields that mark an internal note by a word.
pub const KINDS: [&str; 6] = [
    "visibility",
    "type",
    "kind",
    "messageType",
    "noteType",
    "scope",
];

/// The words that mark one.
pub const INTERNAL_KINDS: [&str; 36] = [
    "internal",
    "internal_note",
    "internal-note",
    "internalNote",
    "internal note",
    "internal_comment",
    "private",
    "private_note",
    "privateNote",
    "note",
    "agent",
    "agents",
    "agent_only",
    "staff",
    "team",
    "internal-comment",
    "internal comment",
    "internalComment",
    "internal_only",
    "internal-only",
    "internal only",
    "internalOnly",
    "private note",
    "private-note",
    "agents_only",
    "agent-only",
    "agents-only",
    "agent only",
    "agents only",
    "agentOnly",
    "agentsOnly",
    "staff_only",
    "staff-only",
    "staff only",
    "staffOnly",
    "hidden",
];

/// Fields that mark a deleted message where they are true.
pub const DELETED: [&str; 14] = [
    "deleted",
    "isDeleted",
    "is_deleted",
    "deletedAt",
    "deleted_at",
    "removed",
    "isRemoved",
    "softDeleted",
    "is_removed",
    "removedAt",
    "removed_at",
    "soft_deleted",
    "trashed",
    "isTrashed",
];

/// Texts that are not true. Spelled out, because a query compares them as they are.
const FALSE: [&str; 16] = [
    "",
    "0",
    "false",
    "False",
    "FALSE",
    "no",
    "No",
    "NO",
    "n",
    "N",
    "off",
    "Off",
    "OFF",
    "null",
    "undefined",
    "none",
];

/// The ways in which the case of a word is written: as it stands here, in capitals, with one at its beginning, with one at
/// the beginning of each of its parts, and without any.
fn cases(word: &str) -> [String; 5] {
    let mut capital = word.to_owned();
    if let Some(first) = capital.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let mut begins = true;
    let title = word.chars().map(|letter| {
        let letter = if begins {
            letter.to_ascii_uppercase()
        } else {
            letter
        };
        begins = !letter.is_ascii_alphanumeric();
        letter
    });
    let title = title.collect();
    [
        word.to_owned(),
        word.to_ascii_uppercase(),
        capital,
        title,
        word.to_ascii_lowercase(),
    ]
}

/// If a value is true, as JavaScript has it, except for texts that say no.
pub fn truthy(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::Null | RawBsonRef::Undefined => false,
        RawBsonRef::Boolean(is) => is,
        RawBsonRef::Int32(number) => number != 0,
        RawBsonRef::Int64(number) => number != 0,
        RawBsonRef::Double(number) => number != 0.0 && !number.is_nan(),
        RawBsonRef::String(text) => !FALSE.contains(&text),
        _ => true,
    }
}

fn any(document: &RawDocument, names: &[&str], is: impl Fn(RawBsonRef<'_>) -> bool) -> bool {
    names
        .iter()
        .any(|name| matches!(document.get(name), Ok(Some(value)) if is(value)))
}

fn is_internal_kind(value: RawBsonRef<'_>) -> bool {
    value.as_str().is_some_and(|text| {
        INTERNAL_KINDS
            .iter()
            .any(|kind| cases(kind).iter().any(|case| case == text))
    })
}

/// If a message is for agents only.
pub fn is_internal(document: &RawDocument) -> bool {
    any(document, &INTERNAL, truthy)
        || any(document, &PUBLIC, |value| {
            !matches!(value, RawBsonRef::Null | RawBsonRef::Undefined) && !truthy(value)
        })
        || any(document, &KINDS, is_internal_kind)
}

/// If a message was deleted by a server that keeps what it deletes.
pub fn is_deleted(document: &RawDocument) -> bool {
    any(document, &DELETED, truthy)
}

/// What a query holds true of no value that [`truthy`] holds true of, and of a missing field.
fn untrue() -> Vec<Bson> {
    let mut values = vec![Bson::Null, false.into(), 0.into(), f64::NAN.into()];
    values.extend(FALSE.map(Bson::from));
    values
}

/// The conditions of a query under which [`is_internal`] is false.
pub fn visible_to_customers() -> Document {
    let mut all = Vec::new();
    for name in INTERNAL {
        all.push(doc! { name: { "$in": untrue() } });
    }
    let mut refusals = untrue();
    refusals.retain(|value| *value != Bson::Null);
    for name in PUBLIC {
        all.push(doc! { name: { "$nin": refusals.clone() } });
    }
    let kinds: Vec<String> = INTERNAL_KINDS.iter().flat_map(|kind| cases(kind)).collect();
    for name in KINDS {
        all.push(doc! { name: { "$nin": kinds.clone() } });
    }
    doc! { "$and": all }
}

/// The status of a name, whatever its case.
pub fn status(name: &str) -> Option<Status> {
    let name = name.trim().to_ascii_lowercase();
    Status::parse(&name)
}

/// The priority of a name, whatever its case; `medium` is `normal`.
pub fn priority(name: &str) -> Option<Priority> {
    let name = name.trim().to_ascii_lowercase();
    if name == "medium" {
        return Some(Priority::Normal);
    }
    Priority::parse(&name)
}

/// The side of a name, whatever its case: the team's own words are agents, the others' are users.
pub fn side(name: &str) -> Option<UserType> {
    match name.trim().to_ascii_lowercase().as_str() {
        "agent" | "admin" | "staff" | "support" | "operator" => Some(UserType::Agent),
        "user" | "customer" | "client" => Some(UserType::User),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::RawDocumentBuf;

    use super::*;

    fn raw(document: &Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(document).unwrap()
    }

    #[test]
    fn notes_under_any_common_name_are_internal() {
        for note in [
            doc! { "internal": true },
            doc! { "internal": 1 },
            doc! { "isInternal": "true" },
            doc! { "isInternalNote": 1.0 },
            doc! { "private": "yes" },
            doc! { "is_internal": { "by": "a" } },
            doc! { "isPublic": false },
            doc! { "visibility": "Internal" },
            doc! { "type": "NOTE" },
            doc! { "type": "Internal Note" },
            doc! { "kind": "Internal_Only" },
            doc! { "visibility": "agents only" },
            doc! { "messageType": "internalnote" },
            doc! { "isHidden": true },
            doc! { "customerVisible": 0 },
        ] {
            assert!(is_internal(&raw(&note)), "{note}");
        }
        for public in [
            doc! {},
            doc! { "internal": false, "isInternal": 0, "private": "false", "isPrivate": null },
            doc! { "isPublic": true, "visibility": "public", "type": "message", "public": null },
            doc! { "type": 5, "internal": "No" },
        ] {
            assert!(!is_internal(&raw(&public)), "{public}");
        }
    }

    #[test]
    fn deleted_is_what_is_said_to_be() {
        assert!(is_deleted(&raw(
            &doc! { "deletedAt": mongodb::bson::DateTime::MIN }
        )));
        assert!(is_deleted(&raw(&doc! { "isDeleted": true })));
        assert!(is_deleted(&raw(&doc! { "trashed": 1 })));
        assert!(!is_deleted(&raw(
            &doc! { "deletedAt": null, "deleted": false }
        )));
    }

    #[test]
    fn case_does_not_matter() {
        assert_eq!(status(" Closed"), Some(Status::Closed));
        assert_eq!(status("in-progress"), None);
        assert_eq!(priority("HIGH"), Some(Priority::High));
        assert_eq!(priority("Medium"), Some(Priority::Normal));
        assert_eq!(side("ADMIN"), Some(UserType::Agent));
        assert_eq!(side("Customer"), Some(UserType::User));
        assert_eq!(side("bot"), None);
    }
}

//! Payloads that clients send, read field by field.
//!
//! Reading by hand instead of deriving is deliberate: the contract promises the name of the field that is
//! wrong, limits after trimming, and that nothing of the input comes back in an error.

use serde_json::{Map, Value};

use crate::{
    domain::{Priority, Status, UserType, limits},
    id::Id,
};

/// A field that is not as the contract wants it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Invalid {
    /// The field's name; empty where the payload as a whole is wrong.
    pub field: String,
    /// What is wrong, for a person to read; never repeats the input.
    pub problem: String,
}

impl Invalid {
    /// A problem with one field.
    pub fn new(field: &str, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// Reads the fields of one JSON object.
#[derive(Debug)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// The fields of `payload`.
    ///
    /// # Errors
    /// Where it is not an object.
    pub fn of(payload: Value) -> Result<Self, Invalid> {
        match payload {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(Invalid::new("payload", "must be an object")),
        }
    }

    /// Whether the field is there and not null.
    pub fn has(&self, field: &str) -> bool {
        self.0.get(field).is_some_and(|value| !value.is_null())
    }

    /// A text of 1 to `max` characters after trimming.
    ///
    /// # Errors
    /// Missing, not a text, empty, too long, or holding a NUL.
    pub fn text(&mut self, field: &str, max: usize) -> Result<String, Invalid> {
        self.optional_text(field, max)?
            .ok_or_else(|| Invalid::new(field, "is required"))
    }

    /// The same, or nothing where the field is missing or null.
    ///
    /// # Errors
    /// As [`Fields::text`], less missing.
    pub fn optional_text(&mut self, field: &str, max: usize) -> Result<Option<String>, Invalid> {
        let Some(text) = self.take_text(field)? else {
            return Ok(None);
        };
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(Invalid::new(field, "must not be empty"));
        }
        within(field, trimmed, max)?;
        Ok(Some(if trimmed.len() == text.len() {
            text
        } else {
            trimmed.to_owned()
        }))
    }

    /// A text of up to `max` characters that may be empty; missing counts as empty.
    ///
    /// # Errors
    /// Not a text, too long, or holding a NUL.
    pub fn any_text(&mut self, field: &str, max: usize) -> Result<String, Invalid> {
        let text = self.take_text(field)?.unwrap_or_default();
        let trimmed = text.trim();
        within(field, trimmed, max)?;
        Ok(trimmed.to_owned())
    }

    /// A text of 1 to `max` characters, kept to the letter, or nothing.
    ///
    /// # Errors
    /// Not a text, empty, or too long.
    pub fn exact_text(&mut self, field: &str, max: usize) -> Result<Option<String>, Invalid> {
        let Some(text) = self.take_text(field)? else {
            return Ok(None);
        };
        if text.is_empty() {
            return Err(Invalid::new(field, "must not be empty"));
        }
        within(field, &text, max)?;
        Ok(Some(text))
    }

    /// An id of 24 hexadecimal digits.
    ///
    /// # Errors
    /// Missing, or anything else.
    pub fn id(&mut self, field: &str) -> Result<Id, Invalid> {
        let text = self
            .take_text(field)?
            .ok_or_else(|| Invalid::new(field, "is required"))?;
        text.parse()
            .map_err(|error: crate::id::InvalidId| Invalid::new(field, error.to_string()))
    }

    /// A truth value.
    ///
    /// # Errors
    /// Missing, or anything else.
    pub fn flag(&mut self, field: &str) -> Result<bool, Invalid> {
        self.optional_flag(field)?
            .ok_or_else(|| Invalid::new(field, "is required"))
    }

    /// A truth value, or nothing.
    ///
    /// # Errors
    /// Anything but `true` and `false`.
    pub fn optional_flag(&mut self, field: &str) -> Result<Option<bool>, Invalid> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(Invalid::new(field, "must be true or false")),
        }
    }

    /// A whole number from 0, or nothing.
    ///
    /// # Errors
    /// Anything else.
    pub fn optional_number(&mut self, field: &str) -> Result<Option<u64>, Invalid> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(Invalid::new(field, "must be a whole number from 0")),
            },
        }
    }

    /// One of a few names.
    ///
    /// # Errors
    /// Missing, or another.
    pub fn one_of<T>(
        &mut self,
        field: &str,
        parse: fn(&str) -> Option<T>,
        names: &str,
    ) -> Result<T, Invalid> {
        self.optional_one_of(field, parse, names)?
            .ok_or_else(|| Invalid::new(field, "is required"))
    }

    /// One of a few names, or nothing.
    ///
    /// # Errors
    /// Another.
    pub fn optional_one_of<T>(
        &mut self,
        field: &str,
        parse: fn(&str) -> Option<T>,
        names: &str,
    ) -> Result<Option<T>, Invalid> {
        let Some(name) = self.take_text(field)? else {
            return Ok(None);
        };
        parse(&name)
            .map(Some)
            .ok_or_else(|| Invalid::new(field, format!("must be one of {names}")))
    }

    /// A list of short texts; missing counts as empty.
    ///
    /// # Errors
    /// Not a list, too many, or one of them wrong.
    pub fn tags(&mut self, field: &str) -> Result<Vec<String>, Invalid> {
        let items = match self.0.remove(field) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(Invalid::new(field, "must be a list of texts")),
        };
        if items.len() > limits::TAGS {
            return Err(Invalid::new(
                field,
                format!("may hold {} at most", limits::TAGS),
            ));
        }
        let mut tags = Vec::with_capacity(items.len());
        for item in items {
            let Value::String(tag) = item else {
                return Err(Invalid::new(field, "must be a list of texts"));
            };
            let tag = tag.trim();
            if tag.is_empty() {
                return Err(Invalid::new(field, "must not hold an empty text"));
            }
            within(field, tag, limits::TAG)?;
            if !tags.iter().any(|known| known == tag) {
                tags.push(tag.to_owned());
            }
        }
        Ok(tags)
    }

    fn take_text(&mut self, field: &str) -> Result<Option<String>, Invalid> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Invalid::new(field, "must be a text")),
        }
    }
}

fn within(field: &str, text: &str, max: usize) -> Result<(), Invalid> {
    // A text never has more characters than bytes: counting is for the few that come near the limit.
    if text.len() > max && text.chars().count() > max {
        return Err(Invalid::new(
            field,
            format!("may have {max} characters at most"),
        ));
    }
    if text.contains('\0') {
        return Err(Invalid::new(field, "must not contain a NUL character"));
    }
    Ok(())
}

const SIDES: &str = "user, agent";
const STATUSES: &str = "open, pending, closed";
const PRIORITIES: &str = "low, normal, high, urgent";

/// `join_ticket`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinTicket {
    /// Which.
    pub ticket_id: Id,
    /// Who joins.
    pub user_id: String,
    /// On which side.
    pub user_type: UserType,
    /// The name to show.
    pub user_name: String,
    /// The last `seq` that the client saw.
    pub since: Option<u64>,
    /// The epoch it saw it in.
    pub epoch: Option<String>,
}

impl TryFrom<Value> for JoinTicket {
    type Error = Invalid;
    fn try_from(payload: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::of(payload)?;
        Ok(Self {
            ticket_id: fields.id("ticketId")?,
            user_id: fields.text("userId", limits::ID)?,
            user_type: fields.one_of("userType", UserType::parse, SIDES)?,
            user_name: fields.text("userName", limits::NAME)?,
            since: fields.optional_number("since")?,
            epoch: fields.exact_text("epoch", limits::ID)?,
        })
    }
}

/// `leave_ticket`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaveTicket {
    /// Which.
    pub ticket_id: Id,
}

impl TryFrom<Value> for LeaveTicket {
    type Error = Invalid;
    fn try_from(payload: Value) -> Result<Self, Invalid> {
        Ok(Self {
            ticket_id: Fields::of(payload)?.id("ticketId")?,
        })
    }
}

/// `send_message`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMessage {
    /// Where.
    pub ticket_id: Id,
    /// Who writes.
    pub sender_id: String,
    /// On which side.
    pub sender_type: UserType,
    /// The writer's name.
    pub sender_name: String,
    /// The text.
    pub content: String,
    /// The client's own id: a repeat of it is the same message.
    pub client_message_id: Option<String>,
    /// For agents only.
    pub internal: bool,
}

impl TryFrom<Value> for SendMessage {
    type Error = Invalid;
    fn try_from(payload: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::of(payload)?;
        Ok(Self {
            ticket_id: fields.id("ticketId")?,
            sender_id: fields.text("senderId", limits::ID)?,
            sender_type: fields.one_of("senderType", UserType::parse, SIDES)?,
            sender_name: fields.text("senderName", limits::NAME)?,
            content: fields.text("content", limits::CONTENT)?,
            client_message_id: fields.exact_text("clientMessageId", limits::CLIENT_MESSAGE_ID)?,
            internal: fields.optional_flag("internal")?.unwrap_or(false),
        })
    }
}

/// `typing`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typing {
    /// Where.
    pub ticket_id: Id,
    /// Who.
    pub sender_id: String,
    /// The name to show.
    pub sender_name: String,
    /// Began, or ceased.
    pub is_typing: bool,
}

impl TryFrom<Value> for Typing {
    type Error = Invalid;
    fn try_from(payload: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::of(payload)?;
        Ok(Self {
            ticket_id: fields.id("ticketId")?,
            sender_id: fields.text("senderId", limits::ID)?,
            sender_name: fields.text("senderName", limits::NAME)?,
            is_typing: fields.flag("isTyping")?,
        })
    }
}

/// `ticket_status_change`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// Which.
    pub ticket_id: Id,
    /// To what.
    pub status: Status,
    /// Who changes it.
    pub changed_by: String,
    /// That person's name.
    pub changed_by_name: String,
    /// Only if the ticket is still where the client saw it.
    pub expected_seq: Option<u64>,
}

impl TryFrom<Value> for StatusChange {
    type Error = Invalid;
    fn try_from(payload: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::of(payload)?;
        Ok(Self {
            ticket_id: fields.id("ticketId")?,
            status: fields.one_of("status", Status::parse, STATUSES)?,
            changed_by: fields.text("changedBy", limits::ID)?,
            changed_by_name: fields.text("changedByName", limits::NAME)?,
            expected_seq: fields.optional_number("expectedSeq")?,
        })
    }
}

/// `assign_agent`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignAgent {
    /// Which.
    pub ticket_id: Id,
    /// To whom; nobody where the client sent null.
    pub agent: Option<crate::domain::Agent>,
    /// By whom.
    pub assigned_by: String,
    /// That person's name.
    pub assigned_by_name: String,
    /// Only if the ticket is still where the client saw it.
    pub expected_seq: Option<u64>,
}

impl TryFrom<Value> for AssignAgent {
    type Error = Invalid;
    fn try_from(payload: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::of(payload)?;
        if !fields.0.contains_key("agentId") {
            return Err(Invalid::new(
                "agentId",
                "is required (null takes the ticket from everybody)",
            ));
        }
        let agent = match fields.optional_text("agentId", limits::ID)? {
            Some(agent_id) => Some(crate::domain::Agent {
                agent_id,
                agent_name: fields.text("agentName", limits::NAME)?,
            }),
            None => None,
        };
        Ok(Self {
            ticket_id: fields.id("ticketId")?,
            agent,
            assigned_by: fields.text("assignedBy", limits::ID)?,
            assigned_by_name: fields.text("assignedByName", limits::NAME)?,
            expected_seq: fields.optional_number("expectedSeq")?,
        })
    }
}

/// The body of `POST /tickets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTicket {
    /// What it is about.
    pub subject: String,
    /// The customer's own words.
    pub description: String,
    /// How much it presses.
    pub priority: Priority,
    /// Labels.
    pub tags: Vec<String>,
    /// Whose ticket it is.
    pub user_id: Option<String>,
    /// That person's name.
    pub user_name: Option<String>,
}

impl TryFrom<Value> for NewTicket {
    type Error = Invalid;
    fn try_from(payload: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::of(payload)?;
        // `title` is what the former server called it.
        let subject = if fields.has("subject") || !fields.has("title") {
            "subject"
        } else {
            "title"
        };
        Ok(Self {
            subject: fields.text(subject, limits::SUBJECT)?,
            description: fields.any_text("description", limits::DESCRIPTION)?,
            priority: fields
                .optional_one_of("priority", Priority::parse, PRIORITIES)?
                .unwrap_or_default(),
            tags: fields.tags("tags")?,
            user_id: fields.optional_text("userId", limits::ID)?,
            user_name: fields.optional_text("userName", limits::NAME)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TICKET: &str = "0123456789abcdef01234567";

    fn send(change: impl FnOnce(&mut Map<String, Value>)) -> Result<SendMessage, Invalid> {
        let mut payload = json!({
            "ticketId": TICKET, "senderId": "u1", "senderType": "user", "senderName": "سارة", "content": "مرحبا",
        });
        change(payload.as_object_mut().unwrap());
        SendMessage::try_from(payload)
    }

    #[test]
    fn every_field_that_is_wrong_is_named() {
        for field in [
            "ticketId",
            "senderId",
            "senderType",
            "senderName",
            "content",
        ] {
            assert_eq!(send(|p| drop(p.remove(field))).unwrap_err().field, field);
            assert_eq!(
                send(|p| drop(p.insert(field.into(), json!({"$gt": ""}))))
                    .unwrap_err()
                    .field,
                field
            );
            assert_eq!(
                send(|p| drop(p.insert(field.into(), json!(7))))
                    .unwrap_err()
                    .field,
                field
            );
            assert_eq!(
                send(|p| drop(p.insert(field.into(), json!("  "))))
                    .unwrap_err()
                    .field,
                field
            );
        }
        assert_eq!(
            send(|p| drop(p.insert("internal".into(), json!("yes"))))
                .unwrap_err()
                .field,
            "internal"
        );
        assert_eq!(
            SendMessage::try_from(json!([1])).unwrap_err().field,
            "payload"
        );
    }

    #[test]
    fn limits_count_characters_after_trimming() {
        let full = "ع".repeat(limits::CONTENT);
        let padded = format!("  {full}\n");
        assert_eq!(
            send(|p| drop(p.insert("content".into(), json!(padded))))
                .unwrap()
                .content,
            full
        );
        let over = format!("{full}x");
        assert_eq!(
            send(|p| drop(p.insert("content".into(), json!(over))))
                .unwrap_err()
                .field,
            "content"
        );
        // A right-to-left mark is part of the text, not white space.
        let marked = "\u{200f}مرحبا\u{200f}";
        assert_eq!(
            send(|p| drop(p.insert("content".into(), json!(marked))))
                .unwrap()
                .content,
            marked
        );
    }

    #[test]
    fn an_error_never_repeats_the_input() {
        let error = send(|p| drop(p.insert("senderType".into(), json!("<script>")))).unwrap_err();
        assert!(!error.to_string().contains("script"), "{error}");
    }

    #[test]
    fn a_ticket_may_be_taken_from_everybody_but_not_by_accident() {
        let base = json!({"ticketId": TICKET, "assignedBy": "a1", "assignedByName": "Omar"});
        assert_eq!(
            AssignAgent::try_from(base.clone()).unwrap_err().field,
            "agentId"
        );
        let mut nobody = base.clone();
        nobody["agentId"] = Value::Null;
        assert_eq!(AssignAgent::try_from(nobody).unwrap().agent, None);
        let mut nameless = base;
        nameless["agentId"] = json!("a2");
        assert_eq!(
            AssignAgent::try_from(nameless).unwrap_err().field,
            "agentName"
        );
    }

    #[test]
    fn title_is_taken_for_subject() {
        assert_eq!(
            NewTicket::try_from(json!({"title": "t"})).unwrap().subject,
            "t"
        );
        assert_eq!(
            NewTicket::try_from(json!({"title": "t", "subject": "s"}))
                .unwrap()
                .subject,
            "s"
        );
        assert_eq!(NewTicket::try_from(json!({})).unwrap_err().field, "subject");
        let tags = NewTicket::try_from(json!({"subject": "s", "tags": ["a", " a ", "b"]}))
            .unwrap()
            .tags;
        assert_eq!(tags, ["a", "b"]);
    }
}

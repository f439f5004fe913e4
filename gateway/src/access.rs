//! Who may do what: one pure function of caller, action and ticket, used by sockets and REST alike.
//!
//! A caller with a token is who the token says, whatever its payloads say. A user's tickets are those whose
//! `userId` is the token's `sub`; a token with `tickets` opens exactly those, whoever its bearer is. Of all
//! other tickets a caller learns nothing, not even that they exist.

use std::sync::Arc;

use serde_json::Value;
use ticket_shared::{
    domain::{Status, Ticket, UserType},
    event::json::number_text,
    id::Id,
    stream::{Actor, Base, Entry, Head, Numbers, ticket},
};

use crate::{
    auth::{Claims, Role},
    error::Error,
};

/// Who asks.
#[derive(Clone, Debug)]
pub enum Caller {
    /// `AUTH_MODE=none`: whoever it says it is.
    Anyone,
    /// Whoever the token says.
    Known(Arc<Claims>),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Be in a ticket, or read it and its messages.
    Read,
    /// Write a message; type.
    Write,
    /// Write a message for agents only.
    WriteInternal,
    /// Set the status.
    SetStatus(Status),
    /// Give a ticket to somebody, or take it from everybody.
    Assign,
    /// Open a ticket.
    Open,
    /// List tickets.
    List,
    /// Follow or count all tickets.
    Queue,
    /// End the validity of tokens.
    Revoke,
}

/// The tickets that an action of a caller may touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of them.
    All,
    /// Those of this user.
    Of(String),
    /// These.
    These(Vec<Id>),
}

impl Reach {
    /// Whether a ticket of this owner is among them.
    pub fn admits(&self, ticket: Id, owner: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Of(user) => owner == Some(user),
            Self::These(tickets) => tickets.contains(&ticket),
        }
    }
}

/// What a caller may do: with which tickets, and seeing what of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The tickets.
    pub reach: Reach,
    /// The side from which they are seen: users see no internal messages, nor that there are any.
    pub side: UserType,
    /// Set if what the caller appends to one ticket is counted over all gateways.
    pub counted: Option<Counted>,
}

/// A caller whose appends to one ticket are counted where all gateways meet, because it uses much of its rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The name that it is counted under.
    pub owner: String,
    /// Entries per second; five seconds' worth may come at once.
    pub per_second: u32,
}

impl Grant {
    /// Everything, as the support team sees it.
    pub const TEAM: Self = Self {
        reach: Reach::All,
        side: UserType::Agent,
        counted: None,
    };

    /// The ticket as the holder of this grant sees it. Every answer that carries a ticket, and every error, has it from
    /// here.
    ///
    /// # Errors
    /// [`Error::TicketNotFound`] if it is not within reach.
    pub fn show(
        &self,
        id: Id,
        base: &Base,
        head: &Head,
        numbers: &Numbers,
    ) -> Result<Ticket, Error> {
        if !self.reach.admits(id, base.user_id.as_deref()) {
            return Err(Error::TicketNotFound);
        }
        Ok(ticket(id, base, head, &numbers.seen_by(self.side)))
    }

    /// The ticket after an entry, as the holder sees it.
    ///
    /// # Errors
    /// As [`Grant::show`]; [`Error::Internal`] for an entry that does not carry its ticket.
    pub fn show_after(&self, entry: &Entry) -> Result<Ticket, Error> {
        let without = || Error::Internal("an entry without its ticket".into());
        let base = entry.base.as_ref().ok_or_else(without)?;
        self.show(entry.ticket_id, base, &entry.head, &entry.numbers())
    }
}

impl Caller {
    /// What this caller may do by `action`. Where a ticket is concerned, [`Reach::admits`] has the last word.
    ///
    /// # Errors
    /// [`Error::Forbidden`] where no ticket at all may be touched like that.
    pub fn grant(&self, action: Action) -> Result<Grant, Error> {
        let Self::Known(claims) = self else {
            // Revoking needs tokens; all else is trusted, as the former server did.
            return match action {
                Action::Revoke => Err(Error::Forbidden("there are no tokens (AUTH_MODE=none)")),
                _ => Ok(Grant::TEAM),
            };
        };
        let limited = claims.tickets.is_some();
        let refused = match (claims.role, action) {
            (Role::User | Role::Agent, Action::Revoke) => Some("only admins revoke tokens"),
            (Role::User, Action::WriteInternal) => Some("only agents write internal messages"),
            (Role::User, Action::Assign) => Some("only agents assign tickets"),
            (Role::User, Action::SetStatus(Status::Pending)) => {
                Some("users may only close and reopen")
            }
            (Role::User, Action::Queue) => Some("only agents see the queue"),
            // People, the queue, and a ticket that is not there yet are beyond any ticket.
            (_, Action::Queue | Action::Revoke | Action::Open) if limited => {
                Some("the token is for certain tickets only")
            }
            _ => None,
        };
        if let Some(reason) = refused {
            return Err(Error::Forbidden(reason));
        }
        let reach = match (&claims.tickets, claims.role) {
            (Some(tickets), _) => Reach::These(tickets.clone()),
            (None, Role::User) => Reach::Of(claims.sub.clone()),
            (None, Role::Agent | Role::Admin) => Reach::All,
        };
        Ok(Grant {
            reach,
            side: self.side().unwrap_or(UserType::User),
            counted: None,
        })
    }

    /// The side that a token stands for; nothing where payloads say it.
    pub fn side(&self) -> Option<UserType> {
        match self {
            Self::Anyone => None,
            Self::Known(claims) => Some(match claims.role {
                Role::User => UserType::User,
                Role::Agent | Role::Admin => UserType::Agent,
            }),
        }
    }

    /// The scope of what a caller names itself, such as idempotency keys.
    pub fn scope(&self) -> String {
        match (self, self.side()) {
            (Self::Known(claims), Some(side)) => format!("{}:{}", side.as_str(), claims.sub),
            _ => String::new(),
        }
    }

    /// Who a change is put down to; nobody where that is not known.
    pub fn actor(&self) -> Option<Actor> {
        match self {
            Self::Anyone => None,
            Self::Known(claims) => Some(Actor {
                id: claims.sub.clone(),
                name: claims.name.clone(),
            }),
        }
    }

    /// Puts who the caller is into the fields of a payload that say so.
    ///
    /// # Errors
    /// [`Error::Forbidden`] where the payload says that it is somebody else. A name is no identity: the token's
    /// replaces the payload's.
    pub fn sign(&self, payload: &mut Value, fields: &Fields) -> Result<(), Error> {
        let (Self::Known(claims), Some(side), Value::Object(payload)) =
            (self, self.side(), payload)
        else {
            return Ok(());
        };
        let mut ids = vec![(fields.id, claims.sub.as_str())];
        if let Some(field) = fields.side {
            ids.push((field, side.as_str()));
        }
        for (field, true_value) in ids {
            let said = match payload.get(field) {
                None | Some(Value::Null) => None,
                Some(Value::String(said)) => Some(said.trim().to_owned()),
                // What is neither text nor number is refused for that.
                Some(other) => match number_text(other) {
                    Some(said) => Some(said),
                    None => continue,
                },
            };
            if said.is_some_and(|said| said != true_value) {
                return Err(Error::Forbidden("the token is somebody else's"));
            }
            payload.insert(field.to_owned(), true_value.into());
        }
        payload.insert(fields.name.to_owned(), claims.name.as_str().into());
        Ok(())
    }
}

/// The fields of a payload that say who sends it.
#[derive(Debug)]
pub struct Fields {
    id: &'static str,
    name: &'static str,
    side: Option<&'static str>,
}

impl Fields {
    /// Of `join_ticket`.
    pub const JOIN: Self = Self::of("userId", "userName", Some("userType"));
    /// Of `send_message`.
    pub const SEND: Self = Self::of("senderId", "senderName", Some("senderType"));
    /// Of `typing`.
    pub const TYPING: Self = Self::of("senderId", "senderName", None);
    /// Of `ticket_status_change`.
    pub const STATUS: Self = Self::of("changedBy", "changedByName", None);
    /// Of `assign_agent`.
    pub const ASSIGN: Self = Self::of("assignedBy", "assignedByName", None);
    /// Of `POST /tickets`, where a user opens one.
    pub const OPEN: Self = Self::of("userId", "userName", None);

    const fn of(id: &'static str, name: &'static str, side: Option<&'static str>) -> Self {
        Self { id, name, side }
    }
}

#[cfg(test)]
mod tests;

//! `ticket_status_change`: set a ticket's status.

use serde_json::Value;
use ticket_shared::{
    domain::UserType,
    event::{Changed, StatusChange},
    id::Id,
    stream::Actor,
};

use super::inbound::Call;
use crate::{
    error::Error,
    ticket::append::{Change, Expected},
};

/// Sets the status and tells the queue; the ticket's followers tell everybody in it.
pub(super) async fn handle(call: &Call, payload: Value) -> Result<Changed, Error> {
    let change = StatusChange::try_from(payload)?;
    let by = Actor {
        id: change.changed_by,
        name: change.changed_by_name,
    };
    let expected = expected(call, change.ticket_id, change.expected_seq);
    super::change(
        call,
        change.ticket_id,
        Change::Status(change.status),
        by,
        expected,
    )
    .await
}

/// What the caller takes the ticket for. Whoever is in it as a user counts only what users see.
pub(super) fn expected(call: &Call, ticket: Id, seq: Option<u64>) -> Expected {
    let joined = call.connection.joined();
    let as_user = joined
        .get(&ticket)
        .is_some_and(|person| person.user_type == UserType::User);
    Expected { seq, as_user }
}

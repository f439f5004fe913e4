//! `ticket_status_change`: set a ticket's status.

use serde_json::Value;
use ticket_shared::{
    event::{Changed, StatusChange},
    id::Id,
    stream::Actor,
};

use super::inbound::Call;
use crate::{
    access::{Action, Fields, Grant},
    error::Error,
    ticket::append::Change,
};

/// Sets the status and tells the queue; the ticket's followers tell everybody in it.
pub(super) async fn handle(call: &Call, mut payload: Value) -> Result<Changed, Error> {
    call.caller.sign(&mut payload, &Fields::STATUS)?;
    let change = StatusChange::try_from(payload)?;
    let by = Actor {
        id: change.changed_by,
        name: change.changed_by_name,
    };
    let grant = grant(call, change.ticket_id, Action::SetStatus(change.status))?;
    super::change(
        call,
        change.ticket_id,
        Change::Status(change.status),
        by,
        change.expected_seq,
        &grant,
    )
    .await
}

/// What the caller may do. Without a token, whoever is in the ticket as a user counts only what users see.
pub(super) fn grant(call: &Call, ticket: Id, action: Action) -> Result<Grant, Error> {
    let mut grant = call.caller.grant(action)?;
    if call.caller.side().is_none()
        && let Some(seat) = call.connection.joined().get(&ticket)
    {
        grant.side = seat.person.user_type;
    }
    Ok(grant)
}

//! `assign_agent`: give a ticket to an agent, or take it from everybody.

use serde_json::Value;
use ticket_shared::{
    event::{AssignAgent, Changed},
    stream::Actor,
};

use super::{inbound::Call, ticket_status_change::grant};
use crate::{
    access::{Action, Fields},
    error::Error,
    ticket::append::Change,
};

/// Assigns the ticket and tells the queue; the ticket's followers tell everybody in it.
pub(super) async fn handle(call: &Call, mut payload: Value) -> Result<Changed, Error> {
    call.caller.sign(&mut payload, &Fields::ASSIGN)?;
    let assign = AssignAgent::try_from(payload)?;
    let by = Actor {
        id: assign.assigned_by,
        name: assign.assigned_by_name,
    };
    let grant = grant(call, assign.ticket_id, Action::Assign)?;
    super::change(
        call,
        assign.ticket_id,
        Change::Assign(assign.agent),
        by,
        assign.expected_seq,
        &grant,
    )
    .await
}

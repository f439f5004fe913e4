//! `assign_agent`: give a ticket to an agent, or take it from everybody.

use serde_json::Value;
use ticket_shared::{
    event::{AssignAgent, Changed},
    stream::Actor,
};

use super::{inbound::Call, ticket_status_change::expected};
use crate::{error::Error, ticket::append::Change};

/// Assigns the ticket and tells the queue; the ticket's followers tell everybody in it.
pub(super) async fn handle(call: &Call, payload: Value) -> Result<Changed, Error> {
    let assign = AssignAgent::try_from(payload)?;
    let by = Actor {
        id: assign.assigned_by,
        name: assign.assigned_by_name,
    };
    let expected = expected(call, assign.ticket_id, assign.expected_seq);
    super::change(
        call,
        assign.ticket_id,
        Change::Assign(assign.agent),
        by,
        expected,
    )
    .await
}

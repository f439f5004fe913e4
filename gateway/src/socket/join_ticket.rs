//! `join_ticket`: enter a ticket, and get its newest messages, or what was missed.

use serde_json::Value;
use ticket_shared::{
    domain::Person,
    event::{ErrorCode, JoinTicket, Joined},
};
use tokio::sync::oneshot;

use super::inbound::{Call, Reply};
use crate::{error::Error, ticket::follow::JoinRequest};

/// Lets the socket in; the ticket's own task answers.
pub(super) async fn handle(call: &Call, payload: Value, reply: Reply) -> Option<ErrorCode> {
    let JoinTicket {
        ticket_id,
        user_id,
        user_type,
        user_name,
        since,
        epoch,
    } = match payload.try_into() {
        Ok(join) => join,
        Err(invalid) => return reply.send::<Joined>(Err(Error::Invalid(invalid))),
    };
    let person = Person {
        user_id,
        user_type,
        user_name,
    };
    let before = call.connection.joined().insert(ticket_id, person.clone());
    let (done, finished) = oneshot::channel();
    let since = since.map(|since| (since, epoch));
    let spare = reply.clone();
    call.app.follower.join(
        ticket_id,
        JoinRequest {
            socket: call.socket.clone(),
            person,
            since,
            reply,
            done,
        },
    );
    let Ok(outcome) = finished.await else {
        return spare.send::<Joined>(Err(Error::Internal("the ticket's task ended".into())));
    };
    if outcome.is_some() && before.is_none() {
        call.connection.joined().remove(&ticket_id);
    }
    outcome
}

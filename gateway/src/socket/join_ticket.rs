//! `join_ticket`: enter a ticket, and get its newest messages, or what was missed.

use std::sync::Arc;

use serde_json::Value;
use ticket_shared::{
    domain::Person,
    event::{ErrorCode, JoinTicket, Joined},
};
use tokio::sync::oneshot;

use super::{Reply, inbound::Call};
use crate::{
    access::{Action, Fields},
    error::Error,
    ticket::follow::{JoinRequest, Seat},
};

/// Lets the socket in; the ticket's own task answers.
pub(super) async fn handle(call: &Call, payload: Value, reply: Reply) -> Option<ErrorCode> {
    let JoinTicket {
        ticket_id,
        user_id,
        user_type,
        user_name,
        since,
        epoch,
    } = match allowed(call, payload).await {
        Ok(join) => join,
        Err(error) => return reply.send::<Joined>(Err(error)),
    };
    let person = Person {
        user_id,
        user_type,
        user_name,
    };
    let seat = Seat::new(person);
    let before = call
        .connection
        .joined()
        .insert(ticket_id, Arc::clone(&seat));
    let (done, finished) = oneshot::channel();
    let since = since.map(|since| (since, epoch));
    let spare = reply.clone();
    call.app.follower.join(
        ticket_id,
        JoinRequest {
            socket: call.socket.clone(),
            seat,
            since,
            reply,
            done,
        },
    );
    let Ok(outcome) = finished.await else {
        return spare.send::<Joined>(Err(Error::Internal("the ticket's task ended".into())));
    };
    if outcome.is_some() {
        let mut joined = call.connection.joined();
        match before {
            // Where it came as somebody else it may be in the ticket as before.
            Some(before) => joined.insert(ticket_id, before),
            None => joined.remove(&ticket_id),
        };
    }
    outcome
}

/// The payload, where its caller may be in the ticket. Whose a ticket is never changes, so this holds for as
/// long as the token does.
async fn allowed(call: &Call, mut payload: Value) -> Result<JoinTicket, Error> {
    call.caller.sign(&mut payload, &Fields::JOIN)?;
    let join = JoinTicket::try_from(payload)?;
    let grant = call.caller.grant(Action::Read)?;
    {
        let joined = call.connection.joined();
        if !joined.contains_key(&join.ticket_id) {
            call.app.admission.another_room(joined.len())?;
        }
    }
    call.app
        .tickets
        .permit(join.ticket_id, &grant.reach)
        .await?;
    Ok(join)
}

//! `join_ticket`: enter a ticket, and get its newest messages, or what was missed.

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
    ticket::follow::JoinRequest,
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
    let before = call
        .connection
        .joined()
        .insert(ticket_id, Box::new(person.clone()));
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

//! `join_ticket`: enter a ticket, and get its newest messages, or what was missed.

use std::time::Duration;

use fred::interfaces::ClientLike;
use serde_json::Value;
use ticket_shared::{
    domain::Person,
    event::{ErrorCode, JoinTicket, Joined},
};
use tokio::{sync::oneshot, time::Instant};

use super::{Reply, inbound::Call};
use crate::{
    access::{Action, Fields, Grant},
    error::Error,
    ticket::follow::{JoinRequest, Membership, Seat},
};

/// Time within which a join that fails for want of Redis is tried again before that is answered: a client that joins
/// without a callback never joins again by itself.
const RETRY_FOR: Duration = Duration::from_secs(5);
/// Time between two tries.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// Lets the socket in; the ticket's own task answers. What the socket sends meanwhile waits behind it.
pub(super) async fn handle(call: &Call, payload: Value, reply: Reply) -> Option<ErrorCode> {
    let join = match read(call, payload) {
        Ok(join) => join,
        Err(error) => return reply.send::<Joined>(Err(error)),
    };
    let deadline = Instant::now() + RETRY_FOR;
    loop {
        match enter(call, join.clone(), reply.clone()).await {
            Ok(outcome) => return outcome,
            Err(Error::Unavailable { part: "redis", .. })
                if redis_is_back(call, deadline).await => {}
            Err(error) => return reply.send::<Joined>(Err(error)),
        }
    }
}

/// Waits until it is worth trying again; false if the time is over, or the client or its right to try is gone.
async fn redis_is_back(call: &Call, deadline: Instant) -> bool {
    loop {
        tokio::time::sleep(RETRY_EVERY).await;
        let stays = call.socket.connected() && call.app.identify.check(&call.caller).is_ok();
        if !stays || call.app.draining() || Instant::now() >= deadline {
            return false;
        }
        // Tickets are not asked for what can't come.
        if call.app.tickets.redis().is_connected() {
            return true;
        }
    }
}

/// Puts the socket into the ticket; a failure is not answered yet.
async fn enter(call: &Call, join: JoinTicket, reply: Reply) -> Result<Option<ErrorCode>, Error> {
    let mut grant = permit(call, &join).await?;
    let JoinTicket {
        ticket_id,
        user_id,
        user_type,
        user_name,
        since,
        epoch,
    } = join;
    // Without a token it is the side that the payload says.
    grant.side = user_type;
    let person = Person {
        user_id,
        user_type,
        user_name,
    };
    let _turn = call.app.follower.joins().person(&person.key()).await?;
    let (done, finished) = oneshot::channel();
    let since = since.map(|since| (since, epoch));
    call.app.follower.join(
        ticket_id,
        JoinRequest {
            socket: call.socket.clone(),
            seat: Seat::new(person),
            grant,
            since,
            reply,
            done,
        },
    );
    let Ok(outcome) = finished.await else {
        call.connection.joined().remove(&ticket_id);
        return Err(Error::Internal("the ticket's task ended".into()));
    };
    match outcome.membership {
        Membership::Unchanged => None,
        Membership::In(seat) => call.connection.joined().insert(ticket_id, seat),
        Membership::Out => call.connection.joined().remove(&ticket_id),
    };
    outcome.answered
}

/// The payload, with its caller in it.
fn read(call: &Call, mut payload: Value) -> Result<JoinTicket, Error> {
    call.caller.sign(&mut payload, &Fields::JOIN)?;
    Ok(JoinTicket::try_from(payload)?)
}

/// Checks that the caller may be in the ticket. Whose a ticket is never changes, so this holds for as long as the token
/// does.
async fn permit(call: &Call, join: &JoinTicket) -> Result<Grant, Error> {
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
    Ok(grant)
}

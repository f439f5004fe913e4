//! `refresh_token`: go on with another token, without a new connection.

use serde_json::Value;
use ticket_shared::{
    event::{RefreshToken, Refreshed, Resync, server},
    time::Time,
};

use super::{inbound::Call, leave_ticket, subscribe_queue};
use crate::{
    access::{Action, Caller},
    error::Error,
    identify::claims_of,
};

/// Takes the new token, which must be the same person's in the same role. Tickets that it does not open are
/// left.
pub(super) async fn handle(call: &Call, payload: Value) -> Result<Refreshed, Error> {
    let RefreshToken { token } = payload.try_into()?;
    let claims = call.app.identify.claims(Some(token.expose())).await?;
    if let Some(before) = claims_of(&call.caller)
        && (&before.sub, before.role) != (&claims.sub, claims.role)
    {
        return Err(Error::Forbidden("the token is somebody else's"));
    }
    let expires_at = Time::from_seconds(claims.expires_at);
    let same = claims_of(&call.caller).is_some_and(|before| before.tickets == claims.tickets);
    let caller = Caller::Known(claims.into());
    call.connection.go_on_as(caller.clone());
    if !same {
        leave_what_is_closed(call, &caller).await?;
    }
    call_back(call).await;
    Ok(Refreshed { expires_at })
}

/// Tells a client that comes late to join again what it had to leave: else it would go on without hearing.
async fn call_back(call: &Call) {
    let shut = std::mem::take(&mut *call.connection.shut());
    for ticket_id in shut {
        // Which epoch it is, the join will say; a name that none has is as good.
        let epoch = call.app.tickets.epoch(ticket_id).await.unwrap_or_default();
        let event = Resync { ticket_id, epoch };
        if call.socket.emit(server::RESYNC, &event).is_err() {
            tracing::debug!("client not told to join again");
        }
    }
}

async fn leave_what_is_closed(call: &Call, caller: &Caller) -> Result<(), Error> {
    let grant = caller.grant(Action::Read)?;
    let joined: Vec<_> = call.connection.joined().keys().copied().collect();
    for ticket in joined {
        match call.app.tickets.permit(ticket, &grant.reach).await {
            Ok(()) => {}
            Err(_) => leave_ticket::leave(call, ticket).await,
        }
    }
    if caller.grant(Action::Queue).is_err() {
        subscribe_queue::leave(call);
    }
    Ok(())
}

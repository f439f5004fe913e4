//! `refresh_token`: go on with another token, without a new connection.

use serde_json::Value;
use ticket_shared::{
    event::{RefreshToken, Refreshed},
    time::Time,
};

use super::{inbound::Call, leave_ticket};
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
    let (caller, narrower) = (Caller::Known(claims.into()), claims_of(&call.caller));
    let narrower = narrower.map(|before| before.tickets.clone());
    call.connection.go_on_as(caller.clone());
    if narrower != claims_of(&caller).map(|claims| claims.tickets.clone()) {
        leave_what_is_closed(call, &caller).await?;
    }
    Ok(Refreshed { expires_at })
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
        call.socket.leave(crate::queue::ROOM);
    }
    Ok(())
}

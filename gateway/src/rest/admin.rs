//! `POST /admin/revoke`: tokens that hold no longer.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use ticket_shared::event::Revoke;

use super::input::Body;
use crate::{
    access::{Action, Caller},
    app::App,
    auth::Revoked,
    error::Error,
    identify::{Identify, claims_of},
};

/// Revokes them. Every gateway knows within seconds, and ends their connections.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(body): Body,
) -> Result<StatusCode, Error> {
    caller.grant(Action::Revoke)?;
    let what = match Revoke::try_from(body)? {
        Revoke::Of(person) => Revoked::Sub(person),
        Revoke::Token(id) => Revoked::Token(id),
    };
    if let Identify::Tokens {
        revocations, audit, ..
    } = &app.identify
        && let Some(by) = claims_of(&caller)
    {
        revocations.revoke(what.clone()).await?;
        audit.revoked(by, &what);
    }
    Ok(StatusCode::NO_CONTENT)
}

//! `GET /tickets/:id/messages`

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use ticket_shared::domain::Message;

use super::input::{Query, TicketId};
use crate::{
    access::{Action, Caller},
    app::App,
    error::Error,
    ticket::page::Page,
};

/// A page of messages.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageList {
    messages: Vec<Message>,
    /// Goes into `after` where that was asked, else into `before`; null at the end.
    next_cursor: Option<String>,
    /// Parameters that are not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignored: Vec<String>,
}

/// A page, oldest first: what follows `after`, or what precedes `before`, or the latest.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    TicketId(id): TicketId,
    query: Query,
) -> Result<Json<MessageList>, Error> {
    let grant = caller.grant(Action::Read)?;
    let (after, before, limit) = (query.seq("after")?, query.seq("before")?, query.limit()?);
    // One more than asked tells whether there are more.
    let mut messages = app
        .tickets
        .messages(
            id,
            Page {
                after,
                before,
                limit: limit + 1,
            },
            &grant,
        )
        .await?;
    let more = messages.len() > limit;
    let next_cursor = if after.is_some() {
        messages.truncate(limit);
        messages.last().map(|message| message.seq)
    } else {
        messages.drain(..messages.len().saturating_sub(limit));
        messages.first().map(|message| message.seq)
    };
    Ok(Json(MessageList {
        ignored: query.ignored(&["limit", "before", "after"]),
        messages,
        next_cursor: next_cursor.filter(|_| more).map(|seq| seq.to_string()),
    }))
}

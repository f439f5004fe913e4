//! `/tickets`: list, open, show, count.

use std::{borrow::Cow, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use ticket_shared::{
    domain::{Counts, Status, Ticket, UserType, limits},
    event::{Invalid, NewTicket},
    id::Id,
    stream::{Base, Head},
};

use super::input::{Body, Query, TicketId};
use crate::{
    access::{Action, Caller, Fields, Grant},
    app::App,
    error::Error,
    queue,
    ticket::{append::Opened, list::Cursor},
};

/// A page of tickets.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TicketList {
    tickets: Vec<Ticket>,
    next_cursor: Option<String>,
    /// Parameters that are not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignored: Vec<String>,
}

/// One ticket.
#[derive(Serialize)]
pub(super) struct One {
    ticket: Ticket,
}

/// `GET /tickets`: newest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: Query,
) -> Result<Json<TicketList>, Error> {
    let grant = caller.grant(Action::List)?;
    let (cursor, limit) = (query.parsed("cursor", Cursor::decode)?, query.limit()?);
    let mut tickets = app.tickets.list(cursor, limit + 1, &grant).await?;
    let more = tickets.len() > limit;
    tickets.truncate(limit);
    let next_cursor = tickets
        .last()
        .filter(|_| more)
        .map(|last| Cursor::of(last).encode());
    Ok(Json(TicketList {
        tickets,
        next_cursor,
        ignored: query.ignored(&["limit", "cursor"]),
    }))
}

/// `GET /tickets/:id`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    TicketId(id): TicketId,
) -> Result<Json<One>, Error> {
    let grant = caller.grant(Action::Read)?;
    Ok(Json(One {
        ticket: app.tickets.ticket(id, &grant).await?,
    }))
}

/// `GET /tickets/stats/counts`
pub(super) async fn counts(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Counts>, Error> {
    caller.grant(Action::Queue)?;
    Ok(Json(app.tickets.counts().await?))
}

/// `POST /tickets`: opens one. Under an `Idempotency-Key` a repeat finds the first.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    Body(mut body): Body,
) -> Result<Response, Error> {
    let grant = caller.grant(Action::Open)?;
    if caller.side() == Some(UserType::User) {
        // Agents open tickets for others, users for themselves.
        caller.sign(&mut body, &Fields::OPEN)?;
    }
    let key = idempotency_key(&headers)?;
    let new = NewTicket::try_from(body)?;
    let (id, fingerprint) = match &key {
        Some(key) => (Id::of_ticket(&caller.scope(), key), Some(fingerprint(&new))),
        None => (Id::fresh()?, None),
    };
    let base = Base {
        description: new.description,
        user_id: new.user_id,
        user_name: new.user_name,
        created_at: 0,
        fingerprint,
    };
    let head = Head {
        subject: new.subject,
        status: Status::Open,
        priority: new.priority,
        tags: serde_json::to_string(&new.tags)?,
        agent_id: None,
        agent_name: None,
        closed_at: None,
    };
    let by = caller.actor().or_else(|| base.user());
    let opened = app
        .tickets
        .open(id, &base, &head, by, key.is_some(), &grant);
    let ticket = match opened.await? {
        Opened::New(entry) => {
            queue::created(&app.io, Grant::TEAM.show_after(&entry)?).await;
            grant.show_after(&entry)?
        }
        Opened::Before(ticket) => *ticket,
    };
    let location = format!("/tickets/{id}");
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(One { ticket }),
    )
        .into_response())
}

/// The key, or the text that it quotes: the header is a string of structured fields (RFC 9651), which not all callers write.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = key.to_str().ok().map(|key| unquoted(key.trim()));
    match key {
        Some(key) if (1..=limits::ID).contains(&key.len()) => Ok(Some(key.into_owned())),
        _ => Err(Invalid::new(
            "Idempotency-Key",
            "must be 1 to 128 visible ASCII characters",
        )
        .into()),
    }
}

/// The text of a quoted string; whatever is none stays as it is.
fn unquoted(text: &str) -> Cow<'_, str> {
    let inside = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let Some(inside) = inside else {
        return text.into();
    };
    let mut plain = String::with_capacity(inside.len());
    let mut letters = inside.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return text.into(),
            '\\' => match letters.next() {
                Some(escaped @ ('"' | '\\')) => plain.push(escaped),
                _ => return text.into(),
            },
            other => plain.push(other),
        }
    }
    plain.into()
}

/// What a request says, as far as it counts. Formatting of the JSON does not.
fn fingerprint(new: &NewTicket) -> String {
    let NewTicket {
        subject,
        description,
        priority,
        tags,
        user_id,
        user_name,
    } = new;
    let said = serde_json::json!([subject, description, priority, tags, user_id, user_name]);
    let digest = Sha256::digest(said.to_string().as_bytes());
    let mut start = [0; 12];
    start.copy_from_slice(&digest[..12]);
    Id::from_bytes(start).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_be_quoted() {
        let key = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", text.parse().unwrap());
            idempotency_key(&headers).ok().flatten()
        };
        for (text, plain) in [
            ("a", "a"),
            ("\"a\"", "a"),
            (" \"a\" ", "a"),
            (r#""a\"b\\""#, r#"a"b\"#),
            // No strings, so taken as they are.
            ("\"a", "\"a"),
            ("a\"", "a\""),
            ("\"", "\""),
            (r#""a\b""#, r#""a\b""#),
            (r#""a"b""#, r#""a"b""#),
            (r#""a\""#, r#""a\""#),
        ] {
            assert_eq!(key(text).as_deref(), Some(plain), "{text}");
        }
        for none in ["", "\"\"", " "] {
            assert_eq!(key(none), None, "{none}");
        }
    }
}

//! `send_message`: write in a ticket.

use serde_json::Value;
use ticket_shared::{
    domain::{Person, UserType},
    event::{SendMessage, Sent},
    id::Id,
    stream::NewMessage,
};

use super::{event::Payload, inbound::Call};
use crate::{
    access::{Action, Counted, Fields, Grant},
    error::Error,
};

/// A message that may be appended.
struct Prepared {
    ticket: Id,
    message: NewMessage,
    grant: Grant,
}

/// Appends messages that came one behind the other, or finds the first one of the same client id. Those of one ticket go
/// together: whoever sends many waits for one round trip, not for one each.
pub(super) async fn handle(
    call: &Call,
    payloads: Vec<Result<Payload, Error>>,
) -> Vec<Result<Sent, Error>> {
    let mut answers = Vec::with_capacity(payloads.len());
    let counted = call.connection.counted();
    let prepared = payloads
        .into_iter()
        // One after the other: decoded, they are far larger.
        .map(|payload| prepare(call, payload.and_then(Payload::decode)?, counted.clone()));
    let mut prepared = prepared.peekable();
    while let Some(first) = prepared.next() {
        let Prepared {
            ticket,
            message,
            grant,
        } = match first {
            Ok(first) => first,
            Err(error) => {
                answers.push(Err(error));
                continue;
            }
        };
        let mut messages = vec![message];
        let follows = |next: &Result<Prepared, Error>| matches!(next, Ok(next) if next.ticket == ticket && next.grant == grant);
        while let Some(Ok(next)) = prepared.next_if(follows) {
            messages.push(next.message);
        }
        for sent in call.app.tickets.send_all(ticket, messages, &grant).await {
            if matches!(sent, Err(Error::RateLimited { .. })) {
                call.connection.refused_elsewhere();
            }
            answers.push(sent.map(|(message, duplicate)| {
                // Every follower ends the writer's typing with the message; ours must not think that it goes on.
                call.app
                    .typing
                    .wrote(ticket, message.sender_type, &message.sender_id);
                Sent { message, duplicate }
            }));
        }
    }
    answers
}

fn prepare(call: &Call, mut payload: Value, counted: Option<Counted>) -> Result<Prepared, Error> {
    call.caller.sign(&mut payload, &Fields::SEND)?;
    let send = SendMessage::try_from(payload)?;
    let mut grant = call.caller.grant(if send.internal {
        Action::WriteInternal
    } else {
        Action::Write
    })?;
    grant.counted = counted;
    if send.internal && send.sender_type == UserType::User {
        return Err(Error::Forbidden("only agents write internal messages"));
    }
    let id = match &send.client_message_id {
        Some(client_id) => {
            // A customer and an agent may have the same id.
            let sender = Person::key_of(send.sender_type, &send.sender_id);
            Id::of_message(send.ticket_id, &sender, client_id)
        }
        None => Id::fresh()?,
    };
    let message = NewMessage {
        id,
        sender_id: send.sender_id,
        sender_type: send.sender_type,
        sender_name: send.sender_name,
        content: send.content,
        internal: send.internal,
        client_message_id: send.client_message_id,
    };
    Ok(Prepared {
        ticket: send.ticket_id,
        message,
        grant,
    })
}

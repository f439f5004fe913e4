//! `send_message`: write in a ticket.

use serde_json::Value;
use ticket_shared::{
    domain::{Person, UserType},
    event::{SendMessage, Sent},
    id::Id,
    stream::NewMessage,
};

use super::inbound::Call;
use crate::{
    access::{Action, Fields},
    error::Error,
};

/// Appends the message, or finds the first one of the same client id.
pub(super) async fn handle(call: &Call, mut payload: Value) -> Result<Sent, Error> {
    call.caller.sign(&mut payload, &Fields::SEND)?;
    let send = SendMessage::try_from(payload)?;
    let grant = call.caller.grant(if send.internal {
        Action::WriteInternal
    } else {
        Action::Write
    })?;
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
    let sender = message.sender_id.clone();
    let (message, duplicate) = call
        .app
        .tickets
        .send(send.ticket_id, message, &grant)
        .await?;
    // Every follower ends the writer's typing with the message; ours must not think that it goes on.
    call.app.typing.wrote(send.ticket_id, &sender);
    Ok(Sent { message, duplicate })
}

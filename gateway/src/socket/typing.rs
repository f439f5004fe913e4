//! `typing`: tell the others that somebody types.
//!
//! It goes over the ticket's channel and is not kept. Each follower ends it after
//! [`crate::ticket::follow::TYPING`] by itself, so nothing hangs if this gateway dies.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fred::interfaces::{ClientLike, PubsubInterface};
use serde_json::Value;
use ticket_shared::{
    event::{Nothing, Typing},
    id::Id,
    redis::hot_path,
    stream::Signal,
};

use super::inbound::Call;
use crate::{
    access::{Action, Fields},
    app::App,
    error::Error,
    ticket::{follow::TYPING, view::Part},
};

/// At most one "is typing" a sender and ticket goes out in this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// Tells the others, unless they were told just now.
pub(super) async fn handle(call: &Call, mut payload: Value) -> Result<Nothing, Error> {
    call.caller.sign(&mut payload, &Fields::TYPING)?;
    let grant = call.caller.grant(Action::Write)?;
    let typing = Typing::try_from(payload)?;
    let app = &call.app;
    if !call.connection.joined().contains_key(&typing.ticket_id) {
        // A ticket that the socket is not in may not exist.
        app.tickets.permit(typing.ticket_id, &grant.reach).await?;
        app.tickets.read(typing.ticket_id, Part::NONE).await?;
    }
    let socket = call.socket.id.to_string();
    if app.typing.allows(&typing, &socket) {
        publish(
            app,
            typing.ticket_id,
            typing.sender_id,
            typing.sender_name,
            typing.is_typing,
            socket,
        )
        .await?;
    }
    Ok(Nothing {})
}

async fn publish(
    app: &App,
    ticket: Id,
    sender_id: String,
    sender_name: String,
    is_typing: bool,
    from: String,
) -> Result<(), Error> {
    let signal = Signal::Typing {
        sender_id,
        sender_name,
        is_typing,
        from,
    }
    .encode()?;
    let client = app.tickets.redis().with_options(&hot_path());
    client
        .spublish::<i64, _, _>(app.tickets.keys().live(ticket), signal)
        .await?;
    Ok(())
}

/// Who was said to be typing, and when. Of this gateway's sockets only.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<HashMap<(Id, String), Said>>);

#[derive(Debug)]
struct Said {
    at: Instant,
    /// The others were told that the sender types, and not that it ceased.
    typing: bool,
    sender_name: String,
    socket: String,
}

impl Throttle {
    fn said(&self) -> MutexGuard<'_, HashMap<(Id, String), Said>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the others are to be told; remembers that they are.
    fn allows(&self, typing: &Typing, socket: &str) -> bool {
        let now = Instant::now();
        let mut said = self.said();
        if said.len() > 1_024 {
            said.retain(|_, said| now.duration_since(said.at) < TYPING);
        }
        let key = (typing.ticket_id, typing.sender_id.clone());
        let allowed = match (said.get(&key), typing.is_typing) {
            (Some(said), true) => now.duration_since(said.at) >= INTERVAL,
            (Some(said), false) => said.typing,
            (None, is_typing) => is_typing,
        };
        if !allowed {
            return false;
        }
        if typing.is_typing {
            let (sender_name, socket) = (typing.sender_name.clone(), socket.to_owned());
            said.insert(
                key,
                Said {
                    at: now,
                    typing: true,
                    sender_name,
                    socket,
                },
            );
        } else if let Some(said) = said.get_mut(&key) {
            // The time stays: ceasing and beginning again does not make it more often.
            said.typing = false;
        }
        true
    }

    /// The sender wrote, which ends its typing everywhere.
    pub(super) fn wrote(&self, ticket: Id, sender: &str) {
        if let Some(said) = self.said().get_mut(&(ticket, sender.to_owned())) {
            said.typing = false;
        }
    }

    /// A socket left a ticket, or all of them: whoever it was that typed there types no longer.
    pub(super) async fn stopped(&self, app: &App, socket: &str, ticket: Option<Id>) {
        let mut ended = Vec::new();
        self.said().retain(|(of, sender), said| {
            let concerned = said.socket == socket && ticket.is_none_or(|ticket| ticket == *of);
            if concerned && said.typing {
                ended.push((*of, sender.clone(), said.sender_name.clone()));
            }
            !concerned
        });
        for (ticket, sender_id, sender_name) in ended {
            if let Err(error) = publish(
                app,
                ticket,
                sender_id,
                sender_name,
                false,
                socket.to_owned(),
            )
            .await
            {
                // It ends by itself a little later.
                tracing::debug!(error = %error, "end of typing not published");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typing(is_typing: bool) -> Typing {
        let ticket_id = Id::from_bytes([1; 12]);
        Typing {
            ticket_id,
            sender_id: "u1".into(),
            sender_name: "سارة".into(),
            is_typing,
        }
    }

    #[test]
    fn a_fast_typist_is_announced_once() {
        let throttle = Throttle::default();
        assert!(throttle.allows(&typing(true), "s"));
        assert!(!throttle.allows(&typing(true), "s"));
        assert!(
            throttle.allows(&typing(false), "s"),
            "the end is always told"
        );
        assert!(!throttle.allows(&typing(false), "s"), "but once");
        assert!(
            !throttle.allows(&typing(true), "s"),
            "and a new beginning waits its time"
        );
    }

    #[test]
    fn after_a_message_there_is_nothing_to_end() {
        let throttle = Throttle::default();
        assert!(throttle.allows(&typing(true), "s"));
        throttle.wrote(Id::from_bytes([1; 12]), "u1");
        assert!(!throttle.allows(&typing(false), "s"));
    }
}

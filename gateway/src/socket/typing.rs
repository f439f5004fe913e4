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
    domain::UserType,
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

/// At most one "is typing" of a tab and ticket goes out in this time.
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
    let joined = call.connection.joined().get(&typing.ticket_id).cloned();
    let side = call
        .caller
        .side()
        .or_else(|| joined.map(|seat| seat.person.user_type));
    let socket = call.socket.id.to_string();
    if app.typing.allows(&typing, side, &socket) {
        let signal = Signal::Typing {
            sender_id: typing.sender_id,
            sender_name: typing.sender_name,
            sender_type: side,
            is_typing: typing.is_typing,
            from: socket,
        };
        publish(app, typing.ticket_id, &signal).await?;
    }
    Ok(Nothing {})
}

async fn publish(app: &App, ticket: Id, signal: &Signal) -> Result<(), Error> {
    let client = app.tickets.redis().with_options(&hot_path());
    client
        .spublish::<i64, _, _>(app.tickets.keys().live(ticket), signal.encode()?)
        .await?;
    Ok(())
}

/// A person who types in a ticket. A customer and an agent may have the same id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Typist {
    ticket: Id,
    side: Option<UserType>,
    id: String,
}

/// Typists before those that ceased are dropped for the first time.
const TYPISTS: usize = 1_024;

/// Who was said to be typing, and when. Of this gateway's sockets only.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<Typists>);

#[derive(Debug, Default)]
struct Typists {
    tabs: HashMap<Typist, HashMap<String, Tab>>,
    /// Typists that stayed when the table was last swept. It is swept again once they have doubled, so that a sweep costs
    /// little for each.
    stayed: usize,
}

impl Typists {
    fn sweep(&mut self, now: Instant) {
        if self.tabs.len() <= TYPISTS.max(2 * self.stayed) {
            return;
        }
        self.tabs.retain(|_, tabs| {
            tabs.retain(|_, tab| now.duration_since(tab.at) < TYPING);
            !tabs.is_empty()
        });
        self.stayed = self.tabs.len();
    }
}

/// One tab of a typist, by its socket.
#[derive(Debug)]
struct Tab {
    at: Instant,
    /// The others were told that it types, and not that it ceased.
    typing: bool,
    sender_name: String,
}

impl Throttle {
    fn typists(&self) -> MutexGuard<'_, Typists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the others are to be told; remembers that they are.
    fn allows(&self, typing: &Typing, side: Option<UserType>, socket: &str) -> bool {
        let now = Instant::now();
        let mut typists = self.typists();
        typists.sweep(now);
        let typists = &mut typists.tabs;
        let typist = Typist {
            ticket: typing.ticket_id,
            side,
            id: typing.sender_id.clone(),
        };
        let known = typists
            .get_mut(&typist)
            .and_then(|tabs| tabs.get_mut(socket));
        let allowed = match (&known, typing.is_typing) {
            (Some(tab), true) => now.duration_since(tab.at) >= INTERVAL,
            (Some(tab), false) => tab.typing,
            (None, is_typing) => is_typing,
        };
        if !allowed {
            return false;
        }
        if typing.is_typing {
            let tab = Tab {
                at: now,
                typing: true,
                sender_name: typing.sender_name.clone(),
            };
            let tabs = typists.entry(typist).or_default();
            tabs.insert(socket.to_owned(), tab);
        } else if let Some(tab) = known {
            // The time stays: ceasing and beginning again does not make it more often.
            tab.typing = false;
        }
        true
    }

    /// The sender wrote, which ends its typing everywhere.
    pub(super) fn wrote(&self, ticket: Id, side: UserType, sender: &str) {
        let mut typists = self.typists();
        let typists = &mut typists.tabs;
        // Nearly always.
        if typists.is_empty() {
            return;
        }
        for side in [Some(side), None] {
            let id = sender.to_owned();
            if let Some(tabs) = typists.get_mut(&Typist { ticket, side, id }) {
                for tab in tabs.values_mut() {
                    tab.typing = false;
                }
            }
        }
    }

    /// A socket left a ticket, or all of them: that tab types no longer.
    pub(super) async fn stopped(&self, app: &App, socket: &str, ticket: Option<Id>) {
        let mut ended = Vec::new();
        self.typists().tabs.retain(|typist, tabs| {
            if ticket.is_none_or(|ticket| ticket == typist.ticket)
                && let Some(tab) = tabs.remove(socket)
                && tab.typing
            {
                ended.push((typist.clone(), tab.sender_name));
            }
            !tabs.is_empty()
        });
        for (typist, sender_name) in ended {
            let signal = Signal::Typing {
                sender_id: typist.id,
                sender_name,
                sender_type: typist.side,
                is_typing: false,
                from: socket.to_owned(),
            };
            if let Err(error) = publish(app, typist.ticket, &signal).await {
                // It ends by itself a little later.
                tracing::debug!(error = %error, "end of typing not published");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Option<UserType> = Some(UserType::User);

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
        assert!(throttle.allows(&typing(true), USER, "s"));
        assert!(!throttle.allows(&typing(true), USER, "s"));
        assert!(
            throttle.allows(&typing(false), USER, "s"),
            "the end is always told"
        );
        assert!(!throttle.allows(&typing(false), USER, "s"), "but once");
        assert!(
            !throttle.allows(&typing(true), USER, "s"),
            "and a new beginning waits its time"
        );
    }

    #[test]
    fn the_table_is_swept_when_it_has_doubled() {
        let (mut it, start) = (Typists::default(), Instant::now());
        let type_all = |it: &mut Typists, numbers: std::ops::Range<usize>, at| {
            for number in numbers {
                it.sweep(at);
                let id = number.to_string();
                let ticket = Id::from_bytes([1; 12]);
                let tab = Tab {
                    at,
                    typing: true,
                    sender_name: String::new(),
                };
                let typist = Typist {
                    ticket,
                    side: None,
                    id,
                };
                it.tabs
                    .entry(typist)
                    .or_default()
                    .insert(String::new(), tab);
            }
        };
        type_all(&mut it, 0..2 * TYPISTS, start);
        assert_eq!(it.stayed, TYPISTS + 1, "once, and all stay");
        let later = start + TYPING;
        type_all(&mut it, 0..TYPISTS, later);
        assert!(it.tabs.len() <= 2 * TYPISTS + 3);
        type_all(&mut it, 9 * TYPISTS..10 * TYPISTS, later);
        assert!(it.tabs.len() <= 2 * TYPISTS, "who ceased is gone");
    }

    #[test]
    fn after_a_message_there_is_nothing_to_end() {
        let throttle = Throttle::default();
        assert!(throttle.allows(&typing(true), USER, "s"));
        throttle.wrote(Id::from_bytes([1; 12]), UserType::User, "u1");
        assert!(!throttle.allows(&typing(false), USER, "s"));
    }

    #[test]
    fn tabs_and_sides_do_not_hide_each_other() {
        let throttle = Throttle::default();
        assert!(throttle.allows(&typing(true), USER, "s"));
        assert!(throttle.allows(&typing(true), USER, "another tab"));
        assert!(throttle.allows(&typing(true), Some(UserType::Agent), "s"));
        throttle.wrote(Id::from_bytes([1; 12]), UserType::User, "u1");
        for tab in ["s", "another tab"] {
            assert!(!throttle.allows(&typing(false), USER, tab), "{tab}");
        }
        assert!(throttle.allows(&typing(false), Some(UserType::Agent), "s"));
    }
}

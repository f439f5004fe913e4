//! What a client does with answers and events.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use ticket_shared::{event::server, id::Id};
use tokio::time::Instant;

use super::{Ask, Client};
use crate::{
    chance,
    history::{Acked, Heard, Joined, Key, Position, Ticket, What},
};

/// How long to wait where a refusal does not say.
const RETRY: Duration = Duration::from_millis(500);

impl Client {
    /// An answer came.
    pub(super) fn answered(&mut self, id: u64, answer: &Value) {
        let Some(asked) = self.asked.remove(&id) else {
            return;
        };
        if answer["ok"] == true {
            match asked.what {
                Ask::Join(ticket) => self.joined(ticket, answer),
                Ask::Send(key) => self.sent(key, answer),
                Ask::Change(ticket) => {
                    let seq = answer["ticket"]["seq"].as_u64().unwrap_or(0);
                    self.record(What::Changed { ticket, seq });
                }
            }
            return;
        }
        let error = &answer["error"];
        let code = error["code"].as_str().unwrap_or("no code").to_owned();
        let retry = error["retryAfterMs"]
            .as_u64()
            .map_or(RETRY, Duration::from_millis);
        match asked.what {
            Ask::Join(ticket) => {
                if let Some(view) = self.views.get_mut(&ticket) {
                    view.refused(retry);
                }
                self.record(What::Refused {
                    code: format!("join: {code}"),
                });
            }
            Ask::Send(key) => {
                self.outbox.refused(key, chance::jittered(retry));
                self.record(What::Refused { code });
            }
            Ask::Change(_) => self.record(What::Refused {
                code: format!("change: {code}"),
            }),
        }
    }

    fn joined(&mut self, ticket: Ticket, answer: &Value) {
        let messages = answer["messages"].as_array().into_iter().flatten();
        let now = Position {
            seq: answer["seq"].as_u64().unwrap_or(0),
            epoch: Arc::from(answer["epoch"].as_str().unwrap_or_default()),
        };
        let Some(view) = self.views.get_mut(&ticket) else {
            return;
        };
        let since = view.position().cloned();
        view.arrived(now.clone());
        let joined = Joined {
            ticket,
            since,
            messages: messages.filter_map(heard).collect(),
            now,
            recovered: answer["recovered"] == true,
        };
        self.record(What::Joined(joined));
    }

    fn sent(&mut self, key: Key, answer: &Value) {
        let message = heard(&answer["message"]);
        let acked = self.outbox.acknowledged(Acked {
            ticket: 0,
            key,
            id: message.map_or(Id::from_bytes([0; 12]), |message| message.id),
            seq: message.map_or(0, |message| message.seq),
            duplicate: answer["duplicate"] == true,
            refused: 0,
            unknown: 0,
            again: false,
        });
        if !acked.again {
            self.acked();
        }
        self.record(What::Acked(acked));
    }

    /// An event came.
    pub(super) fn event(&mut self, name: &str, payload: &Value) {
        match name {
            server::MESSAGE_RECEIVED => {
                let message = &payload["message"];
                self.sequenced(&message["ticketId"], payload, heard(message));
            }
            // An assignment is told by two events with one number; this one always comes.
            server::TICKET_UPDATED => self.sequenced(&payload["ticketId"], payload, None),
            server::RESYNC => {
                if let Some(ticket) = self.ticket_of(&payload["ticketId"])
                    && let Some(view) = self.views.get_mut(&ticket)
                {
                    view.resync();
                    self.record(What::Resync { ticket });
                }
            }
            server::SERVER_DRAINING => {
                let wait = payload["reconnectInMs"].as_u64().unwrap_or(0);
                self.leave_at = Some(Instant::now() + Duration::from_millis(wait));
                self.record(What::Draining);
            }
            _ => {}
        }
    }

    fn sequenced(&mut self, ticket: &Value, payload: &Value, message: Option<Heard>) {
        let Some(ticket) = self.ticket_of(ticket) else {
            return;
        };
        let seq = payload["seq"].as_u64().unwrap_or(0);
        let prev = payload["prevSeq"].as_u64().unwrap_or(0);
        self.record(What::Event {
            ticket,
            seq,
            prev,
            message,
        });
        if let Some(view) = self.views.get_mut(&ticket) {
            view.event(seq, prev);
        }
    }
}

/// A message of the contract.
pub(crate) fn heard(message: &Value) -> Option<Heard> {
    Some(Heard {
        seq: message["seq"].as_u64()?,
        id: message["_id"].as_str()?.parse().ok()?,
        key: message["clientMessageId"].as_str().and_then(Key::parse),
        internal: message["internal"] == true,
    })
}

//! Letting a ticket's counter go on after Redis lost numbers that it had given out.

use fred::types::Value;
use ticket_shared::{domain::Message, id::Id, stream::Numbers};

use super::{
    Tickets,
    view::Which,
    warm::{entries, sections, state},
};
use crate::{
    error::Error,
    store::{Edge, Stored},
};

/// More messages than a failing Redis could have lost.
const LOST: usize = 100_000;

/// What MongoDB has above Redis.
struct Above {
    stored: Stored,
    messages: Vec<Message>,
}

impl Tickets {
    /// Lifts a state of an earlier epoch, which stood at `seq`, to what MongoDB has.
    ///
    /// # Errors
    /// Redis or MongoDB can't be reached: without MongoDB nobody can say which numbers were given out.
    pub(super) async fn reconcile(&self, id: Id, seq: u64, epoch: &str) -> Result<(), Error> {
        let above = match self.0.store.ticket(id).await? {
            Some(stored) if stored.numbered => {
                let messages = self
                    .0
                    .store
                    .messages(id, (Some(seq), None), LOST, Edge::Oldest, Which::Messages)
                    .await?;
                Some(Above { stored, messages })
            }
            _ => None,
        };
        let keys = &self.0.keys;
        let names = vec![keys.state(id), keys.log(id), keys.ahead(id), keys.idem(id)];
        let mut args: Vec<Value> = vec![epoch.into(), seq.to_string().into()];
        match above.map(Above::numbered) {
            Some((Above { stored, messages }, numbers)) if numbers.seq > seq => {
                args.push(numbers.seq.to_string().into());
                let mut fields = state(&stored.base, &stored.head, &numbers, 0, 0, 0);
                // What is persisted and how far back the log goes is still as Redis has it.
                fields.retain(|(field, _)| !["persisted", "floor"].contains(field));
                let sent = messages
                    .iter()
                    .filter(|message| message.client_message_id.is_some());
                let sent = sent.map(|message| (message.id, message.seq)).collect();
                sections(
                    &mut args,
                    fields,
                    &entries(id, &stored.head, &numbers, messages),
                    sent,
                )?;
                tracing::warn!(ticket.id = %id, redis.seq = seq, mongo.seq = numbers.seq, "redis was behind mongodb");
            }
            _ => args.extend(["0".into(), "0".into(), "0".into(), "0".into()]),
        }
        self.0.reconcile.call(&self.0.redis, names, args).await?;
        Ok(())
    }
}

impl Above {
    /// The counters after everything that MongoDB has. A ticket's document may be older than its messages.
    fn numbered(self) -> (Self, Numbers) {
        let mut numbers = self.stored.numbers.clone();
        for message in &self.messages {
            numbers.seq = numbers.seq.max(message.seq);
            if !message.internal {
                numbers.public_seq = numbers.public_seq.max(message.seq);
            }
        }
        (self, numbers)
    }
}

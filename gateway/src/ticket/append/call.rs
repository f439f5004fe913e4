//! What the append script is given and what it answers, as `append.lua` has it.

use fred::types::Value;
use ticket_shared::{
    domain::{Ticket, UserType},
    id::Id,
    stream::Base,
};

use crate::{
    access::{Grant, Reach},
    error::Error,
    script::Items,
    ticket::{
        commit::{ARGS, KEYS, Words},
        view::parse_refusal,
    },
};

/// What the script answered.
pub(super) enum Answer {
    Done {
        seq: u64,
        at: i64,
        frame: bytes::Bytes,
    },
    Repeat {
        seq: u64,
        frame: Option<bytes::Bytes>,
    },
    Stale(Ticket),
    Exists(Ticket, Base),
    Cold,
    Hidden,
    Distrusted {
        seq: u64,
        epoch: String,
    },
}

/// One append, less the keys.
pub(super) struct Call {
    pub(super) op: &'static str,
    /// The message to look for among those sent before.
    pub(super) known: Option<Id>,
    /// The newest `seq` that the caller saw, where the change depends on that.
    pub(super) expected: Option<u64>,
    pub(super) grant: Grant,
    pub(super) change: String,
    /// What the script needs for it.
    pub(super) more: [String; 2],
}

impl Call {
    /// As the script takes it.
    pub(super) fn words(
        &self,
        id: Id,
        names: &[String; KEYS],
        channel: &str,
    ) -> Result<Words, Error> {
        let id = id.to_string();
        let known = self.known.map(Id::bytes);
        let expected = self.expected.map(|seq| seq.to_string());
        let owner = match &self.grant.reach {
            Reach::Of(user) => serde_json::to_string(user)?,
            Reach::All | Reach::These(_) => String::new(),
        };
        let args: [&[u8]; ARGS] = [
            self.op.as_bytes(),
            id.as_bytes(),
            channel.as_bytes(),
            known.as_ref().map_or(&[], |bytes| &bytes[..]),
            expected.as_deref().unwrap_or_default().as_bytes(),
            match self.grant.side {
                UserType::User => b"1",
                UserType::Agent => b"0",
            },
            owner.as_bytes(),
            self.change.as_bytes(),
            self.more[0].as_bytes(),
            self.more[1].as_bytes(),
        ];
        Ok(Words::new(names, &args))
    }

    /// Reads what the script answered.
    pub(super) fn answer(&self, id: Id, answer: Value) -> Result<Answer, Error> {
        let mut items = Items::of(answer);
        match items.text().as_deref() {
            Some("ok") => {
                let (seq, at) = (items.number(), items.number());
                let frame = items.bytes().unwrap_or_default();
                tracing::debug!(ticket.id = %id, seq, kind = self.op, "appended");
                Ok(Answer::Done {
                    seq,
                    at: i64::try_from(at).unwrap_or(0),
                    frame,
                })
            }
            Some("repeat") => Ok(Answer::Repeat {
                seq: items.number(),
                frame: items.bytes(),
            }),
            Some("stale") => {
                let (ticket, _) = parse_refusal(&mut items, id, self.grant.side)?;
                Ok(Answer::Stale(ticket))
            }
            Some("exists") => parse_refusal(&mut items, id, self.grant.side)
                .map(|(ticket, base)| Answer::Exists(ticket, base)),
            Some("cold") => Ok(Answer::Cold),
            Some("hidden") => Ok(Answer::Hidden),
            Some("distrusted") => Ok(Answer::Distrusted {
                seq: items.number(),
                epoch: items.text().unwrap_or_default(),
            }),
            _ => Err(Error::Internal("append: unknown answer".into())),
        }
    }
}

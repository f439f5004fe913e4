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
        commit::{KEYS, Run},
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
    /// It is not in Redis, or not as its state claims, or of another epoch.
    Cold,
    /// A ticket can't be created before it is known whether numbers continue.
    Unsettled,
    Hidden,
    Limited {
        retry_after_ms: u64,
    },
}

/// One append, less what is the same for all of a run.
pub(super) struct Call {
    pub(super) op: &'static str,
    /// The message to look for among those sent before.
    pub(super) known: Option<Id>,
    /// The newest `seq` that the caller saw, where the change depends on that.
    pub(super) expected: Option<u64>,
    pub(super) change: String,
    /// What the script needs for it.
    pub(super) more: [String; 2],
}

/// What the script is given to do `calls`, one after the other.
pub(super) fn run(
    id: Id,
    names: &[String; KEYS],
    channel: &str,
    grant: &Grant,
    calls: &[Call],
) -> Result<Run, Error> {
    let owner = match &grant.reach {
        Reach::Of(user) => serde_json::to_string(user)?,
        Reach::All | Reach::These(_) => String::new(),
    };
    let as_user: &[u8] = match grant.side {
        UserType::User => b"1",
        UserType::Agent => b"0",
    };
    let id = id.to_string();
    let counted = grant.counted.as_ref();
    let per_second = counted.map(|counted| counted.per_second.to_string());
    let about = [
        id.as_bytes(),
        channel.as_bytes(),
        as_user,
        owner.as_bytes(),
        counted.map_or(&[], |counted| counted.owner.as_bytes()),
        per_second.as_deref().unwrap_or_default().as_bytes(),
    ];
    let mut run = Run::new(names, calls.len(), &about);
    for call in calls {
        let known = call.known.map(Id::bytes);
        let expected = call.expected.map(|seq| seq.to_string());
        run.append(&[
            call.op.as_bytes(),
            known.as_ref().map_or(&[], |bytes| &bytes[..]),
            expected.as_deref().unwrap_or_default().as_bytes(),
            call.change.as_bytes(),
            call.more[0].as_bytes(),
            call.more[1].as_bytes(),
        ]);
    }
    Ok(run)
}

impl Call {
    /// Reads what the script answered.
    pub(super) fn answer(&self, id: Id, grant: &Grant, answer: Value) -> Result<Answer, Error> {
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
                let (ticket, _) = parse_refusal(&mut items, id, grant)?;
                Ok(Answer::Stale(ticket))
            }
            Some("exists") => parse_refusal(&mut items, id, grant)
                .map(|(ticket, base)| Answer::Exists(ticket, base)),
            Some("cold" | "doubted") => Ok(Answer::Cold),
            Some("unsettled") => Ok(Answer::Unsettled),
            Some("hidden") => Ok(Answer::Hidden),
            Some("limited") => Ok(Answer::Limited {
                retry_after_ms: items.number(),
            }),
            _ => Err(Error::Internal("append: unknown answer".into())),
        }
    }
}

//! What one read of Redis says of a ticket: its state and a part of its log, as of one moment.

use fred::types::Value;
use ticket_shared::{
    domain::Ticket,
    id::Id,
    stream::{self, Base, Entry, Head, Last, Numbers},
};

use super::Tickets;
use crate::{error::Error, script::Items};

/// Which entries a read wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// All of them.
    All,
    /// Messages.
    Messages,
    /// Messages that a user may see.
    Public,
}

/// A part of a log.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Oldest first, or newest first. Entries come in this order.
    pub oldest_first: bool,
    /// The lowest `seq` wanted.
    pub low: u64,
    /// The highest, where there is a bound.
    pub high: Option<u64>,
    /// At most so many.
    pub limit: usize,
    /// Of which kind.
    pub which: Which,
}

impl Part {
    /// No entries: only the state.
    pub const NONE: Self = Self {
        oldest_first: true,
        low: 0,
        high: None,
        limit: 0,
        which: Which::All,
    };

    /// The newest entries, newest first.
    pub const fn newest(limit: usize, which: Which) -> Self {
        Self {
            oldest_first: false,
            low: 0,
            high: None,
            limit,
            which,
        }
    }

    /// What comes after `seq`, oldest first.
    pub const fn after(seq: u64, limit: usize, which: Which) -> Self {
        Self {
            oldest_first: true,
            low: seq + 1,
            high: None,
            limit,
            which,
        }
    }
}

/// A ticket's hot state and a part of its log.
#[derive(Debug)]
pub struct View {
    /// What never changes.
    pub base: Base,
    /// What changes now and then.
    pub head: Head,
    /// What changes with every entry.
    pub numbers: Numbers,
    /// The newest `seq` that a user may see.
    pub public_seq: u64,
    /// Up to here everything is in MongoDB.
    pub persisted: u64,
    /// The log holds every message above this.
    pub floor: u64,
    /// The highest number that a ticket of the former server was given; 0 for others.
    pub adopted: u64,
    /// The epoch of the counter.
    pub epoch: String,
    /// The part of the log that was asked for.
    pub entries: Vec<Entry>,
}

impl View {
    /// The ticket as its support team sees it.
    pub fn ticket(&self, id: Id) -> Ticket {
        stream::ticket(id, &self.base, &self.head, &self.numbers)
    }

    /// Whether documents of the former server still wait for their numbers in MongoDB.
    pub fn numbering(&self) -> bool {
        self.adopted > self.persisted
    }

    fn parse(answer: Value) -> Result<Option<Self>, Error> {
        if answer.is_null() {
            return Ok(None);
        }
        let mut items = Items::of(answer);
        let (seq, public_seq, persisted, floor) = (
            items.number(),
            items.number(),
            items.number(),
            items.number(),
        );
        let (adopted, message_count) = (items.number(), items.number());
        let last = items
            .bytes()
            .map(|json| serde_json::from_slice::<Last>(&json))
            .transpose()?;
        let updated_at = i64::try_from(items.number()).unwrap_or(0);
        let head = serde_json::from_slice(&items.bytes().unwrap_or_default())?;
        let base = serde_json::from_slice(&items.bytes().unwrap_or_default())?;
        let epoch = items.text().unwrap_or_default();
        let mut frames = Items::of(items.value());
        let mut entries = Vec::new();
        while let Some(frame) = frames.bytes() {
            entries.push(Entry::decode(&frame)?);
        }
        let numbers = Numbers {
            seq,
            message_count,
            last,
            updated_at,
        };
        Ok(Some(Self {
            base,
            head,
            numbers,
            public_seq,
            persisted,
            floor,
            adopted,
            epoch,
            entries,
        }))
    }
}

/// The state that an append answers with when it refuses: `{word, seq, pub, count, last, updatedAt, head, base}`.
pub(super) fn parse_refusal(items: &mut Items, id: Id) -> Result<(Ticket, Base), Error> {
    let (seq, _public, message_count) = (items.number(), items.number(), items.number());
    let last = items
        .bytes()
        .map(|json| serde_json::from_slice::<Last>(&json))
        .transpose()?;
    let updated_at = i64::try_from(items.number()).unwrap_or(0);
    let head: Head = serde_json::from_slice(&items.bytes().unwrap_or_default())?;
    let base: Base = serde_json::from_slice(&items.bytes().unwrap_or_default())?;
    let ticket = stream::ticket(
        id,
        &base,
        &head,
        &Numbers {
            seq,
            message_count,
            last,
            updated_at,
        },
    );
    Ok((ticket, base))
}

impl Tickets {
    /// Reads a ticket, if Redis has it.
    ///
    /// # Errors
    /// Redis can't be reached.
    pub async fn peek(&self, id: Id, part: Part) -> Result<Option<View>, Error> {
        let keys = &self.0.keys;
        let names = vec![keys.state(id), keys.log(id), keys.epoch(keys.partition(id))];
        let which = match part.which {
            Which::All => "all",
            Which::Messages => "messages",
            Which::Public => "public",
        };
        let args: Vec<Value> = vec![
            if part.oldest_first { "+" } else { "-" }.into(),
            part.low.to_string().into(),
            part.high
                .map_or_else(|| "+".to_owned(), |high| high.to_string())
                .into(),
            part.limit.to_string().into(),
            which.into(),
        ];
        View::parse(self.0.read.call(&self.0.redis, names, args).await?)
    }

    /// Reads a ticket, bringing it back into Redis where it is not there.
    ///
    /// # Errors
    /// [`Error::TicketNotFound`]; or Redis, or MongoDB where it is needed, can't be reached.
    pub async fn read(&self, id: Id, part: Part) -> Result<View, Error> {
        // A state may go between warming and reading only if something deletes it on purpose.
        for _ in 0..3 {
            if let Some(view) = self.peek(id, part).await? {
                return Ok(view);
            }
            self.warm(id).await?;
        }
        Err(Error::Internal("a warmed ticket is not in Redis".into()))
    }
}

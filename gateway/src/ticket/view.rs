//! What one read of Redis says of a ticket: its state and a part of its log, as of one moment.

use fred::types::Value;
use ticket_shared::{
    domain::Ticket,
    id::Id,
    stream::{Base, Entry, Head, Last, Numbers},
};

use super::Tickets;
use crate::{access::Grant, error::Error, script::Items};

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
    /// The ticket as the holder of a grant sees it.
    ///
    /// # Errors
    /// As [`Grant::show`].
    pub fn show(&self, id: Id, grant: &Grant) -> Result<Ticket, Error> {
        grant.show(id, &self.base, &self.head, &self.numbers)
    }

    /// Whether documents of the former server still wait for their numbers in MongoDB.
    pub fn numbering(&self) -> bool {
        self.adopted > self.persisted
    }

    /// What the script read; nothing where the ticket is not in Redis.
    pub(super) fn parse(answer: Value) -> Result<Option<Self>, Error> {
        if answer.is_null() {
            return Ok(None);
        }
        let mut items = Items::of(answer);
        let mut view = Self::state(&mut items)?;
        view.epoch = items.text().unwrap_or_default();
        let mut frames = Items::of(items.value());
        while let Some(frame) = frames.bytes() {
            view.entries.push(Entry::decode(&frame)?);
        }
        Ok(Some(view))
    }

    /// The state alone, in the order of the scripts.
    pub(super) fn state(items: &mut Items) -> Result<Self, Error> {
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
        let public_at = since_1970(items).unwrap_or(updated_at);
        let numbers = Numbers {
            seq,
            message_count,
            last,
            updated_at,
            public_seq,
            public_at,
        };
        Ok(Self {
            base,
            head,
            numbers,
            persisted,
            floor,
            adopted,
            epoch: String::new(),
            entries: Vec::new(),
        })
    }
}

/// What a script that reads a ticket found.
pub(super) enum Found {
    /// Nothing: it is not in Redis.
    Cold,
    /// A part of it.
    Torn,
    /// All that was asked for.
    Whole(Box<View>),
}

impl Found {
    pub(super) fn parse(answer: Value) -> Result<Self, Error> {
        if matches!(answer, Value::Integer(_)) {
            return Ok(Self::Torn);
        }
        let view = View::parse(answer)?.map(Box::new);
        Ok(view.map_or(Self::Cold, Self::Whole))
    }
}

/// How often a ticket is warmed for one read. It goes in between only if something deletes it on purpose.
pub(super) const WARMINGS: usize = 3;

/// The next item as a time, which states from before there was one do not have.
fn since_1970(items: &mut Items) -> Option<i64> {
    i64::try_from(items.number()).ok().filter(|at| *at > 0)
}

/// The state that an append answers with when it refuses:
/// `{word, seq, pub, count, last, updatedAt, head, base, pubAt}`.
pub(super) fn parse_refusal(
    items: &mut Items,
    id: Id,
    grant: &Grant,
) -> Result<(Ticket, Base), Error> {
    let (seq, public_seq, message_count) = (items.number(), items.number(), items.number());
    let last = items
        .bytes()
        .map(|json| serde_json::from_slice::<Last>(&json))
        .transpose()?;
    let updated_at = i64::try_from(items.number()).unwrap_or(0);
    let head: Head = serde_json::from_slice(&items.bytes().unwrap_or_default())?;
    let base: Base = serde_json::from_slice(&items.bytes().unwrap_or_default())?;
    let numbers = Numbers {
        seq,
        public_seq,
        message_count,
        last,
        updated_at,
        public_at: since_1970(items).unwrap_or(updated_at),
    };
    let ticket = grant.show(id, &base, &head, &numbers)?;
    Ok((ticket, base))
}

impl Tickets {
    /// Reads a ticket, if Redis has it. Where it has a part of it only, the rest is brought back first.
    ///
    /// # Errors
    /// Redis can't be reached, or what is missing can't be had.
    pub async fn peek(&self, id: Id, part: Part) -> Result<Option<View>, Error> {
        for _ in 0..WARMINGS {
            match self.look(id, part).await? {
                Found::Whole(view) => return Ok(Some(*view)),
                Found::Cold => return Ok(None),
                Found::Torn => Box::pin(self.warm(id)).await?,
            }
        }
        Err(gone())
    }

    pub(super) async fn look(&self, id: Id, part: Part) -> Result<Found, Error> {
        let (names, args) = self.read_call(id, part);
        Found::parse(self.0.read.call(&self.0.redis, names, args).await?)
    }

    /// The keys and arguments of the script that reads.
    pub(super) fn read_call(&self, id: Id, part: Part) -> (Vec<String>, Vec<Value>) {
        let keys = &self.0.keys;
        let partition = keys.partition(id);
        let names = vec![
            keys.state(id),
            keys.log(id),
            keys.epoch(partition),
            keys.dirty(partition),
        ];
        let which = match part.which {
            Which::All => "all",
            Which::Messages => "messages",
            Which::Public => "public",
        };
        let args = vec![
            if part.oldest_first { "+" } else { "-" }.into(),
            part.low.to_string().into(),
            part.high
                .map_or_else(|| "+".to_owned(), |high| high.to_string())
                .into(),
            part.limit.to_string().into(),
            which.into(),
            id.to_string().into(),
        ];
        (names, args)
    }

    /// Reads a ticket, bringing it back into Redis where it is not there.
    ///
    /// # Errors
    /// [`Error::TicketNotFound`]; or Redis, or MongoDB where it is needed, can't be reached.
    pub async fn read(&self, id: Id, part: Part) -> Result<View, Error> {
        for _ in 0..WARMINGS {
            if let Found::Whole(view) = self.look(id, part).await? {
                return Ok(*view);
            }
            Box::pin(self.warm(id)).await?;
        }
        Err(gone())
    }
}

/// What is said where a ticket goes whenever it was warmed.
pub(super) fn gone() -> Error {
    Error::Unavailable {
        part: "redis",
        reason: "a warmed ticket does not stay".into(),
    }
}

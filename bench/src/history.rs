//! What happened in a run, as its clients saw it, and what was there at its end. The judge needs nothing else.

use std::{
    fmt,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    sync::Arc,
};

use ticket_shared::{
    domain::{Counts, Status, UserType},
    id::Id,
};

/// A ticket of the run, by its place among them.
pub(crate) type Ticket = u32;

/// What a client calls its message, unique in the run: the `clientMessageId`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Key {
    /// The client.
    pub client: u32,
    /// Its count of messages.
    pub number: u32,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}-{}", self.client, self.number)
    }
}

impl Key {
    /// Reads what [`Key`] displays as.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (client, number) = text.strip_prefix('c')?.split_once('-')?;
        Some(Self {
            client: client.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

/// A message as somebody saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Heard {
    /// Its place in the ticket's log.
    pub seq: u64,
    /// Its id.
    pub id: Id,
    /// What its sender calls it.
    pub key: Option<Key>,
    /// For agents only.
    pub internal: bool,
}

/// Up to where a client knows a ticket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    /// The last `seq` that it saw.
    pub seq: u64,
    /// In which epoch.
    pub epoch: Arc<str>,
}

/// One thing that a client did or saw.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// When, in ms since the run began.
    pub at: u32,
    /// Over which of the client's connections, counted from 1.
    pub connection: u32,
    /// To which gateway.
    pub gateway: u8,
    /// What.
    pub what: What,
}

/// What a client did or saw.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// It is connected.
    Connected,
    /// It is no longer.
    Disconnected,
    /// The server is about to stop.
    Draining,
    /// It sent a message for the first time.
    Sent { ticket: Ticket, key: Key },
    /// The message was acknowledged.
    Acked(Acked),
    /// A status change was acknowledged.
    Changed { ticket: Ticket, seq: u64 },
    /// An event was refused with this code.
    Refused { code: String },
    /// This was not answered in time.
    Unanswered(&'static str),
    /// It is in the ticket.
    Joined(Joined),
    /// An event with a place in the log: a message, or another change.
    Event {
        ticket: Ticket,
        seq: u64,
        prev: u64,
        message: Option<Heard>,
    },
    /// It was told to join again.
    Resync { ticket: Ticket },
}

/// A message's acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Acked {
    /// Where.
    pub ticket: Ticket,
    /// Which.
    pub key: Key,
    /// The id that it got.
    pub id: Id,
    /// Its place in the log.
    pub seq: u64,
    /// The server had it already.
    pub duplicate: bool,
    /// How often it was refused before.
    pub refused: u16,
    /// How often it was not answered before.
    pub unknown: u16,
    /// It had been acknowledged before: a repeat on purpose.
    pub again: bool,
}

/// The answer to a join.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    /// Of which ticket.
    pub ticket: Ticket,
    /// Where the client said that it is.
    pub since: Option<Position>,
    /// The messages.
    pub messages: Vec<Heard>,
    /// Where it is now.
    pub now: Position,
    /// Whether the messages are all after `since`.
    pub recovered: bool,
}

/// One client's part of the history.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// Its number, that of its keys.
    pub number: u32,
    /// What it may see.
    pub side: UserType,
    /// The tickets that it is in.
    pub tickets: Vec<Ticket>,
    /// What it did and saw, in order.
    pub records: Vec<Record>,
}

/// A ticket's own numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    /// The newest thing that happened to it.
    pub seq: u64,
    /// Public messages.
    pub messages: u64,
    /// Where it stands.
    pub status: Status,
    /// Whether somebody works on it.
    pub assigned: bool,
}

/// A ticket as MongoDB holds it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    /// Its document.
    pub facts: Option<Facts>,
    /// Its messages, in the order of `seq`.
    pub messages: Vec<Heard>,
    /// The numbers of everything else that happened to it.
    pub changes: Vec<u64>,
}

/// A ticket as a gateway's REST shows it.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// By itself.
    pub facts: Option<Facts>,
    /// In the list.
    pub listed: Option<Facts>,
    /// Its messages, in the order of the pages; all above `above`.
    pub messages: Vec<Heard>,
    /// Below and at this `seq` no pages were read.
    pub above: u64,
}

/// What one gateway's REST shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rest {
    /// The tickets of the run.
    pub tickets: Vec<Shown>,
    /// How many tickets there are.
    pub counts: Option<Counts>,
}

/// A run.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Its clients.
    pub clients: Vec<Client>,
    /// The epoch of each ticket at the end.
    pub epochs: Vec<Arc<str>>,
    /// What MongoDB holds at the end.
    pub stored: Vec<Stored>,
    /// What each gateway shows at the end.
    pub rest: Vec<Rest>,
}

impl History {
    /// Writes what every client did and saw, a line each, for a person who looks for a cause.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub(crate) fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for client in &self.clients {
            for record in &client.records {
                let Record {
                    at,
                    connection,
                    gateway,
                    what,
                } = record;
                let (number, side) = (client.number, client.side.as_str());
                writeln!(
                    file,
                    "{at} client {number} ({side}) connection {connection} gateway {gateway} {what:?}"
                )?;
            }
        }
        file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_the_server() {
        let key = Key {
            client: 7,
            number: 12,
        };
        assert_eq!(Key::parse(&key.to_string()), Some(key));
        for bad in ["", "c", "7-12", "c7", "c7-x"] {
            assert_eq!(Key::parse(bad), None, "{bad}");
        }
    }
}

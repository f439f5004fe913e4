//! Entries for tests, as the gateway's append script writes them.

use ticket_shared::{
    domain::{Agent, Priority, Status, UserType},
    id::Id,
    stream::{Actor, Base, Change, Entry, Head, Last, NewMessage, VERSION, preview},
};

/// A ticket's log in the making.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) ticket: Id,
    pub(crate) entries: Vec<Entry>,
    base: Base,
    head: Head,
    seen: u64,
    count: u64,
    last: Option<Last>,
}

/// An id that is easy to tell from others.
pub(crate) fn id(group: u32, number: u32) -> Id {
    let mut bytes = [7; 12];
    bytes[..4].copy_from_slice(&group.to_be_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    Id::from_bytes(bytes)
}

fn actor() -> Actor {
    Actor {
        id: "a1".into(),
        name: "Omar".into(),
    }
}

impl Log {
    /// A ticket without entries.
    pub(crate) fn new(ticket: Id) -> Self {
        Self {
            ticket,
            entries: Vec::new(),
            base: Base {
                description: "It does not work".into(),
                user_id: Some("u1".into()),
                user_name: Some("سارة".into()),
                created_at: 1_763_861_000_000,
                fingerprint: None,
            },
            head: Head {
                subject: "Help".into(),
                status: Status::Open,
                priority: Priority::Normal,
                tags: "[\"a\",\"b\"]".into(),
                agent_id: None,
                agent_name: None,
                closed_at: None,
            },
            seen: 0,
            count: 0,
            last: None,
        }
    }

    /// A ticket that was opened.
    pub(crate) fn opened(ticket: Id) -> Self {
        let mut log = Self::new(ticket);
        log.created();
        log
    }

    /// The number of the newest entry.
    pub(crate) fn seq(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.seq)
    }

    pub(crate) fn created(&mut self) -> &mut Self {
        self.push(Change::Created { by: Some(actor()) })
    }

    pub(crate) fn message(&mut self, content: &str, internal: bool) -> &mut Self {
        let number = u32::try_from(self.entries.len()).unwrap_or(0) + 1;
        let mut bytes = self.ticket.bytes();
        bytes[4..8].copy_from_slice(&number.to_be_bytes());
        let message = NewMessage {
            id: Id::from_bytes(bytes),
            sender_id: "u1".into(),
            sender_type: UserType::User,
            sender_name: "سارة".into(),
            content: content.into(),
            internal,
            client_message_id: (!internal).then(|| format!("c-{number}")),
        };
        self.push(Change::Message(message))
    }

    pub(crate) fn status(&mut self, to: Status) -> &mut Self {
        self.push(Change::Status { to, by: actor() })
    }

    pub(crate) fn assigned(&mut self, agent: Option<&str>) -> &mut Self {
        let to = agent.map(|name| Agent {
            agent_id: name.to_lowercase(),
            agent_name: name.into(),
        });
        self.push(Change::Assigned { to, by: actor() })
    }

    /// The numbering of a ticket of the former server with these messages.
    pub(crate) fn adopted(&mut self, messages: &[Id]) -> &mut Self {
        let messages: Vec<(Id, u64)> = messages.iter().copied().zip(2..).collect();
        self.count = messages.len() as u64;
        self.push(Change::Adopted {
            first: 1,
            messages,
            public: None,
            legacy_ids: Vec::new(),
        })
    }

    fn push(&mut self, change: Change) -> &mut Self {
        let covered = match &change {
            Change::Adopted { messages, .. } => messages.len() as u64,
            _ => 0,
        };
        let seq = self.seq() + 1 + covered;
        let at = 1_763_861_000_000 + i64::try_from(seq).unwrap_or(0);
        let mut entry = Entry {
            version: VERSION,
            ticket_id: self.ticket,
            seq,
            prev_seq: self.seen,
            at,
            epoch: "e1".into(),
            message_count: self.count,
            change,
            head: self.head.clone(),
            last: self.last.clone(),
            from_status: None,
            from_agent: None,
            prev_public_at: None,
            base: Some(self.base.clone()),
        };
        self.change(&mut entry);
        if !entry.internal() {
            self.seen = seq;
        }
        entry.head = self.head.clone();
        entry.message_count = self.count;
        self.entries.push(entry);
        self
    }

    fn change(&mut self, entry: &mut Entry) {
        match &entry.change {
            Change::Message(message) => {
                entry.base = None;
                if !message.internal {
                    self.count += 1;
                    entry.last = None;
                    self.last = Some(Last {
                        at: entry.at,
                        ..preview(message)
                    });
                }
            }
            Change::Status { to, .. } => {
                entry.from_status = Some(self.head.status);
                self.head.status = *to;
                self.head.closed_at = (*to == Status::Closed).then(|| entry.at.to_string());
            }
            Change::Assigned { to, .. } => {
                entry.from_agent = self.head.agent();
                self.head.agent_id = to.as_ref().map(|agent| agent.agent_id.clone());
                self.head.agent_name = to.as_ref().map(|agent| agent.agent_name.clone());
            }
            Change::Adopted { .. } => entry.base = None,
            Change::Created { .. } => {}
        }
    }
}

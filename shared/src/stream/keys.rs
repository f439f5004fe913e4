//! Names of the Redis keys and channels, all in one place.
//!
//! Everything of a ticket shares the hash tag of its partition, so that one script may touch all of it on a
//! Redis Cluster.

use std::sync::Arc;

use crate::id::Id;

/// Makes key names under one prefix.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: Arc<str>,
    partitions: u16,
    /// Channels are the same in every database of a server, so those of a database other than the first are named
    /// after it.
    database: u8,
    apart: bool,
}

impl Keys {
    /// Names under `prefix`, spread over `partitions` (at least one).
    pub fn new(prefix: &str, partitions: u16) -> Self {
        Self {
            prefix: prefix.into(),
            partitions: partitions.max(1),
            database: 0,
            apart: false,
        }
    }

    /// The same names, in this database of the server.
    #[must_use]
    pub fn in_database(self, database: u8) -> Self {
        Self { database, ..self }
    }

    /// The same names, on a server where keys of different slots must not meet in one command.
    #[must_use]
    pub fn by_slots(self, apart: bool) -> Self {
        Self { apart, ..self }
    }

    /// Whether each partition has to be asked for by itself.
    pub fn apart(&self) -> bool {
        self.apart
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// The partition of a ticket: FNV-1a over the id's bytes, modulo the number of partitions. Fixed for
    /// ever: another function would look for every ticket in the wrong place.
    pub fn partition(&self, ticket: Id) -> u16 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in ticket.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // The product of FNV mixes upwards; fold the high half in before taking the remainder.
        u16::try_from((hash ^ (hash >> 32)) % u64::from(self.partitions)).unwrap_or(0)
    }

    /// The stream that the workers consume.
    pub fn events(&self, partition: u16) -> String {
        self.of(partition, "events")
    }

    /// The stream of parked entries.
    pub fn dead(&self, partition: u16) -> String {
        self.of(partition, "dead")
    }

    /// The sorted set of tickets with entries that are not in MongoDB yet, by when that began.
    pub fn dirty(&self, partition: u16) -> String {
        self.of(partition, "dirty")
    }

    /// The sorted set of tickets that MongoDB has nothing of, by when they were opened. The append script makes its name
    /// from that of [`Keys::dirty`].
    pub fn created(&self, partition: u16) -> String {
        self.of(partition, "dirty:created")
    }

    /// The same, of one customer.
    pub fn created_by(&self, partition: u16, user: &str) -> String {
        format!("{}:{user}", self.created(partition))
    }

    /// The number of changes of the partition's tickets that counts may show. Its name is made as that of [`Keys::created`].
    pub fn changes(&self, partition: u16) -> String {
        self.of(partition, "dirty:changes")
    }

    /// The sorted set of tickets at rest, of which everything is in MongoDB, by when that began.
    pub fn rest(&self, partition: u16) -> String {
        self.of(partition, "rest")
    }

    /// The hash with the epoch of every counter in the partition, and the line of Redis servers that it holds
    /// for.
    pub fn epoch(&self, partition: u16) -> String {
        self.of(partition, "epoch")
    }

    /// The hash with a ticket's hot state.
    pub fn state(&self, ticket: Id) -> String {
        self.of_ticket(ticket, "")
    }

    /// The stream with a ticket's newest entries, whose ids are `<seq>-0`.
    pub fn log(&self, ticket: Id) -> String {
        self.of_ticket(ticket, ":log")
    }

    /// The hash from message id to `seq`: every message of the ticket that a client gave an id.
    pub fn idem(&self, ticket: Id) -> String {
        self.of_ticket(ticket, ":idem")
    }

    /// The sorted set of leases of the sockets in a ticket, by when they end.
    pub fn here(&self, ticket: Id) -> String {
        self.of_ticket(ticket, ":here")
    }

    /// The hash from person to who that is.
    pub fn who(&self, ticket: Id) -> String {
        self.of_ticket(ticket, ":who")
    }

    /// The set of numbers that are persisted while a lower one is not.
    pub fn ahead(&self, ticket: Id) -> String {
        self.of_ticket(ticket, ":ahead")
    }

    /// The claim of an adoption on a ticket ([`super::HELD`]), or the mark that one left behind.
    pub fn takeover(&self, ticket: Id) -> String {
        self.of_ticket(ticket, ":takeover")
    }

    /// The sharded channel of a ticket.
    pub fn live(&self, ticket: Id) -> String {
        self.channel(self.partition(ticket), &format!("live:{ticket}"))
    }

    /// What the channels of cluster-wide events begin with. The braces keep one slot; another wire format would have
    /// another name in them.
    pub fn adapter(&self) -> String {
        match self.database {
            0 => format!("{}:{{sio1}}", self.prefix),
            database => format!("{}:{{sio1}}:db{database}", self.prefix),
        }
    }

    /// The hash that says how the data is laid out.
    pub fn layout(&self) -> String {
        self.of(0, "layout")
    }

    /// A key and channel for trying commands. Nothing is kept there.
    pub fn probe(&self) -> String {
        self.of(0, "probe")
    }

    /// What is written behind a group of appends, so that waiting for replicas covers all of them.
    pub fn commit(&self) -> String {
        self.of(0, "commit")
    }

    /// The sorted set of people and tokens that were revoked, by when.
    pub fn revoked(&self) -> String {
        self.of(0, "revoked")
    }

    /// The hash of clients that are turned away, or use much of their rates, on any gateway.
    pub fn abuse(&self) -> String {
        self.of(0, "abuse")
    }

    /// The channel on which one gateway listens to itself, in one partition.
    pub fn canary(&self, partition: u16, gateway: Id) -> String {
        self.channel(partition, &format!("canary:{gateway}"))
    }

    /// The ticket that a channel belongs to.
    pub fn ticket_of_channel(&self, channel: &str) -> Option<Id> {
        channel
            .strip_prefix(&*self.prefix)?
            .rsplit_once(":live:")?
            .1
            .parse()
            .ok()
    }

    fn channel(&self, partition: u16, what: &str) -> String {
        match self.database {
            0 => self.of(partition, what),
            database => self.of(partition, &format!("db{database}:{what}")),
        }
    }

    fn of(&self, partition: u16, what: &str) -> String {
        format!("{}:{{{partition}}}:{what}", self.prefix)
    }

    fn of_ticket(&self, ticket: Id, what: &str) -> String {
        format!(
            "{}:{{{}}}:t:{ticket}{what}",
            self.prefix,
            self.partition(ticket)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_share_the_tag_of_the_partition() {
        let keys = Keys::new("tickets", 16);
        let id: Id = "0123456789abcdef01234567".parse().unwrap();
        let tag = format!("tickets:{{{}}}:", keys.partition(id));
        for key in [
            keys.state(id),
            keys.log(id),
            keys.idem(id),
            keys.here(id),
            keys.who(id),
            keys.ahead(id),
            keys.takeover(id),
            keys.live(id),
        ] {
            assert!(key.starts_with(&tag), "{key}");
        }
        assert_eq!(keys.ticket_of_channel(&keys.live(id)), Some(id));
        assert_eq!(
            keys.ticket_of_channel("other:{1}:live:0123456789abcdef01234567"),
            None
        );
    }

    #[test]
    fn channels_are_named_after_the_database_and_keys_are_not() {
        let id: Id = "0123456789abcdef01234567".parse().unwrap();
        let (first, third) = (
            Keys::new("tickets", 16).in_database(0),
            Keys::new("tickets", 16).in_database(2),
        );
        assert_eq!(first.live(id), Keys::new("tickets", 16).live(id));
        assert_eq!(first.state(id), third.state(id));
        assert_ne!(first.live(id), third.live(id));
        assert_ne!(first.canary(1, id), third.canary(1, id));
        assert_ne!(first.adapter(), third.adapter());
        assert_eq!(third.ticket_of_channel(&third.live(id)), Some(id));
    }

    #[test]
    fn tickets_spread_over_all_partitions() {
        let keys = Keys::new("tickets", 16);
        let mut seen = [0_u32; 16];
        for i in 0_u32..1_600 {
            let mut bytes = [9; 12];
            bytes[8..].copy_from_slice(&i.to_be_bytes());
            seen[usize::from(keys.partition(Id::from_bytes(bytes)))] += 1;
        }
        assert!(seen.iter().all(|&n| n > 40), "{seen:?}");
    }
}

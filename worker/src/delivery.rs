//! What Redis hands out: the replies to XREADGROUP and XAUTOCLAIM, read by hand.
//!
//! fred's own conversions fail on an empty read, and on entries that are pending although they were deleted,
//! which Redis shows without fields. Those are lost data, and have to be seen.

use bytes::Bytes;
use fred::types::Value;

/// An entry of a partition's stream, handed to this worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Delivered {
    /// The partition.
    pub(crate) partition: u16,
    /// Its id in the stream.
    pub(crate) id: String,
    /// Its fields, as they are.
    pub(crate) fields: Vec<(Bytes, Bytes)>,
}

impl Delivered {
    /// The value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&Bytes> {
        self.fields
            .iter()
            .find(|(field, _)| field == name.as_bytes())
            .map(|(_, value)| value)
    }
}

/// Entries that were handed out together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Delivery {
    /// Those that are there.
    pub(crate) entries: Vec<Delivered>,
    /// Those that were pending and have been deleted from the stream: partition and id.
    pub(crate) lost: Vec<(u16, String)>,
}

/// A reply that is not what the command answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reply to {0} isn't understood")]
pub(crate) struct Unexpected(pub(crate) &'static str);

impl Delivery {
    /// The reply to XREADGROUP. `partition_of` tells whose stream a key is.
    pub(crate) fn of_read(
        reply: Value,
        partition_of: impl Fn(&[u8]) -> Option<u16>,
    ) -> Result<Self, Unexpected> {
        const READ: Unexpected = Unexpected("XREADGROUP");
        let streams: Vec<(Value, Value)> = match reply {
            Value::Null => Vec::new(),
            Value::Map(map) => map
                .inner()
                .into_iter()
                .map(|(key, entries)| (Value::Bytes(key.into_bytes()), entries))
                .collect(),
            // The older protocol: pairs.
            Value::Array(streams) => streams
                .into_iter()
                .map(pair)
                .collect::<Option<_>>()
                .ok_or(READ)?,
            _ => return Err(READ),
        };
        let mut delivery = Self::default();
        for (key, entries) in streams {
            let partition = bytes(key).and_then(|key| partition_of(&key)).ok_or(READ)?;
            delivery.add(partition, entries).ok_or(READ)?;
        }
        Ok(delivery)
    }

    /// The reply to XAUTOCLAIM on the stream of `partition`: where to go on, and what was claimed.
    pub(crate) fn of_claim(reply: Value, partition: u16) -> Result<(String, Self), Unexpected> {
        const CLAIM: Unexpected = Unexpected("XAUTOCLAIM");
        let Value::Array(parts) = reply else {
            return Err(CLAIM);
        };
        let mut parts = parts.into_iter();
        let next = parts.next().and_then(text).ok_or(CLAIM)?;
        let mut delivery = Self::default();
        let entries = parts.next().ok_or(CLAIM)?;
        delivery.add(partition, entries).ok_or(CLAIM)?;
        if let Some(Value::Array(deleted)) = parts.next() {
            for id in deleted {
                delivery.lost.push((partition, text(id).ok_or(CLAIM)?));
            }
        }
        Ok((next, delivery))
    }

    /// The reply to XRANGE on a stream of `partition`.
    pub(crate) fn of_range(reply: Value, partition: u16) -> Result<Vec<Delivered>, Unexpected> {
        let mut delivery = Self::default();
        delivery
            .add(partition, reply)
            .map(|()| delivery.entries)
            .ok_or(Unexpected("XRANGE"))
    }

    /// Whether nothing was handed out at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.lost.is_empty()
    }

    /// How many entries the fullest partition has, how many partitions have any, and the bytes of all entries.
    pub(crate) fn measure(&self) -> (usize, usize, usize) {
        let of_partitions = self
            .entries
            .chunk_by(|one, next| one.partition == next.partition);
        let fullest = of_partitions.clone().map(<[Delivered]>::len).max();
        let fields = self.entries.iter().flat_map(|entry| &entry.fields);
        let bytes = fields.map(|(name, value)| name.len() + value.len()).sum();
        (fullest.unwrap_or(0), of_partitions.count(), bytes)
    }

    fn add(&mut self, partition: u16, entries: Value) -> Option<()> {
        let Value::Array(entries) = entries else {
            return matches!(entries, Value::Null).then_some(());
        };
        for entry in entries {
            let (id, fields) = pair(entry)?;
            let id = text(id)?;
            match fields {
                Value::Null => self.lost.push((partition, id)),
                fields => self.entries.push(Delivered {
                    partition,
                    id,
                    fields: field_pairs(fields)?,
                }),
            }
        }
        Some(())
    }
}

fn field_pairs(fields: Value) -> Option<Vec<(Bytes, Bytes)>> {
    match fields {
        Value::Array(flat) => {
            let mut flat = flat.into_iter();
            let mut pairs = Vec::with_capacity(flat.len() / 2);
            while let Some(name) = flat.next() {
                pairs.push((bytes(name)?, bytes(flat.next()?)?));
            }
            Some(pairs)
        }
        Value::Map(map) => map
            .inner()
            .into_iter()
            .map(|(name, value)| Some((name.into_bytes(), bytes(value)?)))
            .collect(),
        _ => None,
    }
}

fn pair(value: Value) -> Option<(Value, Value)> {
    let Value::Array(values) = value else {
        return None;
    };
    let [first, second] = <[Value; 2]>::try_from(values).ok()?;
    Some((first, second))
}

fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::Bytes(bytes) => Some(bytes),
        Value::String(text) => Some(text.into_inner()),
        // fred reads what looks like a number as one.
        Value::Integer(n) => Some(n.to_string().into()),
        _ => None,
    }
}

fn text(value: Value) -> Option<String> {
    value.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array<const N: usize>(values: [Value; N]) -> Value {
        Value::Array(values.into())
    }

    fn entry(id: &'static str) -> Value {
        array([id.into(), array(["d".into(), "{}".into()])])
    }

    #[test]
    fn a_read_without_entries_is_empty() {
        assert!(Delivery::of_read(Value::Null, |_| None).unwrap().is_empty());
    }

    #[test]
    fn both_protocols_are_read_and_deleted_entries_are_seen() {
        let deleted = array(["2-0".into(), Value::Null]);
        let reply = array([array(["s:3".into(), array([entry("1-0"), deleted])])]);
        let delivery = Delivery::of_read(reply, |key| (key == b"s:3").then_some(3)).unwrap();
        assert_eq!(delivery.entries.len(), 1);
        assert_eq!(delivery.entries[0].field("d").unwrap(), "{}");
        assert_eq!(delivery.lost, [(3, "2-0".to_owned())]);

        let map = fred::types::Map::try_from(vec![("s:3", array([entry("1-0")]))]).unwrap();
        let again = Delivery::of_read(Value::Map(map), |_| Some(3)).unwrap();
        assert_eq!(again.entries, delivery.entries);
    }

    #[test]
    fn a_claim_tells_where_to_go_on_and_what_is_lost() {
        let reply = array(["5-0".into(), array([entry("4-0")]), array(["3-0".into()])]);
        let (next, delivery) = Delivery::of_claim(reply, 7).unwrap();
        assert_eq!(next, "5-0");
        assert_eq!(delivery.entries[0].id, "4-0");
        assert_eq!(delivery.lost, [(7, "3-0".to_owned())]);
        assert_eq!(
            Delivery::of_claim(Value::Null, 7),
            Err(Unexpected("XAUTOCLAIM"))
        );
    }
}

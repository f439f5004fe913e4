//! Keeps the streams short: what is settled leaves them, and nothing else ever does.
//!
//! Trimming by length, or deleting entries one by one, loses entries that nobody has read or spoils Redis'
//! own figure of the lag. So it is done by id, below everything unread or unacknowledged.

use std::{collections::HashMap, time::Duration};

use fred::{clients::Client, error::Error, interfaces::StreamsInterface, types::Value};
use ticket_shared::stream::{GROUP, Keys};
use tokio_util::sync::CancellationToken;

use crate::{
    consumers::Consumers,
    delivery::Unexpected,
    metrics::{Metrics, PartitionLabel},
    stream_id::StreamId,
};

/// How often.
const INTERVAL: Duration = Duration::from_secs(3);

/// Why a stream was not trimmed.
#[derive(Debug, thiserror::Error)]
enum Untrimmed {
    #[error("{0}")]
    Redis(#[from] Error),
    #[error(transparent)]
    Reply(#[from] Unexpected),
}

/// Trims all streams, removes the consumers of gone workers and samples figures, until the process stops.
pub(crate) async fn run(
    redis: Client,
    keys: Keys,
    mut consumers: Consumers,
    metrics: Metrics,
    stopping: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        let look = consumers.due();
        for partition in 0..keys.partitions() {
            if look && let Err(error) = consumers.remove(&redis, partition).await {
                tracing::debug!(partition, error = %error, "consumers not looked at");
            }
            if let Err(error) = trim(&redis, &keys, partition, &metrics).await {
                // The readers see the same failure and say so; a stream that is not there yet is none.
                tracing::debug!(partition, error = %error, "stream not trimmed");
            }
        }
    }
}

async fn trim(
    redis: &Client,
    keys: &Keys,
    partition: u16,
    metrics: &Metrics,
) -> Result<(), Untrimmed> {
    let (key, label) = (keys.events(partition), PartitionLabel { partition });
    let parked: i64 = redis.xlen(keys.dead(partition)).await?;
    metrics.dead.get_or_create(&label).set(parked);
    // In this order: what is handed out after the first question has a higher id than its answer.
    let groups: Vec<HashMap<String, Value>> = redis.xinfo_groups(&key).await?;
    let pending: Value = redis.xpending(&key, GROUP, ()).await?;
    let Some(group) = groups
        .into_iter()
        .find(|group| text(group, "name").as_deref() == Some(GROUP))
    else {
        return Ok(());
    };
    let delivered = text(&group, "last-delivered-id").and_then(|id| StreamId::parse(&id));
    if let Some(keep) = keep_from(delivered, oldest(&pending)?) {
        let _: i64 = redis.xtrim(&key, ("MINID", "=", keep.to_string())).await?;
    }
    let length: i64 = redis.xlen(&key).await?;
    metrics.length.get_or_create(&label).set(length);
    let number = |field: &str| group.get(field).and_then(Value::as_i64);
    if let Some(pending) = number("pending") {
        metrics.pending.get_or_create(&label).set(pending);
    }
    // Redis does not always know its lag; the last figure stands then.
    if let Some(lag) = number("lag") {
        metrics.lag.get_or_create(&label).set(lag);
    }
    Ok(())
}

/// The lowest id that has to stay; `None` where nothing may go.
fn keep_from(delivered: Option<StreamId>, oldest_pending: Option<StreamId>) -> Option<StreamId> {
    let delivered = delivered?;
    if delivered == (StreamId { ms: 0, seq: 0 }) {
        return None;
    }
    let unread = delivered.next()?;
    Some(oldest_pending.map_or(unread, |pending| pending.min(unread)))
}

/// The lowest id in the short reply of XPENDING (count, lowest, highest, consumers), if any is pending.
///
/// # Errors
/// Where the reply isn't understood. That must not pass for nothing pending.
fn oldest(pending: &Value) -> Result<Option<StreamId>, Unexpected> {
    const PENDING: Unexpected = Unexpected("XPENDING");
    let Value::Array(parts) = pending else {
        return Err(PENDING);
    };
    match parts.first().and_then(Value::as_i64) {
        Some(0) => Ok(None),
        _ => parts
            .get(1)
            .and_then(Value::as_string)
            .and_then(|id| StreamId::parse(&id))
            .map_or(Err(PENDING), |id| Ok(Some(id))),
    }
}

fn text(group: &HashMap<String, Value>, field: &str) -> Option<String> {
    group.get(field)?.as_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Option<StreamId> {
        StreamId::parse(text)
    }

    #[test]
    fn nothing_unread_or_pending_may_go() {
        assert_eq!(keep_from(None, None), None);
        assert_eq!(keep_from(id("0-0"), None), None);
        assert_eq!(keep_from(id("5-1"), None), id("5-2"));
        assert_eq!(keep_from(id("5-1"), id("3-9")), id("3-9"));
        // Handed out after the first question was asked.
        assert_eq!(keep_from(id("5-1"), id("6-0")), id("5-2"));
        let last = Some(StreamId {
            ms: 5,
            seq: u64::MAX,
        });
        assert_eq!(keep_from(last, None), id("6-0"));
    }

    #[test]
    fn nothing_pending_is_not_confused_with_an_odd_reply() {
        let reply = |count: i64, lowest: Value| {
            Value::Array(vec![count.into(), lowest, Value::Null, Value::Null])
        };
        assert_eq!(oldest(&reply(0, Value::Null)), Ok(None));
        assert_eq!(oldest(&reply(2, "3-9".into())), Ok(id("3-9")));
        assert!(oldest(&reply(2, Value::Null)).is_err());
        assert!(oldest(&Value::Null).is_err());
    }
}

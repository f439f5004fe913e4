//! The answers of the scripts of a sweep.

use std::collections::BTreeMap;

use bytes::Bytes;
use fred::types::Value;
use ticket_shared::id::Id;

use super::{Vanished, Waiting};
use crate::delivery::Unexpected;

/// Tickets that wait for longer than anything is in their stream.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) before: String,
    pub(super) waiting: Vec<Waiting>,
}

/// How it is with one of them.
#[derive(Debug)]
pub(super) enum Look {
    /// All of it is persisted.
    Clean,
    /// Something of it may be in the stream.
    Waits,
    /// Something of it is nowhere in the stream.
    Vanished(Vanished),
    /// Its state is gone.
    Orphan {
        frames: Vec<Bytes>,
        sent: Vec<(Id, u64)>,
    },
}

pub(super) fn survey(answer: Value) -> Result<Option<Survey>, Unexpected> {
    const SURVEY: Unexpected = Unexpected("a survey");
    let Value::Array(parts) = answer else {
        return answer.is_null().then_some(None).ok_or(SURVEY);
    };
    let mut parts = parts.into_iter();
    let before = parts.next().and_then(text).ok_or(SURVEY)?;
    let mut members = items(parts.next()).into_iter();
    let mut waiting = Vec::new();
    while let (Some(ticket), Some(since)) = (members.next(), members.next()) {
        // Another's member in our set is no ticket of ours.
        if let (Some(ticket), Some(since)) = (text(ticket), text(since))
            && let Ok(ticket) = ticket.parse()
        {
            waiting.push(Waiting { ticket, since });
        }
    }
    Ok(Some(Survey { before, waiting }))
}

pub(super) fn look(answer: Value) -> Result<Look, Unexpected> {
    const LOOK: Unexpected = Unexpected("a look at a ticket");
    let Value::Array(parts) = answer else {
        return Err(LOOK);
    };
    let mut parts = parts.into_iter();
    match parts.next().and_then(text).as_deref() {
        Some("clean") => Ok(Look::Clean),
        Some("waits") => Ok(Look::Waits),
        Some("vanished") => {
            let mut next = || parts.next().and_then(number).ok_or(LOOK);
            let (persisted, upto, adopted, seq) = (next()?, next()?, next()?, next()?);
            let ahead = items(parts.next()).into_iter().filter_map(range).collect();
            let mut pairs = items(parts.next()).into_iter();
            let mut frames = BTreeMap::new();
            while let (Some(seq), Some(frame)) = (pairs.next(), pairs.next()) {
                frames.insert(number(seq).ok_or(LOOK)?, bytes(frame).ok_or(LOOK)?);
            }
            Ok(Look::Vanished(Vanished {
                persisted,
                upto,
                adopted,
                seq,
                ahead,
                frames,
            }))
        }
        Some("orphan") => {
            let frames = items(parts.next()).into_iter().filter_map(bytes).collect();
            let mut pairs = items(parts.next()).into_iter();
            let mut sent = Vec::new();
            while let (Some(id), Some(seq)) = (pairs.next(), pairs.next()) {
                let id = bytes(id).and_then(|id| <[u8; 12]>::try_from(&id[..]).ok());
                if let (Some(id), Some(seq)) = (id, number(seq)) {
                    sent.push((Id::from_bytes(id), seq));
                }
            }
            Ok(Look::Orphan { frames, sent })
        }
        _ => Err(LOOK),
    }
}

fn items(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::String(text) => Some(text.into_inner()),
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?.to_vec()).ok()
}

fn number(value: Value) -> Option<u64> {
    text(value)?.parse().ok()
}

fn range(value: Value) -> Option<(u64, u64)> {
    let text = text(value)?;
    let (lo, hi) = text.split_once(':')?;
    Some((lo.parse().ok()?, hi.parse().ok()?))
}

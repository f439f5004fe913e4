//! Keeping the members where the log is: entries in order, holes filled, and an honest word where they can't be.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use ticket_shared::stream::{Change, DecodeError, Entry, Frame};
use tokio::time::Instant;

use super::{Room, Seen};
use crate::{
    presence::Position,
    ticket::view::{Part, View, Which},
    watch::SEEN,
};

/// How many entries are read at a time.
const CHUNK: usize = 200;
/// How long after a look a ticket that is not in Redis counts as one in which nothing happened. Tickets with participants
/// stay in Redis for longer after a change.
const TRUSTED: Duration = Duration::from_secs(25);
const _: () = assert!(TRUSTED.as_secs() < SEEN.as_secs());

impl Seen {
    /// Whether the log is where this is. A ticket that is not in Redis is one in which nothing happened, if it was looked at
    /// recently: it can't have come and gone since.
    fn is_at(&mut self, log: &Position, now: Instant) -> bool {
        let at = self.epoch == log.epoch
            && match log.seq {
                Some(seq) => seq == self.seq,
                None => now.saturating_duration_since(self.checked) < TRUSTED,
            };
        if at {
            self.checked = now;
        }
        at
    }
}

impl Room {
    /// Something came over the channel.
    pub(super) async fn frame(&mut self, bytes: &Bytes) {
        for frame in Frame::decode_all(bytes) {
            self.one_frame(frame).await;
        }
    }

    async fn one_frame(&mut self, frame: Result<Frame, DecodeError>) {
        match frame {
            Ok(Frame::Entry(entry)) => {
                let Some(seen) = &self.seen else { return };
                if entry.epoch != seen.epoch {
                    self.resync(&entry.epoch.clone(), entry.seq).await;
                } else if entry.covers().0 == seen.seq + 1 {
                    self.emit(*entry).await;
                } else if entry.seq > seen.seq {
                    self.shared.metrics.holes.inc();
                    Box::pin(self.catch_up()).await;
                }
            }
            Ok(Frame::Signal(signal)) => self.signal(signal).await,
            // Written by a later version, or no frame of ours: the log says the same.
            Err(error) => {
                tracing::warn!(error = %error, ticket.id = %self.ticket, "frame could not be read");
            }
        }
    }

    /// Whether the members have seen all that is in the log.
    pub(super) fn is_at(&mut self, log: &Position) -> bool {
        let seen = self.seen.as_mut();
        seen.is_some_and(|seen| seen.is_at(log, Instant::now()))
    }

    /// Emits what the log has beyond what the members have seen. Returns whether the two could be compared.
    pub(super) async fn catch_up(&mut self) -> bool {
        self.flush().await;
        let Some(seen) = &self.seen else { return true };
        match self.shared.tickets.peek(self.ticket, Part::NONE).await {
            Ok(Some(view)) => self.catch_up_to(&view).await,
            // Not in Redis: because nothing happens in it, or because Redis lost it. The epoch tells.
            Ok(None) => match self.shared.tickets.epoch(self.ticket).await {
                Ok(epoch) if epoch != seen.epoch => {
                    let seq = seen.seq;
                    self.resync(&epoch, seq).await;
                    true
                }
                Ok(epoch) => self.compare_with_store(&epoch).await,
                Err(_) => false,
            },
            Err(error) => {
                tracing::debug!(error = %error, ticket.id = %self.ticket, "could not catch up, trying again");
                self.next_beat = self
                    .next_beat
                    .min(Instant::now() + Duration::from_millis(500));
                false
            }
        }
    }

    /// Compares the members with MongoDB, which has all of a ticket that left Redis. The changes that they missed can't be
    /// emitted from there, since it keeps messages alone in their places.
    async fn compare_with_store(&mut self, epoch: &str) -> bool {
        let stored = self.shared.tickets.store().ticket(self.ticket).await;
        let Some(seen) = &mut self.seen else {
            return true;
        };
        match stored {
            Ok(Some(stored)) if stored.numbers.seq > seen.seq => {
                self.shared.metrics.holes.inc();
                self.resync(epoch, stored.numbers.seq).await;
                true
            }
            Ok(Some(stored)) if stored.numbers.seq == seen.seq => {
                seen.checked = Instant::now();
                true
            }
            // Nothing leaves Redis before all of it is in MongoDB: Redis came back without it.
            Ok(stored) => {
                let seq = stored.map_or(0, |stored| stored.numbers.seq);
                let lost = seen.seq.saturating_sub(seq);
                self.end_epoch(epoch, seq, lost).await
            }
            // The next heartbeat tries again.
            Err(error) => {
                tracing::debug!(error = %error, ticket.id = %self.ticket, "cold ticket could not be compared");
                false
            }
        }
    }

    /// Redis came back without its last writes. Their numbers would be given again: the epoch ends. Returns whether it has.
    async fn end_epoch(&mut self, epoch: &str, seq: u64, lost: u64) -> bool {
        tracing::error!(ticket.id = %self.ticket, lost, "redis lost entries");
        self.shared.metrics.lost.inc_by(lost);
        let ended = self.shared.tickets.end_epoch(self.ticket, epoch).await;
        if let Ok(epoch) = &ended {
            self.resync(epoch, seq).await;
        } else {
            self.missed.store(true, Ordering::Release);
        }
        ended.is_ok()
    }

    /// Brings the members to where `view` is. Returns whether the epoch could be ended where they had seen more.
    pub(super) async fn catch_up_to(&mut self, view: &View) -> bool {
        let Some(seen) = &self.seen else {
            self.seen = Some(Seen {
                seq: view.numbers.seq,
                epoch: view.epoch.clone(),
                checked: Instant::now(),
            });
            return true;
        };
        if seen.epoch != view.epoch {
            self.resync(&view.epoch, view.numbers.seq).await;
            return true;
        }
        if view.numbers.seq < seen.seq {
            let lost = seen.seq - view.numbers.seq;
            return self.end_epoch(&view.epoch, view.numbers.seq, lost).await;
        }
        self.emit_up_to(view).await;
        true
    }

    /// Emits what the log has up to `view`, which is of the same epoch.
    async fn emit_up_to(&mut self, view: &View) {
        while let Some(seq) = self
            .seen
            .as_ref()
            .map(|seen| seen.seq)
            .filter(|seq| *seq < view.numbers.seq)
        {
            // Not beyond the view: whoever joins with it gets what comes after as events, and would miss what was
            // emitted before it is in the room.
            let high = Some(view.numbers.seq);
            let part = Part {
                high,
                ..Part::after(seq, CHUNK, Which::All)
            };
            let entries = match self.shared.tickets.peek(self.ticket, part).await {
                Ok(Some(now)) if now.epoch == view.epoch && now.floor <= seq => now.entries,
                Ok(Some(now)) => return self.resync(&now.epoch, now.numbers.seq).await,
                _ => return self.missed.store(true, Ordering::Release),
            };
            if !self.emit_all(entries, seq).await {
                return self.resync(&view.epoch, view.numbers.seq).await;
            }
            self.flush().await;
        }
    }

    /// Emits the entries after `seq` up to the first that says nothing. A log that was brought back from MongoDB holds
    /// messages alone: what stood between them can't be emitted. Returns whether there was something and no gap.
    async fn emit_all(&mut self, entries: Vec<Entry>, seq: u64) -> bool {
        let (mut next, whole) = (seq + 1, !entries.is_empty());
        for entry in entries {
            if entry.covers().0 != next || untold(&entry) {
                return false;
            }
            next = entry.covers().1 + 1;
            self.emit(entry).await;
        }
        whole
    }

    /// The members' copies can't be continued: they must join again.
    pub(super) async fn resync(&mut self, epoch: &str, seq: u64) {
        tracing::info!(ticket.id = %self.ticket, "members told to join again");
        self.seen = Some(Seen {
            seq,
            epoch: epoch.to_owned(),
            checked: Instant::now(),
        });
        self.tell_resync(epoch).await;
    }
}

/// Whether something happened there that the log came back without.
fn untold(entry: &Entry) -> bool {
    matches!(&entry.change, Change::Adopted { messages, .. } if messages.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_that_left_redis_is_taken_for_quiet_only_while_it_is_watched() {
        let began = Instant::now();
        let mut seen = Seen {
            seq: 7,
            epoch: "e".into(),
            checked: began,
        };
        let log = |seq, epoch: &str| Position {
            seq,
            epoch: epoch.into(),
        };
        let after = |seconds| began + Duration::from_secs(seconds);
        assert!(!seen.is_at(&log(Some(8), "e"), began));
        assert!(!seen.is_at(&log(None, "f"), began));
        assert!(seen.is_at(&log(None, "e"), after(10)));
        assert!(seen.is_at(&log(None, "e"), after(30)), "looked at 20 s ago");
        assert!(!seen.is_at(&log(None, "e"), after(56)), "26 s ago");
        assert!(!seen.is_at(&log(None, "e"), after(57)), "until compared");
        assert!(seen.is_at(&log(Some(7), "e"), after(58)));
        assert!(seen.is_at(&log(None, "e"), after(68)));
    }
}

//! Keeping the members where the log is: entries in order, holes filled, and an honest word where they can't be.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use ticket_shared::stream::{DecodeError, Frame};
use tokio::time::Instant;

use super::{Room, Seen};
use crate::{
    presence::Position,
    ticket::view::{Part, View, Which},
};

/// How many entries are read at a time.
const CHUNK: usize = 200;

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

    /// Whether the members have seen all that is in the log. Nothing happens in a ticket that is not in Redis.
    pub(super) fn is_at(&self, log: &Position) -> bool {
        self.seen.as_ref().is_some_and(|seen| {
            seen.epoch == log.epoch && log.seq.is_none_or(|seq| seq == seen.seq)
        })
    }

    /// Emits what the log has beyond what the members have seen.
    pub(super) async fn catch_up(&mut self) {
        self.flush().await;
        let Some(seen) = &self.seen else { return };
        match self.shared.tickets.peek(self.ticket, Part::NONE).await {
            Ok(Some(view)) => self.catch_up_to(&view).await,
            // Not in Redis: because nothing happens in it, or because Redis lost it. The epoch tells.
            Ok(None) => match self.shared.tickets.epoch(self.ticket).await {
                Ok(epoch) if epoch != seen.epoch => {
                    let seq = seen.seq;
                    self.resync(&epoch, seq).await;
                }
                _ => {}
            },
            Err(error) => {
                tracing::debug!(error = %error, ticket.id = %self.ticket, "could not catch up, trying again");
                self.next_beat = self
                    .next_beat
                    .min(Instant::now() + Duration::from_millis(500));
            }
        }
    }

    /// Brings the members to where `view` is.
    pub(super) async fn catch_up_to(&mut self, view: &View) {
        let Some(seen) = &self.seen else {
            self.seen = Some(Seen {
                seq: view.numbers.seq,
                epoch: view.epoch.clone(),
            });
            return;
        };
        if seen.epoch != view.epoch {
            return self.resync(&view.epoch, view.numbers.seq).await;
        }
        if view.numbers.seq < seen.seq {
            // Redis came back without its last writes. Their numbers would be given again: end the epoch.
            tracing::error!(ticket.id = %self.ticket, lost = seen.seq - view.numbers.seq, "redis lost entries");
            self.shared.metrics.lost.inc_by(seen.seq - view.numbers.seq);
            match self
                .shared
                .tickets
                .end_epoch(self.ticket, &view.epoch)
                .await
            {
                Ok(epoch) => self.resync(&epoch, view.numbers.seq).await,
                Err(_) => self.missed.store(true, Ordering::Release),
            }
            return;
        }
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
            if entries.is_empty() {
                return;
            }
            for entry in entries {
                self.emit(entry).await;
            }
            self.flush().await;
        }
    }

    /// The members' copies can't be continued: they must join again.
    pub(super) async fn resync(&mut self, epoch: &str, seq: u64) {
        tracing::info!(ticket.id = %self.ticket, "members told to join again");
        self.seen = Some(Seen {
            seq,
            epoch: epoch.to_owned(),
        });
        self.tell_resync(epoch).await;
    }
}

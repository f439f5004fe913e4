//! What a client knows of one ticket, and when it has to join again.

use std::time::Duration;

use ticket_shared::domain::UserType;
use tokio::time::Instant;

use crate::{chance, history::Position};

/// One ticket, as a client has it.
#[derive(Debug)]
pub(super) struct View {
    side: UserType,
    position: Option<Position>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// A join is wanted from this time on.
    Wanted(Instant),
    /// It was asked for; whether something came meanwhile that asks for another.
    Asked { again: bool },
    /// Events continue the view.
    In,
}

impl View {
    pub(super) fn new(side: UserType) -> Self {
        Self {
            side,
            position: None,
            state: State::Wanted(Instant::now()),
        }
    }

    /// Where the client is, to resume from.
    pub(super) fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// The same, if it is up to date as far as the client can know.
    pub(super) fn in_sync(&self) -> Option<&Position> {
        matches!(self.state, State::In)
            .then_some(self.position.as_ref())
            .flatten()
    }

    /// Whether the client is in the ticket.
    pub(super) fn joined(&self) -> bool {
        matches!(self.state, State::In)
    }

    /// When to ask for a join, if one is wanted.
    pub(super) fn join_due(&self) -> Option<Instant> {
        match self.state {
            State::Wanted(at) => Some(at),
            State::Asked { .. } | State::In => None,
        }
    }

    /// A join was asked for.
    pub(super) fn asked(&mut self) {
        self.state = State::Asked { again: false };
    }

    /// The connection is gone, and the membership with it.
    pub(super) fn disconnected(&mut self) {
        self.state = State::Wanted(Instant::now());
    }

    /// The join was refused.
    pub(super) fn refused(&mut self, retry: Duration) {
        self.state = State::Wanted(Instant::now() + chance::jittered(retry));
    }

    /// The server says to join again.
    pub(super) fn resync(&mut self) {
        self.state = match self.state {
            State::Asked { .. } => State::Asked { again: true },
            _ => State::Wanted(Instant::now()),
        };
    }

    /// The join was answered.
    pub(super) fn arrived(&mut self, now: Position) {
        let ahead = self
            .position
            .take()
            .filter(|before| before.epoch == now.epoch && before.seq > now.seq);
        self.position = Some(ahead.unwrap_or(now));
        self.state = match self.state {
            State::Asked { again: true } => State::Wanted(Instant::now()),
            _ => State::In,
        };
    }

    /// An event came. Says whether the client must join again because of it.
    pub(super) fn event(&mut self, seq: u64, prev: u64) -> bool {
        let (Some(position), State::In) = (&mut self.position, &self.state) else {
            return false;
        };
        let continues = match self.side {
            UserType::Agent => seq == position.seq + 1,
            UserType::User => prev == position.seq && seq > prev,
        };
        if continues {
            position.seq = seq;
        } else if seq > position.seq {
            self.state = State::Wanted(Instant::now());
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: u64, epoch: &str) -> Position {
        Position {
            seq,
            epoch: epoch.into(),
        }
    }

    fn view(side: UserType) -> View {
        let mut view = View::new(side);
        view.asked();
        view.arrived(at(5, "e"));
        view
    }

    #[test]
    fn a_gap_asks_for_a_join_from_before_it() {
        let mut agent = view(UserType::Agent);
        assert!(!agent.event(6, 5));
        assert!(
            agent.event(8, 5),
            "7 was an internal message, which an agent should have seen"
        );
        assert!(agent.join_due().is_some());
        assert_eq!(agent.position(), Some(&at(6, "e")));

        let mut user = view(UserType::User);
        assert!(!user.event(8, 5), "6 and 7 were internal");
        assert!(user.event(10, 9));
        assert_eq!(user.in_sync(), None);
    }

    #[test]
    fn a_resync_during_a_join_is_not_forgotten() {
        let mut view = view(UserType::User);
        view.asked();
        view.resync();
        view.arrived(at(9, "e"));
        assert!(view.join_due().is_some());
        view.asked();
        view.arrived(at(2, "f"));
        assert_eq!(
            view.in_sync(),
            Some(&at(2, "f")),
            "another epoch may count lower"
        );
    }
}

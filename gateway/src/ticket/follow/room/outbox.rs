//! What the sockets of one ticket are about to be told: written once each, and given to a socket all at once, because
//! every write to a connection costs more than all that is done for it here.

use engineioxide::SharedText;
use serde::Serialize;
use ticket_shared::domain::{Person, UserType};

use super::Member;
use crate::packet;

/// Who is told.
pub(super) enum Whom {
    /// Everybody.
    All,
    /// Agents.
    Agents,
    /// Everybody but these people's sockets.
    AllBut(Vec<(UserType, String)>),
}

impl Whom {
    fn has(&self, person: &Person) -> bool {
        match self {
            Self::All => true,
            Self::Agents => person.user_type == UserType::Agent,
            Self::AllBut(people) => !people
                .iter()
                .any(|(side, id)| (*side, id) == (person.user_type, &person.user_id)),
        }
    }
}

/// Packets that wait, in order.
#[derive(Default)]
pub(super) struct Outbox {
    packets: Vec<SharedText>,
    whom: Vec<Whom>,
}

/// What came of giving them out.
#[derive(Default)]
pub(super) struct Delivery {
    /// To how many sockets something was written.
    pub writes: usize,
    /// How many sockets could take nothing more.
    pub full: u64,
}

impl Outbox {
    pub(super) fn put<T: Serialize>(&mut self, whom: Whom, event: &'static str, payload: &T) {
        // Maps with keys that are no text can't be written. There are none.
        if let Ok(packet) = packet::event(event, payload) {
            self.packets.push(packet);
            self.whom.push(whom);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    /// Gives everything to those members that it is for.
    pub(super) fn deliver<'a>(&mut self, members: impl Iterator<Item = &'a Member>) -> Delivery {
        let for_all = self.whom.iter().all(|whom| matches!(whom, Whom::All));
        let mut delivery = Delivery::default();
        let mut some = Vec::new();
        for member in members.filter(|member| member.listens()) {
            let packets = if for_all {
                &self.packets
            } else {
                let packets = self.packets.iter().zip(&self.whom);
                let wanted = packets.filter(|(_, whom)| whom.has(member.person()));
                some.clear();
                some.extend(wanted.map(|(packet, _)| packet.clone()));
                &some
            };
            if packets.is_empty() {
                continue;
            }
            delivery.writes += 1;
            if packet::send(packets, &member.outlet).is_err() {
                // Its copy has a hole now, and it was cut off: it must come back and resume.
                delivery.full += 1;
            }
        }
        // Gives the memory back: most tickets are silent most of the time.
        *self = Self::default();
        delivery
    }
}

//! A client that sends far more than it may, and comes back whenever it is cut off.

use std::{
    cell::Cell,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use serde_json::json;
use ticket_shared::event::client::SEND_MESSAGE;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    packet::{PONG, Packet, asking},
    socket::{Lost, Socket},
};

/// How long it waits from one message to the next.
const PACE: Duration = Duration::from_millis(1);

/// Where it comes from: not from where the others do, who would be turned away with it.
pub(crate) const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));

/// What came of it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Flood {
    /// Messages that it sent.
    pub sent: u64,
    /// Of those: answered with success.
    pub accepted: u64,
    /// Of those: answered `rate_limited`.
    pub limited: u64,
    /// How often its connection was ended.
    pub cut: u64,
    /// How often it was not let in.
    pub turned_away: u64,
}

impl Flood {
    /// The figures as a line of text.
    pub(crate) fn encode(self) -> String {
        format!(
            "{} {} {} {} {}",
            self.sent, self.accepted, self.limited, self.cut, self.turned_away
        )
    }

    /// Reads them; none where the text is another.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let numbers: Result<Vec<u64>, _> = text.split(' ').map(str::parse).collect();
        let [sent, accepted, limited, cut, turned_away] = numbers.ok()?.try_into().ok()?;
        Some(Self {
            sent,
            accepted,
            limited,
            cut,
            turned_away,
        })
    }
}

/// Sends into a ticket, a thousand messages a second, until it is dropped; tells meanwhile what comes of it.
pub(crate) async fn flood(address: &str, ticket: &str, told: &Cell<Flood>) -> ! {
    let mut pace = interval(PACE);
    // What was due while there was no connection is made up for, as by a client with a queue.
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        pace.tick().await;
        let mut socket = match Socket::connect_from(FROM, None, address).await {
            Ok(socket) => socket,
            Err(Lost::TurnedAway(_)) => {
                told.set(Flood {
                    turned_away: told.get().turned_away + 1,
                    ..told.get()
                });
                continue;
            }
            Err(_) => continue,
        };
        let payload = json!({
            "ticketId": ticket, "senderId": "flood", "senderType": "user", "senderName": "Flood", "content": "more",
        });
        loop {
            let done = tokio::select! {
                packet = socket.next() => match packet {
                    Ok(packet) => heard(&mut socket, packet, told).await,
                    Err(lost) => Err(lost),
                },
                _ = pace.tick() => {
                    let sent = told.get().sent + 1;
                    told.set(Flood { sent, ..told.get() });
                    socket.write(asking(sent, SEND_MESSAGE, &payload)).await
                }
            };
            if done.is_err() {
                told.set(Flood {
                    cut: told.get().cut + 1,
                    ..told.get()
                });
                break;
            }
        }
    }
}

async fn heard(socket: &mut Socket, packet: Packet, told: &Cell<Flood>) -> Result<(), Lost> {
    let mut flood = told.get();
    match packet {
        Packet::Ack(_, answer) if answer["ok"] == true => flood.accepted += 1,
        Packet::Ack(_, answer) if answer["error"]["code"] == "rate_limited" => flood.limited += 1,
        Packet::Ping => return socket.write(PONG.to_owned()).await,
        _ => {}
    }
    told.set(flood);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_they_are_written() {
        let flood = Flood {
            sent: 4,
            accepted: 3,
            limited: 2,
            cut: 1,
            turned_away: 5,
        };
        assert_eq!(Flood::decode(&flood.encode()), Some(flood));
        for other in ["", "1 2 3 4", "1 2 3 4 5 6", "1 2 3 4 x"] {
            assert_eq!(Flood::decode(other), None, "{other}");
        }
    }
}

//! Messages that go to Redis together: as if each had been sent after the answer to the one before.

use ticket_gateway::{access::Grant, ticket::append::RUN};
use ticket_shared::{
    domain::{Message, UserType},
    id::Id,
    stream::{Frame, NewMessage},
};

use crate::{
    channel::Channel,
    tickets::{opened, stored_ticket},
    world::{World, in_world, message},
};

/// With a repeat of another one and of itself, and a note between.
fn conversation(id: Id) -> Vec<NewMessage> {
    let note = NewMessage {
        sender_type: UserType::Agent,
        internal: true,
        ..message(id, "a note", Some("run-2"))
    };
    let text = |content, client_id| message(id, content, Some(client_id));
    vec![
        text("one", "run-1"),
        note,
        text("one", "run-1"),
        text("two", "run-3"),
        text("two again", "run-3"),
        text("three", "run-4"),
    ]
}

fn places(sent: &[(Message, bool)]) -> Vec<(u64, &str, bool)> {
    let places = sent.iter();
    places
        .map(|(message, repeated)| (message.seq, message.content.as_str(), *repeated))
        .collect()
}

/// Everything that does not depend on when it happened.
async fn left_behind(world: &World, id: Id) -> Vec<Option<String>> {
    let mut state = Vec::new();
    for field in ["seq", "pub", "persisted", "floor", "count", "head", "base"] {
        state.push(world.state(id, field).await);
    }
    let owed = world.owed(id).await.into_iter();
    for entry in owed.filter(|entry| entry.ticket_id == id) {
        let last = entry.last().map(|last| last.content);
        let (seq, prev, count) = (entry.seq, entry.prev_seq, entry.message_count);
        state.push(Some(format!("{seq} {prev} {count} {last:?}")));
    }
    state
}

#[tokio::test]
async fn a_run_leaves_behind_what_single_messages_do() {
    in_world(|world| async move {
        // One that is in Redis, and one that has to be fetched from MongoDB first.
        for cold in [false, true] {
            let mut seen = Vec::new();
            for together in [false, true] {
                let id = if cold {
                    stored_ticket(&world, 3).await
                } else {
                    opened(&world).await.id
                };
                let mut sent = Vec::new();
                if together {
                    let all = conversation(id);
                    let all = world.tickets.send_all(id, all, &Grant::TEAM).await;
                    sent.extend(all.into_iter().map(Result::unwrap));
                } else {
                    for message in conversation(id) {
                        let one = world.tickets.send(id, message, &Grant::TEAM).await;
                        sent.push(one.unwrap());
                    }
                }
                let first = if cold { 5 } else { 2 };
                assert_eq!(
                    places(&sent),
                    [
                        (first, "one", false),
                        (first + 1, "a note", false),
                        (first, "one", true),
                        (first + 2, "two", false),
                        (first + 2, "two", true),
                        (first + 3, "three", false),
                    ]
                );
                let mut state = left_behind(&world, id).await;
                // Of opened tickets the base says when.
                state[6] = None;
                assert_eq!(state[0], Some((first + 3).to_string()));
                let now = world.tickets.ticket(id, &Grant::TEAM).await.unwrap();
                let updated = now.updated_at;
                assert_eq!(updated, sent[5].0.created_at);
                seen.push((
                    state,
                    now.message_count,
                    now.last_message.map(|m| m.content),
                ));
            }
            assert_eq!(seen[0], seen[1]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_run_is_told_at_once() {
    in_world(|world| async move {
        let id = opened(&world).await.id;
        let mut channel = Channel::of(&world, id).await;
        let all = world
            .tickets
            .send_all(id, conversation(id), &Grant::TEAM)
            .await;
        assert!(all.iter().all(Result::is_ok));
        let said = channel.said(&world).await;
        let [told] = &said[..] else {
            panic!("{} publications", said.len());
        };
        let entries = Frame::decode_all(told).map(|frame| match frame.unwrap() {
            Frame::Entry(entry) => entry.seq,
            Frame::Signal(signal) => panic!("{signal:?}"),
        });
        assert_eq!(entries.collect::<Vec<_>>(), [2, 3, 4, 5]);
        channel.close().await;
    })
    .await;
}

#[tokio::test]
async fn runs_of_many_senders_keep_the_order_of_each() {
    in_world(|world| async move {
        let id = stored_ticket(&world, 3).await;
        let senders = (0..12).map(|sender| {
            let text = move |i| message(id, &format!("{sender} {i}"), None);
            let run = (0..RUN).map(text).collect();
            world.tickets.send_all(id, run, &Grant::TEAM)
        });
        let sent = futures::future::join_all(senders).await;
        let mut all = Vec::new();
        for run in sent {
            let run: Vec<u64> = run.into_iter().map(|sent| sent.unwrap().0.seq).collect();
            assert!(
                run.windows(2).all(|pair| pair[0] + 1 == pair[1]),
                "nothing comes between: {run:?}"
            );
            all.extend(run);
        }
        all.sort_unstable();
        let count = u64::try_from(12 * RUN).unwrap();
        assert_eq!(all, (5..5 + count).collect::<Vec<_>>());
        assert_eq!(world.owed(id).await.len(), 12 * RUN);
    })
    .await;
}

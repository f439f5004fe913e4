//! Appending: numbers, repeats, conflicts, keys of idempotency.

use futures::future::join_all;
use ticket_gateway::{
    access::Grant,
    error::Error,
    ticket::append::{Change, Opened},
};
use ticket_shared::{
    domain::{Agent, Status},
    id::Id,
};

use super::{as_user, latest, omar, opened, parts};
use crate::world::{in_world, message};

#[tokio::test]
async fn every_change_takes_the_next_number_and_can_be_read_at_once() {
    in_world(|world| async move {
        let ticket = opened(&world).await;
        assert_eq!(
            (ticket.seq, ticket.tags.as_slice()),
            (1, ["a/b", "ب"].map(String::from).as_slice())
        );
        let (first, repeated) = world
            .tickets
            .send(ticket.id, message(ticket.id, "مرحبا", None), &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!((first.seq, repeated), (2, false));
        let agent = Agent {
            agent_id: "a1".into(),
            agent_name: "Omar / عمر".into(),
        };
        let assign = Change::Assign(Some(agent.clone()));
        let entry = world
            .tickets
            .change(ticket.id, assign, &omar(), None, &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!(
            (entry.seq, entry.prev_seq, entry.from_agent.clone()),
            (3, 2, None)
        );
        let close = Change::Status(Status::Closed);
        let entry = world
            .tickets
            .change(ticket.id, close, &omar(), None, &Grant::TEAM)
            .await
            .unwrap();
        let closed = entry.ticket().unwrap();
        assert_eq!(
            (entry.from_status, closed.status, closed.closed_at),
            (Some(Status::Open), Status::Closed, Some(closed.updated_at))
        );
        assert_eq!(closed.assigned_agent, Some(agent.clone()));
        let nobody = Change::Assign(None);
        let entry = world
            .tickets
            .change(ticket.id, nobody, &omar(), None, &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!(
            (
                entry.from_agent.clone(),
                entry.ticket().unwrap().assigned_agent
            ),
            (Some(agent), None)
        );

        let now = world.tickets.ticket(ticket.id, &Grant::TEAM).await.unwrap();
        assert_eq!(
            (
                now.seq,
                now.message_count,
                now.last_message.unwrap().content.as_str()
            ),
            (5, 1, "مرحبا")
        );
        assert_eq!(
            world.tickets.list(None, 10, &Grant::TEAM).await.unwrap()[0].seq,
            5
        );
        let counts = world.tickets.counts().await.unwrap();
        assert_eq!((counts.closed, counts.total, counts.unassigned), (1, 1, 0));
        let owed = world.owed(ticket.id).await;
        assert_eq!(
            owed.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
            [1, 2, 3, 4, 5]
        );
        assert!(owed.windows(2).all(|pair| pair[0].at <= pair[1].at));
    })
    .await;
}

#[tokio::test]
async fn a_repeat_is_the_first_message_however_many_come_at_once() {
    in_world(|world| async move {
        let ticket = opened(&world).await.id;
        let sends = (0..8).map(|_| {
            world
                .tickets
                .send(ticket, message(ticket, "once", Some("c1")), &Grant::TEAM)
        });
        let sent: Vec<_> = join_all(sends)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(sent.iter().filter(|(_, repeated)| !repeated).count(), 1);
        assert!(
            sent.iter()
                .all(|(message, _)| message == &sent[0].0 && message.seq == 2)
        );
        assert_eq!(world.owed(ticket).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_stale_change_is_refused_with_the_ticket_as_it_is() {
    in_world(|world| async move {
        let ticket = opened(&world).await.id;
        let changes = [Status::Pending, Status::Closed].map(|status| {
            let world = world.clone();
            async move {
                world
                    .tickets
                    .change(
                        ticket,
                        Change::Status(status),
                        &omar(),
                        Some(1),
                        &Grant::TEAM,
                    )
                    .await
            }
        });
        let outcomes = join_all(changes).await;
        let won: Vec<_> = outcomes.iter().flatten().collect();
        assert_eq!(won.len(), 1);
        let refused = outcomes
            .iter()
            .find_map(|outcome| outcome.as_ref().err())
            .unwrap();
        let Error::Conflict(_, now) = refused else {
            panic!("{refused}")
        };
        assert_eq!((now.seq, now.status), (2, won[0].head.status));

        // A user's newest seq does not count what only agents see.
        let mut note = message(ticket, "note", None);
        note.internal = true;
        world
            .tickets
            .send(ticket, note, &Grant::TEAM)
            .await
            .unwrap();
        let user = as_user("u1");
        let close = Change::Status(Status::Closed);
        let done = world
            .tickets
            .change(ticket, close, &omar(), Some(2), &user)
            .await;
        assert!(done.is_ok());
    })
    .await;
}

#[tokio::test]
async fn an_unknown_ticket_is_not_found_and_leaves_nothing() {
    in_world(|world| async move {
        let id = Id::fresh().unwrap();
        let error = world
            .tickets
            .send(id, message(id, "x", None), &Grant::TEAM)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::TicketNotFound));
        let error = world
            .tickets
            .messages(id, latest(1), &Grant::TEAM)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::TicketNotFound));
        assert_eq!(world.state(id, "seq").await, None);
    })
    .await;
}

#[tokio::test]
async fn an_idempotency_key_opens_one_ticket_and_says_when_it_is_misused() {
    in_world(|world| async move {
        let id = Id::of_ticket("", "key");
        let (mut base, head) = parts("s");
        base.fingerprint = Some("said this".into());
        assert!(matches!(
            world
                .tickets
                .open(id, &base, &head, None, true, &Grant::TEAM)
                .await
                .unwrap(),
            Opened::New(_)
        ));
        let Opened::Before(ticket) = world
            .tickets
            .open(id, &base, &head, None, true, &Grant::TEAM)
            .await
            .unwrap()
        else {
            panic!()
        };
        assert_eq!((ticket.id, ticket.seq), (id, 1));
        base.fingerprint = Some("said that".into());
        let error = world
            .tickets
            .open(id, &base, &head, None, true, &Grant::TEAM)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Conflict(_, ticket) if ticket.id == id));
    })
    .await;
}

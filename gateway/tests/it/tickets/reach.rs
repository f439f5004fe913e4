//! Who sees which tickets, and what of them.

use mongodb::bson::{DateTime, doc, oid::ObjectId};
use ticket_gateway::{
    access::{Grant, Reach},
    error::Error,
    ticket::append::Change,
};
use ticket_shared::{
    domain::{Status, UserType},
    id::Id,
};

use super::{as_user, latest, omar, opened};
use crate::world::{in_world, message};

#[tokio::test]
async fn for_a_user_nothing_happens_when_agents_write_to_each_other() {
    in_world(|world| async move {
        let id = opened(&world).await.id;
        let user = as_user("u1");
        let said = message(id, "aloud", None);
        world.tickets.send(id, said, &user).await.unwrap();
        let before = world.tickets.ticket(id, &user).await.unwrap();
        // A time of its own, so that it would show.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let mut note = message(id, "note", None);
        note.internal = true;
        world.tickets.send(id, note, &Grant::TEAM).await.unwrap();
        let now = world.tickets.ticket(id, &user).await.unwrap();
        assert_eq!(now, before);
        assert_eq!(
            world.tickets.list(None, 9, &user).await.unwrap(),
            std::slice::from_ref(&before)
        );
        let team = world.tickets.ticket(id, &Grant::TEAM).await.unwrap();
        assert!((team.seq, team.updated_at) > (before.seq, before.updated_at));
        let shown = world.tickets.messages(id, latest(9), &user).await.unwrap();
        assert_eq!(shown.iter().map(|m| m.seq).collect::<Vec<_>>(), [2]);
        let owed = world.owed(id).await;
        let note = owed.last().unwrap();
        assert_eq!(
            (note.public_seq(), note.public_at()),
            (2, before.updated_at.0)
        );
        // A refusal shows the ticket too.
        let close = Change::Status(Status::Closed);
        let stale = world
            .tickets
            .change(id, close, &omar(), Some(1), &user)
            .await;
        assert!(matches!(stale, Err(Error::Conflict(_, now)) if *now == before));
    })
    .await;
}

#[tokio::test]
async fn of_others_tickets_nothing_is_said_and_nothing_is_changed() {
    in_world(|world| async move {
        let id = opened(&world).await.id;
        let elsewhere = Grant {
            reach: Reach::These(vec![Id::fresh().unwrap()]),
            side: UserType::User,
            counted: None,
        };
        // The second would be found by a careless search in the ticket's JSON.
        for other in [
            as_user("u2"),
            as_user("u"),
            as_user("u1\",\"userName"),
            elsewhere,
        ] {
            let tickets = &world.tickets;
            let said = tickets
                .send(id, message(id, "psst", Some("c")), &other)
                .await;
            assert!(matches!(said, Err(Error::TicketNotFound)), "{other:?}");
            let close = Change::Status(Status::Closed);
            let closed = tickets.change(id, close, &omar(), None, &other).await;
            assert!(matches!(closed, Err(Error::TicketNotFound)), "{other:?}");
            assert!(matches!(
                tickets.ticket(id, &other).await,
                Err(Error::TicketNotFound)
            ));
            let read = tickets.messages(id, latest(9), &other).await;
            assert!(matches!(read, Err(Error::TicketNotFound)));
            assert_eq!(tickets.list(None, 9, &other).await.unwrap(), []);
        }
        assert_eq!(world.owed(id).await.len(), 1);
        let this = Grant {
            reach: Reach::These(vec![id]),
            side: UserType::User,
            counted: None,
        };
        let said = world
            .tickets
            .send(id, message(id, "hello", None), &this)
            .await;
        assert_eq!(said.unwrap().0.seq, 2);
    })
    .await;
}

#[tokio::test]
async fn whose_a_cold_ticket_is_decides_before_it_is_warmed() {
    in_world(|world| async move {
        let id = Id::fresh().unwrap();
        let stored = doc! {
            "_id": ObjectId::from_bytes(id.bytes()), "subject": "s", "userId": "u1", "seq": 3_i64,
            "publicSeq": 2_i64, "createdAt": DateTime::from_millis(1), "updatedAt": DateTime::from_millis(9),
            "publicUpdatedAt": DateTime::from_millis(5),
        };
        let tickets = world.database.collection("tickets");
        tickets.insert_one(stored).await.unwrap();
        let other = as_user("u2");
        let said = world.tickets.send(id, message(id, "psst", None), &other).await;
        assert!(matches!(said, Err(Error::TicketNotFound)));
        assert!(matches!(world.tickets.ticket(id, &other).await, Err(Error::TicketNotFound)));
        assert_eq!(world.state(id, "seq").await, None);
        let user = as_user("u1");
        let listed = &world.tickets.list(None, 9, &user).await.unwrap()[0];
        assert_eq!((listed.seq, listed.updated_at.0), (2, 5));
        assert_eq!(*listed, world.tickets.ticket(id, &user).await.unwrap());
        let said = world.tickets.send(id, message(id, "hello", None), &user).await;
        assert_eq!(said.unwrap().0.seq, 4);
    })
    .await;
}

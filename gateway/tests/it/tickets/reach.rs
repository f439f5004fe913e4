//! Who sees which tickets, and what of them.

use mongodb::bson::{Bson, DateTime, doc, oid::ObjectId};
use ticket_gateway::{
    access::{Grant, Reach},
    error::Error,
    ticket::append::{Change, Opened},
};
use ticket_shared::{
    domain::{Status, UserType},
    id::Id,
};

use super::{as_user, latest, omar, opened, parts};
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
            "_id": ObjectId::from_bytes(id.bytes()), "subject": "s", "userId": "u1", "logVersion": 1, "seq": 3_i64,
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

#[tokio::test]
async fn a_user_s_position_tells_nothing_of_internal_messages() {
    in_world(|world| async move {
        let id = opened(&world).await.id;
        let user = as_user("u1");
        let mut note = message(id, "note", None);
        note.internal = true;
        world.tickets.send(id, note, &Grant::TEAM).await.unwrap();
        let change = |to, expected, grant: Grant| {
            let tickets = world.tickets.clone();
            async move {
                let change = Change::Status(to);
                tickets
                    .change(id, change, &omar(), Some(expected), &grant)
                    .await
            }
        };
        for guess in [0, 2, 3] {
            let answer = change(Status::Closed, guess, user.clone()).await;
            assert!(
                matches!(answer, Err(Error::Conflict(_, now)) if now.seq == 1),
                "{guess}"
            );
        }
        assert_eq!(change(Status::Closed, 1, user).await.unwrap().seq, 3);
        let team = change(Status::Open, 1, Grant::TEAM).await;
        assert!(matches!(team, Err(Error::Conflict(_, now)) if now.seq == 3));
        assert_eq!(change(Status::Open, 3, Grant::TEAM).await.unwrap().seq, 4);
    })
    .await;
}

#[tokio::test]
async fn a_repeated_creation_shows_what_its_caller_may_see() {
    in_world(|world| async move {
        let id = Id::of_ticket("user:u1", "key");
        let (mut base, head) = parts("s");
        base.fingerprint = Some("said this".into());
        let open = async |base: &_, grant: &_| {
            world.tickets.open(id, base, &head, None, true, grant).await
        };
        let user = as_user("u1");
        open(&base, &user).await.unwrap();
        let mut note = message(id, "note", None);
        note.internal = true;
        world.tickets.send(id, note, &Grant::TEAM).await.unwrap();
        let shown = world.tickets.ticket(id, &user).await.unwrap();
        let again = open(&base, &user).await;
        assert!(matches!(again, Ok(Opened::Before(before)) if *before == shown));
        let elsewhere = Grant {
            reach: Reach::These(vec![Id::fresh().unwrap()]),
            ..user.clone()
        };
        let mut other = base.clone();
        other.fingerprint = Some("said that".into());
        for body in [&base, &other] {
            let refused = open(body, &elsewhere).await;
            assert!(matches!(refused, Err(Error::TicketNotFound)));
        }
        let misused = open(&other, &user).await;
        assert!(matches!(misused, Err(Error::Conflict(_, ticket)) if *ticket == shown));
    })
    .await;
}

#[tokio::test]
async fn a_list_is_as_wide_as_the_permission() {
    in_world(|world| async move {
        let object = ObjectId::from_bytes([0xab; 12]);
        let owners: Vec<Bson> = vec![
            7.into(),
            7_i64.into(),
            7.0.into(),
            7.5.into(),
            "7".into(),
            "7.0".into(),
            "007".into(),
            "alice".into(),
            "Alice".into(),
            vec!["alice", "bob"].into(),
            doc! { "_id": "alice" }.into(),
            Bson::Null,
            object.into(),
            object.to_hex().to_uppercase().into(),
        ];
        let ids: Vec<Id> = owners.iter().map(|_| Id::fresh().unwrap()).collect();
        let documents = ids.iter().zip(owners).map(|(id, owner)| {
            doc! { "_id": ObjectId::from_bytes(id.bytes()), "subject": "s", "userId": owner,
            "createdAt": DateTime::from_millis(1_000) }
        });
        let tickets = world.database.collection("tickets");
        tickets.insert_many(documents).await.unwrap();
        let (lower, upper) = (object.to_hex(), object.to_hex().to_uppercase());
        let mut seen = 0;
        for sub in [
            "7", "7.0", "07", "+7", "007", "7.5", "7e0", "alice", "Alice", "ALICE", "bob", "null",
            &lower, &upper,
        ] {
            let user = as_user(sub);
            let listed = world.tickets.list(None, 50, &user).await.unwrap();
            let mut listed: Vec<Id> = listed.iter().map(|ticket| ticket.id).collect();
            let mut permitted = Vec::new();
            for id in &ids {
                if world.tickets.ticket(*id, &user).await.is_ok() {
                    permitted.push(*id);
                }
            }
            listed.sort();
            permitted.sort();
            assert_eq!(listed, permitted, "{sub}");
            seen += permitted.len();
        }
        assert!(seen >= 9, "{seen}");
    })
    .await;
}

#[tokio::test]
async fn what_the_database_finds_besides_does_not_end_a_list_early() {
    in_world(|world| async move {
        let stored = |second: i64, owner: Bson| {
            let id = Id::fresh().unwrap();
            doc! { "_id": ObjectId::from_bytes(id.bytes()), "subject": format!("s{second}"), "userId": owner,
                "createdAt": DateTime::from_millis(second * 1_000) }
        };
        // Arrays are found by what they hold, and are nobody's id.
        let others = (10..25).map(|second| stored(second, vec!["alice", "bob"].into()));
        let own = (1..4).map(|second| stored(second, "alice".into()));
        let tickets = world.database.collection("tickets");
        tickets.insert_many(others.chain(own)).await.unwrap();
        let page = world.tickets.list(None, 2, &as_user("alice")).await.unwrap();
        let subjects: Vec<_> = page.iter().map(|ticket| ticket.subject.as_str()).collect();
        assert_eq!(subjects, ["s3", "s2"]);
    })
    .await;
}

//! The log of a ticket, against a real Redis and a real server of the MongoDB protocol: appending, repeats,
//! conflicts, reading back, warming, numbering.

use futures::future::join_all;
use mongodb::bson::{DateTime, doc, oid::ObjectId};
use ticket_gateway::{
    access::{Grant, Reach},
    error::Error,
    ticket::{
        append::{Change, Opened},
        page::Page,
        view::{Part, Which},
    },
};
use ticket_shared::{
    domain::{Agent, Status, Ticket, UserType},
    id::Id,
    stream::{Actor, Base, Change as Happened, Head},
};

use crate::world::{World, in_world, message};

fn parts(subject: &str) -> (Base, Head) {
    let base = Base {
        description: "d\"é".into(),
        user_id: Some("u1".into()),
        user_name: Some("سارة".into()),
        created_at: 0,
        fingerprint: None,
    };
    let head = Head {
        subject: subject.into(),
        status: Status::Open,
        priority: ticket_shared::domain::Priority::High,
        tags: "[\"a/b\",\"ب\"]".into(),
        agent_id: None,
        agent_name: None,
        closed_at: None,
    };
    (base, head)
}

pub(crate) async fn opened(world: &World) -> Ticket {
    let (base, head) = parts("s/\"ع");
    let id = Id::fresh().unwrap();
    match world
        .tickets
        .open(id, &base, &head, None, false)
        .await
        .unwrap()
    {
        Opened::New(entry) => entry.ticket().unwrap(),
        Opened::Before(_) => panic!("a fresh id was there before"),
    }
}

fn omar() -> Actor {
    Actor {
        id: "a1".into(),
        name: "Omar \"O\" / عمر".into(),
    }
}

fn as_user(id: &str) -> Grant {
    Grant {
        reach: Reach::Of(id.into()),
        side: UserType::User,
    }
}

fn latest(limit: usize) -> Page {
    Page {
        after: None,
        before: None,
        limit,
    }
}

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
                .open(id, &base, &head, None, true)
                .await
                .unwrap(),
            Opened::New(_)
        ));
        let Opened::Before(ticket) = world
            .tickets
            .open(id, &base, &head, None, true)
            .await
            .unwrap()
        else {
            panic!()
        };
        assert_eq!((ticket.id, ticket.seq), (id, 1));
        base.fingerprint = Some("said that".into());
        let error = world
            .tickets
            .open(id, &base, &head, None, true)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Conflict(_, ticket) if ticket.id == id));
    })
    .await;
}

#[tokio::test]
async fn pages_come_from_the_log_and_from_mongodb_without_a_seam() {
    in_world(|world| async move {
        let id = stored_ticket(&world, 400).await;
        for i in 402..=410 {
            let (sent, _) = world
                .tickets
                .send(id, message(id, &format!("m{i}"), None), &Grant::TEAM)
                .await
                .unwrap();
            assert_eq!(sent.seq, i);
        }
        let mut seen = Vec::new();
        let mut before = None;
        loop {
            let page = world
                .tickets
                .messages(
                    id,
                    Page {
                        after: None,
                        before,
                        limit: 70,
                    },
                    &Grant::TEAM,
                )
                .await
                .unwrap();
            let Some(first) = page.first() else { break };
            before = Some(first.seq);
            seen.splice(0..0, page.iter().map(|message| message.seq));
        }
        assert_eq!(seen, (2..=410).collect::<Vec<_>>());
        let (mut seen, mut after) = (Vec::new(), 0);
        loop {
            let page = world
                .tickets
                .messages(
                    id,
                    Page {
                        after: Some(after),
                        before: None,
                        limit: 64,
                    },
                    &Grant::TEAM,
                )
                .await
                .unwrap();
            let Some(last) = page.last() else { break };
            after = last.seq;
            seen.extend(page.iter().map(|message| message.seq));
        }
        assert_eq!(seen, (2..=410).collect::<Vec<_>>());
        let between = Page {
            after: Some(90),
            before: Some(110),
            limit: 50,
        };
        let page = world
            .tickets
            .messages(id, between, &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!(
            page.iter().map(|m| m.seq).collect::<Vec<_>>(),
            (91..110).collect::<Vec<_>>()
        );
    })
    .await;
}

#[tokio::test]
async fn a_ticket_that_left_redis_goes_on_where_it_was_and_knows_its_repeats() {
    in_world(|world| async move {
        let id = stored_ticket(&world, 350).await;
        // Seq 10 is far below what the live log begins with.
        let (first, repeated) = world
            .tickets
            .send(id, message(id, "again", Some("c10")), &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!(
            (first.seq, first.content.as_str(), repeated),
            (10, "m10", true)
        );
        let (next, repeated) = world
            .tickets
            .send(id, message(id, "new", Some("c-new")), &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!((next.seq, repeated), (352, false));
        assert_eq!(
            world.owed(id).await.len(),
            1,
            "what is in MongoDB is not owed again"
        );
        let view = world
            .tickets
            .read(id, Part::newest(300, Which::All))
            .await
            .unwrap();
        assert_eq!((view.persisted, view.entries.len()), (351, 300));
        assert_eq!(view.numbers.message_count, 351);
    })
    .await;
}

#[tokio::test]
async fn a_cold_ticket_is_read_without_being_brought_back() {
    in_world(|world| async move {
        let id = stored_ticket(&world, 3).await;
        assert_eq!(world.tickets.ticket(id, &Grant::TEAM).await.unwrap().seq, 4);
        let page = world
            .tickets
            .messages(id, latest(2), &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!(page.iter().map(|m| m.seq).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(world.state(id, "seq").await, None);
    })
    .await;
}

#[tokio::test]
async fn tickets_of_the_former_server_are_numbered_once_by_all_who_ask() {
    in_world(|world| async move {
        let id = former_ticket(&world, 1_205).await;
        let reads = (0..6).map(|_| world.tickets.messages(id, latest(200), &Grant::TEAM));
        let pages: Vec<_> = join_all(reads)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert!(pages.iter().all(|page| page == &pages[0]));
        assert_eq!(pages[0].last().unwrap().seq, 1_206);
        let old = Page {
            after: Some(0),
            before: None,
            limit: 5,
        };
        let page = world.tickets.messages(id, old, &Grant::TEAM).await.unwrap();
        let shown: Vec<_> = page.iter().map(|m| (m.seq, m.content.as_str())).collect();
        assert_eq!(
            shown,
            [(2, "m0"), (3, "m1"), (4, "m2"), (5, "m3"), (6, "m4")]
        );
        let (sent, _) = world
            .tickets
            .send(id, message(id, "new", None), &Grant::TEAM)
            .await
            .unwrap();
        assert_eq!(sent.seq, 1_207);
        let owed = world.owed(id).await;
        let covered: Vec<_> = owed
            .iter()
            .map(ticket_shared::stream::Entry::covers)
            .collect();
        assert_eq!(covered, [(1, 1_001), (1_002, 1_206), (1_207, 1_207)]);
        let Happened::Adopted { messages, .. } = &owed[0].change else {
            panic!()
        };
        assert_eq!(messages.len(), 1_000);
    })
    .await;
}

/// A ticket as the worker leaves it in MongoDB, with messages of seq 2 and up.
pub(crate) async fn stored_ticket(world: &World, messages: i64) -> Id {
    let id = Id::fresh().unwrap();
    let oid = ObjectId::from_bytes(id.bytes());
    let seq = messages + 1;
    world
        .database
        .collection("tickets")
        .insert_one(doc! {
            "_id": oid, "subject": "s", "description": "", "status": "open", "priority": "normal", "tags": [],
            "userId": "u1", "userName": "سارة", "assignedAgent": null, "seq": seq, "publicSeq": seq,
            "messageCount": messages, "lastMessage": null, "createdAt": DateTime::from_millis(1_000_000),
            "updatedAt": DateTime::from_millis(2_000_000), "closedAt": null,
        })
        .await
        .unwrap();
    let documents = (2..=seq).map(|seq| {
        let client_id = format!("c{seq}");
        let message = Id::of_message(id, "user:u1", &client_id);
        doc! {
            "_id": ObjectId::from_bytes(message.bytes()), "ticketId": oid, "seq": seq, "senderId": "u1",
            "senderType": "user", "senderName": "سارة", "content": format!("m{seq}"), "internal": false,
            "clientMessageId": client_id, "createdAt": DateTime::from_millis(1_000_000 + seq),
        }
    });
    world
        .database
        .collection("messages")
        .insert_many(documents)
        .await
        .unwrap();
    id
}

/// A ticket as the former server left it.
async fn former_ticket(world: &World, messages: i64) -> Id {
    let id = Id::fresh().unwrap();
    let oid = ObjectId::from_bytes(id.bytes());
    let ticket = doc! { "_id": oid, "title": "t", "status": "pending", "createdAt": DateTime::from_millis(1_000) };
    world
        .database
        .collection("tickets")
        .insert_one(ticket)
        .await
        .unwrap();
    let documents = (0..messages).rev().map(|i| {
        let ticket: mongodb::bson::Bson = if i % 2 == 0 {
            oid.into()
        } else {
            id.to_string().into()
        };
        doc! {
            "ticketId": ticket, "senderId": "u1", "senderType": "user", "senderName": "س",
            "content": format!("m{i}"), "createdAt": DateTime::from_millis(2_000 + i),
        }
    });
    world
        .database
        .collection("messages")
        .insert_many(documents)
        .await
        .unwrap();
    id
}

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

//! The log of a ticket, against a real Redis and a real server of the MongoDB protocol.

use mongodb::bson::{DateTime, doc, oid::ObjectId};
use ticket_gateway::{
    access::{Grant, Reach},
    ticket::{append::Opened, page::Page},
};
use ticket_shared::{
    domain::{Status, Ticket, UserType},
    id::Id,
    stream::{Actor, Base, Head},
};

use crate::world::World;

mod alike;
mod append;
mod cold;
mod former;
mod overlay;
mod parked;
mod reach;
mod torn;

pub(crate) fn parts(subject: &str) -> (Base, Head) {
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
        .open(id, &base, &head, None, false, &Grant::TEAM)
        .await
        .unwrap()
    {
        Opened::New(entry) => entry.ticket().unwrap(),
        Opened::Before(_) => panic!("a fresh id was there before"),
    }
}

pub(crate) fn omar() -> Actor {
    Actor {
        id: "a1".into(),
        name: "Omar \"O\" / عمر".into(),
    }
}

fn as_user(id: &str) -> Grant {
    Grant {
        reach: Reach::Of(id.into()),
        side: UserType::User,
        counted: None,
    }
}

fn latest(limit: usize) -> Page {
    Page {
        after: None,
        before: None,
        limit,
    }
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
            "userId": "u1", "userName": "سارة", "assignedAgent": null, "logVersion": 1, "seq": seq, "publicSeq": seq,
            "messageCount": messages, "lastMessage": null, "createdAt": DateTime::from_millis(1_000_000),
            "updatedAt": DateTime::from_millis(2_000_000), "closedAt": null,
        })
        .await
        .unwrap();
    let documents = (2..=seq).map(|seq| {
        let client_id = format!("c{seq}");
        let message = Id::of_message(id, "user:u1", &client_id);
        doc! {
            "_id": ObjectId::from_bytes(message.bytes()), "ticketId": oid, "seq": seq, "logVersion": 1, "senderId": "u1",
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

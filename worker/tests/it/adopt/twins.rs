//! Documents that stand for one ticket under two ids.

use mongodb::bson::{Document, doc, oid::ObjectId};

use crate::{
    harness::World,
    inspect::oid,
    sample::{Log, id},
};

#[tokio::test]
async fn a_text_id_becomes_one_document_and_what_is_replaced_is_kept() {
    let world = World::new().await;
    let mut log = Log::new(id(0xab, 1));
    log.adopted(&[id(8, 1)])
        .status(ticket_shared::domain::Status::Closed);
    let text = log.ticket.to_string();
    let collection = world.db.collection::<Document>("tickets");
    let old = doc! {
        "_id": &text, "status": "Pending", "userId": "u1", "seq": 1_042, "tags": [ObjectId::new()],
        "assignedAgent": { "agentId": "a", "agentName": "A", "mail": "a@b" },
    };
    collection.insert_one(&old).await.unwrap();
    let message = doc! { "_id": id(8, 1).to_string().to_uppercase(), "ticketId": &text, "seq": 0 };
    world
        .db
        .collection("messages")
        .insert_one(message)
        .await
        .unwrap();
    // What an earlier version left behind for another ticket.
    let twin = id(0xcd, 1);
    let twins = [
        doc! { "_id": oid(twin), "status": "closed" },
        doc! { "_id": twin.to_string(), "status": "open", "userId": "u3" },
    ];
    collection.insert_many(twins).await.unwrap();

    world.append(&log).await;
    let running = world.start("w1", &[]).await;
    world.until_drained().await;
    let ticket = world.ticket(log.ticket).await.unwrap();
    assert_eq!(ticket["status"], "closed".into());
    assert_eq!(
        (&ticket["seq"], &ticket["userId"]),
        (&3_i64.into(), &"u1".into())
    );
    for field in ["_id", "status", "seq", "tags", "assignedAgent"] {
        assert_eq!(
            ticket.get_document("legacy").unwrap()[field],
            old[field],
            "{field}"
        );
    }
    let message = world
        .find("messages", doc! { "seq": 2, "logVersion": 1 })
        .await
        .unwrap();
    assert_eq!(message.get_document("legacy").unwrap(), &doc! { "seq": 0 });
    crate::harness::until("each ticket is one document", async || {
        world.count("tickets").await == 2
    })
    .await;
    let merged = world.ticket(twin).await.unwrap();
    assert_eq!(
        (&merged["status"], &merged["userId"]),
        (&"closed".into(), &"u3".into())
    );
    world.finish([running]).await;
}

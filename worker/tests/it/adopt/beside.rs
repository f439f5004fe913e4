//! An adoption beside the product.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use ticket_shared::{id::Id, lifecycle::Lifecycle};

use super::{adopt, plain, plain_ticket, renamed};
use crate::{
    harness::World,
    sample::{Log, id},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adoption_is_ended_and_goes_on_beside_a_worker() {
    let (tickets, messages) = (600, 4);
    let world = World::new().await;
    let collection = world.db.collection::<Document>("tickets");
    let said = world.db.collection::<Document>("messages");
    for first in (1..=tickets).step_by(100) {
        let numbers = first..=(first + 99).min(tickets);
        let some: Vec<Document> = numbers.clone().map(plain_ticket).collect();
        collection.insert_many(some).await.unwrap();
        let some: Vec<Document> = numbers
            .flat_map(|n| (0..messages).map(move |p| renamed(plain(n, p), "content", "body")))
            .collect();
        said.insert_many(some).await.unwrap();
    }
    // One is in use, and the worker numbers it as a gateway asked for.
    let mut log = Log::new(id(3, 1));
    let old: Vec<Id> = (0..messages).map(|p| id(3, 10 + p)).collect();
    log.adopted(&old).message("new", false);
    world.append(&log).await;
    let running = world.start("w1", &[]).await;

    let began = tokio::time::Instant::now();
    let life = Lifecycle::default();
    let ending = life.clone();
    life.spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        ending.stopping().cancel();
    });
    let mapping = "content = \"body\"";
    let slow = ["--rate", "1000"];
    assert!(
        !adopt(&world, mapping, &slow, life).await,
        "it was to be ended before its end"
    );
    world.until_drained().await;
    let all = u64::from(tickets) * u64::from(messages) + 1;
    assert!(
        adopt(
            &world,
            mapping,
            &["--rate", "1000000"],
            Lifecycle::default()
        )
        .await
    );
    println!(
        "{tickets} tickets with {messages} messages each in {:?}",
        began.elapsed()
    );
    assert_eq!(world.count("messages").await, all);
    assert_eq!(world.count("tickets").await, u64::from(tickets));
    let numbered =
        doc! { "logVersion": 1, "content": { "$exists": true }, "body": { "$exists": true } };
    assert_eq!(said.count_documents(numbered).await.unwrap(), all - 1);
    let seq = i64::from(messages) + 1;
    let numbered = collection
        .count_documents(doc! { "seq": seq, "logVersion": 1 })
        .await;
    assert_eq!(numbered.unwrap(), u64::from(tickets) - 1);
    let used = world.ticket(log.ticket).await.unwrap();
    assert_eq!(used["seq"], (seq + 1).into());
    world.finish([running]).await;
}

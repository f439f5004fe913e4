//! Entries that are parked keep their numbers, whatever else of their ticket has gone.

use std::collections::HashMap;

use fred::{
    interfaces::{KeysInterface, SortedSetsInterface, StreamsInterface},
    types::Value,
};
use ticket_gateway::{access::Grant, ticket::page::Page};
use ticket_shared::id::Id;

use super::stored_ticket;
use crate::world::{World, in_world, message};

async fn send(world: &World, id: Id, content: &str) -> (u64, bool) {
    let text = message(id, content, Some(content));
    let (sent, repeated) = world.tickets.send(id, text, &Grant::TEAM).await.unwrap();
    (sent.seq, repeated)
}

async fn page(world: &World, id: Id) -> Vec<u64> {
    let page = Page {
        after: Some(2),
        before: None,
        limit: 9,
    };
    let page = world.tickets.messages(id, page, &Grant::TEAM);
    page.await
        .unwrap()
        .iter()
        .map(|message| message.seq)
        .collect()
}

/// A ticket of which MongoDB has all but the newest entry, which a worker has parked as `change` makes it; and nothing
/// else is left in Redis.
async fn parked_and_gone(world: &World, change: impl Fn(String) -> String) -> Id {
    let id = stored_ticket(world, 3).await;
    assert_eq!(send(world, id, "parked").await, (5, false));
    let keys = &world.keys;
    let partition = keys.partition(id);
    let events = keys.events(partition);
    let entries: Vec<(String, HashMap<String, String>)> =
        world.redis.xrange(&events, "-", "+", None).await.unwrap();
    let (place, fields) = entries.last().unwrap().clone();
    let parked = [
        ("reason", "refused: MongoDB error 121".to_owned()),
        ("tries", "5".to_owned()),
        ("id", place),
        ("at", "1000".to_owned()),
        ("d", change(fields["d"].clone())),
    ];
    let dead = keys.dead(partition);
    let added = world.redis.xadd(dead, false, None, "*", parked.to_vec());
    let _: Value = added.await.unwrap();
    let gone = vec![keys.state(id), keys.log(id), keys.idem(id), events];
    let _: i64 = world.redis.del(gone).await.unwrap();
    for index in [keys.dirty(partition), keys.rest(partition)] {
        let _: i64 = world.redis.zrem(index, id.to_string()).await.unwrap();
    }
    id
}

#[tokio::test]
async fn the_number_of_a_parked_entry_is_not_given_again() {
    in_world(|world| async move {
        let id = parked_and_gone(&world, |frame| frame).await;
        assert_eq!(page(&world, id).await, [3, 4], "as MongoDB has it");
        assert_eq!(send(&world, id, "next").await, (6, false));
        assert_eq!(page(&world, id).await, [3, 4, 5, 6]);
        assert_eq!(send(&world, id, "parked").await, (5, true));
        assert_eq!(world.state(id, "persisted").await.as_deref(), Some("4"));
    })
    .await;
}

#[tokio::test]
async fn nor_that_of_one_that_this_version_can_not_read() {
    in_world(|world| async move {
        let newer = |frame: String| frame.replace("\"v\":1", "\"v\":99");
        let id = parked_and_gone(&world, newer).await;
        assert_eq!(send(&world, id, "next").await, (6, false));
        assert_eq!(page(&world, id).await, [3, 4, 6]);
        // Another ticket's are not its own.
        let other = stored_ticket(&world, 3).await;
        assert_eq!(send(&world, other, "first").await, (5, false));
    })
    .await;
}

//! States that a former version left, while MongoDB is down: used where Redis itself shows that they are whole.

use fred::interfaces::{HashesInterface, StreamsInterface};
use ticket_gateway::{access::Grant, error::Error};
use ticket_shared::id::Id;

use super::opened;
use crate::world::{World, in_world, message};

/// A ticket with two messages, as a former version leaves it.
async fn former(world: &World) -> Id {
    let id = opened(world).await.id;
    for content in ["a", "b"] {
        let text = message(id, content, Some(content));
        world.tickets.send(id, text, &Grant::TEAM).await.unwrap();
    }
    let (state, epoch) = (
        world.keys.state(id),
        world.keys.epoch(world.keys.partition(id)),
    );
    let fields = vec!["unkeyed", "server"];
    let _: i64 = world.redis.hdel(state, fields).await.unwrap();
    let _: i64 = world.redis.hdel(epoch, "since").await.unwrap();
    id
}

async fn send(world: &World, id: Id, content: &str) -> Result<(u64, bool), Error> {
    let text = message(id, content, Some(content));
    let sent = world.without_mongo().send(id, text, &Grant::TEAM).await;
    sent.map(|(sent, repeated)| (sent.seq, repeated))
}

#[tokio::test]
async fn a_state_that_redis_shows_to_be_whole_is_used() {
    in_world(|world| async move {
        let id = former(&world).await;
        assert_eq!(send(&world, id, "a").await.unwrap(), (2, true));
        assert_eq!(send(&world, id, "c").await.unwrap(), (4, false));
        assert_eq!(world.state(id, "unkeyed").await.as_deref(), Some("1"));
        // MongoDB has nothing of it, and is not asked.
        let again = message(id, "b", Some("b"));
        let (again, repeated) = world.tickets.send(id, again, &Grant::TEAM).await.unwrap();
        assert_eq!((again.seq, repeated), (3, true));
    })
    .await;
}

#[tokio::test]
async fn one_that_lacks_something_waits_for_mongodb() {
    in_world(|world| async move {
        let (keys, redis) = (&world.keys, &world.redis);
        let unsent = former(&world).await;
        let field = &Id::of_message(unsent, "user:u1", "a").bytes()[..];
        let _: i64 = redis.hdel(keys.idem(unsent), field).await.unwrap();
        let unlogged = former(&world).await;
        let _: i64 = redis.xdel(keys.log(unlogged), "2-0").await.unwrap();
        let restarted = former(&world).await;
        let epoch = keys.epoch(keys.partition(restarted));
        let _: i64 = redis.hset(epoch, ("since", "0")).await.unwrap();
        for id in [unsent, unlogged, restarted] {
            let refused = send(&world, id, "c").await;
            assert!(
                matches!(refused, Err(Error::Unavailable { .. })),
                "{refused:?}"
            );
        }
    })
    .await;
}

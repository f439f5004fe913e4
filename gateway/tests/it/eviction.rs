//! What leaves Redis when its memory runs short, and what may not: on a Redis of the test's own.

use std::{
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fred::{
    interfaces::{ClientLike, KeysInterface, SortedSetsInterface},
    types::{CustomCommand, InfoKind, Value},
};
use ticket_gateway::{
    access::Grant,
    ticket::{Tickets, commit::Commit, view::Part},
    watch::{Limit, Limits, Watch},
};
use ticket_shared::{event::ErrorCode, id::Id};

use crate::{
    server::Server,
    tickets::stored_ticket,
    world::{World, in_world_on, message},
};

const LIMITS: Limits = Limits {
    backlog: 1_000_000,
    memory_percent: 85,
    hot_for: Duration::from_hours(24),
};

/// Runs a test on a Redis of its own.
async fn alone<F: Future<Output = ()>>(test: impl FnOnce(Rc<World>) -> F) {
    let mut server = Server::absent();
    server.start();
    in_world_on(&server.url(), test).await;
}

/// Logs whose changes are refused for what `Watch` sees.
fn watched(world: &World, limits: Limits) -> (Tickets, Watch) {
    let watch = Watch::default();
    let (redis, keys) = (world.redis.clone(), world.keys.clone());
    watch.start(redis.clone(), keys.clone(), limits, &world.life);
    let commit = Commit::start(&redis, &keys, &world.life);
    let store = world.tickets.store().clone();
    let tickets = Tickets::new(redis, keys, store, watch.clone(), commit);
    (tickets, watch)
}

async fn used(world: &World) -> u64 {
    let info: String = world.redis.info(Some(InfoKind::Memory)).await.unwrap();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    line.unwrap().trim().parse().unwrap()
}

/// Sets `maxmemory` so that `percent` of it are used.
async fn bound(world: &World, percent: u64) {
    let most = (used(world).await * 100 / percent).to_string();
    let command = CustomCommand::new_static("CONFIG", None, false);
    let args = vec!["SET", "maxmemory", &most];
    let _: Value = world.redis.custom(command, args).await.unwrap();
}

/// Somebody else's key.
async fn fill(world: &World, bytes: usize) {
    let text = "x".repeat(bytes);
    let set = world.redis.set("other", text, None, None, false).await;
    let _: () = set.unwrap();
}

async fn is_hot(world: &World, ticket: Id) -> bool {
    world.state(ticket, "seq").await.is_some()
}

/// Says that a ticket rests since an hour ago, or for so many ms less.
async fn rests(world: &World, ticket: Id, later: u32) {
    let hour_ago = SystemTime::now() - Duration::from_hours(1);
    let since = hour_ago.duration_since(UNIX_EPOCH).unwrap().as_millis();
    let since = f64::from(later) + since.to_string().parse::<f64>().unwrap();
    let key = world.keys.rest(world.keys.partition(ticket));
    let member = (since, ticket.to_string());
    let _: () = world
        .redis
        .zadd(key, None, None, false, false, member)
        .await
        .unwrap();
}

/// Returns for each ticket if it is hot, after several looks that evicted nothing more.
async fn settled(world: &World, tickets: &[Id]) -> Vec<bool> {
    let (mut before, mut same) = (Vec::new(), 0);
    for _ in 0..60 {
        let mut hot = Vec::new();
        for id in tickets {
            hot.push(is_hot(world, *id).await);
        }
        same = if hot == before { same + 1 } else { 0 };
        if same == 4 && hot.contains(&false) {
            return hot;
        }
        before = hot;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("eviction does not end");
}

async fn until(what: &str, met: impl AsyncFn() -> bool) {
    let waiting = async {
        while !met().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_mins(1), waiting).await;
    assert!(waited.is_ok(), "it did not come true that {what}");
}

#[tokio::test]
async fn tickets_at_rest_go_longest_idle_first_and_come_back_whole() {
    alone(|world| async move {
        let mut tickets = Vec::new();
        for since in 0..200 {
            let id = stored_ticket(&world, 3).await;
            world.tickets.read(id, Part::NONE).await.unwrap();
            rests(&world, id, since).await;
            tickets.push(id);
        }
        // The longest idle of all: one with a participant, and one that is not in MongoDB as it is.
        let (joined, dirty) = (tickets.remove(0), tickets.remove(0));
        let lease = (f64::MAX, "socket|user:u1");
        let _: () = world
            .redis
            .zadd(world.keys.here(joined), None, None, false, false, lease)
            .await
            .unwrap();
        let new = message(dirty, "new", None);
        world.tickets.send(dirty, new, &Grant::TEAM).await.unwrap();
        fill(&world, 4_000_000).await;
        bound(&world, 73).await;
        let (again, watch) = watched(&world, LIMITS);

        let index = world.keys.rest(world.keys.partition(dirty));
        until("the dirty ticket leaves the index", async || {
            let since: Option<f64> = world.redis.zscore(&index, dirty.to_string()).await.unwrap();
            since.is_none()
        })
        .await;
        let first = tickets[0];
        let hot = settled(&world, &tickets).await;
        let gone = hot.iter().filter(|hot| !**hot).count();
        assert!((1..170).contains(&gone), "{gone} gone");
        assert!(
            hot.is_sorted(),
            "one that went was idle for less long than one that stayed"
        );
        assert!(is_hot(&world, joined).await);
        assert!(is_hot(&world, dirty).await);
        assert_eq!(watch.refused_for(), None);
        let left: i64 = world
            .redis
            .exists(vec![
                world.keys.state(first),
                world.keys.log(first),
                world.keys.idem(first),
            ])
            .await
            .unwrap();
        assert_eq!(left, 0, "all of it is gone");

        // A repeat is found in MongoDB, and the numbers go on.
        let repeat = message(first, "again", Some("c3"));
        let (found, repeated) = again.send(first, repeat, &Grant::TEAM).await.unwrap();
        assert_eq!((found.seq, repeated), (3, true));
        let next = message(first, "next", Some("c9"));
        let (sent, repeated) = again.send(first, next, &Grant::TEAM).await.unwrap();
        assert_eq!((sent.seq, repeated), (5, false));
    })
    .await;
}

#[tokio::test]
async fn participants_keep_their_tickets_only_until_redis_is_nearly_full() {
    alone(|world| async move {
        let mut tickets = Vec::new();
        for since in 0..50 {
            let id = stored_ticket(&world, 3).await;
            world.tickets.read(id, Part::NONE).await.unwrap();
            rests(&world, id, since).await;
            let here = world.keys.here(id);
            let lease = (f64::MAX, "socket|user:u1");
            let _: () = world
                .redis
                .zadd(here, None, None, false, false, lease)
                .await
                .unwrap();
            tickets.push(id);
        }
        fill(&world, 4_000_000).await;
        bound(&world, 82).await;
        let (_, watch) = watched(&world, LIMITS);
        let first = tickets[0];
        until("one of them is gone", async || !is_hot(&world, first).await).await;
        assert_eq!(watch.refused_for(), None);
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_is_full_of_other_keys_refuses_for_memory() {
    alone(|world| async move {
        let id = stored_ticket(&world, 3).await;
        world.tickets.read(id, Part::NONE).await.unwrap();
        fill(&world, 2_000_000).await;
        bound(&world, 95).await;
        let (tickets, watch) = watched(&world, LIMITS);
        until("changes are refused", async || {
            watch.refused_for() == Some(Limit::Memory)
        })
        .await;
        let refused = message(id, "refused", Some("c9"));
        let error = tickets.send(id, refused, &Grant::TEAM).await.unwrap_err();
        let body = error.body();
        assert_eq!(body.code, ErrorCode::Overloaded);
        assert!(body.message.starts_with("memory: "), "{}", body.message);
        assert!(body.retry_after_ms.is_some());
        let _: i64 = world.redis.del("other").await.unwrap();
        until("changes are taken again", async || {
            watch.refused_for().is_none()
        })
        .await;
        let taken = message(id, "taken", Some("c9"));
        let (sent, repeated) = tickets.send(id, taken, &Grant::TEAM).await.unwrap();
        assert_eq!((sent.seq, repeated), (5, false));
    })
    .await;
}

#[tokio::test]
async fn tickets_leave_after_hot_for_and_the_index_with_them() {
    alone(|world| async move {
        let limits = Limits {
            hot_for: Duration::from_mins(1),
            ..LIMITS
        };
        let (old, expired, young) = (
            stored_ticket(&world, 3).await,
            stored_ticket(&world, 3).await,
            stored_ticket(&world, 3).await,
        );
        for id in [old, expired, young] {
            world.tickets.read(id, Part::NONE).await.unwrap();
            let ttl: i64 = world.redis.ttl(world.keys.state(id)).await.unwrap();
            assert!((86_000..=86_400).contains(&ttl), "{ttl}");
        }
        rests(&world, old, 1).await;
        rests(&world, expired, 2).await;
        let _: i64 = world.redis.del(world.keys.state(expired)).await.unwrap();
        let _watched = watched(&world, limits);
        until("the old one is gone", async || !is_hot(&world, old).await).await;
        until("the index has the young one alone", async || {
            let mut count = 0;
            for partition in 0..world.keys.partitions() {
                let of: i64 = world.redis.zcard(world.keys.rest(partition)).await.unwrap();
                count += of;
            }
            count == 1
        })
        .await;
        assert!(is_hot(&world, young).await);
    })
    .await;
}

//! Redis loses the end of its file, and gateways say what they have seen of that; or one of them died, and can't.

use std::{rc::Rc, time::Duration};

use fred::{
    clients::SubscriberClient,
    interfaces::{ClientLike, HashesInterface},
};
use ticket_gateway::{
    access::Grant,
    error::Error,
    metrics::Metrics,
    presence::Presence,
    ticket::{Tickets, commit::Commit, follow::Follower},
    watch::Watch,
};
use ticket_shared::{config::Secret, id::Id, lifecycle::Lifecycle, redis};

use super::{tail::unconnected, until};
use crate::{
    server::Server,
    tickets::{parts, stored_ticket},
    world::{World, in_world_on, message},
};

/// A gateway as far as tickets go.
struct Gateway {
    id: Id,
    tickets: Tickets,
    follower: Follower,
    channels: SubscriberClient,
    life: Lifecycle,
}

impl Gateway {
    /// Starts one, and waits until it is registered.
    async fn start(world: &World) -> Self {
        let (life, id) = (Lifecycle::default(), Id::fresh().unwrap());
        let (redis, keys) = (world.redis.clone(), world.keys.clone());
        let commit = Commit::start(&redis, &keys, &life);
        let store = world.tickets.store().clone();
        let tickets = Tickets::new(redis.clone(), keys.clone(), store, Watch::default(), commit);
        let channels = redis::subscriber(&Secret::new(world.redis_url.as_str())).unwrap();
        channels.init().await.unwrap();
        let follower = Follower::start(
            channels.clone(),
            tickets.clone(),
            Presence::start(redis, keys, &life).into(),
            &life,
            Metrics::default(),
            id,
        );
        until(async || registered(world, id).await == usize::from(world.keys.partitions())).await;
        Self {
            id,
            tickets,
            follower,
            channels,
            life,
        }
    }

    /// Ends it as a crash does.
    async fn die(self) {
        self.life.shutdown(Duration::from_secs(5)).await;
        let _: () = self.channels.quit().await.unwrap();
    }

    /// Stops it as SIGTERM does.
    async fn stop(self, world: &World) {
        self.life.shutdown(Duration::from_secs(5)).await;
        self.follower.unregister().await;
        assert_eq!(registered(world, self.id).await, 0);
        let _: () = self.channels.quit().await.unwrap();
    }
}

/// The number of partitions in which a gateway is registered.
async fn registered(world: &World, gateway: Id) -> usize {
    let mut count = 0;
    for partition in 0..world.keys.partitions() {
        let (key, field) = (world.keys.epoch(partition), format!("g:{gateway}"));
        let there: bool = world.redis.hexists(key, field).await.unwrap();
        count += usize::from(there);
    }
    count
}

/// Sends until Redis and all gateways are ready for it.
async fn send(tickets: &Tickets, id: Id, content: &str) -> u64 {
    let trying = async {
        loop {
            let text = message(id, content, Some(content));
            match tickets.send(id, text, &Grant::TEAM).await {
                Ok((sent, _)) => return sent.seq,
                Err(Error::Unavailable { .. }) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    let sent = tokio::time::timeout(Duration::from_mins(1), trying).await;
    sent.expect("in time")
}

/// Kills Redis, cuts its file to `length` if one is given, and starts it again.
async fn crash(world: &World, server: &mut Server, length: Option<u64>) {
    let (file, _) = server.file();
    server.kill();
    unconnected(world).await;
    if let Some(length) = length {
        let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        file.set_len(length).unwrap();
    }
    server.start_kept();
    world.redis.wait_for_connect().await.unwrap();
}

/// Runs a test on a Redis of its own that keeps a file.
async fn kept(test: impl AsyncFnOnce(Rc<World>, &mut Server)) {
    let mut server = Server::absent();
    server.start_kept();
    let url = server.url();
    in_world_on(&url, async |world: Rc<World>| {
        test(world, &mut server).await;
    })
    .await;
}

#[tokio::test]
async fn what_a_live_gateway_acknowledged_is_missed_without_followers() {
    kept(async |world, server| {
        let gateway = Gateway::start(&world).await;
        let id = stored_ticket(&world, 3).await;
        assert_eq!(send(&gateway.tickets, id, "kept").await, 5);
        let epoch = world.tickets.epoch(id).await.unwrap();
        let (_, length) = server.file();
        assert_eq!(send(&gateway.tickets, id, "lost").await, 6);
        crash(&world, server, Some(length)).await;
        assert_eq!(send(&world.tickets, id, "after").await, 6);
        assert_ne!(world.tickets.epoch(id).await.unwrap(), epoch);
        // Nothing is missed of the new epoch.
        let epoch = world.tickets.epoch(id).await.unwrap();
        crash(&world, server, None).await;
        assert_eq!(send(&world.tickets, id, "more").await, 7);
        assert_eq!(world.tickets.epoch(id).await.unwrap(), epoch);
        gateway.die().await;
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_died_with_redis_ends_the_epoch() {
    kept(async |world, server| {
        let (here, there) = (Gateway::start(&world).await, Gateway::start(&world).await);
        let id = stored_ticket(&world, 3).await;
        assert_eq!(send(&there.tickets, id, "kept").await, 5);
        let epoch = world.tickets.epoch(id).await.unwrap();
        let (_, length) = server.file();
        assert_eq!(send(&there.tickets, id, "lost").await, 6);
        let dead = there.id;
        there.die().await;
        crash(&world, server, Some(length)).await;

        let text = message(id, "after", Some("after"));
        let refused = here.tickets.send(id, text, &Grant::TEAM).await;
        assert!(
            matches!(refused, Err(Error::Unavailable { .. })),
            "{refused:?}"
        );
        // Nothing is created either that could have been there before.
        let (base, head) = parts("s");
        let open = async || {
            let new = Id::of_message(id, "new", "new");
            here.tickets
                .open(new, &base, &head, None, true, &Grant::TEAM)
                .await
        };
        if world.keys.partition(Id::of_message(id, "new", "new")) == world.keys.partition(id) {
            assert!(matches!(open().await, Err(Error::Unavailable { .. })));
        }
        assert_eq!(send(&here.tickets, id, "after").await, 6);
        assert_ne!(world.tickets.epoch(id).await.unwrap(), epoch);
        until(async || open().await.is_ok()).await;
        let gone = async || registered(&world, dead).await == 0;
        until(gone).await;
        here.die().await;
    })
    .await;
}

#[tokio::test]
async fn a_restart_without_loss_needs_no_new_epoch_where_everybody_answers_or_has_left() {
    kept(async |world, server| {
        let (here, other, left) = (
            Gateway::start(&world).await,
            Gateway::start(&world).await,
            Gateway::start(&world).await,
        );
        let id = stored_ticket(&world, 3).await;
        let opened = crate::tickets::opened(&world).await.id;
        assert_eq!(send(&left.tickets, id, "one").await, 5);
        left.stop(&world).await;
        let mut epochs = Vec::new();
        for ticket in [id, opened] {
            epochs.push(world.tickets.epoch(ticket).await.unwrap());
        }
        for round in 0..2 {
            crash(&world, server, None).await;
            assert_eq!(
                send(&here.tickets, id, &format!("two {round}")).await,
                6 + round
            );
            assert_eq!(
                send(&other.tickets, opened, &format!("two {round}")).await,
                2 + round
            );
            // What was not there before waits for the others, too.
            let (base, head) = parts("s");
            let new = Id::fresh().unwrap();
            let open = here
                .tickets
                .open(new, &base, &head, None, false, &Grant::TEAM);
            if let Err(error) = open.await {
                assert!(matches!(error, Error::Unavailable { .. }), "{error}");
            }
            for (ticket, epoch) in [id, opened].into_iter().zip(&epochs) {
                assert_eq!(world.tickets.epoch(ticket).await.unwrap(), *epoch);
            }
        }
        here.die().await;
        other.die().await;
    })
    .await;
}

#[tokio::test]
async fn a_registry_is_not_lost_without_its_epoch_and_silent_gateways_leave_it() {
    kept(async |world, server| {
        let gateway = Gateway::start(&world).await;
        let key = world.keys.epoch(0);
        // Of a gateway that has been silent for an hour, nothing can be lost any more.
        let server_now: String = world
            .redis
            .hget(&key, format!("g:{}", gateway.id))
            .await
            .unwrap();
        let (run, at) = server_now.split_once(':').unwrap();
        let hour_ago = at.parse::<u64>().unwrap() - 3_600_000;
        let silent = ("g:silent".to_owned(), format!("{run}:{hour_ago}"));
        let _: i64 = world.redis.hset(&key, silent).await.unwrap();
        until(async || {
            !world
                .redis
                .hexists::<bool, _, _>(&key, "g:silent")
                .await
                .unwrap()
        })
        .await;
        // Where the registry goes, a new epoch begins, and gateways register anew.
        let before: String = world.redis.hget(&key, "epoch").await.unwrap();
        let _: i64 = fred::interfaces::KeysInterface::del(&world.redis, &key)
            .await
            .unwrap();
        until(async || {
            registered(&world, gateway.id).await == usize::from(world.keys.partitions())
        })
        .await;
        let after: String = world.redis.hget(&key, "epoch").await.unwrap();
        assert_ne!(before, after);
        // A silent one that was not removed before Redis came back counts.
        let silent = ("g:silent".to_owned(), format!("{run}:{at}"));
        let _: i64 = world.redis.hset(&key, silent).await.unwrap();
        crash(&world, server, None).await;
        until(async || {
            world
                .redis
                .hget::<String, _, _>(&key, "epoch")
                .await
                .is_ok_and(|epoch| epoch != after)
        })
        .await;
        gateway.die().await;
    })
    .await;
}

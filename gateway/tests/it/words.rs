//! What callers are told when something between the gateway and Redis answers in words of its own.

use std::rc::Rc;

use ticket_gateway::{access::Grant, error::Error};
use ticket_shared::{event::ErrorCode, id::Id};
use ticket_testing::Resp;

use crate::{
    trouble::stored,
    world::{World, in_world_on, message},
};

mod table;

async fn behind<F: Future<Output = ()>>(test: impl FnOnce(Rc<World>, Rc<Resp>) -> F) {
    let url = std::env::var("REDIS_URL").unwrap();
    let proxy = Rc::new(Resp::of(&url).await.unwrap());
    let url = proxy.url();
    // It outlives the world, which tidies up through it.
    in_world_on(&url, |world| test(world, Rc::clone(&proxy))).await;
}

async fn send(world: &World, id: Id, name: &str) -> Result<(), Error> {
    let message = message(id, name, Some(name));
    world
        .tickets
        .send(id, message, &Grant::TEAM)
        .await
        .map(drop)
}

#[tokio::test]
async fn words_of_providers_and_proxies_are_unavailable_and_kept_for_the_log() {
    behind(|world, proxy| async move {
        let id = stored(&world).await;
        send(&world, id, "before").await.unwrap();
        for words in [
            "ERR max daily request limit exceeded. Limit: 10000, Usage: 10001",
            "ERR max number of clients reached",
            "NOPERM User tickets has no permissions to run the 'evalsha' command",
            "FAILOVER in progress",
            "EXECABORT Transaction discarded because of previous errors.",
            "TOOBUSY ask again",
            "upstream is gone",
        ] {
            proxy.inject("EVALSHA", words);
            let error = send(&world, id, words).await.unwrap_err();
            let logged = error.to_string();
            assert!(logged.contains(words), "{logged}");
            let body = error.body();
            assert_eq!(body.code, ErrorCode::Unavailable, "{words}");
            assert!(body.retry_after_ms.is_some(), "{words}");
            assert!(!body.message.contains(words), "opaque outside");
            proxy.clear();
            send(&world, id, words).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn memory_as_a_cause_is_called_memory() {
    behind(|world, proxy| async move {
        let id = stored(&world).await;
        send(&world, id, "before").await.unwrap();
        for (words, cause) in [
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                "memory",
            ),
            (
                "MISCONF Errors writing to the AOF file: No space left on device",
                "disk",
            ),
            ("NOREPLICAS Not enough good replicas to write.", "replicas"),
        ] {
            proxy.inject("EVALSHA", words);
            let body = send(&world, id, "refused").await.unwrap_err().body();
            assert_eq!(body.code, ErrorCode::Overloaded, "{words}");
            assert!(body.message.contains(cause), "{}", body.message);
            proxy.clear();
        }
    })
    .await;
}

#[tokio::test]
async fn a_kept_connection_to_a_server_that_is_no_primary_ends() {
    behind(|world, proxy| async move {
        let id = stored(&world).await;
        for words in [
            "READONLY You can't write against a read only replica.",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "LOADING Redis is loading the dataset in memory",
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
        ] {
            use fred::interfaces::EventInterface;
            let mut connections = world.redis.reconnect_rx();
            proxy.inject("EVALSHA", words);
            let error = send(&world, id, words).await.unwrap_err();
            assert_eq!(error.body().code, ErrorCode::Unavailable, "{words}");
            proxy.clear();
            connections.recv().await.unwrap();
        }
    })
    .await;
}

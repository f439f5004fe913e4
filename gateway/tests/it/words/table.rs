//! Replies of proxies and providers, each for commands and for subscriptions: typed, retryable, named, and over once they
//! stop.

use std::time::Duration;

use futures::StreamExt;
use socketioxide_redis::drivers::Driver;
use ticket_gateway::adapter::{DriverMetrics, FredDriver};
use ticket_shared::{
    event::ErrorCode,
    lifecycle::Lifecycle,
    redis::{Entrance, keep_on_primary},
    stream::Keys,
};
use ticket_testing::{
    Act, Resp,
    replies::{ERRORS, broken},
};

use super::{behind, send};
use crate::{
    server::unique,
    trouble::stored,
    world::{World, message},
};

const DEADLINE: Duration = Duration::from_mins(1);

async fn until(what: &str, met: impl AsyncFn() -> bool) {
    let waiting = async {
        while !met().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, waiting).await;
    assert!(waited.is_ok(), "it did not come true that {what}");
}

/// All of them, each with the words that a log must have.
fn all() -> Vec<(Act, Option<&'static str>)> {
    let errors = ERRORS.map(|words| (Act::error(words), Some(words)));
    let broken = broken().into_iter().map(|act| (act, None));
    errors.into_iter().chain(broken).collect()
}

/// Sends under this name until it is taken, and sees that it was taken once.
async fn recovers(world: &World, id: ticket_shared::id::Id, name: &str) {
    until("sends are taken again", async || {
        send(world, id, name).await.is_ok()
    })
    .await;
    let again = message(id, name, Some(name));
    let (_, repeated) = world
        .tickets
        .send(id, again, &ticket_gateway::access::Grant::TEAM)
        .await
        .unwrap();
    assert!(repeated, "once");
}

#[tokio::test]
async fn each_reply_to_a_command_is_typed_and_passes() {
    behind(|world, proxy| async move {
        let id = stored(&world).await;
        send(&world, id, "before").await.unwrap();
        keep_on_primary(&world.redis, &world.life);
        for (number, (act, words)) in all().into_iter().enumerate() {
            let name = format!("message {number}");
            proxy.act("EVALSHA", act.clone());
            let sent = tokio::time::timeout(DEADLINE, send(&world, id, &name)).await;
            let error = sent.expect("an answer in time").expect_err("not taken");
            let logged = error.to_string();
            let body = error.body();
            assert!(
                matches!(body.code, ErrorCode::Unavailable | ErrorCode::Overloaded),
                "{act:?}: {logged}"
            );
            assert!(body.retry_after_ms.is_some(), "{act:?}");
            if let Some(words) = words.filter(|_| body.code == ErrorCode::Unavailable) {
                assert!(logged.contains(words), "{words} is not in {logged}");
                assert!(!body.message.contains(words), "opaque outside");
            }
            proxy.clear();
            recovers(&world, id, &name).await;
        }
    })
    .await;
}

#[tokio::test]
async fn each_reply_to_a_subscription_passes() {
    let url = std::env::var("REDIS_URL").unwrap();
    for (act, _) in all() {
        let proxy = Resp::of(&url).await.unwrap();
        let (life, channel) = (Lifecycle::default(), unique("subscribed"));
        let entrance = Entrance::open(&proxy.url(), Keys::new("test", 1));
        let driver = FredDriver::start(&entrance, &life, DriverMetrics::default());
        let driver = driver.await.unwrap();
        proxy.act("SSUBSCRIBE", act.clone());
        let Ok(mut stream) = driver.subscribe(channel.clone(), 8_192).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!driver.subscribed(), "{act:?}");
        proxy.clear();
        until("it is subscribed", async || driver.subscribed()).await;
        let heard = async {
            loop {
                let Ok(()) = driver.publish(channel.clone(), b"here".to_vec()).await;
                let item = tokio::time::timeout(Duration::from_millis(100), stream.next()).await;
                if matches!(item, Ok(Some(_))) {
                    return;
                }
            }
        };
        let heard = tokio::time::timeout(DEADLINE, heard).await;
        assert!(heard.is_ok(), "{act:?}");
        life.shutdown(Duration::ZERO).await;
    }
}

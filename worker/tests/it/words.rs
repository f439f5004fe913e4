//! Replies of proxies and providers in the place of Redis' own: the worker says what it is told, and goes on once it can.

use ticket_testing::{
    Act, Resp,
    replies::{ERRORS, broken},
};

use crate::{
    harness::{World, until},
    sample::{Log, id},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reply_to_a_read_is_named_and_passes() {
    let world = World::new().await;
    let proxy = Resp::of(&world.redis_url).await.expect("a port");
    let url = proxy.url();
    let running = world.start("w1", &["--redis-url", url.expose()]).await;
    let ready = async || running.ask("/readyz").await.0 == 200;
    until("it is ready", ready).await;
    let errors = ERRORS.map(|words| (Act::error(words), Some(words)));
    let broken = broken().into_iter().map(|act| (act, None));
    for (number, (act, words)) in (1..).zip(errors.into_iter().chain(broken)) {
        proxy.act("XREADGROUP", act.clone());
        let mut log = Log::opened(id(number, 1));
        log.message("kept", false);
        world.append(&log).await;
        if let Some(words) = words {
            until("it says why", async || {
                let (code, body) = running.ask("/readyz").await;
                code == 503 && body.contains(&words.replace('"', "\\\""))
            })
            .await;
        } else {
            until("it has failed", async || {
                running.ask("/readyz").await.0 == 503
            })
            .await;
        }
        proxy.clear();
        world.until_drained().await;
        until("it is ready again", ready).await;
        assert_eq!(world.count("messages").await, u64::from(number), "{act:?}");
    }
    world.finish([running]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_redis_does_not_accept_is_the_reason() {
    let world = World::new().await;
    let proxy = Resp::of(&world.redis_url).await.expect("a port");
    let words = "WRONGPASS invalid username-password pair or user is disabled.";
    proxy.inject("*", words);
    let url = proxy.url();
    let running = world.start("w1", &["--redis-url", url.expose()]).await;
    let says = async || {
        let (code, body) = running.ask("/readyz").await;
        code == 503 && body.contains("WRONGPASS")
    };
    until("it says so at the start", says).await;
    proxy.clear();
    let ready = async || running.ask("/readyz").await.0 == 200;
    until("it is ready", ready).await;
    // Connections that are lost later meet another password.
    proxy.inject("HELLO", words);
    proxy.inject("AUTH", words);
    proxy.act("XREADGROUP", Act::AnswerAndClose(Vec::new()));
    until("it says so", says).await;
    proxy.clear();
    until("it is ready again", ready).await;
    world.finish([running]).await;
}

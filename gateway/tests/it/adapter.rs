//! The driver under socketioxide's Redis adapter: order, outages, and a broadcast that crosses gateways.
//!
//! The Redis of `REDIS_URL` serves the tests that break nothing; the others start one of their own.

#![expect(
    clippy::unwrap_used,
    reason = "what sets a test up may panic like the test itself"
)]

use std::time::{Duration, Instant};

use futures::StreamExt;
use prometheus_client::{encoding::text::encode, registry::Registry};
use socketioxide_redis::drivers::{ChanItem, Driver, MessageStream};
use ticket_gateway::adapter::{DriverMetrics, FredDriver};
use ticket_shared::{config::Secret, lifecycle::Lifecycle, redis::Entrance, stream::Keys};

mod broadcast;

use crate::server::{Server, unique};

const PATIENCE: Duration = Duration::from_secs(10);
/// Shorter than any outage in these tests: what waits for Redis takes longer.
const AT_ONCE: Duration = Duration::from_secs(2);

fn redis_url() -> Secret {
    let url = std::env::var("REDIS_URL")
        .expect("REDIS_URL must name the Redis server that the tests may use");
    Secret::new(url)
}

async fn driver(url: &Secret, life: &Lifecycle) -> (FredDriver, DriverMetrics) {
    let metrics = DriverMetrics::default();
    let entrance = Entrance::open(url, Keys::new("test", 1));
    let started = FredDriver::start(&entrance, life, metrics.clone());
    let driver = started.await.unwrap();
    (driver, metrics)
}

/// What a counter stands at.
fn count(metrics: &DriverMetrics, name: &str) -> u64 {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    let (_, value) = line.and_then(|line| line.rsplit_once(' ')).unwrap();
    value.parse().unwrap()
}

async fn until(what: &str, mut met: impl FnMut() -> bool) {
    let started = Instant::now();
    while !met() {
        assert!(started.elapsed() < PATIENCE, "{what} took too long");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn publish(driver: &FredDriver, channel: &str, text: &str) {
    let started = Instant::now();
    let Ok(()) = driver.publish(channel.to_owned(), text.into()).await;
    assert!(started.elapsed() < AT_ONCE, "publish waited");
}

async fn subscribe(driver: &FredDriver, channel: &str, size: usize) -> MessageStream<ChanItem> {
    let started = Instant::now();
    let Ok(stream) = driver.subscribe(channel.to_owned(), size).await;
    assert!(started.elapsed() < AT_ONCE, "subscribe waited");
    stream
}

async fn next(stream: &mut MessageStream<ChanItem>) -> String {
    let item = tokio::time::timeout(PATIENCE, stream.next()).await;
    let (_, payload) = item.expect("nothing came").unwrap();
    String::from_utf8(payload).unwrap()
}

async fn nothing(stream: &mut MessageStream<ChanItem>) {
    let item = tokio::time::timeout(Duration::from_millis(300), stream.next()).await;
    assert!(item.is_err(), "unexpected: {item:?}");
}

#[tokio::test]
async fn two_gateways_hear_each_other_in_order() {
    let (url, life, channel) = (redis_url(), Lifecycle::default(), unique("order"));
    let (one, metrics) = driver(&url, &life).await;
    let (two, _) = driver(&url, &life).await;
    assert!(one.subscribed(), "connected, and nothing to subscribe to");
    let mut at_one = subscribe(&one, &channel, 4_000).await;
    assert!(!one.subscribed(), "not confirmed yet");
    let mut at_two = subscribe(&two, &channel, 4_000).await;
    until("subscribing", || one.subscribed() && two.subscribed()).await;
    assert_eq!(one.num_serv(&channel).await, Ok(2));
    for n in 0..3_000 {
        publish(&one, &channel, &n.to_string()).await;
    }
    for n in 0..3_000 {
        assert_eq!(next(&mut at_two).await, n.to_string());
        assert_eq!(next(&mut at_one).await, n.to_string());
    }
    publish(&two, &channel, "back").await;
    assert_eq!(next(&mut at_one).await, "back");
    assert_eq!(count(&metrics, "adapter_published_total"), 3_000);
    assert_eq!(count(&metrics, "adapter_received_total"), 3_001);

    let Ok(()) = one.unsubscribe(channel.clone()).await;
    until("unsubscribing", || one.subscribed()).await;
    publish(&two, &channel, "alone").await;
    assert_eq!(
        at_one.next().await,
        None,
        "the stream ends with the subscription"
    );
    // What was said before the stop is still sent.
    publish(&one, &channel, "last words").await;
    life.stop();
    assert!(
        life.shutdown(PATIENCE).await,
        "a task did not end by itself"
    );
}

#[tokio::test]
async fn a_slow_listener_loses_events_alone() {
    let (url, life) = (redis_url(), Lifecycle::default());
    let (slow, fast) = (unique("slow"), unique("fast"));
    let (driver, metrics) = driver(&url, &life).await;
    let mut at_slow = subscribe(&driver, &slow, 2).await;
    let mut at_fast = subscribe(&driver, &fast, 2).await;
    until("subscribing", || driver.subscribed()).await;
    for n in 0..5 {
        publish(&driver, &slow, &n.to_string()).await;
    }
    publish(&driver, &fast, "heard").await;
    assert_eq!(next(&mut at_fast).await, "heard");
    assert_eq!(next(&mut at_slow).await, "0");
    assert_eq!(next(&mut at_slow).await, "1");
    nothing(&mut at_slow).await;
    assert_eq!(
        count(&metrics, "adapter_dropped_total{reason=\"stream_full\"}"),
        3
    );
}

#[tokio::test]
async fn a_gateway_starts_without_redis_and_outlives_its_death() {
    let mut server = Server::absent();
    let (url, life, channel) = (server.url(), Lifecycle::default(), unique("outage"));
    let (one, metrics) = driver(&url, &life).await;
    let (two, _) = driver(&url, &life).await;
    let mut at_two = subscribe(&two, &channel, 8_192).await;
    publish(&one, &channel, "before there was a server").await;
    assert!(!two.subscribed());
    assert_eq!(
        one.num_serv(&channel).await,
        Ok(1),
        "only itself, for all it knows"
    );

    for round in 0..2 {
        // Long enough for what was published meanwhile to be too old.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        server.start();
        until("subscribing", || two.subscribed()).await;
        until("publishing", || {
            count(&metrics, "adapter_dropped_total{reason=\"stale\"}") > round
        })
        .await;
        let text = format!("round {round}");
        // The publisher may be a moment behind the subscriber.
        publish(&one, &channel, &text).await;
        assert_eq!(next(&mut at_two).await, text);
        nothing(&mut at_two).await;

        server.kill();
        for n in 0..200 {
            publish(&one, &channel, &format!("lost {n}")).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        until("noticing", || !two.subscribed()).await;
    }
    // More than the queue holds, at once.
    for _ in 0..6_000 {
        publish(&one, &channel, "too much").await;
    }
    assert!(count(&metrics, "adapter_dropped_total{reason=\"queue_full\"}") > 0);
    assert!(
        life.shutdown(PATIENCE).await,
        "a task did not end by itself"
    );
}

#[tokio::test]
async fn a_short_outage_loses_little_and_keeps_the_order() {
    let mut server = Server::absent();
    server.start();
    let (url, life, channel) = (server.url(), Lifecycle::default(), unique("short"));
    let (one, _) = driver(&url, &life).await;
    let (two, _) = driver(&url, &life).await;
    let mut at_two = subscribe(&two, &channel, 8_192).await;
    until("subscribing", || two.subscribed()).await;
    server.kill();
    until("noticing", || !two.subscribed()).await;
    server.start();
    let mut heard: Vec<u32> = Vec::new();
    for n in 0..1_000 {
        publish(&one, &channel, &n.to_string()).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    while let Ok(Some((_, payload))) =
        tokio::time::timeout(Duration::from_millis(500), at_two.next()).await
    {
        heard.push(String::from_utf8(payload).unwrap().parse().unwrap());
    }
    assert!(heard.is_sorted(), "{heard:?}");
    assert_eq!(heard.last(), Some(&999), "delivery resumed");
    assert!(heard.len() > 200, "{} of 1000", heard.len());
}

#[tokio::test]
async fn a_frozen_server_holds_nobody_up() {
    let mut server = Server::absent();
    server.start();
    let (url, life, channel) = (server.url(), Lifecycle::default(), unique("frozen"));
    let (one, metrics) = driver(&url, &life).await;
    let mut at_one = subscribe(&one, &channel, 8_192).await;
    until("subscribing", || one.subscribed()).await;
    server.signal("STOP");
    for n in 0..100 {
        publish(&one, &channel, &n.to_string()).await;
    }
    assert_eq!(one.num_serv(&channel).await, Ok(1));
    until("noticing", || !one.subscribed()).await;
    server.signal("CONT");
    until("subscribing", || one.subscribed()).await;
    let dropped = || {
        ["failed", "stale"]
            .map(|reason| {
                count(
                    &metrics,
                    &format!("adapter_dropped_total{{reason=\"{reason}\"}}"),
                )
            })
            .iter()
            .sum::<u64>()
    };
    until("settling", || {
        dropped() + count(&metrics, "adapter_published_total") == 100
    })
    .await;
    publish(&one, &channel, "thawed").await;
    // Some of what nobody confirmed was passed on all the same.
    while next(&mut at_one).await != "thawed" {}
}

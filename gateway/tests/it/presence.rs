//! Leases of sockets, counted by person, against a real Redis.

use std::time::Duration;

use fred::interfaces::{ClientLike, EventInterface, PubsubInterface, SortedSetsInterface};
use ticket_gateway::presence::{Lease, Presence};
use ticket_shared::{
    config::Secret,
    domain::{Person, UserType},
    id::Id,
    redis,
    stream::{Frame, LeftReason, Signal},
};

use crate::world::{World, in_world};

fn lease(socket: &str, user: &str) -> Lease {
    let person = Person {
        user_id: user.into(),
        user_type: UserType::User,
        user_name: format!("{user} \"ن\""),
    };
    Lease {
        socket: socket.into(),
        person,
    }
}

/// What goes over a ticket's channel.
struct Channel {
    client: fred::clients::SubscriberClient,
    messages: tokio::sync::broadcast::Receiver<fred::types::Message>,
}

impl Channel {
    async fn of(world: &World, ticket: Id) -> Self {
        let url = Secret::new(std::env::var("REDIS_URL").unwrap());
        let client = redis::subscriber(&url).unwrap();
        let messages = client.message_rx();
        client.init().await.unwrap();
        client.ssubscribe(world.keys.live(ticket)).await.unwrap();
        Self { client, messages }
    }

    /// Everything up to now: up to a mark that is published last.
    async fn heard(&mut self, world: &World, ticket: Id) -> Vec<Signal> {
        let _: i64 = world
            .redis
            .spublish(world.keys.live(ticket), "mark")
            .await
            .unwrap();
        let mut heard = Vec::new();
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.messages.recv());
            let message = next.await.expect("the mark comes").unwrap();
            let bytes = message.value.into_owned_bytes().unwrap();
            if bytes == b"mark" {
                return heard;
            }
            match Frame::decode(&bytes).unwrap() {
                Frame::Signal(signal) => heard.push(signal),
                Frame::Entry(_) => panic!("presence is no part of the log"),
            }
        }
    }
}

fn joined(lease: &Lease) -> Signal {
    Signal::Joined(lease.person.clone())
}

fn left(lease: &Lease, reason: LeftReason) -> Signal {
    Signal::Left {
        person: lease.person.clone(),
        reason,
    }
}

#[tokio::test]
async fn a_person_comes_and_goes_once_however_many_tabs() {
    in_world(|world| async move {
        let (ticket, presence) = (
            Id::fresh().unwrap(),
            Presence::new(world.redis.clone(), world.keys.clone()),
        );
        let mut channel = Channel::of(&world, ticket).await;
        let (one, two, other) = (
            lease("s1", "sara"),
            lease("s2", "sara"),
            lease("s3", "omar"),
        );
        assert_eq!(
            presence.join(ticket, &one).await.unwrap(),
            std::slice::from_ref(&one.person)
        );
        presence.join(ticket, &two).await.unwrap();
        let all = presence.join(ticket, &other).await.unwrap();
        assert_eq!(all, [other.person.clone(), one.person.clone()]);
        assert_eq!(
            channel.heard(&world, ticket).await,
            [joined(&one), joined(&other)]
        );
        presence.leave(ticket, &one).await.unwrap();
        presence.leave(ticket, &one).await.unwrap();
        assert_eq!(channel.heard(&world, ticket).await, []);
        presence.leave(ticket, &two).await.unwrap();
        assert_eq!(
            channel.heard(&world, ticket).await,
            [left(&two, LeftReason::Left)]
        );
        channel.client.quit().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_reload_is_no_coming_and_going_but_a_broken_connection_is() {
    in_world(|world| async move {
        let (ticket, presence) = (
            Id::fresh().unwrap(),
            Presence::new(world.redis.clone(), world.keys.clone()),
        );
        let mut channel = Channel::of(&world, ticket).await;
        let (before, after) = (lease("s1", "sara"), lease("s2", "sara"));
        presence.join(ticket, &before).await.unwrap();
        presence.disconnected(ticket, &before).await.unwrap();
        presence.join(ticket, &after).await.unwrap();
        run_out(&world, ticket, "~s1|user:sara").await;
        presence.beat(ticket, [&after].into_iter()).await.unwrap();
        assert_eq!(channel.heard(&world, ticket).await, [joined(&before)]);
        presence.disconnected(ticket, &after).await.unwrap();
        run_out(&world, ticket, "~s2|user:sara").await;
        presence.beat(ticket, std::iter::empty()).await.unwrap();
        presence.beat(ticket, std::iter::empty()).await.unwrap();
        assert_eq!(
            channel.heard(&world, ticket).await,
            [left(&after, LeftReason::Disconnected)]
        );
        channel.client.quit().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_nobody_renews_times_out_once_and_may_come_back() {
    in_world(|world| async move {
        let (ticket, presence) = (
            Id::fresh().unwrap(),
            Presence::new(world.redis.clone(), world.keys.clone()),
        );
        let mut channel = Channel::of(&world, ticket).await;
        let (paused, other) = (lease("s1", "sara"), lease("s2", "omar"));
        presence.join(ticket, &paused).await.unwrap();
        presence.join(ticket, &other).await.unwrap();
        channel.heard(&world, ticket).await;
        run_out(&world, ticket, "s1|user:sara").await;
        let beats = (0..4).map(|_| presence.beat(ticket, [&other].into_iter()));
        futures::future::join_all(beats).await;
        assert_eq!(
            channel.heard(&world, ticket).await,
            [left(&paused, LeftReason::Timeout)]
        );
        // Its gateway was only asleep.
        presence.beat(ticket, [&paused].into_iter()).await.unwrap();
        assert_eq!(channel.heard(&world, ticket).await, [joined(&paused)]);
        channel.client.quit().await.unwrap();
    })
    .await;
}

/// Moves the end of a lease into the past, as waiting would.
async fn run_out(world: &World, ticket: Id, lease: &str) {
    let changed: i64 = world
        .redis
        .zadd(
            world.keys.here(ticket),
            Some(fred::types::SetOptions::XX),
            None,
            true,
            false,
            (1.0, lease),
        )
        .await
        .unwrap();
    assert_eq!(changed, 1, "no such lease");
}

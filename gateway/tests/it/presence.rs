//! Leases of sockets, counted by person, against a real Redis.

use fred::interfaces::{KeysInterface, SortedSetsInterface};
use ticket_gateway::{
    error::Error,
    presence::{Lease, Presence},
    ticket::view::Part,
};
use ticket_shared::{
    domain::{Person, UserType},
    id::Id,
    stream::{Frame, LeftReason, Signal},
};

use crate::{
    channel::Channel,
    tickets::opened,
    world::{World, in_world},
};

fn person(user: &str) -> Person {
    Person {
        user_id: user.into(),
        user_type: UserType::User,
        user_name: format!("{user} \"ن\""),
    }
}

const fn lease<'a>(socket: &'a str, person: &'a Person) -> Lease<'a> {
    Lease { socket, person }
}

/// Who is there once somebody has entered.
async fn enter(world: &World, ticket: Id, lease: Lease<'_>) -> Vec<Person> {
    let entered = world.tickets.enter(ticket, Part::NONE, lease);
    entered.await.unwrap().1
}

async fn a_ticket(world: &World) -> (Id, Presence) {
    let presence = Presence::start(world.redis.clone(), world.keys.clone(), &world.life);
    (opened(world).await.id, presence)
}

/// Who came and went up to now.
async fn heard(channel: &mut Channel, world: &World) -> Vec<Signal> {
    let said = channel.said(world).await.into_iter();
    said.map(|bytes| match Frame::decode(&bytes).unwrap() {
        Frame::Signal(signal) => signal,
        Frame::Entry(_) => panic!("presence is no part of the log"),
    })
    .collect()
}

fn joined(lease: Lease<'_>) -> Signal {
    Signal::Joined(lease.person.clone())
}

fn left(lease: Lease<'_>, reason: LeftReason) -> Signal {
    Signal::Left {
        person: lease.person.clone(),
        reason,
    }
}

#[tokio::test]
async fn a_person_comes_and_goes_once_however_many_tabs() {
    in_world(|world| async move {
        let (ticket, presence) = a_ticket(&world).await;
        let mut channel = Channel::of(&world, ticket).await;
        let (sara, omar) = (person("sara"), person("omar"));
        let (one, two, other) = (lease("s1", &sara), lease("s2", &sara), lease("s3", &omar));
        let all = enter(&world, ticket, one).await;
        assert_eq!(all, std::slice::from_ref(&sara));
        enter(&world, ticket, two).await;
        let all = enter(&world, ticket, other).await;
        assert_eq!(all, [omar.clone(), sara.clone()]);
        assert_eq!(
            heard(&mut channel, &world).await,
            [joined(one), joined(other)]
        );
        presence.leave(ticket, one).await.unwrap();
        presence.leave(ticket, one).await.unwrap();
        assert_eq!(heard(&mut channel, &world).await, []);
        presence.leave(ticket, two).await.unwrap();
        assert_eq!(
            heard(&mut channel, &world).await,
            [left(two, LeftReason::Left)]
        );
        channel.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_reload_is_no_coming_and_going_but_a_broken_connection_is() {
    in_world(|world| async move {
        let (ticket, presence) = a_ticket(&world).await;
        let mut channel = Channel::of(&world, ticket).await;
        let sara = person("sara");
        let (before, after) = (lease("s1", &sara), lease("s2", &sara));
        enter(&world, ticket, before).await;
        presence.disconnected(ticket, before).await.unwrap();
        enter(&world, ticket, after).await;
        run_out(&world, ticket, "~s1|user:sara").await;
        presence.beat(ticket, [after].into_iter()).await.unwrap();
        assert_eq!(heard(&mut channel, &world).await, [joined(before)]);
        presence.disconnected(ticket, after).await.unwrap();
        run_out(&world, ticket, "~s2|user:sara").await;
        presence.beat(ticket, std::iter::empty()).await.unwrap();
        presence.beat(ticket, std::iter::empty()).await.unwrap();
        assert_eq!(
            heard(&mut channel, &world).await,
            [left(after, LeftReason::Disconnected)]
        );
        channel.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_nobody_renews_times_out_once_and_may_come_back() {
    in_world(|world| async move {
        let (ticket, presence) = a_ticket(&world).await;
        let mut channel = Channel::of(&world, ticket).await;
        let (sara, omar) = (person("sara"), person("omar"));
        let (paused, other) = (lease("s1", &sara), lease("s2", &omar));
        enter(&world, ticket, paused).await;
        enter(&world, ticket, other).await;
        heard(&mut channel, &world).await;
        run_out(&world, ticket, "s1|user:sara").await;
        let beats = (0..4).map(|_| presence.beat(ticket, [other].into_iter()));
        futures::future::join_all(beats).await;
        assert_eq!(
            heard(&mut channel, &world).await,
            [left(paused, LeftReason::Timeout)]
        );
        // Its gateway was only asleep.
        presence.beat(ticket, [paused].into_iter()).await.unwrap();
        assert_eq!(heard(&mut channel, &world).await, [joined(paused)]);
        channel.close().await;
    })
    .await;
}

#[tokio::test]
async fn tickets_that_beat_together_are_renewed_each_and_one_that_fails_fails_alone() {
    in_world(|world| async move {
        let (first, presence) = a_ticket(&world).await;
        let mut tickets = vec![first];
        for _ in 0..40 {
            tickets.push(opened(&world).await.id);
        }
        let (sara, omar) = (person("sara"), person("omar"));
        let (one, two) = (lease("s1", &sara), lease("s2", &omar));
        // Not what a lease is kept in.
        let broken = tickets[7];
        let _: () = world
            .redis
            .set(world.keys.here(broken), "x", None, None, false)
            .await
            .unwrap();
        let beat = |ticket| presence.beat(ticket, [one, two].into_iter());
        let beats = futures::future::join_all(tickets.iter().copied().map(beat)).await;
        for (ticket, beat) in tickets.iter().zip(beats) {
            if *ticket == broken {
                assert!(matches!(beat, Err(Error::Internal(_))), "{beat:?}");
                continue;
            }
            let position = beat.unwrap();
            assert_eq!(position.seq, Some(1));
            assert!(!position.epoch.is_empty());
            assert_eq!(kept(&world, *ticket).await, 2);
        }
        // More than a function of Lua can be given at once.
        let names: Vec<String> = (0..4_000).map(|number| format!("s{number}")).collect();
        let crowd = names.iter().map(|name| lease(name, &sara));
        presence.beat(first, crowd).await.unwrap();
        assert_eq!(kept(&world, first).await, 4_001, "omar has one of his own");
    })
    .await;
}

/// How many leases a ticket has.
async fn kept(world: &World, ticket: Id) -> u64 {
    world.redis.zcard(world.keys.here(ticket)).await.unwrap()
}

#[tokio::test]
async fn nobody_enters_a_ticket_that_is_not_there() {
    in_world(|world| async move {
        let (ticket, sara) = (Id::fresh().unwrap(), person("sara"));
        let entered = world.tickets.enter(ticket, Part::NONE, lease("s1", &sara));
        assert!(matches!(entered.await, Err(Error::TicketNotFound)));
        let kept: Vec<String> = vec![world.keys.here(ticket), world.keys.who(ticket)];
        let kept: i64 = world.redis.exists(kept).await.unwrap();
        assert_eq!(kept, 0);
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

//! Rates that hold over all gateways, against a real Redis.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use fred::interfaces::KeysInterface;
use ticket_gateway::{
    access::{Caller, Counted, Grant},
    admission::{Admission, Limits},
    auth::{Claims, Role},
    error::Error,
    metrics::Metrics,
};

use crate::{
    tickets::opened,
    world::{World, in_world, message},
};

fn counted(owner: &str, per_second: u32) -> Grant {
    Grant {
        counted: Some(Counted {
            owner: owner.into(),
            per_second,
        }),
        ..Grant::TEAM
    }
}

#[tokio::test]
async fn a_ticket_takes_five_seconds_worth_of_a_caller_at_once_and_then_its_rate() {
    in_world(|world| async move {
        let (id, other) = (opened(&world).await.id, opened(&world).await.id);
        let hurried = counted("a", 2);
        let began = Instant::now();
        let (mut accepted, mut seq) = (0, 1);
        for i in 0..60 {
            match world
                .tickets
                .send(id, message(id, "more", None), &hurried)
                .await
            {
                Ok((sent, _)) => {
                    accepted += 1;
                    seq += 1;
                    assert_eq!(sent.seq, seq, "what is refused takes no number");
                }
                Err(Error::RateLimited { retry_after_ms }) => {
                    assert!(i >= 10, "refused as number {i}");
                    assert!((1..=500).contains(&retry_after_ms), "{retry_after_ms}");
                }
                Err(error) => panic!("{error}"),
            }
        }
        let most = 10 + 2 * (began.elapsed().as_secs() + 1);
        assert!((10..=most).contains(&accepted), "{accepted} accepted");
        let send = |id, grant: Grant| {
            let tickets = &world.tickets;
            async move { tickets.send(id, message(id, "hello", None), &grant).await }
        };
        send(id, counted("b", 2)).await.unwrap();
        send(id, Grant::TEAM).await.unwrap();
        send(other, hurried).await.unwrap();
    })
    .await;
}

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    limits: Limits,
}

/// The admission of one gateway of several.
fn gateway(world: &Rc<World>, limits: &[&str]) -> Arc<Admission> {
    let limits = Only::parse_from([&["x"], limits].concat()).limits;
    let admission = Arc::new(Admission::new(limits, Metrics::default()).unwrap());
    admission.share(world.redis.clone(), &world.keys, &world.life);
    admission
}

fn person(sub: &str) -> Caller {
    Caller::Known(Arc::new(Claims {
        sub: sub.into(),
        name: sub.into(),
        role: Role::User,
        tickets: None,
        expires_at: i64::MAX,
        issued_at: None,
        token_id: None,
    }))
}

/// Waits until `holds`.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn written(world: &World) -> bool {
    let count: u64 = world.redis.exists(world.keys.abuse()).await.unwrap();
    count > 0
}

#[tokio::test]
async fn a_client_that_one_gateway_turns_away_all_turn_away() {
    in_world(|world| async move {
        let limits = ["--identity-rate", "8", "--abuse-limit", "200"];
        let (one, two) = (gateway(&world, &limits), gateway(&world, &limits));
        let (calm, wild) = (person("calm"), person("wild"));
        one.caller(&calm, None).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!written(&world).await, "written where there is no abuse");
        // Longer and longer, as long as it goes on.
        let mut longest = 0;
        until(
            "the second gateway turns it away for longer than a second",
            || {
                for _ in 0..100 {
                    let _ = one.caller(&wild, None);
                }
                if let Err(Error::RateLimited { retry_after_ms }) = two.caller(&wild, None) {
                    longest = longest.max(retry_after_ms);
                }
                longest > 1_000
            },
        )
        .await;
        assert!(longest <= 300_000, "{longest}");
        two.caller(&calm, None).unwrap();
        one.caller(&calm, None).unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_a_person_uses_on_one_gateway_is_used_on_all() {
    in_world(|world| async move {
        let limits = ["--identity-rate", "5", "--abuse-limit", "0"];
        let (one, two) = (gateway(&world, &limits), gateway(&world, &limits));
        let person = person("busy");
        let began = Instant::now();
        let mut accepted = 0;
        while began.elapsed() < Duration::from_secs(10) {
            for gateway in [&one, &two] {
                accepted += u32::from(gateway.caller(&person, None).is_ok());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Each of them alone would have taken 70.
        assert!(accepted <= 75, "{accepted} accepted within ten seconds");
    })
    .await;
}

//! Rates that hold over all gateways, against a real Redis.

use std::time::Instant;

use ticket_gateway::{
    access::{Counted, Grant},
    error::Error,
};

use crate::{
    tickets::opened,
    world::{in_world, message},
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

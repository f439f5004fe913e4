//! Revocations over several gateways, against a real Redis.

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use fred::{
    interfaces::{ClientLike, KeysInterface, SortedSetsInterface},
    types::InfoKind,
};
use ticket_gateway::auth::{Claims, Revocations, Revoked, Role};
use ticket_shared::stream::Keys;

use crate::{
    server::Server,
    world::{World, in_world, in_world_on},
};

/// How far a signer's clock may be ahead, in seconds.
const LEEWAY: i64 = 5;

fn claims(sub: &str, issued_at: Option<i64>, token_id: Option<&str>) -> Claims {
    Claims {
        sub: sub.into(),
        name: sub.into(),
        role: Role::User,
        tickets: None,
        expires_at: i64::MAX,
        issued_at,
        token_id: token_id.map(Into::into),
    }
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    for _ in 0..4_000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not in time: {what}");
}

fn start(world: &Rc<World>) -> Revocations {
    Revocations::start(world.redis.clone(), &world.keys, LEEWAY, &world.life)
}

async fn revoked_at(world: &World, keys: &Keys, name: &str) -> f64 {
    let at: Option<f64> = world.redis.zscore(keys.revoked(), name).await.unwrap();
    at.unwrap()
}

#[tokio::test]
async fn what_one_gateway_revokes_all_refuse_even_where_redis_loses_it() {
    in_world(|world| async move {
        let (one, two) = (start(&world), start(&world));
        one.revoke(Revoked::Sub("ann".into())).await.unwrap();
        assert!(one.revoked(&claims("ann", Some(1), None)), "at once");
        until("the other one knows", async || {
            two.revoked(&claims("ann", Some(1), None))
        })
        .await;
        assert!(two.revoked(&claims("ann", None, None)));
        assert!(!two.revoked(&claims("ann", Some(i64::MAX / 1_000), None)));
        assert!(!two.revoked(&claims("bob", Some(1), None)));
        let _: i64 = world.redis.del(world.keys.revoked()).await.unwrap();
        two.revoke(Revoked::Token("t1".into())).await.unwrap();
        let three = start(&world);
        until("all is given back", async || {
            three.revoked(&claims("ann", Some(1), None))
                && three.revoked(&claims("bob", Some(1), Some("t1")))
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_token_signed_by_a_clock_that_is_ahead_does_not_outlive_its_person() {
    in_world(|world| async move {
        let gateway = start(&world);
        gateway.revoke(Revoked::Sub("ann".into())).await.unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970")]
        let at = revoked_at(&world, &world.keys, "s:ann").await as i64 / 1_000;
        assert!(gateway.revoked(&claims("ann", Some(at + LEEWAY), None)));
        assert!(!gateway.revoked(&claims("ann", Some(at + LEEWAY + 1), None)));
    })
    .await;
}

#[tokio::test]
async fn what_each_of_two_gateways_misses_is_found_where_the_numbers_are_equal() {
    in_world(|world| async move {
        let (one, two) = (start(&world), start(&world));
        until("both have read", async || one.informed() && two.informed()).await;
        one.revoke(Revoked::Sub("ann".into())).await.unwrap();
        // Redis loses it before the other one reads, which revokes somebody else: one entry here, one there.
        let _: i64 = world.redis.del(world.keys.revoked()).await.unwrap();
        two.revoke(Revoked::Sub("bob".into())).await.unwrap();
        for gateway in [&one, &two] {
            until("both are known everywhere", async || {
                gateway.revoked(&claims("ann", Some(1), None))
                    && gateway.revoked(&claims("bob", Some(1), None))
            })
            .await;
        }
        let kept: i64 = world.redis.zcard(world.keys.revoked()).await.unwrap();
        assert_eq!(kept, 2);
    })
    .await;
}

#[tokio::test]
async fn a_later_time_that_a_restart_loses_is_given_back() {
    let server = Rc::new(RefCell::new(Server::absent()));
    server.borrow_mut().start();
    let (url, own) = (server.borrow().url(), Rc::clone(&server));
    in_world_on(&url, |world| async move {
        let gateway = start(&world);
        gateway.revoke(Revoked::Sub("ann".into())).await.unwrap();
        let later = revoked_at(&world, &world.keys, "s:ann").await;
        own.borrow_mut().kill();
        own.borrow_mut().start();
        // As a file that lost its end has it: the name with an earlier time.
        until("it is there again", async || {
            let earlier = (later - 60_000.0, "s:ann");
            let key = world.keys.revoked();
            let added: Result<i64, _> = world
                .redis
                .zadd(key, None, None, false, false, earlier)
                .await;
            added.is_ok()
        })
        .await;
        until("the later time is given back", async || {
            let at: Result<Option<f64>, _> =
                world.redis.zscore(world.keys.revoked(), "s:ann").await;
            at.is_ok_and(|at| at == Some(later))
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn gateways_read_what_is_new_and_not_the_whole_set() {
    const MANY: usize = 20_000;
    let mut server = Server::absent();
    server.start();
    let url = server.url();
    in_world_on(&url, |world| async move {
        let yesterday = std::time::SystemTime::now() - Duration::from_hours(24);
        let yesterday = yesterday.duration_since(std::time::UNIX_EPOCH).unwrap();
        let at = yesterday.as_secs_f64().round() * 1_000.0;
        let old: Vec<(f64, String)> = (0..MANY).map(|i| (at, format!("s:{i}"))).collect();
        let key = world.keys.revoked();
        let _: i64 = world
            .redis
            .zadd(key, None, None, false, false, old)
            .await
            .unwrap();
        let gateway = start(&world);
        until("the set is read", async || gateway.informed()).await;
        assert!(gateway.revoked(&claims("19999", Some(1), None)));
        let (calls, sent) = traffic(&world).await;
        // Asked seldom, because the answers count.
        while traffic(&world).await.0 < calls + 2 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let (calls_later, sent_later) = traffic(&world).await;
        let (calls, sent) = (calls_later - calls, sent_later - sent);
        // What asks for these numbers is answered with some kilobytes itself; the whole set takes 600.
        assert!(sent < 400_000, "{sent} bytes for {calls} reads");
    })
    .await;
}

/// Scripts that a server has run, and bytes that it has sent.
async fn traffic(world: &World) -> (u64, u64) {
    let read = async |section: InfoKind, name: &str| {
        let text: String = world.redis.info(Some(section)).await.unwrap();
        let lines: HashMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .collect();
        lines
            .get(name)
            .map(|value| (*value).to_owned())
            .unwrap_or_default()
    };
    let calls = read(InfoKind::CommandStats, "cmdstat_evalsha").await;
    let calls = calls
        .strip_prefix("calls=")
        .and_then(|rest| rest.split(',').next()?.parse().ok());
    let sent = read(InfoKind::Stats, "total_net_output_bytes").await;
    (calls.unwrap_or(0), sent.trim().parse().unwrap())
}

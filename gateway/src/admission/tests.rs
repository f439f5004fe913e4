use clap::Parser;

use super::*;
use crate::auth::{Claims, Role};

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    limits: Limits,
}

pub(super) fn admission(args: &[&str]) -> Arc<Admission> {
    let limits = Only::parse_from([&["x"], args].concat()).limits;
    Arc::new(Admission::new(limits, Metrics::default()).unwrap())
}

fn client(text: &str) -> Client {
    Client(text.parse().unwrap())
}

#[test]
fn who_finds_no_place_is_told_whether_others_would() {
    let it = admission(&["--max-connections", "2", "--max-connections-address", "1"]);
    let _first = it.enter(client("1.1.1.1")).unwrap();
    let refused = it.enter(client("1.1.1.1")).unwrap_err();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    let _second = it.enter(client("2.2.2.2")).unwrap();
    let refused = it.enter(client("3.3.3.3")).unwrap_err();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn connects_beyond_the_rate_are_refused() {
    let it = admission(&["--connect-rate", "1", "--connect-rate-address", "0"]);
    let ok = (0..10)
        .filter(|_| it.enter(client("1.1.1.1")).is_ok())
        .count();
    assert_eq!(ok, 2, "twice the rate at once");
}

#[test]
fn identities_share_nothing() {
    let it = admission(&["--identity-rate", "1"]);
    let known = |sub: &str| {
        Caller::Known(Arc::new(Claims {
            sub: sub.into(),
            name: sub.into(),
            role: Role::User,
            tickets: None,
            expires_at: 0,
            issued_at: None,
            token_id: None,
        }))
    };
    let take = |caller: &Caller| {
        let taken = |_: &i32| it.caller(caller, None).is_ok();
        (0..10).filter(taken).count()
    };
    assert_eq!((take(&known("a")), take(&known("b"))), (2, 2));
    assert_eq!(take(&Caller::Anyone), 10, "nothing tells them apart");
}

#[test]
fn rooms_are_bounded() {
    let it = admission(&["--rooms-per-socket", "2"]);
    assert!(it.another_room(1).is_ok());
    assert!(it.another_room(2).is_err());
}

//! Revocations over several gateways, against a real Redis.

use std::time::Duration;

use fred::interfaces::KeysInterface;
use ticket_gateway::auth::{Claims, Revocations, Revoked, Role};

use crate::world::in_world;

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

#[tokio::test]
async fn what_one_gateway_revokes_all_refuse_even_where_redis_loses_it() {
    in_world(|world| async move {
        let start = || Revocations::start(world.redis.clone(), &world.keys, &world.life);
        let (one, two) = (start(), start());
        let mut news = two.changed();
        one.revoke(Revoked::Sub("ann".into())).await.unwrap();
        assert!(one.revoked(&claims("ann", Some(1), None)), "at once");
        let wait = Duration::from_secs(20);
        tokio::time::timeout(wait, news.changed())
            .await
            .unwrap()
            .unwrap();
        assert!(two.revoked(&claims("ann", Some(1), None)));
        assert!(two.revoked(&claims("ann", None, None)));
        assert!(!two.revoked(&claims("ann", Some(i64::MAX / 1_000), None)));
        assert!(!two.revoked(&claims("bob", Some(1), None)));
        let _: i64 = world.redis.del(world.keys.revoked()).await.unwrap();
        two.revoke(Revoked::Token("t1".into())).await.unwrap();
        let three = start();
        let mut news = three.changed();
        tokio::time::timeout(wait, news.wait_for(|count| *count >= 2))
            .await
            .unwrap()
            .unwrap();
        assert!(three.revoked(&claims("ann", Some(1), None)), "given back");
        assert!(three.revoked(&claims("bob", Some(1), Some("t1"))));
    })
    .await;
}

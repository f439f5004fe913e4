//! What operators are told of a MongoDB that refuses reads: behind a proxy that refuses them.

use std::{process::Command, rc::Rc, time::Duration};

use mongodb::bson::{Bson, Document};
use ticket_gateway::store::{ReadHealth, Store, StoreError};
use ticket_shared::{config::Secret, id::Id};
use ticket_testing::{OpMsg, refusal};

use crate::world::{World, in_world};

const DEADLINE: Duration = Duration::from_secs(20);

/// The operations that the gateway performs.
const READS: [&str; 2] = ["find", "aggregate"];

async fn behind<F: Future<Output = ()>>(test: impl FnOnce(Rc<World>, Rc<OpMsg>) -> F) {
    in_world(|world| async move {
        let proxy = Rc::new(OpMsg::of(&world.mongo_uri).await.unwrap());
        test(world, proxy).await;
    })
    .await;
}

fn store(world: &World, proxy: &OpMsg, options: &str) -> Store {
    let uri = proxy.uri(world.database.name(), options);
    Store::new(&Secret::new(uri), world.life.clone(), DEADLINE).unwrap()
}

fn level(command: &Document) -> Option<&str> {
    let concern = command.get_document("readConcern").ok()?;
    concern.get("level").and_then(Bson::as_str)
}

async fn until(what: &str, met: impl Fn() -> bool) {
    let waiting = async {
        while !met() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_mins(1), waiting).await;
    assert!(waited.is_ok(), "it did not come true that {what}");
}

#[tokio::test]
async fn reads_ask_for_a_majority_unless_the_uri_asks_for_something_else() {
    behind(|world, proxy| async move {
        for read in READS {
            proxy.remember(read);
        }
        for (options, asked) in [("", "majority"), ("&readConcernLevel=local", "local")] {
            let before = proxy.remembered().len();
            let store = store(&world, &proxy, options);
            assert_eq!(store.refused().await, Vec::<String>::new());
            store.ticket(Id::fresh().unwrap()).await.unwrap();
            let commands = proxy.remembered().split_off(before);
            assert!(commands.len() > 4, "{commands:?}");
            for command in commands {
                assert_eq!(level(&command), Some(asked), "{command}");
            }
            store.close().await;
        }
    })
    .await;
}

/// Answers of servers without majorities, and of others that know no read concern.
const CONCERNS: [(i32, &str, &str); 5] = [
    (
        148,
        "ReadConcernMajorityNotEnabled",
        "read concern majority is not supported",
    ),
    (
        72,
        "InvalidOptions",
        "Majority read concern requested, but it is not supported by the storage engine",
    ),
    (303, "", "Feature not supported: readConcern majority"),
    (
        238,
        "NotImplemented",
        "support for field \"readConcern\" is not implemented yet",
    ),
    (2, "BadValue", "readConcern level not supported"),
];

#[tokio::test]
async fn a_server_without_majorities_is_named_together_with_what_to_set() {
    behind(|world, proxy| async move {
        for (code, name, words) in CONCERNS {
            for read in READS {
                proxy.answer(read, move |command| {
                    (level(command) == Some("majority")).then(|| refusal(code, name, words))
                });
            }
            let store = store(&world, &proxy, "");
            let refused = store.refused().await;
            assert_eq!(refused.len(), 4, "{refused:?}");
            for said in &refused {
                for part in [
                    &code.to_string(),
                    words,
                    "majority",
                    "readConcernLevel=local",
                    "MONGO_URI",
                ] {
                    assert!(said.contains(part), "{part} is not in {said}");
                }
            }
            // It is no defect of ours, so clients may try again.
            let failed = store.ticket(Id::fresh().unwrap()).await.unwrap_err();
            assert!(matches!(failed, StoreError::Unreachable(_)), "{failed}");
            store.close().await;
            // The advice helps.
            let advised = self::store(&world, &proxy, "&readConcernLevel=local");
            assert_eq!(advised.refused().await, Vec::<String>::new());
            advised.close().await;
            proxy.clear();
        }
    })
    .await;
}

#[tokio::test]
async fn what_mongodb_refuses_is_a_reason_until_it_is_mended() {
    behind(|world, proxy| async move {
        let store = store(&world, &proxy, "");
        let health = ReadHealth::start(&store, &world.life);
        for (code, name) in [
            (13, "Unauthorized"),
            (8000, "AtlasError"),
            (166, "CommandNotSupportedOnView"),
        ] {
            proxy.refuse(&READS, code, name);
            // Noticed when something is read.
            store.ticket(Id::fresh().unwrap()).await.unwrap_err();
            until("the reason is there", || {
                let reasons = health.reasons().join(" ");
                reasons.contains(name) && reasons.contains("find on tickets")
            })
            .await;
            proxy.clear();
            until("the reason is gone", || health.reasons().is_empty()).await;
        }
        store.close().await;
        world.life.stop();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_mongodb_does_not_accept_is_named_as_such() {
    behind(|world, proxy| async move {
        proxy.refuse(&["saslStart", "saslContinue"], 18, "AuthenticationFailed");
        let place = proxy.address();
        let name = world.database.name();
        let uri =
            format!("mongodb://desk:canary@{place}/{name}?directConnection=true&authSource=admin");
        let store = Store::new(&Secret::new(&*uri), world.life.clone(), DEADLINE).unwrap();
        for _ in 0..3 {
            let refused = store.refused().await;
            assert_eq!(refused.len(), 1, "{refused:?}");
            assert!(refused[0].contains("authentication failed"), "{refused:?}");
            let failed = store.ping().await.unwrap_err().to_string();
            assert!(failed.contains("authentication failed"), "{failed}");
            assert!(!failed.contains("canary"), "{failed}");
        }
        store.close().await;
        let checked = Command::new(env!("CARGO_BIN_EXE_ticket-gateway"))
            .env_clear()
            .args(["check-config", "--connect"])
            .env("AUTH_MODE", "none")
            .env("REDIS_URL", &world.redis_url)
            .env("MONGO_URI", &uri)
            .output()
            .unwrap();
        let said = String::from_utf8(checked.stdout).unwrap();
        assert_eq!(checked.status.code(), Some(1), "{said}");
        assert!(
            said.contains("mongodb: find on tickets: authentication failed"),
            "{said}"
        );
        assert!(!said.contains("canary"), "{said}");
    })
    .await;
}

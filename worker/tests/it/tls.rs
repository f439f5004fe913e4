//! A worker whose servers want TLS and a password; and what it does where they do not get on.

#![expect(clippy::unwrap_used, reason = "a test that can't go on should panic")]

#[path = "../../../gateway/tests/it/tls/secured.rs"]
mod secured;

use secured::{PASSWORD, Secured};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ticket-worker");

#[tokio::test]
async fn tls_with_a_private_authority_and_a_password() {
    let servers = Secured::start().await;
    let mut worker = servers.run(
        PROGRAM,
        &[
            ("REDIS_URL", &servers.redis_url(PASSWORD)),
            ("REDIS_CA_FILE", &servers.authority("")),
            ("MONGO_URI", &servers.mongo_uri("")),
        ],
    );
    // It is ready when both servers answer.
    worker.answers(200).await;
    assert!(!worker.said().contains(PASSWORD));
}

#[tokio::test]
async fn a_wrong_password_or_a_stranger_s_certificate_leaves_it_unready_and_says_so_without_the_secret()
 {
    let servers = Secured::start().await;
    for (password, authority) in [("canary-wrong-password", ""), (PASSWORD, "stranger")] {
        let mut worker = servers.run(
            PROGRAM,
            &[
                ("REDIS_URL", &servers.redis_url(password)),
                ("REDIS_CA_FILE", &servers.authority(authority)),
                ("MONGO_URI", &servers.mongo_uri(authority)),
            ],
        );
        worker.says("redis connection failed, trying on").await;
        worker.answers(503).await;
        assert!(worker.alive());
        let said = worker.said();
        assert!(!said.contains("canary"), "{said}");
    }
}

//! A gateway whose servers want TLS and a password; and what it does where they do not get on.

mod secured;

use secured::{PASSWORD, Secured, free_port, get};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ticket-gateway");

#[tokio::test]
async fn tls_with_a_private_authority_and_a_password() {
    let servers = Secured::start().await;
    let port = free_port();
    let mut gateway = servers.run(
        PROGRAM,
        &[
            ("AUTH_MODE", "none"),
            ("PORT", &port.to_string()),
            ("REDIS_URL", &servers.redis_url(PASSWORD)),
            ("REDIS_CA_FILE", &servers.authority("")),
            ("MONGO_URI", &servers.mongo_uri("")),
        ],
    );
    gateway.answers(200).await;
    assert!(!gateway.said().contains(PASSWORD));
    // That asks both servers.
    let health = get(port, "/health").await.unwrap();
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
}

#[tokio::test]
async fn a_wrong_password_or_a_stranger_s_certificate_leaves_it_unready_and_says_so_without_the_secret()
 {
    let servers = Secured::start().await;
    for (password, authority) in [("canary-wrong-password", ""), (PASSWORD, "stranger")] {
        let mut gateway = servers.run(
            PROGRAM,
            &[
                ("AUTH_MODE", "none"),
                ("PORT", "0"),
                ("REDIS_URL", &servers.redis_url(password)),
                ("REDIS_CA_FILE", &servers.authority(authority)),
                ("MONGO_URI", &servers.mongo_uri(authority)),
            ],
        );
        gateway.says("redis connection failed, trying on").await;
        gateway.answers(503).await;
        assert!(gateway.alive());
        let said = gateway.said();
        assert!(!said.contains("canary"), "{said}");
    }
}

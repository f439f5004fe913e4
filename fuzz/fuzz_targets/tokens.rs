//! Tokens: whatever comes, no panic, and nothing that we did not sign is believed.
#![no_main]

use std::sync::LazyLock;

use clap::Parser;
use libfuzzer_sys::fuzz_target;
use ticket_gateway::auth::{AuthSettings, Verifier};
use ticket_shared::lifecycle::Lifecycle;

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    auth: AuthSettings,
}

/// A secret and public keys; no provider, so that nothing has to be waited for.
static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let keys = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../gateway/src/auth/tests/public.pem"
    );
    let secret = "p0Y2cF7kq9ZsT4vLw1XnBd8RjHm3AeGu";
    let given = [
        "--auth-mode",
        "jwt",
        "--jwt-secret",
        secret,
        "--jwt-key-file",
        keys,
    ];
    let mut only = Only::parse_from(["tokens"].into_iter().chain(given));
    only.auth.resolve().expect("good settings");
    Verifier::start(&only.auth, &Lifecycle::default()).expect("good settings")
});

fuzz_target!(|text: &str| {
    let verified = futures::executor::block_on(VERIFIER.verify(text));
    assert!(verified.is_err(), "a token that nobody signed is believed");
});

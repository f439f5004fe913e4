//! Tokens signed with private keys, whose public ones come from a file or an identity provider. The keys beside
//! this file are for these tests alone.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};

use super::*;

const PUBLIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/auth/tests/public.pem");

enum Signer {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

fn rsa() -> Signer {
    Signer::Rsa(RsaKeyPair::from_pkcs8(include_bytes!("rsa.der")).unwrap())
}

fn p256() -> Signer {
    let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    Signer::P256(EcdsaKeyPair::from_pkcs8(kind, include_bytes!("p256.der"), &random).unwrap())
}

fn ed25519() -> Signer {
    let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(include_bytes!("ed25519.der"));
    Signer::Ed25519(key.unwrap())
}

/// Base64 for URLs, without padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for digit in 0..=chunk.len() {
            let at = usize::try_from(bits >> (18 - 6 * digit) & 63).unwrap();
            text.push(char::from(DIGITS[at]));
        }
    }
    text
}

impl Signer {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    /// A token, with this header beside the algorithm.
    fn token(&self, header: &Value) -> String {
        let mut header = header.clone();
        header["alg"] = self.algorithm().into();
        self.sign(&header)
    }

    /// A token with exactly this header.
    fn sign(&self, header: &Value) -> String {
        let part = |value: &Value| base64(value.to_string().as_bytes());
        let text = format!("{}.{}", part(header), part(&claims(|_| ())));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
            Self::P256(key) => key
                .sign(&random, text.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
            Self::Ed25519(key) => key.sign(text.as_bytes()).as_ref().to_vec(),
        };
        format!("{text}.{}", base64(&signature))
    }

    /// The public key, as providers publish it.
    fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = key.public().into();
                json!({"kty": "RSA", "kid": id, "use": "sig", "alg": "RS256", "n": base64(&n), "e": base64(&e)})
            }
            Self::P256(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = (base64(&point[1..33]), base64(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "kid": id, "x": x, "y": y})
            }
            Self::Ed25519(key) => {
                let x = base64(key.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x})
            }
        }
    }
}

/// The setting for where the provider is, and others.
fn at(url: &str, more: &[&str], life: &Lifecycle) -> Verifier {
    let settings = settings(&[&["--jwks-url", url], more].concat()).unwrap();
    Verifier::start(&settings, life).unwrap()
}

#[tokio::test]
async fn public_keys_of_a_file_verify_their_own_algorithm_only() {
    let verifier = verifier(&["--jwt-key-file", PUBLIC]);
    for key in [rsa(), p256(), ed25519()] {
        let said = verifier.verify(&key.token(&json!({}))).await;
        assert!(said.is_ok(), "{}: {said:?}", key.algorithm());
        for other in ["RS256", "ES256", "EdDSA", "HS256", "none", "RS512", "PS256"] {
            if other != key.algorithm() {
                let forged = key.sign(&json!({ "alg": other }));
                assert!(verifier.verify(&forged).await.is_err(), "{other}");
            }
        }
    }
    // The public key as a secret: an old trick. It works on none, with or without a secret of our own.
    let public = std::fs::read_to_string(PUBLIC).unwrap();
    let forged = signed(&Header::default(), &public, &claims(|_| ()));
    assert!(verifier.verify(&forged).await.is_err());
    let both = super::verifier(&["--jwt-key-file", PUBLIC, "--jwt-secret", SECRET]);
    assert!(both.verify(&forged).await.is_err());
    assert!(both.verify(&rsa().token(&json!({}))).await.is_ok());
    assert!(both.verify(&token(|_| ())).await.is_ok());
}

/// An identity provider that can change its keys, and be down.
#[derive(Clone, Default)]
struct Provider {
    keys: Arc<Mutex<Option<Vec<Value>>>>,
    asked: Arc<AtomicU32>,
}

impl Provider {
    fn publish(&self, mut keys: Vec<Value>) {
        // Others' keys may stand beside ours.
        keys.extend([
            json!({"kty": "new-kind"}),
            json!({"kty": "oct", "k": "c2VjcmV0"}),
            json!(7),
        ]);
        *self.keys.lock().unwrap() = Some(keys);
    }

    fn fail(&self) {
        *self.keys.lock().unwrap() = None;
    }

    async fn serve(&self, life: &Lifecycle) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let provider = self.clone();
        let answer = move || {
            provider.asked.fetch_add(1, Ordering::SeqCst);
            let keys = provider.keys.lock().unwrap().clone();
            std::future::ready(match keys {
                Some(keys) => Json(json!({ "keys": keys })).into_response(),
                None => StatusCode::BAD_GATEWAY.into_response(),
            })
        };
        let routes = Router::new().route("/keys", get(answer));
        life.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        url
    }
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    for _ in 0..2_000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not in time: {what}");
}

#[tokio::test]
async fn published_keys_rotate_and_survive_their_provider() {
    let (provider, life) = (Provider::default(), Lifecycle::default());
    let url = provider.serve(&life).await;
    let verifier = at(&url, &["--jwks-refresh-seconds", "1"], &life);
    let (one, two) = (
        rsa().token(&json!({"kid": "1"})),
        p256().token(&json!({"kid": "2"})),
    );
    let said = verifier.verify(&one).await;
    assert!(
        matches!(said, Err(Rejected::Unavailable(_))),
        "nothing was fetched: {said:?}"
    );

    provider.publish(vec![rsa().jwk("1"), ed25519().jwk("3")]);
    until("the first key", async || {
        verifier.verify(&one).await.is_ok()
    })
    .await;
    assert!(
        verifier
            .verify(&ed25519().token(&json!({"kid": "3"})))
            .await
            .is_ok()
    );
    assert!(
        verifier
            .verify(&ed25519().token(&json!({"kid": "1"})))
            .await
            .is_err()
    );
    assert!(
        verifier.verify(&ed25519().token(&json!({}))).await.is_err(),
        "which of them?"
    );

    // A rotation: the first token of the new key makes it known, and the old key is forgotten.
    provider.publish(vec![p256().jwk("2")]);
    until("the new key", async || verifier.verify(&two).await.is_ok()).await;
    assert!(matches!(
        verifier.verify(&one).await,
        Err(Rejected::Invalid(_))
    ));
    assert!(
        verifier.verify(&p256().token(&json!({}))).await.is_ok(),
        "the only one"
    );

    provider.fail();
    let unknown = p256().token(&json!({"kid": "4"}));
    assert!(verifier.verify(&unknown).await.is_err());
    assert!(
        verifier.verify(&two).await.is_ok(),
        "served while the provider is down"
    );
    life.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_flood_of_unknown_keys_asks_the_provider_once() {
    let (provider, life) = (Provider::default(), Lifecycle::default());
    provider.publish(vec![rsa().jwk("1")]);
    let url = provider.serve(&life).await;
    let verifier = at(&url, &["--jwks-refresh-seconds", "3600"], &life);
    let (key, known) = (rsa(), rsa().token(&json!({"kid": "1"})));
    until("the key", async || verifier.verify(&known).await.is_ok()).await;
    let floods = (0..200).map(|i| {
        let (verifier, token) = (&verifier, key.token(&json!({ "kid": format!("x{i}") })));
        async move { verifier.verify(&token).await }
    });
    for said in futures::future::join_all(floods).await {
        assert!(matches!(said, Err(Rejected::Invalid(_))), "{said:?}");
    }
    assert_eq!(provider.asked.load(Ordering::SeqCst), 1);
    life.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn keys_beyond_their_age_are_not_used() {
    let (provider, life) = (Provider::default(), Lifecycle::default());
    provider.publish(vec![rsa().jwk("1")]);
    let url = provider.serve(&life).await;
    let ages = ["--jwks-max-age-seconds", "1", "--jwks-refresh-seconds", "1"];
    let verifier = at(&url, &ages, &life);
    let token = rsa().token(&json!({"kid": "1"}));
    until("the key", async || verifier.verify(&token).await.is_ok()).await;
    provider.fail();
    let over = async || matches!(verifier.verify(&token).await, Err(Rejected::Unavailable(_)));
    until("the end of the key", over).await;
    life.shutdown(Duration::ZERO).await;
}

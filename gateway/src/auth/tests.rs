//! Tokens with a shared secret: what is believed, and everything that is not.

use clap::Parser;
use jsonwebtoken::{Algorithm, EncodingKey, Header, get_current_timestamp};
use serde_json::{Value, json};

use super::*;
use ticket_shared::id::Id;

mod public;
mod weak_keys;

const SECRET: &str = "p0Y2cF7kq9ZsT4vLw1XnBd8RjHm3AeGu";
const PREVIOUS: &str = "Zk3Vh8QwLr5TnYb1Cx6MjPs9DfGa2EuW";

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    auth: AuthSettings,
}

fn settings(args: &[&str]) -> Result<AuthSettings, BadSetting> {
    let mut auth = Only::try_parse_from([&["x", "--auth-mode", "jwt"], args].concat())
        .unwrap()
        .auth;
    auth.resolve().map(|()| auth)
}

fn verifier(args: &[&str]) -> Verifier {
    Verifier::start(&settings(args).unwrap(), &Lifecycle::default()).unwrap()
}

fn signed(header: &Header, secret: &str, claims: &Value) -> String {
    provider::install();
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(header, claims, &key).unwrap()
}

fn claims(change: impl FnOnce(&mut Value)) -> Value {
    let now = get_current_timestamp();
    let mut claims = json!({"sub": "ann", "role": "agent", "exp": now + 60, "iat": now, "jti": "t1",
        "aud": "desk", "iss": "https://id"});
    change(&mut claims);
    claims
}

fn token(change: impl FnOnce(&mut Value)) -> String {
    signed(&Header::new(Algorithm::HS256), SECRET, &claims(change))
}

#[tokio::test]
async fn a_signed_token_is_believed() {
    let verifier = verifier(&["--jwt-secret", SECRET, "--jwt-secret-previous", PREVIOUS]);
    let ann = verifier.verify(&token(|_| ())).await.unwrap();
    assert_eq!((ann.sub.as_str(), ann.name.as_str()), ("ann", "ann"));
    assert_eq!((ann.role, ann.tickets.clone()), (Role::Agent, None));
    assert_eq!(ann.token_id.as_deref(), Some("t1"));
    assert!(!format!("{ann:?}").contains("t1"));
    let old = signed(&Header::default(), PREVIOUS, &claims(|_| ()));
    assert!(verifier.verify(&old).await.is_ok());
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_found() {
    let now = get_current_timestamp();
    let strict = verifier(&[
        "--jwt-secret",
        SECRET,
        "--jwt-audience",
        "desk",
        "--jwt-issuer",
        "https://id",
    ]);
    assert!(strict.verify(&token(|_| ())).await.is_ok());
    let within = token(|c| c["exp"] = json!(now - 2));
    assert!(strict.verify(&within).await.is_ok(), "leeway");
    let wrong: [(&str, Value); 35] = [
        ("exp", json!(now - 60)),
        ("exp", Value::Null),
        ("exp", json!("soon")),
        ("nbf", json!(now + 60)),
        ("nbf", json!("now")),
        ("aud", json!("other")),
        ("aud", Value::Null),
        ("iss", json!("other")),
        ("iss", json!(["https://id"])),
        ("iss", Value::Null),
        ("sub", Value::Null),
        ("sub", json!("  ")),
        ("sub", json!("a\0b")),
        ("sub", json!("x".repeat(129))),
        ("name", json!("")),
        ("role", json!("root")),
        ("role", Value::Null),
        ("tickets", json!(["nope"])),
        ("iat", json!("x")),
        ("jti", json!("")),
        ("jti", json!(" t1")),
        // Compared as it is: with any of these it would be somebody else's in the eyes of a person.
        ("sub", json!(" ann")),
        ("sub", json!("ann\u{a0}")),
        ("sub", json!("ann\u{3000}")),
        ("sub", json!("ann\n")),
        ("sub", json!("an\u{7}n")),
        ("sub", json!("\u{202e}nna")),
        ("name", json!("Ann\u{202e}")),
        ("tickets", Value::Null),
        ("tickets", json!({})),
        ("tickets", json!("0707070707070707070707070")),
        ("tickets", json!(true)),
        ("iat", json!(now + 8)),
        ("iat", json!(now + 3_600)),
        ("exp", json!(now + 24 * 3_600 + 30)),
    ];
    for (claim, value) in wrong {
        let token = token(|c| c[claim] = value.clone());
        let answer = strict.verify(&token).await;
        assert!(
            matches!(answer, Err(Rejected::Invalid(_))),
            "{claim} {value}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_token_is_valid_for_no_longer_than_told() {
    let now = get_current_timestamp();
    let day = 24 * 3_600;
    let until = |exp: u64, iat: Option<u64>| {
        token(|c| {
            c["exp"] = json!(exp);
            c["iat"] = json!(iat);
        })
    };
    let short = verifier(&["--jwt-secret", SECRET]);
    for (exp, iat, good) in [
        (now + 60, Some(now - day + 60), true),
        (now + 60, Some(now - day), false),
        (now + day - 60, None, true),
        (now + day + 60, None, false),
        (9_999_999_999, Some(now), false),
    ] {
        let answer = short.verify(&until(exp, iat)).await;
        let expected = if good {
            None
        } else {
            Some(Rejected::Invalid(TokenFault::MaxAge))
        };
        assert_eq!(answer.err(), expected, "{exp} {iat:?}");
    }
    let any = verifier(&["--jwt-secret", SECRET, "--token-max-age", "0"]);
    assert!(any.verify(&until(9_999_999_999, Some(now))).await.is_ok());
}

#[tokio::test]
async fn a_token_for_another_purpose_is_refused() {
    let verifier = verifier(&["--jwt-secret", SECRET]);
    let typed = |typ: Option<&str>| {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = typ.map(Into::into);
        signed(&header, SECRET, &claims(|_| ()))
    };
    for good in [
        None,
        Some("JWT"),
        Some("jwt"),
        Some("at+jwt"),
        Some("application/at+jwt"),
    ] {
        assert!(verifier.verify(&typed(good)).await.is_ok(), "{good:?}");
    }
    for bad in [
        "",
        "id+jwt",
        "logout+jwt",
        "dpop+jwt",
        "JWE",
        " JWT",
        "application/json",
    ] {
        let answer = verifier.verify(&typed(Some(bad))).await;
        assert_eq!(
            answer.err(),
            Some(Rejected::Invalid(TokenFault::Type)),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn headers_can_not_choose_another_way() {
    let verifier = verifier(&["--jwt-secret", SECRET]);
    let mut critical = Header::new(Algorithm::HS256);
    critical.crit = Some(vec!["exp".into()]);
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhIiwicm9sZSI6ImFkbWluIiwiZXhwIjo5OTk5OTk5OTk5fQ.";
    let other_key = signed(&Header::default(), PREVIOUS, &claims(|_| ()));
    let long = token(|c| c["x"] = json!("y".repeat(9_000)));
    let critical = signed(&critical, SECRET, &claims(|_| ()));
    for bad in [none, &other_key, &long, &critical, "", ".", "..", "a.b.c"] {
        let answer = verifier.verify(bad).await;
        assert!(matches!(answer, Err(Rejected::Invalid(_))), "{bad}");
    }
}

#[tokio::test]
async fn a_changed_token_never_holds() {
    let verifier = verifier(&["--jwt-secret", SECRET]);
    let good = token(|_| ());
    for at in 0..good.len() {
        for byte in *b"A.z_\"" {
            let mut bytes = good.clone().into_bytes();
            if bytes[at] == byte {
                continue;
            }
            bytes[at] = byte;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(verifier.verify(&changed).await.is_err(), "{changed}");
        }
        assert!(verifier.verify(&good[..at]).await.is_err());
    }
}

#[test]
fn wrong_settings_are_named() {
    let cases: [(&[&str], &str); 7] = [
        (&[], "AUTH_MODE"),
        (&["--jwt-secret", "changeme"], "JWT_SECRET"),
        (
            &["--jwt-secret", SECRET, "--jwt-secret-previous", "x"],
            "JWT_SECRET_PREVIOUS",
        ),
        (&["--jwt-key-file", "/nowhere.pem"], "JWT_KEY_FILE"),
        (&["--jwks-url", "ftp://id.example.com/keys"], "JWKS_URL"),
        (&["--jwks-url", "http://id.example.com/keys"], "JWKS_URL"),
        (
            &["--jwt-secret", SECRET, "--jwt-algorithms", "RS256"],
            "JWT_ALGORITHMS",
        ),
    ];
    for (args, setting) in cases {
        assert_eq!(settings(args).unwrap_err().setting, setting, "{args:?}");
    }
    assert!(settings(&["--jwks-url", "http://127.0.0.1:1/keys"]).is_ok());
    let shown = format!("{:?}", settings(&["--jwt-secret", SECRET]).unwrap());
    assert!(!shown.contains(SECRET));
}

#[tokio::test]
async fn a_token_of_the_subcommand_is_believed() {
    let given = [
        "--jwt-secret",
        SECRET,
        "--jwt-audience",
        "desk",
        "--jwt-issuer",
        "me",
    ];
    let args = TokenArgs {
        sub: "ann".into(),
        role: Role::Admin,
        name: Some("Ann".into()),
        tickets: Some(vec![Id::from_bytes([7; 12])]),
        expires_in: 60,
        jti: None,
    };
    let long = TokenArgs {
        expires_in: 25 * 3_600,
        ..args.clone()
    };
    let refused = sign(&settings(&given).unwrap(), &long).unwrap_err();
    assert_eq!(refused.setting, "TOKEN_MAX_AGE");
    let token = sign(&settings(&given).unwrap(), &args).unwrap();
    let ann = verifier(&given).verify(&token).await.unwrap();
    assert_eq!(
        (ann.name.as_str(), ann.role, ann.tickets),
        ("Ann", Role::Admin, args.tickets)
    );
}

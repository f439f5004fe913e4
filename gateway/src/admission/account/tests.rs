use std::time::Instant;

use super::{super::tests::admission, *};

fn account(args: &[&str]) -> Arc<Account> {
    Account::new(&admission(args), None, None, &Lifecycle::default())
}

fn text(account: &Account, text: &str) -> Verdict {
    account.received(Received::Message(text))
}

#[test]
fn heads_of_packets_are_read() {
    let head = |kind, attachments, namespace| Packet {
        kind,
        attachments,
        namespace,
    };
    for (text, expected) in [
        ("0", head(b'0', None, "/")),
        ("0{\"token\":\"/x\"}", head(b'0', None, "/")),
        ("0/x", head(b'0', None, "/x")),
        ("0/x,{}", head(b'0', None, "/x")),
        ("2[\"a\",\"/x,\"]", head(b'2', None, "/")),
        ("2/,[\"a\"]", head(b'2', None, "/")),
        ("2/x,1[\"a\"]", head(b'2', None, "/x")),
        ("51-[\"a\"]", head(b'5', Some(1), "/")),
        ("59999-/x,[\"a\"]", head(b'5', Some(9_999), "/x")),
        (
            "699999999999999999999999-[]",
            head(b'6', Some(usize::MAX), "/"),
        ),
        ("5x-[]", head(b'5', None, "/")),
        ("", head(0, None, "/")),
        ("\u{e4}/", head(0xc3, None, "/")),
    ] {
        assert_eq!(Packet::of(text), expected, "{text}");
    }
}

#[test]
fn unknown_namespaces_are_answered_without_the_library() {
    let it = account(&[]);
    let answer = Verdict::Answer("4/x,{\"message\":\"Invalid namespace\"}".into());
    assert_eq!(text(&it, "0/x,{}"), answer);
    assert_eq!(text(&it, "0/x"), answer);
    assert_eq!(text(&it, "0"), Verdict::Accept);
    assert_eq!(text(&it, "2/x,[\"a\"]"), Verdict::Accept);
}

#[test]
fn everything_but_an_event_is_counted_here() {
    let of = |received: Received<'_>| {
        let it = account(&["--event-rate", "1", "--abuse-limit", "3"]);
        (0..9).map(|_| it.received(received)).collect::<Vec<_>>()
    };
    let tail = |verdicts: Vec<Verdict>| verdicts[4..7].to_vec();
    for refused in ["0/x,", "1/x,", "3[]", "2/x,[]", "4", "\u{e4}"] {
        let verdicts = of(Received::Message(refused));
        assert!(!verdicts[..4].contains(&Verdict::Ignore), "{refused}");
        let expected = [Verdict::Ignore, Verdict::Ignore, Verdict::Close];
        assert_eq!(tail(verdicts), expected, "{refused}");
    }
    for harmless in [Received::Heartbeat, Received::Control, Received::Request] {
        let expected = [Verdict::Accept, Verdict::Accept, Verdict::Close];
        assert_eq!(tail(of(harmless)), expected);
    }
    let connects = of(Received::Message("0"));
    assert_eq!(
        connects[5..8],
        tail(of(Received::Message("3[]"))),
        "the first is free"
    );
    let events = of(Received::Message("2[\"a\"]"));
    assert_eq!(
        events,
        vec![Verdict::Accept; 9],
        "counted where they are answered"
    );
}

#[test]
fn an_event_beyond_its_bounds_ends_the_session() {
    let it = account(&[]);
    assert_eq!(text(&it, "511-[\"a\"]"), Verdict::Close);
    let large = format!("51-[\"{}\"]", "x".repeat(64 * 1024));
    assert_eq!(text(&it, &large), Verdict::Close);
}

#[tokio::test]
async fn an_event_whose_attachments_do_not_come_ends_after_five_seconds() {
    let all = [&[][..], &[1], &[1, 1]].map(|came| async move {
        let (it, began) = (account(&[]), Instant::now());
        assert_eq!(text(&it, "53-[\"a\"]"), Verdict::Accept);
        for bytes in came {
            assert_eq!(it.received(Received::Binary(*bytes)), Verdict::Accept);
        }
        let ended = async {
            while !it.line().ended() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let ended = tokio::time::timeout(6 * UNFINISHED, ended).await;
        assert!(ended.is_ok() && began.elapsed() >= UNFINISHED);
    });
    futures::future::join_all(all).await;
}

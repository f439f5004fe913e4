//! A message that does not come whole within five seconds ends its session, however its pieces are cut and whatever comes
//! between them; one that does never does.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use engineioxide::{
    Account, ProtocolVersion, Received, Session, SessionObserver, Str, TransportType, Verdict,
    config::EngineIoConfig,
    handler::EngineIoHandler,
    service::EngineIoService,
    socket::{DisconnectReason, Socket},
};
use http::{Extensions, Method, Request};
use http_body::Frame;
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{Instant, Sleep},
};
use tower_service::Service;

const LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Silent;

impl EngineIoHandler for Silent {
    type Data = ();

    fn on_connect(self: Arc<Self>, _: Arc<Socket<()>>) {}
    fn on_disconnect(&self, _: Arc<Socket<()>>, _: DisconnectReason) {}
    fn on_message(self: &Arc<Self>, _: Str, _: Arc<Socket<()>>) {}
    fn on_binary(self: &Arc<Self>, _: Bytes, _: Arc<Socket<()>>) {}
}

/// Remembers the end, and its reason.
#[derive(Debug, Default)]
struct End {
    unfinished: Mutex<usize>,
    closed: Mutex<Option<Instant>>,
}

impl SessionObserver for End {
    fn opened(&self, _: Session) {}
    fn carried(&self, _: TransportType, _: &Extensions) {}
    fn received(&self, _: Received<'_>) -> Verdict {
        Verdict::Accept
    }
    fn overflowed(&self) {}
    fn unfinished(&self) {
        *self.unfinished.lock().unwrap() += 1;
    }
    fn closed(&self) {
        *self.closed.lock().unwrap() = Some(Instant::now());
    }
}

impl End {
    fn at(&self) -> Option<Instant> {
        *self.closed.lock().unwrap()
    }
}

fn server() -> EngineIoService<Silent> {
    let config = EngineIoConfig::builder()
        .ping_interval(Duration::from_secs(1_000))
        .ping_timeout(Duration::from_secs(1_000))
        .upgrade_timeout(Duration::from_secs(100))
        .build();
    EngineIoService::with_config(Arc::new(Silent), config)
}

fn websocket(
    svc: &EngineIoService<Silent>,
    end: &Arc<End>,
    sid: Option<&str>,
) -> tokio::io::WriteHalf<DuplexStream> {
    let (server, client) = tokio::io::duplex(1 << 20);
    let mut req = Request::new(());
    req.extensions_mut().insert(end.clone() as Account);
    let sid = sid.map(|sid| sid.parse().unwrap());
    tokio::spawn(svc.ws_init(server, ProtocolVersion::V4, sid, req.into_parts().0));
    let (mut reader, writer) = tokio::io::split(client);
    tokio::spawn(async move { while matches!(reader.read(&mut [0; 512]).await, Ok(1..)) {} });
    writer
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ ..126 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// A message in so many frames, perhaps with a ping before each but the first.
fn message() -> impl Strategy<Value = Vec<u8>> {
    (1..4usize, 0..300usize, any::<bool>(), any::<bool>()).prop_map(|(parts, size, pings, text)| {
        let mut bytes = Vec::new();
        for part in 0..parts {
            let opcode = match (part, text) {
                (0, true) => 1,
                (0, false) => 2,
                _ => 0,
            };
            let last = if part + 1 == parts { 0x80 } else { 0 };
            let mut payload = if part == 0 && text {
                b"4".to_vec()
            } else {
                Vec::new()
            };
            payload.resize(payload.len() + size, b'x');
            if pings && part > 0 {
                bytes.extend(frame(0x89, b"ping"));
            }
            bytes.extend(frame(opcode | last, &payload));
        }
        bytes
    })
}

/// The bytes of messages, where each of them ends, and the pieces in which they come: how long each of them is and what
/// pause is behind it. No sum of the pauses is the limit.
fn pieces() -> impl Strategy<Value = (Vec<u8>, Vec<usize>, Vec<(usize, u64)>)> {
    let messages = prop::collection::vec(message(), 1..5);
    let pause = prop_oneof![4 => Just(0), 2 => Just(1_700), 2 => Just(3_100), 1 => Just(6_000)];
    let cuts = prop::collection::vec((1..400usize, pause), 4..30);
    (messages, cuts).prop_map(|(messages, cuts)| {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for message in messages {
            bytes.extend(message);
            ends.push(bytes.len());
        }
        (bytes, ends, cuts)
    })
}

async fn ends_as_it_should(bytes: Vec<u8>, ends: Vec<usize>, cuts: Vec<(usize, u64)>) {
    let (svc, end) = (server(), Arc::new(End::default()));
    let mut client = websocket(&svc, &end, None);
    let start = Instant::now();
    // The message that is not whole: when its first byte came.
    let (mut at, mut since, mut expected) = (0, None, None);
    for (length, pause) in cuts {
        let next = bytes.len().min(at + length);
        if client.write_all(&bytes[at..next]).await.is_err() {
            break;
        }
        let begun = ends
            .iter()
            .rev()
            .find(|end| **end <= next)
            .copied()
            .unwrap_or(0);
        if begun == next {
            since = None;
        } else if begun >= at || since.is_none() {
            since = Some(Instant::now());
        }
        at = next;
        let over = Instant::now() + Duration::from_millis(pause);
        if let Some(limit) = since.map(|since| since + LIMIT)
            && limit < over
        {
            expected.get_or_insert(limit);
        }
        tokio::time::sleep_until(over).await;
        if expected.is_some() {
            break;
        }
    }
    if let (None, Some(since)) = (expected, since) {
        expected = Some(since + LIMIT);
    }
    tokio::time::sleep(LIMIT * 2).await;
    let told = *end.unfinished.lock().unwrap();
    // The timer counts whole milliseconds.
    let ms = |at: Instant| at.duration_since(start).as_millis();
    let (ended, expected) = (end.at().map(ms), expected.map(ms));
    match (ended, expected) {
        (Some(ended), Some(expected)) => {
            assert!(ended.abs_diff(expected) <= 2, "{ended} {expected}")
        }
        _ => assert_eq!(ended, expected),
    }
    assert_eq!(told, usize::from(expected.is_some()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_message_ends_within_its_time_or_ends_its_session((bytes, ends, cuts) in pieces()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(ends_as_it_should(bytes, ends, cuts));
    }
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_sends_half_a_probe_fails_and_leaves_the_session() {
    let (mut svc, end) = (server(), Arc::new(End::default()));
    let sid = open(&mut svc, &end).await;
    let mut client = websocket(&svc, &Arc::default(), Some(&sid));
    let probe = frame(0x81, b"2probe");
    client.write_all(&probe[..7]).await.unwrap();
    tokio::time::sleep(LIMIT + Duration::from_secs(1)).await;
    assert_eq!((end.at(), *end.unfinished.lock().unwrap()), (None, 0));
    // Long before an upgrade must be complete, another one may begin.
    let mut client = websocket(&svc, &Arc::default(), Some(&sid));
    client.write_all(&probe).await.unwrap();
    client.write_all(&frame(0x81, b"5")).await.unwrap();
    client.write_all(&frame(0x81, b"4hi")).await.unwrap();
    tokio::time::sleep(LIMIT).await;
    assert_eq!(end.at(), None);
    client.write_all(&probe[..1]).await.unwrap();
    tokio::time::sleep(LIMIT + Duration::from_secs(1)).await;
    assert!(end.at().is_some() && *end.unfinished.lock().unwrap() == 1);
}

#[tokio::test(start_paused = true)]
async fn frames_without_end_and_without_bytes_end_the_session() {
    let (svc, end) = (server(), Arc::new(End::default()));
    let mut client = websocket(&svc, &end, None);
    client.write_all(&frame(0x01, b"")).await.unwrap();
    let empty = frame(0x00, b"");
    for _ in 0..20 {
        client.write_all(&empty.repeat(100)).await.ok();
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(end.at().is_some() && *end.unfinished.lock().unwrap() == 1);
}

/// A body whose pieces come after pauses.
#[derive(Debug)]
struct Drip {
    rest: VecDeque<(u64, &'static str)>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some((pause, piece)) = self.rest.front().copied() else {
            return Poll::Ready(None);
        };
        let pause = self
            .pause
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(pause))));
        std::task::ready!(pause.as_mut().poll(cx));
        (self.pause, _) = (None, self.rest.pop_front());
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }
}

async fn ask(
    svc: &mut EngineIoService<Silent>,
    end: &Arc<End>,
    method: Method,
    sid: &str,
    body: &[(u64, &'static str)],
) -> (u16, String) {
    let rest = body.iter().copied().collect();
    let mut req = Request::new(Drip { rest, pause: None });
    *req.uri_mut() = format!("http://x/engine.io/?EIO=4&transport=polling{sid}")
        .parse()
        .unwrap();
    *req.method_mut() = method;
    req.extensions_mut().insert(end.clone() as Account);
    let mut res = svc.call(req).await.unwrap();
    let body = res.body_mut().collect().await.unwrap().to_bytes();
    (
        res.status().as_u16(),
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

async fn open(svc: &mut EngineIoService<Silent>, end: &Arc<End>) -> String {
    let (_, open) = ask(svc, end, Method::GET, "", &[]).await;
    open.split('"').nth(3).unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_ends_the_session_and_one_that_is_only_slow_does_not() {
    let (mut svc, end) = (server(), Arc::new(End::default()));
    let sid = format!("&sid={}", open(&mut svc, &end).await);
    let slow = [(4_000, "4a\x1e"), (4_000, "4b\x1e"), (4_000, "4c")];
    let (status, _) = ask(&mut svc, &end, Method::POST, &sid, &slow).await;
    assert_eq!((status, end.at()), (200, None));
    let start = Instant::now();
    let mut drips = vec![(0, "4a\x1e4")];
    drips.resize(60, (1_000, "x"));
    let (status, _) = ask(&mut svc, &end, Method::POST, &sid, &drips).await;
    let took = start.elapsed();
    assert!(status == 408 && took >= LIMIT && took < LIMIT + Duration::from_secs(1));
    assert!(end.at().is_some() && *end.unfinished.lock().unwrap() == 1);
}

//! The account of a session learns of everything, in order, and its verdicts hold, over either transport.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
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
use futures_util::{SinkExt, StreamExt};
use http::{Extensions, Method, Request};
use http_body_util::{BodyExt, Full};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use tower_service::Service;

#[derive(Debug)]
struct Echo;

impl EngineIoHandler for Echo {
    type Data = ();

    fn on_connect(self: Arc<Self>, _: Arc<Socket<()>>) {}
    fn on_disconnect(&self, _: Arc<Socket<()>>, _: DisconnectReason) {}
    fn on_message(self: &Arc<Self>, msg: Str, socket: Arc<Socket<()>>) {
        if &*msg == "connect" {
            // As the Socket.IO server above answers.
            let sid = socket.id;
            let permit = socket.reserve().unwrap();
            return permit.emit(format!("0{{\"sid\":\"{sid}\"}}").into());
        }
        socket.emit(msg).ok();
    }
    fn on_binary(self: &Arc<Self>, _: Bytes, _: Arc<Socket<()>>) {}
}

/// Writes down what it learns.
#[derive(Debug, Default)]
struct Diary {
    lines: Mutex<String>,
    session: Mutex<Option<Session>>,
}

/// Where a connection is told apart.
#[derive(Clone)]
struct Name(&'static str);

impl Diary {
    fn note(&self, line: impl AsRef<str>) {
        writeln!(self.lines.lock().unwrap(), "{}", line.as_ref()).unwrap();
    }

    fn take(&self) -> Vec<String> {
        let lines = std::mem::take(&mut *self.lines.lock().unwrap());
        lines.lines().map(str::to_owned).collect()
    }
}

impl SessionObserver for Diary {
    fn max_queued_bytes(&self) -> usize {
        100
    }
    fn opened(&self, session: Session) {
        *self.session.lock().unwrap() = Some(session);
        self.note("opened");
    }
    fn carried(&self, transport: TransportType, request: &Extensions) {
        let name = request.get::<Name>().map_or("", |name| name.0);
        self.note(format!("carried {transport:?} {name}"));
    }
    fn received(&self, received: Received<'_>) -> Verdict {
        self.note(format!("received {received:?}"));
        match received {
            Received::Message("ignore") => Verdict::Ignore,
            Received::Message("answer") => Verdict::Answer("answered".into()),
            Received::Message("close") => Verdict::Close,
            _ => Verdict::Accept,
        }
    }
    fn overflowed(&self) {
        self.note("overflowed");
        self.session.lock().unwrap().as_ref().unwrap().close();
    }
    fn closed(&self) {
        self.note("closed");
    }
}

fn server() -> EngineIoService<Echo> {
    let config = EngineIoConfig::builder()
        .ping_interval(Duration::from_secs(1_000))
        .ping_timeout(Duration::from_secs(1_000))
        .build();
    EngineIoService::with_config(Arc::new(Echo), config)
}

fn request(diary: &Arc<Diary>, name: &'static str) -> Request<Full<Bytes>> {
    let mut req = Request::new(Full::default());
    req.extensions_mut().insert(diary.clone() as Account);
    req.extensions_mut().insert(Name(name));
    req
}

async fn websocket(
    svc: &EngineIoService<Echo>,
    diary: &Arc<Diary>,
    name: &'static str,
    sid: Option<&str>,
) -> WebSocketStream<tokio::io::DuplexStream> {
    let (server, client) = tokio::io::duplex(4096);
    let parts = request(diary, name).into_parts().0;
    let sid = sid.map(|sid| sid.parse().unwrap());
    tokio::spawn(svc.ws_init(server, ProtocolVersion::V4, sid, parts));
    WebSocketStream::from_raw_socket(client, Role::Client, None).await
}

async fn ask(
    svc: &mut EngineIoService<Echo>,
    mut req: Request<Full<Bytes>>,
    method: Method,
    sid: &str,
    body: &'static str,
) -> (u16, String) {
    let uri = format!("http://x/engine.io/?EIO=4&transport=polling{sid}");
    *req.uri_mut() = uri.parse().unwrap();
    *req.method_mut() = method;
    *req.body_mut() = Full::from(body);
    let mut res = svc.call(req).await.unwrap();
    let body = res.body_mut().collect().await.unwrap().to_bytes();
    (
        res.status().as_u16(),
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

/// A session that polls: its sid, and the part of a query that names it.
async fn polling(svc: &mut EngineIoService<Echo>, diary: &Arc<Diary>) -> (String, String) {
    let (_, open) = ask(svc, request(diary, "poll"), Method::GET, "", "").await;
    let sid = open.split('"').nth(3).unwrap().to_owned();
    (sid.clone(), format!("&sid={sid}"))
}

async fn next(ws: &mut WebSocketStream<tokio::io::DuplexStream>) -> String {
    loop {
        match ws.next().await {
            Some(Ok(Message::Text(text))) if text.as_str() != "2" => return text.to_string(),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return "the end".into(),
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_websocket_is_followed_from_beginning_to_end() {
    let (svc, diary) = (server(), Arc::new(Diary::default()));
    let mut ws = websocket(&svc, &diary, "first", None).await;
    let open = next(&mut ws).await;
    assert!(open.starts_with('0'));
    assert_eq!(diary.take(), ["opened", "carried Websocket first"]);
    for message in [
        Message::text("4ignore"),
        Message::text("4answer"),
        Message::Ping(Bytes::new()),
        Message::Pong(Bytes::new()),
        Message::text("2"),
        Message::text("3"),
        Message::binary(vec![0; 7]),
        Message::text("4connect"),
        Message::text("4close"),
    ] {
        ws.send(message).await.unwrap();
    }
    assert_eq!(next(&mut ws).await, "4answered");
    let connect = next(&mut ws).await;
    assert!(
        connect.starts_with(r#"40{"sid":""#) && connect.len() == 28,
        "{connect}"
    );
    let sid = open.split('"').nth(3).unwrap();
    assert!(!connect.contains(sid), "the session's own id is its secret");
    assert_eq!(next(&mut ws).await, "1");
    assert_eq!(next(&mut ws).await, "the end");
    let expected = [
        r#"received Message("ignore")"#,
        r#"received Message("answer")"#,
        "received Control",
        "received Control",
        "received Heartbeat",
        "received Heartbeat",
        "received Binary(7)",
        r#"received Message("connect")"#,
        r#"received Message("close")"#,
        "closed",
    ];
    assert_eq!(diary.take(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_account_follows_an_upgrade_and_no_other_request() {
    let (mut svc, diary) = (server(), Arc::new(Diary::default()));
    let (sid, of) = polling(&mut svc, &diary).await;
    assert_eq!(diary.take(), ["opened", "carried Polling poll"]);
    let (stranger, name) = (Arc::new(Diary::default()), "upgrade");
    let failed = websocket(&svc, &stranger, "failed", Some(&sid)).await;
    drop(failed);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let mut ws = websocket(&svc, &stranger, name, Some(&sid)).await;
    let _second = websocket(&svc, &stranger, "second", Some(&sid)).await;
    let posted = ask(
        &mut svc,
        request(&stranger, "post"),
        Method::POST,
        &of,
        "4ignore\x1e3",
    )
    .await;
    assert_eq!(posted.0, 200);
    for packet in ["2probe", "5", "4hi"] {
        ws.send(Message::text(packet)).await.unwrap();
    }
    assert_eq!(next(&mut ws).await, "3probe");
    assert_eq!(next(&mut ws).await, "4hi");
    drop(ws);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let expected = [
        "received Request",
        "received Request",
        "received Request",
        r#"received Message("ignore")"#,
        "received Heartbeat",
        "carried Websocket upgrade",
        r#"received Message("hi")"#,
        "closed",
    ];
    assert_eq!(diary.take(), expected);
    assert!(
        stranger.take().is_empty(),
        "the first request has the account"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_polls_nothing_overflows() {
    let (mut svc, diary) = (server(), Arc::new(Diary::default()));
    let (_, of) = polling(&mut svc, &diary).await;
    let body = "4aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let mut posted = Vec::new();
    for _ in 0..5 {
        posted.push(
            ask(&mut svc, request(&diary, ""), Method::POST, &of, body)
                .await
                .0,
        );
    }
    assert_eq!(posted, [200, 200, 200, 200, 400]);
    let lines = diary.take();
    assert_eq!(lines.iter().filter(|line| *line == "closed").count(), 1);
    assert!(lines.contains(&"overflowed".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_body_ends_where_the_session_does() {
    let (mut svc, diary) = (server(), Arc::new(Diary::default()));
    let (_, of) = polling(&mut svc, &diary).await;
    diary.take();
    let body = "4answer\x1e4close\x1e4never seen";
    let (status, _) = ask(&mut svc, request(&diary, ""), Method::POST, &of, body).await;
    assert_eq!(status, 400);
    let seen = [
        r#"received Message("answer")"#,
        r#"received Message("close")"#,
        "closed",
    ];
    assert_eq!(diary.take(), seen);
}

#[tokio::test(start_paused = true)]
async fn requests_that_carry_nothing_are_seen() {
    let (mut svc, diary) = (server(), Arc::new(Diary::default()));
    let (_, of) = polling(&mut svc, &diary).await;
    let (_, ping) = ask(&mut svc, request(&diary, ""), Method::GET, &of, "").await;
    assert_eq!(ping, "2");
    diary.take();
    let poll = ask(&mut svc, request(&diary, ""), Method::GET, &of, "");
    let given_up = tokio::time::timeout(Duration::from_secs(1), poll).await;
    assert!(given_up.is_err());
    let (status, _) = ask(&mut svc, request(&diary, ""), Method::POST, &of, "").await;
    assert_eq!(status, 200);
    assert_eq!(diary.take(), ["received Request", "received Request"]);
}

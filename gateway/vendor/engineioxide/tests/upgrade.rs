//! The upgrade of a polling session to a websocket: until it is complete the session goes on over polling, and
//! whatever goes wrong with the websocket leaves it as it was.
//!
//! Engine.IO protocol, "Upgrade": <https://socket.io/docs/v4/engine-io-protocol/#upgrade>.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use engineioxide::{
    ProtocolVersion, Str,
    config::EngineIoConfig,
    handler::EngineIoHandler,
    service::EngineIoService,
    socket::{DisconnectReason, Sid, Socket},
};
use futures_util::{SinkExt, StreamExt};
use http::Method;
use tokio::{io::DuplexStream, task::JoinHandle};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

mod fixture;

use fixture::{create_polling_connection, send_req_raw};

/// Answers each message with itself.
#[derive(Debug)]
struct Echo;

impl EngineIoHandler for Echo {
    type Data = ();

    fn on_connect(self: Arc<Self>, _: Arc<Socket<()>>) {}
    fn on_disconnect(&self, _: Arc<Socket<()>>, _: DisconnectReason) {}
    fn on_message(self: &Arc<Self>, msg: Str, socket: Arc<Socket<()>>) {
        socket.emit(msg).ok();
    }
    fn on_binary(self: &Arc<Self>, _: Bytes, _: Arc<Socket<()>>) {}
}

type Svc = EngineIoService<Echo>;
type Ws = WebSocketStream<DuplexStream>;

fn server() -> Svc {
    let config = EngineIoConfig::builder()
        .ping_interval(Duration::from_secs(1_000))
        .ping_timeout(Duration::from_secs(1_000))
        .upgrade_timeout(Duration::from_secs(10))
        .build();
    EngineIoService::with_config(Arc::new(Echo), config)
}

async fn poll(svc: &mut Svc, sid: &str) -> String {
    send_req_raw(
        svc,
        format!("transport=polling&sid={sid}"),
        Method::GET,
        None,
    )
    .await
}

async fn post(svc: &mut Svc, sid: &str, body: &str) -> String {
    let params = format!("transport=polling&sid={sid}");
    send_req_raw(svc, params, Method::POST, Some(body.into())).await
}

/// A session that has taken the first ping.
async fn polling(svc: &mut Svc) -> String {
    let sid = create_polling_connection(svc).await;
    assert_eq!(poll(svc, &sid).await, "2");
    sid
}

/// A websocket for the session, and what becomes of it at the server.
async fn websocket(svc: &mut Svc, sid: &str) -> (Ws, JoinHandle<Result<(), String>>) {
    let (server, client) = tokio::io::duplex(4096);
    let sid: Sid = sid.parse().unwrap();
    let parts = http::Request::new(()).into_parts().0;
    let served = svc.ws_init(server, ProtocolVersion::V4, Some(sid), parts);
    let served = tokio::spawn(async move { served.await.map_err(|e| e.to_string()) });
    let ws = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    (ws, served)
}

async fn text(ws: &mut Ws, text: &str) {
    ws.send(Message::text(text)).await.unwrap();
}

async fn hears(ws: &mut Ws, wanted: &str) {
    loop {
        match ws.next().await.unwrap().unwrap() {
            Message::Text(text) => return assert_eq!(text.as_str(), wanted),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?} instead of {wanted}"),
        }
    }
}

/// It echoes over polling.
async fn goes_on(svc: &mut Svc, sid: &str) {
    for word in ["4once", "4twice"] {
        assert_eq!(post(svc, sid, word).await, "ok");
        loop {
            let body = poll(svc, sid).await;
            // The answer that lets a client go on may be late.
            let mut packets = body.split('\x1e').filter(|packet| *packet != "6");
            if let Some(packet) = packets.next() {
                assert_eq!((packet, packets.next()), (word, None));
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_upgrade_leaves_the_session() {
    for probe in [false, true] {
        for failure in [
            "gone",
            "close",
            "garbage",
            "wrong packet",
            "message",
            "silence",
        ] {
            let mut svc = server();
            let sid = polling(&mut svc).await;
            let (mut ws, served) = websocket(&mut svc, &sid).await;
            if probe {
                text(&mut ws, "2probe").await;
                hears(&mut ws, "3probe").await;
            }
            let mut kept = None;
            match failure {
                "gone" => drop(ws),
                "close" => ws.close(None).await.unwrap(),
                "garbage" => {
                    use tokio::io::AsyncWriteExt;
                    ws.get_mut().write_all(&[0xff; 16]).await.unwrap();
                }
                "wrong packet" => text(&mut ws, "6").await,
                "message" => text(&mut ws, "4hello").await,
                _ => kept = Some(ws),
            }
            served.await.unwrap().expect_err("the upgrade failed");
            drop(kept);
            goes_on(&mut svc, &sid).await;
            // And once more, with success.
            let (mut ws, _served) = websocket(&mut svc, &sid).await;
            text(&mut ws, "2probe").await;
            hears(&mut ws, "3probe").await;
            text(&mut ws, "5").await;
            text(&mut ws, "4over the websocket").await;
            hears(&mut ws, "4over the websocket").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_is_held_until_the_probe_and_answered_with_a_noop_then() {
    let mut svc = server();
    let sid = polling(&mut svc).await;
    let waiting = tokio::spawn({
        let (mut svc, sid) = (svc.clone(), sid.clone());
        async move { poll(&mut svc, &sid).await }
    });
    let (mut ws, _served) = websocket(&mut svc, &sid).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!waiting.is_finished(), "a websocket says nothing yet");
    text(&mut ws, "2probe").await;
    assert_eq!(waiting.await.unwrap(), "6");

    // The client may ask once more before it reads the answer to its probe.
    let again = poll(&mut svc, &sid).await;
    assert_eq!(again, "6");
    hears(&mut ws, "3probe").await;
    assert_eq!(post(&mut svc, &sid, "4queued").await, "ok");
    text(&mut ws, "5").await;
    hears(&mut ws, "4queued").await;
    let refused = poll(&mut svc, &sid).await;
    assert_eq!(refused, r#"{"code":3,"message":"Bad request"}"#);
}

#[tokio::test(start_paused = true)]
async fn polls_of_a_client_that_does_not_hear_of_its_probe_are_few() {
    let mut svc = server();
    let sid = polling(&mut svc).await;
    let (mut ws, served) = websocket(&mut svc, &sid).await;
    text(&mut ws, "2probe").await;
    let mut polls = 0;
    while !served.is_finished() {
        let answer = tokio::time::timeout(Duration::from_secs(3), poll(&mut svc, &sid)).await;
        polls += u32::from(answer.is_ok());
    }
    assert!((2..20).contains(&polls), "{polls} in ten seconds");
    goes_on(&mut svc, &sid).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_upgrade_is_refused_without_harm_to_the_first() {
    let mut svc = server();
    let sid = polling(&mut svc).await;
    let (mut ws, _served) = websocket(&mut svc, &sid).await;
    for after in ["", "2probe", "5"] {
        if !after.is_empty() {
            text(&mut ws, after).await;
        }
        if after == "2probe" {
            hears(&mut ws, "3probe").await;
        }
        if after == "5" {
            text(&mut ws, "4upgraded").await;
            hears(&mut ws, "4upgraded").await;
        }
        let (_second, refused) = websocket(&mut svc, &sid).await;
        let error = refused.await.unwrap().unwrap_err();
        assert_eq!(error, "multiple ws upgrade requests", "after {after:?}");
    }
    text(&mut ws, "4still here").await;
    hears(&mut ws, "4still here").await;
}

#[tokio::test(start_paused = true)]
async fn control_frames_do_not_disturb_an_upgrade() {
    let mut svc = server();
    let sid = polling(&mut svc).await;
    let (mut ws, _served) = websocket(&mut svc, &sid).await;
    for packet in ["2probe", "5", "4done"] {
        ws.send(Message::Ping(Bytes::from_static(b"x")))
            .await
            .unwrap();
        ws.send(Message::Pong(Bytes::new())).await.unwrap();
        text(&mut ws, packet).await;
    }
    hears(&mut ws, "3probe").await;
    hears(&mut ws, "4done").await;
}

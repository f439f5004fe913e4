//! Two Socket.IO servers on the adapter, with clients that poll.

use std::net::SocketAddr;

use axum::Router;
use socketioxide::{SocketIo, extract::SocketRef};
use socketioxide_redis::{RedisAdapterConfig, RedisAdapterCtr};
use ticket_gateway::adapter::{Adapter, FredDriver};
use ticket_shared::lifecycle::Lifecycle;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{AT_ONCE, PATIENCE, Server, driver, redis_url, unique, until};

/// One gateway, as far as this test goes: every client is in the room `queue`.
struct Gateway {
    io: SocketIo<Adapter>,
    address: SocketAddr,
}

impl Gateway {
    async fn new(driver: FredDriver, prefix: &str, life: &Lifecycle) -> Self {
        let config = RedisAdapterConfig::new().with_prefix(prefix.to_owned());
        let (layer, io) = SocketIo::builder()
            .with_adapter::<Adapter>(RedisAdapterCtr::new_with_driver(driver, config))
            .build_layer();
        io.ns("/", async |socket: SocketRef<Adapter>| socket.join("queue"))
            .await
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().layer(layer);
        life.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { io, address }
    }

    async fn request(&self, method: &str, session: &str, body: &str) -> String {
        let request = format!(
            "{method} /socket.io/?EIO=4&transport=polling{session} HTTP/1.1\r\n\
             Host: gateway\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = connection.read_to_string(&mut answer);
        let read = tokio::time::timeout(PATIENCE, read).await;
        read.expect("no answer").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        body.to_owned()
    }

    /// Connects a client, and gives the part of its requests that names the session.
    async fn client(&self) -> String {
        let open = self.request("GET", "", "").await;
        let (_, id) = open.split_once("\"sid\":\"").unwrap();
        let session = format!("&sid={}", id.split('"').next().unwrap());
        self.request("POST", &session, "40").await;
        self.receive(&session, "40{").await;
        session
    }

    /// Polls until a packet comes that begins so.
    async fn receive(&self, session: &str, beginning: &str) -> String {
        loop {
            let packets = self.request("GET", session, "").await;
            let found = packets
                .split('\u{1e}')
                .find(|packet| packet.starts_with(beginning));
            if let Some(packet) = found {
                return packet.to_owned();
            }
        }
    }
}

#[tokio::test]
async fn a_broadcast_reaches_the_room_on_every_gateway() {
    let (url, life, prefix) = (redis_url(), Lifecycle::default(), unique("broadcast"));
    let (one, _) = driver(&url, &life).await;
    let (two, _) = driver(&url, &life).await;
    let here = Gateway::new(one.clone(), &prefix, &life).await;
    let there = Gateway::new(two.clone(), &prefix, &life).await;
    until("subscribing", || one.subscribed() && two.subscribed()).await;
    let (near, far) = (here.client().await, there.client().await);

    here.io.to("queue").emit("hello", "you").await.unwrap();
    assert_eq!(there.receive(&far, "42").await, r#"42["hello","you"]"#);
    assert_eq!(here.receive(&near, "42").await, r#"42["hello","you"]"#);
    there.io.to("queue").emit("hello", "too").await.unwrap();
    assert_eq!(here.receive(&near, "42").await, r#"42["hello","too"]"#);
    assert_eq!(there.receive(&far, "42").await, r#"42["hello","too"]"#);
    assert_eq!(here.io.fetch_sockets().await.unwrap().len(), 2);

    here.io.to("queue").leave("queue").await.unwrap();
    until("leaving", || {
        there
            .io
            .local()
            .sockets()
            .iter()
            .all(|socket| socket.rooms().is_empty())
    })
    .await;
    here.io.to("queue").emit("hello", "nobody").await.unwrap();
    here.io.emit("hello", "all").await.unwrap();
    assert_eq!(there.receive(&far, "42").await, r#"42["hello","all"]"#);
}

#[tokio::test]
async fn without_redis_a_broadcast_reaches_the_room_on_its_own_gateway() {
    let (server, life) = (Server::absent(), Lifecycle::default());
    let (lone, _) = driver(&server.url(), &life).await;
    let gateway = Gateway::new(lone, "test", &life).await;
    let client = gateway.client().await;
    let emitted = gateway.io.to("queue").emit("hello", "you");
    let emitted = tokio::time::timeout(AT_ONCE, emitted).await;
    emitted.expect("waited for Redis").unwrap();
    assert_eq!(gateway.receive(&client, "42").await, r#"42["hello","you"]"#);
    assert_eq!(gateway.io.fetch_sockets().await.unwrap().len(), 1);
}

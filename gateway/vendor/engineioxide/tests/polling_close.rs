//! A polling session that its client closes: the request that waits gets a noop, as the JavaScript server answers it; one
//! that comes later learns that the session is not there. There is nothing in between.

use std::sync::Arc;

use engineioxide::{
    Str,
    handler::EngineIoHandler,
    service::EngineIoService,
    socket::{DisconnectReason, Socket},
};
use http::Method;

use bytes::Bytes;

mod fixture;
use fixture::{create_polling_connection, create_server, send_req_raw};

#[derive(Debug, Clone)]
struct Silent;

impl EngineIoHandler for Silent {
    type Data = ();

    fn on_connect(self: Arc<Self>, _: Arc<Socket<()>>) {}
    fn on_disconnect(&self, _: Arc<Socket<()>>, _: DisconnectReason) {}
    fn on_message(self: &Arc<Self>, _: Str, _: Arc<Socket<()>>) {}
    fn on_binary(self: &Arc<Self>, _: Bytes, _: Arc<Socket<()>>) {}
}

const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

#[tokio::test(start_paused = true)]
async fn the_request_that_waits_gets_a_noop() {
    let mut svc = create_server(Silent).await;
    let sid = create_polling_connection(&mut svc).await;
    let query = format!("transport=polling&sid={sid}");
    let poll = async |mut svc: EngineIoService<Silent>, query: String| {
        send_req_raw(&mut svc, query, Method::GET, None).await
    };
    assert_eq!(poll(svc.clone(), query.clone()).await, "2");
    let waiting = tokio::spawn(poll(svc.clone(), query.clone()));
    tokio::task::yield_now().await;
    let post = send_req_raw(&mut svc, query.clone(), Method::POST, Some("1".into()));
    assert_eq!(post.await, "ok");
    assert_eq!(waiting.await.unwrap(), "6");
    assert_eq!(poll(svc, query).await, UNKNOWN);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_meanwhile_gets_one_of_the_two() {
    let (mut noops, mut unknown) = (0, 0);
    for (before, after) in (0..40).map(|n| (n / 5, n % 5)) {
        let mut svc = create_server(Silent).await;
        let sid = create_polling_connection(&mut svc).await;
        let query = format!("transport=polling&sid={sid}");
        send_req_raw(&mut svc, query.clone(), Method::GET, None).await;
        let post = send_req_raw(&mut svc, query.clone(), Method::POST, Some("1".into()));
        let posted = tokio::spawn(async move {
            steps(after).await;
            post.await
        });
        steps(before).await;
        let polled = send_req_raw(&mut svc, query, Method::GET, None).await;
        assert_eq!(posted.await.unwrap(), "ok");
        match &*polled {
            "6" => noops += 1,
            UNKNOWN => unknown += 1,
            other => panic!("{other:?} after {before} steps before {after}"),
        }
    }
    assert!(noops > 0 && unknown > 0, "{noops} {unknown}");
}

async fn steps(steps: usize) {
    for _ in 0..steps {
        tokio::task::yield_now().await;
    }
}

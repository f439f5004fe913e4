//! A worker in the process of the test.

use std::time::Duration;

use clap::Parser;
use ticket_shared::lifecycle::Lifecycle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::World;

/// A worker in this process.
pub(super) struct Running {
    life: Lifecycle,
    worker: ticket_worker::Worker,
}

impl Running {
    pub(super) async fn start(world: &World) -> Self {
        let args = [
            "ticket-worker",
            "--host=127.0.0.1",
            "--ops-port=0",
            "--block-ms=20",
            "--consumer=w1",
            "--partitions=4",
            "--key-prefix",
            world.keys.prefix(),
            "--redis-url",
            &world.redis_url,
            "--mongo-uri",
            &world.mongo_uri,
        ];
        let config = ticket_worker::Config::try_parse_from(args).unwrap();
        let life = Lifecycle::default();
        let worker = ticket_worker::start(&config.resolve().unwrap(), &life).await;
        Self {
            worker: worker.unwrap(),
            life,
        }
    }

    pub(super) async fn end(self, at_once: bool) {
        let grace = if at_once { 0 } else { 20 };
        self.life.shutdown(Duration::from_secs(grace)).await;
        self.worker.close().await;
    }

    pub(super) async fn lost(&self) -> usize {
        let mut connection = tokio::net::TcpStream::connect(self.worker.ops)
            .await
            .unwrap();
        let request = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        connection.read_to_string(&mut text).await.unwrap();
        let lines = text.lines();
        let mut figure = lines.filter_map(|l| l.strip_prefix("ticket_worker_entries_lost_total "));
        figure.next().unwrap().trim().parse().unwrap()
    }
}

//! Clients that make the gateway hold as much as they can, beside readers who must not notice.

use std::{cell::Cell, net::SocketAddr, time::Duration};

use anyhow::ensure;
use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{Told, under, usual};
use crate::{
    report::Row,
    run::{Context, Run},
    world::Shape,
};

/// Length of each of the two phases that are compared.
const PHASE: Duration = Duration::from_secs(20);
/// Growth of the gateways that is allowed, in bytes. They need some of it for the readers' messages.
const GROWTH: f64 = 64.0 * 1_024.0 * 1_024.0;
/// A handshake, with the key of the standard's own example.
const HANDSHAKE: &[u8] = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const PING: u8 = 0x89;
const MASKED: u8 = 0x80;
const EXTENDED: u8 = 126;

/// One masked frame. A mask of zeros changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    if let Ok(short @ ..=125) = u8::try_from(length) {
        frame.push(MASKED + short);
    } else {
        frame.push(MASKED + EXTENDED);
        frame.extend(length.to_be_bytes());
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// A client of these frames.
struct Hostile {
    /// Number of them at once.
    clients: usize,
    /// What each sends, the namespace's CONNECT first or not.
    begins: Vec<u8>,
    /// What it sends then for as long as it can.
    goes_on: Vec<u8>,
}

impl Hostile {
    /// Sends to the gateway without reading, until that ends the connection; then comes again.
    async fn attack(&self, gateway: SocketAddr, ends: &Cell<u32>) {
        loop {
            if self.once(gateway).await.is_ok() {
                ends.set(ends.get() + 1);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn once(&self, gateway: SocketAddr) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(gateway).await?;
        stream.write_all(HANDSHAKE).await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        ensure!(&head == b"HTTP/1.1 101", "no websocket");
        stream.write_all(&self.begins).await?;
        while !self.goes_on.is_empty() {
            if stream.write_all(&self.goes_on).await.is_err() {
                return Ok(());
            }
        }
        // What the gateway sends is only read to see the end of the connection.
        let mut rest = [0; 4_096];
        while matches!(stream.read(&mut rest).await, Ok(1..)) {}
        Ok(())
    }
}

/// Runs the usual load beside these clients.
async fn beside(
    context: &Context,
    name: &str,
    hostile: Hostile,
    done: &str,
    must_end: bool,
) -> anyhow::Result<Row> {
    under(
        context,
        name,
        Shape::default(),
        usual(),
        async |run: &mut Run| {
            let from = run.mark();
            run.lasts(PHASE).await;
            let between = run.mark();
            let (before, highest, ends) =
                (run.world.gateway_memory(), Cell::new(0.0), Cell::new(0));
            let gateway = run.world.gateways[0].address;
            let attacks = join_all((0..hostile.clients).map(|_| hostile.attack(gateway, &ends)));
            let watch = async {
                loop {
                    highest.set(run.world.gateway_memory().max(highest.get()));
                    sleep(Duration::from_millis(50)).await;
                }
            };
            // It ends by being dropped.
            let _ = timeout(PHASE, async { tokio::join!(attacks, watch) }).await;
            let grown = highest.get() - before;
            run.check(
                grown < GROWTH,
                format!("the gateways grew by {grown} bytes"),
            );
            run.check(!must_end || ends.get() > 0, "no connection was ended");
            run.acks(200).await?;
            Ok(Told::new(done).compared(from, between).figure(format!(
                "the gateways grew by {:.1} MiB at most, and ended {} connections",
                grown / 1_024.0 / 1_024.0,
                ends.get()
            )))
        },
    )
    .await
}

pub(super) async fn pings(context: Context) -> anyhow::Result<Row> {
    let hostile = Hostile {
        clients: 4,
        begins: frame(TEXT, b"40"),
        goes_on: frame(PING, &[b'x'; 125]).repeat(1_000),
    };
    let done =
        "4 clients send pings of 125 bytes as fast as they are taken, and read nothing, for 20 s";
    beside(&context, "F22c", hostile, done, false).await
}

pub(super) async fn attachments(context: Context) -> anyhow::Result<Row> {
    let event = frame(TEXT, b"4510-[\"x\"]");
    let attachments = frame(BINARY, &[0; 7_000]).repeat(9);
    let hostile = Hostile {
        clients: 100,
        begins: [frame(TEXT, b"40"), event, attachments].concat(),
        goes_on: Vec::new(),
    };
    let done = "100 clients begin events of ten attachments, and send nine, for 20 s";
    beside(&context, "F22a", hostile, done, true).await
}

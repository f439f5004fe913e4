//! Packets of strangers on their way to an event: frames of a websocket with control frames, fragments and attachments;
//! bodies of long-polling; packets of Socket.IO with their namespaces and attachments. The gateway's
//! account of the session looks at each, as in the gateway.
#![no_main]

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use clap::Parser;
use engineioxide::{
    DisconnectReason, Received, SessionObserver, Socket, Str, Verdict, config::EngineIoConfig,
    handler::EngineIoHandler, service::EngineIoService,
};
use engineioxide_core::{Packet, ProtocolVersion, payload};
use futures::StreamExt;
use http::Request;
use http_body::{Body, Frame};
use libfuzzer_sys::fuzz_target;
use socketioxide_core::{
    Value,
    packet::PacketData,
    parser::{Parse, ParseConfig, ParseError, ParserState},
};
use socketioxide_parser_common::CommonParser;
use ticket_gateway::{
    admission::{Account, Admission, Limits},
    metrics::Metrics,
    socket::Event,
};
use ticket_shared::{domain::limits, lifecycle::Lifecycle};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::{Builder, Runtime},
};
use tower_service::Service;

/// The most that the gateway lets a client send at once.
const MOST: usize = 2 * limits::FRAME;
/// Longer than a session may go on with something unfinished, or a silent one at all.
const LONG: Duration = Duration::from_secs(120);

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    limits: Limits,
}

static ADMISSION: LazyLock<Arc<Admission>> = LazyLock::new(|| {
    // Rates are for other tests.
    let rates = ["--event-rate=0", "--address-rate=0", "--identity-rate=0"];
    let only = Only::parse_from(["packets"].into_iter().chain(rates));
    Arc::new(Admission::new(only.limits, Metrics::default()).expect("good settings"))
});

/// Reads packets as the Socket.IO server does, and events as the gateway does.
#[derive(Debug, Default)]
struct Reader(ParserState);

impl Reader {
    /// Returns whether the session goes on.
    fn message(&self, text: Str) -> bool {
        self.packet(CommonParser.decode_str(&ParseConfig::default(), &self.0, text))
    }

    fn binary(&self, bytes: Bytes) -> bool {
        self.packet(CommonParser.decode_bin(&ParseConfig::default(), &self.0, bytes))
    }

    fn packet(&self, read: Result<socketioxide_core::packet::Packet, ParseError>) -> bool {
        let packet = match read {
            Ok(packet) => packet.inner,
            Err(error) => return matches!(error, ParseError::NeedsMoreBinaryData),
        };
        if let PacketData::Event(Value::Str(text, attachments), _)
        | PacketData::BinaryEvent(Value::Str(text, attachments), _) = packet
        {
            let attachments = attachments.unwrap_or_default();
            let bytes = attachments.iter().map(Bytes::len).sum::<usize>();
            assert!(attachments.len() <= 10 && bytes <= limits::FRAME);
            event(&text, !attachments.is_empty());
        }
        true
    }
}

fn event(text: &str, attachments: bool) {
    let event = Event::read(text, attachments);
    assert!(event.name.chars().count() <= 64);
    // A name has four bytes a character at most, and its memory grows by doubling.
    assert!(event.held() <= text.len() + 512);
    if let Ok(payload) = event.payload {
        assert!(!attachments && text.len() <= limits::FRAME);
        let _ = payload.decode();
    }
}

/// The server behind the engine.
#[derive(Debug)]
struct Server;

impl EngineIoHandler for Server {
    type Data = Reader;

    fn on_connect(self: Arc<Self>, _: Arc<Socket<Reader>>) {}
    fn on_disconnect(&self, _: Arc<Socket<Reader>>, _: DisconnectReason) {}
    fn on_message(self: &Arc<Self>, text: Str, socket: Arc<Socket<Reader>>) {
        // An answer, so that there is something to write.
        socket.emit("2[\"answer\"]").ok();
        if !socket.data.message(text) {
            socket.close(DisconnectReason::PacketParsingError);
        }
    }
    fn on_binary(self: &Arc<Self>, bytes: Bytes, socket: Arc<Socket<Reader>>) {
        if !socket.data.binary(bytes) {
            socket.close(DisconnectReason::PacketParsingError);
        }
    }
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

fn account() -> Arc<Account> {
    Account::new(&ADMISSION, None, None, &Lifecycle::default())
}

/// The frames of a client. Each is told by its first byte, its length and its payload; a mask of zeros changes nothing.
/// Odd lengths are those of pieces: nothing is sent behind half a frame for a while.
fn frames(mut told: &[u8]) {
    let mut pieces = Vec::new();
    while let [first, length, rest @ ..] = told {
        let take = usize::from(*length / 2).min(rest.len());
        let (payload, behind) = rest.split_at(take);
        told = behind;
        let payload = if *first & 0x40 == 0 {
            payload.to_vec()
        } else {
            payload.repeat(300)
        };
        let mut frame = vec![*first & 0xbf];
        match u16::try_from(payload.len()) {
            Ok(length @ ..126) => frame.push(0x80 | length as u8),
            Ok(length) => {
                frame.push(0xfe);
                frame.extend(length.to_be_bytes());
            }
            Err(_) => {
                frame.push(0xff);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        let cut = if *length % 2 == 0 {
            frame.len()
        } else {
            frame.len() / 2
        };
        pieces.push((frame[..cut].to_vec(), *length % 2 == 1));
        pieces.push((frame[cut..].to_vec(), false));
    }
    runtime().block_on(async {
        let config = EngineIoConfig::builder()
            .ping_interval(Duration::from_secs(20))
            .ping_timeout(Duration::from_secs(20))
            .ws_read_buffer_size(512)
            .ws_max_message_size(MOST)
            .ws_max_frame_size(MOST)
            .build();
        let mut service = EngineIoService::with_config(Arc::new(Server), config);
        let (server, client) = tokio::io::duplex(4096);
        let mut request = Request::get("/engine.io/?EIO=4&transport=websocket")
            .body(())
            .expect("a request");
        let account = account();
        request
            .extensions_mut()
            .insert(account as engineioxide::Account);
        let done = Service::<(_, Request<()>)>::call(&mut service, (server, request)).await;
        done.expect("a good request");
        let (mut reader, mut writer) = tokio::io::split(client);
        let reads = tokio::spawn(async move {
            // The end of the connection.
            while matches!(reader.read(&mut [0; 4096]).await, Ok(1..)) {}
        });
        for (piece, pause) in pieces {
            if writer.write_all(&piece).await.is_err() {
                break;
            }
            if pause {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
        // Whatever it was, a client that answers no ping is gone by then.
        tokio::time::timeout(LONG, reads)
            .await
            .expect("the connection has an end")
            .expect("no panic");
    });
}

/// A body in pieces.
struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

/// The packets of a body, until the first that is none. They do not depend on the pieces in which it comes.
fn body(bytes: &[u8]) {
    let read = |size: usize| {
        let pieces = Pieces(bytes.chunks(size).map(Bytes::copy_from_slice).collect());
        let packets = payload::decoder(pieces, None, ProtocolVersion::V4, MOST as u64);
        let mut packets = std::pin::pin!(packets);
        let mut read = Vec::new();
        while let Some(packet) = futures::executor::block_on(packets.next()) {
            match packet {
                Ok(packet) => read.push(packet),
                Err(_) => return (read, false),
            }
        }
        (read, true)
    };
    let (packets, whole) = read(bytes.len().max(1));
    assert_eq!(read(1), (packets.clone(), whole));
    let _entered = runtime();
    let _entered = _entered.enter();
    let (account, reader) = (account(), Reader::default());
    for packet in packets {
        let (verdict, goes_on): (_, Box<dyn FnOnce() -> bool>) = match packet {
            Packet::Message(text) => (
                account.received(Received::Message(&text)),
                Box::new(|| reader.message(text)),
            ),
            Packet::Binary(bytes) => (
                account.received(Received::Binary(bytes.len())),
                Box::new(|| reader.binary(bytes)),
            ),
            Packet::Ping | Packet::Pong => {
                (account.received(Received::Heartbeat), Box::new(|| true))
            }
            _ => return,
        };
        match verdict {
            Verdict::Accept if goes_on() => {}
            Verdict::Ignore | Verdict::Answer(_) => {}
            Verdict::Accept | Verdict::Close => return,
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    match kind % 3 {
        0 => frames(rest),
        1 => body(rest),
        _ => {
            if let Ok(text) = str::from_utf8(rest) {
                event(text, kind & 0x80 != 0);
            }
        }
    }
});

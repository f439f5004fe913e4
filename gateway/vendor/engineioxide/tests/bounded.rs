//! Whatever frames a client sends, and however little it reads: the memory that is held for it is bounded.
//!
//! The memory of the whole process is counted, so this file has one test.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc, Mutex,
        atomic::{AtomicIsize, Ordering},
    },
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
use http::{Extensions, Request};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// The bytes that may be queued for the client.
const QUEUED: usize = 64 * 1024;
/// The bytes that one message of the client may have.
const MESSAGE: usize = 16 * 1024;
/// The bytes that may be held for one connection: the queue, the buffers of the websocket either way, a message that goes
/// beyond each bound, and tasks.
const BOUND: isize = 256 * 1024;

struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);

// SAFETY: it only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as isize, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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
    fn on_binary(self: &Arc<Self>, bin: Bytes, socket: Arc<Socket<()>>) {
        socket.emit_binary(bin).ok();
    }
}

/// Closes a session whose queue is full.
#[derive(Debug, Default)]
struct Budget(Mutex<Option<Session>>);

impl SessionObserver for Budget {
    fn max_queued_bytes(&self) -> usize {
        QUEUED
    }
    fn opened(&self, session: Session) {
        *self.0.lock().unwrap() = Some(session);
    }
    fn carried(&self, _: TransportType, _: &Extensions) {}
    fn received(&self, _: Received<'_>) -> Verdict {
        Verdict::Accept
    }
    fn overflowed(&self) {
        let session = self.0.lock().unwrap().clone();
        session.unwrap().close();
    }
    fn closed(&self) {}
}

/// The same frame so many times.
#[derive(Debug, Clone)]
struct Burst {
    first: u8,
    payload: Vec<u8>,
    times: usize,
}

impl Burst {
    fn bytes(&self) -> Vec<u8> {
        let len = self.payload.len();
        let mut frame = vec![self.first];
        match len {
            ..126 => frame.push(0x80 | len as u8),
            _ => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
        }
        // A mask of zeros changes nothing.
        frame.extend([0; 4]);
        frame.extend(&self.payload);
        frame.repeat(self.times)
    }
}

fn burst() -> impl Strategy<Value = Burst> {
    let of = |first: u8, text: &'static str, size: std::ops::Range<usize>, times: usize| {
        (size, 1..times).prop_map(move |(size, times)| Burst {
            first,
            payload: text
                .bytes()
                .chain(std::iter::repeat_n(b'x', size))
                .collect(),
            times,
        })
    };
    prop_oneof![
        3 => of(0x89, "", 0..126, 8_000),
        1 => of(0x8a, "", 0..126, 4_000),
        1 => of(0x81, "2", 0..1, 4_000),
        1 => of(0x81, "3", 0..1, 4_000),
        3 => of(0x81, "4", 0..2_000, 1_000),
        1 => of(0x81, "4", 0..MESSAGE - 1, 50),
        1 => of(0x82, "", 0..MESSAGE, 50),
        // The beginning of a message, and parts of it.
        1 => of(0x01, "4", 0..100, 2),
        1 => of(0x00, "", 0..1_000, 100),
        1 => of(0x80, "", 0..100, 2),
    ]
}

/// Reads as much as it wants of what comes, and says so.
async fn reads(client: &mut tokio::io::ReadHalf<DuplexStream>, wanted: usize) {
    let mut buf = vec![0; 4096];
    let mut rest = wanted;
    while rest > 0 {
        match client.read(&mut buf[..rest.min(4096)]).await {
            Ok(bytes @ 1..) => rest -= bytes,
            _ => return,
        }
    }
    // It stays, and reads no more.
    std::future::pending().await
}

/// The most that was held for a client that sends this and reads so many bytes.
async fn held(bursts: &[Burst], wanted: usize) -> isize {
    let config = EngineIoConfig::builder()
        .ws_read_buffer_size(512)
        .ws_max_message_size(MESSAGE)
        .ws_max_frame_size(MESSAGE)
        .build();
    let svc = EngineIoService::with_config(Arc::new(Echo), config);
    let mut req = Request::new(());
    let account: Account = Arc::new(Budget::default());
    req.extensions_mut().insert(account);
    let (server, client) = tokio::io::duplex(4096);
    let (mut reader, mut writer) = tokio::io::split(client);
    let bytes: Vec<Vec<u8>> = bursts.iter().map(Burst::bytes).collect();
    let before = HELD.load(Ordering::Relaxed);
    let mut most = 0;
    let served = tokio::spawn(svc.ws_init(server, ProtocolVersion::V4, None, req.into_parts().0));
    let sends = async {
        for bytes in &bytes {
            for piece in bytes.chunks(2_000) {
                let written = writer.write_all(piece);
                // Time stands still while anything can be done.
                match tokio::time::timeout(Duration::from_millis(10), written).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return,
                }
                most = most.max(HELD.load(Ordering::Relaxed) - before);
            }
        }
    };
    tokio::select! {
        () = sends => {}
        () = reads(&mut reader, wanted) => {}
    }
    most = most.max(HELD.load(Ordering::Relaxed) - before);
    served.abort();
    most
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_is_bounded(
        bursts in prop::collection::vec(burst(), 1..6),
        wanted in prop_oneof![Just(0), Just(usize::MAX), 0..1_000_000usize],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let most = runtime.block_on(held(&bursts, wanted));
        prop_assert!(most < BOUND, "{most} bytes");
    }
}

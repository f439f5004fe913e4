//! The ws transport module is responsible for handling websocket connections
//! The only public function is [`new_req`] which is used to upgrade a http request to a websocket connection
//!
//! Other functions are used internally to handle the websocket connection through tasks and channels
//! and to handle upgrade from polling to ws

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt, future::Either};
use http::{Request, Response, StatusCode, request::Parts};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        error::ProtocolError,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::future::FutureExt as _;

use engineioxide_core::{Packet, PacketBuf, ProtocolVersion, Sid, Str, TransportType};

use crate::{
    DisconnectReason, Socket,
    body::ResponseBody,
    config::EngineIoConfig,
    engine::EngineIo,
    errors::Error,
    handler::EngineIoHandler,
    queue::{self, Outgoing, Written, bytes_of},
    session::Received,
    socket::Upgrade,
    transport::{ahead::Ahead, handshake::Handshake, make_open_packet},
};

/// The bytes that the websocket gathers before it writes them.
const WRITE_BUFFER: usize = 32 * 1024;
/// Larger messages go past the buffer of the websocket, which would keep their memory.
const LARGE: usize = WRITE_BUFFER;
/// The bytes that the buffer of the websocket may hold at most: it gathers, then comes one message more, and an answer
/// to a control frame. Only a defect of ours could meet this bound.
const MAX_WRITE_BUFFER: usize = WRITE_BUFFER + LARGE + 1024;
/// The time in which a client must take what was sent before its connection is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The time, and the bytes of the client, until a connection is dropped that was closed for a wrong frame. If it were
/// dropped at once with something unread, the client would be sent a reset that can overtake the reason.
const DRAIN_TIME: Duration = Duration::from_secs(1);
const DRAIN_BYTES: usize = 1024 * 1024;
/// The time in which a message of a client must come whole.
pub(super) const UNFINISHED: Duration = Duration::from_secs(5);
/// The pauses between the answers to polling requests that wait while their client upgrades: the client asks again if it
/// has not heard of the answer to its probe yet, and can't go on before it is answered once more.
const RELEASE: Duration = Duration::from_millis(50);
const RELEASE_MAX: Duration = Duration::from_secs(2);

/// A websocket connection that its reader, its writer and those who emit share.
struct WsConn<S> {
    protocol: ProtocolVersion,
    ws: Mutex<WebSocketStream<Ahead<S>>>,
    /// The client has sent its close frame: nothing may follow ours, which answers it.
    closing: AtomicBool,
    /// A ping was read, and its answer may not be written yet. Until it is, nothing more is read: a client that sends
    /// pings and reads nothing has one answer waiting, however many it sends.
    answering: AtomicBool,
    /// The reason in our close frame; 0 without one.
    close_code: AtomicU16,
}

impl<S> WsConn<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn new(protocol: ProtocolVersion, ws: WebSocketStream<Ahead<S>>) -> Arc<Self> {
        Arc::new(Self {
            protocol,
            ws: Mutex::new(ws),
            closing: AtomicBool::new(false),
            answering: AtomicBool::new(false),
            close_code: AtomicU16::new(0),
        })
    }

    fn ws(&self) -> MutexGuard<'_, WebSocketStream<Ahead<S>>> {
        self.ws.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next frame. Nothing is read while the answer to the one before can't be written. A message that does not come
    /// whole in time ends the connection.
    async fn next(&self) -> Option<Result<Message, Error>> {
        // In a box, as nearly all messages come whole.
        let mut limit: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            if self.ws().get_ref().frames().too_many() {
                return Poll::Ready(Some(Err(self.unfinished())));
            }
            // First: what has come by now counts, however late it is looked at.
            if let Poll::Ready(next) = self.poll_next(cx) {
                return Poll::Ready(next.map(|next| next.map_err(Error::from)));
            }
            let Some(since) = self.ws().get_ref().frames().unfinished() else {
                return Poll::Pending;
            };
            let end = since + UNFINISHED;
            let limit = limit.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
            if limit.deadline() != end {
                limit.as_mut().reset(end);
            }
            let over = limit.as_mut().poll(cx);
            over.map(|()| Some(Err(self.unfinished())))
        })
        .await
    }

    fn unfinished(&self) -> Error {
        self.close_code
            .store(CloseCode::Policy.into(), Ordering::Relaxed);
        Error::Unfinished
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, tungstenite::Error>>> {
        let mut ws = self.ws();
        // These are changed with the lock only.
        if self.answering.load(Ordering::Relaxed) {
            match ws.poll_flush_unpin(cx) {
                Poll::Ready(Ok(())) => self.answering.store(false, Ordering::Relaxed),
                Poll::Ready(Err(e)) => return Poll::Ready(Some(Err(e))),
                Poll::Pending => return Poll::Pending,
            }
        }
        let next = ws.poll_next_unpin(cx);
        match &next {
            Poll::Ready(Some(Ok(Message::Ping(_)))) => {
                self.answering.store(true, Ordering::Relaxed);
            }
            Poll::Ready(Some(Ok(Message::Close(_)))) => {
                self.closing.store(true, Ordering::Relaxed);
            }
            Poll::Ready(Some(Err(e))) => {
                self.close_code.store(close_code(e), Ordering::Relaxed);
            }
            _ => {}
        }
        next
    }

    async fn feed(&self, message: Message) -> Result<(), tungstenite::Error> {
        if message.len() > LARGE {
            // Behind all that the websocket holds.
            self.flush().await?;
            self.ws().get_mut().push(message);
            return self.flush().await;
        }
        poll_fn(|cx| self.ws().poll_ready_unpin(cx)).await?;
        self.ws().start_send_unpin(message)
    }

    async fn flush(&self) -> Result<(), tungstenite::Error> {
        poll_fn(|cx| self.ws().poll_flush_unpin(cx)).await
    }

    async fn close(&self) -> Result<(), tungstenite::Error> {
        let code = self.close_code.load(Ordering::Relaxed);
        if code == 0 {
            return poll_fn(|cx| self.ws().poll_close_unpin(cx)).await;
        }
        let frame = CloseFrame {
            code: code.into(),
            reason: Utf8Bytes::default(),
        };
        poll_fn(|cx| self.ws().poll_ready_unpin(cx)).await?;
        self.ws().start_send_unpin(Message::Close(Some(frame)))?;
        self.flush().await?;
        tokio::time::timeout(DRAIN_TIME, self.drain()).await.ok();
        Ok(())
    }

    /// Ends our side of the connection, and reads until the client ends its own.
    async fn drain(&self) {
        let mut rest = DRAIN_BYTES;
        poll_fn(|cx| Pin::new(self.ws().get_mut()).poll_shutdown(cx))
            .await
            .ok();
        let mut buf = vec![0; 4096];
        while rest > 0 {
            let read = poll_fn(|cx| {
                let mut buf = ReadBuf::new(&mut buf);
                let read = Pin::new(self.ws().get_mut()).poll_read(cx, &mut buf);
                read.map_ok(|()| buf.filled().len())
            });
            match read.await {
                Ok(bytes @ 1..) => rest = rest.saturating_sub(bytes),
                Ok(0) | Err(_) => return,
            }
        }
    }
}

/// The reason in a close frame for what was wrong with a frame (RFC 6455, 7.4.1).
fn close_code(error: &tungstenite::Error) -> u16 {
    match error {
        tungstenite::Error::Protocol(
            ProtocolError::ResetWithoutClosingHandshake
            | ProtocolError::ReceivedAfterClosing
            | ProtocolError::SendAfterClosing,
        ) => 0,
        tungstenite::Error::Protocol(_) => CloseCode::Protocol.into(),
        tungstenite::Error::Utf8(_) => CloseCode::Invalid.into(),
        tungstenite::Error::Capacity(_) => CloseCode::Size.into(),
        _ => 0,
    }
}

impl<S> queue::Sink for WsConn<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn try_write<'a>(&self, outgoing: Outgoing<'a>) -> Written<'a> {
        // The reader may be at it.
        let Ok(mut ws) = self.ws.try_lock() else {
            return Written::Busy(outgoing);
        };
        // What the task that emits has done before says nothing about this connection.
        let mut outgoing = Some(outgoing);
        let write = tokio::task::unconstrained(poll_fn(|cx| {
            let outgoing = outgoing.take().expect("polled once");
            let large =
                matches!(&outgoing, Outgoing::Packets(packets) if bytes_of(packets) > LARGE);
            let flushed = matches!(ws.poll_flush_unpin(cx), Poll::Ready(Ok(())));
            if self.closing.load(Ordering::Relaxed) {
                return Poll::Ready(Written::Buffered);
            }
            if large || !flushed {
                // The answer to a ping waits, or the connection is gone: for the writer to see.
                return Poll::Ready(Written::Busy(outgoing));
            }
            let packets = match outgoing {
                Outgoing::Packets(packets) => packets,
                // The websocket has nothing to write, so the frames can go as they are: they are not copied into the
                // buffer of each connection.
                Outgoing::Texts(texts) => {
                    return Poll::Ready(match ws.get_mut().write(cx, texts) {
                        true => Written::All,
                        false => Written::Buffered,
                    });
                }
            };
            let mut sent = Ok(());
            for message in packets
                .into_iter()
                .filter_map(|packet| to_message(self.protocol, packet))
            {
                if sent.is_ok() {
                    sent = ws.start_send_unpin(message);
                }
            }
            let flushed = ws.poll_flush_unpin(cx);
            Poll::Ready(match (sent, flushed) {
                (Ok(()), Poll::Ready(Ok(()))) => Written::All,
                _ => Written::Buffered,
            })
        }));
        tokio::pin!(write);
        // What can't be flushed is for the writer, who is woken when more can be written; or finds the error.
        match write.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(written) => written,
            Poll::Pending => Written::Buffered,
        }
    }
}

/// Create a response for websocket upgrade
fn ws_response<B>(handshake: Handshake) -> Response<ResponseBody<B>> {
    use http::header::{
        CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
    };
    let mut res = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(UPGRADE, HeaderValue::from_static("websocket"))
        .header(CONNECTION, HeaderValue::from_static("Upgrade"))
        .header(SEC_WEBSOCKET_ACCEPT, handshake.accept);
    if let Some(protocol) = handshake.protocol {
        res = res.header(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    res.body(ResponseBody::empty_response()).unwrap() // we are only using constants
}

/// Upgrade a websocket request to create a websocket connection.
///
/// If a sid is provided in the query it means that is is upgraded from an existing HTTP polling request.
/// Once the upgrade is complete, the SID is kept for the websocket. Until then, or if it fails, the session goes on
/// over polling.
pub fn new_req<R: Send + 'static, B, H: EngineIoHandler>(
    engine: Arc<EngineIo<H>>,
    protocol: ProtocolVersion,
    sid: Option<Sid>,
    req: Request<R>,
) -> Result<Response<ResponseBody<B>>, Error> {
    let handshake = Handshake::of(&req)?;
    let upgrade = sid.map(|sid| engine.begin_upgrade(sid)).transpose()?;
    let mut req = req;
    let on_upgrade = hyper::upgrade::on(&mut req);
    // In a box, as everything that only the handshake needs: the task lives as long as the connection.
    let parts = Box::new(req.into_parts().0);

    tokio::spawn(async move {
        let conn = on_upgrade.await.map(hyper_util::rt::TokioIo::new);

        let res = match conn {
            Ok(conn) => run(engine, conn, protocol, upgrade, *parts).await,
            Err(_e) => {
                #[cfg(feature = "tracing")]
                tracing::debug!("ws upgrade error: {}", _e);
                return;
            }
        };

        if let Err(_e) = res {
            #[cfg(feature = "tracing")]
            tracing::debug!("ws closed with error: {_e}");
        }
    });

    Ok(ws_response(handshake))
}

/// Handle a websocket connection upgrade
///
/// Sends an open packet if it is not an upgrade from a polling request
///
/// Read packets from the websocket and handle them, it will block until the connection is closed
pub fn on_init<H: EngineIoHandler, S>(
    engine: Arc<EngineIo<H>>,
    conn: S,
    protocol: ProtocolVersion,
    sid: Option<Sid>,
    req_data: Parts,
) -> impl Future<Output = Result<(), Error>> + Send + 'static
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgrade = sid.map(|sid| engine.begin_upgrade(sid)).transpose();
    async move { run(engine, conn, protocol, upgrade?, req_data).await }
}

/// Does the handshake and serves the connection until it is closed.
fn run<H: EngineIoHandler, S>(
    engine: Arc<EngineIo<H>>,
    conn: S,
    protocol: ProtocolVersion,
    upgrade: Option<Upgrade<H::Data>>,
    req_data: Parts,
) -> impl Future<Output = Result<(), Error>> + Send + 'static
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // What the handshake needs is freed once it is done.
    let opened = Box::pin(open(engine.clone(), conn, protocol, upgrade, req_data));
    async move {
        let (socket, conn, heartbeat) = opened.await?;
        serve(&engine, &socket, &conn, heartbeat).await;
        Ok(())
    }
}

/// Does the handshake. Tells also whether the heartbeat is still to be started.
#[cfg_attr(
    feature = "tracing",
    tracing::instrument(
        level = "trace",
        name = "init_websocket",
        skip(engine, conn, upgrade, req_data)
    )
)]
async fn open<H: EngineIoHandler, S>(
    engine: Arc<EngineIo<H>>,
    conn: S,
    protocol: ProtocolVersion,
    upgrade: Option<Upgrade<H::Data>>,
    req_data: Parts,
) -> Result<(Arc<Socket<H::Data>>, Arc<WsConn<S>>, bool), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let ws_config = WebSocketConfig::default()
        .read_buffer_size(engine.config.ws_read_buffer_size)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(Some(engine.config.ws_max_message_size))
        .max_frame_size(Some(engine.config.ws_max_frame_size));

    let ws_init =
        move || WebSocketStream::from_raw_socket(Ahead::new(conn), Role::Server, Some(ws_config));
    let Some(upgrade) = upgrade else {
        let socket = engine.create_session(protocol, TransportType::Websocket, req_data, false);

        #[cfg(feature = "tracing")]
        tracing::debug!("new websocket connection");

        let mut ws = ws_init().await;
        if let Err(e) = init_handshake(socket.id, &mut ws, &engine.config).await {
            engine.close_session(socket.id, DisconnectReason::TransportError);
            return Err(e);
        }
        return Ok((socket, WsConn::new(protocol, ws), true));
    };
    let conn = WsConn::new(protocol, ws_init().await);
    let token = upgrade.socket.cancellation_token.clone();
    let handshake = upgrade_handshake(&upgrade.socket, &conn);
    let upgraded = tokio::time::timeout(engine.config.upgrade_timeout, handshake)
        .with_cancellation_token(&token)
        .await;
    if let Some(Ok(Ok(()))) = upgraded {
        let socket = upgrade.complete();
        if let Some(account) = socket.queue.account() {
            account.carried(TransportType::Websocket, &req_data.extensions);
        }
        // Of a client that does not wait for it, which it should.
        socket.release_poll();
        return Ok((socket, conn, false));
    }
    #[cfg(feature = "tracing")]
    tracing::debug!(?upgraded, "ws upgrade failed, the session stays as it is");
    // Its client may try once more.
    drop(upgrade);
    tokio::time::timeout(CLOSE_TIMEOUT, conn.close()).await.ok();
    Err(Error::Upgrade)
}

/// Serves the connection until it is closed: reads, writes and checks that the client is alive, all in one task.
async fn serve<H: EngineIoHandler, S>(
    engine: &Arc<EngineIo<H>>,
    socket: &Arc<Socket<H::Data>>,
    conn: &Arc<WsConn<S>>,
    heartbeat: bool,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _guard = CloseOnPanic { engine, socket };
    tokio::join!(
        // pipe between websocket and handler
        read::<H, S>(engine, socket, conn, heartbeat),
        // pipe between internal socket queue and websocket
        forward_to_socket::<H, S>(socket, conn)
    );
}

/// A panic of the handler ends the task that would have noticed the end of the connection.
struct CloseOnPanic<'a, H: EngineIoHandler> {
    engine: &'a EngineIo<H>,
    socket: &'a Socket<H::Data>,
}

impl<H: EngineIoHandler> Drop for CloseOnPanic<'_, H> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.engine
                .close_session(self.socket.id, DisconnectReason::TransportError);
        }
    }
}

/// Handles what is received until the connection or the session is closed or the client is silent for too long,
/// and closes the session then.
async fn read<H: EngineIoHandler, S>(
    engine: &Arc<EngineIo<H>>,
    socket: &Arc<Socket<H::Data>>,
    conn: &WsConn<S>,
    heartbeat: bool,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = &engine.config;
    let ended = async {
        tokio::select! {
            biased;
            res = forward_to_handler(engine, conn, socket) => res,
            res = socket.heartbeat_job(config.ping_interval, config.ping_timeout), if heartbeat => res,
        }
    };
    match ended
        .with_cancellation_token(&socket.cancellation_token)
        .await
    {
        Some(Err(Error::HeartbeatTimeout)) => {
            #[cfg(feature = "tracing")]
            tracing::debug!(sid = %socket.id, "heartbeat timeout");
            socket.close(DisconnectReason::HeartbeatTimeout);
        }
        Some(Err(ref e)) => {
            if let (Error::Unfinished, Some(account)) = (e, socket.queue.account()) {
                account.unfinished();
            }
            let reason =
                Option::<DisconnectReason>::from(e).unwrap_or(DisconnectReason::TransportError);

            #[cfg(feature = "tracing")]
            tracing::debug!("error when handling packet: {:?}", e);
            engine.close_session(socket.id, reason);
        }
        Some(Ok(())) => {
            #[cfg(feature = "tracing")]
            tracing::debug!(sid = %socket.id, "ws transport was closed");
            engine.close_session(socket.id, DisconnectReason::TransportClose);
        }
        None => {
            #[cfg(feature = "tracing")]
            tracing::debug!(sid = %socket.id, "socket is closing");
        }
    }
}

/// Forwards all packets received from a websocket to a EngineIo [`Socket`]
async fn forward_to_handler<H: EngineIoHandler, S>(
    engine: &Arc<EngineIo<H>>,
    conn: &WsConn<S>,
    socket: &Arc<Socket<H::Data>>,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    while let Some(msg) = conn.next().await {
        match msg? {
            Message::Text(msg) => match Packet::parse(socket.protocol, ws_bytes_to_str(msg))? {
                Packet::Close => {
                    #[cfg(feature = "tracing")]
                    tracing::debug!("[sid={}] closing session", socket.id);
                    engine.close_session(socket.id, DisconnectReason::TransportClose);
                    break;
                }
                Packet::Pong | Packet::Ping => {
                    if socket.admits(Received::Heartbeat) {
                        // Once is enough: the client is known to be alive.
                        socket.heartbeat.notify_one();
                    }
                    Ok::<(), Error>(())
                }
                Packet::Message(msg) => {
                    if socket.admits(Received::Message(&msg)) {
                        engine.handler.on_message(msg, socket.clone());
                    }
                    Ok(())
                }
                p => return Err(Error::BadPacket(p)),
            },
            Message::Binary(mut data) => {
                if socket.protocol == ProtocolVersion::V3 && !data.is_empty() {
                    // The first byte is the message type, which we don't need.
                    data = data.split_off(1);
                }
                if socket.admits(Received::Binary(data.len())) {
                    engine.handler.on_binary(data, socket.clone());
                }
                Ok(())
            }
            Message::Ping(_) | Message::Pong(_) => {
                socket.admits(Received::Control);
                Ok(())
            }
            Message::Close(_) => {
                #[cfg(feature = "tracing")]
                tracing::debug!("websocket closed, closing session");
                engine.close_session(socket.id, DisconnectReason::TransportClose);
                break;
            }
            _ => {
                #[cfg(feature = "tracing")]
                tracing::debug!(sid = ?socket.id, "unexpected ws message");
                Ok(())
            }
        }?
    }
    Ok(())
}

/// Forwards all packets waiting to be sent to the websocket
///
/// The websocket stream is flushed only when the internal queue is drained
///
/// While nothing is waiting, those who emit write to the websocket themselves.
async fn forward_to_socket<H: EngineIoHandler, S>(socket: &Socket<H::Data>, conn: &Arc<WsConn<S>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // A polling request that was in progress during the upgrade may still hold the lock.
    let lock = socket.internal_rx.lock();
    let Some(mut internal_rx) = lock
        .with_cancellation_token(&socket.cancellation_token)
        .await
    else {
        #[cfg(feature = "tracing")]
        tracing::debug!(sid = %socket.id, "session closed before starting the ws writer");
        return;
    };

    // The last polling request may have left some that did not fit into its payload.
    let mut next = internal_rx.peeked_packet.take();

    let attached = socket.queue.attach(conn.clone());

    // Forward buffered packets until the queue is closed or the session is cancelled.
    loop {
        let packets = match next.take() {
            Some(packets) => *packets,
            None => tokio::select! {
                biased;
                Some(packets) = socket.queue.recv() => packets,
                _ = socket.cancellation_token.cancelled() => break,
                else => break,
            },
        };
        // In a box, which an idle connection does not have.
        if let Err(_e) = Box::pin(send_in_time(socket, conn, packets)).await {
            #[cfg(feature = "tracing")]
            tracing::debug!("[sid={}] error sending packet: {}", socket.id, _e);
            // Nothing can be sent any more. What waits is not even encoded.
            socket.close(DisconnectReason::TransportError);
            break;
        }
    }

    // A sender was writing, and others have left their packets to it.
    attached.end().await;

    #[cfg(feature = "tracing")]
    tracing::trace!(sid = %socket.id, "ws closing flush");

    let closing = Box::pin(async {
        send(socket, conn, PacketBuf::new()).await.ok();
        conn.close().await.ok();
    });
    tokio::time::timeout(CLOSE_TIMEOUT, closing).await.ok();
}

/// Sends packets and all that came meanwhile. Once the session is over, the client has a moment to take them.
async fn send_in_time<D, S>(
    socket: &Socket<D>,
    conn: &WsConn<S>,
    packets: PacketBuf,
) -> Result<(), tungstenite::Error>
where
    D: Default + Send + Sync + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let sent = std::pin::pin!(send(socket, conn, packets));
    let over = std::pin::pin!(async {
        socket.cancellation_token.cancelled().await;
        tokio::time::sleep(CLOSE_TIMEOUT).await;
    });
    match futures_util::future::select(sent, over).await {
        Either::Left((sent, _)) => sent,
        Either::Right(_) => Err(tungstenite::Error::ConnectionClosed),
    }
}

/// Sends packets and all that came meanwhile.
async fn send<D, S>(
    socket: &Socket<D>,
    conn: &WsConn<S>,
    packets: PacketBuf,
) -> Result<(), tungstenite::Error>
where
    D: Default + Send + Sync + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut next = Some(packets);
    while let Some(packets) = next {
        for packet in packets {
            if let Some(message) = to_message(socket.protocol, packet) {
                conn.feed(message).await?;
            }
        }
        next = socket.queue.try_recv();
    }

    #[cfg(feature = "tracing")]
    tracing::trace!(sid = %socket.id, "ws flush");
    conn.flush().await
}

/// Maps a packet to a websocket message
fn to_message(protocol: ProtocolVersion, packet: Packet) -> Option<Message> {
    match packet {
        Packet::Binary(bin) | Packet::BinaryV3(bin) => {
            if protocol == ProtocolVersion::V3 {
                // v3 protocol requires packet type as the first byte.
                // This requires a new buffer. This is OK as it is only for the V3 protocol.
                let mut buff = Vec::with_capacity(bin.len() + 1);
                buff.push(0x04);
                buff.extend(bin);
                Some(Message::Binary(buff.into()))
            } else {
                Some(Message::Binary(bin))
            }
        }
        // A Noop Packet maybe sent by the server to upgrade from a polling connection
        // In the case that the packet was not poll in time it will remain in the buffer and therefore
        // it should be discarded here
        Packet::Noop => None,
        packet => Some(Message::Text(String::from(packet).into())),
    }
}

/// Send a Engine.IO [`OpenPacket`] to initiate a websocket connection
async fn init_handshake<S>(
    sid: Sid,
    ws: &mut WebSocketStream<S>,
    config: &EngineIoConfig,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let packet = Packet::Open(make_open_packet(TransportType::Websocket, sid, config));
    let packet: String = packet.into();
    ws.send(Message::Text(packet.into())).await?;
    Ok(())
}

/// Upgrade a session from a polling request to a websocket request.
///
/// Before the client upgrades the session the server sends a NOOP packet to any pending polling request.
///
/// ## Handshake :
/// ```text
/// CLIENT                                                 SERVER
///│                                                      │
///│   GET /engine.io/?EIO=4&transport=websocket&sid=...  │
///│ ───────────────────────────────────────────────────► │
///│  ◄─────────────────────────────────────────────────┘ │
///│            HTTP 101 (WebSocket handshake)            │
///│                                                      │
///│            -----  WebSocket frames -----             │
///│  ─────────────────────────────────────────────────►  │
///│                         2probe                       │ (ping packet)
///│  ◄─────────────────────────────────────────────────  │
///│                         3probe                       │ (pong packet)
///│  ─────────────────────────────────────────────────►  │
///│                         5                            │ (upgrade packet)
///│                                                      │
///│            -----  WebSocket frames -----             │
/// ```
/// Until the probe polling goes on as if nothing happened: many a proxy lets the handshake through and no frame. From then
/// on a polling request that waits is answered, since the client goes on only when none does.
#[cfg_attr(
    feature = "tracing",
    tracing::instrument(level = "trace", skip(socket, ws))
)]
async fn upgrade_handshake<D, S>(socket: &Socket<D>, ws: &WsConn<S>) -> Result<(), Error>
where
    D: Default + Send + Sync + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match upgrade_packet(socket, ws).await? {
        Packet::PingUpgrade => {
            #[cfg(feature = "tracing")]
            tracing::debug!("received first ping upgrade");
            // Respond with a PongUpgrade packet
            ws.feed(Message::Text(String::from(Packet::PongUpgrade).into()))
                .await?;
            ws.flush().await?;
        }
        p => Err(Error::BadPacket(p))?,
    };

    let release = async {
        let mut pause = RELEASE;
        loop {
            socket.release_poll();
            tokio::time::sleep(pause).await;
            pause = RELEASE_MAX.min(pause * 2);
        }
    };
    let packet = tokio::select! {
        packet = upgrade_packet(socket, ws) => packet?,
        () = release => unreachable!("it has no end"),
    };
    match packet {
        Packet::Upgrade => {
            #[cfg(feature = "tracing")]
            tracing::debug!("ws upgraded successfully");
            Ok(())
        }
        p => Err(Error::BadPacket(p)),
    }
}

/// The next packet of a websocket that a session is to be upgraded to.
async fn upgrade_packet<D, S>(socket: &Socket<D>, ws: &WsConn<S>) -> Result<Packet, Error>
where
    D: Default + Send + Sync + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    loop {
        match ws.next().await {
            Some(Ok(Message::Text(text))) => {
                return Ok(Packet::parse(socket.protocol, ws_bytes_to_str(text))?);
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                socket.admits(Received::Control);
            }
            Some(Err(e)) => return Err(e),
            _ => return Err(Error::Upgrade),
        }
    }
}

fn ws_bytes_to_str(bytes: tungstenite::Utf8Bytes) -> Str {
    // SAFETY: the bytes are guaranteed to be valid UTF-8 by the tungstenite parser
    unsafe { Str::from_bytes_unchecked(bytes.into()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::{FutureExt, StreamExt};
    use http::Request;
    use tokio::{io::DuplexStream, sync::mpsc::error::TrySendError};

    use crate::{Outlet, SharedText, queue::Sink};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    #[derive(Debug)]
    struct StubHandler;
    impl EngineIoHandler for StubHandler {
        type Data = ();
        fn on_connect(self: Arc<Self>, _: Arc<Socket<()>>) {}
        fn on_disconnect(&self, _: Arc<Socket<()>>, _: DisconnectReason) {}
        fn on_message(self: &Arc<Self>, _: Str, _: Arc<Socket<()>>) {}
        fn on_binary(self: &Arc<Self>, _: Bytes, _: Arc<Socket<()>>) {}
    }

    fn socket() -> Arc<Socket<()>> {
        Arc::new(Socket::new(
            ProtocolVersion::V4,
            TransportType::Websocket,
            &EngineIoConfig::default(),
            Request::<()>::default().into_parts().0,
            Box::new(|_, _| ()),
            false,
        ))
    }

    async fn ws_pair() -> (
        WebSocketStream<Ahead<DuplexStream>>,
        WebSocketStream<DuplexStream>,
    ) {
        let (server, client) = tokio::io::duplex(1024);
        (
            WebSocketStream::from_raw_socket(Ahead::new(server), Role::Server, None).await,
            WebSocketStream::from_raw_socket(client, Role::Client, None).await,
        )
    }

    /// A polling request can still hold the lock at the end of an upgrade.
    #[tokio::test]
    async fn writer_waits_for_the_lock_of_a_polling_request() {
        let socket = socket();
        let (server, mut client) = ws_pair().await;

        let polling = socket.internal_rx.lock().await;
        let writer = tokio::spawn({
            let (socket, conn) = (socket.clone(), WsConn::new(ProtocolVersion::V4, server));
            async move { forward_to_socket::<StubHandler, _>(&socket, &conn).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!writer.is_finished(), "the writer should wait for the lock");

        drop(polling);
        socket.emit(Str::from("hello")).unwrap();
        let msg = tokio::time::timeout(TIMEOUT, client.next())
            .await
            .expect("the writer should send the packet")
            .unwrap()
            .unwrap();
        assert_eq!(msg, Message::text("4hello"));
    }

    /// Whether the writer finds that the connection is gone, or who emits does.
    #[tokio::test]
    async fn writer_stops_with_the_connection() {
        for parked in [false, true] {
            let (closed, mut reasons) = tokio::sync::mpsc::unbounded_channel();
            let mut socket = socket();
            Arc::get_mut(&mut socket).unwrap().close_fn =
                Box::new(move |_, reason| drop(closed.send(reason)));
            let (server, client) = ws_pair().await;
            drop(client);

            let writer = tokio::spawn({
                let conn = WsConn::new(ProtocolVersion::V4, server);
                let socket = socket.clone();
                async move { forward_to_socket::<StubHandler, _>(&socket, &conn).await }
            });
            if parked {
                tokio::task::yield_now().await;
            }
            socket.emit(Str::from("nobody reads this")).unwrap();
            tokio::time::timeout(TIMEOUT, writer)
                .await
                .expect("the writer should stop")
                .unwrap();
            assert_eq!(reasons.recv().await, Some(DisconnectReason::TransportError));
        }
    }

    #[tokio::test]
    async fn writer_waiting_for_the_lock_stops_with_the_session() {
        let socket = socket();
        let (server, _client) = ws_pair().await;

        let _polling = socket.internal_rx.lock().await;
        let writer = tokio::spawn({
            let (socket, conn) = (socket.clone(), WsConn::new(ProtocolVersion::V4, server));
            async move { forward_to_socket::<StubHandler, _>(&socket, &conn).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;

        socket.cancellation_token.cancel();
        tokio::time::timeout(TIMEOUT, writer)
            .await
            .expect("the writer should stop")
            .unwrap();
    }

    fn text_of(msg: Option<Result<Message, tungstenite::Error>>) -> String {
        msg.unwrap().unwrap().into_text().unwrap().to_string()
    }

    /// The writer, parked with nothing to do, and the client.
    async fn idle_writer() -> (Arc<Socket<()>>, WebSocketStream<DuplexStream>) {
        let socket = socket();
        let (server, client) = ws_pair().await;
        let conn = WsConn::new(ProtocolVersion::V4, server);
        let task = socket.clone();
        tokio::spawn(async move { forward_to_socket::<StubHandler, _>(&task, &conn).await });
        tokio::task::yield_now().await;
        (socket, client)
    }

    #[tokio::test]
    async fn writes_without_the_writer_while_it_is_idle() {
        let (socket, mut client) = idle_writer().await;
        for message in ["a", "b"] {
            socket.emit(Str::from(message)).unwrap();
            // The writer had no chance to run.
            let received = client.next().now_or_never().expect("is written");
            assert_eq!(text_of(received), format!("4{message}"));
        }
    }

    #[tokio::test]
    async fn a_shared_text_takes_its_place_written_or_queued() {
        let (socket, mut client) = idle_writer().await;
        let outlet = socket.req_parts.extensions.get::<Outlet>().unwrap();
        let text = |text: &str| SharedText::new(text).unwrap();
        let texts = [text("4shared \u{e4}"), text("4 too")];
        outlet.send(&texts).unwrap();
        for text in ["4shared \u{e4}", "4 too"] {
            let received = client.next().now_or_never().expect("is written");
            assert_eq!(text_of(received), text);
        }

        // More than the connection takes at once: what follows is queued.
        socket.emit(Str::from("x".repeat(2_000))).unwrap();
        outlet.send(&texts).unwrap();
        socket.emit(Str::from("last")).unwrap();
        assert_eq!(text_of(client.next().await).len(), 2_001);
        for text in ["4shared \u{e4}", "4 too", "4last"] {
            assert_eq!(text_of(client.next().await), text);
        }

        // Idle again. These are taken in part; what the websocket writes comes behind them.
        tokio::task::yield_now().await;
        let large = format!("4{}", "y".repeat(700));
        let texts = [text(&large), text(&large), text("4 too")];
        outlet.send(&texts).unwrap();
        outlet.send(&texts[2..]).unwrap();
        socket.emit(Str::from("last")).unwrap();
        for text in [&large, &large, "4 too", "4 too", "4last"] {
            assert_eq!(text_of(client.next().await), text);
        }
        socket.queue.close();
        assert_eq!(outlet.send(&texts), Err(TrySendError::Closed(())));
    }

    #[tokio::test]
    async fn nothing_follows_the_answer_to_a_close_frame() {
        let (server, mut client) = ws_pair().await;
        let conn = WsConn::new(ProtocolVersion::V4, server);
        client.send(Message::Close(None)).await.unwrap();
        assert!(matches!(conn.next().await, Some(Ok(Message::Close(_)))));
        let texts = [SharedText::new("4late").unwrap()];
        let written = conn.try_write(Outgoing::Texts(&texts));
        assert!(matches!(written, Written::Buffered));
        drop(conn);
        assert!(matches!(client.next().await, Some(Ok(Message::Close(_)))));
        assert!(client.next().await.is_none());
    }

    #[tokio::test]
    async fn keeps_order_and_bound_when_the_client_is_slow() {
        let (socket, mut client) = idle_writer().await;
        let filler = "x".repeat(300);
        let mut sent = 0;
        // More than the connection takes at once, and then until the queue is full.
        loop {
            match socket.emit(format!("{sent} {filler}")) {
                Ok(()) => sent += 1,
                Err(TrySendError::Full(_)) => break,
                Err(e) => panic!("{e}"),
            }
            if sent % 8 == 0 {
                tokio::task::yield_now().await;
            }
            assert!(sent < 1_000);
        }
        assert!(sent >= EngineIoConfig::default().max_buffer_size);
        for i in 0..sent {
            assert_eq!(text_of(client.next().await), format!("4{i} {filler}"));
        }
        assert!(client.next().now_or_never().is_none());
        // Idle again.
        tokio::task::yield_now().await;
        socket.emit(Str::from("last")).unwrap();
        assert_eq!(text_of(client.next().now_or_never().unwrap()), "4last");
    }

    #[tokio::test]
    async fn close_packet_comes_last() {
        let (socket, mut client) = idle_writer().await;
        socket.emit(Str::from("x".repeat(2_000))).unwrap();
        socket.emit(Str::from("b")).unwrap();
        socket.close(DisconnectReason::ClosingServer);
        socket.cancellation_token.cancel();
        assert_eq!(text_of(client.next().await).len(), 2_001);
        assert_eq!(text_of(client.next().await), "4b");
        assert_eq!(text_of(client.next().await), "1");
        assert!(matches!(client.next().await, Some(Ok(Message::Close(_)))));
    }
}

//! Socket.IO: who may connect, the table of events, and the order in which a socket's events are handled.
//!
//! The server library starts handlers side by side, so events of one socket would overtake each other. Here
//! its read loop only puts them into the socket's own queue, which is bounded, and one task takes them out.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures::FutureExt;
use socketioxide::{TransportType, extract::SocketRef, handler::ConnectHandler};
use ticket_shared::{
    event::{Changed, ErrorCode, client},
    id::Id,
    stream::Actor,
};

mod assign_agent;
mod inbound;
mod join_ticket;
mod leave_ticket;
mod send_message;
mod subscribe_queue;
mod ticket_status_change;
mod typing;

pub use inbound::{Connection, Reply};
pub use typing::Throttle;

use crate::{
    adapter::Adapter,
    admission::Client,
    app::App,
    error::Error,
    net::Peer,
    queue,
    ticket::append::{Change, Expected},
};
use inbound::{Call, Enqueued, Inbound, Item};

/// How long an event may wait behind others, while those fail. Each of them is given the time that its own work may
/// take; without this, whoever sent many would wait for the sum.
const PATIENCE: Duration = Duration::from_secs(3);

/// Begins to take connections.
///
/// # Errors
/// The adapter could not be set up.
pub async fn listen(app: Arc<App>) -> Result<(), Error> {
    let admitting = Arc::clone(&app);
    let connected = Arc::clone(&app);
    let on_connect = move |_: SocketRef<Adapter>| {
        connected.metrics.sockets.inc();
        std::future::ready(())
    };
    let admit = move |socket: SocketRef<Adapter>| {
        admit(Arc::clone(&admitting), &socket);
        std::future::ready(Ok::<(), Infallible>(()))
    };
    let ready = app.io.ns("/", on_connect.with(admit));
    ready
        .await
        .map_err(|error| Error::Internal(format!("adapter: {error}")))
}

/// Sets a connection up before its client is told that it is connected: what the client sends at once must find
/// the handlers. Whom to refuse was decided when the HTTP request came: a client that is refused here does not
/// try again by itself.
fn admit(app: Arc<App>, socket: &SocketRef<Adapter>) {
    let sid = socket.id.to_string();
    let way_out = app.admission.line(sid.clone());
    let request = &socket.req_parts().extensions;
    // A client that polls first gets its connection when it upgrades.
    if socket.transport_type() == TransportType::Websocket
        && let Some(peer) = request.get::<Peer>()
    {
        way_out.over(&peer.wire);
    }
    let client = request.get::<Client>().copied();
    let (connection, mut items) = Connection::new(&app.admission, client, way_out);
    let connection = Arc::new(connection);
    socket.extensions.insert(Arc::clone(&connection));
    let closing = Arc::clone(&connection);
    let (metrics, admission) = (app.metrics.clone(), Arc::clone(&app.admission));
    socket.on_disconnect(move |socket: SocketRef<Adapter>| {
        metrics.sockets.dec();
        admission.gone(&sid);
        closing.close(socket);
        std::future::ready(())
    });
    // Everything is done when the event is extracted, in the order of arrival.
    socket.on_fallback(|_: Enqueued| std::future::ready(()));
    let life = app.life.clone();
    life.spawn(async move {
        // Whether the last event could not be handled for want of Redis or MongoDB.
        let mut failing = false;
        loop {
            // What came before the stop is handled still.
            let item = tokio::select! {
                biased;
                item = items.recv() => item,
                () = app.life.stopping().cancelled() => return,
            };
            let Some(item) = item else { return };
            match item {
                Item::Event(inbound) => {
                    connection.taken(inbound.bytes);
                    if failing && inbound.arrived.elapsed() > PATIENCE {
                        inbound.reply.send::<()>(Err(late()));
                        continue;
                    }
                    let outcome = handle(Arc::clone(&app), Arc::clone(&connection), inbound).await;
                    failing = outcome == Some(ErrorCode::Unavailable);
                }
                Item::Closed(socket) => {
                    return leave_ticket::disconnected(&app, &connection, &socket).await;
                }
            }
        }
    });
}

/// Handles one event and answers it, whatever happens.
async fn handle(app: Arc<App>, connection: Arc<Connection>, inbound: Inbound) -> Option<ErrorCode> {
    let Inbound {
        event,
        payload,
        reply,
        ..
    } = inbound;
    let spare = reply.clone();
    let metrics = app.metrics.clone();
    let name = event.clone();
    let call = Call {
        app,
        connection,
        socket: reply.socket(),
    };
    let work = std::panic::AssertUnwindSafe(async {
        let payload = match payload {
            Ok(payload) => payload,
            Err(error) => return reply.send::<()>(Err(error)),
        };
        // The table of events.
        match event.as_str() {
            client::JOIN_TICKET => join_ticket::handle(&call, payload, reply).await,
            client::LEAVE_TICKET => leave_ticket::handle(&call, payload, reply).await,
            client::SEND_MESSAGE => reply.send(send_message::handle(&call, payload).await),
            client::TYPING => reply.send(typing::handle(&call, payload).await),
            client::TICKET_STATUS_CHANGE => {
                reply.send(ticket_status_change::handle(&call, payload).await)
            }
            client::ASSIGN_AGENT => reply.send(assign_agent::handle(&call, payload).await),
            client::SUBSCRIBE_QUEUE => reply.send(subscribe_queue::subscribe(&call).await),
            client::UNSUBSCRIBE_QUEUE => reply.send(Ok(subscribe_queue::unsubscribe(&call))),
            _ => reply.send::<()>(Err(Error::UnknownEvent)),
        }
    });
    let outcome = match work.catch_unwind().await {
        Ok(outcome) => outcome,
        Err(_) => spare.send::<()>(Err(Error::Internal("the handler panicked".into()))),
    };
    metrics.event(&name, outcome.map_or("ok", ErrorCode::as_str));
    outcome
}

/// What an event is answered that waited behind others which failed.
fn late() -> Error {
    Error::Unavailable {
        part: "the store",
        reason: "waited behind events that failed".into(),
    }
}

/// Changes a ticket, for the events that do.
async fn change(
    call: &Call,
    ticket: Id,
    change: Change,
    by: Actor,
    expected: Expected,
) -> Result<Changed, Error> {
    let entry = call
        .app
        .tickets
        .change(ticket, change, &by, expected)
        .await?;
    queue::updated(&call.app.io, &entry).await;
    let ticket = entry
        .ticket()
        .ok_or_else(|| Error::Internal("a change without its ticket".into()))?;
    Ok(Changed { ticket })
}

//! Socket.IO: who may connect, the table of events, and the order in which a socket's events are handled.
//!
//! The server library starts handlers side by side, so events of one socket would overtake each other. Here
//! its read loop only puts them into the socket's own queue, which is bounded, and one task takes them out.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::Value;
use socketioxide::{
    extract::{SocketRef, TryData},
    handler::ConnectHandler,
    socket::DisconnectReason,
};
use ticket_shared::{
    event::{Changed, ErrorCode, client},
    id::Id,
    stream::Actor,
};

mod assign_agent;
mod dispatch;
mod event;
mod inbound;
mod join_ticket;
mod leave_ticket;
mod left_seats;
mod refresh_token;
mod reply;
mod send_message;
mod session;
mod subscribe_queue;
mod ticket_status_change;
mod typing;

pub use event::{Event, Payload};
pub use inbound::Connection;
pub use reply::Reply;
pub use typing::Throttle;

use crate::{
    access::{Caller, Grant},
    adapter::Adapter,
    admission::{Account, Client, EventRate},
    app::App,
    audit::Cut,
    error::Error,
    identify::{Identify, bearer, claims_of},
    queue,
    ticket::append::Change,
};
use dispatch::{handle, late, run, send};
use inbound::{Call, Enqueued, Item};
use session::Session;

/// How often, and how many times, a caller is looked at again whose token can't be checked for now. Longer than
/// a connection may take to be let in.
const RETRY: Duration = Duration::from_secs(1);
const RETRIES: usize = 12;

/// Within which time the library takes a client as connected that was let in: far longer than that takes.
const ENTER: Duration = Duration::from_secs(10);

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
    let on_connect = move |socket: SocketRef<Adapter>| {
        if let Some(connection) = socket.extensions.get::<Arc<Connection>>()
            && connection.enter()
        {
            connected.metrics.sockets.inc();
        }
        std::future::ready(())
    };
    let admit = move |socket: SocketRef<Adapter>, TryData(auth): TryData<Value>| {
        // All else that a client sends with it is not kept while it waits.
        let token = auth.ok().and_then(token_in);
        admit(Arc::clone(&admitting), socket, token)
    };
    let ready = app.io.ns("/", on_connect.with(admit));
    ready
        .await
        .map_err(|error| Error::Internal(format!("adapter: {error}")))
}

/// The token in the `auth` of a CONNECT.
fn token_in(mut auth: Value) -> Option<String> {
    match auth.get_mut("token")?.take() {
        Value::String(token) => Some(token),
        _ => None,
    }
}

/// Lets a connection in whose caller is known. A client that is refused here does not try again by itself, which
/// is right for one without a good token; whom to send away for a while was decided when the HTTP request came.
async fn admit(
    app: Arc<App>,
    socket: SocketRef<Adapter>,
    token: Option<String>,
) -> Result<(), Refused> {
    let token = token
        .as_deref()
        .or_else(|| bearer(&socket.req_parts().headers));
    let account = socket.req_parts().extensions.get::<Arc<Account>>();
    let Some(account) = account.cloned() else {
        return Err(Refused(ErrorCode::Internal));
    };
    for _ in 0..RETRIES {
        match app.identify.caller(token).await {
            Ok(caller) => {
                let client = socket.req_parts().extensions.get::<Client>().copied();
                let rate = app.admission.rate(&socket.id.to_string(), &caller, client);
                match app.admission.event(&rate) {
                    Ok(()) => {
                        set_up(app, &socket, account, caller, rate);
                        return Ok(());
                    }
                    Err(refused) if refused.banned => return Err(Refused(ErrorCode::RateLimited)),
                    // Its turn comes, or the library ends its connection.
                    Err(_) => {}
                }
            }
            // A refusal would be final. The library ends a connection that is not let in in time, and then the
            // client tries again.
            Err(error @ Error::Unavailable { .. }) => error.log("connect"),
            Err(error) => {
                error.log("connect");
                return Err(Refused(error.code()));
            }
        }
        tokio::time::sleep(RETRY).await;
    }
    Err(Refused(ErrorCode::Unavailable))
}

/// What a client that is not let in finds as its `connect_error`'s message: the code.
#[derive(Debug)]
struct Refused(ErrorCode);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// Sets a connection up before its client is told that it is connected: what the client sends at once must find
/// the handlers.
fn set_up(
    app: Arc<App>,
    socket: &SocketRef<Adapter>,
    account: Arc<Account>,
    caller: Caller,
    rate: EventRate,
) {
    let rate = Arc::new(rate);
    account.counts_by(Arc::clone(&rate));
    let (connection, mut items) = Connection::new(account, rate, caller);
    let connection = Arc::new(connection);
    socket.extensions.insert(Arc::clone(&connection));
    let closing = Arc::clone(&connection);
    let ending = Arc::clone(&app);
    socket.on_disconnect(
        move |socket: SocketRef<Adapter>, reason: DisconnectReason| {
            if closing.leave() {
                ending.metrics.sockets.dec();
            }
            if reason == DisconnectReason::ClientNSDisconnect {
                closing.count_leaving();
            }
            let id = socket.id;
            closing.close(socket);
            if let DisconnectReason::ClientNSDisconnect | DisconnectReason::ServerNSDisconnect =
                reason
            {
                let io = ending.io.clone();
                let there = move || io.of("/").is_some_and(|all| all.get_socket(id).is_some());
                closing.account().left(there);
            }
            std::future::ready(())
        },
    );
    // Everything is done when the event is extracted, in the order of arrival.
    socket.on_fallback(|_: Enqueued| std::future::ready(()));
    let (life, socket) = (app.life.clone(), socket.clone());
    life.spawn(async move {
        let mut session = Session::new();
        // Whether the last event could not be handled for want of Redis or MongoDB.
        let mut failing = false;
        let mut stopping = app.life.until_stopping();
        tokio::select! {
            () = &mut stopping => return,
            entered = tokio::time::timeout(ENTER, connection.entered()) => {
                // The client could not be told that it is in, and its connection is ended.
                if entered.is_err() {
                    return;
                }
            }
        }
        loop {
            let call = Call {
                app: Arc::clone(&app),
                connection: Arc::clone(&connection),
                socket: socket.clone(),
                caller: connection.caller(),
            };
            // What came before the stop is handled still.
            let item = tokio::select! {
                biased;
                phase = session.due(&call.caller) => {
                    Box::pin(session.step(&call, phase)).await;
                    continue;
                }
                item = items.recv() => item,
                () = &mut stopping => return,
            };
            match item {
                Item::Event(inbound) => {
                    connection.taken(inbound.bytes());
                    if failing && inbound.arrived.elapsed() > PATIENCE {
                        inbound.reply.send::<()>(Err(late()));
                        continue;
                    }
                    // Boxed: else the task of an idle connection would be as large as the largest handler.
                    let outcome = if inbound.event.name == client::SEND_MESSAGE {
                        let run = run(*inbound, &connection, &mut items);
                        Box::pin(send(call, run)).await
                    } else {
                        Box::pin(handle(call, *inbound)).await
                    };
                    failing = outcome == Some(ErrorCode::Unavailable);
                }
                Item::Closed(socket) => {
                    return Box::pin(leave_ticket::disconnected(&app, &connection, &socket)).await;
                }
            }
        }
    });
}

/// Ends the connections of those whose tokens were revoked, as soon as this gateway knows.
pub async fn end_revoked(app: Arc<App>) {
    let Identify::Tokens {
        revocations, audit, ..
    } = &app.identify
    else {
        return app.life.stopping().cancelled().await;
    };
    let mut changes = revocations.changed();
    loop {
        tokio::select! {
            () = app.life.stopping().cancelled() => return,
            news = changes.changed() => if news.is_err() { return },
        }
        // Closed: the process stops, and nobody is connected.
        let Some(io) = app.io.of("/") else {
            return app.life.stopping().cancelled().await;
        };
        for socket in io.sockets() {
            if let Some(connection) = socket.extensions.get::<Arc<Connection>>()
                && let Some(claims) = claims_of(&connection.caller())
                && revocations.revoked(claims)
            {
                audit.cut(Cut::Revoked, Some(claims));
                session::end(&socket);
            }
        }
    }
}

/// Changes a ticket, for the events that do.
async fn change(
    call: &Call,
    ticket: Id,
    change: Change,
    by: Actor,
    expected: Option<u64>,
    grant: &Grant,
) -> Result<Changed, Error> {
    let entry = call
        .app
        .tickets
        .change(ticket, change, &by, expected, grant)
        .await?;
    queue::updated(&call.app.io, &entry).await;
    let ticket = grant.show_after(&entry)?;
    Ok(Changed { ticket })
}

//! `leave_ticket`: leave a ticket; and the end of a connection, which leaves all of them.

use serde_json::Value;
use socketioxide::extract::SocketRef;
use ticket_shared::{
    event::{ErrorCode, LeaveTicket, Nothing},
    id::Id,
};

use super::{Connection, Reply, inbound::Call, subscribe_queue};
use crate::{adapter::Adapter, app::App, error::Error, ticket::follow::LeaveRequest};

/// Lets the socket out. Leaving a ticket that it is not in is fine.
pub(super) async fn handle(call: &Call, payload: Value, reply: Reply) -> Option<ErrorCode> {
    let LeaveTicket { ticket_id } = match payload.try_into() {
        Ok(leave) => leave,
        Err(invalid) => return reply.send::<Nothing>(Err(Error::Invalid(invalid))),
    };
    call.app
        .typing
        .stopped(&call.app, &call.socket.id.to_string(), Some(ticket_id))
        .await;
    let Some(seat) = call.connection.joined().remove(&ticket_id) else {
        // The ticket's task may not have come to it yet: after this answer it sends nothing more.
        call.connection.leaving.vacate(ticket_id);
        return reply.send(Ok(Nothing {}));
    };
    call.connection.leaving.add(ticket_id, &seat);
    let request = LeaveRequest {
        socket: call.socket.clone(),
        on_purpose: true,
        reply: Some(reply),
    };
    call.app.follower.leave(ticket_id, request);
    None
}

/// Lets the socket out of a ticket that it may no longer be in.
pub(super) async fn leave(call: &Call, ticket: Id) {
    let socket = call.socket.id.to_string();
    call.app
        .typing
        .stopped(&call.app, &socket, Some(ticket))
        .await;
    if let Some(seat) = call.connection.joined().remove(&ticket) {
        // At once, whatever waits for the ticket's task.
        seat.vacate();
        let request = LeaveRequest {
            socket: call.socket.clone(),
            on_purpose: true,
            reply: None,
        };
        call.app.follower.leave(ticket, request);
    }
}

/// Lets the socket out of everything because its token ended, and remembers out of what.
pub(super) async fn shut_out(call: &Call) {
    subscribe_queue::leave(call);
    let joined: Vec<_> = call.connection.joined().keys().copied().collect();
    for ticket in &joined {
        leave(call, *ticket).await;
    }
    *call.connection.shut() = joined;
}

/// The connection ended.
pub(super) async fn disconnected(app: &App, connection: &Connection, socket: &SocketRef<Adapter>) {
    app.typing.stopped(app, &socket.id.to_string(), None).await;
    let tickets: Vec<_> = connection
        .joined()
        .drain()
        .map(|(ticket, _)| ticket)
        .collect();
    for ticket in tickets {
        let request = LeaveRequest {
            socket: socket.clone(),
            on_purpose: false,
            reply: None,
        };
        app.follower.leave(ticket, request);
    }
}

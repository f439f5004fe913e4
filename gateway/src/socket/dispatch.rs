//! The table of events, and what holds for each of them: whatever happens, it is answered.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use ticket_shared::event::{ErrorCode, client};

use super::{
    assign_agent,
    event::{Event, Payload},
    inbound::{Call, Connection, Inbound, Item},
    join_ticket, leave_ticket, refresh_token,
    reply::Reply,
    send_message, subscribe_queue, ticket_status_change, typing,
};
use crate::{error::Error, mailbox, ticket::append::RUN};

/// The messages that wait behind a first one, with nothing else between them.
pub(super) fn run(
    first: Inbound,
    connection: &Connection,
    items: &mut mailbox::Receiver<Item>,
) -> Vec<Inbound> {
    let follows =
        |item: &Item| matches!(item, Item::Event(next) if next.event.name == client::SEND_MESSAGE);
    let mut run = vec![first];
    while run.len() < RUN
        && let Some(Item::Event(next)) = items.try_recv_if(follows)
    {
        connection.taken(next.bytes());
        run.push(*next);
    }
    run
}

/// Handles messages of one socket and answers them, whatever happens. Says how the last of them ended.
pub(super) async fn send(call: Call, run: Vec<Inbound>) -> Option<ErrorCode> {
    let (payloads, replies): (Vec<_>, Vec<_>) = run
        .into_iter()
        .map(|inbound| (inbound.event.payload, inbound.reply))
        .unzip();
    let work = AssertUnwindSafe(async {
        match call.app.identify.check(&call.caller) {
            Ok(()) => send_message::handle(&call, payloads).await,
            Err(error) => payloads
                .into_iter()
                .map(|payload| payload.and(Err(error.clone())))
                .collect(),
        }
    });
    let sent = work.catch_unwind().await.unwrap_or_else(|_| {
        let panicked = || Err(Error::Internal("the handler panicked".into()));
        replies.iter().map(|_| panicked()).collect()
    });
    let outcomes = Reply::send_all(replies.into_iter().zip(sent));
    for outcome in &outcomes {
        let outcome = outcome.map_or("ok", ErrorCode::as_str);
        call.app.metrics.event(client::SEND_MESSAGE, outcome);
    }
    outcomes.last().copied().flatten()
}

/// Handles one event that is no message and answers it, whatever happens.
pub(super) async fn handle(call: Call, inbound: Inbound) -> Option<ErrorCode> {
    let Inbound { event, reply, .. } = inbound;
    let Event { name, payload } = event;
    let spare = reply.clone();
    let app = Arc::clone(&call.app);
    let event = name.clone();
    let work = AssertUnwindSafe(async {
        let payload = match payload.and_then(Payload::decode) {
            Ok(payload) => payload,
            Err(error) => return reply.send::<()>(Err(error)),
        };
        // With a token that is over, only another one is taken.
        if event != client::REFRESH_TOKEN
            && let Err(error) = call.app.identify.check(&call.caller)
        {
            return reply.send::<()>(Err(error));
        }
        // The table of events.
        match &*event {
            client::JOIN_TICKET => join_ticket::handle(&call, payload, reply).await,
            client::LEAVE_TICKET => leave_ticket::handle(&call, payload, reply).await,
            client::TYPING => reply.send(typing::handle(&call, payload).await),
            client::TICKET_STATUS_CHANGE => {
                reply.send(ticket_status_change::handle(&call, payload).await)
            }
            client::ASSIGN_AGENT => reply.send(assign_agent::handle(&call, payload).await),
            client::SUBSCRIBE_QUEUE => reply.send(subscribe_queue::subscribe(&call).await),
            client::UNSUBSCRIBE_QUEUE => reply.send(Ok(subscribe_queue::unsubscribe(&call))),
            client::REFRESH_TOKEN => reply.send(refresh_token::handle(&call, payload).await),
            _ => reply.send::<()>(Err(Error::UnknownEvent)),
        }
    });
    let outcome = match work.catch_unwind().await {
        Ok(outcome) => outcome,
        Err(_) => spare.send::<()>(Err(Error::Internal("the handler panicked".into()))),
    };
    app.metrics
        .event(&name, outcome.map_or("ok", ErrorCode::as_str));
    outcome
}

/// What an event is answered that waited behind others which failed.
pub(super) fn late() -> Error {
    Error::Unavailable {
        part: "the store",
        reason: "waited behind events that failed".into(),
    }
}

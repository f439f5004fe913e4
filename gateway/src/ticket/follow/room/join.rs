//! How a socket gets in: what it is answered fits what comes after.

use std::sync::Arc;

use socketioxide::extract::SocketRef;
use ticket_shared::{
    domain::{Message, Person},
    event::{ErrorCode, Joined},
};
use tokio::time::Instant;

use super::{JoinRequest, LINGER, Member, Room, emit};
use crate::{
    adapter::Adapter,
    error::Error,
    presence::Lease,
    socket::Connection,
    ticket::{
        page::visible_to,
        view::{Part, View, Which},
    },
};

/// How many messages a join answers with.
const LATEST: usize = 50;
/// How many missed messages a join answers with at most.
const RECOVER: usize = 300;

impl Room {
    /// Lets a socket in.
    pub(super) async fn join(&mut self, request: JoinRequest) {
        let JoinRequest {
            socket,
            person,
            since,
            reply,
            done,
        } = request;
        let joined = self.enter(&socket, person, since).await;
        let outcome = match joined {
            Ok(Some(joined)) => reply.send(Ok(joined)),
            // It went while it was let in: there is nobody to answer.
            Ok(None) => Some(ErrorCode::Unavailable),
            Err(error) => reply.send::<Joined>(Err(error)),
        };
        self.end_at = self.members.is_empty().then(|| Instant::now() + LINGER);
        // The socket's task may have ended with its socket.
        let _ = done.send(outcome);
    }

    /// Puts a socket into the ticket; nothing where it went meanwhile.
    async fn enter(
        &mut self,
        socket: &SocketRef<Adapter>,
        person: Person,
        since: Option<(u64, Option<String>)>,
    ) -> Result<Option<Joined>, Error> {
        let which = visible_to(person.user_type);
        let sid = socket.id.to_string();
        let lease = Lease {
            socket: sid.clone(),
            person,
        };
        if let Some(before) = self.members.get(&sid)
            && before.lease != lease
        {
            // The same socket comes as somebody else.
            let before = before.lease.clone();
            self.shared.presence.leave(self.ticket, &before).await?;
            socket.leave(emit::rooms_of(self.ticket, &before.person));
            self.members.remove(&sid);
        }
        // Before presence: a ticket that does not exist has nobody in it.
        let view = self
            .shared
            .tickets
            .read(self.ticket, Part::newest(LATEST, which))
            .await?;
        let (messages, recovered) = self.messages_for(&view, since, which).await?;
        let participants = self.present(&lease).await?;
        // What came since the last entry that was emitted is part of the answer; the others get it now.
        self.catch_up_to(&view).await;
        if !socket.connected() {
            self.shared
                .presence
                .disconnected(self.ticket, &lease)
                .await?;
            return Ok(None);
        }
        socket.join(emit::rooms_of(self.ticket, &lease.person));
        let side = lease.person.user_type;
        self.members.insert(
            sid,
            Box::new(Member {
                socket: socket.clone(),
                lease,
                line: socket
                    .extensions
                    .get::<Arc<Connection>>()
                    .map(|connection| Arc::clone(connection.line())),
            }),
        );
        let ticket = view.ticket(self.ticket, side);
        Ok(Some(Joined {
            seq: ticket.seq,
            ticket,
            messages,
            participants,
            epoch: view.epoch,
            recovered,
        }))
    }

    /// Everything after `since` where that can be told, else the latest messages.
    async fn messages_for(
        &self,
        view: &View,
        since: Option<(u64, Option<String>)>,
        which: Which,
    ) -> Result<(Vec<Message>, bool), Error> {
        let trusted = since.filter(|(since, epoch)| {
            *since <= view.numbers.seq && epoch.as_ref().is_none_or(|epoch| *epoch == view.epoch)
        });
        if let Some((since, _)) = trusted
            && let Some(missed) = self
                .shared
                .tickets
                .missed(self.ticket, view, since, RECOVER, which)
                .await?
        {
            return Ok((missed, true));
        }
        Ok((
            self.shared
                .tickets
                .newest(self.ticket, view, None, LATEST, which)
                .await?,
            false,
        ))
    }

    /// Takes a lease. While Redis refuses writes people may still read: they just aren't seen.
    async fn present(&self, lease: &Lease) -> Result<Vec<Person>, Error> {
        match self.shared.presence.join(self.ticket, lease).await {
            Err(Error::Overloaded(_)) => Ok(vec![lease.person.clone()]),
            people => people,
        }
    }
}

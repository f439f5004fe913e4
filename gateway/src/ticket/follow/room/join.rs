//! How a socket gets in: what it is answered fits what comes after.

use std::sync::Arc;

use engineioxide::Outlet;
use socketioxide::extract::SocketRef;
use ticket_shared::{
    domain::{Message, UserType},
    event::{ErrorCode, Joined},
    id::Id,
};
use tokio::time::Instant;

use super::{JoinRequest, LINGER, Member, Membership, Outcome, Room, Seat};
use crate::{
    access::Grant,
    adapter::Adapter,
    error::Error,
    presence::Lease,
    queue,
    socket::Connection,
    ticket::{
        page::visible_to,
        view::{Part, View},
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
            seat,
            grant,
            since,
            reply,
            done,
        } = request;
        self.flush().await;
        let messages = if since.is_some() { RECOVER } else { LATEST };
        // Until the answer is written.
        let turn = self.shared.joins.answer(messages).await;
        let joined = match &turn {
            Ok(_) => self.enter(&socket, seat, &grant, since).await,
            Err(error) => Err(error.clone()),
        };
        let answered = match joined {
            Ok(Some(joined)) => Ok(reply.send(Ok(joined))),
            // It went while it was let in: there is nobody to answer.
            Ok(None) => Ok(Some(ErrorCode::Unavailable)),
            Err(error) => Err(error),
        };
        self.end_at = self.members.is_empty().then(|| Instant::now() + LINGER);
        // The socket's task may have ended with its socket.
        let membership = match self.members.get(&socket.id) {
            Some(member) => Membership::In(Arc::clone(&member.seat)),
            None => Membership::Out,
        };
        let _ = done.send(Outcome {
            answered,
            membership,
        });
    }

    /// Puts a socket into the ticket; nothing where it went meanwhile.
    async fn enter(
        &mut self,
        socket: &SocketRef<Adapter>,
        seat: Arc<Seat>,
        grant: &Grant,
        since: Option<(u64, Option<String>)>,
    ) -> Result<Option<Joined>, Error> {
        let lease = Lease {
            socket: socket.id.as_str(),
            person: &seat.person,
        };
        if let Some(before) = self.members.get(&socket.id)
            && before.lease() != lease
        {
            // The same socket comes as somebody else.
            let leaves = self.shared.presence.leave(self.ticket, before.lease());
            leaves.await?;
            self.flush().await;
            self.members.remove(&socket.id);
        }
        let newest = Part::newest(LATEST, visible_to(grant.side));
        let (view, participants) = self
            .shared
            .tickets
            .enter(self.ticket, newest, lease)
            .await?;
        let (messages, recovered) = match self.messages_for(&view, since, grant.side).await {
            Ok(messages) => messages,
            Err(error) => {
                if !self.members.contains_key(&socket.id) {
                    // Nobody would renew it. Where Redis is the reason it runs out.
                    let _ = self.shared.presence.leave(self.ticket, lease).await;
                }
                return Err(error);
            }
        };
        // What came since the last entry that was emitted is part of the answer; the others get it now.
        self.catch_up_to(&view).await;
        self.flush().await;
        if self
            .seen
            .as_ref()
            .is_some_and(|seen| seen.epoch == view.epoch && seen.seq < view.numbers.seq)
        {
            if !self.members.contains_key(&socket.id) {
                let _ = self.shared.presence.leave(self.ticket, lease).await;
            }
            // It would get twice what its answer has.
            return Err(Error::Unavailable {
                part: "redis",
                reason: "the members could not be brought to where the ticket is".into(),
            });
        }
        if !socket.connected() {
            self.shared
                .presence
                .disconnected(self.ticket, lease)
                .await?;
            return Ok(None);
        }
        let Some(member) = member(self.ticket, socket, seat) else {
            return Err(Error::Internal("a socket without its connection".into()));
        };
        self.members.insert(socket.id, Box::new(member));
        let ticket = view.show(self.ticket, grant)?;
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
        side: UserType,
    ) -> Result<(Vec<Message>, bool), Error> {
        let which = visible_to(side);
        // A user is nowhere beyond what users see, or the answer would tell of internal messages.
        let newest = view.numbers.seen_by(side).seq;
        let trusted = since.filter(|(since, epoch)| {
            *since <= newest && epoch.as_ref().is_none_or(|epoch| *epoch == view.epoch)
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
}

fn member(ticket: Id, socket: &SocketRef<Adapter>, seat: Arc<Seat>) -> Option<Member> {
    let connection = socket.extensions.get::<Arc<Connection>>()?;
    if connection.in_queue() {
        socket.join(queue::inside(ticket));
    }
    Some(Member {
        outlet: socket.req_parts().extensions.get::<Outlet>()?.clone(),
        socket: socket.clone(),
        seat,
    })
}

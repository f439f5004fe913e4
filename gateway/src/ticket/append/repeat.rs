//! Messages that were sent before: the first one is the answer, unless it was lost.

use fred::interfaces::{ClientLike, HashesInterface};
use ticket_shared::{
    domain::Message,
    id::Id,
    redis::hot_path,
    stream::{Entry, NewMessage},
};

use crate::{
    access::Grant,
    error::Error,
    ticket::{Tickets, view::Part, warm::later},
};

impl Tickets {
    /// The message as it was first sent: from the live log, or from MongoDB. Nothing where it was lost.
    pub(super) async fn first(
        &self,
        ticket: Id,
        id: Id,
        seq: u64,
        frame: Option<bytes::Bytes>,
    ) -> Result<Option<Message>, Error> {
        if let Some(message) = frame
            .map(|frame| Entry::decode(&frame))
            .transpose()?
            .and_then(|entry| entry.message())
        {
            return Ok(Some(message));
        }
        // In this order: what is persisted then is in MongoDB, if it is anywhere.
        let view = self.read(ticket, Part::NONE).await?;
        match self.0.store.message(id).await? {
            None if view.persisted < seq => Err(later()),
            found => Ok(found),
        }
    }

    /// Sends a message that was acknowledged and lost: its sender still has it.
    pub(super) async fn send_anew(
        &self,
        ticket: Id,
        message: NewMessage,
        grant: &Grant,
    ) -> Result<(Message, bool), Error> {
        tracing::warn!(ticket.id = %ticket, message.id = %message.id, "message was lost, taken anew from its sender");
        // The field that has gone is noticed, and the rest of them is read again.
        let field = &message.id.bytes()[..];
        let redis = self.0.redis.with_options(&hot_path());
        let _: i64 = redis.hdel(self.0.keys.idem(ticket), field).await?;
        self.send(ticket, message, grant).await
    }
}

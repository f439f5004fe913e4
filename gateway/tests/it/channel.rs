//! What goes over a ticket's channel.

use std::time::Duration;

use fred::{
    clients::SubscriberClient,
    interfaces::{ClientLike, EventInterface, PubsubInterface},
    types::Message,
};
use ticket_shared::{config::Secret, id::Id, redis};
use tokio::sync::broadcast::Receiver;

use crate::world::World;

/// A subscriber of a ticket's channel.
pub(crate) struct Channel {
    client: SubscriberClient,
    messages: Receiver<Message>,
    name: String,
}

impl Channel {
    pub(crate) async fn of(world: &World, ticket: Id) -> Self {
        let url = Secret::new(std::env::var("REDIS_URL").unwrap());
        let client = redis::subscriber(&url).unwrap();
        let messages = client.message_rx();
        client.init().await.unwrap();
        let name = world.keys.live(ticket);
        client.ssubscribe(name.clone()).await.unwrap();
        Self {
            client,
            messages,
            name,
        }
    }

    /// Everything that was published up to now: up to a mark that is published last.
    pub(crate) async fn said(&mut self, world: &World) -> Vec<Vec<u8>> {
        let _: i64 = world
            .redis
            .spublish(self.name.clone(), "mark")
            .await
            .unwrap();
        let mut said = Vec::new();
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.messages.recv());
            let message = next.await.expect("the mark comes").unwrap();
            let bytes = message.value.into_owned_bytes().unwrap();
            if bytes == b"mark" {
                return said;
            }
            said.push(bytes);
        }
    }

    pub(crate) async fn close(self) {
        self.client.quit().await.unwrap();
    }
}

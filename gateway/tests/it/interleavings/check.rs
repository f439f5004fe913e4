//! Rest, and what must hold then.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use fred::interfaces::SortedSetsInterface;
use futures::TryStreamExt;
use mongodb::bson::{Document, doc, oid::ObjectId};
use ticket_gateway::{
    access::Grant,
    error::Error,
    ticket::{
        page::Page,
        view::{Part, Which},
    },
};
use ticket_shared::id::Id;

use super::{Run, worker::Running};

/// Maximum time until rest.
const REST: Duration = Duration::from_mins(2);

impl Run {
    /// Waits until no ticket waits for anything.
    pub(super) async fn rest(&mut self) {
        if self.worker.is_none() {
            self.worker = Some(Running::start(&self.world).await);
        }
        let end = tokio::time::Instant::now() + REST;
        let mut quiet = 0;
        while quiet < 3 {
            let late = tokio::time::Instant::now() > end;
            assert!(!late, "seed {}: tickets stay dirty at rest", self.seed);
            tokio::time::sleep(Duration::from_millis(100)).await;
            let mut dirty = 0;
            for partition in 0..self.world.keys.partitions() {
                let key = self.world.keys.dirty(partition);
                dirty += self.world.redis.zcard::<i64, _>(key).await.unwrap();
            }
            quiet = if dirty == 0 { quiet + 1 } else { 0 };
        }
    }

    pub(super) async fn check(mut self) {
        let seed = self.seed;
        let lost = self.worker.as_ref().unwrap().lost().await;
        assert!(lost == 0 || self.may_lose(), "seed {seed}: {lost} lost");
        let mut missing = 0;
        for &ticket in &self.tickets {
            let stored = self.stored(ticket).await;
            let numbers: BTreeMap<u64, Id> = stored.iter().map(|(id, seq)| (*seq, *id)).collect();
            assert_eq!(
                numbers.len(),
                stored.len(),
                "seed {seed}: a number twice in {ticket}"
            );
            let acked = self.acked.iter().filter(|((of, _), _)| *of == ticket);
            for ((_, id), seq) in acked {
                match stored.get(id) {
                    Some(stored) if stored == seq => {}
                    _ => missing += 1,
                }
            }
            for shown in self.shown.iter().filter(|shown| shown.ticket == ticket) {
                let due = numbers.range(shown.after + 1..=shown.upto.max(shown.after + 1));
                for (seq, id) in due.filter(|(seq, _)| **seq <= shown.upto) {
                    let is_shown = shown.ids.contains(id);
                    assert!(
                        is_shown,
                        "seed {seed}: {seq} of {ticket} was hidden after {}",
                        shown.after
                    );
                }
            }
            self.readers(ticket, &numbers).await;
        }
        assert!(
            missing <= lost,
            "seed {seed}: {missing} missing, {lost} counted as lost"
        );
        if let Some(worker) = self.worker.take() {
            worker.end(false).await;
        }
    }

    /// By message: its number.
    async fn stored(&self, ticket: Id) -> HashMap<Id, u64> {
        let filter = doc! { "ticketId": ObjectId::from_bytes(ticket.bytes()) };
        let messages = self.world.database.collection::<Document>("messages");
        let all: Vec<Document> = messages
            .find(filter)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        let all = all.iter().map(|message| {
            let id = message.get_object_id("_id").unwrap();
            let seq = message.get_i64("seq").unwrap();
            (Id::from_bytes(id.bytes()), seq.cast_unsigned())
        });
        all.collect()
    }

    /// REST and joins say what MongoDB does.
    async fn readers(&self, ticket: Id, numbers: &BTreeMap<u64, Id>) {
        let seed = self.seed;
        for gateway in &self.gateways {
            let page = Page {
                after: Some(0),
                before: None,
                limit: 200,
            };
            let page = match gateway.messages(ticket, page, &Grant::TEAM).await {
                Ok(page) => page,
                Err(Error::TicketNotFound) if self.may_lose() && numbers.is_empty() => continue,
                Err(error) => panic!("seed {seed}: {error}"),
            };
            let page: BTreeMap<u64, Id> = page.iter().map(|m| (m.seq, m.id)).collect();
            assert_eq!(page, *numbers, "seed {seed}: a page of {ticket}");
            let newest = Part::newest(50, Which::Messages);
            let view = gateway.read(ticket, newest).await.unwrap();
            let missed = gateway.missed(ticket, &view, 0, 300, Which::Messages).await;
            let missed = missed.unwrap().expect("fewer than 300");
            let missed: BTreeMap<u64, Id> = missed.iter().map(|m| (m.seq, m.id)).collect();
            assert_eq!(missed, *numbers, "seed {seed}: a join of {ticket}");
            if !self.may_lose() {
                let count = view.numbers.message_count;
                assert_eq!(count, numbers.len() as u64, "seed {seed}: {ticket}");
                assert_eq!(view.base.user_id.as_deref(), Some("u1"), "seed {seed}");
            }
        }
    }
}

//! Any interleaving of sends, repeats, joins, workers and keys that go, then rest: everybody agrees, and every message that
//! was acknowledged is there once, or counted as lost where nothing was left that had it.
//!
//! `INTERLEAVINGS` is how many are tried; `SEED` is where they begin, and is printed with whatever fails.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use fred::{
    interfaces::{KeysInterface, StreamsInterface},
    types::Value,
};
use futures::{StreamExt, stream};
use ticket_gateway::{
    access::Grant,
    error::Error,
    ticket::{
        Tickets,
        append::Change,
        page::Page,
        view::{Part, Which},
    },
};
use ticket_shared::{domain::Status, id::Id, stream::GROUP};

mod check;
mod worker;

use worker::Running;

use crate::{
    tickets::{omar, opened},
    world::{World, in_world, message},
};

/// How many are tried where nothing else is asked for.
const TRIED: u64 = 12;
/// How many of them at a time.
const TOGETHER: usize = 6;
/// Steps of each.
const STEPS: u64 = 60;

/// Numbers that look like chance and come again with the same seed (`SplitMix64`).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        let place = self.below(all.len() as u64);
        all[usize::try_from(place).unwrap()].clone()
    }
}

/// What somebody was shown: everything after one number and up to another.
struct Shown {
    ticket: Id,
    after: u64,
    upto: u64,
    ids: Vec<Id>,
}

/// One interleaving.
struct Run {
    seed: u64,
    world: Rc<World>,
    chance: Chance,
    gateways: [Tickets; 2],
    tickets: Vec<Id>,
    /// What may go. Where log and stream both do, something may be lost.
    keys: Vec<&'static str>,
    /// By ticket and message: the number that was acknowledged last.
    acked: BTreeMap<(Id, Id), u64>,
    sent: Vec<(Id, String)>,
    shown: Vec<Shown>,
    worker: Option<Running>,
}

impl Run {
    async fn begin(seed: u64, world: Rc<World>) -> Self {
        let mut chance = Chance(seed);
        let mut keys = vec!["state", "group", "epoch"];
        // Where all of them went nobody could count what was lost.
        keys.extend(chance.one_of(&[
            &["log", "idem"][..],
            &["stream", "idem"],
            &["log", "stream"],
        ]));
        let mut tickets = Vec::new();
        for _ in 0..3 {
            tickets.push(opened(&world).await.id);
        }
        Self {
            seed,
            gateways: [world.tickets.clone(), world.another()],
            world,
            chance,
            tickets,
            keys,
            acked: BTreeMap::new(),
            sent: Vec::new(),
            shown: Vec::new(),
            worker: None,
        }
    }

    fn may_lose(&self) -> bool {
        self.keys.contains(&"log") && self.keys.contains(&"stream")
    }

    async fn step(&mut self, number: u64) {
        let gateway = self.chance.one_of(&self.gateways);
        let ticket = self.chance.one_of(&self.tickets);
        match self.chance.below(20) {
            0..=6 => self.send(&gateway, ticket, format!("m{number}")).await,
            7..=8 if !self.sent.is_empty() => {
                let (ticket, name) = self.chance.one_of(&self.sent);
                self.send(&gateway, ticket, name).await;
            }
            9 => {
                let to = self.chance.one_of(&[Status::Open, Status::Closed]);
                let change = Change::Status(to);
                let done = gateway
                    .change(ticket, change, &omar(), None, &Grant::TEAM)
                    .await;
                self.tolerate(done.map(drop));
            }
            10..=11 => self.join(&gateway, ticket).await,
            12..=13 => self.page(&gateway, ticket).await,
            14..=16 => self.delete(ticket).await,
            17 => match self.worker.take() {
                None => self.worker = Some(Running::start(&self.world).await),
                // Its figures would go with it.
                Some(worker) if self.may_lose() => self.worker = Some(worker),
                Some(worker) => worker.end(self.chance.below(2) == 0).await,
            },
            _ => tokio::time::sleep(Duration::from_millis(self.chance.below(60))).await,
        }
    }

    /// While something is on its way to MongoDB only, or missing, nobody answers; nothing else may go wrong.
    fn tolerate(&self, done: Result<(), Error>) -> bool {
        match done {
            Ok(()) => true,
            Err(Error::Unavailable { .. }) => false,
            // Of a ticket of which nothing at all was left.
            Err(Error::TicketNotFound) if self.may_lose() => false,
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    async fn send(&mut self, gateway: &Tickets, ticket: Id, name: String) {
        let text = message(ticket, &name, Some(&name));
        let id = text.id;
        let done = gateway.send(ticket, text, &Grant::TEAM).await;
        self.sent.push((ticket, name));
        if let Ok((sent, _)) = &done {
            let before = self.acked.insert((ticket, id), sent.seq);
            let same = before.is_none_or(|before| before == sent.seq);
            assert!(
                same || self.may_lose(),
                "seed {}: {before:?} became {}",
                self.seed,
                sent.seq
            );
        }
        self.tolerate(done.map(drop));
    }

    async fn join(&mut self, gateway: &Tickets, ticket: Id) {
        let newest = Part::newest(50, Which::Messages);
        let view = match gateway.read(ticket, newest).await {
            Ok(view) => view,
            Err(error) => {
                self.tolerate(Err(error));
                return;
            }
        };
        let after = self.chance.below(view.numbers.seq + 1);
        match gateway
            .missed(ticket, &view, after, 300, Which::Messages)
            .await
        {
            Ok(Some(missed)) => self.shown.push(Shown {
                ticket,
                after,
                upto: view.numbers.seq,
                ids: missed.iter().map(|message| message.id).collect(),
            }),
            Ok(None) => {}
            Err(error) => drop(self.tolerate(Err(error))),
        }
    }

    async fn page(&mut self, gateway: &Tickets, ticket: Id) {
        let after = self.chance.below(8);
        let page = Page {
            after: Some(after),
            before: None,
            limit: 200,
        };
        match gateway.messages(ticket, page, &Grant::TEAM).await {
            Ok(page) => self.shown.push(Shown {
                ticket,
                after,
                upto: page.last().map_or(after, |last| last.seq),
                ids: page.iter().map(|message| message.id).collect(),
            }),
            Err(error) => drop(self.tolerate(Err(error))),
        }
    }

    async fn delete(&mut self, ticket: Id) {
        let (redis, keys) = (&self.world.redis, &self.world.keys);
        let partition = keys.partition(ticket);
        let key = match self.chance.one_of(&self.keys) {
            "state" => keys.state(ticket),
            "log" => keys.log(ticket),
            "idem" => keys.idem(ticket),
            "stream" => keys.events(partition),
            "epoch" => keys.epoch(partition),
            _ => {
                // There may be none.
                let _: Result<Value, _> = redis.xgroup_destroy(keys.events(partition), GROUP).await;
                return;
            }
        };
        let _: i64 = redis.del(key).await.unwrap();
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test]
async fn whatever_goes_when_everybody_agrees_at_rest() {
    let first = number("SEED").unwrap_or_else(|| {
        let bytes = Id::fresh().unwrap().bytes();
        u64::from_be_bytes(bytes[4..].try_into().unwrap()) >> 16
    });
    let tried = number("INTERLEAVINGS").unwrap_or(TRIED);
    println!("SEED={first} INTERLEAVINGS={tried}");
    let one = |seed| {
        in_world(move |world| async move {
            let mut run = Run::begin(seed, world).await;
            for number in 0..STEPS {
                run.step(number).await;
            }
            run.rest().await;
            run.check().await;
        })
    };
    stream::iter(first..first + tried)
        .map(one)
        .buffer_unordered(TOGETHER)
        .collect::<Vec<()>>()
        .await;
}

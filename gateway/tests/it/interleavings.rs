//! Any interleaving of sends, repeats, joins, workers and keys that go, then rest: everybody agrees, and every message that
//! was acknowledged is there once, or counted as lost where nothing was left that had it.
//!
//! `INTERLEAVINGS` is how many are tried; `SEED` is where they begin, and is printed with whatever fails.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
    time::Duration,
};

use clap::Parser;
use fred::{
    interfaces::{KeysInterface, SortedSetsInterface, StreamsInterface},
    types::Value,
};
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{Document, doc, oid::ObjectId};
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
use ticket_shared::{domain::Status, id::Id, lifecycle::Lifecycle, stream::GROUP};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
/// How long rest may take.
const REST: Duration = Duration::from_mins(2);

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

/// A worker in this process.
struct Running {
    life: Lifecycle,
    worker: ticket_worker::Worker,
}

impl Running {
    async fn start(world: &World) -> Self {
        let args = [
            "ticket-worker",
            "--host=127.0.0.1",
            "--ops-port=0",
            "--block-ms=20",
            "--consumer=w1",
            "--partitions=4",
            "--key-prefix",
            world.keys.prefix(),
            "--redis-url",
            &world.redis_url,
            "--mongo-uri",
            &world.mongo_uri,
        ];
        let config = ticket_worker::Config::try_parse_from(args).unwrap();
        let life = Lifecycle::default();
        let worker = ticket_worker::start(&config.resolve().unwrap(), &life).await;
        Self {
            worker: worker.unwrap(),
            life,
        }
    }

    async fn end(self, at_once: bool) {
        let grace = if at_once { 0 } else { 20 };
        self.life.shutdown(Duration::from_secs(grace)).await;
        self.worker.close().await;
    }

    async fn lost(&self) -> usize {
        let mut connection = tokio::net::TcpStream::connect(self.worker.ops)
            .await
            .unwrap();
        let request = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        connection.read_to_string(&mut text).await.unwrap();
        let lines = text.lines();
        let mut figure = lines.filter_map(|l| l.strip_prefix("ticket_worker_entries_lost_total "));
        figure.next().unwrap().trim().parse().unwrap()
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

    /// Waits until no ticket waits for anything.
    async fn rest(&mut self) {
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

    async fn check(mut self) {
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

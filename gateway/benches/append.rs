//! What an append costs, from the gateway's own function to Redis and back. `make microbench` brings a Redis;
//! without `REDIS_URL` nothing is measured.

use std::{cell::Cell, time::Duration};

use divan::{Bencher, counter::ItemsCount};
use fred::interfaces::{ClientLike, KeysInterface};
use futures::future::join_all;
use ticket_gateway::{
    access::Grant,
    store::Store,
    ticket::{
        Tickets,
        append::{Change, RUN},
        commit::Commit,
    },
    watch::Watch,
};
use ticket_shared::{
    config::Secret,
    domain::{Status, UserType},
    id::Id,
    lifecycle::Lifecycle,
    redis,
    stream::{Actor, Keys, NewMessage},
};
use tokio::runtime::Runtime;

mod ticket;

/// How many appends are on their way at once: one shows how long it takes, many how many there are room for.
const FLIGHTS: [usize; 3] = [1, 16, 128];
/// How long entries may stay that a run left behind.
const KEPT: i64 = 60;

fn main() {
    if std::env::var_os("REDIS_URL").is_none() {
        eprintln!("REDIS_URL is not set: appends are not measured");
        return;
    }
    divan::main();
}

/// A ticket in a Redis, under a prefix of its own.
struct Bed {
    runtime: Runtime,
    tickets: Tickets,
    ticket: Id,
}

impl Bed {
    fn start() -> Self {
        let url = Secret::new(std::env::var("REDIS_URL").expect("REDIS_URL"));
        // One thread, as if all of it were the work of one core.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let ticket = Id::fresh().expect("random numbers");
        let tickets = runtime.block_on(async {
            let client = redis::client(&url).expect("a usable REDIS_URL");
            client.init().await.expect("Redis answers");
            let keys = Keys::new(&format!("microbench-{ticket}"), 1);
            // Nobody asks it: the ticket stays in Redis.
            let store = Secret::new("mongodb://127.0.0.1:1/none");
            let life = Lifecycle::default();
            let store = Store::new(&store, life.clone(), Duration::from_secs(1));
            let store = store.expect("a usable URI");
            let commit = Commit::start(&client, &keys, &life);
            let tickets = Tickets::new(client, keys, store, Watch::default(), commit);
            let (base, head) = ticket::parts();
            let opened = tickets
                .open(ticket, &base, &head, None, false, &Grant::TEAM)
                .await;
            opened.expect("the ticket is opened");
            tickets
        });
        Self {
            runtime,
            tickets,
            ticket,
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let (keys, redis) = (self.tickets.keys(), self.tickets.redis());
        let names = [
            keys.state(self.ticket),
            keys.log(self.ticket),
            keys.idem(self.ticket),
            keys.events(0),
            keys.dirty(0),
            keys.epoch(0),
        ];
        self.runtime.block_on(async {
            for name in names {
                // Where that fails, Redis is gone, or was given to the benchmark alone.
                let _: Result<i64, _> = redis.expire(name, KEPT, None).await;
            }
        });
    }
}

fn message() -> NewMessage {
    NewMessage {
        id: Id::fresh().expect("random numbers"),
        sender_id: "customer-1".into(),
        sender_type: UserType::User,
        sender_name: "سارة".into(),
        content: "My order has not arrived yet, and the page says that it was delivered.".into(),
        internal: false,
        client_message_id: None,
    }
}

#[divan::bench(args = FLIGHTS)]
fn append_message(bencher: Bencher<'_, '_>, flights: usize) {
    let bed = Bed::start();
    bencher.counter(ItemsCount::new(flights)).bench_local(|| {
        let sends = (0..flights).map(|_| bed.tickets.send(bed.ticket, message(), &Grant::TEAM));
        for sent in bed.runtime.block_on(join_all(sends)) {
            sent.expect("the message is appended");
        }
    });
}

/// Messages of one sender that go together.
#[divan::bench(args = [4, RUN])]
fn append_run(bencher: Bencher<'_, '_>, length: usize) {
    let bed = Bed::start();
    bencher.counter(ItemsCount::new(length)).bench_local(|| {
        let run = (0..length).map(|_| message()).collect();
        let sends = bed.tickets.send_all(bed.ticket, run, &Grant::TEAM);
        for sent in bed.runtime.block_on(sends) {
            sent.expect("the message is appended");
        }
    });
}

/// A message that was sent before: found, not appended.
#[divan::bench]
fn append_repeat(bencher: Bencher<'_, '_>) {
    let bed = Bed::start();
    let message = NewMessage {
        client_message_id: Some("first".into()),
        ..message()
    };
    let send = || {
        let sent = bed.tickets.send(bed.ticket, message.clone(), &Grant::TEAM);
        bed.runtime.block_on(sent).expect("it is found").1
    };
    assert!(!send() && send(), "the second is the first again");
    bencher.bench_local(send);
}

/// A status change, which carries the whole ticket back.
#[divan::bench]
fn append_status(bencher: Bencher<'_, '_>) {
    let bed = Bed::start();
    let by = Actor {
        id: "agent-1".into(),
        name: "Omar".into(),
    };
    let turn = Cell::new(0_usize);
    bencher.bench_local(|| {
        turn.set(turn.get() + 1);
        let to = [Status::Open, Status::Pending][turn.get() % 2];
        let change = Change::Status(to);
        let changed = bed
            .tickets
            .change(bed.ticket, change, &by, None, &Grant::TEAM);
        bed.runtime.block_on(changed).expect("it is changed")
    });
}

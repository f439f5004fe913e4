//! What it costs to tell the members of a ticket something: from the ticket's channel in Redis through a whole gateway to
//! websockets that have read it, all on one thread. `make microbench` brings the servers; without `REDIS_URL` and
//! `MONGO_URI` nothing is measured.

use std::net::TcpListener;

use clap::Parser;
use divan::{Bencher, counter::ItemsCount};
use fred::interfaces::{ClientLike, KeysInterface, PubsubInterface};
use futures::{SinkExt, StreamExt, future::try_join_all};
use serde_json::json;
use ticket_gateway::{
    access::Grant,
    config::Config,
    store::Store,
    ticket::{Tickets, commit::Commit},
    watch::Watch,
};
use ticket_shared::{
    config::Secret,
    id::Id,
    lifecycle::Lifecycle,
    redis,
    stream::{Keys, Signal},
};
use tokio::{net::TcpStream, runtime::Runtime, time::Duration};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

mod ticket;

/// How many are in the ticket. A crowd of a hundred would be told in rounds: what is measured then is mostly the wait.
const MEMBERS: [usize; 3] = [1, 10, 90];
/// How many seconds what a run left behind may stay.
const KEPT: i64 = 60;
/// Within which time anything must happen.
const DEADLINE: Duration = Duration::from_secs(10);

type Ws = WebSocketStream<MaybeTlsStream<TcpStream>>;

fn main() {
    let named = |name| std::env::var_os(name).is_some();
    if !named("REDIS_URL") || !named("MONGO_URI") {
        eprintln!("REDIS_URL or MONGO_URI is not set: emissions are not measured");
        return;
    }
    divan::main();
}

/// A gateway with members in one ticket.
struct Bed {
    runtime: Runtime,
    life: Lifecycle,
    tickets: Tickets,
    ticket: Id,
    members: Vec<Ws>,
    signals: [String; 2],
}

impl Bed {
    fn start(members: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let (life, ticket) = (Lifecycle::default(), Id::fresh().expect("random numbers"));
        let prefix = format!("microbench-{ticket}");
        let (tickets, members) = runtime.block_on(async {
            let tickets = open(ticket, &prefix, &life).await;
            let address = serve(&prefix, &life);
            let joins = (0..members).map(|number| join(&address, ticket, number));
            (tickets, try_join_all(joins).await.expect("all join"))
        });
        // By turns: a renewal soon after is not told again.
        let signals = [true, false].map(|is_typing| {
            let signal = Signal::Typing {
                sender_id: "somebody-else".into(),
                sender_name: "Omar".into(),
                sender_type: None,
                is_typing,
                from: String::new(),
            };
            signal.encode().expect("JSON")
        });
        Self {
            runtime,
            life,
            tickets,
            ticket,
            members,
            signals,
        }
    }

    /// Tells everybody, and returns once everybody has read it.
    fn tell(&mut self) {
        self.signals.swap(0, 1);
        let (tickets, signal) = (&self.tickets, self.signals[1].as_str());
        let channel = tickets.keys().live(self.ticket);
        let members = &mut self.members;
        self.runtime.block_on(async {
            let told: Result<i64, _> = tickets.redis().spublish(channel, signal).await;
            assert_eq!(told.expect("Redis answers"), 1, "the gateway listens");
            let heard = members
                .iter_mut()
                .map(|member| until(member, "42[\"typing_indicator\""));
            let heard = tokio::time::timeout(DEADLINE, try_join_all(heard));
            heard.await.expect("in time").expect("all hear it");
        });
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let keys = self.tickets.keys();
        let names = [
            keys.state(self.ticket),
            keys.log(self.ticket),
            keys.events(0),
            keys.dirty(0),
            keys.epoch(0),
        ];
        self.members.clear();
        self.runtime.block_on(async {
            for name in names {
                // Where that fails, Redis is gone, or was given to the benchmark alone.
                let _: Result<i64, _> = self.tickets.redis().expire(name, KEPT, None).await;
            }
            self.life.stop();
            self.life.shutdown(DEADLINE).await;
        });
    }
}

/// Opens the ticket.
async fn open(ticket: Id, prefix: &str, life: &Lifecycle) -> Tickets {
    let secret = |name| Secret::new(std::env::var(name).expect("it is set"));
    let client = redis::client(&secret("REDIS_URL")).expect("a usable REDIS_URL");
    client.init().await.expect("Redis answers");
    let keys = Keys::new(prefix, 1);
    let store = Store::new(&secret("MONGO_URI"), life.clone(), DEADLINE).expect("a usable URI");
    let commit = Commit::start(&client, &keys, life);
    let tickets = Tickets::new(client, keys, store, Watch::default(), commit);
    let (base, head) = ticket::parts();
    let opened = tickets
        .open(ticket, &base, &head, None, false, &Grant::TEAM)
        .await;
    opened.expect("the ticket is opened");
    tickets
}

/// Starts a gateway, and returns where it listens.
fn serve(prefix: &str, life: &Lifecycle) -> String {
    let free = || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("it has an address").port()
    };
    let (port, ops) = (free().to_string(), free().to_string());
    let words = [
        "ticket-gateway",
        "--host",
        "127.0.0.1",
        "--auth-mode",
        "none",
    ];
    let more = [
        "--port",
        &port,
        "--ops-port",
        &ops,
        "--key-prefix",
        prefix,
        "--partitions",
        "1",
    ];
    let config = Config::try_parse_from(words.into_iter().chain(more)).expect("good settings");
    let config = config.resolve().expect("good settings");
    let gateway = ticket_gateway::run(config, life.clone());
    life.spawn(async move { gateway.await.expect("the gateway runs") });
    format!("ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket")
}

/// Lets somebody into the ticket.
async fn join(address: &str, ticket: Id, number: usize) -> Result<Ws, Lost> {
    let connected = async {
        loop {
            // Until the gateway listens.
            match tokio_tungstenite::connect_async(address).await {
                Ok((ws, _)) => return ws,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let mut ws = tokio::time::timeout(DEADLINE, connected).await?;
    ws.send(Message::text("40")).await?;
    until(&mut ws, "40").await?;
    let person = json!({
        "ticketId": ticket, "userId": format!("user-{number}"), "userType": "user", "userName": "سارة",
    });
    let joins = async {
        // A gateway that has just begun may not have reached Redis yet.
        loop {
            let join = Message::text(format!("420[\"join_ticket\",{person}]"));
            ws.send(join).await?;
            if until(&mut ws, "430[").await?.contains("\"ok\":true") {
                return Ok::<_, Lost>(ws);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, joins).await?
}

/// Reads until something comes that begins so.
async fn until(ws: &mut Ws, begins: &str) -> Result<String, Lost> {
    while let Some(message) = ws.next().await {
        let message = message?.into_text()?;
        if message.as_str() == "2" {
            ws.send(Message::text("3")).await?;
        } else if message.starts_with(begins) {
            return Ok(message.to_string());
        }
    }
    Err("the connection ended".into())
}

type Lost = Box<dyn std::error::Error>;

#[divan::bench(args = MEMBERS)]
fn emission(bencher: Bencher<'_, '_>, members: usize) {
    let mut bed = Bed::start(members);
    bencher
        .counter(ItemsCount::new(members))
        .bench_local(|| bed.tell());
}

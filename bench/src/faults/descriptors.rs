//! What happens to a gateway that may open no more files.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use ticket_shared::lifecycle::Lifecycle;
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{mpsc, watch},
    time::{Instant, sleep},
};

use super::{Told, clients::pair, couple::Couple, under, usual};
use crate::{
    flood::FROM,
    packet::{PONG, Packet},
    report::Row,
    rest,
    run::{Context, Run},
    socket::{Lost, Socket},
    wait::until,
    world::Shape,
};

/// How many files the gateway may open. Its own and the load's connections need about 60.
const FILES: u32 = 256;
/// Number of addresses that the clients come from: one alone may not have all of the files.
const ADDRESSES: usize = 8;
/// Number of empty connections that one address opens.
const EMPTY: usize = 400;
/// For how long others are watched beside them.
const BESIDE: Duration = Duration::from_secs(15);
/// How many more try to get in all the time, so that what is given back would be taken at once.
const TRYING: usize = 20;
/// How long a change may take to be noticed, and sends may fail after Redis' connections were cut.
const NOTICED: Duration = Duration::from_secs(15);
/// How often the operators ask while nothing is left.
const PROBES: u32 = 20;

/// One of the addresses.
fn from(number: usize) -> IpAddr {
    let last = u8::try_from(number % ADDRESSES).unwrap_or(0);
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1 + last))
}

/// Clients that take up the descriptors, and others that try to get in all the time.
struct Crowd {
    stop: watch::Sender<bool>,
    lost: mpsc::UnboundedReceiver<()>,
    turned_away: Arc<AtomicU64>,
    count: usize,
}

impl Crowd {
    /// Lets clients in until one is told to come later.
    ///
    /// # Errors
    /// Where one is treated otherwise, or nobody is turned away.
    async fn fill(life: &Lifecycle, address: &str) -> anyhow::Result<Self> {
        let (stop, (ended, lost)) = (watch::Sender::new(false), mpsc::unbounded_channel());
        let turned_away = Arc::new(AtomicU64::new(0));
        for count in 0..FILES as usize {
            let (ended, mut stopped) = (ended.clone(), stop.subscribe());
            match Socket::connect_from(from(count), None, address).await {
                Ok(socket) => life.spawn(async move {
                    tokio::select! {
                        () = stay(socket) => drop(ended.send(())),
                        _ = stopped.wait_for(|stop| *stop) => {}
                    }
                }),
                Err(Lost::TurnedAway(Some(_))) => {
                    for number in 0..TRYING {
                        let trying =
                            try_again(from(number), address.to_owned(), Arc::clone(&turned_away));
                        let mut stopped = stop.subscribe();
                        life.spawn(async move {
                            tokio::select! {
                                () = trying => {}
                                _ = stopped.wait_for(|stop| *stop) => {}
                            }
                        });
                    }
                    return Ok(Self {
                        stop,
                        lost,
                        turned_away,
                        count,
                    });
                }
                Err(error) => return Err(error).context("instead of a 503 with `Retry-After`"),
            }
        }
        bail!("more clients than files")
    }

    /// How many were cut off since the last time.
    fn lost(&mut self) -> usize {
        std::iter::from_fn(|| self.lost.try_recv().ok()).count()
    }

    /// Lets all of them go, and waits until they are gone.
    async fn leave(self) {
        self.stop.send_replace(true);
        self.stop.closed().await;
    }
}

/// Wants to get in all the time, and stays where that succeeds.
async fn try_again(from: IpAddr, address: String, turned_away: Arc<AtomicU64>) {
    loop {
        match Socket::connect_from(from, None, &address).await {
            Ok(socket) => stay(socket).await,
            Err(Lost::TurnedAway(Some(_))) => drop(turned_away.fetch_add(1, Ordering::Relaxed)),
            Err(_) => {}
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Answers pings until the connection ends.
async fn stay(mut socket: Socket) {
    while let Ok(packet) = socket.next().await {
        if packet == Packet::Ping && socket.write(PONG.to_owned()).await.is_err() {
            return;
        }
    }
}

/// Asks the first gateway again and again whether it is ready, and whether it lives. Every answer must come.
async fn probe(run: &mut Run) {
    let ops = run.world.ops[0].to_string();
    for probe in 0..PROBES {
        for (path, wanted) in [("/readyz", 503), ("/livez", 200)] {
            let answer = rest::status(&ops, path).await;
            let right = matches!(answer, Ok(status) if status == wanted);
            run.check(right, format!("{path}, question {probe}: {answer:?}"));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Cuts all connections to Redis; everybody has to open new ones.
fn cut_redis(run: &Run) -> anyhow::Result<()> {
    for kind in ["normal", "pubsub"] {
        let kill = ["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"];
        run.world.redis_cli(run.world.redis.address, &kill)?;
    }
    Ok(())
}

pub(super) async fn exhausted(context: Context) -> anyhow::Result<Row> {
    let shape = Shape {
        descriptors: Some(FILES),
        ..Shape::default()
    };
    let life = context.life.clone();
    let mut row = under(&context, "F21", shape, usual(), async |run| {
        let address = run.world.gateways[0].address.to_string();
        let (one, other) = pair(run).await?;
        let mut couple = Couple::meet(run, [one, other]).await?;
        couple.talk().await?;
        let mut crowd = Crowd::fill(&life, &address).await?;
        // On a slow machine they have not answered a ping for long by now.
        couple.talk().await.context("after they came")?;
        let unready = until("the gateway says that it is not ready", NOTICED, async || {
            !run.world.gateway_ready(0).await
        });
        let unready = unready.await?;
        probe(run).await;
        let ready = run.world.gateway_ready(1).await;
        run.check(ready, "the other gateway is not ready either");
        couple.talk().await.context("while nothing is left")?;
        cut_redis(run)?;
        let began = Instant::now();
        let mut talked = couple.talk().await;
        while talked.is_err() && began.elapsed() < NOTICED {
            talked = couple.talk().await;
        }
        let again = began.elapsed();
        run.note(talked.context("after Redis' connections were cut"));
        run.acks(200).await?;
        let lost = crowd.lost();
        run.check(lost == 0, format!("{lost} of those who were in were cut off"));
        let (count, away) = (crowd.count, crowd.turned_away.load(Ordering::Relaxed));
        run.check(away > 0, "nobody was turned away any more");
        crowd.leave().await;
        let ready = until("the gateway is ready again", NOTICED, async || run.world.gateway_ready(0).await).await?;
        until("somebody new is let in", NOTICED, async || Socket::connect(&address).await.is_ok()).await?;
        couple.talk().await.context("after that")?;
        run.acks(200).await?;
        Ok(Told::new(format!(
            "one of two gateways may open {FILES} files (`ulimit -n`); clients of {ADDRESSES} addresses connect until nobody gets in, and {TRYING} \
             more try all the time; then all connections to Redis are cut"
        ))
        .figure(format!("{count} clients besides the load's got in, and stayed; 503 with `Retry-After` {away} times"))
        .figure(format!("unready after {} ms, and {PROBES} times when asked; ready {} ms after they left", unready.as_millis(), ready.as_millis()))
        .figure(format!("messages both ways meanwhile, and {} ms after the cut", again.as_millis())))
    })
    .await?;
    let away = row.stats.reconnects;
    if away > 0 {
        row.failures
            .push(format!("{away} of the load's connections were lost"));
    }
    Ok(row)
}

/// A connection over which nothing is said.
async fn nothing(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((FROM, 0)))?;
    socket.connect(address).await
}

pub(super) async fn empty(context: Context) -> anyhow::Result<Row> {
    let shape = Shape {
        descriptors: Some(FILES),
        ..Shape::default()
    };
    let mut row = under(&context, "F21e", shape, usual(), async |run| {
        let (one, other) = pair(run).await?;
        let mut couple = Couple::meet(run, [one, other]).await?;
        let address = run.world.gateways[0].address;
        let mut empty = Vec::new();
        for _ in 0..EMPTY {
            empty.push(nothing(address).await?);
        }
        let (began, mut asked, mut slowest) = (Instant::now(), 0_u32, Duration::ZERO);
        while began.elapsed() < BESIDE {
            for at in [run.world.ops[0], address] {
                let answer = rest::status(&at.to_string(), "/readyz").await;
                run.check(matches!(answer, Ok(200)), format!("/readyz, question {asked}: {answer:?}"));
            }
            let connecting = Instant::now();
            let new = Socket::connect(&address.to_string()).await;
            slowest = slowest.max(connecting.elapsed());
            run.note(new.map(drop).context("somebody new from another address"));
            couple.talk().await?;
            // It does not give in.
            empty.rotate_left(1);
            empty.pop();
            empty.push(nothing(address).await?);
            asked += 1;
            sleep(Duration::from_millis(100)).await;
        }
        run.acks(200).await?;
        Ok(Told::new(format!(
            "one of two gateways may open {FILES} files; one address opens {EMPTY} connections and says nothing over them, \
             and goes on opening more"
        ))
        .figure(format!(
            "ready {asked} times when asked, on both ports; {asked} new clients of another address were let in, the slowest \
             within {} ms; messages both ways meanwhile",
            slowest.as_millis()
        )))
    })
    .await?;
    let away = row.stats.reconnects;
    if away > 0 {
        row.failures
            .push(format!("{away} of the load's connections were lost"));
    }
    Ok(row)
}

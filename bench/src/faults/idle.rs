//! Nobody says anything for longer than the proxies on the way allow.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use futures::future::try_join_all;
use ticket_shared::lifecycle::Lifecycle;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

use super::{Told, couple::Couple, skipped, under, usual};
use crate::{
    load::Size,
    process::Process,
    report::Row,
    run::{Context, Run},
    socket::{Lost, Socket},
    wait::until,
    world::{Front, Shape},
};

/// How long nobody says anything. The proxies cut what is idle for 60 s.
const QUIET: Duration = Duration::from_secs(75);
/// How many connections one address may have to one gateway. The load itself has 20 to each.
const PER_ADDRESS: usize = 40;
/// How long a proxy may take to start.
const STARTING: Duration = Duration::from_secs(20);
/// The wish for a websocket, with the key of the standard's own example.
const WISH: &[u8] =
    b"GET /silent HTTP/1.1\r\nhost: silent\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// What a server says that agrees, and then says nothing more.
const AGREED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A server that lets everybody in and never says anything: what is cut there is cut by the proxy.
async fn silence(life: &Lifecycle) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    life.spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 2_048];
            // A proxy that gives up is seen by whoever waits behind it.
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(AGREED).await;
            held.push(stream);
        }
    });
    Ok(address)
}

/// How long the proxy lets an idle connection live; nothing if it outlives the quiet time.
async fn life_of_silence(proxy: SocketAddr) -> anyhow::Result<Option<Duration>> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream.write_all(WISH).await?;
    let mut answer = [0; 2_048];
    let read = stream.read(&mut answer).await?;
    let agreed = answer[..read].starts_with(b"HTTP/1.1 101");
    ensure!(agreed, "the proxy lets no websocket through");
    let began = Instant::now();
    match timeout(QUIET, stream.read(&mut answer)).await {
        Err(_) => Ok(None),
        Ok(Ok(0) | Err(_)) => Ok(Some(began.elapsed())),
        Ok(Ok(_)) => bail!("somebody broke the silence"),
    }
}

/// One proxy with what goes through it.
struct Way {
    front: Front,
    process: Process,
    couple: Couple,
}

impl Way {
    /// Starts the proxy, and lets one of two people in through it.
    async fn open(run: &mut Run, front: Front, silent: SocketAddr) -> anyhow::Result<Self> {
        let mut process = run.world.front(front, silent)?;
        process.start()?;
        let address = process.address.to_string();
        until(front.name(), STARTING, async || {
            TcpStream::connect(&address).await.is_ok()
        })
        .await?;
        let far = Socket::connect(&address).await?;
        let near = Socket::connect(&run.world.gateways[0].address.to_string()).await?;
        let mut couple = Couple::meet(run, [far, near]).await?;
        couple.talk().await?;
        Ok(Self {
            front,
            process,
            couple,
        })
    }

    /// The quiet time. Says how long the proxy lets live what is idle, and what the idle client heard.
    async fn wait(&mut self) -> anyhow::Result<(Option<Duration>, u32, u32)> {
        let quiet = self.couple.keep_quiet(QUIET);
        let both = async { tokio::try_join!(life_of_silence(self.process.address), quiet) };
        let (silence, (pings, others)) = both
            .await
            .with_context(|| format!("behind {}", self.front.name()))?;
        Ok((silence, pings, others))
    }

    /// Connects from one address until it has too many connections, whatever it says of itself, and then once from
    /// another. Says how many connections it had.
    async fn crowd(&self, from: u8) -> anyhow::Result<usize> {
        let local = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        let address = self.process.address.to_string();
        let mut sockets = Vec::new();
        for lie in 0..=u8::MAX {
            let lie = IpAddr::V4(Ipv4Addr::new(198, 51, 100, lie));
            match Socket::connect_from(local(from), Some(lie), &address).await {
                Ok(socket) => sockets.push(socket),
                Err(Lost::TurnedAway(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Socket::connect_from(local(from + 1), Some(local(from)), &address)
            .await
            .context("another address")?;
        Ok(sockets.len())
    }
}

pub(super) async fn behind_proxies(context: Context) -> anyhow::Result<Row> {
    let shape = Shape {
        gateway_env: vec![
            ("TRUSTED_PROXIES", "127.0.0.1".into()),
            ("MAX_CONNECTIONS_ADDRESS", PER_ADDRESS.to_string()),
        ],
        ..Shape::default()
    };
    let size = Size {
        rate: 50,
        ..usual()
    };
    let life = context.life.clone();
    let all = [Front::Nginx, Front::HaProxy];
    let fronts = all.map(|front| front.installed(&context.programs).then_some(front));
    let fronts: Vec<Front> = fronts.into_iter().flatten().collect();
    let names = fronts
        .iter()
        .map(|front| front.name())
        .collect::<Vec<_>>()
        .join(" and ");
    if fronts.is_empty() {
        return Ok(skipped("neither nginx nor HAProxy is installed"));
    }
    under(&context, "F32", shape, size, async |run| {
        let silent = silence(&life).await?;
        let mut ways = Vec::new();
        for front in fronts {
            let way = Way::open(run, front, silent).await;
            ways.push(way.context(front.name())?);
        }
        let waited = try_join_all(ways.iter_mut().map(Way::wait)).await?;
        let mut told = Told::new(format!(
            "{names} before the gateways, each with a client that says nothing for {} s; the proxies cut \
             what is idle for 60 s",
            QUIET.as_secs()
        ));
        for (number, (way, (silence, pings, others))) in (1..).zip(ways.iter_mut().zip(waited)) {
            let name = way.front.name();
            run.check(silence.is_some(), format!("{name} does not cut what is idle"));
            run.check(others == 0, format!("{others} packets behind {name} in the quiet time"));
            let talked = way.couple.talk().await;
            run.note(talked.with_context(|| format!("behind {name}, after the quiet time")));
            let crowd = way.crowd(2 * number).await;
            let crowd = run.note(crowd.with_context(|| format!("behind {name}"))).unwrap_or(0);
            let counted = (PER_ADDRESS..=2 * PER_ADDRESS).contains(&crowd);
            run.check(counted, format!("{crowd} connections from one address through {name}"));
            told = told.figure(format!(
                "{name}: heard {pings} pings, then talked both ways; without them it was cut after {:.0} s; one address \
                 got {crowd} connections through it, with {PER_ADDRESS} allowed to each gateway, while another got in",
                silence.unwrap_or_default().as_secs_f32()
            ));
        }
        Ok(told)
    })
    .await
}

//! What every request works with.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::HeaderName;
use fred::interfaces::ClientLike;
use prometheus_client::registry::Registry;
use socketioxide::{ParserConfig, SocketIo, layer::SocketIoLayer};
use socketioxide_redis::{RedisAdapterConfig, RedisAdapterCtr};
use ticket_shared::{
    config::BadSetting,
    domain::limits,
    event::{ServerDraining, server},
    id::Id,
    lifecycle::Lifecycle,
    redis::{self, Entrance, hot_path},
    telemetry,
};

use self::work::Work;
use crate::{
    adapter::{Adapter, DriverMetrics, FredDriver},
    admission::{self, Admission},
    allowed_hosts::AllowedHosts,
    auth::{AuthMode, Revocations, Verifier},
    config::{Config, Durability},
    identify::Identify,
    metrics::Metrics,
    net::Descriptors,
    origin::AllowedOrigins,
    part_health::PartHealth,
    presence::Presence,
    socket::Throttle,
    store::Store,
    ticket::{
        Tickets,
        commit::Commit,
        follow::{Follower, Io},
    },
    watch::{Limits, Watch},
};

mod work;

/// How long MongoDB may take before a reader is told that it can't be reached.
const STORE_DEADLINE: Duration = Duration::from_secs(3);

/// How long clients may take to read that the server closes their connection.
const GOOD_BYE: Duration = Duration::from_millis(500);

/// One gateway.
pub struct App {
    /// The tickets' logs.
    pub tickets: Tickets,
    /// The tickets that somebody is in.
    pub follower: Follower,
    /// The Socket.IO server.
    pub io: Io,
    /// How callers are told apart.
    pub identify: Identify,
    /// Who was said to be typing.
    pub typing: Throttle,
    /// Origins whose pages may connect.
    pub origins: AllowedOrigins,
    /// Request headers that these pages may send besides those of the API.
    pub cors_headers: Vec<HeaderName>,
    /// Hosts that requests may be for; `None`: any.
    pub hosts: Option<AllowedHosts>,
    /// What is counted.
    pub metrics: Metrics,
    /// What Redis holds and how it is set.
    pub watch: Watch,
    /// The tasks.
    pub life: Lifecycle,
    /// What clients may take.
    pub admission: Arc<Admission>,
    /// Whether connections can be accepted.
    pub descriptors: Arc<Descriptors>,
    registry: Registry,
    driver: FredDriver,
    work: Work,
    started: Instant,
    draining: AtomicBool,
    /// Redis and MongoDB, as `/health` shows them.
    parts: [PartHealth; 2],
}

/// Whether the parts that a gateway depends on answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Redis.
    pub redis: bool,
    /// MongoDB.
    pub mongo: bool,
}

/// The Socket.IO server, and the layer that takes its requests.
fn socket_io(driver: &FredDriver, prefix: String) -> (SocketIoLayer<Adapter>, Io) {
    let adapter = RedisAdapterConfig::new()
        // Nodes of another wire format must not hear each other.
        .with_prefix(prefix)
        .with_request_timeout(Duration::from_secs(2))
        .with_stream_buffer(16_384);
    SocketIo::builder()
        .max_buffer_size(admission::PACKETS)
        // Most frames of clients are smaller; a larger one makes it grow.
        .ws_read_buffer_size(512)
        // What is beyond these ends the connection; up to twice the limit is answered `payload_too_large`.
        .max_payload(2 * limits::FRAME as u64)
        .ws_max_message_size(2 * limits::FRAME)
        .ws_max_frame_size(2 * limits::FRAME)
        .connect_timeout(Duration::from_secs(10))
        // A connection that went silent is closed after 40 s; proxies that cut idle ones after 60 s see
        // something in time.
        .ping_interval(Duration::from_secs(20))
        .ping_timeout(Duration::from_secs(20))
        // The other bounds of an event in pieces are its session's account's.
        .with_parser(ParserConfig::common().max_incoming_binary_buf_size(limits::FRAME))
        .with_adapter::<Adapter>(RedisAdapterCtr::new_with_driver(driver.clone(), adapter))
        .build_layer()
}

impl App {
    /// The gateway of that id with these settings, and the layer that takes its Socket.IO requests. Redis and MongoDB need not
    /// be there yet.
    ///
    /// # Errors
    /// The setting that is wrong.
    pub async fn new(
        config: &Config,
        entrance: Entrance,
        gateway: Id,
        life: Lifecycle,
    ) -> Result<(Arc<Self>, SocketIoLayer<Adapter>), BadSetting> {
        let (metrics, driver_metrics) = (Metrics::default(), DriverMetrics::default());
        let mut registry = Registry::with_prefix("ticket_gateway");
        metrics.register(&mut registry);
        driver_metrics.register(&mut registry);
        telemetry::register(&mut registry);
        let watch = Watch::default();
        watch.register(&mut registry);

        let common = &config.common;
        let keys = entrance.keys().clone();
        let (commands, channels) = (
            redis::client(entrance.url())?,
            redis::subscriber(entrance.url())?,
        );
        let store = Store::new(&common.mongo_uri, life.clone(), STORE_DEADLINE)?;
        let driver = FredDriver::start(&entrance, &life, driver_metrics).await?;
        let (layer, io) = socket_io(&driver, keys.adapter());
        let presence = Arc::new(Presence::start(commands.clone(), keys.clone(), &life));
        let commit = match config.durability {
            Durability::Stream => Commit::start(&commands, &keys, &life),
            Durability::Replica => {
                Commit::on_replicas(&entrance, config.durability_replicas, &life)?
            }
        };
        let limits = Limits {
            backlog: config.backlog_max,
            memory_percent: config.memory_max_percent,
            hot_for: common.hot_for,
        };
        let identify = match config.auth.mode {
            Some(AuthMode::None) => Identify::Open,
            _ => Identify::Tokens {
                verifier: Verifier::start(&config.auth, &life)?,
                revocations: Revocations::start(
                    commands.clone(),
                    &keys,
                    config.auth.leeway(),
                    &life,
                ),
                audit: metrics.audit.clone(),
            },
        };
        watch.start(commands.clone(), keys.clone(), limits, &life);
        let admission = Arc::new(Admission::new(config.limits.clone(), metrics.clone())?);
        admission.share(commands.clone(), &keys, &life);
        let work = Work::start(
            &entrance,
            commit.outcomes(),
            &mut registry,
            (&commands, &channels),
            &store,
            &life,
        );
        let tickets = Tickets::new(commands.clone(), keys, store, watch.clone(), commit)
            .hot_for(common.hot_for);
        redis::stay_on_primary(&commands, &channels, &life);
        entrance.connect(&commands, &life);
        let follower = Follower::start(
            channels.clone(),
            tickets.clone(),
            presence,
            &life,
            metrics.clone(),
            gateway,
        );
        entrance.connect(&channels, &life);
        let app = Self {
            tickets,
            follower,
            io,
            identify,
            typing: Throttle::default(),
            origins: config.browsers.origins()?,
            cors_headers: config.browsers.headers()?,
            hosts: config.allowed_hosts()?,
            admission,
            descriptors: Arc::new(Descriptors::of_this_process()),
            metrics,
            watch,
            life,
            registry,
            driver,
            work,
            started: Instant::now(),
            draining: AtomicBool::new(false),
            parts: Default::default(),
        };
        Ok((Arc::new(app), layer))
    }

    /// Whether Redis and MongoDB answer, as of the last second. Known within one.
    pub async fn health(&self) -> Health {
        let client = self.tickets.redis().with_options(&hot_path());
        let redis = async move { client.ping::<String>(None).await.is_ok() };
        let store = self.tickets.store().clone();
        let mongo = async move { store.ping().await.is_ok() };
        let [redis_health, mongo_health] = &self.parts;
        let (redis, mongo) = tokio::join!(
            redis_health.up(&self.life, redis),
            mongo_health.up(&self.life, mongo)
        );
        Health { redis, mongo }
    }

    /// Whether clients should be sent here: everything is heard over Redis, and no stop is planned. MongoDB does
    /// not count: what is warm is served without it.
    pub fn ready(&self) -> bool {
        let ready = !self.draining()
            && !self.descriptors.exhausted()
            && self.follower.hears()
            && self.driver.subscribed()
            && self.identify.ready();
        ready && self.work.fit()
    }

    /// What keeps this gateway from its work, or will: for people.
    pub fn reasons(&self) -> Vec<String> {
        self.work.reasons()
    }

    /// Whether a stop is planned.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Since when this process runs.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The counters, in the text format of Prometheus.
    pub fn metrics_text(&self) -> String {
        let mut text = String::new();
        // Writing into a string can't fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }

    /// Sends the clients elsewhere, and waits for `window`, in which all are served: balancers must notice, too.
    pub async fn drain(&self, window: Duration) {
        self.draining.store(true, Ordering::Release);
        let sockets = self.io.sockets();
        tracing::info!(
            sockets = sockets.len(),
            window_ms = window.as_millis(),
            "draining"
        );
        let count = u32::try_from(sockets.len()).unwrap_or(u32::MAX).max(1);
        for (i, socket) in sockets.into_iter().enumerate() {
            // Spread over the window, so that the others do not get everybody at once.
            let share = window * u32::try_from(i).unwrap_or(u32::MAX) / count;
            let reconnect_in_ms =
                u64::try_from((window.saturating_sub(share)).as_millis()).unwrap_or(0);
            // A full send buffer: this client learns it from the end of its connection.
            let _ = socket.emit(server::SERVER_DRAINING, &ServerDraining { reconnect_in_ms });
        }
        tokio::time::sleep(window).await;
    }

    /// Ends the connections that clients of Socket.IO have still.
    pub async fn close(&self) {
        self.follower.release().await;
        // A client that does not read would hold it for ever: whoever does not take the good-bye is cut off.
        let lines = self.admission.all_lines();
        if tokio::time::timeout(GOOD_BYE, self.io.close())
            .await
            .is_err()
        {
            tracing::info!("some clients did not take the good-bye");
        }
        for line in lines {
            line.close();
        }
    }
}

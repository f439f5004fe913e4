//! The way in to Redis: nothing of a process connects before the server was examined.
//!
//! What must hold: no process works on data that is laid out otherwise than it thinks. So the number of partitions is kept
//! beside the data, and a server that was away at the start is examined before anything connects to it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fred::interfaces::ClientLike;
use tokio_util::sync::CancellationToken;

use super::{
    Disconnected, Program, Topology, Unfit, config, discover,
    layout::check_layout,
    rights::refused,
    topology::{connected, once, splits_slots},
    words,
};
use crate::{
    config::{BadSetting, Common, Secret},
    lifecycle::Lifecycle,
    stream::Keys,
};

/// Time that a start waits for Redis before it goes on without.
const FIRST: Duration = Duration::from_millis(1_500);
/// Pause between two attempts to reach a server that was away at the start.
const AGAIN: Duration = Duration::from_millis(250);
/// Interval between two looks at rights that are missing.
const RIGHTS: Duration = Duration::from_secs(5);

/// A server that was examined.
#[derive(Debug, Clone)]
pub struct Examined {
    /// The URL that leads to it.
    pub url: Secret,
    /// The names of keys there.
    pub keys: Keys,
    /// Commands that this program may not run, each with the server's words.
    pub refused: Vec<String>,
}

/// Examines the server of these settings: its topology, the layout of its data, and the rights of `program`. Nothing
/// is written that stays.
///
/// # Errors
/// [`Unfit`].
pub async fn examine(common: &Common, program: Program) -> Result<Examined, Unfit> {
    look(common, program, false).await
}

/// The same, and where there is no layout yet notes the one of these settings, if `begins` says so.
async fn look(common: &Common, program: Program, begins: bool) -> Result<Examined, Unfit> {
    let Topology { url, by_slots } = discover(&common.redis_url).await?;
    let mut keys = keys(common, by_slots)?;
    let client = once(config(&url)?)?;
    let examined = async {
        connected(&client).await?;
        if !by_slots && splits_slots(&client, &keys).await {
            keys = keys.clone().by_slots(true);
        }
        let refused = refused(&client, &keys, program).await?;
        // Without the rights nothing can be said of the layout.
        if refused.is_empty() {
            check_layout(&client, &keys, begins).await?;
        }
        Ok(refused)
    };
    let examined: Result<Vec<String>, Unfit> = examined.await;
    let _ = client.quit().await;
    Ok(Examined {
        url,
        keys,
        refused: examined?,
    })
}

/// The names of the keys with these settings.
fn keys(common: &Common, by_slots: bool) -> Result<Keys, BadSetting> {
    let database = config(&common.redis_url)?.database.unwrap_or(0);
    let keys = Keys::new(&common.key_prefix, common.partitions);
    Ok(keys.in_database(database).by_slots(by_slots))
}

/// The way in. Clones share it.
#[derive(Debug, Clone)]
pub struct Entrance {
    url: Secret,
    keys: Keys,
    open: CancellationToken,
    refused: Arc<Mutex<Vec<String>>>,
    /// The reason for which it is still closed.
    closed: Disconnected,
}

impl Entrance {
    /// An open one, for a server that needs no examination.
    ///
    /// # Errors
    /// Names `REDIS_URL`.
    pub fn open(url: &Secret, keys: Keys) -> Self {
        let open = CancellationToken::new();
        open.cancel();
        Self {
            url: url.clone(),
            keys,
            open,
            refused: Arc::default(),
            closed: Disconnected::default(),
        }
    }

    /// Examines the server of these settings. One that does not answer soon is examined once it does, and stays closed
    /// until then. If it then turns out to be another kind of server than the URL says, the process ends, so that its
    /// next start finds it.
    ///
    /// # Errors
    /// The setting that does not fit the server.
    pub async fn find(
        common: &Common,
        program: Program,
        life: &Lifecycle,
    ) -> Result<Self, BadSetting> {
        let why = Disconnected::default();
        match tokio::time::timeout(FIRST, look(common, program, true)).await {
            Ok(Ok(examined)) => {
                let entrance = Self::open(&examined.url, examined.keys);
                entrance.note(examined.refused);
                entrance.watch_rights(common, program, life);
                return Ok(entrance);
            }
            Ok(Err(Unfit::Setting(bad))) => return Err(bad),
            Ok(Err(Unfit::Redis(error))) => {
                let said = words(&error);
                tracing::warn!(error = said, "redis connection failed, trying on");
                why.note(Some(said));
            }
            Err(_) => {
                tracing::warn!("redis does not answer yet");
                why.note(Some("no answer".to_owned()));
            }
        }
        let entrance = Self {
            url: common.redis_url.clone(),
            keys: keys(common, false)?,
            open: CancellationToken::new(),
            refused: Arc::default(),
            closed: why,
        };
        let (waiting, common) = (entrance.clone(), common.clone());
        let tasks = life.clone();
        life.spawn_vital("redis examination", async move {
            if waiting.examined_later(&common, program, &tasks).await {
                waiting.watch_rights(&common, program, &tasks);
                tasks.stopping().cancelled().await;
            }
        });
        Ok(entrance)
    }

    /// Examines a server that was away. Answers `false` if the process has to end.
    async fn examined_later(&self, common: &Common, program: Program, life: &Lifecycle) -> bool {
        let mut told = String::new();
        loop {
            tokio::select! {
                () = life.stopping().cancelled() => return true,
                () = tokio::time::sleep(AGAIN) => {}
            }
            match look(common, program, true).await {
                Ok(found) if found.url == self.url && !found.keys.apart() => {
                    self.note(found.refused);
                    self.closed.note(None);
                    self.open.cancel();
                    return true;
                }
                Ok(_) => {
                    tracing::error!(
                        "redis is in cluster mode, which was not known at the start: start again"
                    );
                    return false;
                }
                Err(Unfit::Setting(bad)) => {
                    tracing::error!(
                        setting = bad.setting,
                        problem = bad.problem,
                        "setting does not fit the server"
                    );
                    return false;
                }
                Err(Unfit::Redis(error)) => {
                    let said = words(&error);
                    self.closed.note(Some(said.clone()));
                    if said != told {
                        tracing::warn!(error = said, "redis connection failed, trying on");
                        told = said;
                    }
                }
            }
        }
    }

    /// Looks again while rights are missing.
    fn watch_rights(&self, common: &Common, program: Program, life: &Lifecycle) {
        if self.refused().is_empty() {
            return;
        }
        let (entrance, common, stopping) = (self.clone(), common.clone(), life.stopping().clone());
        life.spawn(async move {
            while !entrance.refused().is_empty() {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(RIGHTS) => {}
                }
                match look(&common, program, true).await {
                    Ok(examined) => entrance.note(examined.refused),
                    Err(error) => tracing::warn!(reason = %error, "redis can't be examined"),
                }
            }
            tracing::info!("redis refuses no command any more");
        });
    }

    fn note(&self, refused: Vec<String>) {
        let mut known = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        for said in refused.iter().filter(|said| !known.contains(said)) {
            tracing::error!(reason = said, "redis refuses a command that is needed");
        }
        *known = refused;
    }

    /// Commands that this program may not run, each with the server's words.
    pub fn refused(&self) -> Vec<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.clone()
    }

    /// The reason for which the server could not be examined yet, in its own words.
    pub fn closed(&self) -> Disconnected {
        self.closed.clone()
    }

    /// The URL that leads to the server.
    pub fn url(&self) -> &Secret {
        &self.url
    }

    /// The names of the keys there.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Connects `client` in the background once the server was examined, and again whenever its connection is lost.
    pub fn connect<C: ClientLike + Send + Sync + 'static>(&self, client: &C, life: &Lifecycle) {
        if self.open.is_cancelled() {
            drop(client.connect());
            return;
        }
        let (client, open, stopping) = (client.clone(), self.open.clone(), life.stopping().clone());
        life.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = open.cancelled() => drop(client.connect()),
            }
        });
    }

    /// Connects `client` once the server was examined. Resolves when its connection has ended for good.
    pub fn connection<C: ClientLike>(
        &self,
        client: &C,
    ) -> impl Future<Output = ()> + Send + use<C> {
        let (client, open) = (client.clone(), self.open.clone());
        async move {
            open.cancelled().await;
            // It reconnects for ever.
            let _ = client.connect().await;
        }
    }
}

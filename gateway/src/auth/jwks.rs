//! The keys that an identity provider publishes: fetched at the start, every few minutes, and when a token
//! names a key that is not known. One task fetches, so that there is never more than one request, and a flood
//! of unknown keys causes one request per interval.

use std::{fmt, sync::Arc, time::Duration};

use axum::{body::Bytes, http::Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use jsonwebtoken::Algorithm;
use ticket_shared::lifecycle::Lifecycle;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use super::{AuthSettings, Rejected, TokenFault, keys, keys::Key};

/// How often the keys are fetched without a reason: a key that was removed stops working after this time.
const EVERY: Duration = Duration::from_mins(5);
/// How long the provider may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much it may send, in bytes.
const BODY: usize = 256 * 1024;

type Http = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// The provider's keys, as they are known here.
pub(super) struct Jwks {
    state: watch::Receiver<State>,
    wanted: Arc<Notify>,
    max_age: Duration,
    refresh: Duration,
}

#[derive(Clone, Default)]
struct State {
    /// The keys, and when they came.
    set: Option<(Arc<Vec<Key>>, Instant)>,
    /// When the last request began.
    asked: Option<Instant>,
    /// How many requests have ended.
    ended: u64,
    /// A request is under way, or about to be.
    busy: bool,
    /// Why the last request failed.
    failure: Option<String>,
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwks").finish_non_exhaustive()
    }
}

impl Jwks {
    /// Begins to fetch from `url`.
    pub(super) fn start(
        url: Uri,
        allowed: &[Algorithm],
        settings: &AuthSettings,
        life: &Lifecycle,
    ) -> Self {
        let first = State {
            busy: true,
            ..State::default()
        };
        let (sender, state) = watch::channel(first);
        let wanted = Arc::new(Notify::new());
        let fetcher = Fetcher {
            http: client(),
            url,
            allowed: allowed.to_vec(),
            state: sender,
            wanted: wanted.clone(),
            refresh: settings.refresh(),
            ignored: Vec::new(),
        };
        let stopping = life.stopping().clone();
        life.spawn_vital("jwks", async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = fetcher.run() => {}
            }
        });
        Self {
            state,
            wanted,
            max_age: settings.max_age(),
            refresh: settings.refresh(),
        }
    }

    /// The key with this id and algorithm; without an id, the only one there is.
    pub(super) async fn key(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Key, Rejected> {
        let mut state = self.state.clone();
        let (ended, may_ask) = {
            let now = state.borrow();
            if let Some(key) = self.find(&now, id, algorithm) {
                return Ok(key);
            }
            let rested = now.asked.is_none_or(|at| at.elapsed() >= self.refresh);
            (now.ended, now.busy || rested)
        };
        if may_ask {
            self.wanted.notify_one();
            // Where the time is over or the task has ended, what is known now is the answer.
            let _ = timeout(PATIENCE * 2, state.wait_for(|now| now.ended != ended)).await;
        }
        let now = state.borrow();
        if let Some(key) = self.find(&now, id, algorithm) {
            return Ok(key);
        }
        if self.fresh(&now).is_some() {
            return Err(Rejected::Invalid(TokenFault::UnknownKey));
        }
        let failure = now.failure.clone();
        Err(Rejected::Unavailable(failure.unwrap_or_else(|| {
            "the provider has not answered yet".into()
        })))
    }

    fn fresh<'a>(&self, state: &'a State) -> Option<&'a [Key]> {
        let (keys, at) = state.set.as_ref()?;
        (at.elapsed() < self.max_age).then_some(keys.as_slice())
    }

    fn find(&self, state: &State, id: Option<&str>, algorithm: Algorithm) -> Option<Key> {
        let keys = self.fresh(state)?;
        let key = match id {
            Some(id) => keys
                .iter()
                .find(|key| key.id.as_deref() == Some(id) && key.algorithm == algorithm)
                .or_else(|| {
                    keys.first()
                        .filter(|key| keys.len() == 1 && key.id.is_none())
                }),
            None => keys.first().filter(|_| keys.len() == 1),
        };
        key.filter(|key| key.algorithm == algorithm).cloned()
    }
}

struct Fetcher {
    http: Http,
    url: Uri,
    allowed: Vec<Algorithm>,
    state: watch::Sender<State>,
    wanted: Arc<Notify>,
    refresh: Duration,
    /// Keys that were warned of.
    ignored: Vec<keys::Ignored>,
}

impl Fetcher {
    async fn run(mut self) {
        loop {
            self.state.send_modify(|state| {
                state.busy = true;
                state.asked = Some(Instant::now());
            });
            let answer = timeout(PATIENCE, self.fetch()).await;
            let answer = answer.unwrap_or_else(|_| Err("it takes too long".into()));
            if let Err(reason) = &answer {
                tracing::warn!(reason, "the keys of the identity provider can't be fetched");
            }
            self.state.send_modify(|state| {
                state.busy = false;
                state.ended += 1;
                match answer {
                    Ok(keys) => {
                        state.set = Some((Arc::new(keys), Instant::now()));
                        state.failure = None;
                    }
                    Err(reason) => state.failure = Some(reason),
                }
            });
            self.rest().await;
        }
    }

    /// Until it is time to fetch again.
    async fn rest(&self) {
        let asked = self.state.borrow().asked.unwrap_or_else(Instant::now);
        let every = tokio::time::sleep_until(asked + EVERY);
        tokio::pin!(every);
        loop {
            tokio::select! {
                () = &mut every => return,
                // One that was left over from before the last request is no reason.
                () = self.wanted.notified() => if asked.elapsed() >= self.refresh { return },
            }
        }
    }

    async fn fetch(&mut self) -> Result<Vec<Key>, String> {
        let answer = self.http.get(self.url.clone()).await;
        let answer = answer.map_err(|_| "it can't be reached")?;
        if answer.status() != 200 {
            return Err(format!(
                "it answers with status {}",
                answer.status().as_u16()
            ));
        }
        let body = Limited::new(answer.into_body(), BODY).collect().await;
        let body = body.map_err(|_| "its answer breaks off or is too long")?;
        let (keys, ignored) = keys::from_set(&body.to_bytes(), &self.allowed)
            .map_err(|_| "its answer is no set of keys")?;
        if self.ignored != ignored {
            for key in &ignored {
                tracing::warn!(
                    key.id,
                    reason = %key.weakness,
                    "key of the identity provider ignored"
                );
            }
            self.ignored = ignored;
        }
        if keys.is_empty() {
            tracing::warn!("the identity provider has no key that is allowed here");
        }
        Ok(keys)
    }
}

/// A client that trusts what the system trusts, or Mozilla's list where the system has none. It follows no
/// redirects.
fn client() -> Http {
    let trusting = match HttpsConnectorBuilder::new().with_native_roots() {
        Ok(trusting) => trusting,
        Err(_) => HttpsConnectorBuilder::new().with_webpki_roots(),
    };
    let connector = trusting.https_or_http().enable_http1().build();
    Client::builder(TokioExecutor::new()).build(connector)
}

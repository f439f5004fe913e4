//! What gateways tell each other of clients, over one key of Redis: who is turned away, and who uses much of its rate.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fred::{clients::Client, types::Value};
use ticket_shared::{lifecycle::Lifecycle, stream::Keys};

use super::{
    Admission,
    bans::{Ban, LONGEST, REMEMBERED, SHORTEST},
    ledger::{Ledger, News},
    owner::Owner,
};
use crate::script::{Items, Script};

/// How often others are listened to.
const EVERY: Duration = Duration::from_millis(500);
/// How soon after that news is told.
const AT_ONCE: Duration = Duration::from_millis(50);
/// The most that the key holds.
const FIELDS: u64 = 2_000;
/// The most that is told in one call.
const NEWS: usize = 500;

impl Admission {
    /// Tells other gateways what this one knows of clients, and listens to them, until the process stops.
    pub fn share(self: &Arc<Self>, redis: Client, keys: &Keys, life: &Lifecycle) {
        let exchange = Exchange {
            redis,
            key: keys.abuse(),
            script: Script::new(include_str!("shared.lua")),
        };
        let (ledger, stopping) = (Arc::clone(&self.ledger), life.stopping().clone());
        life.spawn_vital("admission", async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = exchange.run(&ledger) => {}
            }
        });
    }
}

struct Exchange {
    redis: Client,
    key: String,
    script: Script,
}

impl Exchange {
    async fn run(self, ledger: &Ledger) {
        let (mut failing, mut untold) = (false, Vec::new());
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = ledger.news.notified() => tokio::time::sleep(AT_ONCE).await,
            }
            untold.extend(ledger.take_news());
            let most = untold.len().min(NEWS);
            match self.call(&untold[..most]).await {
                Ok(answer) => {
                    failing = false;
                    untold.drain(..most);
                    learn(ledger, answer);
                }
                Err(error) => {
                    // What was used long ago is paid back.
                    untold.retain(|news| matches!(news, News::Ban(_)));
                    untold.truncate(NEWS);
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            error.kind = error.kind().to_str(),
                            "rates not shared with other gateways"
                        );
                    }
                }
            }
        }
    }

    async fn call(&self, news: &[News]) -> Result<Value, fred::error::Error> {
        let ms = |duration: Duration| duration.as_millis().to_string();
        let mut args: Vec<Value> = vec![
            ms(SHORTEST).into(),
            ms(LONGEST).into(),
            ms(REMEMBERED).into(),
            FIELDS.to_string().into(),
        ];
        for one in news {
            let (kind, owner, used) = match one {
                News::Ban(owner) => ("b", owner, String::new()),
                News::Used(owner, used) => ("u", owner, used.as_micros().to_string()),
            };
            args.extend([kind.into(), owner.to_string().into(), used.into()]);
        }
        let keys = vec![self.key.clone()];
        self.script.call(&self.redis, keys, args).await
    }
}

fn learn(ledger: &Ledger, answer: Value) {
    let now = Instant::now();
    let mut items = Items::of(answer);
    while let Some(kind) = items.text() {
        let owner = items.text().and_then(|owner| owner.parse::<Owner>().ok());
        let (left, strikes) = (items.number(), items.number());
        match owner {
            Some(owner) if kind == "b" => {
                let ban = Ban {
                    until: now + Duration::from_millis(left).min(LONGEST),
                    strikes: u32::try_from(strikes).unwrap_or(u32::MAX),
                };
                ledger.learn_ban(owner, ban, now);
            }
            // Whatever stands in Redis, nobody is kept out by it for long.
            Some(owner) => {
                ledger.learn_debt(owner, Duration::from_micros(left).min(REMEMBERED), now);
            }
            None => {}
        }
    }
}

//! Connections that follow Sentinel while the former primary stays reachable.
//!
//! After a planned failover (`SENTINEL FAILOVER`) the former primary goes on as a primary until Sentinel demotes it, ten
//! seconds or so later: what it accepts meanwhile is lost, and nothing of the new primary is heard over it. So Sentinel is
//! asked which server is the primary, and a connection to another one ends.

use std::time::Duration;

use fred::{
    clients::Client,
    error::Error,
    interfaces::ClientLike,
    types::{
        CustomCommand,
        config::{Config, Server, ServerConfig},
    },
};
use tokio::time::{sleep, timeout};

use super::{
    hot_path,
    topology::{connected, once},
};
use crate::lifecycle::Lifecycle;

/// Interval between two questions.
const EVERY: Duration = Duration::from_millis(500);
/// Time for a new connection before Sentinel is asked again.
const CONNECTING: Duration = Duration::from_secs(3);

/// Asks the Sentinels of `client` for the primary until the process stops, and connects anew if it is another server. Clients
/// without Sentinels are left alone.
pub fn follow_sentinel<C: ClientLike + Send + Sync + 'static>(client: &C, life: &Lifecycle) {
    let Some(mut sentinels) = Sentinels::of(&client.client_config()) else {
        return;
    };
    let (client, stopping) = (client.clone(), life.stopping().clone());
    life.spawn(async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => break,
                () = sleep(EVERY) => {}
            }
            if !client.is_connected() {
                continue;
            }
            let Some((host, port)) = sentinels.primary().await else {
                continue;
            };
            let own = client.active_connections();
            let is_there = |server: &Server| server.host == host.as_str() && server.port == port;
            if !own.is_empty() && !own.iter().any(is_there) {
                tracing::warn!("sentinel names another redis primary, connecting anew");
                // It goes on by itself if it takes longer.
                let _ = timeout(CONNECTING, client.force_reconnection()).await;
            }
        }
        sentinels.leave().await;
    });
}

/// The Sentinels of one service.
struct Sentinels {
    /// The way each is connected to.
    configs: Vec<Config>,
    service: String,
    /// The one that answered last.
    present: Option<Client>,
}

impl Sentinels {
    fn of(config: &Config) -> Option<Self> {
        let ServerConfig::Sentinel {
            hosts,
            service_name,
            username,
            password,
        } = config.server.clone()
        else {
            return None;
        };
        let configs = hosts.into_iter().map(|server| Config {
            server: ServerConfig::Centralized { server },
            username: username.clone(),
            password: password.clone(),
            database: None,
            ..config.clone()
        });
        Some(Self {
            configs: configs.collect(),
            service: service_name,
            present: None,
        })
    }

    /// The primary, in the words of the first Sentinel that answers.
    async fn primary(&mut self) -> Option<(String, u16)> {
        if let Some(client) = &self.present {
            if let Ok(primary) = ask(client, &self.service).await {
                return Some(primary);
            }
            self.leave().await;
        }
        for config in &self.configs {
            let Ok(client) = once(config.clone()) else {
                continue;
            };
            if connected(&client).await.is_ok()
                && let Ok(primary) = ask(&client, &self.service).await
            {
                self.present = Some(client);
                return Some(primary);
            }
            let _ = client.quit().await;
        }
        None
    }

    async fn leave(&mut self) {
        if let Some(client) = self.present.take() {
            let _ = timeout(CONNECTING, client.quit()).await;
        }
    }
}

async fn ask(client: &Client, service: &str) -> Result<(String, u16), Error> {
    let command = CustomCommand::new_static("SENTINEL", None, false);
    let client = client.with_options(&hot_path());
    let question = vec!["GET-MASTER-ADDR-BY-NAME", service];
    client.custom(command, question).await
}

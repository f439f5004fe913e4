//! The settings that bound what clients may take.

use clap::Args;
use ticket_shared::config::BadSetting;

use super::address::Network;

/// What clients may take. Rates are per second; 0 switches a limit off.
#[derive(Args, Clone, Debug)]
pub struct Limits {
    /// New Socket.IO connections per second, and twice that at once; 0: no limit
    #[arg(long, env = "CONNECT_RATE", default_value_t = 500)]
    pub connect_rate: u32,
    /// Socket.IO connections at a time; 0: no limit
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 20_000)]
    pub max_connections: usize,
    /// New Socket.IO connections per second from one address, and five times that at once; 0: no limit
    #[arg(long, env = "CONNECT_RATE_ADDRESS", default_value_t = 20)]
    pub connect_rate_address: u32,
    /// Socket.IO connections from one address at a time: an office may stand behind one; 0: no limit
    #[arg(long, env = "MAX_CONNECTIONS_ADDRESS", default_value_t = 1_000)]
    pub max_connections_address: usize,
    /// Addresses and networks of proxies whose X-Forwarded-For is believed, separated by commas
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<String>,
    /// Events per second of one connection, and four times that at once; 0: no limit
    #[arg(long, env = "EVENT_RATE", default_value_t = 50)]
    pub event_rate: u32,
    /// Events and requests per second of one identity over all of its connections, and twice that at once; 0: no limit
    #[arg(long, env = "IDENTITY_RATE", default_value_t = 100)]
    pub identity_rate: u32,
    /// Events and REST requests per second from one address, and twice that at once; 0: no limit
    #[arg(long, env = "ADDRESS_RATE", default_value_t = 1_000)]
    pub address_rate: u32,
    /// An identity, or a connection without one, that is refused this often within ten seconds is cut off and turned
    /// away for a while; 0: never
    #[arg(long, env = "ABUSE_LIMIT", default_value_t = 500)]
    pub abuse_limit: u32,
    /// Tickets that one connection may be in; 0: no limit
    #[arg(long, env = "ROOMS_PER_SOCKET", default_value_t = 100)]
    pub rooms_per_socket: usize,
    /// Events of one connection that may wait; their bytes are bounded, too
    #[arg(long, env = "INFLIGHT_EVENTS", default_value_t = 1_024, value_parser = positive)]
    pub inflight_events: usize,
    /// Whether connections must name an origin, as browsers do
    #[arg(long, env = "ORIGIN_REQUIRED", default_value_t = false, action = clap::ArgAction::Set)]
    pub origin_required: bool,
}

impl Limits {
    /// The networks whose `X-Forwarded-For` is believed.
    ///
    /// # Errors
    /// Names `TRUSTED_PROXIES` where one is no address and no network.
    pub fn proxies(&self) -> Result<Vec<Network>, BadSetting> {
        let given = self.trusted_proxies.iter().map(|each| each.trim());
        given
            .filter(|each| !each.is_empty())
            .map(|each| {
                each.parse().map_err(|()| {
                    BadSetting::new(
                        "TRUSTED_PROXIES",
                        "must be addresses or networks such as 10.0.0.0/8, separated by commas",
                    )
                })
            })
            .collect()
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(_) => Err("must be a number".into()),
    }
}

//! Integration tests of the gateway, against the servers of `REDIS_URL` and `MONGO_URI`.

#![expect(clippy::unwrap_used, reason = "a test that can't go on should panic")]

mod adapter;
mod channel;
mod entrance;
mod eviction;
mod failover;
mod interleavings;
mod large;
mod presence;
mod rates;
mod reads;
mod recorder;
mod revoked;
mod runs;
mod server;
mod store;
mod takeover;
mod tickets;
mod tls;
mod trouble;
mod words;
mod world;

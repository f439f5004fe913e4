//! Integration tests of the gateway, against the servers of `REDIS_URL` and `MONGO_URI`.

#![expect(clippy::unwrap_used, reason = "a test that can't go on should panic")]

mod adapter;
mod channel;
mod entrance;
mod eviction;
mod failover;
mod interleavings;
mod presence;
mod rates;
mod resp;
mod revoked;
mod runs;
mod server;
mod store;
mod tickets;
mod tls;
mod trouble;
mod way;
mod words;
mod world;

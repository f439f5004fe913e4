//! The worker against a real Redis and a real server of the MongoDB protocol, whose addresses come from
//! `REDIS_URL` and `MONGO_URI`. Each test has a key prefix and a database of its own.

mod adopt;
mod check_database;
mod codes;
mod faults;
mod gone;
mod harness;
mod inspect;
mod operators;
mod parked;
mod persist;
mod poison;
mod proxy;
mod refused;
#[path = "../../src/sample.rs"]
mod sample;
mod tls;
mod vanished;
mod watermark;
mod words;

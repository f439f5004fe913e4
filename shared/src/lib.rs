//! What the gateway and the worker both speak.
//!
//! Nothing in here knows of routes, Socket.IO or MongoDB: only the domain, its wire forms, the entries of the
//! Redis streams, and the pieces that every process of the product starts with.

pub mod check;
pub mod config;
pub mod domain;
pub mod event;
pub mod http;
pub mod id;
pub mod lifecycle;
pub mod redis;
pub mod stream;
pub mod telemetry;
pub mod text;
pub mod time;

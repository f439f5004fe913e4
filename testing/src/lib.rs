//! Proxies between the programs and their servers, for tests and for fault runs: they answer some commands themselves, as
//! other proxies and providers do, and lead to another server when told to.

mod detour;
mod listen;
mod op_msg;
pub mod replies;
mod resp;

pub use detour::Detour;
pub use listen::{Listening, listen, place};
pub use op_msg::{OpMsg, refusal};
pub use resp::{Act, Resp};

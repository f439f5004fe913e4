//! What every HTTP server of the product does alike: the gateway's, and those of the operators' ports.

mod exposition;
mod parse_failure;

pub use exposition::Exposition;
pub use parse_failure::ParseFailures;

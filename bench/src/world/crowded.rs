//! What gateways show of clients that do not read.

use std::io;

use super::World;
use crate::measure::resident;
use crate::{process::Process, rest};

impl World {
    /// The number of connections that the gateways ended because their clients do not read. Their log lines are sampled.
    ///
    /// # Errors
    /// A gateway does not answer.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    pub(crate) async fn cut_off(&self) -> anyhow::Result<usize> {
        let mut cut = 0;
        for ops in &self.ops {
            let counted =
                rest::metric(&ops.to_string(), "ticket_gateway_slow_closed_total").await?;
            cut += counted as usize;
        }
        Ok(cut)
    }

    /// How many files and connections the gateways that run have open.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub(crate) fn open_files(&self) -> io::Result<usize> {
        let gateways = self.gateways.iter().filter_map(Process::id);
        gateways
            .map(|id| Ok(std::fs::read_dir(format!("/proc/{id}/fd"))?.count()))
            .sum()
    }

    /// The resident memory of all gateways that run, in bytes.
    pub(crate) fn gateway_memory(&self) -> f64 {
        let gateways = self.gateways.iter();
        gateways.filter_map(|gateway| resident(gateway.id()?)).sum()
    }
}

//! What gateways show of clients that do not read.

use std::io;

use super::World;
use crate::measure::resident;
use crate::process::Process;

impl World {
    /// How many connections the gateways say that they ended because their clients do not read.
    pub(crate) fn cut_off(&self) -> usize {
        let logs = self.gateways.iter();
        let logs = logs.map(|gateway| std::fs::read_to_string(gateway.log()));
        let lines = |log: String| log.matches("connection of a slow client closed").count();
        logs.flatten().map(lines).sum()
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

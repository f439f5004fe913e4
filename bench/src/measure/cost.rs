//! What processes cost: CPU time and resident memory, as Linux counts them.

use std::{collections::BTreeMap, fs};

use anyhow::ensure;

/// How many of the kernel's ticks make a second, for programs: always the same on Linux.
const TICKS: f64 = 100.0;

/// What one process has used.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Usage {
    /// CPU seconds since it began, of all its threads.
    pub cpu: f64,
    /// Resident memory in bytes.
    pub rss: f64,
}

/// What a group of processes has used, by name.
pub(crate) type Costs = BTreeMap<String, Usage>;

/// Asks the kernel; `self` names this process.
///
/// # Errors
/// Where the process is gone, or this is not Linux.
pub(crate) fn usage(process: &str) -> anyhow::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let cpu = cpu(&stat);
    ensure!(!over(&stat), "process {process} has ended");
    cpu.zip(rss(&status))
        .map(|(cpu, rss)| Usage { cpu, rss })
        .ok_or_else(|| anyhow::anyhow!("/proc/{process} reads otherwise than on Linux"))
}

fn cpu(stat: &str) -> Option<f64> {
    // The name before the last bracket may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

/// Whether the process has ended and only waits to be noticed: it has no memory any more.
fn over(stat: &str) -> bool {
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|state| state.starts_with(['Z', 'X']))
}

/// The most memory that a process had resident since it began, in bytes; nothing where the kernel does not say.
pub(crate) fn peak(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    memory(&status, "VmHWM:")
}

fn rss(status: &str) -> Option<f64> {
    memory(status, "VmRSS:")
}

fn memory(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: f64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024.0)
}

/// CPU seconds between two looks, of processes whose name begins with one of `names`.
pub(crate) fn spent(before: &Costs, after: &Costs, names: &[&str]) -> f64 {
    let wanted = |name: &str| names.iter().any(|start| name.starts_with(start));
    let of = |(name, usage): (&String, &Usage)| {
        let earlier = before.get(name).map_or(0.0, |usage| usage.cpu);
        usage.cpu - earlier
    };
    after.iter().filter(|(name, _)| wanted(name)).map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let stat = "12 (a ) b) S 1 1 1 0 -1 0 100 0 0 0 250 50 7 7 20 0 9 0 100 1 1";
        assert_eq!(cpu(stat), Some(3.0));
        assert_eq!(rss("Name:\tx\nVmRSS:\t  10 kB\n"), Some(10_240.0));
        assert!(usage("self").is_ok());
        assert!(!over(stat) && over("12 (Z) Z 1 1"));
    }

    #[test]
    fn only_the_named_count_and_only_what_came_since() {
        let at = |cpu| Usage { cpu, rss: 0.0 };
        let before = Costs::from([("gateway-0".into(), at(1.0)), ("redis".into(), at(5.0))]);
        let after = Costs::from([
            ("gateway-0".into(), at(3.0)),
            ("gateway-1".into(), at(0.5)),
            ("redis".into(), at(9.0)),
        ]);
        assert!((spent(&before, &after, &["gateway"]) - 2.5).abs() < 1e-9);
    }
}

//! The runtime of a process.

use std::{future::Future, io};

use tokio::runtime::Builder;

/// Runs a process's work to its end, on so many threads: by default one for each CPU that the process may use, as the
/// system or its control group tells.
///
/// # Errors
/// Where the system gives no threads.
pub fn block_on<T>(threads: Option<u16>, work: impl Future<Output = T>) -> io::Result<T> {
    let mut builder = match threads {
        // Nothing is handed from one thread to another.
        Some(1) => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if let Some(threads) = threads {
        builder.worker_threads(usize::from(threads));
    }
    Ok(builder.enable_all().build()?.block_on(work))
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Handle, RuntimeFlavor};

    use super::*;

    #[test]
    fn the_threads_are_as_many_as_asked_for() {
        let told = |threads| {
            let tell = async {
                let runtime = Handle::current();
                (runtime.runtime_flavor(), runtime.metrics().num_workers())
            };
            block_on(threads, tell).unwrap()
        };
        assert_eq!(told(Some(1)), (RuntimeFlavor::CurrentThread, 1));
        assert_eq!(told(Some(3)), (RuntimeFlavor::MultiThread, 3));
        let cpus = std::thread::available_parallelism().unwrap().get();
        assert_eq!(told(None), (RuntimeFlavor::MultiThread, cpus));
    }
}

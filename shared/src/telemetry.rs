//! Logs: a constant message and fields with units, one line each, on standard error.
//!
//! No setting brings secrets or the words of customers into a log. Our own lines never hold them. Libraries print
//! what they send and receive at their finer levels, so those are shut, whatever the operator asks for. Nor does what a
//! stranger causes fill the disk: lines that repeat are sampled.

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::config::LogFormat;

mod sampler;

pub use sampler::{register, report_suppressed};

/// What our own crates' targets begin with.
const OURS: &str = "ticket_";

/// Starts logging for this process. A second call changes nothing, so that tests may call it each.
pub fn init(filter: &str, format: LogFormat) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(harmless));
    let writer = std::io::stderr;
    let done = match format {
        LogFormat::Json => registry
            .with(fmt::layer().json().flatten_event(true).with_writer(writer))
            .with(sampler::Sampled)
            .try_init(),
        LogFormat::Pretty => registry
            .with(fmt::layer().compact().with_writer(writer))
            .with(sampler::Sampled)
            .try_init(),
    };
    // Fails only where a logger is set already, which then does the work.
    drop(done);
}

/// Whether a line can't hold what a library sends or receives. By the module that the code stands in, too: a
/// target is only a name that anybody may take.
fn harmless(line: &Metadata<'_>) -> bool {
    let ours = |path: &str| path.starts_with(OURS);
    *line.level() <= Level::INFO || (ours(line.target()) && line.module_path().is_none_or(ours))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use tracing::subscriber::with_default;
    use tracing_subscriber::Layer;

    use super::*;

    /// Remembers the targets of what passes.
    struct Passed(Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> Layer<S> for Passed {
        fn on_event(
            &self,
            event: &tracing::Event<'_>,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            let mut passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            passed.push(format!(
                "{} {}",
                event.metadata().target(),
                event.metadata().level()
            ));
        }
    }

    #[test]
    fn libraries_say_little_even_where_everything_is_asked_for() {
        let passed = Arc::default();
        let registry = tracing_subscriber::registry()
            .with(EnvFilter::new("trace,fred=trace"))
            .with(filter_fn(harmless))
            .with(Passed(Arc::clone(&passed)));
        with_default(registry, || {
            tracing::trace!(target: "fred::protocol", "a command");
            tracing::debug!(target: "mongodb::command", "a document");
            tracing::info!(target: "fred", "connected");
            tracing::error!(target: "socketioxide", "something is wrong");
            tracing::trace!("ours");
        });
        let passed = passed.lock().unwrap();
        assert_eq!(
            *passed,
            [
                "fred INFO",
                "socketioxide ERROR",
                "ticket_shared::telemetry::tests TRACE"
            ]
        );
    }
}

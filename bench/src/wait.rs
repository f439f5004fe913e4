//! Waiting for what should become true, never for time to pass.

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};

/// How often it is looked.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks until the answer is yes, and returns how long that took.
///
/// # Errors
/// Where it is not within `deadline`; `what` names it.
pub(crate) async fn until(
    what: &str,
    deadline: Duration,
    mut ask: impl AsyncFnMut() -> bool,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    while !ask().await {
        if began.elapsed() > deadline {
            bail!("not within {deadline:?}: {what}");
        }
        sleep(PAUSE).await;
    }
    Ok(began.elapsed())
}

//! Waiting for a condition with a deadline, never for a fixed time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time between two looks at a condition.
const INTERVAL: Duration = Duration::from_millis(10);

/// Calls `probe` until it yields a value; an error ends the wait at once, the deadline ends it with an error that
/// names `what` was awaited.
pub fn wait_for<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {timeout:?}");
        }
        thread::sleep(INTERVAL);
    }
}

/// Like [`wait_for`], for a condition without a value.
pub fn wait_until(what: &str, timeout: Duration, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_for(what, timeout, || Ok(probe()?.then_some(())))
}

//! Free loopback ports that stay ours.
//!
//! Asking the kernel for a free port and using it later is a race against every other test process. Here each port
//! is guarded by a locked file while its [`Port`] lives, across processes; the kernel drops the lock of a process
//! that dies. The range lies below the ports the kernel gives to outgoing connections, so these cannot take one.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail};

const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// Ports tried so far by this process.
static TRIED: AtomicU16 = AtomicU16::new(0);

/// A reserved loopback port; free for others once dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    // Held for its lock, which ends when the file is closed.
    _lock: File,
}

impl Port {
    /// Reserves a port that nothing listens on.
    pub fn reserve() -> Result<Port> {
        let dir = lock_dir()?;
        // Processes begin at different places, so that they rarely meet.
        let start = u16::try_from(std::process::id().wrapping_mul(127) % u32::from(COUNT)).unwrap_or(0);
        for _ in 0..COUNT {
            let step = TRIED.fetch_add(1, Ordering::Relaxed) % COUNT;
            let number = FIRST + u16::try_from((u32::from(start) + u32::from(step)) % u32::from(COUNT))?;
            let lock = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(dir.join(number.to_string()))
                .context("open the lock file of a port")?;
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Ok(Port { number, _lock: lock });
            }
        }
        bail!("no free port from {FIRST} on")
    }

    /// The port number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }

    /// `0.0.0.0:<port>`, for what pods reach: it listens on loopback as well, and belongs into a network of its own
    /// ([`crate::network`]).
    pub fn everywhere(&self) -> String {
        format!("0.0.0.0:{}", self.number)
    }

    /// Whether something listens on it now.
    pub fn is_open(&self) -> bool {
        std::net::TcpStream::connect(("127.0.0.1", self.number)).is_ok()
    }
}

fn lock_dir() -> Result<PathBuf> {
    // A directory per user: another user's lock files could not be opened.
    let name = format!("strimzi-backup-ports-{}", rustix::process::getuid().as_raw());
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).context("make the directory of port locks")?;
    Ok(dir)
}

//! What a process cost: the kernel's own account of it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use wait4::Wait4 as _;

/// What a finished process cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// User and system time.
    pub cpu: Duration,
    /// From its start to its end.
    pub wall: Duration,
    /// The most memory it held at once, in bytes.
    pub peak_bytes: u64,
}

impl Cost {
    /// MiB of `bytes` per CPU second.
    pub fn mib_per_cpu_second(&self, bytes: u64) -> f64 {
        mib(bytes) / self.cpu.as_secs_f64()
    }

    /// CPU seconds per GiB of `bytes`.
    pub fn cpu_seconds_per_gib(&self, bytes: u64) -> f64 {
        1024.0 / self.mib_per_cpu_second(bytes)
    }

    /// MiB of `bytes` per second of wall time.
    pub fn mib_per_second(&self, bytes: u64) -> f64 {
        mib(bytes) / self.wall.as_secs_f64()
    }

    /// MB of `bytes` per second of wall time.
    pub fn mb_per_second(&self, bytes: u64) -> f64 {
        bytes as f64 / 1e6 / self.wall.as_secs_f64()
    }
}

/// Bytes in MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Runs a command to its good end.
///
/// # Errors
/// Where it cannot be started or does not end with 0.
pub fn run(command: &mut Command) -> Result<Cost> {
    Ok(run_for_output(command)?.0)
}

/// Runs a command to its good end, and gives its standard output too.
///
/// # Errors
/// As [`run`].
pub fn run_for_output(command: &mut Command) -> Result<(Cost, String)> {
    let started = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("start {command:?}"))?;
    let stdout = collect(child.stdout.take().context("standard output")?);
    let stderr = collect(child.stderr.take().context("standard error")?);
    let usage = child.wait4().context("wait for the process")?;
    let wall = started.elapsed();
    let text = stderr.join().unwrap_or_default();
    ensure!(usage.status.success(), "{command:?} ended with {}\n{text}", usage.status);
    let peak_bytes = usage.rusage.maxrss;
    let cost = Cost { cpu: usage.rusage.utime + usage.rusage.stime, wall, peak_bytes };
    Ok((cost, stdout.join().unwrap_or_default()))
}

/// Reads a stream of a process to its end.
fn collect(mut stream: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        // What is not UTF-8 is of no use in a message.
        drop(stream.read_to_string(&mut text));
        text
    })
}

/// CPU time that a running process has used so far.
///
/// # Errors
/// Where it is gone.
pub fn cpu_of(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("the fields of /proc/pid/stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    // USER_HZ is 100 on every Linux that Rust runs on.
    Ok(Duration::from_millis(ticks * 10))
}

/// The most memory that a running process has held, in bytes.
///
/// # Errors
/// Where it is gone.
pub fn peak_of(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
}

/// Bytes of all files below a folder.
///
/// # Errors
/// Where a folder cannot be read.
pub fn bytes_below(dir: &std::path::Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { bytes_below(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

//! Child processes that never outlive their test.
//!
//! Each child leads a process group of its own, which is killed when the [`Process`] is dropped. Should the test
//! process be killed itself, the kernel kills the child: `setpriv --pdeathsig` asks for that. The kernel sends that
//! signal when the *thread* that started the child ends, so all children are started by one thread that never does.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::network::Namespace;
use crate::wait;

/// How many lines of output an error message quotes of each stream.
const TAIL_LINES: usize = 25;

/// Runs a command to its end: exit code, or minus the signal that ended it, standard output, standard error.
///
/// # Errors
/// Where the process cannot be started.
pub fn outcome(command: &mut Command) -> Result<(i32, String, String)> {
    let output = command.output()?;
    let code = output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or_default());
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((code, text(output.stdout), text(output.stderr)))
}

/// A child process with its output in two files.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command`; its output is appended to `<dir>/<name>.stdout` and `<dir>/<name>.stderr`. Its standard
    /// input is empty.
    pub fn spawn(name: &str, command: &Command, dir: &Path) -> Result<Process> {
        let stdout = dir.join(format!("{name}.stdout"));
        let stderr = dir.join(format!("{name}.stderr"));
        let mut guarded = guarded(command);
        guarded.stdin(Stdio::null()).stdout(append_to(&stdout)?).stderr(append_to(&stderr)?).process_group(0);
        let child = spawn_on_lasting_thread(guarded).with_context(|| format!("start {name}"))?;
        Ok(Process { name: name.to_owned(), child, ended: None, stdout, stderr })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything the process wrote to standard output so far.
    pub fn stdout(&self) -> String {
        read_lossy(&self.stdout)
    }

    /// Everything the process wrote to standard error so far.
    pub fn stderr(&self) -> String {
        read_lossy(&self.stderr)
    }

    /// The last lines of both outputs, for messages.
    pub fn tail(&self) -> String {
        let streams = [("stdout", self.stdout()), ("stderr", self.stderr())];
        let mut tail = String::new();
        for (stream, text) in streams {
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            tail.push_str(&format!("--- {} {stream}\n{}\n", self.name, last.join("\n")));
        }
        tail
    }

    /// How the process ended, or `None` while it runs.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().with_context(|| format!("look at {}", self.name))?;
        }
        Ok(self.ended)
    }

    /// Whether the process runs (a stopped process does).
    pub fn is_running(&mut self) -> bool {
        matches!(self.exit_status(), Ok(None))
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait::wait_for(&what, timeout, || self.exit_status()).map_err(|error| anyhow!("{error}\n{}", self.tail()))
    }

    /// Waits until `probe` yields a value; fails at once, with the tail of the output, when the process ends first.
    pub fn wait_ready<T>(&mut self, timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
        let what = format!("readiness of {}", self.name);
        let ready = wait::wait_for(&what, timeout, || {
            if let Some(status) = self.exit_status()? {
                bail!("{} ended while starting: {status}", self.name);
            }
            Ok(probe())
        });
        ready.map_err(|error| anyhow!("{error}\n{}", self.tail()))
    }

    /// Sends a signal to the process alone.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.exit_status()?.is_some() {
            bail!("{} has ended already\n{}", self.name, self.tail());
        }
        kill_process(self.pid()?, signal).with_context(|| format!("signal {}", self.name))
    }

    /// Asks the process to end.
    pub fn sigterm(&mut self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Freezes the process.
    pub fn sigstop(&mut self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a frozen process go on.
    pub fn sigcont(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Asks the process to end and waits for it.
    pub fn stop(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.sigterm()?;
        self.wait(timeout)
    }

    /// Kills the process and its group with SIGKILL and reaps it; nothing happens when it has ended.
    pub fn kill_9(&mut self) -> Result<()> {
        if self.exit_status()?.is_some() {
            return Ok(());
        }
        // The child is not reaped yet, so its id, which is also its group's, cannot be another's.
        kill_process_group(self.pid()?, Signal::KILL).with_context(|| format!("kill {}", self.name))?;
        self.ended = Some(self.child.wait()?);
        Ok(())
    }

    fn pid(&self) -> Result<Pid> {
        Pid::from_raw(i32::try_from(self.child.id())?).context("a process id is not 0")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill_9() {
            // Not a panic: this may run while a test panics already.
            let _ = writeln!(std::io::stderr(), "cannot kill {}: {error:#}", self.name);
        }
    }
}

/// Whether a process with this id exists (a zombie does).
pub fn exists(id: u32) -> bool {
    Path::new("/proc").join(id.to_string()).exists()
}

/// Runs `command` to its end and returns its standard output; an error names `what` and quotes both outputs.
pub fn run(what: &str, command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {what}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{what}: {}\n{stdout}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(stdout)
}

/// The same command under `setpriv`, which replaces itself by it: the process id is that of the command.
fn guarded(command: &Command) -> Command {
    let mut guarded = Command::new("setpriv");
    guarded.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => guarded.env(key, value),
            None => guarded.env_remove(key),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        guarded.current_dir(dir);
    }
    guarded
}

/// What to start, in which network, and whom to tell.
type SpawnRequest = (Command, Namespace, mpsc::Sender<std::io::Result<Child>>);

fn spawn_on_lasting_thread(command: Command) -> Result<Child> {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<SpawnRequest>>> = OnceLock::new();
    let requests = SPAWNER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<SpawnRequest>();
        thread::spawn(move || {
            for (mut command, network, reply) in receiver {
                let _ = reply.send(network.enter().and_then(|()| command.spawn()));
            }
        });
        Mutex::new(sender)
    });
    let (reply, result) = mpsc::channel();
    let sender = requests.lock().map_err(|_| anyhow!("a spawning thread panicked"))?.clone();
    sender.send((command, Namespace::current()?, reply)).context("the spawning thread ended")?;
    Ok(result.recv().context("the spawning thread ended")??)
}

fn append_to(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).with_context(|| format!("open {}", path.display()))
}

fn read_lossy(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

//! A network of the tests' own: a namespace with a loopback device and a bridge, which ends with whoever made it.
//!
//! A namespace belongs to a thread. Whatever the thread starts, threads and processes, is in the same one; [`Process`]
//! sees to it that this holds for its processes too.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::Process;

/// The address of this machine on the bridge: whatever listens at all addresses is reached there by pods.
pub const BRIDGE: &str = "10.88.0.1";

const READY: Duration = Duration::from_secs(20);

/// Addresses of pods are in the same network as [`BRIDGE`]; those of Services have a route, so that they can be told apart
/// from the world, and no device.
const SET_UP: &str = "
set -e
ip link set lo up
ip link add cni0 type bridge
ip address add 10.88.0.1/16 dev cni0
ip link set cni0 up
ip route add 10.96.0.0/16 dev cni0
echo 1 >/proc/sys/net/ipv4/ip_forward
[ -e /proc/sys/net/bridge ] || modprobe br_netfilter
echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
echo up
exec sleep infinity
";

/// A namespace that lives as long as this value.
#[derive(Debug)]
pub struct Network {
    // It holds the namespace open.
    holder: Process,
}

impl Network {
    /// Makes one; output of its making goes to `dir`.
    ///
    /// # Errors
    /// Where this is not root, or the kernel does not let it.
    pub fn new(dir: &Path) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "this test makes namespaces, mounts and control groups, which takes root: run it as root"
        );
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", SET_UP]);
        let mut holder = Process::spawn("network", &command, dir)?;
        let output = dir.join("network.stdout");
        holder.wait_ready(READY, || std::fs::read_to_string(&output).ok()?.contains("up").then_some(()))?;
        Ok(Self { holder })
    }

    /// Has the calling thread, and all that it starts from now on, in this network.
    ///
    /// # Errors
    /// Where the namespace is gone.
    pub fn enter(&self) -> Result<()> {
        let link = format!("/proc/{}/ns/net", self.holder.id());
        let namespace = Namespace { link: File::open(&link).with_context(|| format!("open {link}"))? };
        namespace.enter().context("enter the network of the tests")
    }
}

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    link: File,
}

impl Namespace {
    /// The one of the calling thread.
    ///
    /// # Errors
    /// Where /proc is not mounted.
    pub fn current() -> io::Result<Self> {
        Ok(Self { link: File::open("/proc/thread-self/ns/net")? })
    }

    /// Moves the calling thread there.
    ///
    /// # Errors
    /// Where that takes rights that this process lacks; staying takes none.
    pub fn enter(&self) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        if self.link.metadata()?.ino() == Self::current()?.link.metadata()?.ino() {
            return Ok(());
        }
        Ok(move_into_link_name_space(self.link.as_fd(), Some(LinkNameSpaceType::Network))?)
    }
}

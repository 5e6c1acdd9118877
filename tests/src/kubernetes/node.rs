//! A real node: containerd, kubelet, kube-proxy and CoreDNS, in a mount and a process namespace of their own.
//!
//! What they share with the machine is the kernel alone. What its end does not remove by itself, control groups and
//! files, goes by a process that outlives this one for as long as that takes, whatever ends it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use super::{Image, Kubectl};
use crate::certs::Certs;
use crate::network::BRIDGE;
use crate::parts;
use crate::ports::Port;
use crate::process::{self, Process};
use crate::run_dir::RunDir;
use crate::wait;

const READY: Duration = Duration::from_secs(90);

/// The control groups of this machine, of version 1 one tree for each controller.
const GROUPS: &str = "/sys/fs/cgroup";

const SCRIPT: &str = include_str!("node.sh");

/// Waits until whoever holds the other end of its input is gone, and with it all pods; removes groups and files.
const KEEPER: &str = r#"
cat >/dev/null
for attempt in $(seq 200); do
  left=
  for group in "$1" /sys/fs/cgroup/*/"${1##*/}"; do
    [ ! -d "$group" ] || { left=1; find "$group" -depth -type d -exec rmdir {} + 2>/dev/null; }
  done
  [ -n "$left" ] || break
  sleep 0.05
done
[ -z "$2" ] || rm -rf -- "$2"
"#;

/// A running node, named `node`, of a control plane.
#[derive(Debug)]
pub struct Node {
    // In the order of their end.
    process: Option<Process>,
    keeper: Keeper,
    group: String,
    _ports: [Port; 4],
    dir: RunDir,
}

impl Node {
    /// Starts a node in the calling thread's network, with the images that its pods may have, and waits until it takes
    /// pods.
    ///
    /// # Errors
    /// Where a program is missing, or one of them ends or is not ready in time; with the end of its output.
    pub fn start(kubectl: &Kubectl, certs: &Certs, images: &[Image]) -> Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        // Two nodes in one group would end each other's pods.
        let (dir, group) = (RunDir::new("node")?, format!("strimzi-backup-{}-{number}", std::process::id()));
        let ports = [Port::reserve()?, Port::reserve()?, Port::reserve()?, Port::reserve()?];
        write_files(dir.path(), kubectl, certs, &group, ports.each_ref().map(Port::number))?;
        let keeper = Keeper::start(&group, dir.path())?;
        make_groups(&group)?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", SCRIPT])
            .env("PATH", path())
            .env("DIR", dir.path())
            .env("BIN", parts::part("kubernetes")?)
            .env("KUBECONFIG", kubectl.kubeconfig());
        let process = Some(Process::spawn("node", &command, dir.path())?);
        let mut node = Self { process, keeper, group, _ports: ports, dir };
        node.wait_socket()?;
        images.iter().try_for_each(|image| node.import(image))?;
        node.wait_ready(kubectl)?;
        Ok(node)
    }

    /// Makes an image known to the node. Pods have to say that it is never pulled.
    ///
    /// # Errors
    /// Where it cannot be unpacked.
    pub fn import(&self, image: &Image) -> Result<()> {
        let mut command = Command::new("ctr");
        command.env("PATH", path()).arg("--address").arg(self.socket()).args(["--namespace", "k8s.io"]);
        command.args(["images", "import"]).arg(image.archive());
        process::run(&format!("the import of {}", image.name()), &mut command)?;
        Ok(())
    }

    /// The ids, as this machine counts them, of the processes of a pod, without the one that holds it.
    ///
    /// # Errors
    /// Where there is no such pod on the node.
    pub fn processes(&self, kubectl: &Kubectl, namespace: &str, pod: &str) -> Result<Vec<u32>> {
        let pod = kubectl.get(namespace, &format!("pod/{pod}"))?.with_context(|| format!("there is no pod {pod}"))?;
        let uid = pod["metadata"]["uid"].as_str().context("the uid of a pod")?.to_owned();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            let program = std::fs::read_link(entry.path().join("exe")).unwrap_or_default();
            if groups.contains(&uid) && program != Path::new("/pause") {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// The last lines of what its programs logged.
    pub fn tail(&self) -> String {
        let log = |name: &str| {
            let text = std::fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        ["containerd", "kubelet", "kube-proxy", "coredns"].map(log).concat()
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("containerd.sock")
    }

    fn wait_socket(&mut self) -> Result<()> {
        let (socket, tail) = (self.socket(), self.tail());
        let process = self.process.as_mut().context("the node has ended")?;
        process.wait_ready(READY, || socket.exists().then_some(())).map_err(|error| anyhow!("{error:#}\n{tail}"))
    }

    fn wait_ready(&mut self, kubectl: &Kubectl) -> Result<()> {
        let process = self.process.as_mut().context("the node has ended")?;
        let ready = process.wait_ready(READY, || {
            let node = kubectl.get("default", "node/node").ok()??;
            let conditions = node["status"]["conditions"].as_array()?.clone();
            conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True").then_some(())
        });
        ready.map_err(|error| anyhow!("{error:#}\n{}", self.tail()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.process.take();
        if let Err(error) = self.keeper.end() {
            // Not a panic: this may run while a test panics already.
            let _ = writeln!(std::io::stderr(), "what is left of the node in {}: {error:#}", self.group);
        }
    }
}

/// The process that cleans up.
#[derive(Debug)]
struct Keeper {
    child: Child,
    input: Option<ChildStdin>,
}

impl Keeper {
    fn start(group: &str, dir: &Path) -> Result<Self> {
        let keep = std::env::var_os(crate::run_dir::KEEP_VARIABLE).is_some();
        let mut command = Command::new("setsid");
        // A session of its own: what ends this process by the terminal does not end that one.
        command.args(["sh", "-c", KEEPER, "keeper"]).arg(format!("{GROUPS}/{group}"));
        command.arg(if keep { Path::new("") } else { dir });
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().context("start what cleans up after the node")?;
        let input = child.stdin.take();
        Ok(Self { child, input })
    }

    fn end(&mut self) -> Result<()> {
        self.input.take();
        wait::wait_until("the end of its control groups", READY, || Ok(self.child.try_wait()?.is_some()))
    }
}

/// Where the programs of root are as well.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn make_groups(name: &str) -> Result<()> {
    let root = Path::new(GROUPS);
    if root.join("cgroup.controllers").exists() {
        return std::fs::create_dir_all(root.join(name)).context("make a control group");
    }
    if !root.join("memory").is_dir() {
        bail!("{GROUPS} has no control groups that pods could be held in");
    }
    for tree in std::fs::read_dir(root)?.flatten().filter(|entry| entry.path().is_dir()) {
        let group = tree.path().join(name);
        // Links such as `cpu` for `cpu,cpuacct` lead to one that is there already.
        std::fs::create_dir_all(&group).with_context(|| format!("make the control group {}", group.display()))?;
        for file in ["cpuset.cpus", "cpuset.mems"].map(Path::new) {
            if tree.path().join(file).exists() {
                std::fs::write(group.join(file), std::fs::read(tree.path().join(file))?)?;
            }
        }
    }
    Ok(())
}

fn write_files(dir: &Path, kubectl: &Kubectl, certs: &Certs, group: &str, ports: [u16; 4]) -> Result<()> {
    let at = |name: &str| dir.join(name).display().to_string();
    std::fs::create_dir_all(dir.join("cni"))?;
    std::fs::create_dir_all(dir.join("kubelet"))?;
    let kubeconfig = kubectl.kubeconfig().display().to_string();
    let files = [
        ("containerd.toml", containerd(dir)),
        ("cni/10-bridge.conflist", network(&at("addresses")).to_string()),
        ("kubelet.json", kubelet(dir, certs, group, ports[0], ports[1]).to_string()),
        ("kube-proxy.json", kube_proxy(&kubeconfig, ports[2], ports[3]).to_string()),
        ("Corefile", dns(&kubeconfig)),
    ];
    for (name, text) in files {
        std::fs::write(dir.join(name), text).with_context(|| format!("write {name}"))?;
    }
    Ok(())
}

fn containerd(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"version = 2
root = "{dir}/containerd"
state = "{dir}/state"
[grpc]
  address = "{dir}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Where even root may not make a process less likely to be killed.
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{dir}/cni"
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
"#,
        pause = super::image::PAUSE,
    )
}

fn network(addresses: &str) -> Value {
    let range = json!({"subnet": "10.88.0.0/16", "rangeStart": "10.88.1.1"});
    let ipam = json!({
        "type": "host-local", "dataDir": addresses, "ranges": [[range]], "routes": [{"dst": "0.0.0.0/0"}],
    });
    let bridge = json!({"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipam": ipam});
    json!({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]})
}

fn kubelet(dir: &Path, certs: &Certs, group: &str, port: u16, health: u16) -> Value {
    let at = |name: &str| dir.join(name).display().to_string();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": BRIDGE,
        "port": port,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": health,
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": false},
                           "x509": {"clientCAFile": certs.ca()}},
        // Nobody has a certificate of this CA but the API server and the tests.
        "authorization": {"mode": "AlwaysAllow"},
        "tlsCertFile": certs.certificate("kubelet"),
        "tlsPrivateKeyFile": certs.key("kubelet"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{group}"),
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "containerRuntimeEndpoint": format!("unix://{}", at("containerd.sock")),
        "podLogsDir": at("logs"),
        "resolvConf": "",
        "volumePluginDir": at("volume-plugins"),
        "clusterDNS": [BRIDGE],
        "clusterDomain": "cluster.local",
        "makeIPTablesUtilChains": false,
        "nodeStatusUpdateFrequency": "5s",
        // Secrets that change are seen soon.
        "syncFrequency": "1s",
        "imageGCHighThresholdPercent": 100,
        // A full disk or busy machine of whoever tests is no reason to evict.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%",
                         "nodefs.inodesFree": "0%", "imagefs.inodesFree": "0%"},
    })
}

fn kube_proxy(kubeconfig: &str, health: u16, metrics: u16) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": kubeconfig},
        "hostnameOverride": "node",
        "bindAddress": BRIDGE,
        "clusterCIDR": "10.88.0.0/16",
        "mode": "iptables",
        "healthzBindAddress": format!("127.0.0.1:{health}"),
        "metricsBindAddress": format!("127.0.0.1:{metrics}"),
        // Limits of the whole machine, which are left alone.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
}

fn dns(kubeconfig: &str) -> String {
    format!(
        ".:53 {{\n  bind {BRIDGE}\n  errors\n  kubernetes cluster.local {{\n    kubeconfig {kubeconfig} test\n  }}\n  cache 2\n}}\n"
    )
}

//! A real Kubernetes control plane: etcd and kube-apiserver, and the controllers where they are asked for.
//!
//! A [`ControlPlane`] has no node: a Deployment becomes a ReplicaSet and Pods, and no Pod is ever scheduled. What the API
//! server does is all there: custom resources with their CEL rules, server-side apply, watches, finalizers, RBAC; what
//! needs the controllers is the default ServiceAccount of a namespace, garbage collection, and the end of a namespace.
//!
//! A [`Cluster`] runs pods, with addresses, Services and DNS, from [`Image`]s that are built here. It takes root.

mod cluster;
pub mod crds;
mod image;
mod kubectl;
mod node;
mod operator;
pub mod releases;
mod rights;
pub mod strimzi;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

pub use cluster::{Cluster, cluster};
pub use image::{Builder, Image};
pub use kubectl::Kubectl;
pub use node::Node;
pub use operator::{Operator, has_its_rights};
pub use rights::{Right, rules};

use crate::certs::Certs;
use crate::network::BRIDGE;
use crate::parts;
use crate::ports::Port;
use crate::process::Process;
use crate::run_dir::RunDir;
use crate::wait;

/// Two cores that others build on, and a cold cache.
const READY: Duration = Duration::from_secs(90);

/// The bearer token of the administrator of every control plane of the tests.
const ADMIN_TOKEN: &str = "admin-token-of-a-test";

/// The names that pods reach the API server by, and the API server the node.
const POD_NAMES: &[&str] = &["IP:10.88.0.1", "IP:10.96.0.1", "DNS:kubernetes.default.svc", "DNS:kubernetes"];

/// A running control plane, empty but for what Kubernetes makes itself.
#[derive(Debug)]
pub struct ControlPlane {
    // In the order of their end: who uses the other first, and all before their data goes.
    controllers: Option<Process>,
    scheduler: Option<Process>,
    api_server: Option<Process>,
    etcd: Process,
    certs: Certs,
    kubectl: Kubectl,
    etcd_ports: [Port; 2],
    api_port: Port,
    /// Whether pods reach it.
    for_pods: bool,
    dir: RunDir,
}

/// The control plane, with controllers, that the tests of one binary share, each in namespaces of its own. Nobody stops
/// it; it ends with the process.
///
/// # Errors
/// Where it does not start.
pub fn shared() -> Result<&'static ControlPlane> {
    static SHARED: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
    let plane = SHARED.get_or_init(|| ControlPlane::start_with_controllers().map_err(|error| format!("{error:#}")));
    plane.as_ref().map_err(|message| anyhow!("{message}"))
}

impl ControlPlane {
    /// Starts etcd and kube-apiserver on free loopback ports, and waits until they serve.
    ///
    /// # Errors
    /// Where the part is not installed, or one of them ends or does not serve in time; with the end of its output.
    pub fn start() -> Result<Self> {
        Self::start_at(false)
    }

    fn start_at(for_pods: bool) -> Result<Self> {
        let dir = RunDir::new("kubernetes")?;
        let certs = Certs::generate_for(&dir.path().join("pki"), POD_NAMES)?;
        for name in ["api-server", "service-accounts", "kubelet", "kubelet-client"] {
            certs.sign(name)?;
        }
        let etcd_ports = [Port::reserve()?, Port::reserve()?];
        let api_port = Port::reserve()?;
        let kubeconfig = dir.path().join("kubeconfig");
        write_kubeconfig(&kubeconfig, &certs, &api_port, ADMIN_TOKEN)?;
        let kubectl = Kubectl::new(kubeconfig)?;
        let etcd = start_etcd(dir.path(), &etcd_ports)?;
        let (controllers, scheduler, api_server) = (None, None, None);
        let mut plane =
            Self { controllers, scheduler, api_server, etcd, certs, kubectl, etcd_ports, api_port, for_pods, dir };
        plane.start_api_server()?;
        Ok(plane)
    }

    /// The same with kube-controller-manager, which is waited for as well.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub fn start_with_controllers() -> Result<Self> {
        let mut plane = Self::start()?;
        plane.start_controllers()?;
        Ok(plane)
    }

    /// The same for pods, which reach it at the bridge of the calling thread's network, with kube-scheduler.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    fn start_for_pods() -> Result<Self> {
        let mut plane = Self::start_at(true)?;
        plane.start_controllers()?;
        plane.start_scheduler()?;
        Ok(plane)
    }

    /// Ends those who work on what the API server knows, and starts them anew. After an outage they would wait for up to a
    /// minute before they look again.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub fn restart_controllers(&mut self) -> Result<()> {
        (self.controllers, self.scheduler) = (None, None);
        self.start_controllers()?;
        self.start_scheduler()
    }

    /// The command line of the administrator.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// `https://127.0.0.1:<port>`, with a certificate of [`ControlPlane::ca`].
    pub fn address(&self) -> String {
        format!("https://{}", self.api_port.address())
    }

    /// The certificate of its CA.
    pub fn ca(&self) -> PathBuf {
        self.certs.ca()
    }

    /// A token of a ServiceAccount that is there, as its pods have one.
    ///
    /// # Errors
    /// Where there is none.
    pub fn token(&self, namespace: &str, account: &str) -> Result<String> {
        let token = self.kubectl.run(&["create", "token", "--namespace", namespace, account])?;
        Ok(token.trim().to_owned())
    }

    /// The command line of a new ServiceAccount, which may do what these rules of a Role say in its own namespace, and
    /// whatever everybody may.
    ///
    /// # Errors
    /// Where one of its objects cannot be created.
    pub fn service_account(&self, namespace: &str, name: &str, rules: &Value) -> Result<Kubectl> {
        let object =
            |kind: &str, version: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
        let rbac = "rbac.authorization.k8s.io/v1";
        let account = object("ServiceAccount", "v1");
        let (mut role, mut binding) = (object("Role", rbac), object("RoleBinding", rbac));
        role["rules"] = rules.clone();
        binding["roleRef"] = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name});
        binding["subjects"] = json!([{"kind": "ServiceAccount", "name": name, "namespace": namespace}]);
        self.kubectl.apply(namespace, &[account, role, binding].map(|object| object.to_string()).join("\n---\n"))?;
        self.account(namespace, name)
    }

    /// The command line of a ServiceAccount that is there, with whatever rights it has.
    ///
    /// # Errors
    /// Where there is none.
    pub fn account(&self, namespace: &str, name: &str) -> Result<Kubectl> {
        let token = self.token(namespace, name)?;
        let kubeconfig = self.dir.path().join(format!("kubeconfig-{namespace}-{name}"));
        write_kubeconfig(&kubeconfig, &self.certs, &self.api_port, &token)?;
        Kubectl::new(kubeconfig)
    }

    /// What ServiceAccounts asked the API server for, as its audit log: an event in JSON in each line, without bodies.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn audit_log(&self) -> Result<String> {
        std::fs::read_to_string(self.dir.path().join("audit.log")).context("read the audit log")
    }

    /// A namespace that nobody else uses; its name begins with `name`.
    ///
    /// # Errors
    /// Where it cannot be created.
    pub fn namespace(&self, name: &str) -> Result<String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let namespace = format!("{name}-{}", MADE.fetch_add(1, Ordering::Relaxed));
        self.kubectl.run(&["create", "namespace", &namespace])?;
        Ok(namespace)
    }

    /// The ids of the processes that run.
    pub fn processes(&self) -> Vec<u32> {
        [Some(&self.etcd), self.api_server.as_ref(), self.controllers.as_ref(), self.scheduler.as_ref()]
            .into_iter()
            .flatten()
            .map(Process::id)
            .collect()
    }

    /// Kills the API server, as an outage of the control plane; what it knows stays in etcd.
    ///
    /// # Errors
    /// Where it cannot be killed.
    pub fn kill_api_server(&mut self) -> Result<()> {
        self.api_server.take().map_or(Ok(()), |mut process| process.kill_9())
    }

    /// Starts the API server, again on the same port, and waits until it serves.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub fn start_api_server(&mut self) -> Result<()> {
        let mut process = Process::spawn("kube-apiserver", &self.api_server_command()?, self.dir.path())?;
        process.wait_ready(READY, || {
            let serves = self.api_port.is_open()
                && self.kubectl.run(&["get", "--raw", "/readyz"]).is_ok()
                && self.kubectl.run(&["get", "namespace", "default"]).is_ok();
            serves.then_some(())
        })?;
        self.api_server = Some(process);
        Ok(())
    }

    fn api_server_command(&self) -> Result<Command> {
        let tokens = self.dir.path().join("tokens.csv");
        std::fs::write(&tokens, format!("{ADMIN_TOKEN},admin,admin,system:masters\n"))?;
        let mut command = command("kube-apiserver")?;
        command
            .arg(format!("--etcd-servers=http://{}", self.etcd_ports[0].address()))
            .arg(format!("--secure-port={}", self.api_port.number()))
            .arg("--service-cluster-ip-range=10.96.0.0/16")
            .args(["--authorization-mode=RBAC", "--anonymous-auth=false"])
            .arg("--service-account-issuer=https://kubernetes.default.svc");
        let policy = self.dir.path().join("audit-policy.json");
        std::fs::write(&policy, audit_policy().to_string())?;
        flag(&mut command, "audit-policy-file", &policy);
        flag(&mut command, "audit-log-path", &self.dir.path().join("audit.log"));
        if self.for_pods {
            command.args(["--bind-address=0.0.0.0", &format!("--advertise-address={BRIDGE}")]);
            command.arg("--kubelet-preferred-address-types=InternalIP");
            flag(&mut command, "kubelet-certificate-authority", &self.certs.ca());
            flag(&mut command, "kubelet-client-certificate", &self.certs.certificate("kubelet-client"));
            flag(&mut command, "kubelet-client-key", &self.certs.key("kubelet-client"));
        } else {
            command.args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"]);
            // The loopback address is none that a Service may point to.
            command.arg("--endpoint-reconciler-type=none");
        }
        flag(&mut command, "cert-dir", &self.dir.path().join("api-server"));
        flag(&mut command, "tls-cert-file", &self.certs.certificate("api-server"));
        flag(&mut command, "tls-private-key-file", &self.certs.key("api-server"));
        flag(&mut command, "token-auth-file", &tokens);
        flag(&mut command, "service-account-key-file", &self.certs.certificate("service-accounts"));
        flag(&mut command, "service-account-signing-key-file", &self.certs.key("service-accounts"));
        Ok(command)
    }

    fn start_controllers(&mut self) -> Result<()> {
        let mut command = command("kube-controller-manager")?;
        // Its own port is not asked for: nobody looks at it.
        command.args(["--secure-port=0", "--leader-elect=false", "--kube-api-qps=1000", "--kube-api-burst=1000"]);
        flag(&mut command, "kubeconfig", self.kubectl.kubeconfig());
        flag(&mut command, "service-account-private-key-file", &self.certs.key("service-accounts"));
        flag(&mut command, "root-ca-file", &self.certs.ca());
        let mut process = Process::spawn("kube-controller-manager", &command, self.dir.path())?;
        process.wait_ready(READY, || self.kubectl.run(&["get", "serviceaccount", "default"]).ok())?;
        self.controllers = Some(process);
        Ok(())
    }

    fn start_scheduler(&mut self) -> Result<()> {
        let mut command = command("kube-scheduler")?;
        command.args(["--secure-port=0", "--leader-elect=false"]);
        flag(&mut command, "kubeconfig", self.kubectl.kubeconfig());
        self.scheduler = Some(Process::spawn("kube-scheduler", &command, self.dir.path())?);
        Ok(())
    }

    /// Waits until an object is gone.
    ///
    /// # Errors
    /// Where it is still there in the end; with the object.
    pub fn wait_gone(&self, namespace: &str, object: &str, timeout: Duration) -> Result<()> {
        let get = ["get", "--namespace", namespace, object, "--ignore-not-found", "--output", "yaml"];
        let what = format!("the end of {object}");
        let gone = wait::wait_until(&what, timeout, || Ok(self.kubectl.run(&get)?.is_empty()));
        gone.with_context(|| self.kubectl.run(&get).unwrap_or_default())
    }
}

fn start_etcd(dir: &Path, ports: &[Port; 2]) -> Result<Process> {
    let [client, peer] = ports.each_ref().map(|port| format!("http://{}", port.address()));
    let mut command = command("etcd")?;
    command
        .args(["--name=test", "--unsafe-no-fsync", "--log-level=warn"])
        .args([format!("--listen-client-urls={client}"), format!("--advertise-client-urls={client}")])
        .args([format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}")])
        .arg(format!("--initial-cluster=test={peer}"));
    flag(&mut command, "data-dir", &dir.join("etcd"));
    let mut process = Process::spawn("etcd", &command, dir)?;
    process.wait_ready(READY, || ports[0].is_open().then_some(()))?;
    Ok(process)
}

/// What ServiceAccounts ask for is of interest, not what the administrator does.
fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
    })
}

fn write_kubeconfig(path: &Path, certs: &Certs, api: &Port, token: &str) -> Result<()> {
    let (server, ca) = (format!("https://{}", api.address()), certs.ca());
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": ca}}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
        "current-context": "test",
    });
    // JSON is YAML.
    std::fs::write(path, config.to_string()).context("write a kubeconfig")
}

fn command(name: &str) -> Result<Command> {
    Ok(Command::new(parts::part("kubernetes")?.join(name)))
}

fn flag(command: &mut Command, name: &str, path: &Path) {
    let mut argument = std::ffi::OsString::from(format!("--{name}="));
    argument.push(path);
    command.arg(argument);
}

//! One broker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::java;
use super::properties::{BrokerLayout, BrokerOptions, BrokerPorts, SecurePorts, render};
use crate::certs::Certs;
use crate::client::KafkaClient;
use crate::ports::Port;
use crate::process::Process;
use crate::run_dir::RunDir;

/// Generous: the machine may be compiling at the same time.
const READY: Duration = Duration::from_secs(60);
const STOPPED: Duration = Duration::from_secs(60);

/// A running, or stopped, broker that is its own controller, with its data in a temporary directory.
#[derive(Debug)]
pub struct KafkaBroker {
    // Before the directory: a broker is killed before its data goes.
    process: Option<Process>,
    ports: BrokerPorts,
    certs: Option<Certs>,
    cluster_id: String,
    /// How many brokers a client must see before this one counts as ready.
    brokers: usize,
    advertised: Option<String>,
    jvm: Vec<String>,
    dir: RunDir,
}

impl KafkaBroker {
    /// Starts a broker with the defaults of the tests and waits until it serves clients.
    pub fn start() -> Result<KafkaBroker> {
        KafkaBroker::start_with(&BrokerOptions::default())
    }

    /// Starts a broker with options and waits until it serves clients.
    pub fn start_with(options: &BrokerOptions) -> Result<KafkaBroker> {
        let ports = reserve_ports(options)?;
        let voters = format!("1@{}", ports.controller.address());
        let mut broker = KafkaBroker::prepare(1, 1, &voters, &java::random_id(), ports, options)?;
        broker.restart()?;
        Ok(broker)
    }

    /// Writes everything a broker needs, without starting it.
    pub(super) fn prepare(
        node: i32,
        brokers: usize,
        voters: &str,
        cluster_id: &str,
        ports: BrokerPorts,
        options: &BrokerOptions,
    ) -> Result<KafkaBroker> {
        let dir = RunDir::new("kafka")?;
        let names: Vec<String> = options.host.iter().map(|host| format!("DNS:{host}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let certs = if options.secure { Some(Certs::generate_for(&dir.path().join("certs"), &names)?) } else { None };
        java::format_data_dir(&dir.path().join("data"), node, cluster_id)?;
        let layout = BrokerLayout { node, voters, brokers, ports: &ports, dir: dir.path(), certs: certs.as_ref() };
        let text = render(&layout, options);
        std::fs::write(dir.path().join("broker.properties"), text).context("write broker.properties")?;
        Ok(KafkaBroker {
            process: None,
            ports,
            certs,
            cluster_id: cluster_id.to_owned(),
            brokers,
            advertised: options.advertised.clone(),
            jvm: options.jvm.clone(),
            dir,
        })
    }

    /// Where clients of the plain listener begin: its own address, or the one that was asked to be advertised.
    pub fn bootstrap(&self) -> String {
        self.advertised.clone().unwrap_or_else(|| self.listener_address())
    }

    /// The plain listener's own address, `127.0.0.1:<port>`: the upstream of a proxy.
    pub fn listener_address(&self) -> String {
        self.ports.plain.address()
    }

    /// A plain listener beside all proxies and security, for the harness itself.
    pub fn bootstrap_internal(&self) -> String {
        self.ports.internal.address()
    }

    /// The listener that requires a client certificate (secure brokers only).
    pub fn bootstrap_ssl(&self) -> Result<String> {
        Ok(self.secure_ports()?.ssl.address())
    }

    /// The listener for SCRAM-SHA-512, SCRAM-SHA-256 and PLAIN over TLS (secure brokers only).
    pub fn bootstrap_sasl_ssl(&self) -> Result<String> {
        Ok(self.secure_ports()?.sasl.address())
    }

    /// The listener for OAUTHBEARER with unsecured tokens over TLS (secure brokers only).
    pub fn bootstrap_oauth(&self) -> Result<String> {
        Ok(self.secure_ports()?.oauth.address())
    }

    /// The certificates (secure brokers only).
    pub fn certs(&self) -> Result<&Certs> {
        self.certs.as_ref().context("the broker was started without `secure`")
    }

    /// A client for the test's own use: it goes past a proxy and, on secure brokers, is a super user.
    pub fn client(&self) -> KafkaClient {
        KafkaClient::new(&self.bootstrap_internal())
    }

    /// The cluster id.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The directory of the logs: `<topic>-<partition>/` and `meta.properties`.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The directory of configuration, certificates, output and data.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process, to freeze it or read its output (the broker's log); `None` while stopped.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Ends the broker cleanly and waits for it.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.stop(STOPPED)?;
        }
        Ok(())
    }

    /// Kills the broker.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill_9())
    }

    /// Starts the broker again on the same ports and data and waits until it serves clients; kills it first when it
    /// runs.
    pub fn restart(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_ready()
    }

    /// Runs a tool of Kafka, as [`KafkaBroker::client`] does; `acls`, `configs`, `consumer`,
    /// `delete-records`, `groups`, `leader-election`, `offsets`, `producer`, `quorum`, `reassign`, `topics`,
    /// `transactions`, or a class name.
    pub fn cli(&self, tool: &str, arguments: &[&str]) -> Result<String> {
        let bootstrap = self.bootstrap_internal();
        java::run_tool(tool, &[&["--bootstrap-server", bootstrap.as_str()], arguments].concat())
    }

    /// Runs a tool that works on files, such as `dump-log`, hence without a bootstrap server.
    pub fn offline_cli(&self, tool: &str, arguments: &[&str]) -> Result<String> {
        java::run_tool(tool, arguments)
    }

    /// Starts the process without waiting for it: brokers of a cluster need each other.
    pub(super) fn launch(&mut self) -> Result<()> {
        self.kill()?;
        let properties = self.dir.path().join("broker.properties");
        self.process = Some(java::spawn_broker(&properties, self.dir.path(), &self.jvm)?);
        Ok(())
    }

    /// Waits until the broker answers a metadata request that lists every broker: it then is registered and
    /// unfenced, which an open port does not show.
    pub(super) fn wait_ready(&mut self) -> Result<()> {
        let (port, brokers) = (&self.ports.internal, self.brokers);
        let process = self.process.as_mut().context("the broker is stopped")?;
        process.wait_ready(READY, || port.is_open().then_some(()))?;
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", port.address())
            .set("reconnect.backoff.ms", "10")
            .set("reconnect.backoff.max.ms", "50")
            .set("log_level", "0")
            .create()?;
        process.wait_ready(READY, || {
            let metadata = consumer.fetch_metadata(None, Duration::from_millis(500)).ok()?;
            (metadata.brokers().len() >= brokers).then_some(())
        })
    }

    fn secure_ports(&self) -> Result<&SecurePorts> {
        self.ports.secure.as_ref().ok_or_else(|| anyhow!("the broker was started without `secure`"))
    }
}

/// Reserves the ports of one broker.
pub(super) fn reserve_ports(options: &BrokerOptions) -> Result<BrokerPorts> {
    let secure = if options.secure {
        Some(SecurePorts { ssl: Port::reserve()?, sasl: Port::reserve()?, oauth: Port::reserve()? })
    } else {
        None
    };
    Ok(BrokerPorts { plain: Port::reserve()?, internal: Port::reserve()?, controller: Port::reserve()?, secure })
}

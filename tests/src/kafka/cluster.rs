//! Three brokers that form one cluster, for leader moves and unclean elections.

use anyhow::{Context, Result, ensure};

use super::broker::{KafkaBroker, reserve_ports};
use super::java;
use super::properties::BrokerOptions;
use crate::client::KafkaClient;

const BROKERS: usize = 3;

/// Brokers 1, 2 and 3, each a controller too. Two must run for the cluster to work.
#[derive(Debug)]
pub struct KafkaCluster {
    brokers: Vec<KafkaBroker>,
}

impl KafkaCluster {
    /// Starts three brokers and waits until each sees the others.
    pub fn start() -> Result<KafkaCluster> {
        KafkaCluster::start_with(&BrokerOptions::default())
    }

    /// Starts three brokers with the same options.
    pub fn start_with(options: &BrokerOptions) -> Result<KafkaCluster> {
        ensure!(options.advertised.is_none(), "three brokers cannot advertise one address");
        let ports = (0..BROKERS).map(|_| reserve_ports(options)).collect::<Result<Vec<_>>>()?;
        let voters: Vec<String> =
            ports.iter().zip(1..).map(|(ports, id)| format!("{id}@{}", ports.controller.address())).collect();
        let (voters, cluster_id) = (voters.join(","), java::random_id());
        let mut brokers = Vec::new();
        for (ports, id) in ports.into_iter().zip(1..) {
            let mut broker = KafkaBroker::prepare(id, BROKERS, &voters, &cluster_id, ports, options)?;
            broker.launch()?;
            brokers.push(broker);
        }
        brokers.iter_mut().try_for_each(KafkaBroker::wait_ready)?;
        Ok(KafkaCluster { brokers })
    }

    /// The plain listeners of all brokers.
    pub fn bootstrap(&self) -> String {
        self.brokers.iter().map(KafkaBroker::bootstrap).collect::<Vec<_>>().join(",")
    }

    /// A client for the test's own use.
    pub fn client(&self) -> KafkaClient {
        let internal: Vec<String> = self.brokers.iter().map(KafkaBroker::bootstrap_internal).collect();
        KafkaClient::new(&internal.join(","))
    }

    /// The cluster id.
    pub fn cluster_id(&self) -> &str {
        self.brokers.first().map_or("", KafkaBroker::cluster_id)
    }

    /// The broker with this id: 1, 2 or 3. A restart waits until it sees as many brokers as the cluster has, so
    /// begin with [`KafkaCluster::launch`] when others are down.
    pub fn broker(&mut self, id: i32) -> Result<&mut KafkaBroker> {
        let index = usize::try_from(id - 1).ok();
        index.and_then(|index| self.brokers.get_mut(index)).with_context(|| format!("no broker {id}"))
    }

    /// Starts a stopped broker without waiting for it.
    pub fn launch(&mut self, id: i32) -> Result<()> {
        self.broker(id)?.launch()
    }

    /// Runs a tool of Kafka against all brokers, see [`KafkaBroker::cli`].
    pub fn cli(&self, tool: &str, arguments: &[&str]) -> Result<String> {
        let bootstrap = self.bootstrap();
        java::run_tool(tool, &[&["--bootstrap-server", bootstrap.as_str()], arguments].concat())
    }
}

//! What a backup tells of its cluster beside how it is reached. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kafka::{Kafka, NodePool};
use super::names;

/// Where a cluster keeps its metadata. A client need not know; whoever watches a migration wants to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum MetadataMode {
    /// KRaft.
    KRaft,
    /// ZooKeeper.
    ZooKeeper,
    /// On the way from one to the other.
    Migrating,
}

impl MetadataMode {
    /// As the status of the cluster says; where it does not, its annotation, and then whether it has ZooKeeper.
    pub fn of(kafka: &Kafka) -> Self {
        match kafka.status.kafka_metadata_state.as_deref() {
            Some("ZooKeeper") => return Self::ZooKeeper,
            Some("KRaft") => return Self::KRaft,
            Some(_) => return Self::Migrating,
            None => {}
        }
        match kafka.metadata.annotation(names::KRAFT_ANNOTATION).as_deref() {
            Some("enabled") => Self::KRaft,
            Some("migration" | "rollback") => Self::Migrating,
            _ if kafka.spec.zookeeper.is_some() => Self::ZooKeeper,
            _ => Self::KRaft,
        }
    }
}

/// The number of brokers that the cluster is to have; `None` where nothing says.
pub fn brokers(kafka: &Kafka, pools: &[NodePool]) -> Option<u32> {
    if !pools_count(kafka, pools) {
        return kafka.spec.kafka.replicas;
    }
    let of_brokers = |pool: &&NodePool| pool.spec.roles.iter().any(|role| role == "broker");
    Some(pools.iter().filter(of_brokers).map(|pool| pool.spec.replicas).sum())
}

/// From 0.48 on the annotation may be missing, and pools always count. Before, a cluster with ZooKeeper could have
/// pools that did not count yet.
fn pools_count(kafka: &Kafka, pools: &[NodePool]) -> bool {
    match kafka.metadata.annotation(names::NODE_POOLS_ANNOTATION).as_deref() {
        Some("enabled") => true,
        Some(_) => false,
        None => !pools.is_empty() && MetadataMode::of(kafka) == MetadataMode::KRaft,
    }
}

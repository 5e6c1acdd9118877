//! Kafka brokers: one ([`KafkaBroker`]), or three that form a cluster ([`KafkaCluster`]).

mod broker;
mod cluster;
mod java;
mod properties;

pub use broker::KafkaBroker;
pub use cluster::KafkaCluster;
pub use properties::{BrokerOptions, SCRAM_ADMIN, SCRAM_BACKUP};

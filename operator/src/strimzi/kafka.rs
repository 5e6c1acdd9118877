//! What discovery reads of a `Kafka` resource and its node pools: few fields, none required, whatever else there is.
//!
//! The same types read v1beta2 and v1: v1 only leaves fields out. Words that Strimzi may add to are strings.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::error::{Error, Place};

/// A `Kafka` resource.
#[derive(Clone, Debug, Deserialize)]
pub struct Kafka {
    /// Its name, namespace and annotations.
    pub metadata: Metadata,
    /// What its owner wants.
    #[serde(default)]
    pub spec: KafkaSpec,
    /// What Strimzi last said. Nearly empty while the cluster is unhealthy or paused.
    #[serde(default)]
    pub status: KafkaStatus,
}

/// The metadata of any of Strimzi's resources.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Counts the changes of the spec.
    pub generation: Option<i64>,
}

/// `spec` of a `Kafka`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct KafkaSpec {
    /// The brokers.
    pub kafka: Brokers,
    /// Present while the cluster has ZooKeeper; never in v1.
    pub zookeeper: Option<Value>,
    /// The operators of topics and users.
    pub entity_operator: EntityOperator,
}

/// `spec.kafka`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Brokers {
    /// The listeners, without addresses.
    pub listeners: Vec<Listener>,
    /// What decides who may do what; anybody anything if left out.
    pub authorization: Option<Authorization>,
    /// The number of brokers where no node pools are; never in v1.
    pub replicas: Option<u32>,
}

/// One of `spec.kafka.listeners`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Listener {
    /// What joins it with its addresses in the status.
    pub name: String,
    /// The port inside of the Kubernetes cluster.
    pub port: u16,
    /// `internal`, `cluster-ip`, `loadbalancer`, `nodeport`, `route`, `ingress`, `tlsroute` …
    pub r#type: String,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// How clients prove who they are; not at all if left out.
    pub authentication: Option<ListenerAuthentication>,
    /// Certificates and addresses.
    pub configuration: ListenerConfiguration,
}

/// `authentication` of a listener.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ListenerAuthentication {
    /// `tls`, `scram-sha-512`, `custom`; in v1beta2 also `oauth`.
    pub r#type: String,
}

/// `configuration` of a listener.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ListenerConfiguration {
    /// Present where the listener has a certificate that the CA of the cluster did not sign.
    pub broker_cert_chain_and_key: Option<Value>,
}

/// `spec.kafka.authorization`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Authorization {
    /// `simple`, `custom`; in v1beta2 also `keycloak` and `opa`.
    pub r#type: String,
    /// Whether a custom one takes the ACLs of `KafkaUser` resources.
    pub supports_admin_api: bool,
}

/// `spec.entityOperator`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EntityOperator {
    /// Absent where nothing carries out `KafkaUser` resources.
    pub user_operator: Option<UserOperator>,
}

/// `spec.entityOperator.userOperator`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UserOperator {
    /// Where it looks for users, if not in the namespace of the cluster.
    pub watched_namespace: Option<String>,
    /// What stands before the name of a user in that of the Secret.
    pub secret_prefix: Option<String>,
}

/// `status` of a `Kafka`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct KafkaStatus {
    /// The addresses of listeners.
    pub listeners: Vec<ListenerStatus>,
    /// Kafka's own id of the cluster.
    pub cluster_id: Option<String>,
    /// The version of Kafka.
    pub kafka_version: Option<String>,
    /// `ZooKeeper`, `KRaft` or a step between; from 0.40 to 0.48.
    pub kafka_metadata_state: Option<String>,
    /// The version of Strimzi that last carried the resource out.
    pub operator_last_successful_version: Option<String>,
    /// The generation of the spec that this status speaks of.
    pub observed_generation: Option<i64>,
    /// `Ready`, `NotReady`, `Warning`, `ReconciliationPaused`.
    pub conditions: Vec<Condition>,
}

/// One of `status.listeners`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ListenerStatus {
    /// What joins it with the spec. (`type` beside it is an old name of the same.)
    pub name: Option<String>,
    /// Where it is reached.
    pub addresses: Vec<Address>,
    /// The same as one string, with bare IPv6 addresses.
    pub bootstrap_servers: Option<String>,
    /// What to trust: the listener's own certificate, else the newest CA of the cluster.
    pub certificates: Vec<String>,
}

/// One of the addresses of a listener.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Address {
    /// A name, or an IP address.
    pub host: String,
    /// The port there.
    pub port: u16,
}

/// A condition of any of Strimzi's resources.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// What it is about.
    pub r#type: String,
    /// `True` or `False`.
    pub status: String,
    /// Why, in a word.
    pub reason: Option<String>,
    /// Why, in a sentence.
    pub message: Option<String>,
}

/// A `KafkaNodePool`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodePool {
    /// What its owner wants.
    pub spec: NodePoolSpec,
}

/// `spec` of a `KafkaNodePool`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodePoolSpec {
    /// The number of its nodes.
    pub replicas: u32,
    /// `broker`, `controller` or both.
    pub roles: Vec<String>,
}

impl Kafka {
    /// Reads a resource as the API server gave it.
    ///
    /// # Errors
    /// [`Error::Unreadable`] where a field that is there has another shape than in v1beta2 and v1.
    pub fn read(place: &Place, value: &Value) -> Result<Self, Error> {
        read(place, value)
    }

    /// What errors call it.
    pub fn place(&self) -> Place {
        Place::new("Kafka", &self.metadata.namespace, &self.metadata.name)
    }

    /// The namespace that users of this cluster are in.
    pub fn user_namespace(&self) -> &str {
        let operator = self.spec.entity_operator.user_operator.as_ref();
        operator.and_then(|operator| operator.watched_namespace.as_deref()).unwrap_or(&self.metadata.namespace)
    }

    /// Whether ACLs of a `KafkaUser` are carried out. Where they are not, a user that has some fails.
    pub fn takes_acls(&self) -> bool {
        let authorization = self.spec.kafka.authorization.as_ref();
        authorization.is_some_and(|by| by.r#type == "simple" || (by.r#type == "custom" && by.supports_admin_api))
    }

    /// The addresses of a listener, if the status has any.
    pub fn addresses(&self, listener: &str) -> Option<&ListenerStatus> {
        let of_listener = |status: &&ListenerStatus| status.name.as_deref() == Some(listener);
        self.status.listeners.iter().find(of_listener)
    }
}

impl Metadata {
    /// The value of an annotation, in lower case as Strimzi compares it.
    pub fn annotation(&self, name: &str) -> Option<String> {
        self.annotations.get(name).map(|value| value.to_lowercase())
    }
}

/// The reason why a resource of Strimzi's is not ready, if it says so. Not ready is a condition of its own there:
/// `Ready` is never false, but for topics.
pub fn not_ready(conditions: &[Condition]) -> Option<String> {
    let holds = |condition: &&Condition| {
        condition.status == "True" && matches!(condition.r#type.as_str(), "NotReady" | "ReconciliationPaused")
    };
    conditions.iter().find(holds).map(|condition| {
        let words = [Some(condition.r#type.as_str()), condition.reason.as_deref(), condition.message.as_deref()];
        words.into_iter().flatten().collect::<Vec<_>>().join(": ")
    })
}

/// Reads a resource of Strimzi's.
pub(super) fn read<T: serde::de::DeserializeOwned>(place: &Place, value: &Value) -> Result<T, Error> {
    T::deserialize(value).map_err(|source| Error::Unreadable { place: place.clone(), source })
}

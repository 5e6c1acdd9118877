//! What both resources have.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number of bytes, plain or with a suffix: `268435456`, `256Mi`.
pub type Quantity = IntOrString;

/// A duration with its unit: `200ms`, `5s`, `1m 30s`.
pub type Duration = String;

/// A `Kafka` resource of Strimzi.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StrimziClusterRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace. Default: that of this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The listener to connect to. Default: the best one that fits `authentication`, an internal one with TLS before others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub listener_name: Option<String>,
}

/// How the client proves who it is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Authentication {
    /// How; it must be what the `KafkaUser` has.
    pub r#type: AuthenticationType,
    /// The `KafkaUser` whose Secret is used.
    pub kafka_user_ref: KafkaUserRef,
}

/// A kind of authentication that Strimzi makes users for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum AuthenticationType {
    /// A client certificate.
    #[serde(rename = "tls")]
    Tls,
    /// Name and password.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// A `KafkaUser` resource of Strimzi.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaUserRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace. Default: that of the Kafka cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// Which topics, by regular expressions over the whole name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Topics {
    /// Those that are meant. Default: all but internal ones, which only a pattern that names them selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 1000)))]
    pub include: Option<Vec<String>>,
    /// Those among them that are not. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 1000)))]
    pub exclude: Option<Vec<String>>,
}

/// Whose committed offsets, by regular expressions over the whole id of a consumer group.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerGroups {
    /// Those that are meant. Default: all. An empty list: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 1000)))]
    pub include: Option<Vec<String>>,
    /// Those among them that are not. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 1000)))]
    pub exclude: Option<Vec<String>>,
}

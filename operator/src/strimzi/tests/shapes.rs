//! `Kafka` resources as four releases of Strimzi write them, cut down to what matters, and their companions.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::strimzi::SecretRef;
use crate::strimzi::error::Place;
use crate::strimzi::kafka::Kafka;

pub(super) fn kafka(value: Value) -> Kafka {
    Kafka::read(&Place::new("Kafka", "kafka", "shop"), &value).unwrap()
}

/// v1beta2 alone, ZooKeeper. Each listener in the status has its name twice.
pub(super) fn v0_40() -> Kafka {
    kafka(json!({
        "apiVersion": "kafka.strimzi.io/v1beta2",
        "kind": "Kafka",
        "metadata": {"name": "shop", "namespace": "kafka", "generation": 3, "uid": "f0"},
        "spec": {
            "kafka": {
                "version": "3.7.0",
                "replicas": 3,
                "storage": {"type": "ephemeral"},
                "listeners": [
                    {"name": "plain", "port": 9092, "type": "internal", "tls": false},
                    {"name": "tls", "port": 9093, "type": "internal", "tls": true, "authentication": {"type": "tls"}},
                    {"name": "external", "port": 9094, "type": "nodeport", "tls": true,
                     "authentication": {"type": "scram-sha-512"}},
                ],
            },
            "zookeeper": {"replicas": 3, "storage": {"type": "ephemeral"}},
            "entityOperator": {"topicOperator": {}, "userOperator": {}},
        },
        "status": {
            "clusterId": "XP9FP2P-RByvEy0W4cOEUA",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2024-03-20T17:56:29.396588Z"}],
            "kafkaMetadataState": "ZooKeeper",
            "kafkaVersion": "3.7.0",
            "listeners": [
                {"name": "plain", "type": "plain", "bootstrapServers": "shop-kafka-bootstrap.kafka.svc:9092",
                 "addresses": [{"host": "shop-kafka-bootstrap.kafka.svc", "port": 9092}]},
                {"name": "tls", "type": "tls", "bootstrapServers": "shop-kafka-bootstrap.kafka.svc:9093",
                 "addresses": [{"host": "shop-kafka-bootstrap.kafka.svc", "port": 9093}], "certificates": ["ca"]},
                {"name": "external", "type": "external", "bootstrapServers": "10.0.0.2:31000,fd00::7:31000",
                 "addresses": [{"host": "fd00::7", "port": 31000}, {"host": "10.0.0.2", "port": 31000},
                               {"host": "10.0.0.2", "port": 31000}], "certificates": ["ca"]},
            ],
            "observedGeneration": 3,
            "operatorLastSuccessfulVersion": "0.40.0",
        },
    }))
}

/// v1beta2 alone, KRaft, and a reconciliation that failed: no listeners in the status.
pub(super) fn v0_43() -> Kafka {
    kafka(json!({
        "apiVersion": "kafka.strimzi.io/v1beta2",
        "kind": "Kafka",
        "metadata": {
            "name": "shop", "namespace": "kafka",
            "annotations": {"strimzi.io/kraft": "Enabled", "strimzi.io/node-pools": "enabled"},
        },
        "spec": {
            "kafka": {
                "listeners": [
                    {"name": "scram", "port": 9095, "type": "internal", "tls": true,
                     "authentication": {"type": "scram-sha-512"}},
                    {"name": "inside", "port": 9096, "type": "cluster-ip", "tls": true,
                     "authentication": {"type": "tls"}},
                    {"name": "balanced", "port": 9097, "type": "loadbalancer", "tls": true},
                ],
                "authorization": {"type": "simple", "superUsers": ["CN=root"]},
            },
            "entityOperator": {"userOperator": {"watchedNamespace": "users", "secretPrefix": "kafka-user-"}},
        },
        "status": {
            "clusterId": "bk0gFIJHSQCa0uWQbOKKwA",
            "conditions": [{"type": "NotReady", "status": "True", "reason": "TimeoutException",
                            "message": "Exceeded timeout of 300000ms"}],
            "kafkaMetadataState": "KRaft",
            "kafkaVersion": "3.8.0",
            "operatorLastSuccessfulVersion": "0.43.0",
        },
    }))
}

/// v1 and v1beta2. A listener with a certificate of its own, one by OAuth, authorization that takes no ACLs.
pub(super) fn v0_51() -> Kafka {
    kafka(json!({
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "Kafka",
        "metadata": {"name": "shop", "namespace": "kafka"},
        "spec": {
            "kafka": {
                "listeners": [
                    {"name": "oauth", "port": 9093, "type": "internal", "tls": true,
                     "authentication": {"type": "custom", "sasl": true, "listenerConfig": {}}},
                    {"name": "own", "port": 9094, "type": "internal", "tls": true,
                     "configuration": {"brokerCertChainAndKey": {"secretName": "own", "certificate": "c", "key": "k"}},
                     "authentication": {"type": "scram-sha-512"}},
                ],
                "authorization": {"type": "custom", "authorizerClass": "org.example.Authorizer"},
            },
            "entityOperator": {"userOperator": {}},
        },
        "status": {
            "clusterId": "bk0gFIJHSQCa0uWQbOKKwA",
            "conditions": [{"type": "Ready", "status": "True"},
                           {"type": "Warning", "status": "True", "reason": "DeprecatedFields", "message": "…"}],
            "listeners": [
                {"name": "own", "bootstrapServers": "shop-kafka-bootstrap.kafka.svc:9094", "certificates": ["own PEM"],
                 "addresses": [{"host": "shop-kafka-bootstrap.kafka.svc", "port": 9094}]},
            ],
            "operatorLastSuccessfulVersion": "0.51.0",
        },
    }))
}

/// v1 alone, paused: of the status hardly anything is left. It has no operator of users.
pub(super) fn v1_2() -> Kafka {
    kafka(json!({
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "Kafka",
        "metadata": {"name": "shop", "namespace": "kafka", "annotations": {"strimzi.io/pause-reconciliation": "true"}},
        "spec": {
            "kafka": {
                "version": "4.3.1",
                "listeners": [
                    {"name": "routed", "port": 9095, "type": "tlsroute", "tls": true,
                     "authentication": {"type": "tls"}},
                    {"name": "tls", "port": 9093, "type": "internal", "tls": true, "authentication": {"type": "tls"}},
                ],
                "authorization": {"type": "simple"},
            },
        },
        "status": {
            "clusterId": "bk0gFIJHSQCa0uWQbOKKwA",
            "clusterSecurity": {"encryption": {"type": "strimzi-tls"}},
            "conditions": [{"type": "ReconciliationPaused", "status": "True"}],
            "observedGeneration": 1,
        },
    }))
}

/// A `KafkaUser` of type SCRAM, without a status.
pub(super) fn user(name: &str, authentication: &str) -> Value {
    json!({
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": {"name": name, "namespace": "kafka", "labels": {"strimzi.io/cluster": "shop"}},
        "spec": {"authentication": {"type": authentication}},
    })
}

pub(super) fn secret(entries: &[(&str, &str)]) -> Secret {
    let data = entries.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
    Secret { data: Some(data.collect()), ..Secret::default() }
}

pub(super) fn at(namespace: &str, name: &str) -> SecretRef {
    SecretRef { namespace: namespace.to_owned(), name: name.to_owned() }
}

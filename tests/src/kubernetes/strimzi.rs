//! A stand-in for Strimzi: definitions of its resources, and what it would write. None of it is Strimzi's own.

use std::time::Duration;

use super::{ControlPlane, Kubectl, crds};
use anyhow::Result;
use serde_json::{Value, json};

/// For what controllers do by themselves, on a machine that does much else.
pub const SOON: Duration = Duration::from_secs(60);

/// The name of the cluster in each test's own namespace.
pub const CLUSTER: &str = "shop";

/// Has these versions of Strimzi's API served, the first of them stored. A resource may hold anything, as no test is
/// about Strimzi's schema.
///
/// # Errors
/// Where the API server refuses one.
pub fn serve(kubectl: &Kubectl, versions: &[&str]) -> Result<()> {
    let kinds = [("Kafka", "kafkas"), ("KafkaNodePool", "kafkanodepools"), ("KafkaUser", "kafkausers")];
    kinds.into_iter().try_for_each(|kind| crds::stand_in(kubectl, "kafka.strimzi.io", kind, versions))
}

/// Strimzi's resources in one namespace.
#[derive(Clone, Debug)]
pub struct Strimzi<'a> {
    /// Who writes them.
    pub kubectl: &'a Kubectl,
    /// Where they are.
    pub namespace: String,
    /// The version that its owner writes.
    pub version: &'static str,
}

impl<'a> Strimzi<'a> {
    /// A namespace of its own, in a control plane that serves the version.
    ///
    /// # Errors
    /// Where the API server refuses an object.
    pub fn new(plane: &'a ControlPlane, name: &str, version: &'static str) -> Result<Self> {
        Ok(Self { kubectl: plane.kubectl(), namespace: plane.namespace(name)?, version })
    }

    /// A cluster that is reached by certificate, with the user `backup`; and credentials of a store.
    ///
    /// # Errors
    /// Where the API server refuses an object.
    pub fn complete(&self) -> Result<()> {
        self.kafka(json!([
            {"name": "tls", "port": 9093, "type": "internal", "tls": true, "authentication": {"type": "tls"}},
        ]))?;
        self.reached("tls", "shop-kafka-bootstrap.somewhere.svc", 9093)?;
        self.secret("shop-cluster-ca-cert", &[("ca.crt", "one")])?;
        self.user("backup", "tls")?;
        self.secret("backup", &[("user.crt", "certificate"), ("user.key", "key")])?;
        self.secret("store", &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hidden")])
    }

    /// What an owner applies: a cluster with these listeners.
    ///
    /// # Errors
    /// Where the API server refuses an object.
    pub fn kafka(&self, listeners: Value) -> Result<()> {
        let spec = json!({
            "kafka": {"listeners": listeners, "authorization": {"type": "simple"}},
            "entityOperator": {"userOperator": {}},
        });
        self.apply("Kafka", CLUSTER, &spec)
    }

    /// A pool of nodes of that cluster.
    ///
    /// # Errors
    /// Where the API server refuses an object.
    pub fn pool(&self, name: &str, replicas: u32, roles: &[&str]) -> Result<()> {
        self.apply("KafkaNodePool", name, &json!({"replicas": replicas, "roles": roles}))
    }

    /// A user of that cluster.
    ///
    /// # Errors
    /// Where the API server refuses an object.
    pub fn user(&self, name: &str, authentication: &str) -> Result<()> {
        self.apply("KafkaUser", name, &json!({"authentication": {"type": authentication}}))
    }

    fn apply(&self, kind: &str, name: &str, spec: &Value) -> Result<()> {
        let labels = json!({"strimzi.io/cluster": CLUSTER});
        let object = json!({
            "apiVersion": format!("kafka.strimzi.io/{}", self.version),
            "kind": kind,
            "metadata": {"name": name, "labels": labels},
            "spec": spec,
        });
        self.kubectl.apply(&self.namespace, &object.to_string())?;
        Ok(())
    }

    /// What Strimzi writes when a listener is reached.
    ///
    /// # Errors
    /// Where the API server refuses an object.
    pub fn reached(&self, listener: &str, host: &str, port: u16) -> Result<()> {
        let status = json!({
            "clusterId": "bk0gFIJHSQCa0uWQbOKKwA",
            "conditions": [{"type": "Ready", "status": "True"}],
            "kafkaVersion": "4.3.1",
            "operatorLastSuccessfulVersion": "1.2.0",
            "listeners": [{"name": listener, "addresses": [{"host": host, "port": port}],
                           "bootstrapServers": format!("{host}:{port}"), "certificates": ["CA"]}],
        });
        self.kubectl.set_status(&self.namespace, &format!("kafka/{CLUSTER}"), &status)
    }

    /// A Secret that Strimzi makes.
    ///
    /// # Errors
    /// Where the API server refuses an object.
    pub fn secret(&self, name: &str, entries: &[(&str, &str)]) -> Result<()> {
        let data: Value = entries.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
        let metadata = json!({"name": name, "labels": {"strimzi.io/cluster": CLUSTER}});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data});
        self.kubectl.apply(&self.namespace, &secret.to_string())?;
        Ok(())
    }
}

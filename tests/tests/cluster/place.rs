//! A namespace with all that a backup needs, and what its tests share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use strimzi_backup_tests::kafka::{BrokerOptions, KafkaBroker};
use strimzi_backup_tests::kubernetes::{Cluster, Kubectl, cluster, crds, has_its_rights, strimzi};
use strimzi_backup_tests::network::BRIDGE;
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::wait;

use crate::install::{OPERATOR, install};

/// For what pods do, on a machine that does much else.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// From the first `kubectl apply` to the first durable segment.
pub(crate) const FIRST_SEGMENT: Duration = Duration::from_secs(60);

/// The Kafka cluster that is backed up.
pub(crate) const SHOP: &str = "shop";

/// The bucket of the examples.
pub(crate) const BUCKET: &str = "my-kafka-backups";

/// A namespace with a broker, by default of a cluster named [`SHOP`], and a store, all reached by Services, and the operator
/// that looks after it in another one; both are under Pod Security `restricted`.
pub(crate) struct Place<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) kubectl: Kubectl,
    pub(crate) namespace: String,
    /// The namespace of the operator.
    home: String,
    /// The name of the Kafka cluster.
    name: &'static str,
    pub(crate) broker: KafkaBroker,
    pub(crate) store: S3Server,
}

/// The shared cluster, with the definitions of our resources and of Strimzi's stand-in. Comes before all else in a test:
/// what a test starts is in the cluster's network from then on.
pub(crate) fn prepared() -> Result<&'static Cluster> {
    static PREPARED: OnceLock<Result<(), String>> = OnceLock::new();
    let cluster = cluster()?;
    let done = PREPARED.get_or_init(|| prepare(cluster).map_err(|error| format!("{error:#}")));
    done.as_ref().map_err(|message| anyhow!("{message}"))?;
    Ok(cluster)
}

/// The definitions of our resources and of Strimzi's stand-in.
pub(crate) fn prepare(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.plane().kubectl().clone();
    crds::ours(&kubectl)?;
    strimzi::serve(&kubectl, &["v1"])
}

impl<'a> Place<'a> {
    pub(crate) fn new(cluster: &'a Cluster, name: &str) -> Result<Self> {
        let namespace = cluster.plane().namespace(name)?;
        let place = Self::start(cluster, namespace, SHOP, S3Server::start_for_pods()?, BrokerOptions::default())?;
        place.strimzi(Some("tls"))?;
        place.user("backup", "tls")?;
        place.certificate("backup", &place.broker)?;
        place.installed()
    }

    /// The cluster, the region and the bucket that an example names. The cluster asks for what the example takes for
    /// granted.
    pub(crate) fn of_an_example(
        cluster: &'a Cluster,
        namespace: String,
        name: &'static str,
        asks: Option<&str>,
    ) -> Result<Self> {
        let store = S3Server::start_for_pods_in("eu-west-1")?;
        store.create_bucket(BUCKET)?;
        let options = match asks {
            Some(_) => BrokerOptions::default(),
            None => BrokerOptions::default().property("listener.name.ssl.ssl.client.auth", "none"),
        };
        let place = Self::start(cluster, namespace, name, store, options)?;
        place.strimzi(asks)?;
        place.installed()
    }

    /// Broker and store, with their Services.
    fn start(
        cluster: &'a Cluster,
        namespace: String,
        name: &'static str,
        store: S3Server,
        options: BrokerOptions,
    ) -> Result<Self> {
        let plane = cluster.plane();
        let (kubectl, home) = (plane.kubectl().clone(), plane.namespace(&format!("{namespace}-operator"))?);
        let enforce = "pod-security.kubernetes.io/enforce=restricted";
        kubectl.run(&["label", "namespace", &namespace, &home, enforce])?;
        let host = format!("{name}-kafka-bootstrap.{namespace}.svc");
        // Which rights a user needs is another test's subject.
        let options = options.secure().host(&host);
        let users = "User:admin;User:backup;User:backup-service-account;User:rotating;User:ANONYMOUS";
        let options = options.property("super.users", users);
        let broker = KafkaBroker::start_with(&options)?;
        let place = Self { cluster, kubectl, namespace, home, name, broker, store };
        place.service("store", &[place.store.port()])?;
        place.store_keys()?;
        Ok(place)
    }

    /// The operator, as the last of what is there before the first resource.
    fn installed(self) -> Result<Self> {
        let started = Instant::now();
        install(&self.kubectl, &self.home, &self.namespace, self.cluster.product().name())?;
        println!("{}: operator ready {:.1?} after broker and store", self.namespace, started.elapsed());
        Ok(self)
    }

    /// What Strimzi would write for the broker: the cluster with its listeners, of which one asks for this, and its CA.
    fn strimzi(&self, asks: Option<&str>) -> Result<()> {
        let (tls, scram) = (port(&self.broker.bootstrap_ssl()?)?, port(&self.broker.bootstrap_sasl_ssl()?)?);
        self.service(&format!("{}-kafka-bootstrap", self.name), &[tls, scram])?;
        let listeners = [listener("tls", tls, asks), listener("scram", scram, Some("scram-sha-512"))];
        self.kafka(self.name, self.broker.cluster_id(), &listeners)?;
        let ca = read(self.broker.certs()?.ca())?;
        self.secret(&format!("{}-cluster-ca-cert", self.name), &[("ca.crt", &ca)])
    }

    /// The Secret with the keys that the store takes now.
    pub(crate) fn store_keys(&self) -> Result<()> {
        let keys = [("AWS_ACCESS_KEY_ID", self.store.access_key()), ("AWS_SECRET_ACCESS_KEY", self.store.secret_key())];
        self.secret("aws-creds", &keys)
    }

    /// A `Kafka` and what its status says.
    pub(crate) fn kafka(&self, name: &str, id: &str, listeners: &[Value]) -> Result<()> {
        let spec = json!({"kafka": {"listeners": listeners, "authorization": {"type": "simple"}},
                          "entityOperator": {"userOperator": {}}});
        self.apply(&object("kafka.strimzi.io/v1", "Kafka", name, &spec))?;
        let host = format!("{name}-kafka-bootstrap.{}.svc", self.namespace);
        let reached = listeners.iter().map(|listener| {
            let port = &listener["port"];
            json!({"name": listener["name"], "addresses": [{"host": host, "port": port}],
                   "bootstrapServers": format!("{host}:{port}")})
        });
        let status = json!({
            "clusterId": id,
            "conditions": [{"type": "Ready", "status": "True"}],
            "kafkaVersion": "4.3.1",
            "operatorLastSuccessfulVersion": "1.2.0",
            "listeners": reached.collect::<Value>(),
        });
        self.kubectl.set_status(&self.namespace, &format!("kafka/{name}"), &status)
    }

    /// A user of the cluster, whose Secret has its name.
    pub(crate) fn user(&self, name: &str, authentication: &str) -> Result<()> {
        let mut user =
            object("kafka.strimzi.io/v1", "KafkaUser", name, &json!({"authentication": {"type": authentication}}));
        user["metadata"]["labels"] = json!({"strimzi.io/cluster": self.name});
        self.apply(&user)
    }

    /// The Secret of a user of a broker, who has a certificate there.
    pub(crate) fn certificate(&self, user: &str, broker: &KafkaBroker) -> Result<()> {
        let certs = broker.certs()?;
        let (certificate, key) = (read(certs.certificate(user))?, read(certs.key(user))?);
        self.secret(user, &[("user.crt", &certificate), ("user.key", &key)])
    }

    /// A Service without pods: this machine's ports, by a name.
    pub(crate) fn service(&self, name: &str, ports: &[u16]) -> Result<()> {
        let numbers: Vec<Value> =
            ports.iter().map(|port| json!({"name": format!("p{port}"), "port": port, "protocol": "TCP"})).collect();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [BRIDGE], "conditions": {"ready": true}}],
            "ports": numbers,
        });
        self.apply(&object("v1", "Service", name, &json!({"ports": numbers})))?;
        self.apply(&slice)
    }

    pub(crate) fn secret(&self, name: &str, entries: &[(&str, &str)]) -> Result<()> {
        let data: BTreeMap<&str, &str> = entries.iter().copied().collect();
        self.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}))
    }

    pub(crate) fn apply(&self, object: &Value) -> Result<()> {
        self.kubectl.apply(&self.namespace, &object.to_string())?;
        Ok(())
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl.run(&[&["--namespace", &self.namespace], arguments].concat())
    }

    /// A KafkaBackup of all topics into the store, by certificate, with small pods.
    pub(crate) fn backup(&self, name: &str) -> Value {
        let spec = json!({
            "strimziClusterRef": {"name": SHOP},
            "authentication": {"type": "tls", "kafkaUserRef": {"name": "backup"}},
            "topics": {"include": [".*"], "exclude": ["__.*"]},
            "storage": self.storage(name),
            "schedule": {"cron": "0 2 * * *"},
            "resources": resources(),
        });
        object("kafkabackup.com/v1alpha1", "KafkaBackup", name, &spec)
    }

    pub(crate) fn storage(&self, prefix: &str) -> Value {
        json!({"type": "s3", "s3": {
            "bucket": self.store.bucket(),
            "region": self.store.region(),
            "endpoint": format!("http://store.{}.svc:{}", self.namespace, self.store.port()),
            "prefix": format!("{prefix}/"),
            "credentialsSecret": {"name": "aws-creds"},
        }})
    }

    /// The directory of a backup in the store.
    pub(crate) fn stored(&self, name: &str) -> PathBuf {
        self.store.dir_of(name)
    }

    /// An object, as soon as it is there and fits.
    pub(crate) fn wait(&self, object: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = None;
        let found = wait::wait_for(object, SOON, || {
            std::thread::sleep(Duration::from_millis(200));
            last = self.kubectl.get(&self.namespace, object)?;
            Ok(last.clone().filter(|found| fits(found)))
        });
        found.map_err(|error| anyhow!("{error:#}\n{:#}\n{}", last.unwrap_or_default(), self.told()))
    }

    /// Waits until a condition of an object has this reason, and returns its message.
    pub(crate) fn reason(&self, object: &str, kind: &str, reason: &str) -> Result<String> {
        let found = self.wait(object, |found| condition(found, kind)["reason"] == reason)?;
        Ok(condition(&found, kind)["message"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits for something that is no object of Kubernetes.
    pub(crate) fn until(&self, what: &str, limit: Duration, probe: impl FnMut() -> Result<bool>) -> Result<()> {
        wait::wait_until(what, limit, probe).map_err(|error| anyhow!("{error:#}\n{}", self.told()))
    }

    /// The name of the one pod of a part of a backup that runs and is ready.
    pub(crate) fn ready_pod(&self, part: &str) -> Result<String> {
        let selector = format!("app.kubernetes.io/component={part}");
        let pod = wait::wait_for(&format!("a ready pod of the {part}"), SOON, || {
            std::thread::sleep(Duration::from_millis(200));
            let list: Value = serde_json::from_str(&self.run(&["get", "pods", "-l", &selector, "-o", "json"])?)?;
            let pods = list["items"].as_array().cloned().unwrap_or_default();
            Ok(pods.into_iter().find(|pod| {
                pod["metadata"]["deletionTimestamp"].is_null() && condition(pod, "Ready")["status"] == "True"
            }))
        });
        let pod = pod.map_err(|error| anyhow!("{error:#}\n{}", self.told()))?;
        Ok(pod["metadata"]["name"].as_str().context("the name of a pod")?.to_owned())
    }

    /// Waits until there is no such object.
    pub(crate) fn gone(&self, object: &str) -> Result<()> {
        let there = || self.kubectl.get(&self.namespace, object);
        self.until(&format!("the end of {object}"), SOON, || Ok(there()?.is_none()))
    }

    /// Insists that the operator was never refused anything.
    pub(crate) fn end(self) -> Result<()> {
        has_its_rights(&self.operator_log())?;
        self.run(&["delete", "namespace", &self.namespace, &self.home, "--wait=false"])?;
        Ok(())
    }

    fn operator_log(&self) -> String {
        let log = ["logs", "--namespace", &self.home, &format!("deployment/{OPERATOR}"), "--tail", "200"];
        self.kubectl.run(&log).unwrap_or_else(|error| format!("{error:#}"))
    }

    /// What Kubernetes and the operator say, for messages.
    fn told(&self) -> String {
        let show = |arguments: &[&str]| self.run(arguments).unwrap_or_else(|error| format!("{error:#}"));
        let selector = "app.kubernetes.io/name=strimzi-backup";
        [
            show(&["get", "pods,jobs,deployments", "-o", "wide"]),
            show(&["get", "events", "--sort-by", ".lastTimestamp"]),
            show(&["logs", "-l", selector, "--tail", "20", "--prefix"]),
            self.operator_log(),
            self.cluster.node().tail(),
        ]
        .join("\n")
    }
}

/// Little enough that the pods of several tests fit on one small node.
pub(crate) fn resources() -> Value {
    json!({"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "768Mi"}})
}

pub(crate) fn object(version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A listener with TLS, that asks for this.
pub(crate) fn listener(name: &str, port: u16, asks: Option<&str>) -> Value {
    let mut listener = json!({"name": name, "port": port, "type": "internal", "tls": true});
    if let Some(kind) = asks {
        listener["authentication"] = json!({"type": kind});
    }
    listener
}

pub(crate) fn read(path: PathBuf) -> Result<String> {
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

pub(crate) fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
}

/// The number in `host:port`.
pub(crate) fn port(address: &str) -> Result<u16> {
    Ok(address.rsplit_once(':').with_context(|| format!("{address} has no port"))?.1.parse()?)
}

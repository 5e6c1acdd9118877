//! The operator beside four releases of Strimzi: clusters as each of them writes them, and the upgrades from one to the
//! next while it runs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kube::Client;
use serde_json::{Value, json};
use strimzi_backup_operator::strimzi::{
    Authentication, Cluster, Error, MetadataMode, Purpose, Request, User, discover,
};
use strimzi_backup_tests::kubernetes::releases::{Definitions, Kind, Release, convert};
use strimzi_backup_tests::kubernetes::{ControlPlane, crds};

use crate::client;
use crate::definitions::{backup, with};
use crate::scene::{Scene, condition};

/// Sooner than the operator looks by itself which versions are served: the watch that fails has to tell it.
const FOLLOWED: Duration = Duration::from_secs(30);

const CLUSTER_ID: &str = "bk0gFIJHSQCa0uWQbOKKwA";

/// A cluster as its owner and a release of Strimzi write it, and what a backup makes of it.
struct Shape {
    name: String,
    /// The version that its owner writes.
    version: &'static str,
    annotations: Value,
    spec: Value,
    status: Value,
    /// How many brokers its node pool has, if it has one.
    pool: Option<u32>,
    /// The listener that is to be used.
    listener: &'static str,
    authentication: Authentication,
    /// The Secret of the user.
    secret: String,
    /// The keys of the CAs of the cluster.
    cas: &'static [&'static str],
    /// Whether the listener has a certificate of its own.
    has_own_certificate: bool,
    servers: String,
    told: Cluster,
}

/// The name of a cluster, and of its backup.
fn name(release: Release) -> String {
    format!("from-{}", release.number().replace('.', "-"))
}

fn host(name: &str, namespace: &str) -> String {
    format!("{name}-kafka-bootstrap.{namespace}.svc")
}

/// What Strimzi says of a listener that is reached. Its name was there twice; v1 knows one of them only.
fn reached(listener: &str, host: &str, port: u16) -> Value {
    json!({"name": listener, "type": listener, "addresses": [{"host": host, "port": port}],
           "bootstrapServers": format!("{host}:{port}"), "certificates": ["CA"]})
}

fn user_of(name: &str) -> String {
    format!("{name}-user")
}

impl Shape {
    fn of(release: Release, namespace: &str) -> Self {
        match release {
            Release::V0_40 => Self::with_zookeeper(namespace),
            Release::V0_43 => Self::not_ready(namespace),
            Release::V0_51 => Self::with_a_certificate_of_its_own(namespace),
            Release::V1_2 => Self::paused(namespace),
        }
    }

    /// 0.40, v1beta2.
    fn with_zookeeper(namespace: &str) -> Self {
        let name = name(Release::V0_40);
        let host = host(&name, namespace);
        Self {
            version: "v1beta2",
            annotations: json!({}),
            spec: json!({
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
                    "authorization": {"type": "simple"},
                },
                "zookeeper": {"replicas": 3, "storage": {"type": "ephemeral"}},
                "entityOperator": {"topicOperator": {}, "userOperator": {}},
            }),
            status: json!({
                "clusterId": CLUSTER_ID,
                "conditions": [
                    {"type": "Ready", "status": "True", "lastTransitionTime": "2024-03-20T17:56:29.396588Z"},
                ],
                "kafkaMetadataState": "ZooKeeper",
                "kafkaVersion": "3.7.0",
                "operatorLastSuccessfulVersion": "0.40.0",
                "listeners": [
                    reached("plain", &host, 9092), reached("tls", &host, 9093), reached("external", "10.0.0.2", 31000),
                ],
            }),
            pool: None,
            listener: "tls",
            authentication: Authentication::Tls,
            secret: user_of(&name),
            cas: &["ca.crt"],
            has_own_certificate: false,
            servers: format!("{host}:9093"),
            told: Cluster {
                api_version: "v1beta2".to_owned(),
                strimzi_version: Some("0.40.0".to_owned()),
                kafka_version: Some("3.7.0".to_owned()),
                metadata_mode: Some(MetadataMode::ZooKeeper),
                brokers: Some(3),
            },
            name,
        }
    }

    /// 0.43, v1beta2: KRaft, and a reconciliation that failed, so that the status has no listeners.
    fn not_ready(namespace: &str) -> Self {
        let name = name(Release::V0_43);
        Self {
            version: "v1beta2",
            annotations: json!({"strimzi.io/kraft": "Enabled", "strimzi.io/node-pools": "enabled"}),
            spec: json!({
                "kafka": {
                    "listeners": [
                        {"name": "scram", "port": 9095, "type": "internal", "tls": true,
                         "authentication": {"type": "scram-sha-512"}},
                        {"name": "inside", "port": 9096, "type": "cluster-ip", "tls": true,
                         "authentication": {"type": "tls"}},
                    ],
                    "authorization": {"type": "simple", "superUsers": ["CN=root"]},
                },
                "entityOperator": {"userOperator": {"secretPrefix": "kafka-user-"}},
            }),
            status: json!({
                "clusterId": CLUSTER_ID,
                "conditions": [
                    {"type": "NotReady", "status": "True", "reason": "TimeoutException", "message": "300000ms are over"},
                ],
                "kafkaMetadataState": "KRaft",
                "kafkaVersion": "3.8.0",
                "operatorLastSuccessfulVersion": "0.43.0",
            }),
            pool: Some(3),
            listener: "scram",
            authentication: Authentication::ScramSha512,
            secret: format!("kafka-user-{}", user_of(&name)),
            cas: &["ca.crt"],
            has_own_certificate: false,
            servers: format!("{}:9095", host(&name, namespace)),
            told: Cluster {
                api_version: "v1beta2".to_owned(),
                strimzi_version: Some("0.43.0".to_owned()),
                kafka_version: Some("3.8.0".to_owned()),
                metadata_mode: Some(MetadataMode::KRaft),
                brokers: Some(3),
            },
            name,
        }
    }

    /// 0.51, v1 beside v1beta2: a listener that the CAs of the cluster did not sign, one that no `KafkaUser` opens, and
    /// authorization that takes no ACLs.
    fn with_a_certificate_of_its_own(namespace: &str) -> Self {
        let name = name(Release::V0_51);
        let host = host(&name, namespace);
        let own = json!({"secretName": "own", "certificate": "tls.crt", "key": "tls.key"});
        Self {
            version: "v1",
            annotations: json!({}),
            spec: json!({
                "kafka": {
                    "listeners": [
                        {"name": "oauth", "port": 9093, "type": "internal", "tls": true,
                         "authentication": {"type": "custom", "sasl": true, "listenerConfig": {}}},
                        {"name": "own", "port": 9094, "type": "internal", "tls": true,
                         "configuration": {"brokerCertChainAndKey": own},
                         "authentication": {"type": "scram-sha-512"}},
                    ],
                    "authorization": {"type": "custom", "authorizerClass": "org.example.Authorizer"},
                },
                "entityOperator": {"userOperator": {}},
            }),
            status: json!({
                "clusterId": CLUSTER_ID,
                "conditions": [{"type": "Ready", "status": "True"}],
                "kafkaVersion": "4.2.0",
                "operatorLastSuccessfulVersion": "0.51.0",
                "listeners": [reached("own", &host, 9094)],
            }),
            pool: Some(5),
            listener: "own",
            authentication: Authentication::ScramSha512,
            secret: user_of(&name),
            cas: &["ca.crt"],
            has_own_certificate: true,
            servers: format!("{host}:9094"),
            told: Cluster {
                api_version: "v1".to_owned(),
                strimzi_version: Some("0.51.0".to_owned()),
                kafka_version: Some("4.2.0".to_owned()),
                metadata_mode: Some(MetadataMode::KRaft),
                brokers: Some(5),
            },
            name,
        }
    }

    /// 1.2, v1 alone: paused while a CA is replaced, so that hardly anything is left of the status; without an operator of
    /// users.
    fn paused(namespace: &str) -> Self {
        let name = name(Release::V1_2);
        Self {
            version: "v1",
            annotations: json!({"strimzi.io/pause-reconciliation": "true"}),
            spec: json!({
                "kafka": {
                    "version": "4.3.1",
                    "listeners": [
                        {"name": "routed", "port": 9095, "type": "tlsroute", "tls": true,
                         "authentication": {"type": "tls"}, "configuration": {}},
                        {"name": "tls", "port": 9093, "type": "internal", "tls": true, "authentication": {"type": "tls"}},
                    ],
                    "authorization": {"type": "simple"},
                },
            }),
            status: json!({
                "clusterId": CLUSTER_ID,
                "clusterSecurity": {"encryption": {"type": "strimzi-tls"}},
                "conditions": [{"type": "ReconciliationPaused", "status": "True"}],
                "observedGeneration": 1,
            }),
            pool: Some(1),
            listener: "tls",
            authentication: Authentication::Tls,
            secret: user_of(&name),
            cas: &["ca-2026-03-01T00-00-00Z.crt", "ca.crt"],
            has_own_certificate: false,
            servers: format!("{}:9093", host(&name, namespace)),
            told: Cluster {
                api_version: "v1".to_owned(),
                strimzi_version: None,
                kafka_version: None,
                metadata_mode: Some(MetadataMode::KRaft),
                brokers: Some(1),
            },
            name,
        }
    }

    fn apply(&self, scene: &Scene, kind: Kind, name: &str, spec: &Value) -> Result<()> {
        let mut metadata = json!({"name": name, "labels": {"strimzi.io/cluster": self.name}});
        if kind == Kind::Kafka {
            metadata = json!({"name": name, "annotations": self.annotations});
        }
        let version = format!("kafka.strimzi.io/{}", self.version);
        scene.apply(&json!({"apiVersion": version, "kind": kind.name(), "metadata": metadata, "spec": spec}))
    }

    /// What its owner writes. The release takes all of it: kubectl refuses a field that the definition does not know.
    fn apply_all(&self, scene: &Scene) -> Result<()> {
        self.apply(scene, Kind::Kafka, &self.name, &self.spec)?;
        if let Some(replicas) = self.pool {
            for role in ["broker", "controller"] {
                let pool = json!({"replicas": replicas, "roles": [role], "storage": {"type": "ephemeral"}});
                self.apply(scene, Kind::KafkaNodePool, &format!("{}-{role}", self.name), &pool)?;
            }
        }
        let user = json!({"authentication": {"type": self.authentication.as_str()}});
        self.apply(scene, Kind::KafkaUser, &user_of(&self.name), &user)
    }

    fn set_status(&self, scene: &Scene, version: &str, status: &Value) -> Result<()> {
        scene.kubectl().set_status(scene.namespace(), &Kind::Kafka.object(version, &self.name), status)
    }

    /// What its owner and Strimzi write, and a backup of it.
    fn create(&self, scene: &Scene) -> Result<()> {
        self.apply_all(scene)?;
        self.set_status(scene, self.version, &self.status)?;
        let cas: Vec<_> = self.cas.iter().map(|key| (*key, "certificate")).collect();
        scene.strimzi.secret(&format!("{}-cluster-ca-cert", self.name), &cas)?;
        let entries = [("user.crt", "certificate"), ("user.key", "key"), ("password", "hidden")];
        scene.strimzi.secret(&self.secret, &entries)?;
        let user = json!({"type": self.authentication.as_str(), "kafkaUserRef": {"name": user_of(&self.name)}});
        let backup = with(backup(&self.name), "strimziClusterRef.name", json!(self.name));
        let backup = with(backup, "authentication", user);
        scene.apply(&with(backup, "storage.s3.credentialsSecret", json!({"name": "store"})))
    }

    fn request(&self, scene: &Scene, is_somebody: bool) -> Request {
        let user = User { authentication: self.authentication, name: user_of(&self.name), namespace: None };
        Request {
            home: scene.namespace().to_owned(),
            namespace: scene.namespace().to_owned(),
            name: self.name.clone(),
            listener: (!is_somebody).then(|| self.listener.to_owned()),
            user: is_somebody.then_some(user),
            purpose: Purpose::Backup,
        }
    }

    /// What is told of the cluster; and the user that is asked for where none is named is one that the release takes.
    async fn is_understood(&self, scene: &Scene<'_>, client: &Client) -> Result<()> {
        let found = discover(client, &self.request(scene, true)).await?;
        assert_eq!((found.listener.as_str(), &found.cluster), (self.listener, &self.told), "{}", self.name);
        let error = discover(client, &self.request(scene, false)).await.err().context("a user was to be asked for")?;
        let Error::AuthenticationMissing { yaml, .. } = &error else { bail!("{error}") };
        scene.kubectl().dry_run(yaml).with_context(|| format!("{}: {yaml}", self.name))?;
        Ok(())
    }

    /// What pods get: where brokers are, whom to trust, who they are; and what the status says of the cluster.
    fn is_carried_out(&self, scene: &Scene) -> Result<()> {
        let told = serde_json::to_value(&self.told)?;
        scene.wait(&format!("kafkabackup/{}", self.name), |found| found["status"]["cluster"] == told)?;
        let deployment = scene.wait(&format!("deployment/{}-streamer", self.name), |_| true)?;
        let volumes = deployment["spec"]["template"]["spec"]["volumes"].as_array().context("volumes")?;
        let secret = |volume: &str| {
            let found = volumes.iter().find(|one| one["name"] == volume);
            found.map(|one| one["secret"]["secretName"].clone())
        };
        assert_eq!(secret("kafka-ca"), Some(json!(format!("{}-cluster-ca-cert", self.name))));
        assert_eq!(secret("kafka-user"), Some(json!(self.secret)));
        let config = scene.wait(&format!("configmap/{}-streamer", self.name), |_| true)?;
        let document = config["data"]["job.yaml"].as_str().context("the job document")?;
        let document: Value = serde_norway::from_str(document)?;
        let cluster = &document["cluster"];
        assert_eq!(cluster["bootstrapServers"], json!(self.servers));
        let mut files: Vec<_> = self.cas.iter().map(|key| format!("/etc/strimzi-backup/kafka-ca/{key}")).collect();
        if self.has_own_certificate {
            files.push("/etc/strimzi-backup/config/listener.crt".to_owned());
            assert_eq!(config["data"]["listener.crt"], "CA");
        }
        assert_eq!(cluster["tls"]["caFiles"], json!(files));
        assert_eq!(cluster["authentication"]["type"], self.authentication.as_str());
        Ok(())
    }
}

/// The first of the clusters, which lives through all upgrades.
struct Oldest(Shape);

impl Oldest {
    /// Between 0.43 and 0.46 it has to move to KRaft, and says so on the way.
    fn leaves_zookeeper(&mut self, scene: &Scene) -> Result<()> {
        let Self(shape) = self;
        shape.annotations = json!({"strimzi.io/kraft": "migration", "strimzi.io/node-pools": "enabled"});
        shape.pool = Some(3);
        shape.apply_all(scene)?;
        shape.set_status(scene, "v1beta2", &json!({"kafkaMetadataState": "KRaftDualWriting"}))?;
        scene.wait(&format!("kafkabackup/{}", shape.name), |found| {
            let message = condition(found, "Reconciled")["message"].to_string();
            message.contains("is moving between ZooKeeper and KRaft")
        })?;
        shape.annotations["strimzi.io/kraft"] = json!("enabled");
        shape.spec.as_object_mut().context("a spec")?.remove("zookeeper");
        shape.apply_all(scene)?;
        shape.set_status(scene, "v1beta2", &json!({"kafkaMetadataState": "KRaft"}))?;
        shape.told.metadata_mode = Some(MetadataMode::KRaft);
        Ok(())
    }

    /// Its address is another one after each upgrade, and its pods learn it.
    async fn is_followed(&mut self, scene: &Scene<'_>, client: &Client, release: Release) -> Result<()> {
        let Self(shape) = self;
        let versions = release.versions(Kind::Kafka);
        let version = if versions.contains(&"v1") { "v1" } else { "v1beta2" };
        let moved = format!("moved-{}.somewhere.svc", name(release));
        let status =
            json!({"listeners": [reached("tls", &moved, 9093)], "operatorLastSuccessfulVersion": release.number()});
        let began = Instant::now();
        shape.set_status(scene, version, &status)?;
        scene.wait(&format!("configmap/{}-streamer", shape.name), |found| {
            found["data"]["job.yaml"].to_string().contains(&moved)
        })?;
        ensure!(began.elapsed() < FOLLOWED, "{} was followed after {:?}", release.number(), began.elapsed());
        shape.servers = format!("{moved}:9093");
        (shape.told.api_version, shape.told.strimzi_version) = (version.to_owned(), Some(release.number().to_owned()));
        shape.is_understood(scene, client).await?;
        shape.is_carried_out(scene)
    }
}

/// Strimzi is upgraded from release to release beside an operator that is never started anew: it carries out what owners
/// write in each of them, and goes on with the first cluster through all of them.
pub(crate) async fn upgraded(definitions: &Definitions) -> Result<()> {
    let plane = ControlPlane::start()?;
    crds::ours(plane.kubectl())?;
    Release::V0_40.install(plane.kubectl(), definitions)?;
    let scene = Scene::on(&plane, "upgraded", &[])?;
    scene.strimzi.secret("store", &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hidden")])?;
    let client = client(&plane).await?;
    let mut oldest = Oldest(Shape::of(Release::V0_40, scene.namespace()));
    for release in Release::ALL {
        match release {
            Release::V0_40 | Release::V0_43 => {}
            Release::V0_51 => oldest.leaves_zookeeper(&scene)?,
            Release::V1_2 => convert(scene.kubectl(), scene.namespace(), definitions)?,
        }
        release.install(scene.kubectl(), definitions)?;
        let shape = Shape::of(release, scene.namespace());
        shape.create(&scene)?;
        shape.is_understood(&scene, &client).await?;
        shape.is_carried_out(&scene)?;
        oldest.is_followed(&scene, &client, release).await?;
    }
    scene.end()
}

#[tokio::test]
async fn the_operator_follows_strimzi_from_0_40_to_1_2_and_is_never_started_anew() -> Result<()> {
    upgraded(&Definitions::Ours).await
}

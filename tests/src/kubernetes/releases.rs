//! Releases of Strimzi: in which versions each has its resources served, and what their schemas know of the fields that
//! matter here. Written from what is documented of them, not copied: they are far smaller, and whatever they leave out the
//! API server prunes, as it prunes in v1 what only v1beta2 has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::strimzi::SOON;
use super::{Kubectl, crds};
use crate::wait;

/// The group of the resources.
pub const GROUP: &str = "kafka.strimzi.io";

/// The column that tells that resources are stored as v1 from now on.
const CONVERTED: &str = "Converted";

/// A release of Strimzi. They are in the order of their age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// v1beta2 alone; ZooKeeper, KRaft, and the way between.
    V0_40,
    /// The same.
    V0_43,
    /// v1beta2, which is stored, and v1; KRaft alone.
    V0_51,
    /// v1 alone.
    V1_2,
}

/// A kind of Strimzi's resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A cluster.
    Kafka,
    /// Some of its nodes.
    KafkaNodePool,
    /// One of its users.
    KafkaUser,
}

impl Kind {
    /// Those that a backup reads.
    pub const ALL: [Self; 3] = [Self::Kafka, Self::KafkaNodePool, Self::KafkaUser];

    /// Its name in resources.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kafka => "Kafka",
            Self::KafkaNodePool => "KafkaNodePool",
            Self::KafkaUser => "KafkaUser",
        }
    }

    /// Its name in paths of the API.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Kafka => "kafkas",
            Self::KafkaNodePool => "kafkanodepools",
            Self::KafkaUser => "kafkausers",
        }
    }

    /// The name of its definition.
    pub fn definition(self) -> String {
        format!("{}.{GROUP}", self.plural())
    }

    /// What kubectl calls an object of it in a version, whatever it remembers of the API server.
    pub fn object(self, version: &str, name: &str) -> String {
        format!("{}.{version}.{GROUP}/{name}", self.plural())
    }
}

impl Release {
    /// All, the oldest first.
    pub const ALL: [Self; 4] = [Self::V0_40, Self::V0_43, Self::V0_51, Self::V1_2];

    /// Its number.
    pub fn number(self) -> &'static str {
        match self {
            Self::V0_40 => "0.40.0",
            Self::V0_43 => "0.43.0",
            Self::V0_51 => "0.51.0",
            Self::V1_2 => "1.2.0",
        }
    }

    /// The versions in which it has a kind served. The first is stored.
    pub fn versions(self, kind: Kind) -> &'static [&'static str] {
        match (self, kind) {
            (Self::V0_40 | Self::V0_43, Kind::KafkaUser) => &["v1beta2", "v1beta1", "v1alpha1"],
            (Self::V0_40 | Self::V0_43, _) => &["v1beta2"],
            (Self::V0_51, Kind::KafkaUser) => &["v1beta2", "v1", "v1beta1", "v1alpha1"],
            (Self::V0_51, _) => &["v1beta2", "v1"],
            (Self::V1_2, _) => &["v1"],
        }
    }

    /// The definition of a kind.
    pub fn definition(self, kind: Kind) -> Value {
        let versions = self.versions(kind).iter().map(|version| (*version, self.schema(kind, version)));
        crds::definition(GROUP, (kind.name(), kind.plural()), versions)
    }

    /// Has its definitions in force instead of those that there are, and waits until the API server serves just them.
    ///
    /// # Errors
    /// Where there is none, or the API server refuses one, or does not serve it in time.
    pub fn install(self, kubectl: &Kubectl, definitions: &Definitions) -> Result<()> {
        for kind in Kind::ALL {
            kubectl.apply("default", &definitions.of(self, kind)?.to_string())?;
            kubectl.wait_served(&kind.definition())?;
        }
        let expected: BTreeSet<&str> = Kind::ALL.iter().flat_map(|kind| self.versions(*kind)).copied().collect();
        wait::wait_until(&format!("the versions of {}", self.number()), SOON, || {
            // Nothing is there before the first definition is taken up.
            let Ok(group) = kubectl.run(&["get", "--raw", &format!("/apis/{GROUP}")]) else { return Ok(false) };
            let group: Value = serde_json::from_str(&group)?;
            let served = group["versions"].as_array().into_iter().flatten();
            Ok(served.filter_map(|one| one["version"].as_str()).collect::<BTreeSet<_>>() == expected)
        })
    }

    fn schema(self, kind: Kind, version: &str) -> Value {
        let is_v1 = version == "v1";
        let schema = match kind {
            Kind::Kafka => object(&[], &json!({"spec": self.kafka(is_v1), "status": self.kafka_status(is_v1)})),
            Kind::KafkaNodePool => object(&[], &json!({"spec": node_pool()})),
            Kind::KafkaUser => object(&[], &json!({"spec": user(is_v1), "status": user_status()})),
        };
        if is_v1 { with(schema, &json!({"required": ["spec"]})) } else { schema }
    }

    fn kafka(self, is_v1: bool) -> Value {
        let simple =
            if is_v1 { one_of(&["simple", "custom"]) } else { one_of(&["simple", "opa", "keycloak", "custom"]) };
        let authorization = json!({
            "type": simple, "superUsers": list(&text()), "authorizerClass": text(), "supportsAdminApi": flag(),
        });
        let mut brokers = json!({
            "version": text(),
            "listeners": list(&self.listener(is_v1)),
            "authorization": object(&["type"], &authorization),
        });
        let users = json!({"watchedNamespace": text(), "secretPrefix": text()});
        let operators = json!({"userOperator": object(&[], &users), "topicOperator": object(&[], &json!({}))});
        let mut spec = json!({"entityOperator": object(&[], &operators)});
        if !is_v1 {
            (brokers["replicas"], brokers["storage"]) = (number(), storage());
            let zookeeper = json!({"replicas": number(), "storage": storage()});
            spec["zookeeper"] = object(&["replicas", "storage"], &zookeeper);
        }
        spec["kafka"] = object(&["listeners"], &brokers);
        object(&["kafka"], &spec)
    }

    fn listener(self, is_v1: bool) -> Value {
        let mut types = vec!["internal", "route", "loadbalancer", "nodeport", "ingress", "cluster-ip"];
        if self >= Self::V1_2 {
            types.push("tlsroute");
        }
        let mut authentications = vec!["tls", "scram-sha-512", "custom"];
        if !is_v1 {
            authentications.push("oauth");
        }
        let authentication = json!({"type": one_of(&authentications), "sasl": flag(), "listenerConfig": anything()});
        let own = json!({"secretName": text(), "certificate": text(), "key": text()});
        let own = object(&["secretName", "certificate", "key"], &own);
        let listener = json!({
            "name": text(),
            "port": number(),
            "type": one_of(&types),
            "tls": flag(),
            "authentication": object(&["type"], &authentication),
            "configuration": object(&[], &json!({"brokerCertChainAndKey": own})),
        });
        object(&["name", "port", "type", "tls"], &listener)
    }

    fn kafka_status(self, is_v1: bool) -> Value {
        let mut listener = json!({
            "name": text(),
            "addresses": list(&object(&[], &json!({"host": text(), "port": number()}))),
            "bootstrapServers": text(),
            "certificates": list(&text()),
        });
        let mut status = json!({
            "conditions": conditions(),
            "observedGeneration": number(),
            "clusterId": text(),
            "kafkaVersion": text(),
            "operatorLastSuccessfulVersion": text(),
        });
        if !is_v1 {
            listener["type"] = text();
            let steps = ["ZooKeeper", "KRaftMigration", "KRaftDualWriting", "KRaftPostMigration", "PreKRaft", "KRaft"];
            status["kafkaMetadataState"] = one_of(&steps);
        }
        if self >= Self::V1_2 {
            status["clusterSecurity"] = anything();
        }
        status["listeners"] = list(&object(&[], &listener));
        object(&[], &status)
    }
}

/// Where definitions are from.
#[derive(Clone, Debug)]
pub enum Definitions {
    /// Ours.
    Ours,
    /// Strimzi's own, in a folder with one for each release, by its number, with a file in YAML for each kind.
    Strimzis(PathBuf),
}

impl Definitions {
    /// The definition of a kind.
    ///
    /// # Errors
    /// Where the folder has none, or it cannot be read.
    pub fn of(&self, release: Release, kind: Kind) -> Result<Value> {
        match self {
            Self::Ours => Ok(release.definition(kind)),
            Self::Strimzis(folder) => {
                let (folder, ending) =
                    (folder.join(release.number()), format!("-Crd-{}.yaml", kind.name().to_lowercase()));
                find(&folder, &ending)
            }
        }
    }
}

/// What is in the file of a folder whose name ends so.
fn find(folder: &Path, ending: &str) -> Result<Value> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(ending) {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            return serde_norway::from_str(&text).with_context(|| format!("decode {}", path.display()));
        }
    }
    bail!("{} has no file that ends with {ending}", folder.display())
}

/// Does what has to be done before 1.0: everything in the namespace, where something of each kind is, is stored as v1 from
/// now on, and nothing in v1beta2 is left. The definitions are those of 0.51.
///
/// # Errors
/// Where the API server refuses something, or does not store as v1 in time.
pub fn convert(kubectl: &Kubectl, namespace: &str, definitions: &Definitions) -> Result<()> {
    for kind in Kind::ALL {
        let definition = stored_as_v1(definitions.of(Release::V0_51, kind)?)?;
        kubectl.apply("default", &definition.to_string())?;
        let all = format!("{}.v1.{GROUP}", kind.plural());
        wait::wait_until(&format!("{all} to be stored as v1"), SOON, || {
            let shown = kubectl.run(&["get", "--namespace", namespace, &all])?;
            Ok(shown.contains(&CONVERTED.to_uppercase()))
        })?;
        rewrite(kubectl, namespace, kind)?;
        let definition = format!("customresourcedefinition/{}", kind.definition());
        kubectl.set_status("default", &definition, &json!({"storedVersions": ["v1"]}))?;
    }
    Ok(())
}

/// The API server takes up all of a definition at once: once it shows the column, it stores as v1.
fn stored_as_v1(mut definition: Value) -> Result<Value> {
    for version in definition["spec"]["versions"].as_array_mut().context("versions")? {
        let is_v1 = version["name"] == "v1";
        version["storage"] = json!(is_v1);
        if is_v1 {
            version["additionalPrinterColumns"] = json!([{"name": CONVERTED, "type": "string", "jsonPath": ".kind"}]);
        }
    }
    Ok(definition)
}

/// Writes all objects of a kind anew. With them goes who wrote which field in v1beta2: the API server cannot read that any
/// more once the version is gone, and then refuses every change.
fn rewrite(kubectl: &Kubectl, namespace: &str, kind: Kind) -> Result<()> {
    let all = format!("{}.v1.{GROUP}", kind.plural());
    let found = kubectl.run(&["get", "--namespace", namespace, &all, "--output", "name"])?;
    let names: Vec<&str> = found.lines().filter_map(|line| Some(line.rsplit_once('/')?.1)).collect();
    ensure!(!names.is_empty(), "there is no {} in {namespace}", kind.name());
    let patch = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]).to_string();
    for name in names {
        let object = kind.object("v1", name);
        kubectl.run(&["patch", "--namespace", namespace, &object, "--type", "json", "--patch", &patch])?;
    }
    Ok(())
}

fn node_pool() -> Value {
    let pool = json!({"replicas": number(), "roles": list(&one_of(&["controller", "broker"])), "storage": storage()});
    object(&["replicas", "storage", "roles"], &pool)
}

fn user(is_v1: bool) -> Value {
    let authentication = json!({"type": one_of(&["tls", "tls-external", "scram-sha-512"])});
    let operation = one_of(&[
        "Read",
        "Write",
        "Create",
        "Delete",
        "Alter",
        "Describe",
        "ClusterAction",
        "AlterConfigs",
        "DescribeConfigs",
        "IdempotentWrite",
        "All",
    ]);
    let resource = json!({
        "type": one_of(&["topic", "group", "cluster", "transactionalId"]),
        "name": text(),
        "patternType": one_of(&["literal", "prefix"]),
    });
    let mut acl = json!({
        "type": one_of(&["allow", "deny"]),
        "resource": object(&["type"], &resource),
        "host": text(),
        "operations": list(&operation),
    });
    let required: &[&str] = if is_v1 { &["resource", "operations"] } else { &["resource"] };
    if !is_v1 {
        acl["operation"] = operation;
    }
    let authorization = json!({"type": one_of(&["simple"]), "acls": list(&object(required, &acl))});
    let spec = json!({
        "authentication": object(&["type"], &authentication),
        "authorization": object(&["type", "acls"], &authorization),
    });
    object(&[], &spec)
}

fn user_status() -> Value {
    let status = json!({
        "conditions": conditions(), "observedGeneration": number(), "username": text(), "secret": text(),
    });
    object(&[], &status)
}

fn conditions() -> Value {
    let condition =
        json!({"type": text(), "status": text(), "reason": text(), "message": text(), "lastTransitionTime": text()});
    list(&object(&[], &condition))
}

fn storage() -> Value {
    object(&["type"], &json!({"type": text()}))
}

fn object(required: &[&str], properties: &Value) -> Value {
    let object = json!({"type": "object", "properties": properties});
    if required.is_empty() { object } else { with(object, &json!({"required": required})) }
}

fn with(mut schema: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().into_iter().flatten() {
        schema[name] = value.clone();
    }
    schema
}

fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

fn one_of(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

fn anything() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn number() -> Value {
    json!({"type": "integer"})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

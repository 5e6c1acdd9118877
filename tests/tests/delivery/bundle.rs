//! The bundle for the Operator Lifecycle Manager, made of what the chart renders, so that it says the same.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::chart;

use crate::{documents, hold};

const PACKAGE: &str = "strimzi-backup-operator";

/// How the manager finds its way in the bundle, as annotations of it and as labels of its image.
const ANNOTATIONS: [(&str, &str); 6] = [
    ("operators.operatorframework.io.bundle.mediatype.v1", "registry+v1"),
    ("operators.operatorframework.io.bundle.manifests.v1", "manifests/"),
    ("operators.operatorframework.io.bundle.metadata.v1", "metadata/"),
    ("operators.operatorframework.io.bundle.package.v1", PACKAGE),
    ("operators.operatorframework.io.bundle.channels.v1", "alpha"),
    ("operators.operatorframework.io.bundle.channel.default.v1", "alpha"),
];

/// The examples that a console offers.
const OFFERED: [&str; 2] = ["kafka-backup-minimal", "kafka-restore-point-in-time"];

#[test]
fn the_bundle_is_made_of_the_chart() -> Result<()> {
    let objects = documents(&chart::install()?)?;
    let mut definitions = Vec::new();
    for definition in of_kind(&objects, "CustomResourceDefinition") {
        let name = definition["metadata"]["name"].as_str().context("a name")?;
        hold(&chart::bundled_definition(name), &chart::bundled(definition)?)?;
        definitions.push(owned(definition));
    }
    ensure!(definitions.len() == 2, "not all definitions are rendered");
    let version = cluster_service_version(&objects, &definitions)?;
    hold(&format!("bundle/manifests/{PACKAGE}.clusterserviceversion.yaml"), &chart::bundled(&version)?)?;
    let annotations: serde_json::Map<_, _> =
        ANNOTATIONS.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    hold("bundle/metadata/annotations.yaml", &chart::bundled(&json!({"annotations": annotations}))?)?;
    hold("bundle/Dockerfile", &image())
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

fn image() -> String {
    let labels = ANNOTATIONS.map(|(name, value)| format!("LABEL {name}={value}\n")).concat();
    format!("FROM scratch\n{labels}COPY manifests /manifests/\nCOPY metadata /metadata/\n")
}

fn owned(definition: &Value) -> Value {
    let version = &definition["spec"]["versions"][0];
    json!({
        "name": definition["metadata"]["name"],
        "kind": definition["spec"]["names"]["kind"],
        "displayName": definition["spec"]["names"]["kind"],
        "version": version["name"],
        "description": version["schema"]["openAPIV3Schema"]["properties"]["spec"]["description"],
    })
}

/// All rules of all roles: where the operator looks after some namespaces, the manager makes Roles of them in these.
fn rules(objects: &[Value]) -> Vec<Value> {
    let roles = of_kind(objects, "ClusterRole").chain(of_kind(objects, "Role"));
    roles.filter_map(|role| role["rules"].as_array()).flatten().cloned().collect()
}

/// The operator as the chart has it, but for its namespaces, which the manager writes into an annotation of the pod.
fn deployment(objects: &[Value]) -> Result<Value> {
    let mut deployment = of_kind(objects, "Deployment").next().context("a Deployment")?.clone();
    let env = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().context("variables")?;
    let namespaces = env.iter_mut().find(|variable| variable["name"] == "STRIMZI_BACKUP_NAMESPACE");
    *namespaces.context("the variable of the namespaces")? = json!({
        "name": "STRIMZI_BACKUP_NAMESPACE",
        "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['olm.targetNamespaces']"}},
    });
    Ok(deployment)
}

fn cluster_service_version(objects: &[Value], definitions: &[Value]) -> Result<Value> {
    let version = env!("CARGO_PKG_VERSION");
    let mut examples = Vec::new();
    for name in OFFERED {
        let text = std::fs::read_to_string(chart::root().join(format!("examples/kubernetes/{name}.yaml")))?;
        examples.extend(documents(&text)?);
    }
    let deployment = deployment(objects)?;
    let pod = &deployment["spec"]["template"]["spec"];
    let about: Value = serde_norway::from_str(&std::fs::read_to_string(chart::dir().join("Chart.yaml"))?)?;
    let modes = ["OwnNamespace", "SingleNamespace", "MultiNamespace", "AllNamespaces"];
    Ok(json!({
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "ClusterServiceVersion",
        "metadata": {
            "name": format!("{PACKAGE}.v{version}"),
            "annotations": {
                "alm-examples": serde_json::to_string_pretty(&examples)?,
                "capabilities": "Basic Install",
                "categories": "Streaming & Messaging",
                "containerImage": pod["containers"][0]["image"],
                "description": about["description"],
                "repository": about["home"],
            },
        },
        "spec": {
            "displayName": "Strimzi Backup Operator",
            "description": about["description"],
            "version": version,
            "maturity": "alpha",
            "minKubeVersion": about["kubeVersion"].as_str().context("a version")?.trim_start_matches(">=").trim_end_matches("-0"),
            "keywords": about["keywords"],
            "provider": {"name": "Kafka backup", "url": about["home"]},
            "links": [{"name": "Source", "url": about["home"]}],
            "installModes": modes.map(|mode| json!({"type": mode, "supported": true})),
            "customresourcedefinitions": {"owned": definitions},
            "install": {
                "strategy": "deployment",
                "spec": {
                    "permissions": [{"serviceAccountName": pod["serviceAccountName"], "rules": rules(objects)}],
                    "deployments": [{
                        "name": deployment["metadata"]["name"],
                        "label": deployment["metadata"]["labels"],
                        "spec": deployment["spec"],
                    }],
                },
            },
        },
    }))
}

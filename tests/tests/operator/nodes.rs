//! Nodes that are lost. Nobody runs pods here: what kubelet and scheduler would say is written in their place, and what
//! Kubernetes makes of a node that is silent is its own.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::kubernetes::Kubectl;
use strimzi_backup_tests::wait;

use crate::reconcile::STREAMER;
use crate::scene::{Scene, daily, now};
use crate::strimzi::SOON;

/// A node without a kubelet.
struct Node<'a> {
    kubectl: &'a Kubectl,
    name: String,
}

impl<'a> Node<'a> {
    fn ready(kubectl: &'a Kubectl, name: String) -> Result<Self> {
        kubectl.apply_anywhere(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}).to_string())?;
        let node = Self { kubectl, name };
        node.is_ready("True")?;
        Ok(node)
    }

    /// Says whether it is ready, as of now.
    fn is_ready(&self, status: &str) -> Result<()> {
        let now = now()?.to_rfc3339();
        let ready = json!({"type": "Ready", "status": status, "reason": "Told", "message": "",
                           "lastHeartbeatTime": now, "lastTransitionTime": now});
        self.kubectl.set_status("default", &format!("node/{}", self.name), &json!({"conditions": [ready]}))
    }

    /// As Kubernetes taints it in the end, once nobody has heard of it for long.
    fn is_lost(&self) -> Result<()> {
        self.is_ready("Unknown")?;
        let taint = "node.kubernetes.io/unreachable:NoExecute";
        self.kubectl.run(&["taint", "node", &self.name, taint, "--overwrite"]).map(drop)
    }
}

fn pods(scene: &Scene<'_>) -> Result<Vec<Value>> {
    let found = scene.run(&["get", "pods", "--selector", STREAMER, "--output", "json"])?;
    let found: Value = serde_json::from_str(&found)?;
    Ok(found["items"].as_array().context("pods")?.clone())
}

/// How long a pod bears each taint that ends pods.
fn bears(pod: &Value) -> Vec<(&Value, &Value)> {
    let given = pod["spec"]["tolerations"].as_array();
    let ends = given.into_iter().flatten().filter(|one| one["effect"] == "NoExecute");
    ends.map(|one| (&one["key"], &one["tolerationSeconds"])).collect()
}

/// The pod stays, for nobody can tell whether it has ended. By Kubernetes' own default its replacement would be made after 300
/// seconds, which is longer than anything is waited for here.
#[test]
fn a65_the_streamer_of_a_lost_node_gets_another_pod_while_nobody_knows_of_its_end() -> Result<()> {
    let scene = Scene::new("lost")?;
    let kubectl = scene.kubectl();
    // Where every node is lost, Kubernetes believes that it is cut off itself, and ends nothing.
    let other = Node::ready(kubectl, format!("{}-other", scene.namespace()))?;
    let lost = Node::ready(kubectl, format!("{}-lost", scene.namespace()))?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    let pod = scene.pending_pod(STREAMER)?;
    let name = pod.strip_prefix("pod/").context("the name of a pod")?;
    // However long that took: after 50 seconds of silence Kubernetes takes a node for lost by itself.
    lost.is_ready("True")?;
    kubectl.bind(scene.namespace(), name, &lost.name)?;
    let running = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    kubectl.set_status(scene.namespace(), &pod, &running)?;
    scene.told("Streaming", "Streaming")?;

    lost.is_lost()?;
    let replacement = wait::wait_for("another pod", SOON, || {
        other.is_ready("True")?;
        Ok(pods(&scene)?.into_iter().find(|found| found["metadata"]["name"] != name))
    })?;
    let left = kubectl.get(scene.namespace(), &pod)?.context("the pod of the lost node")?;
    ensure!(left["metadata"]["deletionTimestamp"].is_string(), "it was to go: {left}");
    // Nobody has added 300 seconds for the same.
    let [not_ready, unreachable] = ["not-ready", "unreachable"].map(|word| json!(format!("node.kubernetes.io/{word}")));
    assert_eq!(bears(&replacement), [(&not_ready, &json!(5)), (&unreachable, &json!(5))]);
    scene.told("Streaming", "Starting")?;

    kubectl.run(&["delete", "node", &other.name, &lost.name, "--wait=false"])?;
    scene.end()
}

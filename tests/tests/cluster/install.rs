//! The operator in a namespace of its own, as a user installs it.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use strimzi_backup_tests::kubernetes::{Kubectl, RIGHTS, Right, rules};

/// The name of the operator's objects.
pub(crate) const OPERATOR: &str = "strimzi-backup-operator";

/// The operator in the namespace `home`, with the rights that it needs and no others, looking after another one.
pub(crate) fn install(kubectl: &Kubectl, home: &str, watched: &str, image: &str) -> Result<()> {
    let (leases, rights): (Vec<Right<'_>>, Vec<Right<'_>>) =
        RIGHTS.iter().partition(|(group, ..)| *group == "coordination.k8s.io");
    apply(kubectl, watched, &[role(&rights), binding(home)])?;
    apply(kubectl, home, &[account(), role(&leases), binding(home), deployment(home, watched, image)])?;
    let deployment = format!("deployment/{OPERATOR}");
    let wait = ["wait", "--namespace", home, &deployment, "--for", "condition=Available", "--timeout", "90s"];
    kubectl.run(&wait).with_context(|| kubectl.run(&["describe", "pods", "-n", home]).unwrap_or_default())?;
    Ok(())
}

fn apply(kubectl: &Kubectl, namespace: &str, objects: &[Value]) -> Result<()> {
    kubectl.apply(namespace, &objects.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n"))?;
    Ok(())
}

fn object(version: &str, kind: &str) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": OPERATOR}})
}

fn account() -> Value {
    object("v1", "ServiceAccount")
}

fn role(rights: &[Right<'_>]) -> Value {
    let mut role = object("rbac.authorization.k8s.io/v1", "Role");
    role["rules"] = rules(rights);
    role
}

fn binding(home: &str) -> Value {
    let mut binding = object("rbac.authorization.k8s.io/v1", "RoleBinding");
    binding["roleRef"] = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": OPERATOR});
    binding["subjects"] = json!([{"kind": "ServiceAccount", "name": OPERATOR, "namespace": home}]);
    binding
}

fn deployment(home: &str, watched: &str, image: &str) -> Value {
    let labels = json!({"app.kubernetes.io/name": OPERATOR});
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": 9090}, "periodSeconds": 1});
    let container = json!({
        "name": "operator",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["/usr/local/bin/strimzi-backup-operator", "run"],
        "env": [
            {"name": "STRIMZI_BACKUP_NAMESPACE", "value": watched},
            {"name": "OPERATOR_NAMESPACE", "value": home},
            {"name": "STRIMZI_BACKUP_IMAGE", "value": image},
            {"name": "STRIMZI_BACKUP_IMAGE_PULL_POLICY", "value": "Never"},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "readinessProbe": probe("/readyz"),
        "livenessProbe": probe("/livez"),
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                            "capabilities": {"drop": ["ALL"]}},
    });
    let security = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    let pod = json!({"serviceAccountName": OPERATOR, "securityContext": security, "containers": [container]});
    let mut deployment = object("apps/v1", "Deployment");
    deployment["spec"] = json!({
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    });
    deployment
}

//! The control plane itself.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use strimzi_backup_tests::kubernetes::{ControlPlane, shared};
use strimzi_backup_tests::process;

use crate::strimzi::SOON;

/// A definition with a rule that looks at two fields.
const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ranges.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {kind: Range, plural: ranges}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              x-kubernetes-validations:
                - {rule: "self.from < self.until", message: "from must be below until"}
              properties:
                from: {type: integer}
                until: {type: integer, default: 7}
"#;

fn range(from: u32) -> String {
    format!("{{apiVersion: example.org/v1, kind: Range, metadata: {{name: one}}, spec: {{from: {from}}}}}")
}

#[test]
fn a_control_plane_keeps_rules_and_its_data_and_leaves_nothing() -> Result<()> {
    let started = Instant::now();
    let mut plane = ControlPlane::start()?;
    println!("started in {:?}", started.elapsed());
    plane.kubectl().apply("default", DEFINITION)?;
    plane.kubectl().wait_served("ranges.example.org")?;
    plane.kubectl().apply("default", &range(3))?;
    let refusal = plane.kubectl().refusal("default", &range(8))?;
    assert!(refusal.contains("from must be below until"), "{refusal}");

    plane.kill_api_server()?;
    ensure!(plane.kubectl().get("default", "range/one").is_err(), "nobody was to answer");
    plane.start_api_server()?;
    let kept = plane.kubectl().get("default", "range/one")?.context("the object")?;
    assert_eq!(kept["spec"]["until"], 7);

    let processes = plane.processes();
    assert_eq!(processes.len(), 2);
    drop(plane);
    ensure!(processes.iter().all(|&id| !process::exists(id)), "processes are left of {processes:?}");
    Ok(())
}

#[test]
fn the_controllers_collect_what_belongs_to_an_object_that_goes() -> Result<()> {
    let plane = shared()?;
    let namespace = plane.namespace("collect")?;
    let config_map = |name: &str, owners: &str| {
        format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, ownerReferences: {owners}}}}}")
    };
    plane.kubectl().apply(&namespace, &config_map("owner", "[]"))?;
    let owner = plane.kubectl().get(&namespace, "configmap/owner")?.context("the owner")?;
    let uid = owner["metadata"]["uid"].as_str().context("its uid")?;
    let reference = format!("[{{apiVersion: v1, kind: ConfigMap, name: owner, uid: {uid}}}]");
    plane.kubectl().apply(&namespace, &config_map("owned", &reference))?;
    plane.kubectl().run(&["delete", "--namespace", &namespace, "configmap/owner"])?;
    plane.wait_gone(&namespace, "configmap/owned", SOON)
}

use k8s_openapi::api::core::v1::{PodSpec, Toleration};
use serde_json::{Value, json};

use super::*;

/// The objects where the user bears these taints.
fn with_tolerations(given: &Value) -> BackupObjects {
    let given: Vec<Toleration> = serde_json::from_value(given.clone()).unwrap();
    built(|backup| {
        backup.spec.template.as_mut().unwrap().pod.as_mut().unwrap().tolerations = Some(given);
    })
}

fn streamer(objects: &BackupObjects) -> PodSpec {
    objects.deployment.spec.as_ref().unwrap().template.spec.clone().unwrap()
}

fn tolerations(pod: &PodSpec) -> Value {
    serde_json::to_value(&pod.tolerations).unwrap()
}

fn leaves_soon(key: &str) -> Value {
    json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5})
}

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

#[test]
fn a65_the_streamer_leaves_a_lost_node_soon_beside_what_the_user_bears() {
    let both = [leaves_soon(NOT_READY), leaves_soon(UNREACHABLE)];
    let none = built(|backup| backup.spec.template = None);
    assert_eq!(tolerations(&streamer(&none)), json!(both));
    let of_another_taint = json!({"key": "dedicated", "operator": "Equal", "value": "kafka"});
    // It lets a pod be put there, and keeps none.
    let of_another_effect = json!({"key": NOT_READY, "operator": "Exists", "effect": "NoSchedule"});
    for given in [of_another_taint, of_another_effect] {
        let pod = streamer(&with_tolerations(&json!([given])));
        assert_eq!(tolerations(&pod), json!([given, both[0], both[1]]));
    }
}

#[test]
fn a65_how_long_it_stays_on_a_lost_node_is_the_users_to_say() {
    let given = json!({"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 600});
    assert_eq!(tolerations(&streamer(&with_tolerations(&json!([given])))), json!([given, leaves_soon(NOT_READY)]));
    // These bear every taint, or every effect of these, and so Kubernetes adds none of its own either.
    let every_taint = json!([{"operator": "Exists"}]);
    let every_effect = json!([{"key": NOT_READY, "operator": "Exists"}, {"key": UNREACHABLE, "operator": "Exists"}]);
    for given in [every_taint, every_effect] {
        assert_eq!(tolerations(&streamer(&with_tolerations(&given))), given);
    }
}

/// A Job has time, and one that still runs on a node that nobody hears of would be at work twice.
#[test]
fn a65_pods_that_end_by_themselves_have_what_the_user_says_alone() {
    let given = json!([{"key": "dedicated", "operator": "Exists"}]);
    let objects = with_tolerations(&given);
    for schedule in [&objects.cron_job, &objects.prune, &objects.verify] {
        let job = schedule.as_ref().unwrap().spec.as_ref().unwrap().job_template.spec.as_ref().unwrap();
        assert_eq!(tolerations(job.template.spec.as_ref().unwrap()), given);
    }
}

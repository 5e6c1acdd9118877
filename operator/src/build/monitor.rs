//! Has the Prometheus Operator scrape the pods, where it is installed.

use kube::api::{ApiResource, DynamicObject};
use serde_json::json;

use super::Subject;
use super::names::{HTTP_PORT, Part};

/// The group of the Prometheus Operator's resources.
pub const GROUP: &str = "monitoring.coreos.com";

/// The kind that chooses pods.
pub fn resource() -> ApiResource {
    ApiResource {
        group: GROUP.to_owned(),
        version: "v1".to_owned(),
        api_version: format!("{GROUP}/v1"),
        kind: "PodMonitor".to_owned(),
        plural: "podmonitors".to_owned(),
    }
}

/// Scrapes the pods of a part.
pub(super) fn pod_monitor(subject: &Subject<'_>, part: Part) -> DynamicObject {
    let mut monitor = DynamicObject::new("", &resource());
    monitor.metadata = subject.metadata(part);
    monitor.data = json!({"spec": {
        "selector": {"matchLabels": subject.selector(part)},
        "podMetricsEndpoints": [{"port": HTTP_PORT.0, "path": "/metrics"}],
    }});
    monitor
}

//! The one request: a part of a status, by server-side apply.

use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Client, Config};
use serde_json::json;

use super::{Kind, Resource, Standing};
use crate::error::chain;

const GROUP: &str = "kafkabackup.com";
const VERSION: &str = "v1alpha1";

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes parts of the status of one resource.
pub(super) struct Writer {
    resource: Resource,
    api: Option<Api<DynamicObject>>,
    is_failing: bool,
}

impl Writer {
    pub(super) fn new(resource: Resource) -> Self {
        Self { resource, api: None, is_failing: false }
    }

    /// Says whether it succeeded. The log says when that changes, so that an outage is two lines.
    pub(super) async fn write<S: Standing>(&mut self, standing: &S) -> bool {
        let done = tokio::time::timeout(PATIENCE, self.patch(standing)).await;
        let failure = match done {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(&error)),
            Err(_) => Some(format!("no answer in {} s", PATIENCE.as_secs())),
        };
        let failed = failure.is_some();
        if failed != std::mem::replace(&mut self.is_failing, failed) {
            match failure {
                Some(error) => tracing::warn!(resource = %self.resource, error, "the status could not be written"),
                None => tracing::info!(resource = %self.resource, "the status is written again"),
            }
        }
        !failed
    }

    async fn patch<S: Standing>(&mut self, standing: &S) -> Result<(), kube::Error> {
        let api = match &self.api {
            Some(api) => api.clone(),
            None => self.api.insert(self.connect().await?).clone(),
        };
        let part = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": self.kind(),
            "metadata": {"name": self.resource.name},
            "status": standing,
        });
        let parameters = PatchParams::apply(&format!("{}{}", self.manager(), S::PART)).force();
        api.patch_status(&self.resource.name, &parameters, &Patch::Apply(part)).await.map(drop)
    }

    /// The API server of the cluster that the pod is in, with the token of its service account.
    async fn connect(&self) -> Result<Api<DynamicObject>, kube::Error> {
        let config = Config::infer().await.map_err(kube::Error::InferConfig)?;
        let kind = self.kind();
        let resource = ApiResource {
            group: GROUP.to_owned(),
            version: VERSION.to_owned(),
            api_version: format!("{GROUP}/{VERSION}"),
            kind: kind.to_owned(),
            plural: format!("{}s", kind.to_lowercase()),
        };
        Ok(Api::namespaced_with(Client::try_from(config)?, &self.resource.namespace, &resource))
    }

    const fn kind(&self) -> &'static str {
        match self.resource.kind {
            Kind::Backup => "KafkaBackup",
            Kind::Restore => "KafkaRestore",
        }
    }

    /// What `metadata.managedFields` calls the pod, but for the part that it tells.
    const fn manager(&self) -> &'static str {
        match self.resource.kind {
            Kind::Backup => "strimzi-backup-streamer",
            Kind::Restore => "strimzi-backup-restore",
        }
    }
}

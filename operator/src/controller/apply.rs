//! The only writer of objects: server-side apply under one field manager.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::error::Error;
use crate::build::names::FIELD_MANAGER;
use crate::build::{Access, monitor};

/// Writes into one namespace.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    namespace: String,
}

impl Applier {
    /// A writer into `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned() }
    }

    /// The objects of a kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Makes an object as it is here. Fields that others have set and that are not here stay.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Api`].
    pub async fn apply<K>(&self, object: &K) -> Result<(), Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let name = object.name_any();
        let applied = self.api::<K>().patch(&name, &parameters(), &Patch::Apply(object)).await;
        applied.map(drop).map_err(|source| Error::api(format!("{} {:?}", K::kind(&()), name), source))
    }

    /// Makes a service account with its right.
    ///
    /// # Errors
    /// As [`Applier::apply`].
    pub async fn apply_access(&self, access: &Access) -> Result<(), Error> {
        self.apply(&access.service_account).await?;
        self.apply(&access.role).await?;
        self.apply(&access.role_binding).await
    }

    /// Makes a PodMonitor as it is here.
    ///
    /// # Errors
    /// As [`Applier::apply`].
    pub async fn apply_pod_monitor(&self, monitor: &DynamicObject) -> Result<(), Error> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &monitor::resource());
        let name = monitor.name_any();
        let applied = api.patch(&name, &parameters(), &Patch::Apply(monitor)).await;
        applied.map(drop).map_err(|source| Error::api(format!("PodMonitor {name:?}"), source))
    }

    /// Makes an object unless one of its name is there; says whether it did.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Api`].
    pub async fn create<K>(&self, object: &K) -> Result<bool, Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let parameters = kube::api::PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), dry_run: false };
        match self.api::<K>().create(&parameters, object).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(source) => Err(Error::api(format!("{} {:?}", K::kind(&()), object.name_any()), source)),
        }
    }

    /// Has a Deployment of ours end its pods; one that is not there, or that the owner `uid` does not own, is left alone.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn stop(&self, name: &str, uid: &str) -> Result<(), Error> {
        let failed = |source| Error::api(format!("stop Deployment {name:?}"), source);
        let Some(deployment) = self.api::<Deployment>().get_opt(name).await.map_err(failed)? else { return Ok(()) };
        let is_ours = deployment.owner_references().iter().any(|owner| owner.uid == uid);
        if !is_ours || deployment.spec.and_then(|spec| spec.replicas) == Some(0) {
            return Ok(());
        }
        let patch = Patch::Merge(json!({"spec": {"replicas": 0}}));
        let stopped = self.api::<Deployment>().patch(name, &PatchParams::default(), &patch).await;
        stopped.map(drop).map_err(failed)
    }

    /// Has a CronJob of ours begin no more Jobs; one that is not there, or that the owner `uid` does not own, is left alone.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn suspend(&self, name: &str, uid: &str) -> Result<(), Error> {
        let failed = |source| Error::api(format!("suspend CronJob {name:?}"), source);
        let Some(schedule) = self.api::<CronJob>().get_opt(name).await.map_err(failed)? else { return Ok(()) };
        let is_ours = schedule.owner_references().iter().any(|owner| owner.uid == uid);
        if !is_ours || schedule.spec.and_then(|spec| spec.suspend) == Some(true) {
            return Ok(());
        }
        let patch = Patch::Merge(json!({"spec": {"suspend": true}}));
        let suspended = self.api::<CronJob>().patch(name, &PatchParams::default(), &patch).await;
        suspended.map(drop).map_err(failed)
    }

    /// Removes an object of ours; one that is not there, or that the owner `uid` does not own, is left alone.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn remove<K>(&self, name: &str, uid: &str) -> Result<(), Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let failed = |source| Error::api(format!("remove {} {name:?}", K::kind(&())), source);
        let Some(object) = self.api::<K>().get_opt(name).await.map_err(failed)? else { return Ok(()) };
        if object.owner_references().iter().all(|owner| owner.uid != uid) {
            return Ok(());
        }
        match self.api::<K>().delete(name, &DeleteParams::background()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(source) => Err(failed(source)),
        }
    }
}

/// Ours go before others': what the resource says is what shall be.
pub fn parameters() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

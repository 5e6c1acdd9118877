//! The only writer of objects: server-side apply under one field manager.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

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
        let is_stopped = |deployment: &Deployment| deployment.spec.as_ref().and_then(|spec| spec.replicas) == Some(0);
        self.set::<Deployment>("stop", name, uid, is_stopped, json!({"replicas": 0})).await
    }

    /// Has a CronJob of ours begin no more Jobs; one that is not there, or that the owner `uid` does not own, is left alone.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn suspend(&self, name: &str, uid: &str) -> Result<(), Error> {
        let is_suspended = |schedule: &CronJob| schedule.spec.as_ref().and_then(|spec| spec.suspend) == Some(true);
        self.set::<CronJob>("suspend", name, uid, is_suspended, json!({"suspend": true})).await
    }

    /// Writes some fields into the spec of an object of ours where they are not so yet.
    async fn set<K>(
        &self,
        doing: &str,
        name: &str,
        uid: &str,
        is_so: fn(&K) -> bool,
        fields: Value,
    ) -> Result<(), Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let failed = |source| Error::api(format!("{doing} {} {name:?}", K::kind(&())), source);
        let is_due = self.ours::<K>(name, uid).await.map_err(failed)?.is_some_and(|object| !is_so(&object));
        if !is_due {
            return Ok(());
        }
        let patch = Patch::Merge(json!({"spec": fields}));
        self.api::<K>().patch(name, &PatchParams::default(), &patch).await.map(drop).map_err(failed)
    }

    /// The object of this name, if it is there and the owner `uid` owns it.
    async fn ours<K>(&self, name: &str, uid: &str) -> Result<Option<K>, kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let found = self.api::<K>().get_opt(name).await?;
        Ok(found.filter(|object| is_owned(object, uid)))
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
        if self.ours::<K>(name, uid).await.map_err(failed)?.is_none() {
            return Ok(());
        }
        match self.api::<K>().delete(name, &DeleteParams::background()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(source) => Err(failed(source)),
        }
    }
}

/// Whether the owner `uid` owns an object. One of an earlier resource of the same name may still be there, and what became of it
/// says nothing of this one.
pub fn is_owned(object: &impl ResourceExt, uid: &str) -> bool {
    object.owner_references().iter().any(|owner| owner.uid == uid)
}

/// Ours go before others': what the resource says is what shall be.
pub fn parameters() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

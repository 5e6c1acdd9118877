//! The operator on a real control plane: what the API server takes and refuses, what discovery reads of a Strimzi
//! cluster, and what a resource becomes.

mod absence;
mod control_plane;
mod definitions;
mod deletion;
mod discovery;
mod encryption;
mod faults;
mod nodes;
mod reconcile;
mod reference;
mod releases;
mod reports;
mod retention;
mod scene;
mod verification;

use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use strimzi_backup_tests::kubernetes::{ControlPlane, Kubectl, crds, shared, strimzi};

/// The control plane that the tests share, with our definitions and a stand-in for Strimzi's, both of its versions served
/// as from 0.49 to 0.51.
fn plane() -> Result<&'static ControlPlane> {
    static PREPARED: OnceLock<Result<(), String>> = OnceLock::new();
    let plane = shared()?;
    let prepared = PREPARED.get_or_init(|| prepare(plane.kubectl()).map_err(|error| format!("{error:#}")));
    prepared.as_ref().map_err(|message| anyhow!("{message}"))?;
    Ok(plane)
}

fn prepare(kubectl: &Kubectl) -> Result<()> {
    crds::ours(kubectl)?;
    crds::stand_in(kubectl, "monitoring.coreos.com", ("PodMonitor", "podmonitors"), &["v1"])?;
    strimzi::serve(kubectl, &["v1beta2", "v1"])
}

/// An administrator's client.
async fn client(plane: &ControlPlane) -> Result<Client> {
    client_of(plane.kubectl()).await
}

/// The client of whoever the command line belongs to.
async fn client_of(kubectl: &Kubectl) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubectl.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

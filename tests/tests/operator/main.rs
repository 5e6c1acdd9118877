//! The operator on a real control plane: what the API server takes and refuses, what discovery reads of a Strimzi
//! cluster, and what a resource becomes.

mod control_plane;
mod definitions;
mod discovery;
mod strimzi;

use anyhow::Result;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use strimzi_backup_tests::kubernetes::{ControlPlane, Kubectl};

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

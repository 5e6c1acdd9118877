//! A whole cluster: a control plane and a node, in a network of their own.

use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anyhow::{Result, anyhow};

use super::image::Builder;
use super::{ControlPlane, Image, Node};
use crate::network::Network;
use crate::run_dir::RunDir;

/// A running cluster of one node.
#[derive(Debug)]
pub struct Cluster {
    // In the order of their end.
    node: Node,
    plane: RwLock<ControlPlane>,
    product: Image,
    images: Builder,
    network: Network,
    _dir: RunDir,
}

/// The cluster that the tests of one binary share. The calling thread is in its network from now on, so that all that a
/// test starts afterwards is reached by pods, and reaches nothing else. Nobody stops it; it ends with the process.
///
/// # Errors
/// Where this is not root, a part is not installed, or something does not start.
pub fn cluster() -> Result<&'static Cluster> {
    static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
    let cluster = SHARED.get_or_init(|| Cluster::start().map_err(|error| format!("{error:#}")));
    let cluster = cluster.as_ref().map_err(|message| anyhow!("{message}"))?;
    cluster.network.enter()?;
    Ok(cluster)
}

impl Cluster {
    /// Starts everything, with the image of the product. The calling thread is in its network from then on.
    ///
    /// # Errors
    /// As [`cluster`].
    pub fn start() -> Result<Self> {
        let dir = RunDir::new("cluster")?;
        let network = Network::new(dir.path())?;
        let images = Builder::new()?;
        let (pause, product) = (images.pause()?, images.product()?);
        network.enter()?;
        let plane = ControlPlane::start_for_pods()?;
        let node = Node::start(plane.kubectl(), &plane.certs, &[pause, product.clone()])?;
        Ok(Self { node, plane: RwLock::new(plane), product, images, network, _dir: dir })
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The control plane, which nobody takes away meanwhile.
    pub fn plane(&self) -> RwLockReadGuard<'_, ControlPlane> {
        self.plane.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The control plane once nobody else uses it, to take it away.
    pub fn plane_alone(&self) -> RwLockWriteGuard<'_, ControlPlane> {
        self.plane.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The image of the product.
    pub fn product(&self) -> &Image {
        &self.product
    }

    /// Where images come from.
    pub fn images(&self) -> &Builder {
        &self.images
    }
}

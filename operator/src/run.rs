//! The composition root of `run`: client, Lease, watches, HTTP.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::build::{Image, Settings};
use crate::cli::Run;
use crate::controller::error::chain;
use crate::controller::{self, Context, Scope};
use crate::http::{self, View};
use crate::leader::Election;

/// How long an answer of the API server is waited for, and the pause between questions while there is none.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT, or until the Lease is lost: then the process ends, and Kubernetes starts a new one.
///
/// # Errors
/// Where the API server cannot be found, the address is taken, or the Lease was lost.
pub async fn run(options: Run) -> anyhow::Result<()> {
    let client = Client::try_default().await.context("find the Kubernetes API (in a pod, or by KUBECONFIG)")?;
    let listener = http::bind(options.http_address).await;
    let listener = listener.with_context(|| format!("listen on {}", options.http_address))?;
    let (view, stop) = (View::default(), CancellationToken::new());
    let serving = tokio::spawn(http::serve(listener, view.clone(), stop.clone()));
    let signals = tokio::spawn(signalled(stop.clone()));
    let done = act(client, &options, &view, &stop).await;
    stop.cancel();
    serving.await.context("join the HTTP server")?.context("serve HTTP")?;
    signals.abort();
    done
}

async fn act(client: Client, options: &Run, view: &View, stop: &CancellationToken) -> anyhow::Result<()> {
    tokio::select! {
        () = answered(&client) => {}
        () = stop.cancelled() => return Ok(()),
    }
    view.ready.store(true, Ordering::Relaxed);
    let scope = Scope::parse(&options.namespace);
    let settings = Settings {
        image: Image { name: options.image.clone(), pull_policy: options.image_pull_policy.clone() },
        network_policies: options.network_policies,
    };
    let identity = options.identity.clone();
    let timeout = options.deletion_timeout;
    let context = Context::new(client.clone(), settings, Arc::clone(&view.metrics), identity.clone(), timeout);
    if !options.leader_election {
        view.metrics.leader.set(1);
        controller::run(Arc::new(context), &scope, stop).await;
        return Ok(());
    }
    let election = Election::new(client, &options.operator_namespace, &options.lease_name, identity);
    if !election.won(stop).await {
        return Ok(());
    }
    tracing::info!(lease = options.lease_name, "this replica acts");
    view.metrics.leader.set(1);
    let lead = stop.child_token();
    let acting = controller::run(Arc::new(context), &scope, &lead);
    let keeping = async {
        election.keep(stop).await;
        lead.cancel();
    };
    tokio::join!(acting, keeping);
    view.metrics.leader.set(0);
    anyhow::ensure!(stop.is_cancelled(), "the Lease {:?} was lost", options.lease_name);
    election.resign().await;
    Ok(())
}

/// Waits until the API server answers. While it does not, ending would only begin the same anew, after longer pauses.
async fn answered(client: &Client) {
    loop {
        match tokio::time::timeout(ASK_AGAIN, client.apiserver_version()).await {
            Ok(Ok(version)) => {
                tracing::info!(kubernetes = version.git_version, "the Kubernetes API answers");
                return;
            }
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "the Kubernetes API does not answer"),
            Err(_) => tracing::warn!("the Kubernetes API does not answer in time"),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn signalled(stop: CancellationToken) {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        tracing::warn!("signals cannot be noticed");
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    tracing::info!("stopping");
    stop.cancel();
}

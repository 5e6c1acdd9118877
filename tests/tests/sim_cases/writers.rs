//! Many writers on one backup.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, ensure};

use super::sim::simulate;
use super::sim::world::World;
use super::{progress, world};

/// Starts every one of them that does not run, under its name.
fn start_missing(world: &mut World, names: &[String]) -> Result<()> {
    let running: BTreeSet<String> = world.running().iter().map(|writer| writer.name.clone()).collect();
    names.iter().filter(|name| !running.contains(*name)).try_for_each(|name| world.start(name, None))
}

/// Lets time pass in which whoever ended is started again, as Kubernetes does it.
async fn pass_with_all(world: &mut World, names: &[String], millis: u64) -> Result<()> {
    for second in (5..=millis / 1_000).step_by(5) {
        if second % 30 == 0 {
            world.produce(1);
        }
        world.pass(5_000).await;
        world.reap().await?;
        start_missing(world, names)?;
        ensure!(world.running().len() == names.len(), "{} run", world.running().len());
    }
    Ok(())
}

#[test]
fn a08_64_writers_for_an_hour_fork_nothing_and_lose_nothing() -> Result<()> {
    simulate(|| async {
        let mut world = world();
        world.heartbeat_millis = 30_000;
        let names: Vec<String> = (0..64).map(|number| format!("writer-{number}")).collect();
        start_missing(&mut world, &names)?;
        pass_with_all(&mut world, &names, 5_000).await?;
        for window in 0..6 {
            let (rows, epoch) = progress(&mut world).await?;
            pass_with_all(&mut world, &names, 300_000).await?;
            // The one that writes is lost, or does not move for so long that another one takes over.
            let (_, writing) = progress(&mut world).await?;
            let newest = world.writers.iter_mut().find(|writer| writer.epoch.load(Ordering::Relaxed) == writing);
            let newest = newest.context("who wrote last")?;
            if window % 2 == 0 {
                newest.kill().await?
            } else {
                newest.freezer.set(true)
            }
            pass_with_all(&mut world, &names, 150_000).await?;
            world.running().iter().for_each(|writer| writer.freezer.set(false));
            pass_with_all(&mut world, &names, 150_000).await?;
            let (now, later) = progress(&mut world).await?;
            ensure!(now > rows, "no row in ten minutes: {rows}, {now}");
            ensure!(later > epoch, "nobody took over from epoch {epoch}");
        }
        let (_, epoch) = progress(&mut world).await?;
        ensure!(epoch > 64, "only {epoch} claims");
        world.settle().await
    })
}

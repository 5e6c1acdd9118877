//! The random schedule: what happens to Kafka, the store and the writers, one thing after the other, as the seed has it.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::Result;
use strimzi_backup_format::ids::{TimestampMs, TopicName};

use super::cluster::{Cluster, Partition};
use super::dice::Dice;
use super::weather::{Kill, Weather};
use super::world::{MAX_AGE, PARTS, WHOLE, World};

const TOPICS: [&str; 4] = ["orders", "payments", "a.b_c", "late"];
const NAMES: [&str; 3] = ["a", "a", "b"];

impl World {
    /// Runs the schedule of its seed.
    pub async fn run(&mut self) -> Result<()> {
        self.prepare()?;
        let steps = 25 + self.dice.below(25);
        let look_at = self.dice.below(steps * 2);
        for step in 0..steps {
            let pause = self.dice.below(if self.dice.clone().once_in(6) { 6_000 } else { 900 }) + 1;
            self.pass(pause).await;
            self.reap().await?;
            match self.dice.below(10) {
                0..=5 => self.change_kafka(),
                6 => self.change_weather(),
                _ => self.change_writers().await?,
            }
            if step == look_at {
                self.oracle.check().await?;
            }
        }
        self.settle().await?;
        if self.retention.is_limited() && self.dice.once_in(3) {
            self.choose_retention();
            self.grow_old().await?;
            self.grow_old().await?;
        }
        self.oracle.check_closed().await
    }

    fn prepare(&mut self) -> Result<()> {
        self.budget = [6_000, 40_000, 1 << 20][self.dice.index(3)];
        self.metadata_millis = [500, 3_000][self.dice.index(2)];
        // Long ago, so that the first life may end at any moment.
        let now = self.now().plus_millis(-3_600_000);
        let mut cluster = self.around.cluster.lock();
        for topic in &TOPICS[..1 + self.dice.index(3)] {
            cluster.create(topic, 1 + self.dice.index(3), now);
        }
        drop(cluster);
        for _ in 0..self.dice.below(6) {
            self.change_kafka();
        }
        self.change_weather();
        self.part_bytes = [PARTS, 3_000, WHOLE][self.dice.index(3)];
        self.start("a", None)
    }

    fn change_kafka(&mut self) {
        let now = self.now();
        let dice = &mut self.dice;
        let mut cluster = self.around.cluster.lock();
        let topic = TOPICS[dice.index(TOPICS.len())];
        let name = TopicName::new(topic).ok().filter(|name| cluster.life(name).is_some());
        let choice = dice.below(30);
        tracing::debug!(%now, topic, choice, "Kafka changes");
        match (choice, name) {
            (0, Some(name)) => cluster.delete(&name, now),
            (1, Some(name)) => {
                cluster.delete(&name, now);
                cluster.create(topic, 1 + dice.index(3), now);
                fill(&mut cluster, &name, now, dice);
            }
            (2, Some(name)) => cluster.grow(&name),
            (0..=2, None) => {
                cluster.create(topic, 1 + dice.index(3), now);
                if let Ok(name) = TopicName::new(topic) {
                    fill(&mut cluster, &name, now, dice);
                }
            }
            (3, _) => cluster.unreachable = true,
            (4 | 5, _) => cluster.unreachable = false,
            (choice, _) => {
                // A busy moment: several changes to partitions at once.
                for _ in 0..=dice.below(4) {
                    if let Some(partition) = cluster.any_partition(dice) {
                        change_partition(partition, choice, now, dice);
                    }
                }
            }
        }
    }

    fn change_weather(&mut self) {
        let dice = &mut self.dice;
        let mut weather = Weather { latency: [0, 20, 400][dice.index(3)], ..Weather::default() };
        match dice.below(8) {
            0 => weather.outage = true,
            1 => weather.full = true,
            2 => (weather.faults, weather.misleads) = (15, true),
            3 => weather.faults = 50,
            4 => (weather.faults, weather.misleads) = (3, true),
            5 => weather.keyless = true,
            _ => {}
        }
        tracing::debug!(?weather, "the weather changes");
        *self.around.weather.lock() = weather;
    }

    async fn change_writers(&mut self) -> Result<()> {
        let choice = self.dice.below(12);
        let name = NAMES[self.dice.index(NAMES.len())];
        tracing::debug!(choice, name, running = self.running().len(), "writers change");
        if self.running().is_empty() || choice == 0 {
            self.choose_topics();
            let kill = random_kill(&mut self.dice);
            return self.start(name, kill);
        }
        let mut dice = self.dice.fork();
        let mut running = self.running();
        let chosen = dice.index(running.len());
        let writer = &mut running[chosen];
        match choice {
            1..=3 => writer.kill().await?,
            4 => (writer.stopped, _) = (true, writer.stop.cancel()),
            5 => {
                writer.stopped = true;
                writer.stop.cancel();
                writer.abandon.cancel();
            }
            6 | 7 => writer.freezer.set(true),
            8 | 9 => writer.freezer.set(false),
            10 => writer.control.set_latency(Duration::from_millis(dice.below(20_000))),
            _ => writer.control.set_latency(Duration::ZERO),
        }
        Ok(())
    }

    fn choose_topics(&mut self) {
        if self.dice.once_in(4) {
            let excluded = self.dice.below(2);
            self.excluded = (0..excluded).map(|_| TOPICS[self.dice.index(TOPICS.len())].to_owned()).collect();
        }
    }

    /// What grows old is kept by its age, by the number of its snapshots, or by both.
    pub fn choose_retention(&mut self) {
        let backups = [None, Some(1), Some(2), Some(3)][self.dice.index(4)];
        let by_age = backups.is_none() || self.dice.once_in(3);
        self.retention.max_age = by_age.then_some(MAX_AGE);
        self.retention.max_backups = backups.and_then(NonZeroU32::new);
        // From one snapshot to the next it is hours, and what is kept is short at once.
        self.retention.acknowledged = backups.map(|_| Duration::ZERO);
    }
}

/// Some topics have records before anyone has seen them.
fn fill(cluster: &mut Cluster, topic: &TopicName, now: TimestampMs, dice: &mut Dice) {
    if let Some(partition) = cluster.partition_mut(topic, 0) {
        (0..dice.below(5)).for_each(|_| partition.produce(now, false, dice));
    }
}

fn random_kill(dice: &mut Dice) -> Option<Kill> {
    dice.once_in(2).then(|| Kill { at_call: dice.below(140), after: dice.once_in(2) })
}

fn change_partition(partition: &mut Partition, choice: u64, now: TimestampMs, dice: &mut Dice) {
    let end = partition.log.high_watermark();
    match choice {
        6 | 7 => partition.delete_before(dice.between(partition.log.start, end + 1)),
        8 => partition.compact(dice.between(0, end + 1)),
        9 if dice.once_in(2) => partition.truncate(dice.between(end.saturating_sub(8), end + 1), now),
        9 => partition.epoch += 1,
        10..=13 => (0..=dice.below(4)).for_each(|_| partition.produce(now, true, dice)),
        14..=16 => partition.end_transaction(now, dice.percent(60)),
        _ => (0..=dice.below(10)).for_each(|_| partition.produce(now, false, dice)),
    }
}

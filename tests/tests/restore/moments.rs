//! Where a restore stops.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::json;
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::restore::{Restore, same_but_offsets};
use strimzi_backup_tests::scenario::{Scenario, now, shared_broker};

use super::{caught_up_to, overrides, time, until};

/// Records of which every seventh is late: its timestamp is older than those before it.
fn produce(scenario: &Scenario, topic: &str, base: i64, count: i64) -> Result<()> {
    let record = |number: i64| {
        let late = if number % 7 == 0 { 50 } else { 0 };
        let partition = i32::try_from(number % 3).unwrap_or(0);
        Record::new(format!("key-{number}"), format!("value {number}"))
            .partition(partition)
            .timestamp(base + number - late)
            .header("n", Some(number.to_string().as_bytes()))
    };
    scenario.client.produce(topic, &(0..count).map(record).collect::<Vec<_>>())?;
    Ok(())
}

#[test]
fn a70_restores_to_the_millisecond_whatever_the_order_of_arrival() -> Result<()> {
    let scenario = Scenario::shared("moment")?;
    scenario.client.create_topic("moment-orders", 3, &[("retention.ms", "-1")])?;
    scenario.job.catch_up()?;
    let base = now()?;
    produce(&scenario, "moment-orders", base, 1000)?;
    // The window must reach past the timestamps, which lie up to a second ahead of the clock.
    caught_up_to(&scenario, base + 1000)?;
    // What is set later is not what was set at the moment.
    scenario.client.alter_topic_config("moment-orders", "retention.ms", "1000000000")?;
    scenario.client.create_partitions("moment-orders", 5)?;
    scenario.job.catch_up()?;
    for (number, moment) in [base + 499, base + 500, base + 501, base + 993].into_iter().enumerate() {
        let target = format!("moment-restored-{number}");
        let restore =
            Restore::new(scenario.dir(), &format!("moment-{number}"), &scenario.job, &shared_broker()?.bootstrap())
                .set("pointInTime", json!({"timestamp": time(moment)}))
                .mapped("moment-orders", &target);
        let report = restore.done()?;
        let wanted = until(&scenario, "moment-orders", moment)?;
        let written = scenario.client.read_all(&target)?;
        assert_eq!(json!(same_but_offsets(&wanted, &written)?), report["records"]);
        assert_eq!(overrides(&scenario.job, &target)?, BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]));
        assert_eq!(scenario.client.partition_count(&target)?, 3);
    }
    Ok(())
}

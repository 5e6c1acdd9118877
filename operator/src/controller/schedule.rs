//! When a schedule asks for the next snapshot, prune or verification. Pure. The CronJob decides; this only tells what it will
//! do.

use croner::parser::{CronParser, Seconds};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::tz::TimeZone;

use crate::api::Schedule;

/// The first instant after `now`; `None` where the schedule is suspended, has no next instant, or is one that only
/// Kubernetes understands.
pub fn next(schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
    if schedule.suspend { None } else { after(&schedule.cron, &schedule.timezone, now) }
}

/// The first instant of a schedule after `now`; `None` where there is none, or the schedule is one that only Kubernetes
/// understands.
pub fn after(cron: &str, timezone: &str, now: Timestamp) -> Option<Timestamp> {
    let pattern = CronParser::builder().seconds(Seconds::Disallowed).build().parse(cron).ok()?;
    let zone = TimeZone::get(timezone).ok()?;
    let next = pattern.find_next_occurrence(&now.to_zoned(zone), false).ok()?;
    Some(next.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(cron: &str, timezone: &str, now: &str) -> Option<String> {
        let schedule = Schedule { cron: cron.to_owned(), timezone: timezone.to_owned(), suspend: false };
        next(&schedule, now.parse().unwrap()).map(|next| next.to_string())
    }

    #[test]
    fn the_next_snapshot_is_the_first_instant_of_the_schedule_in_its_zone() {
        let first = |cron, zone| told(cron, zone, "2026-02-13T08:30:00Z").unwrap();
        assert_eq!(first("0 2 * * *", "UTC"), "2026-02-14T02:00:00Z");
        assert_eq!(first("0 2 * * *", "Europe/Berlin"), "2026-02-14T01:00:00Z");
        assert_eq!(first("@hourly", "UTC"), "2026-02-13T09:00:00Z");
        assert_eq!(first("30 8 * * *", "UTC"), "2026-02-14T08:30:00Z", "an instant that is now has its Job already");
        // Kubernetes takes a day that fits either field.
        assert_eq!(first("0 0 20 * MON", "UTC"), "2026-02-16T00:00:00Z");
        assert_eq!(told("0 2 31 2 *", "UTC", "2026-02-13T08:30:00Z"), None);
        assert_eq!(told("0 2 * * *", "Mars/Olympus", "2026-02-13T08:30:00Z"), None);
    }

    #[test]
    fn a_suspended_schedule_has_no_next_snapshot() {
        let schedule = Schedule { cron: "@daily".to_owned(), timezone: "UTC".to_owned(), suspend: true };
        assert_eq!(next(&schedule, Timestamp::UNIX_EPOCH), None);
    }
}

//! `retention`: how far back instants are kept.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Faults;
use crate::job::raw::RawRetention;
use crate::job::resolved::{Retention, defaults};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: u64 = 86_400;

/// A window below an hour would be gone before a restore has begun; one of a century is for ever.
const AGE_RANGE: RangeInclusive<Duration> = HOUR..=Duration::from_secs(100 * 365 * DAY);
const GRACE_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(90 * DAY);
const BACKUPS_RANGE: RangeInclusive<i64> = 1..=100_000;

pub(super) fn resolve(raw: &RawRetention, faults: &mut Faults) -> Retention {
    let age = |path: &str, value: Option<&crate::job::Scalar>, faults: &mut Faults| {
        value.map(|value| faults.duration(path, Some(value), *AGE_RANGE.start(), &AGE_RANGE))
    };
    let max_age = age("retention.maxAge", raw.max_age.as_ref(), faults);
    let acknowledged = age("retention.acknowledgeShrinkTo", raw.acknowledge_shrink_to.as_ref(), faults);
    let max_backups = raw.max_backups.as_ref().and_then(|value| {
        let number = faults.integer("retention.maxBackups", Some(value), 1, &BACKUPS_RANGE);
        u32::try_from(number).ok().and_then(NonZeroU32::new)
    });
    let grace =
        faults.duration("retention.gracePeriod", raw.grace_period.as_ref(), defaults::GRACE_PERIOD, &GRACE_RANGE);
    Retention { max_age, max_backups, acknowledged, grace }
}

//! What the HTTP server tells of the streamer: alive, ready, and how far behind.

use parking_lot::Mutex;
use strimzi_backup_format::ids::TimestampMs;

/// Shared between the streamer and the HTTP server.
#[derive(Debug, Default)]
pub struct Status {
    facts: Mutex<Facts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    claimed: Option<TimestampMs>,
    watched: bool,
    fetched: bool,
    until: Option<TimestampMs>,
}

impl Status {
    /// The log is claimed, with `recoverable.until` as the writer before left it.
    pub fn claimed(&self, now: TimestampMs, until: Option<TimestampMs>) {
        let mut facts = self.facts.lock();
        (facts.claimed, facts.until) = (Some(now), until);
    }

    /// The cluster's topics were seen.
    pub fn watched(&self) {
        self.facts.lock().watched = true;
    }

    /// Whether the cluster's topics were seen.
    pub fn is_watched(&self) -> bool {
        self.facts.lock().watched
    }

    /// The broker answered a fetch.
    pub fn fetched(&self) {
        self.facts.lock().fetched = true;
    }

    /// A manifest was committed, with `recoverable.until` as it stands now.
    pub fn committed(&self, until: Option<TimestampMs>) {
        self.facts.lock().until = until;
    }

    /// Since when records may be missing: `recoverable.until` as last committed; the claim, while nothing is protected.
    pub fn behind_since(&self) -> Option<TimestampMs> {
        let facts = *self.facts.lock();
        facts.until.or(facts.claimed)
    }

    /// What is still missing before it is ready; `None` where nothing is.
    pub fn not_ready(&self) -> Option<&'static str> {
        let facts = *self.facts.lock();
        if facts.claimed.is_none() {
            Some("the manifest log is not claimed yet")
        } else if !facts.watched {
            Some("the cluster's topics are not known yet")
        } else if !facts.fetched {
            Some("the broker has not answered the first fetch yet")
        } else {
            None
        }
    }
}

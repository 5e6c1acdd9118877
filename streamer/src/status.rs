//! What is told of the streamer: alive, ready, how far behind, and what is protected.

use parking_lot::Mutex;
use strimzi_backup_format::ids::TimestampMs;

use crate::report::Protected;
use crate::retire::Held;

/// Shared between the streamer, the HTTP server and who tells Kubernetes.
#[derive(Debug, Default)]
pub struct Status {
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    claimed: Option<TimestampMs>,
    watched: bool,
    fetched: bool,
    protected: Option<Protected>,
    held: Option<Held>,
}

impl Status {
    /// The log is claimed, with what the writer before left protected.
    pub fn claimed(&self, now: TimestampMs, protected: Protected) {
        let mut facts = self.facts.lock();
        (facts.claimed, facts.protected) = (Some(now), Some(protected));
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

    /// A manifest was committed, and so much is protected now.
    pub fn committed(&self, protected: Protected) {
        self.facts.lock().protected = Some(protected);
    }

    /// Retention was looked at, and is held or not.
    pub fn retention_held(&self, held: Option<Held>) {
        self.facts.lock().held = held;
    }

    /// Why retention is held, if it is.
    pub fn why_held(&self) -> Option<Held> {
        self.facts.lock().held.clone()
    }

    /// What is protected; `None` before the log is claimed.
    pub fn protected(&self) -> Option<Protected> {
        self.facts.lock().protected.clone()
    }

    /// Since when records may be missing: `recoverable.until` as last committed; the claim, while nothing is protected.
    pub fn behind_since(&self) -> Option<TimestampMs> {
        let facts = self.facts.lock();
        facts.protected.as_ref().and_then(|protected| protected.until).or(facts.claimed)
    }

    /// What is still missing before it is ready; `None` where nothing is.
    pub fn not_ready(&self) -> Option<&'static str> {
        let facts = self.facts.lock();
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

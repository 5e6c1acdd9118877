//! What this process has told of each resource last.
//!
//! A watch shows a status a moment after it was written. Whoever compares with what the watch shows would tell the same change
//! twice. A restart forgets all of it, and misses nothing: by then the watch shows what was written before.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long it is remembered what was told: watches that were interrupted begin anew sooner.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// What was told last, and when, by the uid of the resource: another one of its name is another one.
pub(super) struct Memory<T>(Mutex<HashMap<String, (Instant, T)>>);

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Memory<T> {
    /// Remembers what is told of a resource now, and says what was told of it last, unless that is long ago or nothing was.
    pub(super) fn replace(&self, uid: String, told: T) -> Option<T> {
        self.replace_at(Instant::now(), uid, told)
    }

    fn replace_at(&self, now: Instant, uid: String, told: T) -> Option<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (at, _)| now.duration_since(*at) < REMEMBERED);
        all.insert(uid, (now, told)).map(|(_, told)| told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_last_of_a_resource_is_remembered_for_an_hour() {
        let (memory, now) = (Memory::default(), Instant::now());
        let replace =
            |after: u64, uid: &str, told| memory.replace_at(now + Duration::from_secs(after), uid.to_owned(), told);
        assert_eq!(replace(0, "a", 1), None);
        assert_eq!(replace(1, "b", 2), None, "of another one");
        assert_eq!(replace(2, "a", 3), Some(1));
        assert_eq!(replace(3600, "a", 4), Some(3));
        assert_eq!(replace(3601, "b", 5), None, "that is long ago");
        assert_eq!(replace(7200, "a", 6), None);
    }
}

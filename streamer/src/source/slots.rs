//! Numbered places for what is assigned: a number names one assignment, never two within any time that an event of an
//! ended one may still be on its way.
//!
//! A number is the index of a place and, above it, how often the place was used before. Places are used again, the one that
//! was left longest ago first, so that partitions assigned anew for years cost no more memory than those assigned at once.

use std::collections::VecDeque;

/// Bits of a number that are the index: a million assignments at once.
const INDEX_BITS: u32 = 20;

/// Numbered places.
#[derive(Debug)]
pub(super) struct Slots<T> {
    places: Vec<Place<T>>,
    free: VecDeque<u32>,
}

#[derive(Debug)]
struct Place<T> {
    /// The number of what is in it, or comes next.
    number: u32,
    content: Option<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: VecDeque::new() }
    }
}

const fn index(number: u32) -> usize {
    (number & ((1 << INDEX_BITS) - 1)) as usize
}

impl<T> Slots<T> {
    /// Takes a place.
    pub(super) fn insert(&mut self, content: T) -> u32 {
        let vacant = self.free.pop_front().and_then(|number| self.places.get_mut(index(number)));
        if let Some(place) = vacant {
            place.content = Some(content);
            return place.number;
        }
        let number = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push(Place { number, content: Some(content) });
        number
    }

    /// What has this number.
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let place = self.places.get_mut(index(number)).filter(|place| place.number == number)?;
        place.content.as_mut()
    }

    /// Leaves a place; its number names nothing any more.
    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let place = self.places.get_mut(index(number)).filter(|place| place.number == number)?;
        let content = place.content.take()?;
        place.number = number.wrapping_add(1 << INDEX_BITS);
        self.free.push_back(place.number);
        Some(content)
    }

    /// Everything, with its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.places.iter().filter_map(|place| Some((place.number, place.content.as_ref()?)))
    }

    /// Everything, with its number.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.places.iter_mut().filter_map(|place| Some((place.number, place.content.as_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_one_assignment_and_places_are_used_again() {
        let mut slots = Slots::default();
        let first = slots.insert("a");
        let second = slots.insert("b");
        assert_eq!(slots.remove(first), Some("a"));
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.remove(first), None);
        let third = slots.insert("c");
        assert_ne!(third, first);
        assert_eq!((slots.get_mut(first).copied(), slots.get_mut(third).copied()), (None, Some("c")));
        assert_eq!(slots.iter().collect::<Vec<_>>(), [(third, &"c"), (second, &"b")]);
        for _ in 0..10_000 {
            let number = slots.insert("d");
            slots.remove(number);
        }
        assert_eq!(slots.places.len(), 3);
    }
}

//! Values that repeat, each with how many rows it stands for.

/// Values in order, equal neighbours together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunLengths<T>(Vec<(T, usize)>);

impl<T> Default for RunLengths<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + PartialEq> RunLengths<T> {
    /// Adds one row.
    pub(crate) fn push(&mut self, value: T) {
        self.push_rows(value, 1);
    }

    /// Adds rows of one value.
    pub(crate) fn push_rows(&mut self, value: T, rows: usize) {
        match self.0.last_mut() {
            Some((last, total)) if *last == value => *total += rows,
            _ => self.0.push((value, rows)),
        }
    }

    /// Each value with its rows.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (T, usize)> + '_ {
        self.0.iter().copied()
    }

    /// The value of the last row.
    pub(crate) fn last(&self) -> Option<T> {
        self.0.last().map(|&(value, _)| value)
    }
}

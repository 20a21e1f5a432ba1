//! The last few of many: bounded in number and in bytes.

use std::collections::VecDeque;

/// Items with their sizes, oldest first. What does not fit makes the oldest go.
#[derive(Debug)]
pub(super) struct Recent<T> {
    items: VecDeque<(T, usize)>,
    max_count: usize,
    bytes: usize,
    max_bytes: usize,
}

impl<T> Recent<T> {
    /// At most `max_count` items of at most `max_bytes` together.
    pub(super) fn new(max_count: usize, max_bytes: usize) -> Self {
        Self { items: VecDeque::new(), max_count, bytes: 0, max_bytes }
    }

    /// Adds the newest item, which counts `bytes`. Gives the newest of those that had to go: the new
    /// one itself, if it is larger than all may be together.
    pub(super) fn push(&mut self, item: T, bytes: usize) -> Option<T> {
        self.items.push_back((item, bytes));
        self.bytes = self.bytes.saturating_add(bytes);
        let mut gone = None;
        while self.items.len() > self.max_count || self.bytes > self.max_bytes {
            let Some((item, bytes)) = self.items.pop_front() else { break };
            self.bytes -= bytes;
            gone = Some(item);
        }
        gone
    }

    /// All that are there, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.items.iter().map(|(item, _)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(recent: &Recent<u32>) -> Vec<u32> {
        recent.iter().copied().collect()
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_large_ones() {
        let mut recent = Recent::new(3, 10);
        for (item, bytes, gone, all) in [
            (1, 1, None, vec![1]),
            (2, 1, None, vec![1, 2]),
            (3, 1, None, vec![1, 2, 3]),
            (4, 1, Some(1), vec![2, 3, 4]),
            (5, 9, Some(3), vec![4, 5]),
            (6, 10, Some(5), vec![6]),
            (7, 11, Some(7), vec![]),
            (8, 10, None, vec![8]),
        ] {
            assert_eq!(recent.push(item, bytes), gone, "pushing {item}");
            assert_eq!(held(&recent), all, "after {item}");
        }
        let mut none = Recent::new(0, 10);
        assert_eq!((none.push(1, 1), held(&none)), (Some(1), vec![]));
    }
}

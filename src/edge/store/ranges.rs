//! A set of numbers that come nearly in their order.

use std::collections::BTreeMap;

/// Its members, as ranges: the first and the last.
#[derive(Debug, Default)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a number. Says whether it is new.
    pub fn insert(&mut self, n: u64) -> bool {
        if self.contains(n) {
            return false;
        }
        let last = n.checked_add(1).and_then(|next| self.0.remove(&next)).unwrap_or(n);
        let before = self.0.range(..n).next_back().map(|(first, last)| (*first, *last));
        match before {
            Some((first, end)) if end.checked_add(1) == Some(n) => self.0.insert(first, last),
            _ => self.0.insert(n, last),
        };
        true
    }

    /// Whether a number is in.
    pub fn contains(&self, n: u64) -> bool {
        self.0.range(..=n).next_back().is_some_and(|(_, last)| n <= *last)
    }

    /// Forgets all before a number.
    pub fn forget(&mut self, before: u64) {
        while let Some((first, last)) = self.0.pop_first() {
            if last >= before {
                self.0.insert(first.max(before), last);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    proptest::proptest! {
        #[test]
        fn they_are_a_set(numbers in proptest::collection::vec(0_u64..40, 0..80), before in 0_u64..40) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for n in numbers {
                assert_eq!(ranges.insert(n), set.insert(n));
            }
            assert!((0..41).all(|n| ranges.contains(n) == set.contains(&n)));
            let gaps = set.iter().filter(|n| !set.contains(&(**n + 1))).count();
            assert_eq!(ranges.0.len(), gaps);
            ranges.forget(before);
            assert!((0..41).all(|n| ranges.contains(n) == (n >= before && set.contains(&n))));
        }
    }
}

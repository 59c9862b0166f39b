//! How many lines are logged, whatever makes them.

use super::bucket::Bucket;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many kinds of lines are told apart.
const KINDS: usize = 4096;
/// How many kinds are named when lines were not written.
const NAMED: usize = 8;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// An error: there is room for it that nothing else takes.
    Error,
    /// A warning, or what is said in any case.
    Usual,
    /// What helps to find a fault: it leaves half of the room to the others.
    Detail,
}

/// What a line says, without its particulars, and of which domain; of none, that is empty.
pub type LineKind = (String, String);

/// Lines that were not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwritten {
    /// How many.
    pub lines: u64,
    /// Whether errors are among them.
    pub errors: bool,
    /// How many of which kind: the most frequent kinds.
    pub what: String,
}

/// Gives each line leave to be written. Of a rate of 100 lines a second, 20 are for errors alone, and one kind
/// of line about one domain has 5. When all was quiet, 500 lines may come at once, 100 of them errors, and 100
/// of one kind.
#[derive(Debug)]
pub struct Quota {
    rate: usize,
    errors: Bucket,
    all: Bucket,
    kinds: BTreeMap<LineKind, Bucket>,
    unwritten: BTreeMap<LineKind, u64>,
    /// Of kinds beyond [`KINDS`].
    others: u64,
    errors_unwritten: bool,
}

impl Quota {
    /// So many lines a second.
    #[must_use]
    pub fn new(rate: usize) -> Self {
        Self {
            rate,
            errors: Bucket::new(rate / 5, rate),
            all: Bucket::new(rate - rate / 5, rate.saturating_mul(4)),
            kinds: BTreeMap::new(),
            unwritten: BTreeMap::new(),
            others: 0,
            errors_unwritten: false,
        }
    }

    /// Whether a line may be written. One that may not is counted.
    pub fn take(&mut self, weight: Weight, kind: LineKind, now: Duration) -> bool {
        let taken = match weight {
            Weight::Error => self.errors.take(now) || self.all.take(now),
            Weight::Usual => self.take_kind(&kind, now) && self.all.take(now),
            Weight::Detail => !self.all.is_low(now) && self.all.take(now),
        };
        if !taken {
            self.errors_unwritten |= weight == Weight::Error;
            let room = self.unwritten.len() < KINDS || self.unwritten.contains_key(&kind);
            let count =
                if room { self.unwritten.entry(kind).or_default() } else { &mut self.others };
            *count += 1;
        }
        taken
    }

    fn take_kind(&mut self, kind: &LineKind, now: Duration) -> bool {
        if let Some(bucket) = self.kinds.get_mut(kind) {
            return bucket.take(now);
        }
        if self.kinds.len() >= KINDS {
            self.kinds.retain(|_, bucket| !bucket.is_full(now));
        }
        // So many at a time are kept apart by nothing but the limit of all.
        self.kinds.len() >= KINDS || {
            let bucket = Bucket::new(self.rate / 20, self.rate);
            self.kinds.entry(kind.clone()).or_insert(bucket).take(now)
        }
    }

    /// What has not been written since this was last asked.
    pub fn unwritten(&mut self) -> Option<Unwritten> {
        let kinds = std::mem::take(&mut self.unwritten);
        let lines = kinds.values().sum::<u64>() + std::mem::take(&mut self.others);
        let errors = std::mem::take(&mut self.errors_unwritten);
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        kinds.truncate(NAMED);
        let named: u64 = kinds.iter().map(|(_, count)| count).sum();
        let mut what: Vec<String> = kinds
            .iter()
            .map(|((what, domain), count)| match domain.as_str() {
                "" => format!("{what}: {count}"),
                domain => format!("{what} ({domain}): {count}"),
            })
            .collect();
        if lines > named {
            what.push(format!("others: {}", lines - named));
        }
        (lines > 0).then(|| Unwritten { lines, errors, what: what.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: usize = 100;

    fn kind(what: &str, domain: &str) -> LineKind {
        (what.to_owned(), domain.to_owned())
    }

    /// How many of a flood are taken: one of each millisecond, for so many seconds.
    fn taken(quota: &mut Quota, weight: Weight, seconds: u64, kinds: usize) -> usize {
        let line = |ms: u64| {
            let kind = kind("refused", &format!("vm-{}", ms as usize % kinds));
            quota.take(weight, kind, Duration::from_millis(ms))
        };
        (0..seconds * 1000).map(line).filter(|taken| *taken).count()
    }

    #[test]
    fn a_flood_is_bounded_whatever_it_is_of() {
        for weight in [Weight::Error, Weight::Usual, Weight::Detail] {
            for kinds in [1, 7, 5000] {
                let count = taken(&mut Quota::new(RATE), weight, 60, kinds);
                assert!(count <= 500 + 60 * 100, "{weight:?} of {kinds} kinds: {count}");
            }
        }
        let one = taken(&mut Quota::new(RATE), Weight::Usual, 60, 1);
        assert!((100..=100 + 60 * 5).contains(&one), "{one}");
    }

    #[test]
    fn no_flood_hides_an_error_and_details_hide_nothing() {
        let now = Duration::from_secs(60);
        let mut quota = Quota::new(RATE);
        for n in 0..2000 {
            quota.take(Weight::Usual, kind("refused", &format!("vm-{n}")), now);
        }
        assert!(!quota.take(Weight::Usual, kind("one more", ""), now));
        assert!(quota.take(Weight::Error, kind("the disk is full", ""), now));
        let mut quota = Quota::new(RATE);
        taken(&mut quota, Weight::Detail, 60, 5000);
        assert!(quota.take(Weight::Usual, kind("one more", ""), now));
        let mut quota = Quota::new(RATE);
        taken(&mut quota, Weight::Usual, 60, 1);
        assert!(quota.take(Weight::Usual, kind("refused", "vm-1"), now), "another domain's");
    }

    #[test]
    fn what_is_not_written_is_counted() {
        let mut quota = Quota::new(RATE);
        assert_eq!(quota.unwritten(), None);
        let written = taken(&mut quota, Weight::Usual, 10, 10) as u64;
        let told = quota.unwritten().unwrap();
        assert_eq!(told.lines, 10_000 - written);
        assert!(
            !told.errors && told.what.contains("refused (vm-") && told.what.contains("others: ")
        );
        assert_eq!(quota.unwritten(), None);
        let errors = taken(&mut quota, Weight::Error, 10, 1) as u64;
        let told = quota.unwritten().unwrap();
        assert_eq!((told.lines, told.errors), (10_000 - errors, true));
    }
}

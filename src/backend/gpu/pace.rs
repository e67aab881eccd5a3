//! How much work a submission may hold, so that a GPU answers often: browsers and operating systems reset one that does
//! not, and a page waits for its turn.
//!
//! What a device does in a second is measured as it works. Work is counted in units of about one multiply-add.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use web_time::Instant;

use crate::plan::Step;

/// Submissions under way at once: one that is computed, and one behind it.
const UNDER_WAY: usize = 2;
/// Seconds that a submission should take. No more than half again as much when the estimate is off.
const SUBMISSION: f64 = 0.1;
/// Seconds that a dispatch should take at most, if it can be cut in pieces.
const DISPATCH: f64 = 0.04;
/// The work of a submission before anything is known of the device: a tenth of a second in software, a millisecond on a
/// graphics card.
const FIRST: f64 = 2e8;
/// What a dispatch costs however little it computes.
const OVERHEAD: f64 = 1e5;

/// The work of a step, roughly: its multiply-adds, or for the others the numbers that they write.
pub(super) fn work(step: &Step) -> f64 {
    /// Steps without multiply-adds wait for memory.
    const ELEMENT: f64 = 10.0;

    let written: usize = step.outputs.iter().map(|operand| operand.shape.len()).sum();
    OVERHEAD + step.macs() as f64 + ELEMENT * written as f64
}

/// A submission that is under way.
struct Submission<T> {
    work: f64,
    begin: Instant,
    ticket: T,
}

/// The measure of a device. `T` is what tells when a submission is done.
pub(super) struct Pace<T> {
    /// Units of work a second, once it is known.
    rate: Cell<Option<f64>>,
    under_way: RefCell<VecDeque<Submission<T>>>,
    /// When the latest submission that is known to be done was done.
    done: Cell<Option<Instant>>,
}

impl<T> Pace<T> {
    pub(super) fn new() -> Self {
        Pace { rate: Cell::new(None), under_way: RefCell::default(), done: Cell::new(None) }
    }

    /// The work that a submission may hold.
    pub(super) fn submission(&self) -> f64 {
        self.rate.get().map_or(FIRST, |rate| rate * SUBMISSION)
    }

    /// Units of work a second, once it is known.
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate.get()
    }

    /// Into how many pieces a dispatch of this work is best cut.
    pub(super) fn pieces(&self, work: f64) -> usize {
        self.rate.get().map_or(1, |rate| (work / (rate * DISPATCH)).ceil().max(1.0) as usize)
    }

    /// How often work of this size fits a submission: 0 if it does not.
    pub(super) fn times(&self, work: f64) -> usize {
        match self.rate.get() {
            Some(_) => (self.submission() / work) as usize,
            // The first is by itself, to be measured.
            None => usize::from(work <= FIRST),
        }
    }

    /// Notes a submission.
    pub(super) fn begin(&self, work: f64, ticket: T) {
        self.under_way.borrow_mut().push_back(Submission { work, begin: Instant::now(), ticket });
    }

    /// The oldest submission, if another one must not be made before it is done: its work, when it began, and what tells
    /// that it is done.
    pub(super) fn must_wait(&self) -> Option<(f64, Instant, T)> {
        let mut under_way = self.under_way.borrow_mut();
        if under_way.len() < UNDER_WAY {
            return None;
        }
        under_way.pop_front().map(|Submission { work, begin, ticket }| (work, begin, ticket))
    }

    /// Learns from a submission that was begun and done at these times.
    pub(super) fn learn(&self, work: f64, begin: Instant, done: Instant) {
        /// Of the old estimate when the device turns out faster. It is given up at once when it turns out slower: a
        /// submission that is too long is worse than one that is too short.
        const KEPT: f64 = 0.7;
        /// Shorter measurements are of the submission, not of the work.
        const SHORTEST: f64 = 1e-4;

        // It was computed after the one before it.
        let from = self.done.get().map_or(begin, |before| before.max(begin));
        self.done.set(Some(done));
        let seconds = done.saturating_duration_since(from).as_secs_f64().max(SHORTEST);
        let rate = work / seconds;
        let rate = match self.rate.get() {
            Some(old) if rate > old => KEPT * old + (1.0 - KEPT) * rate,
            _ => rate,
        };
        self.rate.set(Some(rate));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn submissions_grow_and_shrink_with_the_device() {
        let pace: Pace<()> = Pace::new();
        assert_eq!(pace.submission(), FIRST);
        assert_eq!((pace.times(1e6), pace.times(1e9), pace.pieces(1e12)), (1, 0, 1), "nothing is known yet");
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        pace.learn(2e8, at(0), at(100));
        assert!((pace.submission() - 2e8).abs() < 1.0, "0.1 s at 2e9 a second");
        assert_eq!((pace.times(1.1e7), pace.times(3e8), pace.pieces(1e9)), (18, 0, 13));
        // Began while the one before it was computed: only what came after that counts.
        pace.learn(2e8, at(20), at(150));
        assert!((pace.submission() - (0.7 * 2e8 + 0.3 * 4e8)).abs() < 1.0, "faster: little by little");
        pace.learn(2e8, at(150), at(350));
        assert!((pace.submission() - 1e8).abs() < 1.0, "slower: at once");
    }

    #[test]
    fn two_are_under_way() {
        let pace = Pace::new();
        pace.begin(1.0, 'a');
        assert!(pace.must_wait().is_none());
        pace.begin(2.0, 'b');
        let (work, _, ticket) = pace.must_wait().unwrap();
        assert_eq!((work, ticket), (1.0, 'a'));
        assert!(pace.must_wait().is_none());
    }
}

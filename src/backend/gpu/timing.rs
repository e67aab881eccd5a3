//! How often a dispatch is measured, and which of the measurements is taken for its time.

/// As many as this are measured together at most: enough for anything that is worth timing.
const MOST: usize = 1 << 14;
/// Measurements of which the median counts, so that what else a machine does meanwhile does not.
const ROUNDS: usize = 3;
/// When those so far took this many times as long as one has to, two are enough, and the shorter one counts: a slow device
/// would take minutes for a network otherwise.
const LONG: f64 = 10.0;

/// The time of one dispatch, from how long several of them take one after another.
///
/// The first use of a pipeline may compile it, so the first measurement never counts. A submission by itself costs more than
/// most dispatches, and clocks are coarse: as many dispatches are measured together as take `least` seconds. One that was
/// disturbed may have seemed long enough, so a later one that is too short begins anew with more of them.
pub(super) struct Timing {
    least: f64,
    repeats: usize,
    warm: bool,
    /// Seconds of those of `repeats` dispatches, in ascending order.
    measured: Vec<f64>,
}

impl Timing {
    pub(super) fn new(least: f64) -> Self {
        Timing { least, repeats: 1, warm: false, measured: Vec::new() }
    }

    /// How many dispatches to measure together next.
    pub(super) fn repeats(&self) -> usize {
        self.repeats
    }

    /// Notes how many seconds they took: those of one dispatch, once they are known.
    pub(super) fn note(&mut self, seconds: f64) -> Option<f64> {
        if !std::mem::replace(&mut self.warm, true) {
            return None;
        }
        if seconds < self.least && self.repeats < MOST {
            let wanted = 1.2 * self.least / seconds.max(1e-9) * self.repeats as f64;
            self.repeats = (wanted as usize).clamp(2 * self.repeats, MOST);
            self.measured.clear();
            return None;
        }
        let shorter = self.measured.iter().take_while(|&&other| other < seconds).count();
        self.measured.insert(shorter, seconds);
        let long = self.measured.len() > 1 && self.measured.iter().sum::<f64>() >= LONG * self.least;
        if self.measured.len() < ROUNDS && !long {
            return None;
        }
        Some(self.measured[(self.measured.len() - 1) / 2] / self.repeats as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found of a dispatch of `seconds` with submissions of `overhead`, each delayed as the next of `delays` says,
    /// and how many dispatches that took.
    fn found(least: f64, seconds: f64, overhead: f64, delays: &[f64]) -> (f64, usize) {
        let (mut timing, mut delays, mut dispatches) = (Timing::new(least), delays.iter(), 0);
        loop {
            let repeats = timing.repeats();
            dispatches += repeats;
            assert!(dispatches <= 8 * MOST, "it comes to an end");
            let delay = delays.next().copied().unwrap_or(0.0);
            if let Some(found) = timing.note(overhead + repeats as f64 * seconds + delay) {
                return (found, dispatches);
            }
        }
    }

    #[test]
    fn neither_a_first_use_nor_a_disturbance_is_a_dispatchs_time() {
        let (undisturbed, dispatches) = found(5e-3, 20e-6, 100e-6, &[]);
        assert!((20e-6..21e-6).contains(&undisturbed) && dispatches < 2000, "{undisturbed}, {dispatches}");
        for place in 0..8 {
            let mut delays = [0.0; 8];
            delays[place] = 0.1;
            let (found, _) = found(5e-3, 20e-6, 100e-6, &delays);
            assert!((20e-6..21e-6).contains(&found), "{found} with a delay of measurement {place}");
        }
    }

    #[test]
    fn what_takes_long_is_measured_less_often_but_not_once() {
        assert_eq!(found(5e-3, 0.02, 0.0, &[0.3]), (0.02, 4));
        assert_eq!(found(5e-3, 0.5, 0.0, &[0.3]), (0.5, 3));
        assert_eq!(found(5e-3, 0.5, 0.0, &[0.3, 0.3]), (0.5, 3));
        assert_eq!(found(5e-3, 0.5, 0.0, &[0.3, 0.0, 0.3]), (0.5, 3));
    }

    #[test]
    fn what_takes_no_time_comes_to_an_end() {
        assert_eq!(found(5e-3, 0.0, 0.0, &[]).0, 0.0);
    }
}

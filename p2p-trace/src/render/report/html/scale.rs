//! The horizontal scale: teardowns last from microseconds to days, and have steps that follow each other within one.

/// Positions of moments. The gap between two moments has the width of the logarithm of its duration, so that steps in
/// quick succession stay distinct next to a wait of an hour.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    times: Vec<u64>,
    places: Vec<f64>,
    left: f64,
    right: f64,
}

impl Scale {
    /// A scale for these moments, between two positions.
    pub(super) fn new(mut times: Vec<u64>, left: f64, right: f64) -> Self {
        times.sort_unstable();
        times.dedup();
        let mut places = Vec::with_capacity(times.len());
        let mut place = 0.0;
        for (index, time) in times.iter().enumerate() {
            if let Some(before) = index.checked_sub(1).and_then(|before| times.get(before)) {
                let micros = (time - before) as f64 / 1000.0;
                place += 1.0 + micros.ln_1p() / std::f64::consts::LN_10;
            }
            places.push(place);
        }
        let width = right - left;
        for at in &mut places {
            *at = if place > 0.0 { left + *at / place * width } else { left + width / 2.0 };
        }
        Self { times, places, left, right }
    }

    /// The position of a moment. A moment outside of the scale is drawn at its edge.
    pub(super) fn place(&self, time_ns: u64) -> f64 {
        let next = self.times.partition_point(|&time| time < time_ns);
        match (next.checked_sub(1), self.times.get(next)) {
            (_, Some(&time)) if time == time_ns => self.places[next],
            (None, _) => self.left,
            (_, None) => self.right,
            (Some(before), Some(&after)) => {
                let (from, to) = (self.times[before], after);
                let share = (time_ns - from) as f64 / (to - from) as f64;
                self.places[before] + share * (self.places[next] - self.places[before])
            }
        }
    }

    /// The first moment on the scale.
    pub(super) fn first_ns(&self) -> u64 {
        self.times.first().copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_nothing_lies_outside() {
        let times = vec![5, 1_000, 1_001, 4_000_000_000, 4_000_000_001];
        let scale = Scale::new(times.clone(), 100.0, 800.0);
        let places: Vec<_> = times.iter().map(|&time| scale.place(time)).collect();
        assert!(places.is_sorted_by(|a, b| a + 20.0 < *b), "{places:?}");
        assert!((places[0] - 100.0).abs() < 0.01 && (places[4] - 800.0).abs() < 0.01);
        assert!((scale.place(0) - 100.0).abs() < 0.01);
        assert!((scale.place(u64::MAX) - 800.0).abs() < 0.01);
        let between = scale.place(2_000_000_000);
        assert!(between > places[2] && between < places[3]);
    }

    #[test]
    fn one_moment_or_none_has_a_place() {
        assert!((Scale::new(vec![7], 0.0, 10.0).place(7) - 5.0).abs() < 0.01);
        assert!(Scale::new(Vec::new(), 0.0, 10.0).place(7).is_finite());
    }
}

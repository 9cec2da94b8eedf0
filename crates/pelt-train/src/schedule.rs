//! Learning rate over time.

/// Linear warm-up from zero, then linear decay to zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearSchedule {
    /// The learning rate after warm-up.
    pub peak: f64,
    /// Steps of warm-up.
    pub warmup_steps: usize,
    /// All steps.
    pub total_steps: usize,
}

impl LinearSchedule {
    /// The rate of step `step`, counted from 0: `s/w` of the peak below `w`, else `(T-s)/(T-w)`.
    pub fn rate(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return self.peak * step as f64 / self.warmup_steps as f64;
        }
        let left = self.total_steps.saturating_sub(step) as f64;
        let span = self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        self.peak * left / span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_to_the_peak_and_falls_to_zero() {
        let schedule = LinearSchedule {
            peak: 2.0,
            warmup_steps: 2,
            total_steps: 6,
        };
        let rates: Vec<f64> = (0..7).map(|step| schedule.rate(step)).collect();
        assert_eq!(rates, [0.0, 1.0, 2.0, 1.5, 1.0, 0.5, 0.0]);
    }
}

//! Loss scaling, which keeps small gradients from vanishing in `f16` (arXiv 1710.03740).

use serde::{Deserialize, Serialize};

/// The first scale.
const FIRST: f64 = 65_536.0;
/// Steps without overflow after which the scale is doubled.
const PATIENCE: usize = 2000;

/// What the loss is multiplied by before the backward pass, and gradients are divided by after it. It is halved where
/// gradients overflow, and that step is left out; it is doubled after many steps without.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// A power of two, so that it changes no digit.
    pub scale: f64,
    /// Steps since it was changed.
    pub steps: usize,
}

impl LossScale {
    pub fn new() -> Self {
        Self {
            scale: FIRST,
            steps: 0,
        }
    }

    /// Takes note of a step whose gradients are finite or not. False if they are not even with the smallest scale.
    pub fn after(&mut self, finite: bool) -> bool {
        if !finite {
            self.steps = 0;
            self.scale /= 2.0;
            return self.scale >= 1.0;
        }
        self.steps += 1;
        if self.steps == PATIENCE {
            self.steps = 0;
            self.scale *= 2.0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_halves_on_overflow_and_doubles_after_many_good_steps() {
        let mut scale = LossScale::new();
        assert!(scale.after(false));
        assert_eq!(scale.scale, FIRST / 2.0);
        for _ in 0..PATIENCE - 1 {
            assert!(scale.after(true));
        }
        assert_eq!(scale.scale, FIRST / 2.0);
        assert!(scale.after(true));
        assert_eq!(scale.scale, FIRST);
    }

    #[test]
    fn a_loss_that_overflows_whatever_its_scale_is_given_up() {
        let mut scale = LossScale::new();
        let halvings = (0..100).take_while(|_| scale.after(false)).count();
        assert_eq!(halvings, 16);
    }
}

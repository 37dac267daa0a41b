//! A learning rate that falls when a metric no longer improves.

/// Lowers the learning rate when a metric has not improved for a while: PyTorch's `ReduceLROnPlateau`.
///
/// A plain value that holds its settings and what it has seen; its factor goes on top of a [`super::Schedule`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plateau {
    /// What the learning rate is multiplied by.
    pub gamma: f64,
    /// Observations without improvement that are borne; the next one lowers the rate.
    pub patience: usize,
    /// How much better counts as improvement, as a share of the best value.
    pub threshold: f64,
    /// Observations after a fall that do not count.
    pub cooldown: usize,
    /// The lowest factor.
    pub minimum: f64,
    /// Whether a larger metric is better, as of accuracy; else a smaller one is, as of a loss.
    pub larger_is_better: bool,
    /// The factor of the learning rate now.
    pub factor: f64,
    /// The best value seen.
    pub best: Option<f64>,
    /// Observations since then, or since the last fall.
    pub bad: usize,
    /// Observations that still do not count.
    pub cooling: usize,
}

impl Default for Plateau {
    /// PyTorch's defaults, for a loss.
    fn default() -> Self {
        Plateau {
            gamma: 0.1,
            patience: 10,
            threshold: 1e-4,
            cooldown: 0,
            minimum: 0.0,
            larger_is_better: false,
            factor: 1.0,
            best: None,
            bad: 0,
            cooling: 0,
        }
    }
}

impl Plateau {
    /// Takes note of the metric, once an epoch; gives the factor of the learning rate from here on.
    pub fn observe(&mut self, metric: f64) -> f64 {
        let better = match self.best {
            None => !metric.is_nan(),
            Some(best) if self.larger_is_better => metric > best * (1.0 + self.threshold),
            Some(best) => metric < best * (1.0 - self.threshold),
        };
        if better {
            self.best = Some(metric);
            self.bad = 0;
        } else {
            self.bad += 1;
        }
        if self.cooling > 0 {
            self.cooling -= 1;
            self.bad = 0;
        }
        if self.bad > self.patience {
            self.factor = (self.factor * self.gamma).max(self.minimum);
            self.cooling = self.cooldown;
            self.bad = 0;
        }
        self.factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PyTorch 2.15.0 makes of these metrics.
    #[test]
    fn the_factor_falls_as_that_of_pytorch() {
        // ReduceLROnPlateau(o, factor=0.5, patience=1, cooldown=2, min_lr=0.2, threshold=0.1)
        let mut plateau =
            Plateau { gamma: 0.5, patience: 1, cooldown: 2, minimum: 0.2, threshold: 0.1, ..Plateau::default() };
        let losses = [1.0, 0.95, 0.92, 0.5, 0.49, 0.48, 0.47, 0.46, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3];
        let factors = losses.map(|loss| plateau.observe(loss));
        assert_eq!(factors, [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2]);
        // ReduceLROnPlateau(o, mode='max', factor=0.1, patience=0)
        let mut plateau = Plateau { patience: 0, larger_is_better: true, ..Plateau::default() };
        let factors = [0.5, 0.6, 0.6, 0.7, 0.65].map(|accuracy| plateau.observe(accuracy));
        assert_eq!(factors[..4], [1.0, 1.0, 0.1, 0.1]);
        assert!((factors[4] - 0.01).abs() < 1e-15);
    }

    #[test]
    fn what_is_no_number_is_no_improvement() {
        let mut plateau = Plateau { patience: 1, ..Plateau::default() };
        let factors = [f64::NAN, 3.0, f64::NAN, f64::NAN].map(|loss| plateau.observe(loss));
        assert_eq!(factors, [1.0, 1.0, 1.0, 0.1]);
    }
}

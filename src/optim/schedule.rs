//! Learning-rate schedules: the factor of the learning rate at every step.
//!
//! A [`Schedule`] is a plain value on the host. It stretches over the steps that it is given: those of the run, or those of
//! its part of a sequence. After them its last value holds. Formulas are PyTorch's (`torch.optim.lr_scheduler`), with the
//! optimizer's learning rate as 1.

use std::f64::consts::PI;

/// A stretch of a schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Span {
    /// So many steps.
    Steps(usize),
    /// This share of all steps, rounded down.
    Share(f64),
}

impl Span {
    /// The length in steps where there are `steps` in all; at least 1.
    fn of(self, steps: usize) -> usize {
        let length = match self {
            Span::Steps(length) => length,
            Span::Share(share) => (share * steps as f64) as usize,
        };
        length.max(1)
    }
}

/// How the learning rate changes. In the formulas `t` is the step, counted from 0, and `T` the number of steps.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// Always this factor.
    Constant(f64),
    /// `(t + 1) / T`: up in a straight line, at 1 with the last step.
    WarmUp,
    /// `from + (to - from) · t / T` (`LinearLR`).
    Linear {
        /// The factor at first.
        from: f64,
        /// The factor at the end.
        to: f64,
    },
    /// `(1 - t / T)^power` (`PolynomialLR`).
    Polynomial {
        /// The power; 1 is a straight line.
        power: f64,
    },
    /// `gamma^⌊t / every⌋` (`StepLR`).
    Step {
        /// The distance between two falls.
        every: Span,
        /// What each multiplies.
        gamma: f64,
    },
    /// `gamma` to the power of the number of milestones passed (`MultiStepLR`).
    MultiStep {
        /// Where the factor falls.
        milestones: Vec<Span>,
        /// What each fall multiplies.
        gamma: f64,
    },
    /// `gamma^t` (`ExponentialLR`).
    Exponential {
        /// The factor of each step.
        gamma: f64,
    },
    /// `minimum + (1 - minimum) · (1 + cos(π · t / T)) / 2` (`CosineAnnealingLR`; Loshchilov & Hutter 2017,
    /// arXiv 1608.03983).
    Cosine {
        /// The factor at the end.
        minimum: f64,
    },
    /// The cosine of [`Schedule::Cosine`] again and again (`CosineAnnealingWarmRestarts`).
    CosineRestarts {
        /// The length of the first.
        first: Span,
        /// How many times as long as the one before each is.
        growth: usize,
        /// The factor at the end of each.
        minimum: f64,
    },
    /// From `start` up to 1 along half a cosine, then down to `end` along another (`OneCycleLR` of a constant momentum;
    /// Smith & Topin 2018, arXiv 1708.07120).
    OneCycle {
        /// The share of the way up; PyTorch's is 0.3.
        rise: f64,
        /// The factor at first; PyTorch's is 1/25.
        start: f64,
        /// The factor at the end; PyTorch's is 1/250,000.
        end: f64,
    },
    /// Schedules one after the other, each for its span; the last gets the steps that are left (`SequentialLR`).
    Sequence {
        /// All but the last.
        parts: Vec<(Span, Schedule)>,
        /// The last.
        last: Box<Schedule>,
    },
    /// The product of the factors (`ChainedScheduler`).
    Product(Vec<Schedule>),
}

impl Default for Schedule {
    /// [`Schedule::WarmUp`] over a tenth of the run, then [`Schedule::Cosine`] down to 0.
    fn default() -> Self {
        Schedule::Cosine { minimum: 0.0 }.after(Span::Share(0.1), Schedule::WarmUp)
    }
}

impl Schedule {
    /// This schedule after a span of `first`.
    #[must_use]
    pub fn after(self, span: Span, first: Schedule) -> Schedule {
        Schedule::Sequence { parts: vec![(span, first)], last: Box::new(self) }
    }

    /// The factor of the learning rate at `step`, counted from 0, of `steps`.
    pub fn factor(&self, step: usize, steps: usize) -> f64 {
        let progress = (step as f64 / steps.max(1) as f64).min(1.0);
        match self {
            Schedule::Constant(factor) => *factor,
            Schedule::WarmUp => ((step + 1) as f64 / steps.max(1) as f64).min(1.0),
            Schedule::Linear { from, to } => from + (to - from) * progress,
            Schedule::Polynomial { power } => (1.0 - progress).powf(*power),
            Schedule::Step { every, gamma } => gamma.powf((step / every.of(steps)) as f64),
            Schedule::MultiStep { milestones, gamma } => {
                let passed = milestones.iter().filter(|milestone| milestone.of(steps) <= step);
                gamma.powf(passed.count() as f64)
            }
            Schedule::Exponential { gamma } => gamma.powf(step as f64),
            Schedule::Cosine { minimum } => cosine(1.0, *minimum, progress),
            Schedule::CosineRestarts { first, growth, minimum } => {
                let (mut begin, mut length) = (0, first.of(steps));
                while step - begin >= length {
                    begin += length;
                    length *= (*growth).max(1);
                }
                cosine(1.0, *minimum, (step - begin) as f64 / length as f64)
            }
            Schedule::OneCycle { rise, start, end } => {
                let (top, last) = (rise * steps as f64 - 1.0, steps as f64 - 1.0);
                let step = step as f64;
                if step <= top {
                    cosine(*start, 1.0, step / top.max(1.0))
                } else {
                    cosine(1.0, *end, ((step - top) / (last - top).max(1.0)).min(1.0))
                }
            }
            Schedule::Sequence { parts, last } => {
                let mut begin = 0;
                for (span, part) in parts {
                    let length = span.of(steps);
                    if step < begin + length {
                        return part.factor(step - begin, length);
                    }
                    begin += length;
                }
                last.factor(step - begin, steps.saturating_sub(begin))
            }
            Schedule::Product(factors) => factors.iter().map(|schedule| schedule.factor(step, steps)).product(),
        }
    }
}

/// From `from` to `to` along half a cosine.
fn cosine(from: f64, to: f64, progress: f64) -> f64 {
    to + (from - to) / 2.0 * (1.0 + (PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: usize = 12;

    fn one_cycle() -> Schedule {
        Schedule::OneCycle { rise: 0.3, start: 1.0 / 25.0, end: 1.0 / 250_000.0 }
    }

    /// What PyTorch 2.15.0 gives over twelve steps, with a learning rate of 1 and the scheduler stepped after each.
    #[test]
    fn schedules_are_those_of_pytorch() {
        let linear = || Schedule::Linear { from: 0.25, to: 1.0 };
        let table: [(Schedule, [f64; STEPS]); 10] = [
            // LinearLR(o, 0.25, 1.0, 12)
            (linear(), [0.25, 0.3125, 0.375, 0.4375, 0.5, 0.5625, 0.625, 0.6875, 0.75, 0.8125, 0.875, 0.9375]),
            // PolynomialLR(o, 12, 2.0)
            (
                Schedule::Polynomial { power: 2.0 },
                [
                    1.0,
                    0.840277778,
                    0.694444444,
                    0.5625,
                    0.444444444,
                    0.340277778,
                    0.25,
                    0.173611111,
                    0.111111111,
                    0.0625,
                    0.027777778,
                    0.006944444,
                ],
            ),
            // StepLR(o, 5, 0.5)
            (
                Schedule::Step { every: Span::Steps(5), gamma: 0.5 },
                [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25],
            ),
            // MultiStepLR(o, [3, 4, 10], 0.5)
            (
                Schedule::MultiStep { milestones: [3, 4, 10].map(Span::Steps).to_vec(), gamma: 0.5 },
                [1.0, 1.0, 1.0, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.125, 0.125],
            ),
            // ExponentialLR(o, 0.9)
            (
                Schedule::Exponential { gamma: 0.9 },
                [
                    1.0,
                    0.9,
                    0.81,
                    0.729,
                    0.6561,
                    0.59049,
                    0.531441,
                    0.4782969,
                    0.43046721,
                    0.387420489,
                    0.348678440,
                    0.313810596,
                ],
            ),
            // CosineAnnealingLR(o, 12, 0.1)
            (
                Schedule::Cosine { minimum: 0.1 },
                [
                    1.0,
                    0.984666622,
                    0.939711432,
                    0.868198052,
                    0.775,
                    0.666468570,
                    0.55,
                    0.433531430,
                    0.325,
                    0.231801948,
                    0.160288568,
                    0.115333378,
                ],
            ),
            // CosineAnnealingWarmRestarts(o, 3, 2, 0.1)
            (
                Schedule::CosineRestarts { first: Span::Steps(3), growth: 2, minimum: 0.1 },
                [1.0, 0.775, 0.325, 1.0, 0.939711432, 0.775, 0.55, 0.325, 0.160288568, 1.0, 0.984666622, 0.939711432],
            ),
            // OneCycleLR(o, max_lr=1.0, total_steps=12, cycle_momentum=False)
            (
                one_cycle(),
                [
                    0.04,
                    0.349789654,
                    0.879285159,
                    0.994415435,
                    0.933012970,
                    0.811745654,
                    0.647378998,
                    0.462637103,
                    0.283060998,
                    0.133477530,
                    0.034566987,
                    0.000004,
                ],
            ),
            // SequentialLR(o, [LinearLR(o, 0.25, 1.0, 4), CosineAnnealingLR(o, 8)], [4])
            (
                Schedule::Cosine { minimum: 0.0 }.after(Span::Steps(4), linear()),
                [
                    0.25,
                    0.4375,
                    0.625,
                    0.8125,
                    1.0,
                    0.961939766,
                    0.853553391,
                    0.691341716,
                    0.5,
                    0.308658284,
                    0.146446609,
                    0.038060234,
                ],
            ),
            // ChainedScheduler([LinearLR(o, 0.25, 1.0, 12), ExponentialLR(o, 0.9)])
            (
                Schedule::Product(vec![linear(), Schedule::Exponential { gamma: 0.9 }]),
                [
                    0.25,
                    0.28125,
                    0.30375,
                    0.3189375,
                    0.32805,
                    0.332150625,
                    0.332150625,
                    0.328829119,
                    0.322850407,
                    0.314779147,
                    0.305093635,
                    0.294197434,
                ],
            ),
        ];
        for (schedule, expected) in table {
            for (step, expected) in expected.into_iter().enumerate() {
                let factor = schedule.factor(step, STEPS);
                assert!((factor - expected).abs() < 1e-9, "{schedule:?} at {step}: {factor}, not {expected}");
            }
        }
    }

    #[test]
    fn the_default_warms_up_and_comes_down() {
        let schedule = Schedule::default();
        let first: Vec<f64> = (0..5).map(|step| schedule.factor(step, 40)).collect();
        assert_eq!(first, [0.25, 0.5, 0.75, 1.0, 1.0]);
        let half_way = schedule.factor(22, 40);
        assert!((half_way - 0.5).abs() < 1e-12, "{half_way}");
        assert!((1..40).all(|step| step < 5 || schedule.factor(step, 40) < schedule.factor(step - 1, 40)));
    }

    #[test]
    fn the_last_value_holds_and_nothing_divides_by_zero() {
        let schedules = [
            Schedule::Constant(0.3),
            Schedule::WarmUp,
            Schedule::Linear { from: 0.0, to: 0.5 },
            Schedule::Polynomial { power: 0.5 },
            Schedule::Cosine { minimum: 0.2 },
            Schedule::CosineRestarts { first: Span::Share(0.0), growth: 0, minimum: 0.0 },
            Schedule::Step { every: Span::Share(0.01), gamma: 0.9 },
            one_cycle(),
            Schedule::default(),
        ];
        for schedule in schedules {
            for steps in [0, 1, 2, 3] {
                for step in 0..5 {
                    let factor = schedule.factor(step, steps);
                    assert!((0.0..=1.0).contains(&factor), "{schedule:?} at {step} of {steps}: {factor}");
                }
            }
        }
        let ends = [Schedule::Linear { from: 0.0, to: 0.5 }, Schedule::Cosine { minimum: 0.2 }, one_cycle()];
        assert_eq!(ends.map(|schedule| schedule.factor(99, 10)), [0.5, 0.2, 1.0 / 250_000.0]);
    }
}

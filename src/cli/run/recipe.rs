//! How `train` changes the weights: the optimizer, what goes around it, and the schedule of its learning rate.

use clap::{Args, ValueEnum};
use neuropil::optim::{Adam, Lion, NAdam, Optimizer, Plateau, RmsProp, Schedule, Sgd, Span};
use neuropil::train::Settings;

use super::super::{at_least_one, positive};

/// How the weights are changed.
#[derive(Args)]
pub struct Recipe {
    /// The rule of updates
    #[arg(long, value_enum, default_value = "adamw", value_name = "NAME")]
    optimizer: Rule,
    /// The largest learning rate
    #[arg(long, value_name = "RATE", default_value_t = Settings::LEARNING_RATE)]
    #[arg(value_parser = positive, allow_negative_numbers = true)]
    pub learning_rate: f64,
    /// The share of every weight that is taken off it, in units of the learning rate
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, value_parser = share, allow_negative_numbers = true)]
    weight_decay: f64,
    /// With --optimizer sgd: the share of the last direction that is kept
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, value_parser = share, allow_negative_numbers = true)]
    momentum: f64,
    /// How the learning rate changes over the run: cosine (up over the first tenth, then down to 0), one-cycle, linear
    /// (down to 0), step (to a tenth after each third), constant, or plateau (to a tenth when the test loss no longer falls)
    #[arg(long, value_enum, default_value = "cosine", value_name = "NAME", hide_possible_values = true)]
    schedule: Course,
    /// With --schedule plateau: the epochs without improvement that are borne
    #[arg(long, value_name = "EPOCHS", default_value_t = 3, value_parser = super::super::whole::<usize>)]
    patience: usize,
    /// Stop after so many epochs in a row that are no better than the best before, by the test loss
    #[arg(long, value_name = "EPOCHS", value_parser = at_least_one, allow_negative_numbers = true)]
    early_stop: Option<usize>,
    /// Limit the norm of the gradient of all weights to this
    #[arg(long, value_name = "NORM", value_parser = positive, allow_negative_numbers = true)]
    clip_norm: Option<f64>,
    /// Change the weights after so many batches, with the mean of their gradients
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one, allow_negative_numbers = true)]
    accumulate: usize,
    /// Keep a moving average of the weights, and test and save that; the share of the old average, such as 0.999
    #[arg(long, value_name = "DECAY", value_parser = share, allow_negative_numbers = true)]
    ema: Option<f64>,
    /// The share of every label that is spread over all classes
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share, allow_negative_numbers = true)]
    label_smoothing: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rule {
    Adamw,
    Adam,
    Nadam,
    Sgd,
    Rmsprop,
    Lion,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Course {
    Cosine,
    OneCycle,
    Linear,
    Step,
    Constant,
    Plateau,
}

impl Recipe {
    /// `settings` with all of it.
    pub fn apply(&self, settings: Settings) -> Settings {
        let plateau = Plateau { patience: self.patience, ..Plateau::default() };
        Settings {
            optimizer: self.optimizer(),
            schedule: self.schedule(),
            plateau: (self.schedule == Course::Plateau).then_some(plateau),
            early_stop: self.early_stop,
            label_smoothing: self.label_smoothing,
            ..settings
        }
    }

    fn optimizer(&self) -> Box<dyn Optimizer> {
        let (rate, weight_decay) = (self.learning_rate, self.weight_decay);
        let mut optimizer: Box<dyn Optimizer> = match self.optimizer {
            Rule::Adamw => Box::new(Adam::decoupled(rate, weight_decay)),
            Rule::Adam => Box::new(Adam { weight_decay, ..Adam::new(rate) }),
            Rule::Nadam => Box::new(NAdam { weight_decay, ..NAdam::new(rate) }),
            Rule::Sgd => Box::new(Sgd { weight_decay, ..Sgd::new(rate).momentum(self.momentum) }),
            Rule::Rmsprop => Box::new(RmsProp { weight_decay, ..RmsProp::new(rate) }),
            Rule::Lion => Box::new(Lion { weight_decay, ..Lion::new(rate) }),
        };
        if let Some(limit) = self.clip_norm {
            optimizer = Box::new(optimizer.clip_norm(limit));
        }
        if let Some(decay) = self.ema {
            optimizer = Box::new(optimizer.averaged(decay));
        }
        if self.accumulate > 1 {
            optimizer = Box::new(optimizer.accumulate(self.accumulate));
        }
        optimizer
    }

    fn schedule(&self) -> Schedule {
        match self.schedule {
            Course::Cosine => Schedule::default(),
            Course::OneCycle => Schedule::OneCycle { rise: 0.3, start: 1.0 / 25.0, end: 1.0 / 250_000.0 },
            Course::Linear => Schedule::Linear { from: 1.0, to: 0.0 },
            Course::Step => Schedule::Step { every: Span::Share(1.0 / 3.0), gamma: 0.1 },
            Course::Constant | Course::Plateau => Schedule::Constant(1.0),
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| (0.0..1.0).contains(number));
    number.ok_or_else(|| "give a number from 0 to below 1".to_owned())
}

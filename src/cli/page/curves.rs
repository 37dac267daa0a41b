//! The curves of a run, and its epochs.

use neuropil::Error;
use neuropil::train::{Epoch, Metrics, Progress, Settings};
use serde::Serialize;

use super::super::drawing::{Chart, Line, chart};
use super::super::output::percent;

/// How many points the curve of the learning rate has.
const POINTS: usize = 200;

/// What a run did.
#[derive(Serialize)]
pub struct Curves {
    /// The charts, as SVG with their names.
    charts: Vec<(&'static str, String)>,
    rows: Vec<Row>,
}

/// An epoch.
#[derive(Serialize)]
struct Row {
    best: bool,
    cells: [String; 6],
}

impl Curves {
    /// Those of a run with these settings that has come so far; `rate` is the largest learning rate, if it is known.
    ///
    /// # Errors
    /// When a template is wrong.
    pub fn of(progress: &Progress, settings: &Settings, rate: Option<f64>) -> Result<Self, Error> {
        let best = progress.best().map(|epoch| epoch.number);
        let rows: Vec<Row> = progress.epochs.iter().map(|epoch| row(epoch, best)).collect();
        let mut charts = Vec::new();
        if !rows.is_empty() {
            let percent = |share: f64| format!("{} %", (100.0 * share * 1e6).round() / 1e6);
            charts.push(("Loss", metric("Loss", progress, |metrics| metrics.loss, &|loss| plain(loss))?));
            charts.push(("Accuracy", metric("Accuracy", progress, |metrics| metrics.accuracy, &percent)?));
            if let Some(rate) = rate {
                let points = rates(progress, settings, rate);
                let lines = vec![Line { class: "train", points }];
                let drawn = Chart { name: "Learning rate", across: "epoch", lines, text: &|rate| plain(rate) };
                charts.push(("Learning rate", chart(&drawn)?));
            }
        }
        Ok(Curves { charts, rows })
    }
}

/// The learning rate over the steps done.
fn rates(progress: &Progress, settings: &Settings, rate: f64) -> Vec<(f64, f64)> {
    let runs = settings.optimizer.runs_per_step().max(1);
    let all = progress.steps_per_epoch * settings.epochs;
    // What the plateau had made of it after each epoch.
    let mut plateau = settings.plateau;
    let mut factors = vec![1.0];
    for epoch in &progress.epochs {
        factors.push(plateau.as_mut().map_or(1.0, |plateau| plateau.observe(epoch.judged().loss)));
    }
    let count = POINTS.min(progress.steps.max(1));
    let point = |i: usize| {
        let step = i * progress.steps / count;
        let factor = settings.schedule.factor(step / runs, all.div_ceil(runs));
        let epoch = step / progress.steps_per_epoch.max(1);
        (step as f64 / progress.steps_per_epoch.max(1) as f64, rate * factor * factors[epoch.min(factors.len() - 1)])
    };
    (0..count).map(point).collect()
}

fn metric(
    name: &'static str,
    progress: &Progress,
    value: fn(&Metrics) -> f64,
    text: &dyn Fn(f64) -> String,
) -> Result<String, Error> {
    let epochs = &progress.epochs;
    let train = epochs.iter().map(|epoch| (epoch.number as f64, value(&epoch.train))).collect();
    let test = epochs.iter().filter_map(|epoch| Some((epoch.number as f64, value(epoch.test.as_ref()?)))).collect();
    let lines = vec![Line { class: "train", points: train }, Line { class: "test", points: test }];
    chart(&Chart { name, across: "epoch", lines, text })
}

/// A round number without the digits that arithmetic adds.
fn plain(number: f64) -> String {
    let text = format!("{:.6}", number);
    match text.trim_end_matches('0').trim_end_matches('.') {
        "0" | "-0" | "" if number != 0.0 => format!("{number:.0e}"),
        "" | "-0" => "0".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

fn row(epoch: &Epoch, best: Option<usize>) -> Row {
    let of_test = |text: fn(Metrics) -> String| epoch.test.map(text).unwrap_or_default();
    Row {
        best: best == Some(epoch.number),
        cells: [
            epoch.number.to_string(),
            format!("{:.4}", epoch.train.loss),
            percent(epoch.train.accuracy),
            of_test(|test| format!("{:.4}", test.loss)),
            of_test(|test| percent(test.accuracy)),
            format!("{:.1}", epoch.seconds),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use neuropil::optim::{Plateau, Schedule};

    #[test]
    fn the_learning_rate_is_that_of_schedule_and_plateau() {
        let metrics = Metrics { loss: 1.0, accuracy: 0.5, samples: 1 };
        let epoch = |number| Epoch { number, train: metrics, test: None, waited: 0.0, seconds: 1.0 };
        let progress = Progress {
            steps: 6,
            steps_per_epoch: 2,
            epochs: vec![epoch(1), epoch(2), epoch(3)],
            ..Progress::default()
        };
        let settings = Settings {
            epochs: 4,
            schedule: Schedule::Constant(0.5),
            plateau: Some(Plateau { patience: 0, gamma: 0.1, ..Plateau::default() }),
            ..Settings::default()
        };
        let rates = rates(&progress, &settings, 2.0);
        let expected = [(0.0, 1.0), (0.5, 1.0), (1.0, 1.0), (1.5, 1.0), (2.0, 0.1), (2.5, 0.1)];
        assert!(rates.iter().zip(expected).all(|(a, b)| (a.0 - b.0).abs() + (a.1 - b.1).abs() < 1e-9), "{rates:?}");
        assert_eq!([plain(0.30000000000000004), plain(0.0), plain(2e-9), plain(120.0)], ["0.3", "0", "2e-9", "120"]);
    }
}

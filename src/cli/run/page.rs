//! `report.html`: the curves of a run, its epochs and its options, on a page that needs no other file.
//!
//! Data sets and folders may have any name, so all text is escaped by the template engine. Before: `folder` writes it after
//! every epoch.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use neuropil::train::{Epoch, Metrics, Progress};
use neuropil::{Error, ErrorKind};
use serde::Serialize;

use super::super::output::percent;
use super::config::Config;

/// The size of a chart, and the margin that keeps lines off its border.
const SIZE: [f64; 2] = [600.0, 240.0];
const MARGIN: f64 = 8.0;

/// A chart with one or two lines.
#[derive(Serialize)]
struct Chart {
    name: &'static str,
    low: String,
    high: String,
    train: String,
    test: String,
}

/// An epoch.
#[derive(Serialize)]
struct Row {
    best: bool,
    cells: [String; 6],
}

/// The page of the run called `title`.
///
/// # Errors
/// When the template is wrong.
pub fn html(title: &str, config: &Config, progress: &Progress) -> Result<String, Error> {
    let best = progress.best().map(|epoch| epoch.number);
    let rows: Vec<Row> = progress.epochs.iter().map(|epoch| row(epoch, best)).collect();
    let charts = [
        chart("Loss", progress, |metrics| metrics.loss, |value| format!("{value:.4}")),
        chart("Accuracy", progress, |metrics| metrics.accuracy, percent),
    ];
    let summary = match progress.best() {
        Some(epoch) => format!(
            "{} epochs so far; the best is epoch {}, with a loss of {:.4} and an accuracy of {}",
            rows.len(),
            epoch.number,
            epoch.judged().loss,
            percent(epoch.judged().accuracy)
        ),
        None => "no epoch so far".to_owned(),
    };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_trim_blocks(true);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let page = context! { title, summary, charts, rows, options => config.pairs() };
    environment
        .render_named_str("report.html", include_str!("report.html"), page)
        .map_err(|e| Error::new(ErrorKind::Format, format!("the template of the report: {e}")))
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

fn chart(name: &'static str, progress: &Progress, value: fn(&Metrics) -> f64, text: impl Fn(f64) -> String) -> Chart {
    let train: Vec<Option<f64>> = progress.epochs.iter().map(|epoch| Some(value(&epoch.train))).collect();
    let test: Vec<Option<f64>> = progress.epochs.iter().map(|epoch| epoch.test.as_ref().map(value)).collect();
    let finite = || train.iter().chain(&test).flatten().copied().filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let line = |values: &[Option<f64>]| {
        let place = |(index, value): (usize, &Option<f64>)| {
            let value = value.filter(|value| value.is_finite())?;
            let across = index as f64 / (values.len() - 1).max(1) as f64;
            let up = if high > low { (value - low) / (high - low) } else { 0.5 };
            let at = |share: f64, size: f64| MARGIN + share * (size - 2.0 * MARGIN);
            Some(format!("{:.1},{:.1}", at(across, SIZE[0]), at(1.0 - up, SIZE[1])))
        };
        values.iter().enumerate().filter_map(place).collect::<Vec<_>>().join(" ")
    };
    Chart { name, low: text(low), high: text(high), train: line(&train), test: line(&test) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(losses: &[f64]) -> Progress {
        let metrics = |loss| Metrics { loss, accuracy: 0.5, samples: 4 };
        let epoch = |(index, &loss): (usize, &f64)| Epoch {
            number: index + 1,
            train: metrics(loss),
            test: Some(metrics(loss + 1.0)),
            waited: 0.0,
            seconds: 1.0,
        };
        Progress { epochs: losses.iter().enumerate().map(epoch).collect(), ..Progress::default() }
    }

    #[test]
    fn curves_fill_the_chart_and_names_are_escaped() {
        let mut config = Config::default();
        config.set("dataset", "<b>&");
        let page = html("a <run>", &config, &progress(&[2.0, 1.0, 0.0])).unwrap();
        assert!(page.contains("<h1>a &lt;run&gt;</h1>") && page.contains("&lt;b&gt;&amp;"), "{page}");
        // From 3 at the top to 0 at the bottom.
        assert!(page.contains(r#"<polyline class="test" points="8.0,8.0 300.0,82.7 592.0,157.3"/>"#), "{page}");
        assert!(page.contains(r#"<polyline points="8.0,82.7 300.0,157.3 592.0,232.0"/>"#), "{page}");
        assert!(page.contains("the best is epoch 3, with a loss of 1.0000"), "{page}");
        assert_eq!(page.matches("class=\"best\"").count(), 1);
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        assert!(html("x", &Config::default(), &progress(&[])).unwrap().contains("no epoch so far"));
        let page = html("x", &Config::default(), &progress(&[1.0, f64::INFINITY])).unwrap();
        assert!(!page.contains("NaN") && page.contains(r#"points="8.0,232.0""#), "{page}");
    }
}

//! `neuropil evaluate`: how well a saved network does on the test images of a data set.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use neuropil::data::Dataset;
use neuropil::nn::models;
use neuropil::train::Confusion;
use serde_json::{Value, json};

use super::model::Saved;
use super::output::{Output, Record, device_line, percent, rounded};
use super::page::{Page, Results, machine};
use super::run::folder::write_text;
use super::{Common, Stop};

/// Among how many of the likeliest classes the right one is looked for too.
const TOP: usize = 3;

/// What `evaluate` takes.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    saved: Saved,
    /// Write a page with confusions, mistakes, filters and the network to this file
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

/// Prints loss, accuracy, and precision and recall of every class.
pub fn run(Arguments { saved, report }: &Arguments, common: &Common, output: &Output) -> Result<(), Stop> {
    let file = saved.read()?;
    let test = saved.test_images(&file)?;
    let device = common.open_device()?;
    let mut trainer = saved.open(&file, &device)?;
    output.text(device_line(&device))?;

    let start = Instant::now();
    let metrics = trainer.evaluate(&test)?;
    let predictions = trainer.predictions(&test)?;
    let (confusion, top) = (predictions.confusion(), predictions.accuracy(TOP));
    let seconds = start.elapsed().as_secs_f64();
    print_classes(&confusion, &test, output)?;
    let (name, images, loss, accuracy) = (test.name(), metrics.samples, metrics.loss, percent(metrics.accuracy));
    let text = format!(
        "{name}: {accuracy} of {images} test images are right, {} among the first {TOP} guesses, loss {loss:.4}",
        percent(top)
    );
    if let Some(path) = report {
        let results = Results::of(&mut trainer, &test, &predictions)?;
        let title = models::title(&file.info.model);
        let mut page = Page {
            title: format!("{title} on {name}"),
            lead: text.clone(),
            results: Some(results),
            machine: machine(&device),
            ..Page::default()
        };
        page.draw(&file.info.model, &trainer.summary()?)?;
        write_text(path, &page.html()?)?;
    }
    let record = Record::event("done")
        .with_device(&device)
        .with("dataset", test.name())
        .with("images", metrics.samples)
        .with_number("loss", metrics.loss)
        .with_number("accuracy", metrics.accuracy)
        .with_number("top3_accuracy", top)
        .with("classes", classes(&confusion, &test))
        .with("confusion", counts(&confusion))
        .with_number("seconds", seconds);
    Ok(output.emit(&record, format_args!("{text} ({seconds:.2} s)"))?)
}

/// A line a class.
fn print_classes(confusion: &Confusion, test: &Dataset, output: &Output) -> Result<(), Stop> {
    let names = test.class_names();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("class".len());
    output.text(format_args!("{:width$}  precision    recall        F1  images", "class"))?;
    for (class, name) in names.iter().enumerate() {
        let text = |share: Option<f64>| share.map_or("-".to_owned(), percent);
        let [precision, recall, f1] =
            [confusion.precision(class), confusion.recall(class), confusion.f1(class)].map(text);
        let images = confusion.support(class);
        output.text(format_args!("{name:width$}  {precision:>9} {recall:>9} {f1:>9}  {images:>6}"))?;
    }
    Ok(())
}

fn classes(confusion: &Confusion, test: &Dataset) -> Vec<Value> {
    let class = |(class, name): (usize, &String)| {
        json!({
            "class": name,
            "precision": confusion.precision(class).map(rounded),
            "recall": confusion.recall(class).map(rounded),
            "f1": confusion.f1(class).map(rounded),
            "images": confusion.support(class),
        })
    };
    test.class_names().iter().enumerate().map(class).collect()
}

/// By class and guess.
fn counts(confusion: &Confusion) -> Vec<Vec<usize>> {
    let classes = 0..confusion.classes();
    classes.clone().map(|label| classes.clone().map(|guess| confusion.count(label, guess)).collect()).collect()
}

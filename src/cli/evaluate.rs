//! `neuropil evaluate`: how well a saved network does on the test images of a data set.

use std::time::Instant;

use clap::Args;

use super::model::Saved;
use super::output::{Output, Record, device_line, percent};
use super::{Common, Stop};

/// What `evaluate` takes.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    saved: Saved,
}

/// Prints loss and accuracy.
pub fn run(Arguments { saved }: &Arguments, common: &Common, output: &Output) -> Result<(), Stop> {
    let file = saved.read()?;
    let test = saved.test_images(&file)?;
    let device = common.open_device()?;
    let mut trainer = saved.open(&file, &device)?;
    output.text(device_line(&device))?;

    let start = Instant::now();
    let metrics = trainer.evaluate(&test)?;
    let seconds = start.elapsed().as_secs_f64();
    let record = Record::event("done")
        .with_device(&device)
        .with("dataset", test.name())
        .with("images", metrics.samples)
        .with_number("loss", metrics.loss)
        .with_number("accuracy", metrics.accuracy)
        .with_number("seconds", seconds);
    let (name, images, loss, accuracy) = (test.name(), metrics.samples, metrics.loss, percent(metrics.accuracy));
    let text = format_args!("{name}: {accuracy} of {images} test images are right, loss {loss:.4} ({seconds:.2} s)");
    Ok(output.emit(&record, text)?)
}

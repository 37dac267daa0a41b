//! `neuropil train`: trains a network on a data set, tests it after every epoch, and saves it.

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use clap::builder::PossibleValuesParser;
use neuropil::data::Dataset;
use neuropil::nn::models;
use neuropil::train::{Augmentation, Epoch, ModelFile, ModelInfo, Settings, Trainer};
use neuropil::{Device, Error, ErrorKind, Precision};

use super::model::shape_text;
use super::output::{Output, Record, counted, device_line, device_name, percent};
use super::source::{Choice, DatasetName, Source};
use super::tuning::TuningArguments;
use super::{Common, Stop, at_least_one, whole};

/// What `train` takes.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// The network [default: small_cnn, mlp for tables and other images too small for it]
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(models::NAMES))]
    model: Option<String>,
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true, help = epochs_help())]
    epochs: Option<usize>,
    /// Images a step
    #[arg(long, value_name = "N", default_value_t = Settings::default().batch_size)]
    #[arg(value_parser = at_least_one, allow_negative_numbers = true)]
    batch_size: usize,
    /// Random changes of training images, such as flip,shift=4: flip (left to right), rotate=DEGREES, shift=PIXELS (a crop of
    /// the image with a border), brightness=SHARE, contrast=SHARE, cutout=PIXELS (a square is left out), mixup=NUMBER (pairs
    /// are mixed, with shares of this Beta distribution)
    #[arg(long, value_name = "CHANGES", default_value = "none")]
    augment: Augmentation,
    /// Let every class come equally often, however many images it has
    #[arg(long)]
    balanced: bool,
    /// The largest learning rate; it rises to it and falls to zero
    #[arg(long, value_name = "RATE", default_value_t = Settings::LEARNING_RATE)]
    #[arg(value_parser = positive, allow_negative_numbers = true)]
    learning_rate: f64,
    /// How activations are stored: f32, or mixed for f16 where that is safe (half the memory; needs shader-f16 of a GPU)
    #[arg(long, value_name = "f32|mixed", default_value = "f32", value_parser = precision)]
    precision: Precision,
    /// Fixes the first weights, the order of the images and dropout
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u64>, allow_negative_numbers = true)]
    seed: u64,
    /// Start from the weights in this file, which an earlier `train --save` wrote
    #[arg(long, value_name = "FILE.safetensors")]
    from: Option<PathBuf>,
    /// With --from: what starts anew all the same, such as a head for other classes; * stands for any text
    #[arg(long, value_name = "PATTERN", requires = "from")]
    new: Vec<String>,
    /// Parameters that do not change, such as 'block*'; * stands for any text
    #[arg(long, value_name = "PATTERN")]
    freeze: Vec<String>,
    /// Keep the trained network in this file
    #[arg(long, value_name = "FILE.safetensors")]
    save: Option<PathBuf>,
    /// Replay every N-th step on the reference, and stop at the first operation that computes something wrong
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    verify: Option<usize>,
    /// Stop at the first NaN or infinity that reaches the loss or a weight, and say which operation made it (slow)
    #[arg(long)]
    detect_nonfinite: bool,
    #[command(flatten)]
    tuning: TuningArguments,
    /// Print only the result
    #[arg(long)]
    quiet: bool,
}

/// From how many training images on a data set is large.
const LARGE: usize = 20_000;
/// The passes over a large data set.
const EPOCHS_OF_LARGE: usize = 5;

fn epochs_help() -> String {
    let epochs = Settings::default().epochs;
    format!("Passes over the training images [default: {epochs}, of more than {LARGE} images {EPOCHS_OF_LARGE}]")
}

fn precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "mixed" => Ok(Precision::Mixed),
        _ => Err("give f32 or mixed".to_owned()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "give a number above 0".to_owned())
}

impl Arguments {
    /// The network for images `[H, W, C]` of `shape`.
    fn model_for(&self, [height, width, _]: [usize; 3]) -> &str {
        /// What two halvings leave something of.
        const LEAST: usize = 4;
        let default = if height.min(width) < LEAST { "mlp" } else { models::NAMES[0] };
        self.model.as_deref().unwrap_or(default)
    }

    /// The settings for `images` training images.
    fn settings(&self, images: usize) -> Settings {
        let default = Settings::default();
        let epochs = if images > LARGE { EPOCHS_OF_LARGE } else { default.epochs };
        Settings {
            epochs: self.epochs.unwrap_or(epochs),
            batch_size: self.batch_size,
            precision: self.precision,
            augmentation: self.augment,
            balanced: self.balanced,
            seed: self.seed,
            ..default.learning_rate(self.learning_rate)
        }
    }
}

/// Trains, prints every epoch, saves.
pub fn run(arguments: &Arguments, common: &Common, output: &Output) -> Result<(), Stop> {
    let choice = arguments.source.dataset.clone().unwrap_or(Choice::Known(DatasetName::Digits));
    let (train, test) = arguments.source.load(&choice)?;
    if let Some(path) = &arguments.save {
        check_writable(path)?;
    }
    let device = arguments.tuning.apply(common.open_device()?)?;
    let start = Instant::now();
    let model_name = arguments.model_for(train.image_shape());
    let model = models::by_name(model_name, train.classes())?;
    let mut trainer = Trainer::new(&device, model, train.image_shape(), arguments.settings(train.len()));
    if let Some(path) = &arguments.from {
        let new: Vec<&str> = arguments.new.iter().map(String::as_str).collect();
        trainer.start_from(&ModelFile::load(path)?.weights, &new)?;
    } else {
        trainer.normalize(&train.normalization()?)?;
    }
    for pattern in &arguments.freeze {
        trainer.freeze(pattern)?;
    }
    trainer.verify(arguments.verify.unwrap_or(0));
    trainer.detect_nonfinite(arguments.detect_nonfinite);
    trainer.train_program(arguments.batch_size.min(train.len()))?;
    if !arguments.quiet {
        print_start(arguments, &trainer, (&train, &test), &device, output)?;
    }

    let epochs = fit(&mut trainer, (&train, &test), arguments.quiet, output);
    arguments.tuning.keep(&device)?;
    let epochs = epochs?;
    let Some(Epoch { number, test: Some(last), .. }) = epochs.last() else {
        return Err(Error::new(ErrorKind::Config, "no epoch was trained").into());
    };
    if let Some(path) = &arguments.save {
        let info = ModelInfo {
            model: model_name.to_owned(),
            class_names: train.class_names().to_vec(),
            image_shape: train.image_shape(),
            dataset: choice.saved(&train),
        };
        ModelFile { info, weights: trainer.store().weights()? }.save(path)?;
    }

    let seconds = start.elapsed().as_secs_f64();
    let record = Record::event("done").with("device", device.name()).with("epochs", *number);
    let record = record.with_number("test_accuracy", last.accuracy).with_number("test_loss", last.loss);
    let saved = arguments.save.as_ref().map(|path| path.display().to_string());
    let record = record.with_number("seconds", seconds).with("saved", saved.clone());
    let saved = saved.map_or(String::new(), |path| format!("; saved in {path}"));
    let accuracy = percent(last.accuracy);
    let device = device_name(&device);
    let epochs = counted(*number, "epoch");
    let text = format_args!("test accuracy {accuracy} after {epochs}, {seconds:.1} s on {device}{saved}");
    Ok(output.emit(&record, text)?)
}

/// Fails before the training rather than after it, if there can be no file `path`.
fn check_writable(path: &Path) -> Result<(), Error> {
    let probe = path.with_file_name(format!(".neuropil-{}.tmp", std::process::id()));
    let written = match path.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => File::create_new(&probe).and_then(|_| fs::remove_file(&probe)),
    };
    written.map_err(|e| {
        let text = format!("--save {}: {e}; name a file in a folder that can be written to", path.display());
        Error::new(ErrorKind::Io, text)
    })
}

fn print_start(
    arguments: &Arguments,
    trainer: &Trainer,
    (train, test): (&Dataset, &Dataset),
    device: &Device,
    output: &Output,
) -> io::Result<()> {
    let Settings { epochs, batch_size, seed, .. } = trainer.settings();
    let learning_rate = arguments.learning_rate;
    let (model, parameters) = (arguments.model_for(train.image_shape()), trainer.store().parameter_count());
    let record = Record::event("start")
        .with_device(device)
        .with("dataset", train.name())
        .with("train_images", train.len())
        .with("test_images", test.len())
        .with("model", model)
        .with("parameters", parameters)
        .with("epochs", *epochs)
        .with("batch_size", *batch_size)
        .with("learning_rate", learning_rate)
        .with("seed", *seed);
    output.record(&record)?;

    output.text(device_line(device))?;
    let (name, shape) = (train.name(), shape_text(train.image_shape()));
    let (train, test, classes) = (train.len(), test.len(), train.classes());
    output.text(format_args!("{name}: {train} training and {test} test images of {shape}, {classes} classes"))?;
    output.text(format_args!(
        "{model}: {parameters} parameters; batches of {batch_size}, learning rate {learning_rate}, seed {seed}"
    ))
}

/// Trains with a line an epoch, unless `quiet`.
fn fit(
    trainer: &mut Trainer,
    (train, test): (&Dataset, &Dataset),
    quiet: bool,
    output: &Output,
) -> Result<Vec<Epoch>, Stop> {
    let Settings { epochs, batch_size, .. } = *trainer.settings();
    let progress = (!quiet).then(|| output.progress(epochs * train.len().div_ceil(batch_size), "steps"));
    let on_step = |done, _| {
        if let Some(progress) = &progress {
            progress.set(done);
        }
    };
    let mut printed = Ok(());
    let done = trainer.fit_with_steps(train, Some(test), on_step, |epoch| {
        if !quiet {
            printed = print_epoch(epoch, epochs, output);
        }
        if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(printed.map(|()| done)?)
}

fn print_epoch(epoch: &Epoch, epochs: usize, output: &Output) -> io::Result<()> {
    let Epoch { number, train, test, seconds, waited } = *epoch;
    let test = test.unwrap_or_default();
    // The time is that of training and testing, so are the images.
    let speed = (train.samples + test.samples) as f64 / seconds;
    let record = Record::event("epoch")
        .with("epoch", number)
        .with_number("loss", train.loss)
        .with_number("train_accuracy", train.accuracy)
        .with_number("test_loss", test.loss)
        .with_number("test_accuracy", test.accuracy)
        .with_number("seconds", seconds)
        .with_number("images_per_second", speed)
        .with_number("wait_share", waited / seconds);
    let width = epochs.to_string().len();
    let text = format_args!(
        "epoch {number:width$}/{epochs}  loss {:.4}  accuracy {:>8}  test loss {:.4}  test accuracy {:>8}  {seconds:.2} s  {speed:.0} images/s  {:.0} % waiting for images",
        train.loss,
        percent(train.accuracy),
        test.loss,
        percent(test.accuracy),
        100.0 * waited / seconds
    );
    output.emit(&record, text)
}

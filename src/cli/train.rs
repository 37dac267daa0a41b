//! `neuropil train`: trains a network on a data set, tests it after every epoch, and saves it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use neuropil::data::Dataset;
use neuropil::nn::models;
use neuropil::train::{Augmentation, Epoch, ModelFile, ModelInfo, Settings, Trainer};
use neuropil::{Device, Error, ErrorKind, Precision};

use super::batch_size::{BatchSize, room};
use super::model::shape_text;
use super::output::{Output, Record, counted, device_line, device_name, percent};
use super::page::Results;
use super::run::RunArguments;
use super::run::config::Config;
use super::run::folder::Folder;
use super::run::recipe::Recipe;
use super::run::screen::{Heading, Screen};
use super::run::watch::{Times, Watch, interrupts};
use super::source::{Choice, DatasetName, Source};
use super::tuning::TuningArguments;
use super::{Common, Stop, at_least_one, network, whole};

/// What `train` takes.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    #[arg(long, value_name = "NAME|FILE.toml", value_parser = network::parse, help = model_help())]
    model: Option<String>,
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true, help = epochs_help())]
    epochs: Option<usize>,
    /// Images a step; auto takes the largest power of two that fits the memory and leaves an epoch 20 steps (the learning
    /// rate stays as it is)
    #[arg(long, value_name = "N|auto", default_value_t = BatchSize::Images(Settings::default().batch_size))]
    #[arg(allow_negative_numbers = true)]
    batch_size: BatchSize,
    #[command(flatten)]
    recipe: Recipe,
    /// Random changes of training images, such as flip,shift=4: flip (left to right), rotate=DEGREES, shift=PIXELS (a crop of
    /// the image with a border), brightness=SHARE, contrast=SHARE, cutout=PIXELS (a square is left out), mixup=NUMBER (pairs
    /// are mixed, with shares of this Beta distribution)
    #[arg(long, value_name = "CHANGES", default_value = "none")]
    augment: Augmentation,
    /// Let every class come equally often, however many images it has
    #[arg(long)]
    balanced: bool,
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
    #[command(flatten)]
    keeping: RunArguments,
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
    /// Show curves of loss and accuracy on the whole terminal while it trains
    #[arg(long, conflicts_with_all = ["quiet", "json"])]
    tui: bool,
}

/// From how many training images on a data set is large.
const LARGE: usize = 20_000;
/// The passes over a large data set.
const EPOCHS_OF_LARGE: usize = 5;

fn epochs_help() -> String {
    let epochs = Settings::default().epochs;
    format!("Passes over the training images [default: {epochs}, of more than {LARGE} images {EPOCHS_OF_LARGE}]")
}

fn model_help() -> String {
    format!(
        "The network: {}, or a file that describes one, see docs/models.md [default: small_cnn, mlp for tables and other images \
         too small for it]",
        models::NAMES.join(", ")
    )
}

fn precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "mixed" => Ok(Precision::Mixed),
        _ => Err("give f32 or mixed".to_owned()),
    }
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
        self.recipe.apply(Settings {
            epochs: self.epochs.unwrap_or(epochs),
            batch_size: self.batch_size.images().unwrap_or(default.batch_size),
            precision: self.precision,
            augmentation: self.augment,
            balanced: self.balanced,
            seed: self.seed,
            ..default
        })
    }
}

/// Trains, prints every epoch, saves.
pub fn run(arguments: &Arguments, config: Config, common: &Common, output: &Output) -> Result<(), Stop> {
    let choice = arguments.source.dataset.clone().unwrap_or(Choice::Known(DatasetName::Digits));
    let (train, test) = arguments.source.load(&choice)?;
    if let Some(path) = &arguments.save {
        check_writable(path)?;
    }
    let start = Instant::now();
    let settings = arguments.settings(train.len());
    let keeping = &arguments.keeping;
    let resumed = keeping.resume.as_ref().map(|path| Folder::open(path, keeping.keep)).transpose()?;
    let device = arguments.tuning.apply(common.open_device()?, resumed.as_ref())?;
    let model_name = arguments.model_for(train.image_shape());
    let model = models::by_name(model_name, train.classes())?;
    let mut trainer = Trainer::new(&device, model, train.image_shape(), settings);
    if arguments.batch_size == BatchSize::Auto {
        trainer.choose_batch_size(train.len(), room(&device))?;
    }
    let folder = match (&keeping.run, resumed) {
        (Some(path), _) => {
            let mut config = complete(config, &choice, trainer.settings(), &device)?;
            if let Some(model) = &arguments.model {
                config.set("model", model.as_str());
            }
            Some(Folder::create(path, &config, keeping.keep)?)
        }
        (None, resumed) => resumed,
    };
    let last = if keeping.resume.is_some() { folder.as_ref().map(Folder::last).transpose()?.flatten() } else { None };
    if let (None, Some(path)) = (&last, &arguments.from) {
        let new: Vec<&str> = arguments.new.iter().map(String::as_str).collect();
        trainer.start_from(&ModelFile::load(path)?.weights, &new)?;
    } else {
        trainer.normalize(&train.normalization()?)?;
    }
    network::prepare(&mut trainer, model_name, &train, arguments.from.is_none() && last.is_none())?;
    for pattern in &arguments.freeze {
        trainer.freeze(pattern)?;
    }
    trainer.verify(arguments.verify.unwrap_or(0));
    trainer.detect_nonfinite(arguments.detect_nonfinite);
    trainer.train_program(trainer.settings().batch_size.min(train.len()))?;
    let info = ModelInfo {
        model: model_name.to_owned(),
        class_names: train.class_names().to_vec(),
        image_shape: train.image_shape(),
        dataset: choice.saved(&train),
    };
    if let Some(last) = &last {
        // Only a run that may end early goes back to it; others go on whatever has become of that file.
        let early = folder.as_ref().filter(|_| trainer.settings().early_stop.is_some());
        let best = early.map(|folder| folder.best(&last.progress)).transpose()?.flatten();
        trainer.restore(last, best.as_ref())?;
        // It may have been killed between a checkpoint and this.
        if let Some(folder) = &folder {
            folder.write_metrics(&trainer, &info, None).map_err(|error| folder.with_remedy(&error))?;
        }
    }
    if !arguments.quiet {
        print_start(arguments, &trainer, (&train, &test), &device, output)?;
    }

    let kept = folder.as_ref().map(|folder| (folder, &info));
    let epochs = fit(&mut trainer, (&train, &test), kept, arguments, output);
    // What a run goes on with may be what there was no time to measure.
    if keeping.resume.is_none() {
        arguments.tuning.keep(&device)?;
    }
    let epochs = epochs?;
    // A run that ended early has gone back to its best epoch.
    let result = if trainer.stops_early() { trainer.progress().best() } else { epochs.last() };
    let Some(&Epoch { number, test: Some(last), .. }) = result else {
        return Err(Error::new(ErrorKind::Config, "no epoch was trained").into());
    };
    let mut saved = Vec::new();
    if arguments.save.is_some() || folder.is_some() {
        let file = ModelFile { info: info.clone(), weights: trainer.store().weights()? };
        if let Some(path) = &arguments.save {
            file.save(path)?;
            saved.push(path.display().to_string());
        }
        if let Some(folder) = &folder {
            let path = folder.write_model(&file).map_err(|error| folder.with_remedy(&error))?;
            saved.push(path.display().to_string());
            let predictions = trainer.predictions(&test)?;
            let results = Results::of(&mut trainer, &test, &predictions)?;
            folder.write_metrics(&trainer, &info, Some(results)).map_err(|error| folder.with_remedy(&error))?;
        }
    }

    let seconds = start.elapsed().as_secs_f64();
    let record = Record::event("done").with("device", device.name()).with("epochs", epochs.len());
    let record = record.with("epoch", number);
    let record = record.with_number("test_accuracy", last.accuracy).with_number("test_loss", last.loss);
    let record = record.with_number("seconds", seconds).with("saved", saved.first().cloned());
    let saved = if saved.is_empty() { String::new() } else { format!("; saved in {}", saved.join(" and ")) };
    let accuracy = percent(last.accuracy);
    let device = device_name(&device);
    let best = if number < epochs.len() { format!(" (that of epoch {number}, the best)") } else { String::new() };
    let epochs = counted(epochs.len(), "epoch");
    let text = format_args!("test accuracy {accuracy} after {epochs}{best}, {seconds:.1} s on {device}{saved}");
    Ok(output.emit(&record, text)?)
}

/// The config of the run: what depends on data and device is what it came to.
fn complete(mut config: Config, choice: &Choice, settings: &Settings, device: &Device) -> Result<Config, Error> {
    let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    config.set("dataset", choice.to_text()?);
    config.set("epochs", whole(settings.epochs));
    config.set("batch-size", whole(settings.batch_size));
    config.set("device", device.name());
    Ok(config)
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
    let learning_rate = arguments.recipe.learning_rate;
    let model = models::title(arguments.model_for(train.image_shape()));
    let parameters = trainer.store().parameter_count();
    let record = Record::event("start")
        .with_device(device)
        .with("dataset", train.name())
        .with("train_images", train.len())
        .with("test_images", test.len())
        .with("model", model.as_str())
        .with("parameters", parameters)
        .with("epochs", *epochs)
        .with("batch_size", *batch_size)
        .with("learning_rate", learning_rate)
        .with("seed", *seed)
        .with("steps_done", trainer.progress().steps);
    output.record(&record)?;

    output.text(device_line(device))?;
    let (name, shape) = (train.name(), shape_text(train.image_shape()));
    let (train, test, classes) = (train.len(), test.len(), train.classes());
    output.text(format_args!("{name}: {train} training and {test} test images of {shape}, {classes} classes"))?;
    output.text(format_args!(
        "{model}: {parameters} parameters; batches of {batch_size}, learning rate {learning_rate}, seed {seed}"
    ))?;
    match trainer.progress().steps {
        0 => Ok(()),
        done => output.text(format_args!("goes on after step {done}")),
    }
}

/// Trains with a line an epoch, unless it shall be quiet. Keeps the run in a folder, if it has one.
fn fit(
    trainer: &mut Trainer,
    (train, test): (&Dataset, &Dataset),
    kept: Option<(&Folder, &ModelInfo)>,
    arguments: &Arguments,
    output: &Output,
) -> Result<Vec<Epoch>, Stop> {
    let Settings { epochs, batch_size, .. } = *trainer.settings();
    let quiet = arguments.quiet;
    let keeping = &arguments.keeping;
    let before = trainer.progress().epochs.len();
    let screen = if arguments.tui { screen(trainer, train, kept.is_some(), arguments)? } else { None };
    let has_screen = screen.is_some();
    let mut watch = Watch {
        progress: (!quiet && !has_screen).then(|| output.progress(epochs * train.len().div_ceil(batch_size), "steps")),
        screen,
        print: &mut |epoch| if quiet { Ok(()) } else { print_epoch(epoch, epochs, output) },
        folder: kept,
        times: Times {
            steps: keeping.checkpoint_every,
            age: Duration::try_from_secs_f64(60.0 * keeping.checkpoint_minutes).unwrap_or(Duration::MAX),
        },
        saved: Instant::now(),
        events: kept.filter(|_| keeping.tensorboard).map(|(folder, _)| folder.events(trainer)).transpose()?,
        interrupted: kept.map(|_| interrupts()).transpose()?.unwrap_or_default(),
        unprinted: None,
    };
    let done = trainer.fit_with(train, Some(test), &mut watch);
    let (interrupted, unprinted) = (watch.interrupted.clone(), watch.unprinted.take());
    drop(watch);
    if has_screen {
        // What the screen showed is gone with it.
        for epoch in trainer.progress().epochs.iter().skip(before) {
            print_epoch(epoch, epochs, output)?;
        }
    }
    let done = match (done, kept) {
        (Err(error), Some((folder, _))) => return Err(folder.with_remedy(&error).into()),
        (done, _) => done?,
    };
    if let Some(error) = unprinted {
        return Err(error.into());
    }
    let complete = done.len() == epochs || trainer.stops_early();
    if interrupted.load(Ordering::Relaxed) && !complete {
        let steps = trainer.progress().steps;
        let resume = kept.map(|(folder, _)| folder.resume_command());
        let text = match &resume {
            Some(command) => format!("stopped and saved after step {steps}; `{command}` goes on"),
            None => format!("stopped after step {steps}; only a run with --run is kept"),
        };
        output.emit(&Record::event("stopped").with("steps", steps).with("resume", resume), text)?;
        return Err(Stop::Interrupted);
    }
    Ok(done)
}

/// The terminal for curves; where it cannot be had, a word says why.
fn screen(trainer: &Trainer, train: &Dataset, is_kept: bool, arguments: &Arguments) -> Result<Option<Screen>, Error> {
    if let Some(obstacle) = Screen::obstacle() {
        eprintln!("--tui: {obstacle}; a line an epoch is printed instead");
        return Ok(None);
    }
    let Settings { epochs, batch_size, .. } = *trainer.settings();
    let device = device_name(trainer.store().device());
    let heading = Heading {
        title: format!("{} on {}, {device}", arguments.model_for(train.image_shape()), train.name()),
        steps_per_epoch: train.len().div_ceil(batch_size.min(train.len())),
        epochs,
        batch_size,
        quits: if is_kept { "stops and saves" } else { "stops; nothing is kept without --run" },
    };
    Screen::open(heading, trainer).map(Some)
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

//! The loop: epochs, batches, evaluation, prediction.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use super::metrics::{self, Metrics};
use super::progress::{DataPrint, Progress, damaged};
use super::watch::Watch;
use super::{ModelFile, Monitor, normalization};
use crate::array::Array;
use crate::data::augment::Augmentation;
use crate::data::{Batch, Dataset, Loader, Mixed, Normalization, Plan, balanced, shuffle};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Leaf;
use crate::loss::cross_entropy;
use crate::nn::parameters::{Parameter, parameters};
use crate::nn::{Module, Summary};
use crate::optim::{Adam, LossScale, Optimizer, Plateau, RATE_FACTOR, Schedule};
use crate::program::{Mode, Program};
use crate::store::Store;
use crate::tensor::{AVERAGE_STEPS, Precision, Tensor, Trace, matches};

/// What a run is made of.
pub struct Settings {
    /// Passes over the training set.
    pub epochs: usize,
    /// Samples a step.
    pub batch_size: usize,
    /// The rule of updates, with its learning rate.
    pub optimizer: Box<dyn Optimizer>,
    /// How the learning rate changes over the run.
    pub schedule: Schedule,
    /// Lowers the learning rate further when the loss no longer falls: that of the test set, or else of the training set.
    pub plateau: Option<Plateau>,
    /// Ends the run after so many epochs in a row that were no better than the best before them, by the loss of the test set,
    /// or else of the training set; the weights are then those of the best.
    pub early_stop: Option<usize>,
    /// The share of the target that is spread over all classes.
    pub label_smoothing: f64,
    /// Random changes of images.
    pub augmentation: Augmentation,
    /// Whether every class comes equally often, however many images it has.
    pub balanced: bool,
    /// How activations are stored; mixed precision comes with loss scaling.
    pub precision: Precision,
    /// Fixes initial values, order, dropout and augmentation.
    pub seed: u64,
}

impl Settings {
    /// The learning rate of the default optimizer.
    pub const LEARNING_RATE: f64 = 2e-3;

    /// The same settings with the default optimizer at another learning rate.
    #[must_use]
    pub fn learning_rate(self, learning_rate: f64) -> Self {
        Settings { optimizer: Settings::default_optimizer(learning_rate), ..self }
    }

    fn default_optimizer(learning_rate: f64) -> Box<dyn Optimizer> {
        Box::new(Adam::decoupled(learning_rate, 0.01))
    }
}

impl Default for Settings {
    /// AdamW at [`Settings::LEARNING_RATE`] with weight decay 0.01, a warm-up and a cosine, batches of 64, 20 epochs.
    fn default() -> Self {
        Settings {
            epochs: 20,
            batch_size: 64,
            optimizer: Settings::default_optimizer(Settings::LEARNING_RATE),
            schedule: Schedule::default(),
            plateau: None,
            early_stop: None,
            label_smoothing: 0.0,
            augmentation: Augmentation::default(),
            balanced: false,
            precision: Precision::F32,
            seed: 0,
        }
    }
}

/// What an epoch gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// Counted from 1.
    pub number: usize,
    /// On the training set, while it changed.
    pub train: Metrics,
    /// On the test set afterwards, if there is one.
    pub test: Option<Metrics>,
    /// Wall-clock time of training and testing.
    pub seconds: f64,
    /// The part of it in which training waited for images to be read and changed.
    pub waited: f64,
}

impl Epoch {
    /// By what the epoch is judged: the test set, or else the training set.
    pub fn judged(&self) -> Metrics {
        self.test.unwrap_or(self.train)
    }
}

/// A model in training, or after it.
pub struct Trainer {
    store: Store,
    model: Arc<dyn Module>,
    settings: Settings,
    image_shape: [usize; 3],
    /// Whether images are taken relative to the mean and the deviation that the store has.
    normalized: bool,
    train_programs: BTreeMap<usize, Program>,
    /// By batch size, and whether they compute with the averages of the parameters.
    evaluate_programs: BTreeMap<(usize, bool), Program>,
    predict_programs: BTreeMap<(usize, bool), Program>,
    /// The most samples a step of evaluation that have not failed to fit.
    evaluation_batch: usize,
    watch: Watch,
    progress: Progress,
    /// The weights after the best epoch, where the run may end early and go back to them.
    best: Option<BTreeMap<String, Array>>,
    /// Whether the next fit goes on from `progress`, rather than from the beginning.
    continues: bool,
}

impl Trainer {
    /// Samples a step of evaluation, unless so many do not fit the device.
    pub const EVALUATION_BATCH: usize = 256;

    /// A new model for images `[H, W, C]` on `device`, with initial weights. The model's output must be logits
    /// `[N, classes]`.
    pub fn new(device: &Device, model: impl Module + 'static, image_shape: [usize; 3], settings: Settings) -> Self {
        Trainer {
            store: Store::new(device, settings.seed),
            model: Arc::new(model),
            settings,
            image_shape,
            normalized: false,
            train_programs: BTreeMap::new(),
            evaluate_programs: BTreeMap::new(),
            predict_programs: BTreeMap::new(),
            evaluation_batch: Self::EVALUATION_BATCH,
            watch: Watch::default(),
            progress: Progress::default(),
            best: None,
            continues: false,
        }
    }

    /// A trained model on `device`, ready to predict, evaluate or train on.
    ///
    /// # Errors
    /// When the file names an unknown network, or its weights are not of that network.
    pub fn open(device: &Device, file: &ModelFile, settings: Settings) -> Result<Self> {
        let model = file.network()?;
        let mut trainer = Trainer::new(device, model, file.info.image_shape, settings);
        trainer.start_from(&file.weights, &[])?;
        Ok(trainer)
    }

    /// Starts from given weights instead of initial ones: all of them, or for fine-tuning all but what fits a pattern of
    /// `new`, such as a head for other classes (`&["head.*"]`). Gives the names that keep their initial values. What shall
    /// not change is frozen ([`Trainer::freeze`]).
    ///
    /// # Errors
    /// As [`Store::set_weights_except`].
    pub fn start_from(&mut self, weights: &BTreeMap<String, Array>, new: &[&str]) -> Result<Vec<String>> {
        if normalization::is_in(weights) {
            self.normalized = true;
            self.forget_programs();
        }
        self.predict_program(1, weights.contains_key(AVERAGE_STEPS))?;
        self.store.set_weights_except(weights, new)
    }

    /// Takes images relative to these means and deviations of their channels, in training, evaluation and prediction alike.
    /// They are states of the store, and saved with the weights; [`Trainer::start_from`] takes over those of the weights.
    ///
    /// # Errors
    /// When there are not as many as channels, or the model does not fit the device.
    pub fn normalize(&mut self, normalization: &Normalization) -> Result<()> {
        normalization::check(normalization, self.image_shape[2])?;
        self.normalized = true;
        self.forget_programs();
        self.predict_program(1, false)?;
        normalization::set(&self.store, normalization)
    }

    /// Lets every program be compiled anew.
    pub(super) fn forget_programs(&mut self) {
        self.train_programs.clear();
        self.evaluate_programs.clear();
        self.predict_programs.clear();
    }

    /// Keeps the parameters whose names fit `pattern` (`*` stands for any text) as they are, in steps compiled from now on.
    /// Batch norm's running statistics follow the data all the same.
    ///
    /// # Errors
    /// When no parameter has such a name.
    pub fn freeze(&mut self, pattern: &str) -> Result<()> {
        self.predict_program(1, false)?;
        let parameters = self.store.names(Leaf::Parameter);
        if !parameters.iter().any(|(name, _)| matches(pattern, name)) {
            let known: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).take(12).collect();
            let text = format!("freeze: no parameter is called {pattern:?}; there are {}", known.join(", "));
            return Err(Error::new(ErrorKind::Config, text));
        }
        self.store.freeze(pattern);
        Ok(())
    }

    /// Replays every `every`-th step, the first included, on the reference in `f64`, from the same state and with the same
    /// batch (0: none). The first operation that differs beyond rounding is an error that names it and its layer, and leaves
    /// parameters and states as they were before the step. The numbers of the run stay the same, bit for bit; a step that
    /// is replayed takes as long as plain loops on one core take.
    pub fn verify(&mut self, every: usize) {
        self.watch.verify_every = every;
    }

    /// Whether to look at every result of every step, and stop at the first NaN or infinity that reaches the loss or an
    /// update with an error that names the operation and the layer where it began. Parameters and states are then as they
    /// were before the step. Steps take several times as long.
    pub fn detect_nonfinite(&mut self, detect: bool) {
        self.watch.non_finite = detect;
    }

    /// The parameters and states.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// `[H, W, C]` of the images that the model takes.
    pub fn image_shape(&self) -> [usize; 3] {
        self.image_shape
    }

    /// What the model is made of, layer by layer.
    ///
    /// # Errors
    /// The first mistake in the shapes.
    pub fn summary(&self) -> Result<Summary> {
        Summary::of(self.model.as_ref(), self.image_shape)
    }

    /// The parameters and states of the model, in the order in which it declares them.
    pub(super) fn declared(&self) -> Result<Vec<Parameter>> {
        parameters(self.model.as_ref(), self.image_shape)
    }

    /// What the run is made of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn set_batch_size(&mut self, batch_size: usize) {
        self.settings.batch_size = batch_size;
    }

    /// How far the run has come, or had come when it ended.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The metrics of the epoch under way; waits for the device.
    ///
    /// # Errors
    /// When no step was taken yet, or the device is lost.
    pub fn metrics(&self) -> Result<Metrics> {
        metrics::read(&self.store)
    }

    /// Lets the next fit go on from `progress`, whose state the store holds, with the weights after the best epoch.
    pub(super) fn continue_from(&mut self, progress: Progress, best: Option<BTreeMap<String, Array>>) {
        self.best = best;
        self.watch.steps = progress.steps;
        self.progress = progress;
        self.continues = true;
    }

    /// Trains on `train`, testing on `test` after every epoch. `report` gets every epoch and can stop the run. Gives all
    /// epochs, after [`Trainer::restore`] also those before.
    ///
    /// # Errors
    /// When the images have another shape, there are none, the loss stops being a number, or the device is lost.
    pub fn fit(
        &mut self,
        train: &Dataset,
        test: Option<&Dataset>,
        report: impl FnMut(&Epoch) -> ControlFlow<()>,
    ) -> Result<Vec<Epoch>> {
        self.fit_with_steps(train, test, |_, _| {}, report)
    }

    /// As [`Trainer::fit`]; `on_step` gets the number of steps done and of all steps after each.
    ///
    /// # Errors
    /// As [`Trainer::fit`].
    pub fn fit_with_steps(
        &mut self,
        train: &Dataset,
        test: Option<&Dataset>,
        on_step: impl FnMut(usize, usize),
        report: impl FnMut(&Epoch) -> ControlFlow<()>,
    ) -> Result<Vec<Epoch>> {
        self.fit_with(train, test, &mut (on_step, report))
    }

    /// As [`Trainer::fit`]; `monitor` looks on after every step and epoch, can keep checkpoints and stop the run. A run that
    /// was stopped goes on, bit for bit, from [`Trainer::checkpoint`].
    ///
    /// # Errors
    /// As [`Trainer::fit`], and those of `monitor`; when the images are others than those of the checkpoint.
    pub fn fit_with(
        &mut self,
        train: &Dataset,
        test: Option<&Dataset>,
        monitor: &mut dyn Monitor,
    ) -> Result<Vec<Epoch>> {
        self.check_shape(train)?;
        if train.is_empty() {
            return Err(Error::new(ErrorKind::Config, format!("{}: there are no images to train on", train.name())));
        }
        if self.settings.batch_size == 0 {
            return Err(Error::new(ErrorKind::Config, "a batch size of 0 makes no batches; it must be at least 1"));
        }
        let batch_size = self.settings.batch_size.min(train.len());
        let steps_per_epoch = train.len().div_ceil(batch_size);
        let steps = steps_per_epoch * self.settings.epochs;
        let runs = self.settings.optimizer.runs_per_step().max(1);
        self.begin(train, steps_per_epoch)?;
        while self.progress.epochs.len() < self.settings.epochs && !self.stops_early() {
            let number = self.progress.epochs.len() + 1;
            let (start, before) = (Instant::now(), self.progress.seconds);
            let plan = Plan {
                batch_size,
                augmentation: self.settings.augmentation,
                seed: self.settings.seed,
                epoch: number as u64,
                skip: self.progress.steps - self.progress.complete(),
            };
            let mut loader = Loader::start(train, self.order(train, number as u64), plan)?;
            for batch in &mut loader {
                let factor = self.settings.schedule.factor(self.progress.steps / runs, steps.div_ceil(runs));
                let plateau = self.progress.plateau.map_or(1.0, |plateau| plateau.factor);
                self.step_on(&batch?, factor * plateau)?;
                self.progress.steps += 1;
                self.progress.seconds = before + start.elapsed().as_secs_f64();
                if monitor.step(self, self.progress.steps, steps)?.is_break() {
                    return Ok(self.progress.epochs.clone());
                }
            }
            let trained = self.take_finite(number, train.classes())?;
            let test = test.map(|test| self.evaluate(test)).transpose()?;
            if let Some(plateau) = &mut self.progress.plateau {
                plateau.observe(test.unwrap_or(trained).loss);
            }
            let seconds = before + start.elapsed().as_secs_f64();
            let waited = loader.waited().as_secs_f64();
            let epoch = Epoch { number, train: trained, test, seconds, waited };
            self.progress.epochs.push(epoch);
            self.progress.seconds = 0.0;
            if self.settings.early_stop.is_some() && self.progress.since_best() == 0 {
                self.best = Some(self.store.weights()?);
            }
            if monitor.epoch(self, &epoch)?.is_break() {
                break;
            }
        }
        if self.stops_early()
            && let Some(best) = &self.best
        {
            self.store.set_weights(best)?;
        }
        Ok(self.progress.epochs.clone())
    }

    /// At the beginning, or where a checkpoint was.
    fn begin(&mut self, train: &Dataset, steps_per_epoch: usize) -> Result<()> {
        if !std::mem::take(&mut self.continues) {
            self.progress = Progress::start(&self.settings, train, steps_per_epoch);
            self.best = None;
            return Ok(());
        }
        let (saved, own) = (&self.progress.data, DataPrint::of(train));
        if *saved != own {
            let text = format!(
                "{}: these are not the images of the checkpoint ({} there, {} here, or other labels); use those it was \
                 trained on",
                train.name(),
                saved.images,
                own.images
            );
            return Err(Error::new(ErrorKind::Config, text));
        }
        match self.progress.steps_per_epoch == steps_per_epoch && self.progress.is_sound() {
            true => Ok(()),
            false => Err(damaged("steps")),
        }
    }

    /// Whether the run has ended early, by [`Settings::early_stop`].
    pub fn stops_early(&self) -> bool {
        self.settings.early_stop.is_some_and(|patience| self.progress.since_best() >= patience.max(1))
    }

    /// The metrics of the epoch that was trained, which must be numbers.
    fn take_finite(&self, number: usize, classes: usize) -> Result<Metrics> {
        let metrics = metrics::take(&self.store)?;
        if metrics.loss.is_finite() {
            return Ok(metrics);
        }
        let text = format!(
            "the loss of epoch {number} is {}; lower the learning rate, or give the model one output for each of the \
             {classes} classes",
            metrics.loss
        );
        Err(Error::new(ErrorKind::Parity, text))
    }

    /// The order of the images in epoch `number`.
    fn order(&self, train: &Dataset, number: u64) -> Vec<usize> {
        match self.settings.balanced {
            true => balanced(train.labels(), self.settings.seed, number),
            false => shuffle(train.len(), self.settings.seed, number),
        }
    }

    /// One run on a batch, with `factor` times the learning rate. Does not wait for the device.
    ///
    /// # Errors
    /// When the batch does not fit the model, or the device is lost.
    pub fn step(&mut self, images: &Array, labels: &Array, factor: f64) -> Result<()> {
        let (images, labels) = (images.clone(), labels.clone());
        self.step_on(&Batch { images, labels, mixed: None }, factor)
    }

    /// As [`Trainer::step`], on a batch from a [`Loader`].
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn step_on(&mut self, batch: &Batch, factor: f64) -> Result<()> {
        let store = self.store.clone();
        let watch = self.watch;
        let mixes = self.settings.augmentation.mixup > 0.0;
        let program = self.train_program(batch.labels.len())?;
        store.set(RATE_FACTOR, &Array::scalar(factor as f32))?;
        // Images that are not mixed are mixed with themselves, where the program takes shares.
        let unmixed = || Mixed { labels: batch.labels.clone(), shares: Array::full(batch.labels.shape(), 1f32) };
        let mixed = mixes.then(|| batch.mixed.clone().unwrap_or_else(unmixed));
        let mut inputs = vec![("images", &batch.images), ("labels", &batch.labels)];
        if let Some(Mixed { labels, shares }) = &mixed {
            inputs.extend([("other_labels", labels), ("shares", shares)]);
        }
        if watch.is_due() {
            let recording = program.record(&inputs)?;
            let judged = watch.judge(program.graph(), &recording);
            if judged.is_err() {
                program.put_back(&recording.leaves)?;
            }
            judged?;
        } else {
            program.run(&inputs)?;
        }
        self.watch.steps += 1;
        Ok(())
    }

    /// The program of a training step of `batch` samples, compiled if it is new.
    ///
    /// # Errors
    /// When the model does not fit the device.
    pub fn train_program(&mut self, batch: usize) -> Result<&Program> {
        if !self.train_programs.contains_key(&batch) {
            let program = self.compile_train(batch)?;
            self.train_programs.insert(batch, program);
        }
        Ok(&self.train_programs[&batch])
    }

    fn compile_train(&self, batch: usize) -> Result<Program> {
        Program::compile(&format!("train at {batch}"), &self.store, Mode::Train, |trace| {
            let (labels, logits) = self.trace(trace, batch);
            let smoothing = self.settings.label_smoothing;
            let of = |labels: &Tensor| logits.softmax_cross_entropy(labels, smoothing);
            let mixed = (self.settings.augmentation.mixup > 0.0).then(|| {
                let other_labels = trace.input("other_labels", &[batch], DType::U32);
                (other_labels, trace.input("shares", &[batch], DType::F32))
            });
            let losses = || match &mixed {
                Some((other_labels, shares)) => shares * of(&labels) + (1.0 - shares) * of(other_labels),
                None => of(&labels),
            };
            let loss = match mixed {
                Some(_) => losses().mean_all(),
                None => cross_entropy(&logits, &labels, smoothing),
            };
            trace.output("loss", &loss);
            let optimizer = self.settings.optimizer.as_ref();
            match self.settings.precision {
                Precision::F32 => optimizer.update(trace, &trace.gradients(&loss)),
                Precision::Mixed => LossScale::default().minimize(trace, &loss, optimizer),
            }
            // Behind the loss scale, which may skip the updates before it: a loss counts in any case.
            metrics::accumulate(trace, &losses(), &logits, &labels);
        })
    }

    /// Loss and accuracy on a data set, without training.
    ///
    /// # Errors
    /// When the images have another shape, or the device is lost.
    pub fn evaluate(&mut self, data: &Dataset) -> Result<Metrics> {
        self.check_shape(data)?;
        if data.is_empty() {
            return Err(Error::new(ErrorKind::Config, format!("{}: there are no images to evaluate", data.name())));
        }
        let averaged = self.averaged()?;
        let compile = |trainer: &mut Self, batch: usize| trainer.evaluate_program(batch, averaged).map(drop);
        let batch_size = self.fitting(data.len(), compile)?;
        let plan = Plan { batch_size, augmentation: Augmentation::default(), seed: 0, epoch: 0, skip: 0 };
        let mut first = true;
        for batch in Loader::start(data, (0..data.len()).collect(), plan)? {
            let Batch { images, labels, .. } = batch?;
            self.evaluate_program(labels.len(), averaged)?;
            // Steps that were made by hand are not of this data.
            if std::mem::take(&mut first) {
                metrics::reset(&self.store)?;
            }
            let program = self.evaluate_program(labels.len(), averaged)?;
            program.run(&[("images", &images), ("labels", &labels)])?;
        }
        metrics::take(&self.store)
    }

    fn evaluate_program(&mut self, batch: usize, averaged: bool) -> Result<&Program> {
        let key = (batch, averaged);
        if !self.evaluate_programs.contains_key(&key) {
            let program = Program::compile(&format!("evaluate at {batch}"), &self.store, Mode::Evaluate, |trace| {
                if averaged {
                    trace.use_averages();
                }
                let (labels, logits) = self.trace(trace, batch);
                let losses = logits.softmax_cross_entropy(&labels, 0.0);
                metrics::accumulate(trace, &losses, &logits, &labels);
            })?;
            self.evaluate_programs.insert(key, program);
        }
        Ok(&self.evaluate_programs[&key])
    }

    /// How many of so many samples are best predicted at a time: up to [`Trainer::EVALUATION_BATCH`], and what fits the device.
    ///
    /// # Errors
    /// When not even one fits.
    pub fn prediction_batch(&mut self, samples: usize) -> Result<usize> {
        let averaged = self.averaged()?;
        self.fitting(samples, |trainer, batch| trainer.predict_program(batch, averaged).map(drop))
    }

    /// The largest batch for so many samples that `compile` finds room for, halving the usual one.
    pub(super) fn fitting(
        &mut self,
        samples: usize,
        compile: impl Fn(&mut Self, usize) -> Result<()>,
    ) -> Result<usize> {
        loop {
            let batch = self.evaluation_batch.min(samples.max(1));
            match compile(self, batch) {
                Err(error) if error.kind() == ErrorKind::Memory && batch > 1 => self.evaluation_batch = batch / 2,
                done => return done.map(|()| batch),
            }
        }
    }

    /// The probabilities `[N, classes]` for images `[N, H, W, C]`.
    ///
    /// # Errors
    /// When the images have another shape, or the device is lost.
    pub fn predict(&mut self, images: &Array) -> Result<Array> {
        let [batch, shape @ ..] = images.shape() else {
            return Err(Error::new(ErrorKind::Shape, "predict: images are [N, H, W, C]"));
        };
        if shape != self.image_shape {
            let text = format!("predict: the model takes images {:?}, these are {shape:?}", self.image_shape);
            return Err(Error::new(ErrorKind::Shape, text));
        }
        let averaged = self.averaged()?;
        let program = self.predict_program(*batch, averaged)?;
        program.run(&[("images", images)])?;
        program.read("probabilities")
    }

    /// Whether evaluation and prediction use averages of the parameters: as soon as there are any.
    pub(super) fn averaged(&self) -> Result<bool> {
        let kept = self.store.names(Leaf::State).iter().any(|(name, _)| name == AVERAGE_STEPS);
        Ok(kept && self.store.get(AVERAGE_STEPS)?.item()? > 0.0)
    }

    pub(super) fn predict_program(&mut self, batch: usize, averaged: bool) -> Result<&Program> {
        let key = (batch, averaged);
        if !self.predict_programs.contains_key(&key) {
            let name = format!("predict at {batch}");
            let program = Program::compile(&name, &self.store, Mode::Evaluate, |trace| {
                if averaged {
                    trace.use_averages();
                }
                let images = self.input(trace, batch);
                trace.output("probabilities", &self.logits(trace, &images).softmax(-1));
            })?;
            self.predict_programs.insert(key, program);
        }
        Ok(&self.predict_programs[&key])
    }

    fn input(&self, trace: &Trace, batch: usize) -> Tensor {
        let [height, width, channels] = self.image_shape;
        trace.input("images", &[batch, height, width, channels], DType::F32)
    }

    /// What the model gives for images as they come.
    pub(super) fn logits(&self, trace: &Trace, images: &Tensor) -> Tensor {
        trace.set_precision(self.settings.precision);
        let channels = self.image_shape[2];
        let images = if self.normalized { normalization::apply(trace, images, channels) } else { images.clone() };
        self.model.forward(&trace.scope(), images)
    }

    /// Labels and logits.
    fn trace(&self, trace: &Trace, batch: usize) -> (Tensor, Tensor) {
        let images = self.input(trace, batch);
        let labels = trace.input("labels", &[batch], DType::U32);
        (labels, self.logits(trace, &images))
    }

    fn check_shape(&self, data: &Dataset) -> Result<()> {
        if data.image_shape() == self.image_shape {
            return Ok(());
        }
        let text = format!(
            "{}: the images are {:?}, the model takes {:?}; use the data set it was made for",
            data.name(),
            data.image_shape(),
            self.image_shape
        );
        Err(Error::new(ErrorKind::Shape, text))
    }
}

//! Checkpoints as a library has them: a trainer that goes on from one computes the same bits as one that was not
//! interrupted, and what does not belong to the run is refused.

mod common;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use neuropil::data::{Dataset, digits};
use neuropil::nn::{Activation, BatchNorm, Conv2d, Dropout, Flatten, Linear, Sequential};
use neuropil::optim::{Adam, Optimizer, Plateau, Schedule, Sgd, Span};
use neuropil::train::{Augmentation, Checkpoint, Checkpoints, Epoch, Metrics, Monitor, Settings, Trainer};
use neuropil::{Device, Error, ErrorKind, Precision};

/// A layer of every kind that has a state.
fn model() -> Sequential {
    Sequential::new()
        .named("conv", Conv2d::new(4, 3))
        .named("norm", BatchNorm::default())
        .then(Activation::Relu)
        .then(Flatten)
        .named("dropout", Dropout::new(0.3))
        .named("head", Linear::new(10))
}

/// Everything that has a state of its own: 13 steps an epoch, the last of 2 images.
fn settings(precision: Precision) -> Settings {
    Settings {
        epochs: 3,
        batch_size: 16,
        optimizer: Box::new(Adam::decoupled(1e-2, 0.01).clip_norm(1.0).averaged(0.9).accumulate(2)),
        schedule: Schedule::default(),
        plateau: Some(Plateau { patience: 0, threshold: 0.5, ..Plateau::default() }),
        label_smoothing: 0.1,
        augmentation: Augmentation { shift: 1, ..Augmentation::default() },
        precision,
        seed: 5,
        ..Settings::default()
    }
}

fn data() -> (Dataset, Dataset) {
    let (train, test) = digits().unwrap();
    let part = |data: &Dataset, count| data.subset(&(0..count).collect::<Vec<_>>()).unwrap();
    (part(&train, 194), part(&test, 60))
}

fn trainer(device: &Device, precision: Precision) -> Trainer {
    Trainer::new(device, model(), [8, 8, 1], settings(precision))
}

/// Stops after a step, or after an epoch.
struct StopAt {
    step: usize,
    epoch: usize,
    checkpoint: Option<Checkpoint>,
}

impl Monitor for StopAt {
    fn step(&mut self, trainer: &Trainer, done: usize, of: usize) -> Result<ControlFlow<()>, Error> {
        assert_eq!(of, 39);
        self.stop_if(done == self.step, trainer)
    }

    fn epoch(&mut self, trainer: &Trainer, epoch: &Epoch) -> Result<ControlFlow<()>, Error> {
        self.stop_if(epoch.number == self.epoch, trainer)
    }
}

impl StopAt {
    fn stop_if(&mut self, stops: bool, trainer: &Trainer) -> Result<ControlFlow<()>, Error> {
        if !stops {
            return Ok(ControlFlow::Continue(()));
        }
        self.checkpoint = Some(trainer.checkpoint()?);
        Ok(ControlFlow::Break(()))
    }
}

fn stopped(device: &Device, precision: Precision, step: usize, epoch: usize) -> Checkpoint {
    let (train, test) = data();
    let mut stop = StopAt { step, epoch, checkpoint: None };
    trainer(device, precision).fit_with(&train, Some(&test), &mut stop).unwrap();
    stop.checkpoint.unwrap()
}

fn go_on(
    device: &Device,
    precision: Precision,
    checkpoint: Option<&Checkpoint>,
) -> (Vec<[Option<Metrics>; 2]>, Checkpoint) {
    let (train, test) = data();
    let mut trainer = trainer(device, precision);
    if let Some(checkpoint) = checkpoint {
        trainer.restore(checkpoint, None).unwrap();
    }
    let epochs = trainer.fit(&train, Some(&test), |_| ControlFlow::Continue(())).unwrap();
    let mut end = trainer.checkpoint().unwrap();
    end.progress.epochs.iter_mut().for_each(|epoch| (epoch.seconds, epoch.waited) = (0.0, 0.0));
    (epochs.iter().map(|epoch| [Some(epoch.train), epoch.test]).collect(), end)
}

fn assert_same(
    (epochs, end): &(Vec<[Option<Metrics>; 2]>, Checkpoint),
    other: &(Vec<[Option<Metrics>; 2]>, Checkpoint),
) {
    assert_eq!(epochs, &other.0);
    assert_eq!(end.progress, other.1.progress);
    for (name, array) in &end.state {
        assert_eq!(array.to_words(), other.1.state[name].to_words(), "{name}");
    }
    assert_eq!(end.state.len(), other.1.state.len());
}

struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        File(std::env::temp_dir().join(format!("neuropil-restore-{name}-{}", std::process::id())))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn through_a_file(checkpoint: &Checkpoint, name: &str) -> Checkpoint {
    let file = File::new(name);
    checkpoint.save(&file.0, None).unwrap();
    let (read, info) = Checkpoint::load(&file.0).unwrap();
    assert_eq!((&read, info), (checkpoint, None));
    read
}

#[test]
fn a_trainer_goes_on_where_it_was() {
    for device in common::devices() {
        for precision in [Precision::F32, Precision::Mixed] {
            if precision == Precision::Mixed && !device.has_f16() {
                continue;
            }
            let whole = go_on(&device, precision, None);
            assert_eq!(whole.1.progress.steps, 39);
            // Within an epoch, half of an accumulation; before and after the small batch; at the end of an epoch.
            for (step, epoch) in [(1, 0), (12, 0), (13, 0), (20, 0), (0, 2), (38, 0), (39, 0)] {
                let checkpoint = stopped(&device, precision, step, epoch);
                let checkpoint = through_a_file(&checkpoint, &format!("{}-{precision:?}", device.name().len()));
                assert_eq!(checkpoint.progress.steps, step.max(epoch * 13));
                assert_same(&go_on(&device, precision, Some(&checkpoint)), &whole);
            }
        }
    }
}

#[test]
fn a_run_that_ended_stays_as_it_is() {
    let device = Device::cpu();
    let whole = go_on(&device, Precision::F32, None);
    assert_same(&go_on(&device, Precision::F32, Some(&whole.1)), &whole);
}

#[test]
fn what_is_of_another_run_is_refused() {
    let device = Device::cpu();
    let checkpoint = stopped(&device, Precision::F32, 5, 0);
    let refusal = |settings: Settings, model: Sequential| {
        let mut trainer = Trainer::new(&device, model, [8, 8, 1], settings);
        let error = trainer.restore(&checkpoint, None).unwrap_err();
        error.to_string()
    };
    let own = || settings(Precision::F32);
    let text = refusal(Settings { batch_size: 32, ..own() }, model());
    assert!(text.contains("with the batch size 16, this one has 32"), "{text}");
    let text = refusal(Settings { optimizer: Box::new(Sgd::new(0.1)), ..own() }, model());
    assert!(text.contains("optimizer Accumulate") && text.contains("this one has Sgd"), "{text}");
    let text = refusal(Settings { seed: 6, ..own() }, model());
    assert!(text.contains("seed 5"), "{text}");
    let text = refusal(Settings { balanced: true, ..own() }, model());
    assert!(text.contains("balance of classes false"), "{text}");
    let text = refusal(own(), model().named("second", Linear::new(10)));
    assert!(text.contains("\"average/second.bias\"") && text.contains("another model"), "{text}");
    let smaller = Sequential::new().then(Flatten).named("head", Linear::new(10));
    let text = refusal(own(), smaller);
    assert!(text.contains("conv.") && text.contains("another model"), "{text}");

    let (train, test) = data();
    let mut other = trainer(&device, Precision::F32);
    other.restore(&checkpoint, None).unwrap();
    let error = other.fit(&test, None, |_| ControlFlow::Continue(())).unwrap_err().to_string();
    assert!(error.contains("not the images of the checkpoint") && error.contains("194 there, 60 here"), "{error}");
    let relabelled = {
        let mut labels = train.labels().to_vec();
        labels[0] = (labels[0] + 1) % 10;
        Dataset::new(train.name(), train.images().unwrap(), labels, train.class_names().to_vec()).unwrap()
    };
    other.restore(&checkpoint, None).unwrap();
    assert!(other.fit(&relabelled, None, |_| ControlFlow::Continue(())).is_err());

    // A position that no run of these images can have.
    let mut odd = checkpoint.clone();
    odd.progress.steps = 14;
    other.restore(&odd, None).unwrap();
    assert!(other.fit(&train, None, |_| ControlFlow::Continue(())).unwrap_err().to_string().contains("\"steps\""));
}

#[test]
fn damaged_checkpoints_are_refused_by_name() {
    let checkpoint = stopped(&Device::cpu(), Precision::F32, 3, 0);
    let file = File::new("damaged");
    checkpoint.save(&file.0, None).unwrap();
    let whole = std::fs::read(&file.0).unwrap();
    let error = |bytes: &[u8]| {
        std::fs::write(&file.0, bytes).unwrap();
        let error = Checkpoint::load(&file.0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format, "{error}");
        assert!(error.to_string().contains("neuropil-restore-damaged"), "{error}");
        error.to_string()
    };
    for length in [0, 8, 100, whole.len() / 2, whole.len() - 1] {
        error(&whole[..length]);
    }
    let replaced = |from: &str, to: &str| {
        let at = whole.windows(from.len()).position(|bytes| bytes == from.as_bytes()).unwrap();
        let mut bytes = whole.clone();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        error(&bytes)
    };
    assert!(replaced(r#"\"version\":1"#, r#"\"version\":9"#).contains("has version 9, this program reads 1"));
    assert!(replaced(r#"\"steps\":3"#, r#"\"steps\":-"#).contains("damaged"));
    assert!(replaced(r#"\"plateau\":{"#, r#"\"plateau\":["#).contains("damaged"));
    assert!(replaced("neuropil.checkpoint", "neuropil.chickpoint").contains("is no checkpoint"));
}

/// Steps that make weights infinite, and a loss that is no number.
#[test]
fn what_is_not_finite_is_no_checkpoint() {
    let (train, _) = data();
    for device in common::devices() {
        let settings = Settings { optimizer: Box::new(Sgd::new(1e30)), ..settings(Precision::F32) };
        let mut trainer = Trainer::new(&device, model(), [8, 8, 1], settings);
        let folder = File::new(&format!("nan-{}", device.name().len()));
        let checkpoints = Checkpoints::open(&folder.0, 2).unwrap();
        let mut save = Save(&checkpoints);
        let error = trainer.fit_with(&train, None, &mut save).unwrap_err();
        let text = error.to_string();
        assert!(error.kind() == ErrorKind::Parity && text.contains("no longer finite after step"), "{text}");
        assert!(text.contains("lower the learning rate"), "{text}");
        if let Ok((_, last, damaged)) = checkpoints.last() {
            assert!(damaged.is_empty());
            assert!(last.state.values().all(|array| array.to_f64_vec().iter().all(|element| element.is_finite())));
        }
    }
}

/// Saves after every step.
struct Save<'a>(&'a Checkpoints);

impl Monitor for Save<'_> {
    fn step(&mut self, trainer: &Trainer, _: usize, _: usize) -> Result<ControlFlow<()>, Error> {
        self.0.save(&trainer.checkpoint()?, None)?;
        Ok(ControlFlow::Continue(()))
    }

    fn epoch(&mut self, trainer: &Trainer, _: &Epoch) -> Result<ControlFlow<()>, Error> {
        self.step(trainer, 0, 0)
    }
}

#[test]
fn the_last_few_and_the_best_are_kept() {
    let (train, test) = data();
    let folder = File::new("kept");
    std::fs::create_dir_all(&folder.0).unwrap();
    std::fs::write(folder.0.join(".step-00000003.safetensors.0.tmp"), "half").unwrap();
    std::fs::write(folder.0.join("notes.txt"), "mine").unwrap();
    let checkpoints = Checkpoints::open(&folder.0, 3).unwrap();
    let mut trainer = trainer(&Device::cpu(), Precision::F32);
    trainer.fit_with(&train, Some(&test), &mut Save(&checkpoints)).unwrap();
    let best = trainer.progress().best().unwrap().number * 13;
    let mut expected = vec![37, 38, 39];
    if best != 39 {
        expected.insert(0, best);
    }
    let all = checkpoints.all().unwrap();
    assert_eq!(all.iter().map(|(steps, _)| *steps).collect::<Vec<_>>(), expected);
    let mut names: Vec<_> = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names.len(), expected.len() + 1, "{names:?}");

    // A damaged one is passed over, and said.
    std::fs::write(&all.last().unwrap().1, "not a checkpoint").unwrap();
    let (path, last, damaged) = checkpoints.last().unwrap();
    assert!(path.ends_with(Path::new("step-00000038.safetensors")) && last.progress.steps == 38);
    assert!(damaged.len() == 1 && damaged[0].to_string().contains("step-00000039"), "{damaged:?}");
}

#[test]
fn a_lost_device_ends_the_run_and_another_goes_on() {
    struct Lose<'a>(&'a Checkpoints, &'a Device);
    impl Monitor for Lose<'_> {
        fn step(&mut self, trainer: &Trainer, done: usize, _: usize) -> Result<ControlFlow<()>, Error> {
            match done {
                15 => drop(self.0.save(&trainer.checkpoint()?, None)?),
                17 => self.1.destroy(),
                _ => {}
            }
            Ok(ControlFlow::Continue(()))
        }

        fn epoch(&mut self, _: &Trainer, _: &Epoch) -> Result<ControlFlow<()>, Error> {
            Ok(ControlFlow::Continue(()))
        }
    }

    let (Some(gpu), Some(again)) = (common::open_gpu(Default::default()), common::open_gpu(Default::default())) else {
        common::skip();
        return;
    };
    let (train, test) = data();
    let folder = File::new("lost");
    let checkpoints = Checkpoints::open(&folder.0, 3).unwrap();
    let whole = go_on(&again, Precision::F32, None);
    let mut lost = trainer(&gpu, Precision::F32);
    let error = lost.fit_with(&train, Some(&test), &mut Lose(&checkpoints, &gpu)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device, "{error}");
    assert!(error.to_string().contains("was lost") && error.to_string().contains("checkpoint"), "{error}");
    assert!(lost.checkpoint().is_err());
    let (_, last, _) = checkpoints.last().unwrap();
    assert_same(&go_on(&again, Precision::F32, Some(&last)), &whole);
}

#[test]
fn a_run_that_ends_early_goes_back_to_its_best_epoch() {
    let (train, test) = data();
    // At a rate that makes it worse after a while.
    let early = || Settings {
        epochs: 30,
        optimizer: Box::new(Sgd::new(0.05)),
        schedule: Schedule::Step { every: Span::Steps(13), gamma: 2.0 },
        plateau: None,
        early_stop: Some(2),
        ..settings(Precision::F32)
    };
    let linear = || Sequential::new().then(Flatten).named("head", Linear::new(10));
    let folder = File::new("early");
    let checkpoints = Checkpoints::open(&folder.0, 1).unwrap();
    let mut trainer = Trainer::new(&Device::cpu(), linear(), [8, 8, 1], early());
    let epochs = trainer.fit_with(&train, Some(&test), &mut EachEpoch(&checkpoints)).unwrap();
    let best = *trainer.progress().best().unwrap();
    assert!(trainer.stops_early() && best.number > 1 && epochs.len() == best.number + 2, "{epochs:?}");
    assert_eq!(trainer.evaluate(&test).unwrap().loss, best.judged().loss);

    let (_, last, _) = checkpoints.last().unwrap();
    let kept = checkpoints.best(&last.progress).unwrap();
    let mut again = Trainer::new(&Device::cpu(), linear(), [8, 8, 1], early());
    again.restore(&last, kept.as_ref()).unwrap();
    assert_eq!(again.fit(&train, Some(&test), |_| ControlFlow::Continue(())).unwrap(), epochs);
    assert_eq!(again.store().weights().unwrap(), trainer.store().weights().unwrap());
}

/// Keeps a checkpoint after each epoch.
struct EachEpoch<'a>(&'a Checkpoints);

impl Monitor for EachEpoch<'_> {
    fn step(&mut self, _: &Trainer, _: usize, _: usize) -> Result<ControlFlow<()>, Error> {
        Ok(ControlFlow::Continue(()))
    }

    fn epoch(&mut self, trainer: &Trainer, _: &Epoch) -> Result<ControlFlow<()>, Error> {
        self.0.save(&trainer.checkpoint()?, None)?;
        Ok(ControlFlow::Continue(()))
    }
}

#[test]
fn a_run_without_progress_ends_early() {
    let (train, test) = data();
    let early = |patience| Settings {
        epochs: 12,
        schedule: Schedule::Constant(0.0),
        early_stop: Some(patience),
        ..settings(Precision::F32)
    };
    // Nothing is learnt at a rate of 0, apart from batch norm's statistics, which the average of the weights sees too.
    let frozen = || Sequential::new().then(Flatten).named("head", Linear::new(10));
    let mut trainer = Trainer::new(&Device::cpu(), frozen(), [8, 8, 1], early(2));
    let epochs = trainer.fit(&train, Some(&test), |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((epochs.len(), trainer.stops_early()), (3, true));
    let checkpoint = trainer.checkpoint().unwrap();
    let mut again = Trainer::new(&Device::cpu(), frozen(), [8, 8, 1], early(2));
    again.restore(&checkpoint, None).unwrap();
    assert_eq!(again.fit(&train, Some(&test), |_| ControlFlow::Continue(())).unwrap(), epochs);
}

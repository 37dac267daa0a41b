//! The loop as a whole: devices agree, runs repeat, weights survive a file, mistakes have words.

mod common;

use std::ops::ControlFlow;

use neuropil::data::{Dataset, Loader, Normalization, Plan, digits};
use neuropil::nn::models::{ConvBlock, small_cnn};
use neuropil::nn::{Conv2d, Dropout, Flatten, Linear, MaxPool2d, Sequential};
use neuropil::optim::{Adam, Group, Optimizer, Plateau, Schedule, Sgd};
use neuropil::train::{Augmentation, Epoch, Metrics, ModelFile, ModelInfo, Settings, Trainer};
use neuropil::{Array, Device, Error, ErrorKind};

/// A network with a layer of every kind, small enough for a software GPU.
fn tiny_cnn() -> Sequential {
    Sequential::new()
        .named("block", ConvBlock { conv: Conv2d::new(8, 3).padding(1) })
        .named("pool", MaxPool2d::new(2))
        .named("flatten", Flatten)
        .named("dropout", Dropout::new(0.2))
        .named("head", Linear::new(10))
}

fn digits_trainer(device: &Device, model: Sequential, settings: Settings) -> Trainer {
    Trainer::new(device, model, [8, 8, 1], settings)
}

fn fit(trainer: &mut Trainer, train: &Dataset, test: Option<&Dataset>) -> Result<Vec<Epoch>, Error> {
    trainer.fit(train, test, |_| ControlFlow::Continue(()))
}

/// The loss of every step of the digits CNN over two epochs, and what it scores afterwards.
fn curve(device: &Device) -> (Vec<f64>, Metrics) {
    let (train, test) = digits().unwrap();
    let mut trainer = digits_trainer(device, small_cnn(10), Settings { seed: 1, ..Settings::default() });
    let mut losses = Vec::new();
    for epoch in 0..2 {
        for indices in train.batches(&neuropil::data::shuffle(train.len(), 1, epoch), 64).unwrap() {
            let (images, labels) = train.batch(indices).unwrap();
            trainer.step(&images, &labels, 1.0).unwrap();
            losses.push(trainer.train_program(indices.len()).unwrap().read("loss").unwrap().item().unwrap());
        }
    }
    // What accumulated while training is not of the test.
    neuropil::train::metrics::take(trainer.store()).unwrap();
    (losses, trainer.evaluate(&test).unwrap())
}

/// Weights, order and masks are the same on both devices, bit for bit; sums are rounded otherwise, by about 1e-7. Steps
/// carry that on, and where a max pool or a ReLU decides otherwise for it, a gradient jumps. How far that leads can be
/// measured on the CPU alone: runs whose first weights differ by a millionth part are up to 1e-6 apart in their first ten
/// losses and 7e-4 within 46; by ten times that, 2e-3 and 8e-3. A wrong mask, statistic or update shows as a tenth.
#[test]
fn the_cpu_and_the_gpu_train_alike() {
    let Some(gpu) = common::gpu() else { return };
    let (of_cpu, score_of_cpu) = curve(&Device::cpu());
    let (of_gpu, score_of_gpu) = curve(&gpu);
    let apart = |range: std::ops::Range<usize>| {
        of_cpu[range.clone()].iter().zip(&of_gpu[range]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    println!("losses apart {:.1e}, then {:.1e}; {score_of_cpu:?}, {score_of_gpu:?}", apart(0..10), apart(0..46));
    assert_eq!((of_cpu.len(), of_gpu.len()), (46, 46));
    assert!(apart(0..10) < 1e-4 && apart(0..46) < 1e-2, "{of_cpu:?}\n{of_gpu:?}");
    assert!(of_cpu[45] < 0.4, "{of_cpu:?}");
    assert!((score_of_cpu.loss - score_of_gpu.loss).abs() < 1e-2, "{score_of_cpu:?}, {score_of_gpu:?}");
    assert!(score_of_cpu.accuracy > 0.9 && score_of_gpu.accuracy > 0.9, "{score_of_cpu:?}, {score_of_gpu:?}");
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let (train, _) = digits().unwrap();
    let train = train.subset(&(0..320).collect::<Vec<_>>()).unwrap();
    for device in common::devices() {
        let run = |seed: u64| {
            let augmentation = Augmentation { shift: 1, ..Augmentation::default() };
            // 320 images in batches of 16 are 20 steps an epoch: 200 steps.
            let settings = Settings { seed, epochs: 10, batch_size: 16, augmentation, ..Settings::default() };
            let settings = settings.learning_rate(1e-2);
            let mut trainer = digits_trainer(&device, tiny_cnn(), settings);
            let epochs = fit(&mut trainer, &train, None).unwrap();
            assert_eq!(epochs.iter().map(|epoch| epoch.train.samples).sum::<usize>(), 200 * 16);
            let losses: Vec<f64> = epochs.iter().map(|epoch| epoch.train.loss).collect();
            (losses, trainer.store().weights().unwrap())
        };
        let (first, again, other) = (run(7), run(7), run(8));
        assert_eq!(first.0, again.0, "{}", device.name());
        for (name, weights) in &first.1 {
            assert_eq!(weights.to_words(), again.1[name].to_words(), "{name} on {}", device.name());
        }
        assert_ne!(first.1, other.1);
        assert!(first.0[9] < 0.5 * first.0[0], "and it learns: {:?}", first.0);
    }
}

#[test]
fn a_saved_model_is_loaded_as_it_was() {
    let (train, test) = digits().unwrap();
    let path = std::env::temp_dir().join(format!("neuropil_test_train_{}.safetensors", std::process::id()));
    let mut trainer = digits_trainer(&Device::cpu(), small_cnn(10), Settings { epochs: 2, ..Settings::default() });
    fit(&mut trainer, &train, None).unwrap();
    let before = trainer.evaluate(&test).unwrap();
    assert!(before.samples == test.len() && before.accuracy > 0.9, "{before:?}");

    let info = ModelInfo {
        model: "small_cnn".to_owned(),
        class_names: test.class_names().to_vec(),
        image_shape: test.image_shape(),
        dataset: test.name().to_owned(),
    };
    ModelFile { info: info.clone(), weights: trainer.store().weights().unwrap() }.save(&path).unwrap();
    let file = ModelFile::load(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(file.info, info);

    let mut loaded = Trainer::open(&Device::cpu(), &file, Settings::default()).unwrap();
    assert_eq!(loaded.evaluate(&test).unwrap(), before);
    assert_eq!(loaded.store().weights().unwrap(), file.weights);
    let (images, _) = test.batch(&[3, 1, 4, 1, 5]).unwrap();
    assert_eq!(loaded.predict(&images).unwrap(), trainer.predict(&images).unwrap());

    // Another device gets the same weights and computes the same, within rounding.
    if let Some(gpu) = common::gpu() {
        let mut loaded = Trainer::open(&gpu, &file, Settings::default()).unwrap();
        let after = loaded.evaluate(&test).unwrap();
        assert!((after.loss - before.loss).abs() < 1e-5, "{after:?}, {before:?}");
        assert_eq!(after.samples, before.samples);
    }

    // Weights of another network are refused as a whole.
    let mut other = digits_trainer(&Device::cpu(), tiny_cnn(), Settings::default());
    other.evaluate(&test).unwrap();
    let untouched = other.store().weights().unwrap();
    let error = other.store().set_weights(&file.weights).unwrap_err();
    assert!(error.to_string().contains("block1.conv.weight"), "{error}");
    let mut short = untouched.clone();
    short.remove("head.bias");
    let error = other.store().set_weights(&short).unwrap_err();
    assert!(error.to_string().contains("the weights lack \"head.bias\""), "{error}");
    let mut misshapen = untouched.clone();
    misshapen.insert("head.bias".to_owned(), Array::full(&[9], 1f32));
    let error = other.store().set_weights(&misshapen).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert!(error.to_string().contains("\"head.bias\" is f32[10] in this model and f32[9]"), "{error}");
    assert_eq!(other.store().weights().unwrap(), untouched);
}

/// Four runs of 16 images a step, gradients of limited norm, averaged weights: what is evaluated, predicted with and saved.
#[test]
fn a_trainer_takes_what_is_around_an_optimizer() {
    let (train, test) = digits().unwrap();
    for device in common::devices() {
        let optimizer = Adam::decoupled(1e-2, 0.05).clip_norm(1.0).averaged(0.9);
        let optimizer = optimizer.grouped([Group::new(&["*.bias", "*.norm.*"]).weight_decay(0.0)]).accumulate(4);
        let settings = Settings { epochs: 3, batch_size: 16, optimizer: Box::new(optimizer), ..Settings::default() };
        let mut trainer = digits_trainer(&device, tiny_cnn(), settings);
        let before = trainer.evaluate(&test).unwrap();
        assert!(before.accuracy < 0.5, "untrained, and not the average of nothing: {before:?}");
        let epochs = fit(&mut trainer, &train, Some(&test)).unwrap();
        println!("{epochs:?}");
        let after = epochs[2].test.unwrap();
        assert!(after.accuracy > 0.85 && epochs[2].train.loss < 0.5 * epochs[0].train.loss, "{epochs:?}");
        // 1,438 images are 90 runs an epoch, and 270 runs 67 steps.
        assert_eq!(trainer.store().get("average.steps").unwrap().item().unwrap(), 67.0);

        let info = ModelInfo {
            model: "mlp".to_owned(),
            class_names: test.class_names().to_vec(),
            image_shape: test.image_shape(),
            dataset: test.name().to_owned(),
        };
        let mut trainer = digits_trainer(&device, neuropil::nn::models::mlp(10), averaging());
        fit(&mut trainer, &train, None).unwrap();
        let after = trainer.evaluate(&test).unwrap();
        let weights = trainer.store().weights().unwrap();
        assert_ne!(weights["head.weight"], weights["average/head.weight"]);
        let mut loaded = Trainer::open(&device, &ModelFile { info, weights }, averaging()).unwrap();
        assert_eq!(loaded.evaluate(&test).unwrap(), after);
        fit(&mut loaded, &train, None).unwrap();
        assert!(loaded.evaluate(&test).unwrap().loss < after.loss, "and training goes on from there");
    }
}

fn averaging() -> Settings {
    Settings { epochs: 1, optimizer: Box::new(Adam::new(1e-3).averaged(0.9)), ..Settings::default() }
}

/// A loss that does not fall lowers the learning rate: after that, nothing moves.
#[test]
fn a_plateau_lowers_the_learning_rate() {
    let (train, test) = digits().unwrap();
    let plateau = Plateau { gamma: 0.0, patience: 0, threshold: 0.99, ..Plateau::default() };
    let settings = Settings {
        epochs: 4,
        schedule: Schedule::Constant(1.0),
        plateau: Some(plateau),
        batch_size: 256,
        ..Settings::default()
    };
    let mut trainer = digits_trainer(&Device::cpu(), neuropil::nn::models::mlp(10), settings);
    let epochs = fit(&mut trainer, &train, Some(&test)).unwrap();
    let losses: Vec<f64> = epochs.iter().map(|epoch| epoch.test.unwrap().loss).collect();
    assert!(losses[0] > losses[1] && losses[1] == losses[2] && losses[2] == losses[3], "{losses:?}");
}

/// A data set of `count` images of another size than the digits.
fn others(count: usize) -> Dataset {
    let names = (0..10).map(|class| class.to_string()).collect();
    Dataset::new("others", Array::full(&[count, 6, 8, 1], 0.5f32), vec![0; count], names).unwrap()
}

/// What images are taken relative to is part of the model: in training, evaluation and prediction, and in its file.
#[test]
fn images_are_normalized_alike_everywhere() {
    let (train, test) = digits().unwrap();
    // The same digits as pixels of 100 to 1,700: nothing learns from such numbers as they are.
    let scaled = |part: &Dataset| {
        let numbers = part.images().unwrap().to_f64_vec().iter().map(|x| (100.0 + 1600.0 * x) as f32).collect();
        let images = Array::new(&[part.len(), 8, 8, 1], numbers).unwrap();
        Dataset::new("scaled", images, part.labels().to_vec(), part.class_names().to_vec()).unwrap()
    };
    let run = |train: &Dataset, test: &Dataset| {
        let settings = Settings { epochs: 2, seed: 3, ..Settings::default() };
        let mut trainer = digits_trainer(&Device::cpu(), neuropil::nn::models::mlp(10), settings);
        trainer.normalize(&train.normalization().unwrap()).unwrap();
        let epochs = fit(&mut trainer, train, Some(test)).unwrap();
        (trainer, epochs[1].test.unwrap())
    };
    let (_, of_digits) = run(&train, &test);
    let (mut trainer, of_scaled) = run(&scaled(&train), &scaled(&test));
    assert!((of_digits.loss - of_scaled.loss).abs() < 1e-2 && of_scaled.accuracy > 0.85, "{of_digits:?} {of_scaled:?}");

    let info = ModelInfo {
        model: "mlp".to_owned(),
        class_names: test.class_names().to_vec(),
        image_shape: [8, 8, 1],
        dataset: "scaled".to_owned(),
    };
    let file = ModelFile { info, weights: trainer.store().weights().unwrap() };
    let mut opened = Trainer::open(&Device::cpu(), &file, Settings::default()).unwrap();
    assert_eq!(opened.evaluate(&scaled(&test)).unwrap(), of_scaled);
    let (images, _) = scaled(&test).batch(&[0, 1, 2]).unwrap();
    assert_eq!(opened.predict(&images).unwrap(), trainer.predict(&images).unwrap());

    let wrong = Normalization { mean: vec![0.0], deviation: vec![0.0] };
    assert!(trainer.normalize(&wrong).unwrap_err().to_string().contains("deviations above 0"));
    let colored = Normalization { mean: vec![0.0; 3], deviation: vec![1.0; 3] };
    assert_eq!(trainer.normalize(&colored).unwrap_err().kind(), ErrorKind::Shape);
}

/// Two classes of which one has a twentieth of the images: only if they come equally often is the rare one learned at once.
#[test]
fn balanced_epochs_learn_a_rare_class() {
    let (train, test) = digits().unwrap();
    let pair = |part: &Dataset, rare: usize| {
        let of = |digit: u32| (0..part.len()).filter(move |&i| part.labels()[i] == digit);
        let chosen = part.subset(&of(3).chain(of(8).take(rare)).collect::<Vec<_>>()).unwrap();
        let labels = chosen.labels().iter().map(|&digit| u32::from(digit == 8)).collect();
        Dataset::new("pair", chosen.images().unwrap(), labels, vec!["3".to_owned(), "8".to_owned()]).unwrap()
    };
    let (train, test) = (pair(&train, 7), pair(&test, 100));
    let found = |balanced: bool| {
        let settings = Settings { epochs: 4, batch_size: 16, balanced, seed: 1, ..Settings::default() };
        let mut trainer = digits_trainer(&Device::cpu(), neuropil::nn::models::mlp(2), settings);
        let epochs = fit(&mut trainer, &train, None).unwrap();
        assert!(epochs.iter().all(|epoch| epoch.train.samples == train.len() && epoch.waited >= 0.0));
        trainer.evaluate(&test).unwrap().accuracy
    };
    let (balanced, as_it_is) = (found(true), found(false));
    assert!(balanced > as_it_is + 0.1 && balanced > 0.8, "{balanced} {as_it_is}");
}

/// Mixed images cost by both labels: as a loss of distributions says.
#[test]
fn mixed_images_cost_by_both_labels() {
    let (train, _) = digits().unwrap();
    for device in common::devices() {
        let augmentation = "mixup=1".parse().unwrap();
        let settings = || Settings { augmentation, optimizer: Box::new(Sgd::new(0.0)), ..Settings::default() };
        let mut trainer = digits_trainer(&device, neuropil::nn::models::mlp(10), settings());
        let plan = Plan { batch_size: 32, augmentation, seed: 0, epoch: 1, skip: 0 };
        let batch = Loader::start(&train, (0..32).collect(), plan).unwrap().next().unwrap().unwrap();
        trainer.step_on(&batch, 1.0).unwrap();
        let loss = trainer.train_program(32).unwrap().read("loss").unwrap().item().unwrap();
        let probabilities = trainer.predict(&batch.images).unwrap().to_f64_vec();
        let mixed = batch.mixed.unwrap();
        let (own, other) = (batch.labels.to_f64_vec(), mixed.labels.to_f64_vec());
        let cost = |i: usize, label: f64| -probabilities[10 * i + label as usize].ln();
        let shares = mixed.shares.to_f64_vec();
        let costs = (0..32).map(|i| shares[i] * cost(i, own[i]) + (1.0 - shares[i]) * cost(i, other[i]));
        let expected = costs.sum::<f64>() / 32.0;
        assert!((loss - expected).abs() < 1e-4, "{loss} {expected} on {}", device.name());
        // Images that were not mixed cost by their own label.
        let (images, labels) = train.batch(&(0..32).collect::<Vec<_>>()).unwrap();
        trainer.step(&images, &labels, 1.0).unwrap();
        let loss = trainer.train_program(32).unwrap().read("loss").unwrap().item().unwrap();
        let probabilities = trainer.predict(&images).unwrap().to_f64_vec();
        let costs = labels.to_f64_vec().into_iter().enumerate().map(|(i, l)| -probabilities[10 * i + l as usize].ln());
        assert!((loss - costs.sum::<f64>() / 32.0).abs() < 1e-4, "on {}", device.name());
    }
}

#[test]
fn images_of_another_shape_are_refused() {
    let (train, _) = digits().unwrap();
    let mut trainer = digits_trainer(&Device::cpu(), tiny_cnn(), Settings { epochs: 1, ..Settings::default() });
    let errors = [
        fit(&mut trainer, &others(4), None).unwrap_err(),
        fit(&mut trainer, &train, Some(&others(4))).unwrap_err(),
        trainer.evaluate(&others(4)).unwrap_err(),
        trainer.predict(&others(4).images().unwrap()).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Shape, "{error}");
        assert!(error.to_string().contains("[6, 8, 1]") && error.to_string().contains("[8, 8, 1]"), "{error}");
    }
    let (images, labels) = others(4).batch(&[0, 1]).unwrap();
    let error = trainer.step(&images, &labels, 1.0).unwrap_err();
    assert!(error.to_string().contains("\"images\" is f32[2, 8, 8, 1], got f32[2, 6, 8, 1]"), "{error}");
    // A model that does not fit the images says where.
    let model = Sequential::new().named("wide", Conv2d::new(4, 9));
    let error = fit(&mut digits_trainer(&Device::cpu(), model, Settings::default()), &train, None).unwrap_err();
    assert!(error.to_string().contains("wide") && error.to_string().contains("conv2d"), "{error}");
}

#[test]
fn nothing_to_train_on_is_an_error() {
    let (train, _) = digits().unwrap();
    let empty = train.subset(&[]).unwrap();
    let error = fit(&mut digits_trainer(&Device::cpu(), tiny_cnn(), Settings::default()), &empty, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("there are no images to train on"), "{error}");
}

#[test]
fn a_loss_that_is_no_number_ends_the_run() {
    let (train, _) = digits().unwrap();
    for device in common::devices() {
        let settings =
            Settings { epochs: 3, optimizer: Box::new(Sgd::new(1e30)), batch_size: 256, ..Settings::default() };
        let error = fit(&mut digits_trainer(&device, tiny_cnn(), settings), &train, None).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the loss of epoch 1 is") && text.contains("lower the learning rate"), "{text}");
    }
}

#[test]
fn a_report_can_stop_the_run() {
    let (train, test) = digits().unwrap();
    let mut trainer = digits_trainer(&Device::cpu(), tiny_cnn(), Settings { batch_size: 256, ..Settings::default() });
    let mut steps = 0;
    let epochs = trainer
        .fit_with_steps(
            &train,
            Some(&test),
            |done, of| steps = of.min(done),
            |epoch| match epoch.number {
                2 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            },
        )
        .unwrap();
    // 1,438 images are five batches of 256 and one of 158.
    assert_eq!((epochs.len(), steps), (2, 12));
    assert!(epochs.iter().all(|epoch| epoch.train.samples == train.len()));
    assert!(epochs.iter().all(|epoch| epoch.test.is_some_and(|test| test.samples == 359)));
}

//! The networks of `nn::models`: as many parameters as PyTorch's, loss that falls on every device, and weights that travel.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use neuropil::format::{safetensors, weights};
use neuropil::graph::Leaf;
use neuropil::loss::{Reduction, binary_cross_entropy_with_logits, cross_entropy};
use neuropil::nn::models::{self, MobileStage, mobilenet, residual_stages};
use neuropil::nn::parameters::parameters;
use neuropil::nn::{Conv2d, Linear, Module, Sequential};
use neuropil::optim::{Adam, Optimizer, Sgd};
use neuropil::train::transfer::{self, Layout, Matching};
use neuropil::{Array, DType, Device, Mode, Program, Store, Tensor};

/// Parameters for ten classes, counted in the modules of `scripts/torch_models.py` by `scripts/golden_models.py`.
const COUNTS: [(&str, [usize; 3], usize); 10] = [
    ("small_cnn", [32, 32, 3], 69_738),
    ("mlp", [32, 32, 3], 411_146),
    ("lenet5", [28, 28, 1], 61_706),
    ("vgg8", [32, 32, 3], 2_197_706),
    ("resnet20", [32, 32, 3], 272_474),
    ("resnet18", [32, 32, 3], 11_181_642),
    ("resnet18_cifar", [32, 32, 3], 11_173_962),
    ("depthwise_cnn", [32, 32, 3], 136_778),
    ("mobilenet_v2", [32, 32, 3], 2_236_682),
    ("airbench94", [32, 32, 3], 1_972_792),
];

fn count(model: &Sequential, image: [usize; 3]) -> usize {
    let all = parameters(model, image).unwrap();
    let of = |leaf| all.iter().filter(move |parameter| parameter.leaf == leaf);
    of(Leaf::Parameter).map(|parameter| parameter.shape.iter().product::<usize>()).sum()
}

#[test]
fn there_are_as_many_parameters_as_in_pytorch() {
    assert_eq!(
        COUNTS.map(|(name, ..)| name).iter().collect::<std::collections::BTreeSet<_>>().len(),
        models::NAMES.len()
    );
    for (name, image, wanted) in COUNTS {
        assert_eq!(count(&models::by_name(name, 10).unwrap(), image), wanted, "{name}");
    }
    assert_eq!(count(&models::autoencoder(3, 10), [32, 32, 3]), 10_829);
}

/// Numbers in [0, 1) that follow from their place, as in `scripts/golden_models.py`.
fn ramp(shape: &[usize]) -> Array {
    let numbers =
        (0..shape.iter().product::<usize>()).map(|i| ((i as u64 * 2_654_435_761) as u32) as f64 / 2f64.powi(32));
    Array::new(shape, numbers.map(|x| x as f32).collect()).unwrap()
}

/// The losses of steps on one batch of pictures `[H, W, C]`.
fn losses(device: &Device, model: &dyn Module, image: [usize; 3], steps: usize, optimizer: &dyn Optimizer) -> Vec<f64> {
    let store = Store::new(device, 5);
    let [height, width, channels] = image;
    let images = ramp(&[4, height, width, channels]);
    let labels = Array::new(&[4], vec![0u32, 1, 2, 3]).unwrap();
    let program = Program::compile("step", &store, Mode::Train, |trace| {
        let x = trace.input("images", images.shape(), DType::F32);
        let labels = trace.input("labels", &[4], DType::U32);
        let loss = cross_entropy(&model.forward(&trace.scope(), x), &labels, 0.0);
        optimizer.update(trace, &trace.gradients(&loss));
        trace.output("loss", &loss);
    })
    .unwrap();
    let step = |_| {
        program.run(&[("images", &images), ("labels", &labels)]).unwrap();
        program.read("loss").unwrap().item().unwrap()
    };
    (0..steps).map(step).collect()
}

/// Trains a network on four small pictures on every device.
fn falls(name: &str, image: [usize; 3], steps: usize, learning_rate: f64) {
    let model = models::by_name(name, 4).unwrap();
    for device in common::devices() {
        let losses = losses(&device, &model, image, steps, &Adam::new(learning_rate));
        println!("{name} on {}: {losses:.3?}", device.name());
        assert!(losses.iter().all(|loss| loss.is_finite()), "{name} on {device:?}: {losses:?}");
        assert!(losses[steps - 1] < 0.8 * losses[0], "{name} on {device:?}: {losses:?}");
    }
}

#[test]
fn the_plain_ones_train() {
    falls("mlp", [8, 8, 1], 8, 1e-2);
    falls("small_cnn", [8, 8, 1], 8, 5e-3);
    falls("lenet5", [14, 14, 1], 12, 1e-2);
    falls("vgg8", [8, 8, 3], 8, 1e-3);
}

#[test]
fn the_residual_ones_train() {
    falls("resnet20", [8, 8, 3], 6, 3e-3);
    falls("resnet18", [32, 32, 3], 6, 1e-3);
    falls("resnet18_cifar", [8, 8, 3], 6, 1e-3);
}

#[test]
fn the_mobile_ones_train() {
    falls("depthwise_cnn", [8, 8, 3], 8, 5e-3);
    falls("mobilenet_v2", [8, 8, 3], 8, 3e-3);
}

/// With the whitening of its images, and what it keeps as it is.
#[test]
fn airbench94_trains() {
    let image = [25, 25, 3];
    let images = ramp(&[4, 25, 25, 3]);
    let centered = Array::from_fn(images.shape(), {
        let pixels = images.view4::<f32>().unwrap();
        move |i| (pixels[[i[0], i[1], i[2], i[3]]] - 0.5) * 12f32.sqrt()
    });
    let labels = Array::new(&[4], vec![0u32, 1, 2, 3]).unwrap();
    let model = models::airbench94(4);
    assert_eq!(count(&model, image), count(&model, [32, 32, 3]));
    for device in common::devices() {
        let store = Store::new(&device, 5);
        models::airbench::FROZEN.iter().for_each(|pattern| store.freeze(pattern));
        let step = Program::compile("step", &store, Mode::Train, |trace| {
            let x = trace.input("images", centered.shape(), DType::F32);
            let labels = trace.input("labels", &[4], DType::U32);
            let loss = cross_entropy(&model.forward(&trace.scope(), x), &labels, 0.0);
            Sgd { nesterov: true, ..Sgd::new(0.1).momentum(0.85) }.update(trace, &trace.gradients(&loss));
            trace.output("loss", &loss);
        })
        .unwrap();
        models::airbench::whiten(&store, &centered).unwrap();
        let whitening = store.get("whiten.weight").unwrap();
        let losses = [(); 6].map(|()| {
            step.run(&[("images", &centered), ("labels", &labels)]).unwrap();
            step.read("loss").unwrap().item().unwrap()
        });
        println!("airbench94 on {}: {losses:.3?}", device.name());
        assert!(losses[5] < 0.8 * losses[0], "{device:?}: {losses:?}");
        assert_eq!(store.get("whiten.weight").unwrap(), whitening);
        assert_eq!(store.get("group2.norm1.weight").unwrap().to_f64_vec(), [1.0; 256]);
    }
}

#[test]
fn the_autoencoder_learns_to_draw() {
    let model = models::autoencoder(3, 8);
    let images = ramp(&[4, 8, 8, 3]);
    for device in common::devices() {
        let store = Store::new(&device, 5);
        let step = Program::compile("step", &store, Mode::Train, |trace| {
            let x = trace.input("images", images.shape(), DType::F32);
            let drawn = model.forward(&trace.scope(), x.clone());
            assert_eq!(drawn.shape(), x.shape());
            let loss = binary_cross_entropy_with_logits(&drawn, &x, None, None, Reduction::Mean);
            let error: Tensor = drawn.sigmoid() - &x;
            let error = (&error * &error).mean_all();
            Adam::new(1e-2).update(trace, &trace.gradients(&loss));
            trace.output("loss", &error);
        })
        .unwrap();
        let losses = [(); 60].map(|()| {
            step.run(&[("images", &images)]).unwrap();
            step.read("loss").unwrap().item().unwrap()
        });
        println!("autoencoder on {}: {:.4} to {:.4}", device.name(), losses[0], losses[59]);
        assert!(losses[59] < 0.8 * losses[0], "{device:?}: {losses:?}");
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch/models").join(name)
}

/// The networks of `scripts/golden_models.py`.
fn narrow(name: &str) -> (Sequential, [usize; 3]) {
    let stem = || models::ConvBlock { conv: Conv2d::new(4, 3).padding(1) };
    let stage = |expansion, channels, blocks, stride| MobileStage { expansion, channels, blocks, stride };
    match name {
        "resnet20" => {
            let stages = residual_stages(Sequential::new().named("stem", stem()), &[4, 8, 16], 3);
            (stages.named("head", Linear::new(5)), [16, 16, 3])
        }
        "mobilenet" => (mobilenet(8, &[stage(1, 8, 1, 1), stage(4, 8, 2, 2), stage(4, 12, 2, 2)], 32, 5), [16, 16, 3]),
        _ => (models::lenet5(5), [16, 16, 1]),
    }
}

/// Sets the weights of a program's store.
fn set(store: &Store, weights: &BTreeMap<String, Array>) {
    store.set_weights(weights).unwrap();
}

/// PyTorch's state dictionaries give PyTorch's logits, and go back as they came, under their names and in their order.
#[test]
fn weights_travel_from_pytorch_and_back() {
    for name in ["resnet20", "mobilenet", "lenet5"] {
        let (model, image) = narrow(name);
        let (kind, given) = weights::load(&golden(&format!("{name}.pt"))).unwrap();
        assert_eq!(kind, weights::Kind::PyTorch);
        let model_parameters = parameters(&model, image).unwrap();
        let values = transfer::import(&model_parameters, &given, Matching::Order, Layout::PyTorch).unwrap();

        let (golden, _) = safetensors::load(&golden(&format!("{name}.safetensors"))).unwrap();
        for device in common::devices() {
            let store = Store::new(&device, 0);
            let predict = Program::compile("predict", &store, Mode::Evaluate, |trace| {
                let x = trace.input("images", golden["images"].shape(), DType::F32);
                trace.output("logits", &model.forward(&trace.scope(), x));
            })
            .unwrap();
            set(&store, &values);
            let logits = predict.call(&[("images", &golden["images"])]).unwrap()["logits"].to_f64_vec();
            let wanted = golden["logits"].to_f64_vec();
            let difference = logits.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            println!("{name} on {}: {difference:.1e}", device.name());
            assert!(difference < 1e-4 && wanted.len() == 40, "{name} on {device:?}: {difference}");
        }

        let back = transfer::export(&model_parameters, &values, Some(&given), Layout::PyTorch).unwrap();
        let counted: Vec<_> = given.into_iter().filter(|(name, _)| !name.ends_with("num_batches_tracked")).collect();
        assert_eq!(back, counted, "{name}");
    }
}

/// From equal weights and on equal batches training does what PyTorch's does.
#[test]
fn steps_from_the_weights_of_pytorch_are_those_of_pytorch() {
    for name in ["resnet20", "mobilenet", "lenet5"] {
        let (model, image) = narrow(name);
        let (_, given) = weights::load(&golden(&format!("{name}.pt"))).unwrap();
        let values = transfer::import(&parameters(&model, image).unwrap(), &given, Matching::Order, Layout::PyTorch);
        let (golden, _) = safetensors::load(&golden(&format!("{name}.safetensors"))).unwrap();
        let labels = golden["labels"].cast(DType::U32);
        for device in common::devices() {
            let store = Store::new(&device, 0);
            let step = Program::compile("step", &store, Mode::Train, |trace| {
                let x = trace.input("images", golden["images"].shape(), DType::F32);
                let labels = trace.input("labels", labels.shape(), DType::U32);
                let loss = cross_entropy(&model.forward(&trace.scope(), x), &labels, 0.0);
                Sgd { weight_decay: 5e-4, ..Sgd::new(0.005).momentum(0.9) }.update(trace, &trace.gradients(&loss));
                trace.output("loss", &loss);
            })
            .unwrap();
            set(&store, values.as_ref().unwrap());
            for (number, wanted) in golden["losses"].to_f64_vec().into_iter().enumerate() {
                step.run(&[("images", &golden["images"]), ("labels", &labels)]).unwrap();
                let loss = step.read("loss").unwrap().item().unwrap();
                assert!(
                    (loss - wanted).abs() < 1e-3 * wanted,
                    "{name}, step {number} on {device:?}: {loss}, not {wanted}"
                );
            }
        }
    }
}

//! Layers: names, initial values, freezing, and what differs between training and evaluation.

mod common;

use std::collections::BTreeMap;

use neuropil::graph::{Leaf, Sample};
use neuropil::loss::{cross_entropy, mse};
use neuropil::nn::{
    BatchNorm, Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, Dropout, Flatten, GlobalAvgPool2d, Linear, Module,
    Sequential,
};
use neuropil::optim::{Adam, Optimizer};
use neuropil::{Array, DType, Device, ErrorKind, Init, Mode, Program, Result, Scope, Store, Tensor, Trace};

/// A residual block, as a user would write it.
struct ResidualBlock {
    channels: usize,
}

impl Module for ResidualBlock {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let conv = |name: &str, x: Tensor, kernel_size: usize| {
            let conv = Conv2d::new(self.channels, kernel_size).padding(kernel_size / 2).no_bias();
            conv.forward(&scope.enter(name), x)
        };
        let y = conv("conv", x.clone(), 3);
        let y = BatchNorm::default().forward(&scope.enter("norm"), y).relu();
        (y + conv("shortcut", x, 1)).relu()
    }
}

fn network() -> Sequential {
    Sequential::new()
        .named("stage1", ResidualBlock { channels: 6 })
        .named("stage2", ResidualBlock { channels: 8 })
        .named("pool", GlobalAvgPool2d)
        .named("head", Linear::new(3))
}

const BATCH: usize = 12;

fn images() -> Array {
    Sample::uniform(&[BATCH, 6, 5, 2], -1.0, 1.0, 1)
}

fn labels() -> Array {
    Array::from_fn(&[BATCH], |i| (i[0] % 3) as u32)
}

/// A training step of `model` on [`images`] and [`labels`] with the output `loss`.
fn train_step(store: &Store, model: &dyn Module) -> Result<Program> {
    Program::compile("step", store, Mode::Train, |trace| {
        let images = trace.input("images", images().shape(), DType::F32);
        let labels = trace.input("labels", &[BATCH], DType::U32);
        let loss = cross_entropy(&model.forward(&trace.scope(), images), &labels, 0.0);
        trace.output("loss", &loss);
        Adam::new(0.02).update(trace, &trace.gradients(&loss));
    })
}

/// Runs a step; gives the loss before it.
fn step(program: &Program) -> f64 {
    program.run(&[("images", &images()), ("labels", &labels())]).unwrap();
    program.read("loss").unwrap().item().unwrap()
}

/// The error of a program that does nothing but what `build` says.
fn refusal(build: impl FnOnce(&Trace)) -> (ErrorKind, String) {
    match Program::compile("refused", &Store::new(&Device::cpu(), 0), Mode::Train, build) {
        Ok(_) => panic!("compiled"),
        Err(error) => (error.kind(), error.to_string()),
    }
}

/// The initial values of what `build` declares, by name.
fn initial(device: &Device, seed: u64, build: impl FnOnce(&Scope)) -> BTreeMap<String, Array> {
    let store = Store::new(device, seed);
    Program::compile("declare", &store, Mode::Train, |trace| build(&trace.scope())).unwrap();
    store.weights().unwrap()
}

/// Asserts that two arrays agree: `|got - want| <= tolerance · max(1, |want|)`.
fn assert_close(what: &str, got: &Array, want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.to_f64_vec().into_iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance * want.abs().max(1.0), "{what}[{i}] is {got}, should be {want}");
    }
}

#[test]
fn a_users_module_trains() {
    for device in common::devices() {
        let store = Store::new(&device, 5);
        let program = train_step(&store, &network()).unwrap();
        let first = step(&program);
        (0..28).for_each(|_| program.run(&[("images", &images()), ("labels", &labels())]).unwrap());
        let last = step(&program);
        println!("{}: {first} to {last}", device.name());
        assert!((first - 3f64.ln()).abs() < 0.5, "about as good as guessing at first: {first}");
        assert!(last < 0.3 * first, "{}: {first} to {last}", device.name());
    }
}

#[test]
fn paths_are_the_names_of_parameters_and_states() {
    let store = Store::new(&Device::cpu(), 0);
    train_step(&store, &network()).unwrap();
    let parameters: Vec<String> =
        store.names(Leaf::Parameter).iter().map(|(name, ty)| format!("{name} {ty}")).collect();
    let expected = [
        "head.bias f32[3]",
        "head.weight f32[3, 8]",
        "stage1.conv.weight f32[6, 3, 3, 2]",
        "stage1.norm.bias f32[6]",
        "stage1.norm.weight f32[6]",
        "stage1.shortcut.weight f32[6, 1, 1, 2]",
        "stage2.conv.weight f32[8, 3, 3, 6]",
        "stage2.norm.bias f32[8]",
        "stage2.norm.weight f32[8]",
        "stage2.shortcut.weight f32[8, 1, 1, 6]",
    ];
    assert_eq!(parameters, expected);
    assert_eq!(store.parameter_count(), 3 + 24 + 108 + 6 + 6 + 12 + 432 + 8 + 8 + 48);
    // What a file holds: these and the statistics, nothing of the optimizer.
    let weights = store.weights().unwrap();
    let states = weights.keys().filter(|name| store.names(Leaf::State).iter().any(|(state, _)| state == *name));
    let expected =
        ["stage1.norm.running_mean", "stage1.norm.running_var", "stage2.norm.running_mean", "stage2.norm.running_var"];
    assert_eq!(states.collect::<Vec<_>>(), expected);
    assert_eq!(weights.len(), parameters.len() + expected.len());
    // Without names of their own, layers are called by their positions.
    let unnamed = initial(&Device::cpu(), 0, |scope| {
        let input = scope.trace().input("x", &[1, 4], DType::F32);
        Sequential::new().then(Flatten).then(Linear::new(2)).forward(&scope.enter("model"), input);
    });
    assert_eq!(unnamed.keys().collect::<Vec<_>>(), ["model.1.bias", "model.1.weight"]);
}

#[test]
fn a_name_used_twice_is_an_error() {
    let (kind, text) = refusal(|trace| {
        let x = trace.input("x", &[1, 4], DType::F32);
        let scope = trace.scope().enter("head");
        let y = Linear::new(4).forward(&scope, x);
        Linear::new(4).forward(&scope, y);
    });
    assert_eq!(kind, ErrorKind::Graph);
    assert!(text.contains("\"head.weight\" is used twice") && text.contains("shared()"), "{text}");

    let (_, text) = refusal(|trace| {
        trace.scope().param("w", &[2], Init::Constant(0.0));
        trace.scope().state("w", &[2], DType::F32, Init::Constant(0.0));
    });
    assert!(text.contains("\"w\" is used twice"), "a parameter and a state cannot have one name either: {text}");
    assert!(text.contains("modules.rs"), "{text}");
}

#[test]
fn shared_parameters_are_one_and_gradients_add_up() {
    for device in common::devices() {
        let store = Store::new(&device, 0);
        // y = w·(w·x), so dy/dw = 2·w·x.
        let program = Program::compile("shared", &store, Mode::Train, |trace| {
            let x = trace.input("x", &[3], DType::F32);
            let scope = trace.scope().enter("gain");
            let [first, second] = [0, 1].map(|_| scope.shared("w", &[3], Init::Constant(1.5)));
            let y = (second * (first * x)).sum_all();
            trace.output("y", &y);
            trace.gradients(&y);
        })
        .unwrap();
        let x = Array::new(&[3], vec![1f32, -2.0, 4.0]).unwrap();
        assert_eq!(program.call(&[("x", &x)]).unwrap()["y"].item().unwrap(), 2.25 * 3.0);
        assert_eq!(program.gradient("gain.w").unwrap().to_f64_vec(), [3.0, -6.0, 12.0]);
        assert_eq!(store.parameter_count(), 3);
    }
    let (_, text) = refusal(|trace| {
        trace.scope().shared("w", &[2], Init::Constant(0.0));
        trace.scope().shared("w", &[3], Init::Constant(0.0));
    });
    assert!(text.contains("\"w\" is f32[2] and cannot also be f32[3]"), "{text}");
}

#[test]
fn initial_values_depend_on_seed_and_path_alone() {
    let layer = |scope: &Scope, name: &str| {
        let x = scope.trace().input("x", &[1, 16], DType::F32);
        Linear::new(16).forward(&scope.enter(name), x);
    };
    let one = initial(&Device::cpu(), 1, |scope| ["a", "b"].iter().for_each(|name| layer(scope, name)));
    let other = initial(&Device::cpu(), 1, |scope| ["new", "b", "a"].iter().for_each(|name| layer(scope, name)));
    assert!(one.iter().all(|(name, value)| other[name] == *value), "neither order nor neighbours matter");
    assert_ne!(one["a.weight"], one["b.weight"], "each path has numbers of its own");
    let seed2 = initial(&Device::cpu(), 2, |scope| layer(scope, "a"));
    assert_ne!(one["a.weight"], seed2["a.weight"], "and so has each seed");
    // PyTorch's default: even within 1 / √16.
    let values = one["a.weight"].to_f64_vec();
    assert!(
        values.iter().all(|v| v.abs() <= 0.25) && values.iter().any(|v| *v < -0.2) && values.iter().any(|v| *v > 0.2)
    );
    if let Some(gpu) = common::gpu() {
        assert_eq!(initial(&gpu, 1, |scope| ["a", "b"].iter().for_each(|name| layer(scope, name))), one);
    }
}

#[test]
fn frozen_parameters_stay_bit_for_bit() {
    for device in common::devices() {
        let store = Store::new(&device, 5);
        store.freeze("stage1.*");
        store.freeze("*.bias");
        let program = train_step(&store, &network()).unwrap();
        let before = store.weights().unwrap();
        (0..3).for_each(|_| _ = step(&program));
        let after = store.weights().unwrap();
        for (name, _) in store.names(Leaf::Parameter) {
            let frozen = name.starts_with("stage1.") || name.ends_with(".bias");
            assert_eq!(before[&name].to_words() == after[&name].to_words(), frozen, "{name} on {}", device.name());
            assert_eq!(program.gradient(&name).is_err(), frozen, "{name}");
        }
        // Statistics are no parameters: they follow the data.
        assert_ne!(before["stage1.norm.running_mean"], after["stage1.norm.running_mean"]);
    }
}

#[test]
fn thawed_parameters_move_again() {
    let store = Store::new(&Device::cpu(), 5);
    store.freeze("*");
    let frozen = Program::compile("none", &store, Mode::Train, |trace| {
        let w = trace.scope().param("w", &[2], Init::Constant(1.0));
        assert!(trace.gradients(&w.sum_all()).entries.is_empty());
    });
    frozen.unwrap().run(&[]).unwrap();
    store.unfreeze();
    let program = train_step(&store, &network()).unwrap();
    let before = store.weights().unwrap();
    step(&program);
    let after = store.weights().unwrap();
    assert!(store.names(Leaf::Parameter).iter().all(|(name, _)| (before[name] == after[name]) == (name == "w")));
}

const DROPPED: [usize; 2] = [32, 100];

/// What three steps of dropout at rate 0.25 make of ones: of a layer, of the same layer once more in its scope, and of
/// one in another scope; and the gradient of the first.
fn masks(device: &Device, seed: u64) -> Vec<[Array; 4]> {
    let store = Store::new(device, seed);
    let program = Program::compile("dropout", &store, Mode::Train, |trace| {
        let ones = trace.scope().param("ones", &DROPPED, Init::Constant(1.0));
        let [a, b] = ["a", "b"].map(|name| trace.scope().enter(name));
        let masked = Dropout::new(0.25).forward(&a, ones.clone());
        trace.output("a", &masked);
        trace.output("again", &Dropout::new(0.25).forward(&a, ones.clone()));
        trace.output("b", &Dropout::new(0.25).forward(&b, ones));
        trace.gradients(&masked.sum_all());
    })
    .unwrap();
    let run = || {
        let mut outputs = program.call(&[]).unwrap();
        let [a, again, b] = ["a", "again", "b"].map(|name| outputs.remove(name).unwrap());
        [a, again, b, program.gradient("ones").unwrap()]
    };
    vec![run(), run(), run()]
}

#[test]
fn dropout_masks_are_the_same_on_every_device_and_new_at_every_step() {
    let masks_of_cpu = masks(&Device::cpu(), 1);
    if let Some(gpu) = common::gpu() {
        assert_eq!(masks(&gpu, 1), masks_of_cpu);
    }
    assert_ne!(masks(&Device::cpu(), 2)[0], masks_of_cpu[0], "another seed");
    let mut all: Vec<&Array> = Vec::new();
    for [a, again, b, gradient] in &masks_of_cpu {
        assert_eq!(gradient, a, "the backward pass has the mask of the forward pass");
        all.extend([a, again, b]);
    }
    for (i, mask) in all.iter().enumerate() {
        assert!(all[..i].iter().all(|earlier| earlier != mask), "no two steps, layers or calls share a mask");
        let values = mask.as_slice::<f32>().unwrap();
        assert!(values.iter().all(|&v| v == 0.0 || v == 1.0 / 0.75));
        // 3,200 draws at 0.25 have a deviation of 24.5; six of them are 147.
        let zeros = values.iter().filter(|&&v| v == 0.0).count() as i64;
        assert!((zeros - 800).abs() < 147, "{zeros} of 3200 are zero");
    }
}

#[test]
fn dropout_does_nothing_in_evaluation() {
    let store = Store::new(&Device::cpu(), 0);
    let program = Program::compile("evaluate", &store, Mode::Evaluate, |trace| {
        let x = trace.input("x", &[4], DType::F32);
        trace.output("y", &Dropout::new(0.9).forward(&trace.scope().enter("dropout"), x));
    })
    .unwrap();
    let x = Sample::uniform(&[4], -1.0, 1.0, 1);
    assert_eq!(program.call(&[("x", &x)]).unwrap()["y"], x);
}

const NORM: BatchNorm = BatchNorm { epsilon: 1e-3, momentum: 0.3 };
const NORMED: [usize; 4] = [4, 3, 5, 2];

fn norm_program(store: &Store, mode: Mode) -> Program {
    Program::compile("norm", store, mode, |trace| {
        let x = trace.input("x", &NORMED, DType::F32);
        trace.output("y", &NORM.forward(&trace.scope().enter("norm"), x));
    })
    .unwrap()
}

/// `(x - mean) / √(variance + ε) · weight + bias`, per channel.
fn normalized(x: &Array, mean: &[f64], variance: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let of = |(i, x): (usize, f64)| {
        let c = i % 2;
        (x - mean[c]) / (variance[c] + NORM.epsilon).sqrt() * weight[c] + bias[c]
    };
    x.to_f64_vec().into_iter().enumerate().map(of).collect()
}

/// PyTorch: `running ← (1 - momentum) · running + momentum · batch`, with the unbiased variance of the batch; the batch
/// itself is normalized by the biased one.
#[test]
fn running_statistics_follow_pytorchs_formula_and_evaluation_uses_them() {
    for device in common::devices() {
        let store = Store::new(&device, 0);
        let train = norm_program(&store, Mode::Train);
        let (weight, bias) = ([1.5, -0.5], [0.25, 2.0]);
        for (name, values) in [("norm.weight", weight), ("norm.bias", bias)] {
            store.set(name, &Array::new(&[2], values.map(|v| v as f32).to_vec()).unwrap()).unwrap();
        }
        let (mut running_mean, mut running_var) = ([0.0; 2], [1.0; 2]);
        for seed in 0..3 {
            let x = Sample::uniform(&NORMED, -1.0, 3.0, seed);
            let y = train.call(&[("x", &x)]).unwrap();
            let (mut mean, mut biased) = ([0.0; 2], [0.0; 2]);
            for c in 0..2 {
                let channel: Vec<f64> = x.to_f64_vec().into_iter().skip(c).step_by(2).collect();
                let count = channel.len() as f64;
                mean[c] = channel.iter().sum::<f64>() / count;
                biased[c] = channel.iter().map(|v| (v - mean[c]).powi(2)).sum::<f64>() / count;
                let unbiased = biased[c] * count / (count - 1.0);
                running_mean[c] += NORM.momentum * (mean[c] - running_mean[c]);
                running_var[c] += NORM.momentum * (unbiased - running_var[c]);
            }
            assert_close("y in training", &y["y"], &normalized(&x, &mean, &biased, &weight, &bias), 3e-6);
        }
        assert_close("running_mean", &store.get("norm.running_mean").unwrap(), &running_mean, 1e-6);
        assert_close("running_var", &store.get("norm.running_var").unwrap(), &running_var, 1e-6);

        let (before, x) = (store.weights().unwrap(), Sample::uniform(&NORMED, -1.0, 3.0, 9));
        let y = norm_program(&store, Mode::Evaluate).call(&[("x", &x)]).unwrap();
        let expected = normalized(&x, &running_mean, &running_var, &weight, &bias);
        assert_close("y in evaluation", &y["y"], &expected, 3e-6);
        assert_eq!(store.weights().unwrap(), before, "evaluation changes nothing");
    }
}

/// PyTorch takes the outputs of one group for the fan-in of a transposed convolution.
#[test]
fn convolution_layers_have_pytorchs_parameters() {
    let trace = Trace::default();
    let scope = trace.scope();
    let up = ConvTranspose2d::new(6, 3).stride(2).padding(1).output_padding(1).groups(2);
    let y = up.forward(&scope.enter("up2"), trace.input("image", &[2, 5, 4, 8], DType::F32));
    assert_eq!(y.shape(), [2, 10, 8, 6]);
    trace.output("y2", &y);
    let x = trace.input("sequence", &[2, 9, 4], DType::F32);
    let x = Conv1d::new(10, 3).stride(2).padding(1).groups(2).forward(&scope.enter("down1"), x);
    assert_eq!(x.shape(), [2, 5, 10]);
    let y =
        ConvTranspose1d::new(3, 4).stride(3).dilation(2).output_padding(2).no_bias().forward(&scope.enter("up1"), x);
    assert_eq!(y.shape(), [2, 21, 3]);
    trace.output("y1", &y);
    let specs = trace.finish().unwrap().specs;
    let specs = specs.iter().map(|spec| (spec.name.as_str(), spec.ty.shape.as_slice(), spec.init));
    let wanted: [(&str, &[usize], usize); 5] = [
        ("up2.weight", &[8, 3, 3, 3], 27),
        ("up2.bias", &[6], 27),
        ("down1.weight", &[10, 3, 2], 6),
        ("down1.bias", &[10], 6),
        ("up1.weight", &[10, 4, 3], 12),
    ];
    assert!(specs.eq(wanted.map(|(name, shape, fan_in)| (name, shape, Init::fan_in(fan_in)))));
}

/// A program of one batch size trains what that of another uses.
#[test]
fn programs_of_one_store_share_its_parameters() {
    let store = Store::new(&Device::cpu(), 0);
    let at = |batch: usize| {
        Program::compile("line", &store, Mode::Train, |trace| {
            let x = trace.input("x", &[batch, 1], DType::F32);
            let y = Linear::new(1).forward(&trace.scope().enter("line"), x.clone());
            trace.output("y", &y);
            Adam::new(0.1).update(trace, &trace.gradients(&mse(&y, &(x * 10.0))));
        })
        .unwrap()
    };
    let (one, three) = (at(1), at(3));
    let x = |batch| Array::full(&[batch, 1], 1f32);
    let first = three.call(&[("x", &x(3))]).unwrap()["y"].to_f64_vec();
    let second = one.call(&[("x", &x(1))]).unwrap()["y"].to_f64_vec();
    let third = three.call(&[("x", &x(3))]).unwrap()["y"].to_f64_vec();
    // Adam's first steps are as long as its rate: weight and bias move by 0.1 each towards y = 10x.
    let moved = [second[0] - first[0], third[0] - second[0]];
    assert!(moved.iter().all(|m| (m.abs() - 0.2).abs() < 0.02), "{first:?} {second:?} {third:?}");
    assert_eq!(store.parameter_count(), 2);
}

#[test]
fn layers_start_as_they_are_told() {
    let values = initial(&Device::cpu(), 1, |scope| {
        let x = scope.trace().input("x", &[2, 5, 5, 3], DType::F32);
        let conv = Conv2d::new(4, 3).weight_init(Init::Orthogonal { gain: 1.0 }).bias_init(Init::Constant(0.5));
        let y = conv.forward(&scope.enter("conv"), x).flatten(1);
        let linear = Linear::new(2).weight_init(Init::XavierUniform { gain: 1.0 }).no_bias();
        let _ = linear.forward(&scope.enter("linear"), y);
    });
    assert_eq!(values.keys().map(String::as_str).collect::<Vec<_>>(), ["conv.bias", "conv.weight", "linear.weight"]);
    assert_eq!(values["conv.bias"].to_f64_vec(), [0.5; 4]);
    let squares: f64 = values["conv.weight"].to_f64_vec().iter().map(|x| x * x).sum();
    assert!((squares - 4.0).abs() < 1e-5, "four rows of length 1: {squares}");
    let bound = (6.0f64 / (36.0 + 2.0)).sqrt();
    let largest = values["linear.weight"].to_f64_vec().iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    assert!(largest <= bound * 1.000001 && largest > 0.9 * bound, "{largest} of {bound}");
}

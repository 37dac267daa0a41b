//! Optimizers against their formulas, written once more as plain loops in `f64`; what is put around optimizers.

#[path = "../common/mod.rs"]
mod common;
mod formulas;
mod wrappers;

use std::collections::BTreeMap;

use formulas::{Parameter, Rule, rules};
use neuropil::check::reference;
use neuropil::graph::{Leaf, Sample};
use neuropil::optim::{Optimizer, RATE_FACTOR};
use neuropil::{Array, DType, Device, Init, Mode, Program, Store};

const STEPS: usize = 20;
/// The learning rate changes half way, as a schedule would have it.
const FACTORS: [f32; 2] = [1.0, 0.375];
/// The parameters: names and shapes. Lying and standing matrices, one longer than a block of memory, two of one shape, one
/// without axes.
const PARAMETERS: [(&str, &[usize]); 5] = [
    ("conv.weight", &[6, 2, 3, 3]),
    ("head.weight", &[9, 4]),
    ("norm.weight", &[7]),
    ("norm.bias", &[7]),
    ("scale", &[]),
];

/// A training step whose loss is `Σ (p² / 2 + noise · p)` over all parameters: the gradient of `p` is `p + noise`.
fn program(store: &Store, optimizer: &dyn Optimizer, parameters: &[(&str, &[usize])]) -> Program {
    try_program(store, optimizer, parameters).unwrap()
}

fn try_program(store: &Store, optimizer: &dyn Optimizer, parameters: &[(&str, &[usize])]) -> neuropil::Result<Program> {
    Program::compile("step", store, Mode::Train, |trace| {
        let mut loss = trace.constant(0.0, DType::F32);
        for (name, shape) in parameters {
            let parameter = trace.scope().param(name, shape, Init::Uniform { bound: 1.0 });
            let noise = trace.input(name, shape, DType::F32);
            loss = loss + (parameter.square() * 0.5 + &noise * &parameter).sum_all();
        }
        optimizer.update(trace, &trace.gradients(&loss));
    })
}

fn noise(step: usize) -> Vec<Array> {
    let draw = |(i, (_, shape)): (usize, &(&str, &[usize]))| Sample::uniform(shape, -1.0, 1.0, (step * 10 + i) as u64);
    PARAMETERS.iter().enumerate().map(draw).collect()
}

fn inputs(noise: &[Array]) -> Vec<(&'static str, &Array)> {
    PARAMETERS.iter().map(|(name, _)| *name).zip(noise).collect()
}

/// The parameters of all names one after the other.
fn parameters(store: &Store) -> Vec<f64> {
    PARAMETERS.iter().flat_map(|(name, _)| store.get(name).unwrap().to_f64_vec()).collect()
}

/// What [`STEPS`] steps make of the parameters: `step` gets the number of each, the factor of the learning rate and the
/// noise. Gives the largest difference from the rule's formula, relative to the largest parameter.
fn error(
    store: &Store,
    rule: &Rule,
    mut step: impl FnMut(usize, f32, &[Array]),
    result: impl FnOnce() -> Vec<f64>,
) -> f64 {
    let of_name = |(name, shape): &(&str, &[usize])| Parameter::new(shape, store.get(name).unwrap().to_f64_vec());
    let mut expected: Vec<Parameter> = PARAMETERS.iter().map(of_name).collect();
    for number in 0..STEPS {
        let factor = FACTORS[number * FACTORS.len() / STEPS];
        let noise = noise(number);
        step(number, factor, &noise);
        for (parameter, noise) in expected.iter_mut().zip(&noise) {
            parameter.g = parameter.p.iter().zip(noise.to_f64_vec()).map(|(p, noise)| p + noise).collect();
            (rule.formula)(parameter, formulas::RATE * f64::from(factor), number as i32 + 1);
        }
    }
    let expected: Vec<f64> = expected.into_iter().flat_map(|parameter| parameter.p).collect();
    let largest = expected.iter().fold(0.0, |largest: f64, p| largest.max(p.abs()));
    let differences = result().into_iter().zip(&expected).map(|(got, want)| (got - want).abs()).collect::<Vec<_>>();
    differences.into_iter().fold(0.0, f64::max) / largest
}

/// The error of a device, in `f32`.
fn error_on(device: &Device, rule: &Rule) -> f64 {
    let store = Store::new(device, 3);
    let program = program(&store, &*rule.optimizer, &PARAMETERS);
    let step = |_, factor, noise: &[Array]| {
        store.set(RATE_FACTOR, &Array::scalar(factor)).unwrap();
        program.run(&inputs(noise)).unwrap();
    };
    error(&store, rule, step, || parameters(&store))
}

/// The error of the graph itself: the reference computes it in `f64`.
fn error_in_f64(rule: &Rule) -> f64 {
    let store = Store::new(&Device::cpu(), 3);
    let program = program(&store, &*rule.optimizer, &PARAMETERS);
    let stored = [Leaf::Parameter, Leaf::State].map(|leaf| store.names(leaf).into_iter().map(move |(n, _)| (leaf, n)));
    let stored = stored.into_iter().flatten();
    let mut leaves: BTreeMap<_, _> =
        stored.map(|(leaf, name)| ((leaf, name.clone()), store.get(&name).unwrap())).collect();
    let kept = std::cell::RefCell::new(&mut leaves);
    let step = |_, factor, noise: &[Array]| {
        let mut leaves = kept.borrow_mut();
        leaves.insert((Leaf::State, RATE_FACTOR.to_owned()), Array::scalar(factor));
        leaves.extend(inputs(noise).into_iter().map(|(name, x)| ((Leaf::Input, name.to_owned()), x.clone())));
        let evaluation = reference::run(program.graph(), &leaves, DType::F64).unwrap();
        leaves.extend(evaluation.updates().map(|(leaf, name, x)| ((leaf, name.to_owned()), x.clone())));
    };
    let result = || {
        let leaves = kept.borrow();
        let value = |name: &str| leaves[&(Leaf::Parameter, name.to_owned())].to_f64_vec();
        PARAMETERS.iter().flat_map(|(name, _)| value(name)).collect()
    };
    error(&store, rule, step, result)
}

/// All that is wrong here is a formula: what the reference rounds in `f64` is below this.
#[test]
fn the_graphs_are_the_formulas() {
    for rule in rules() {
        let error = error_in_f64(&rule);
        println!("{}: {error:.1e}", rule.name);
        assert!(error < 1e-13, "{}: {error:e}", rule.name);
    }
}

/// Twenty steps round twenty times, each time by up to 6e-8: rounding stays below 1e-6, and a wrong term does not.
#[test]
fn the_cpu_follows_the_formulas() {
    for rule in rules() {
        let error = error_on(&Device::cpu(), &rule);
        println!("{}: {error:.1e}", rule.name);
        assert!(error < 1e-6, "{}: {error:e}", rule.name);
    }
}

/// WGSL allows a division 2.5 ulp and a square root as much as its inverse, some five times what the CPU rounds.
#[test]
fn the_gpu_follows_the_formulas() {
    let Some(device) = common::gpu() else { return };
    for rule in rules() {
        let error = error_on(&device, &rule);
        println!("{}: {error:.1e}", rule.name);
        assert!(error < 4e-6, "{}: {error:e}", rule.name);
    }
}

/// What has more than one element is updated together; a single one looks like a number that all updates share.
#[test]
fn all_updates_are_one_step_after_the_cut() {
    for device in common::devices() {
        for rule in rules().into_iter().filter(|rule| rule.elementwise) {
            let store = Store::new(&device, 3);
            let program = program(&store, &*rule.optimizer, &PARAMETERS[..4]);
            let schedule = program.schedule();
            let updates = &schedule.steps[schedule.cut..];
            assert_eq!(updates.len(), 1, "{} on {}:\n{schedule}", rule.name, device.name());
        }
    }
}

/// A step in two halves is the same step.
#[test]
fn gradients_then_updates_are_a_whole_step() {
    for device in common::devices() {
        for rule in rules().into_iter().filter(|rule| ["AdamW", "LAMB", "Muon"].contains(&rule.name)) {
            let [whole, halves] = [0, 1].map(|_| Store::new(&device, 3));
            let programs = [&whole, &halves].map(|store| program(store, &*rule.optimizer, &PARAMETERS));
            for step in 0..3 {
                let noise = noise(step);
                let inputs = inputs(&noise);
                programs[0].run(&inputs).unwrap();
                let before = parameters(&halves);
                programs[1].run_gradients(&inputs).unwrap();
                assert_eq!(parameters(&halves), before, "the first half changes no parameter");
                let (scale, noise) = (*before.last().unwrap() as f32, noise[4].item().unwrap() as f32);
                assert_eq!(programs[1].gradient("scale").unwrap().item().unwrap() as f32, scale + noise);
                programs[1].run_updates().unwrap();
                assert_eq!(parameters(&halves), parameters(&whole), "step {step} on {}", device.name());
            }
        }
    }
}

//! Optimizers against their formulas, written once more as plain loops in `f64`.

mod common;

use neuropil::graph::Sample;
use neuropil::optim::{Adam, LEARNING_RATE, Optimizer, Sgd};
use neuropil::{Array, DType, Device, Init, Mode, Program, Store};

const STEPS: usize = 20;
/// The learning rate changes half way, as a schedule would have it.
const RATES: [f32; 2] = [0.05, 0.02];
/// The parameters: names and shapes. One is longer than a block of memory, two have one shape, one has no axes.
const PARAMETERS: [(&str, &[usize]); 4] =
    [("conv.weight", &[5, 17]), ("norm.weight", &[7]), ("norm.bias", &[7]), ("scale", &[])];

/// An optimizer and its formula: changes the parameter `p` by the gradient `g` at step `t`, counted from 1, with two
/// values of the optimizer's own that start at 0.
struct Rule {
    optimizer: Box<dyn Optimizer>,
    formula: fn(p: &mut f64, g: f64, state: &mut [f64; 2], rate: f64, t: i32),
}

fn sgd(p: &mut f64, g: f64, _: &mut [f64; 2], rate: f64, _: i32) {
    *p -= rate * g;
}

fn sgd_with_decay(p: &mut f64, g: f64, _: &mut [f64; 2], rate: f64, _: i32) {
    *p -= rate * (g + 0.1 * *p);
}

fn momentum(p: &mut f64, g: f64, [b, _]: &mut [f64; 2], rate: f64, _: i32) {
    *b = 0.9 * *b + g;
    *p -= rate * *b;
}

fn nesterov_with_decay(p: &mut f64, g: f64, [b, _]: &mut [f64; 2], rate: f64, _: i32) {
    let g = g + 0.1 * *p;
    *b = 0.9 * *b + g;
    *p -= rate * (g + 0.9 * *b);
}

fn adam(p: &mut f64, g: f64, [m, v]: &mut [f64; 2], rate: f64, t: i32) {
    *m = 0.9 * *m + 0.1 * g;
    *v = 0.999 * *v + 0.001 * g * g;
    let (first, second) = (*m / (1.0 - 0.9f64.powi(t)), *v / (1.0 - 0.999f64.powi(t)));
    *p -= rate * first / (second.sqrt() + 1e-8);
}

fn adam_with_decay(p: &mut f64, g: f64, state: &mut [f64; 2], rate: f64, t: i32) {
    adam(p, g + 0.1 * *p, state, rate, t);
}

fn adamw(p: &mut f64, g: f64, state: &mut [f64; 2], rate: f64, t: i32) {
    *p -= rate * 0.1 * *p;
    adam(p, g, state, rate, t);
}

fn rules() -> Vec<(&'static str, Rule)> {
    let rate = f64::from(RATES[0]);
    let rule = |optimizer: Box<dyn Optimizer>, formula| Rule { optimizer, formula };
    vec![
        ("SGD", rule(Box::new(Sgd::new(rate)), sgd)),
        ("SGD, decay", rule(Box::new(Sgd { weight_decay: 0.1, ..Sgd::new(rate) }), sgd_with_decay)),
        ("SGD, momentum", rule(Box::new(Sgd::new(rate).momentum(0.9)), momentum)),
        (
            "SGD, Nesterov, decay",
            rule(
                Box::new(Sgd { nesterov: true, weight_decay: 0.1, ..Sgd::new(rate).momentum(0.9) }),
                nesterov_with_decay,
            ),
        ),
        ("Adam", rule(Box::new(Adam::new(rate)), adam)),
        ("Adam, decay", rule(Box::new(Adam { weight_decay: 0.1, ..Adam::new(rate) }), adam_with_decay)),
        ("AdamW", rule(Box::new(Adam::decoupled(rate, 0.1)), adamw)),
    ]
}

/// A training step whose loss is `Σ (p² / 2 + noise · p)` over all parameters: the gradient of `p` is `p + noise`.
fn program(store: &Store, optimizer: &dyn Optimizer, parameters: &[(&str, &[usize])]) -> Program {
    Program::compile("step", store, Mode::Train, |trace| {
        let mut loss = trace.constant(0.0, DType::F32);
        for (name, shape) in parameters {
            let parameter = trace.scope().param(name, shape, Init::Uniform { bound: 1.0 });
            let noise = trace.input(name, shape, DType::F32);
            loss = loss + (parameter.square() * 0.5 + &noise * &parameter).sum_all();
        }
        optimizer.update(trace, &trace.gradients(&loss));
    })
    .unwrap()
}

fn noise(step: usize) -> Vec<Array> {
    let draw = |(i, (_, shape)): (usize, &(&str, &[usize]))| Sample::uniform(shape, -1.0, 1.0, (step * 10 + i) as u64);
    PARAMETERS.iter().enumerate().map(draw).collect()
}

/// The parameters of all names one after the other.
fn parameters(store: &Store) -> Vec<f64> {
    PARAMETERS.iter().flat_map(|(name, _)| store.get(name).unwrap().to_f64_vec()).collect()
}

/// Runs the rule on a device and in `f64`; gives the largest difference, relative to the largest parameter.
fn error(device: &Device, rule: &Rule) -> f64 {
    let store = Store::new(device, 3);
    let program = program(&store, &*rule.optimizer, &PARAMETERS);
    let mut expected = parameters(&store);
    let mut states = vec![[0.0; 2]; expected.len()];
    for step in 0..STEPS {
        let rate = RATES[step * RATES.len() / STEPS];
        store.set(LEARNING_RATE, &Array::scalar(rate)).unwrap();
        let noise = noise(step);
        let inputs: Vec<(&str, &Array)> = PARAMETERS.iter().map(|(name, _)| *name).zip(&noise).collect();
        program.run(&inputs).unwrap();
        let noise = noise.iter().flat_map(Array::to_f64_vec);
        for ((p, state), noise) in expected.iter_mut().zip(&mut states).zip(noise) {
            (rule.formula)(p, *p + noise, state, f64::from(rate), step as i32 + 1);
        }
    }
    let largest = expected.iter().fold(0.0, |largest: f64, p| largest.max(p.abs()));
    let differences = parameters(&store).into_iter().zip(&expected).map(|(got, want)| (got - want).abs());
    differences.fold(0.0, f64::max) / largest
}

/// Twenty steps round twenty times, each time by up to 6e-8: rounding stays below 1e-6, and a wrong term does not.
#[test]
fn the_cpu_follows_the_formulas() {
    for (name, rule) in rules() {
        let error = error(&Device::cpu(), &rule);
        println!("{name}: {error:.1e}");
        assert!(error < 1e-6, "{name}: {error:e}");
    }
}

/// WGSL allows a division 2.5 ulp and a square root as much as its inverse, some five times what the CPU rounds.
#[test]
fn the_gpu_follows_the_formulas() {
    let Some(device) = common::gpu() else { return };
    for (name, rule) in rules() {
        let error = error(&device, &rule);
        println!("{name}: {error:.1e}");
        assert!(error < 4e-6, "{name}: {error:e}");
    }
}

/// What has more than one element is updated together; a single one looks like a number that all updates share.
#[test]
fn all_updates_are_one_step_after_the_cut() {
    for device in common::devices() {
        for (name, rule) in rules() {
            let store = Store::new(&device, 3);
            let program = program(&store, &*rule.optimizer, &PARAMETERS[..3]);
            let schedule = program.schedule();
            let updates = &schedule.steps[schedule.cut..];
            assert_eq!(updates.len(), 1, "{name} on {}:\n{schedule}", device.name());
        }
    }
}

/// A step in two halves is the same step.
#[test]
fn gradients_then_updates_are_a_whole_step() {
    for device in common::devices() {
        let rules = rules();
        let (_, rule) = rules.last().unwrap();
        let [whole, halves] = [0, 1].map(|_| Store::new(&device, 3));
        let programs = [&whole, &halves].map(|store| program(store, &*rule.optimizer, &PARAMETERS));
        for step in 0..3 {
            let noise = noise(step);
            let inputs: Vec<(&str, &Array)> = PARAMETERS.iter().map(|(name, _)| *name).zip(&noise).collect();
            programs[0].run(&inputs).unwrap();
            let before = parameters(&halves);
            programs[1].run_gradients(&inputs).unwrap();
            assert_eq!(parameters(&halves), before, "the first half changes no parameter");
            let (scale, noise) = (*before.last().unwrap() as f32, noise[3].item().unwrap() as f32);
            assert_eq!(programs[1].gradient("scale").unwrap().item().unwrap() as f32, scale + noise);
            programs[1].run_updates().unwrap();
            assert_eq!(parameters(&halves), parameters(&whole), "step {step} on {}", device.name());
        }
    }
}

//! Groups, clipping, accumulation, averages, conditions: what is put around an optimizer.

use neuropil::graph::Leaf;
use neuropil::optim::{Adam, Group, Optimizer, Sgd};
use neuropil::{Array, DType, Device, ErrorKind, Init, Mode, Program, Store};

use super::{PARAMETERS, common, inputs, noise, parameters, program, try_program};

fn close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance, "{what}: element {i} is {got}, not {want}");
    }
}

/// All gradients at the parameters before the first step.
fn gradients(before: &[f64], step: usize) -> Vec<f64> {
    let noise = noise(step);
    before.iter().zip(noise.iter().flat_map(Array::to_f64_vec)).map(|(p, noise)| p + noise).collect()
}

/// One step on a new store; the parameters before and after it.
fn one_step(device: &Device, optimizer: &dyn Optimizer) -> [Vec<f64>; 2] {
    let store = Store::new(device, 3);
    let program = program(&store, optimizer, &PARAMETERS);
    let before = parameters(&store);
    program.run(&inputs(&noise(0))).unwrap();
    [before, parameters(&store)]
}

#[test]
fn clipping_limits_the_norm_of_all_gradients() {
    for device in common::devices() {
        for limit in [0.5, 1e3] {
            let [before, after] = one_step(&device, &Sgd::new(0.1).clip_norm(limit));
            let g = gradients(&before, 0);
            let norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
            assert!(norm > 5.0);
            let factor = (limit / (norm + 1e-6)).min(1.0);
            let want: Vec<f64> = before.iter().zip(&g).map(|(p, g)| p - 0.1 * factor * g).collect();
            close(&after, &want, 5e-7, &format!("limit {limit} on {}", device.name()));
        }
    }
}

#[test]
fn clipping_limits_every_element() {
    for device in common::devices() {
        let [before, after] = one_step(&device, &Sgd::new(0.1).clip_value(0.25));
        let step = |(p, g): (&f64, f64)| p - 0.1 * g.clamp(-0.25, 0.25);
        let want: Vec<f64> = before.iter().zip(gradients(&before, 0)).map(step).collect();
        close(&after, &want, 3e-7, &device.name());
    }
}

/// A step of least squares on `batch` samples, with the mean as the loss.
fn regression(store: &Store, optimizer: &dyn Optimizer, batch: usize) -> Program {
    Program::compile("regression", store, Mode::Train, |trace| {
        let x = trace.input("x", &[batch, 6], DType::F32);
        let y = trace.input("y", &[batch, 3], DType::F32);
        let weight = trace.scope().param("weight", &[3, 6], Init::Uniform { bound: 1.0 });
        let bias = trace.scope().param("bias", &[3], Init::Uniform { bound: 1.0 });
        let loss = neuropil::loss::mse(&x.linear(&weight, Some(&bias)).tanh(), &y);
        optimizer.update(trace, &trace.gradients(&loss));
    })
    .unwrap()
}

/// The bits of all parameters and states whose names do not begin with one of `except`.
fn bits(store: &Store, except: &[&str]) -> Vec<(String, Vec<u32>)> {
    let names = [Leaf::Parameter, Leaf::State].into_iter().flat_map(|leaf| store.names(leaf));
    let names = names.map(|(name, _)| name).filter(|name| !except.iter().any(|prefix| name.starts_with(prefix)));
    names.map(|name| (name.clone(), store.get(&name).unwrap().to_words())).collect()
}

#[test]
fn small_batches_add_up_to_a_large_one() {
    const PARTS: usize = 4;
    let samples = |shape: &[usize], seed| neuropil::graph::Sample::uniform(shape, -1.0, 1.0, seed);
    let optimizer = || Adam::decoupled(0.05, 0.1).clip_norm(0.2).averaged(0.9);
    for device in common::devices() {
        let [whole, parts] = [0, 1].map(|_| Store::new(&device, 3));
        let at_once = regression(&whole, &optimizer(), 3 * PARTS);
        let in_parts = regression(&parts, &optimizer().accumulate(PARTS), 3);
        for step in 0..5 {
            let (x, y) = (samples(&[3 * PARTS, 6], step), samples(&[3 * PARTS, 3], 100 + step));
            at_once.run(&[("x", &x), ("y", &y)]).unwrap();
            let part = |array: &Array, width: usize, part: usize| {
                let elements = array.as_slice::<f32>().unwrap();
                Array::new(&[3, width], elements[part * 3 * width..(part + 1) * 3 * width].to_vec()).unwrap()
            };
            let before = bits(&parts, &["optimizer.accumulated"]);
            for i in 0..PARTS {
                assert_eq!(bits(&parts, &["optimizer.accumulated"]), before, "run {i} on {}", device.name());
                in_parts.run(&[("x", &part(&x, 6, i)), ("y", &part(&y, 3, i))]).unwrap();
            }
            assert_ne!(bits(&parts, &["optimizer.accumulated"]), before, "and then it steps");
            for name in ["weight", "bias", "average/weight"] {
                let [got, want] = [&parts, &whole].map(|store| store.get(name).unwrap().to_f64_vec());
                close(&got, &want, 1e-6, &format!("{name} at step {step} on {}", device.name()));
            }
            assert_eq!(parts.get("optimizer.accumulated_runs").unwrap().item().unwrap(), PARTS as f64);
            assert!(parts.get("optimizer.accumulated/weight").unwrap().to_f64_vec().iter().all(|&sum| sum == 0.0));
        }
    }
    assert_eq!(optimizer().accumulate(PARTS).clip_value(1.0).runs_per_step(), PARTS);
}

#[test]
fn averages_follow_the_parameters() {
    for device in common::devices() {
        let store = Store::new(&device, 3);
        store.freeze("norm.weight");
        let program = program(&store, &Sgd::new(0.1).averaged(0.75), &PARAMETERS);
        let averages = || -> Vec<f64> {
            let average = |name: &str| store.get(&format!("average/{name}")).unwrap().to_f64_vec();
            PARAMETERS.iter().flat_map(|(name, _)| average(name)).collect()
        };
        let mut want: Vec<f64> = Vec::new();
        for step in 0..5 {
            program.run(&inputs(&noise(step))).unwrap();
            let now = parameters(&store);
            want = match step {
                0 => now,
                _ => want.iter().zip(now).map(|(average, p)| 0.75 * average + 0.25 * p).collect(),
            };
            close(&averages(), &want, 1e-6, &format!("step {step} on {}", device.name()));
        }
        // Another program computes with them; files hold them.
        let read = |averaged: bool| {
            let program = Program::compile("read", &store, Mode::Evaluate, |trace| {
                if averaged {
                    trace.use_averages();
                }
                trace.output("y", &(trace.scope().param("norm.bias", &[7], Init::Constant(0.0)) * 1.0));
            });
            program.unwrap().call(&[]).unwrap()["y"].clone()
        };
        assert_eq!(read(true), store.get("average/norm.bias").unwrap());
        assert_eq!(read(false), store.get("norm.bias").unwrap());
        assert!(store.weights().unwrap().contains_key("average/norm.bias"));
    }
}

#[test]
fn groups_have_their_own_rate_and_decay() {
    let groups = || {
        [
            Group::new(&["*.bias", "scale"]).weight_decay(0.0),
            Group::new(&["conv.*", "*.bias"]).rate(0.5),
            Group::new(&["head.*"]).rate(0.0).weight_decay(9.0),
        ]
    };
    let rule = |name: &str| match name {
        "norm.bias" | "scale" => (1.0, 0.0),
        "conv.weight" => (0.5, 0.25),
        "head.weight" => (0.0, 9.0),
        _ => (1.0, 0.25),
    };
    for device in common::devices() {
        let [before, after] = one_step(&device, &Sgd { weight_decay: 0.25, ..Sgd::new(0.1) }.grouped(groups()));
        let rules = PARAMETERS.iter().flat_map(|(name, shape)| vec![rule(name); shape.iter().product()]);
        let g = gradients(&before, 0);
        let step = |((p, g), (rate, decay)): ((&f64, &f64), (f64, f64))| p - 0.1 * rate * (g + decay * p);
        let want: Vec<f64> = before.iter().zip(&g).zip(rules).map(step).collect();
        close(&after, &want, 5e-7, &device.name());
    }
    // What is named by no group is of the optimizer's own: the same with decoupled decay.
    let [before, after] = one_step(&Device::cpu(), &Adam::decoupled(0.1, 0.25).grouped(groups()));
    let frozen = 6 * 2 * 3 * 3..6 * 2 * 3 * 3 + 9 * 4;
    assert_eq!(before[frozen.clone()], after[frozen]);
}

#[test]
fn a_group_of_nobody_is_an_error() {
    let store = Store::new(&Device::cpu(), 3);
    let error = try_program(&store, &Sgd::new(0.1).grouped([Group::new(&["*.biass"])]), &PARAMETERS).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(text.contains("\"*.biass\"") && text.contains("norm.bias, scale"), "{text}");
}

/// Parameters of a group lie together, so each group is one step; clipping and accumulation join the step.
#[test]
fn wrappers_cost_few_steps() {
    let layers: Vec<String> = (0..6).flat_map(|i| [format!("{i}.weight"), format!("{i}.bias")]).collect();
    let shapes: Vec<(&str, &[usize])> =
        layers.iter().map(|name| (name.as_str(), if name.ends_with("bias") { &[5][..] } else { &[5, 30] })).collect();
    let adam = || Adam::decoupled(1e-3, 0.1);
    let decay = || Adam { decoupled: false, ..adam() };
    let no_decay = || [Group::new(&["*.bias"]).weight_decay(0.0)];
    let cases: [(&str, Box<dyn Optimizer>, usize); 7] = [
        ("groups", Box::new(adam().grouped(no_decay())), 2),
        ("value", Box::new(adam().clip_value(1.0)), 1),
        ("average", Box::new(adam().averaged(0.9)), 2),
        // The update, and the sums.
        ("accumulation", Box::new(adam().accumulate(2)), 2),
        // Twelve norms, their sum in two steps, and the update.
        ("norm", Box::new(adam().clip_norm(1.0)), 15),
        ("norm, decay", Box::new(decay().clip_norm(1.0)), 15),
        ("all", Box::new(adam().clip_norm(1.0).grouped(no_decay()).averaged(0.9).accumulate(2)), 19),
    ];
    for device in common::devices() {
        for (name, optimizer, most) in &cases {
            let store = Store::new(&device, 3);
            let program = program(&store, &**optimizer, &shapes);
            let schedule = program.schedule();
            let steps = schedule.steps.len() - schedule.cut;
            println!("{name} on {}: {steps}", device.name());
            assert!(steps <= *most, "{name} on {}: {steps} steps\n{schedule}", device.name());
        }
    }
}

/// What a wrapper needs to skip a step: a value that is not finite goes nowhere.
#[test]
fn updates_happen_when_a_condition_holds() {
    for device in common::devices() {
        let store = Store::new(&device, 3);
        let program = Program::compile("conditional", &store, Mode::Train, |trace| {
            let go = trace.input("go", &[], DType::U32);
            let x = trace.scope().param("x", &[3], Init::Constant(1.0));
            let count = trace.scope().state("count", &[], DType::U32, Init::Constant(7.0));
            let signed = trace.scope().state("signed", &[2], DType::I32, Init::Constant(-7.0));
            let noise = trace.input("noise", &[3], DType::F32);
            let loss = (&noise * &x).sum_all();
            let one = trace.constant(1.0, DType::U32);
            trace.updates_when(&go, || {
                Sgd::new(1.0).momentum(0.5).update(trace, &trace.gradients(&loss));
                trace.update(&count, &(&count - trace.constant(9.0, DType::U32)));
                trace.updates_when(&(&one - &go), || {
                    trace.update(&signed, &(&signed + trace.constant(1.0, DType::I32)));
                });
            });
            // The value after the run, for those who come later.
            trace.output("x", &(trace.updated(&x) * 2.0));
        })
        .unwrap();
        let run = |go: u32, noise: f32| {
            let noise = Array::full(&[3], noise);
            program.run(&[("go", &Array::scalar(go)), ("noise", &noise)]).unwrap();
            let value = |name: &str| store.get(name).unwrap().to_f64_vec()[0];
            (value("x"), value("optimizer.momentum/x"), value("count"), value("signed"))
        };
        assert_eq!(run(0, f32::NAN), (1.0, 0.0, 7.0, -7.0), "{}", device.name());
        assert_eq!(run(1, 2.0), (-1.0, 2.0, 4_294_967_294.0, -7.0), "{}", device.name());
        assert_eq!(program.read("x").unwrap().to_f64_vec(), [-2.0; 3]);
        assert_eq!(run(0, f32::INFINITY), (-1.0, 2.0, 4_294_967_294.0, -7.0), "{}", device.name());
        assert_eq!(program.read("x").unwrap().to_f64_vec(), [-2.0; 3]);
    }
    let wrong = Program::compile("wrong", &Store::new(&Device::cpu(), 0), Mode::Train, |trace| {
        trace.updates_when(&trace.constant(1.0, DType::F32), || {});
    });
    assert!(wrong.err().unwrap().to_string().contains("the condition is f32[], it must be u32[]"));
}

//! Programs over a store: what a run costs, what programs share, and what they compute over many runs.

mod common;

use std::thread;

use common::model::{CLASSES, Training, evaluate, predict, trainer};
use neuropil::data::digits;
use neuropil::device::{Clock, Counters, Options};
use neuropil::{Array, DType, Device, ErrorKind, Init, Mode, Program, Store, Trace};

/// What was made and submitted between two readings.
fn difference(before: Counters, after: Counters) -> Counters {
    Counters {
        pipelines: after.pipelines - before.pipelines,
        buffers: after.buffers - before.buffers,
        bind_groups: after.bind_groups - before.bind_groups,
        submits: after.submits - before.submits,
        dispatches: after.dispatches - before.dispatches,
        proven: after.proven - before.proven,
    }
}

/// A GPU whose counters no other test moves.
fn own_gpu() -> Option<Device> {
    common::open_gpu(Options::default()).or_else(common::skip)
}

fn compile(store: &Store, build: impl FnOnce(&Trace)) -> Program {
    Program::compile("test", store, Mode::Train, build).unwrap()
}

fn scalar(program: &Program, output: &str) -> f64 {
    program.read(output).unwrap().item().unwrap()
}

#[test]
fn a_second_run_makes_nothing_and_submits_once() {
    let unproven = Options { unproven: true, ..Options::default() };
    let Some(device) = common::open_gpu(unproven).or_else(common::skip) else { return };
    let mut training = Training::new(&device, 0, 64);
    let compiled = device.counters();
    training.step();
    let first = device.counters();
    training.step();
    let run = difference(first, device.counters());
    assert_eq!(difference(compiled, first), run, "nor does the first run");
    assert_eq!((run.pipelines, run.buffers, run.bind_groups, run.submits), (0, 0, 0, 1));
    assert!(run.dispatches >= training.program.schedule().steps.len() as u64, "{run:?}");
}

/// Where kernels are new the profile's run comes after one that proves them; it is of every step, in order, and what it
/// computes counts.
#[test]
fn a_profile_is_a_run_whose_steps_are_timed() {
    let stamped = |device: &Device| device.adapter().is_some_and(|info| info.features.contains(&"timestamp-query"));
    for device in [Some(Device::cpu()), own_gpu()].into_iter().flatten() {
        let store = Store::new(&device, 0);
        let program = compile(&store, |trace| {
            let x = trace.scope().param("x", &[300, 300], Init::Constant(1.0));
            let runs = trace.scope().shared_state("runs", &[], DType::F32, Init::Constant(0.0));
            trace.update(&runs, &(&runs + 1.0));
            trace.output("y", &x.matmul(&x).sum(&[0]));
        });
        program.run(&[]).unwrap();
        let profile = program.profile(&[]).unwrap();
        assert_eq!(store.get("runs").unwrap().item().unwrap(), 2.0, "{device:?}");
        assert_eq!(profile.clock, if stamped(&device) { Clock::Device } else { Clock::Host });
        assert_eq!(profile.submission.is_some(), stamped(&device));
        assert_eq!(profile.steps.len(), program.schedule().steps.len());
        for times in &profile.steps {
            assert!(times.host.start <= times.host.end && times.host.end <= times.device.start, "{times:?}");
            assert!(times.device.start <= times.device.end && times.device.end < 60.0, "{times:?}");
        }
        let product = program.schedule().steps.iter().position(|step| step.label.contains("matmul")).unwrap();
        let times = &profile.steps[product].device;
        assert!(times.end - times.start > 1e-6, "54 million operations: {times:?}");
    }
}

#[test]
fn a_profile_refuses_a_wrong_kernel() {
    let Some(device) = own_gpu() else { return };
    device.rewrite_kernels(Some(std::sync::Arc::new(|_: &str, text: &str| {
        text.replace("let start = c_row", "let start = 1u + c_row")
    })));
    let program = compile(&Store::new(&device, 0), |trace| {
        let x = trace.scope().param("x", &[20, 20], Init::Uniform { bound: 1.0 });
        trace.output("y", &x.matmul(&x));
    });
    assert_eq!(program.profile(&[]).unwrap_err().kind(), ErrorKind::Parity);
}

#[test]
fn programs_of_one_store_share_its_parameters_and_the_pipelines_of_their_device() {
    let Some(device) = own_gpu() else { return };
    let mut training = Training::new(&device, 0, 64);
    training.losses(20);
    let store = training.store.clone();
    let made = |compile: &dyn Fn() -> Program| {
        let before = device.counters();
        let program = compile();
        (program, difference(before, device.counters()))
    };

    let (tail, cost) = made(&|| trainer(&store, 29));
    // No extent that depends on the batch is in a text.
    assert_eq!(cost.pipelines, 0);
    // Inputs, gradients, three colours of activations, and the numbers that are passed beside the texts.
    assert_eq!(cost.buffers, 6);
    let (evaluation, cost) =
        made(&|| Program::compile("evaluate", &store, Mode::Evaluate, |trace| evaluate(trace, 256)).unwrap());
    // The network and the loss are those of training; new are argmax, and counting where it is the label.
    assert_eq!(cost.pipelines, 2);
    let (prediction, cost) =
        made(&|| Program::compile("predict", &store, Mode::Evaluate, |trace| predict(trace, 1)).unwrap());
    // New are the three parts of the softmax, and adding the bias to a single row of logits, where nothing is broadcast.
    assert_eq!(cost.pipelines, 4);

    let (train, test) = digits().unwrap();
    let (images, labels) = train.batch(&(0..29).collect::<Vec<_>>()).unwrap();
    let outputs = tail.call(&[("images", &images), ("labels", &labels)]).unwrap();
    assert!(outputs["loss"].item().unwrap() < 2.2, "the tail goes on where whole batches have brought the parameters");

    // The loss and the hits of the evaluation are those of the predictions, image by image.
    let indices: Vec<usize> = (0..256).collect();
    let (images, labels) = test.batch(&indices).unwrap();
    evaluation.run(&[("images", &images), ("labels", &labels)]).unwrap();
    let (mut loss, mut correct) = (0.0, 0.0);
    for index in indices {
        let (image, label) = test.batch(&[index]).unwrap();
        let outputs = prediction.call(&[("images", &image)]).unwrap();
        let probabilities = outputs["probabilities"].to_f64_vec();
        let label = label.item().unwrap() as usize;
        loss -= probabilities[label].ln() / 256.0;
        let best = (0..CLASSES).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
        correct += f64::from(u8::from(best == Some(label)));
    }
    assert!((scalar(&evaluation, "loss") - loss).abs() < 1e-5, "{} {loss}", scalar(&evaluation, "loss"));
    assert_eq!(scalar(&evaluation, "correct"), correct);
}

#[test]
fn two_programs_at_once_compute_what_they_compute_alone() {
    for device in common::devices() {
        let train = |seed: u64| {
            let mut training = Training::new(&device, seed, 64);
            (training.losses(10), training.bits())
        };
        let alone = [train(1), train(2)];
        let together = thread::scope(|scope| {
            let threads = [1, 2].map(|seed| scope.spawn(move || train(seed)));
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(alone, together, "{device:?}");
        assert_ne!(alone[0], alone[1], "{device:?}");
    }
}

#[test]
fn a_step_in_two_halves_is_the_step() {
    for device in common::devices() {
        let (mut whole, mut halves) = (Training::new(&device, 3, 64), Training::new(&device, 3, 64));
        for _ in 0..3 {
            whole.step();
            let before = halves.bits();
            let (images, labels) = halves.next_batch();
            halves.program.run_gradients(&[("images", &images), ("labels", &labels)]).unwrap();
            assert_eq!(before, halves.bits(), "{device:?}: the first half updates nothing");
            for name in ["conv1.weight", "linear.bias"] {
                let gradient = halves.program.gradient(name).unwrap();
                assert_eq!(gradient, whole.program.gradient(name).unwrap(), "{device:?}: {name}");
                assert!(gradient.to_f64_vec().iter().any(|&element| element != 0.0));
            }
            halves.program.run_updates().unwrap();
            assert_ne!(before, halves.bits(), "{device:?}: the second half does");
            assert_eq!(whole.bits(), halves.bits(), "{device:?}");
        }
    }
}

#[test]
fn one_seed_gives_the_same_bits_after_200_steps() {
    for device in common::devices() {
        let train = |seed: u64| {
            let mut training = Training::new(&device, seed, 64);
            (0..200).for_each(|_| training.step());
            (scalar(&training.program, "loss").to_bits(), training.bits())
        };
        let first = train(7);
        assert_eq!(first, train(7), "{device:?}");
        assert!(f64::from_bits(first.0) < 0.5, "{device:?}: it learns");
        assert_ne!(Training::new(&device, 7, 64).bits(), Training::new(&device, 8, 64).bits(), "seeds differ");
    }
}

/// Rounding makes a difference of 1e-7 a step, which training can only magnify so far in 30 steps: 5e-7 on lavapipe.
#[test]
fn the_cpu_and_the_gpu_learn_alike() {
    const TOLERANCE: f64 = 2e-5;
    let Some(device) = common::gpu() else { return };
    let [cpu, gpu] = [Device::cpu(), device].map(|device| Training::new(&device, 1, 64).losses(30));
    for (step, (cpu, gpu)) in cpu.iter().zip(&gpu).enumerate() {
        assert!((cpu - gpu).abs() <= TOLERANCE, "step {step}: loss {cpu} on the CPU, {gpu} on the GPU");
    }
    assert!(cpu[0] > 2.0 && cpu[29] < 1.0, "it learns: {cpu:?}");
}

#[test]
fn a_step_stays_within_its_tensors() {
    let Some(device) = common::checked_gpu() else { return };
    for device in [Device::cpu_with(common::CHECKED), device] {
        let mut training = Training::new(&device, 1, 29);
        assert!(training.losses(3).iter().all(|loss| loss.is_finite()));
        training.program.check_guards().unwrap();
    }
}

#[test]
fn states_change_when_the_run_ends() {
    for device in common::devices() {
        let store = Store::new(&device, 0);
        let program = compile(&store, |trace| {
            let scope = trace.scope();
            let state = |name, value| scope.state(name, &[3], DType::F32, Init::Constant(value));
            let (a, b, sum) = (state("a", 1.0), state("b", 2.0), state("sum", 0.0));
            let count = scope.state("count", &[], DType::U32, Init::Constant(5.0));
            let x = trace.input("x", &[3], DType::F32);
            trace.update(&a, &b);
            trace.update(&b, &a);
            trace.update(&sum, &(&sum + &x * &a));
            trace.update(&count, &(&count + trace.constant(1.0, DType::U32)));
            trace.output("count", &count);
            trace.output("doubled", &(&a * 2.0));
        });
        let x = Array::new(&[3], vec![1f32, 10.0, 100.0]).unwrap();
        let mut doubled = Vec::new();
        for run in 0..3u32 {
            let outputs = program.call(&[("x", &x)]).unwrap();
            assert_eq!(outputs["count"], Array::scalar(5 + run), "{device:?}: outputs are of this run");
            doubled.push(outputs["doubled"].to_f64_vec()[0]);
        }
        assert_eq!(doubled, [2.0, 4.0, 2.0], "{device:?}");
        let value = |name: &str| store.get(name).unwrap().to_f64_vec();
        assert_eq!((value("a"), value("b")), (vec![2.0; 3], vec![1.0; 3]), "{device:?}: swapped three times");
        assert_eq!(value("sum"), [4.0, 40.0, 400.0], "{device:?}");
        assert_eq!(value("count"), [8.0], "{device:?}");
    }
}

#[test]
fn dropout_draws_anew_every_run_and_alike_on_every_device() {
    let draw = |device: &Device, mode: Mode| {
        let store = Store::new(device, 11);
        let program = Program::compile("drop", &store, mode, |trace| {
            let x = trace.input("x", &[1000], DType::F32);
            let scope = trace.scope().enter("layer");
            trace.output("once", &scope.dropout(&x, 0.25));
            trace.output("twice", &scope.dropout(&x, 0.25));
        });
        let program = program.unwrap();
        let ones = Array::full(&[1000], 1f32);
        [0, 1].map(|_| program.call(&[("x", &ones)]).unwrap())
    };
    let ones = Array::full(&[1000], 1f32);
    let devices = common::devices();
    let drawn: Vec<_> = devices.iter().map(|device| draw(device, Mode::Train)).collect();
    for (device, runs) in devices.iter().zip(&drawn) {
        let kept = runs[0]["once"].to_f64_vec().iter().filter(|&&x| x != 0.0).count();
        assert!((690..810).contains(&kept), "{device:?}: kept {kept} of 1000 at a rate of 0.25");
        assert_ne!(runs[0]["once"], runs[0]["twice"], "{device:?}: two layers");
        assert_ne!(runs[0]["once"], runs[1]["once"], "{device:?}: two runs");
        assert_eq!(runs, &drawn[0], "{device:?}");
        assert_eq!(draw(device, Mode::Evaluate)[0]["once"], ones, "{device:?}: not when it is not training");
    }
}

#[test]
fn frozen_parameters_stay_and_have_no_gradient() {
    let device = Device::cpu();
    let store = Store::new(&device, 0);
    store.freeze("conv*");
    let program = trainer(&store, 4);
    let before = store.weights().unwrap();
    let (images, labels) = digits().unwrap().0.batch(&[0, 1, 2, 3]).unwrap();
    program.run(&[("images", &images), ("labels", &labels)]).unwrap();
    let after = store.weights().unwrap();
    for (name, value) in &before {
        assert_eq!(name.starts_with("conv"), *value == after[name], "{name}");
        assert_eq!(name.starts_with("linear"), program.gradient(name).is_ok(), "{name}");
    }
}

#[test]
fn wrong_inputs_are_named() {
    let device = Device::cpu();
    let store = Store::new(&device, 0);
    let program = trainer(&store, 4);
    let (images, labels) = digits().unwrap().0.batch(&[0, 1, 2, 3]).unwrap();
    let fewer = Array::zeros(&[3, 8, 8, 1], DType::F32);
    let floats = labels.cast(DType::F32);
    type Wrong<'a> = (&'a [(&'a str, &'a Array)], ErrorKind, &'a str);
    let cases: [Wrong<'_>; 5] = [
        (
            &[("images", &images), ("labels", &labels), ("images", &images)],
            ErrorKind::Config,
            "the input \"images\" is given twice",
        ),
        (&[("images", &images)], ErrorKind::Config, "the input \"labels\" is missing"),
        (
            &[("images", &images), ("labels", &labels), ("label", &labels)],
            ErrorKind::Config,
            "no input \"label\"; it has images, labels",
        ),
        (
            &[("images", &fewer), ("labels", &labels)],
            ErrorKind::Shape,
            "input \"images\" is f32[4, 8, 8, 1], got f32[3, 8, 8, 1]",
        ),
        (&[("images", &images), ("labels", &floats)], ErrorKind::DType, "input \"labels\" is u32[4], got f32[4]"),
    ];
    for (inputs, kind, words) in cases {
        let error = program.run(inputs).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (kind, format!("program \"train\": {words}")));
    }
    let unknown = program.read("accuracy").unwrap_err().to_string();
    assert_eq!(unknown, "program \"train\": no output \"accuracy\"; it has loss");
    let unknown = program.gradient("conv3.weight").unwrap_err().to_string();
    assert_eq!(unknown, "program \"train\": no gradient of \"conv3.weight\"");
}

#[test]
fn a_mistake_in_model_code_is_reported_with_its_line_when_it_is_compiled() {
    let store = Store::new(&Device::cpu(), 0);
    let mut line = 0;
    let program = Program::compile("wrong", &store, Mode::Train, |trace| {
        let x = trace.input("x", &[2, 3], DType::F32).relu();
        let scope = trace.scope().enter("block").enter("linear");
        let weight = scope.param("weight", &[5, 4], Init::Constant(0.0));
        line = line!() + 1;
        let y = x.linear(&weight, None);
        let [rows, columns] = y.shape() else { panic!("a stand-in of the right rank") };
        trace.output("y", &y.reshape(&[rows * columns, 9]));
    });
    let error = program.err().expect("the mistake is reported");
    assert_eq!(error.kind(), ErrorKind::Shape);
    let text = error.to_string();
    assert!(text.starts_with(&format!("compiling \"wrong\": block.linear, {}:{line}: ", file!())), "{text}");
    assert!(text.contains("[2, 3]") && text.contains("[5, 4]"), "{text}");
}

#[test]
fn a_tensor_that_the_adapter_cannot_bind_is_refused_before_anything_runs() {
    let Some(device) = own_gpu() else { return };
    let limits = device.adapter().map(|adapter| adapter.limits.clone()).unwrap_or_default();
    let limit =
        |wanted: &str| limits.iter().find(|(name, _)| *name == wanted).map(|(_, limit)| *limit as usize).unwrap();
    let bytes = limit("max_storage_buffer_binding_size").min(limit("max_buffer_size"));
    let (row, rows) = (1 << 20, bytes / (4 << 20));
    let double = |rows: usize| {
        Program::compile("huge", &Store::new(&device, 0), Mode::Evaluate, |trace| {
            trace.output("y", &(trace.input("x", &[rows, row], DType::F32) * 2.0));
        })
    };
    let error = double(rows + 1).err().expect("it does not fit");
    assert_eq!(error.kind(), ErrorKind::Memory, "{error}");
    let text = error.to_string();
    assert!(text.starts_with("compiling \"huge\": "), "{text}");
    println!("{text}");
    if limit("max_buffer_size") > limit("max_storage_buffer_binding_size") {
        let needed = format!("f32[{}, {row}] needs a binding of {} bytes", rows + 1, (rows + 1) * row * 4);
        assert!(text.contains(&needed), "{text}");
        assert!(text.contains(&format!("the batch is {}, one of about {rows} fits", rows + 1)), "{text}");
        assert!(double(rows).is_ok(), "and it does");
    }
    assert_eq!(device.counters().submits, 0);
}

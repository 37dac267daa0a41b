//! Tiles that are chosen by measurement: a choice for every class, none of a wrong candidate, and none twice.

mod common;

use common::model::Training;

use neuropil::device::{Options, Tiles, Tuning, Tunings};
use neuropil::shape::Window;
use neuropil::{Array, DType, Device, ErrorKind, Mode, Program, Store, Tensor, Trace};

/// A device of its own that measures; `None` without a GPU device to test.
fn measuring() -> Option<Device> {
    common::open_gpu(Options { tuning: Tuning::Quick, ..Options::default() }).or_else(common::skip)
}

/// Two products of one class, one of another, and one that adds in place to what it reads.
fn build(trace: &Trace) -> Vec<Tensor> {
    let x = trace.input("x", &[600, 80], DType::F32);
    let w = trace.input("w", &[80, 80], DType::F32);
    let narrow = trace.input("narrow", &[80, 24], DType::F32);
    let once = x.matmul(&w);
    let twice = once.relu().matmul(&w);
    let sum = &twice.matmul(&w) + &once;
    vec![sum.matmul(&narrow), sum]
}

fn inputs() -> [(&'static str, Array); 3] {
    let array = |shape: &[usize], seed| Array::from_fn(shape, |i| ((i[0] * 7 + i[1] * 3 + seed) % 11) as f32 / 11.0);
    [("x", array(&[600, 80], 1)), ("w", array(&[80, 80], 2)), ("narrow", array(&[80, 24], 3))]
}

fn program(device: &Device) -> Program {
    let outputs = |trace: &Trace| build(trace).iter().enumerate().for_each(|(i, y)| trace.output(&format!("y{i}"), y));
    Program::compile("products", &Store::new(device, 0), Mode::Evaluate, outputs).unwrap()
}

/// Runs, and compares with the CPU device.
fn run(program: &Program) {
    let inputs = inputs();
    let inputs: Vec<(&str, &Array)> = inputs.iter().map(|(name, array)| (*name, array)).collect();
    let got = program.call(&inputs).unwrap();
    let wanted = self::program(&Device::cpu()).call(&inputs).unwrap();
    for (name, wanted) in wanted {
        let (got, wanted) = (got[&name].to_f64_vec(), wanted.to_f64_vec());
        for (got, wanted) in got.into_iter().zip(wanted) {
            assert!((got - wanted).abs() <= 1e-5 * (1.0 + wanted.abs()), "{name}: {got}, should be {wanted}");
        }
    }
}

#[test]
fn the_first_run_chooses_and_later_programs_start_with_the_choice() {
    let Some(device) = measuring() else { return };
    run(&program(&device));
    let tunings = device.tunings();
    assert_eq!(tunings.choices.len(), 2, "{:?}", tunings.choices.keys());
    let first = tunings.choices.values().find(|choice| !choice.trials.is_empty()).expect("something was measured");
    assert!(first.trials.len() >= 2 && first.trials.iter().all(|trial| trial.outcome.is_ok()));
    let seconds = |tiles| first.trials.iter().find(|t| t.tiles == tiles).and_then(|t| t.outcome.as_ref().ok().copied());
    assert!(first.trials.iter().all(|trial| seconds(trial.tiles) >= seconds(first.tiles)), "the fastest");
    let before = device.counters();
    run(&program(&device));
    let after = device.counters();
    assert_eq!((before.pipelines, before.proven), (after.pipelines, after.proven), "nothing is measured twice");

    // Another device of this kind takes them over; one of another kind does not.
    let other = device.reopened_with(device.options()).unwrap();
    assert_eq!(other.load_tunings(&tunings), 2);
    run(&program(&other));
    assert!(other.counters().pipelines < before.pipelines, "no candidates were compiled");
    let elsewhere = neuropil::device::Tunings { driver: "another".to_owned(), ..tunings };
    assert_eq!(device.reopened_with(device.options()).unwrap().load_tunings(&elsewhere), 0);
}

#[test]
fn a_candidate_made_wrong_is_refused_by_name_and_never_used() {
    let Some(device) = measuring() else { return };
    // The last terms of all sums are missing, in direct tiles alone.
    device.rewrite_kernels(Some(std::sync::Arc::new(|_: &str, text: &str| {
        text.replace("k < part.end; k += 4u", "k + 4u < part.end; k += 4u")
    })));
    run(&program(&device));
    let tunings = device.tunings();
    let refused = tunings.refused();
    assert!(!refused.is_empty(), "{:?}", tunings.choices);
    for (class, tiles, error) in refused {
        assert_eq!((tiles, error.kind()), (Tiles::Direct, ErrorKind::Parity), "{class}");
        assert!(error.to_string().contains("(direct ") && error.to_string().contains("is wrong on"), "{error}");
    }
    assert!(tunings.choices.values().all(|choice| choice.tiles != Tiles::Direct));
    run(&program(&device));
}

/// Not every product of a class can have what suits another of it, and a file may say anything: large tiles are for 128 rows
/// and more, and split sums take memory by tiles.
#[test]
fn tiles_that_a_product_cannot_have_are_not_taken_from_a_file() {
    let Some(device) = measuring() else { return };
    let product = |device: &Device, rows: usize| {
        Program::compile("product", &Store::new(device, 0), Mode::Evaluate, |trace| {
            let operand = |name, shape| trace.scope().param(name, shape, neuropil::Init::Uniform { bound: 1.0 });
            trace.output("y", &operand("a", &[rows, 4096]).matmul(&operand("b", &[4096, 128])));
        })
        .unwrap()
    };
    product(&device, 128).run(&[]).unwrap();
    let mut tunings = device.tunings();
    let [choice] = &mut tunings.choices.values_mut().collect::<Vec<_>>()[..] else { panic!("one class") };
    choice.tiles = Tiles::Large;
    let device = device.reopened_with(device.options()).unwrap();
    assert_eq!(device.load_tunings(&tunings), 1);
    let (fits, does_not) = (product(&device, 128), product(&device, 96));
    let has_large = |program: &Program| program.form(0).starts_with("staged 128×128 tile");
    // A software rasteriser has none of them ever.
    let hardware = device.adapter().is_some_and(|info| !info.software);
    assert_eq!((has_large(&fits), has_large(&does_not)), (hardware, false), "{}", fits.form(0));
    let (got, wanted) = (does_not.call(&[]).unwrap(), product(&Device::cpu(), 96).call(&[]).unwrap());
    for (got, wanted) in got["y"].to_f64_vec().into_iter().zip(wanted["y"].to_f64_vec()) {
        assert!((got - wanted).abs() <= 1e-4 * (1.0 + wanted.abs()), "{got}, should be {wanted}");
    }
    assert_eq!(device.tunings().choices.len(), 1, "nor is another chosen for the class");
}

#[test]
fn where_all_candidates_are_wrong_the_run_ends() {
    let Some(device) = measuring() else { return };
    device.rewrite_kernels(Some(std::sync::Arc::new(|_: &str, text: &str| {
        text.replace("let start = c_row", "let start = 1u + c_row")
    })));
    let inputs = inputs();
    let inputs: Vec<(&str, &Array)> = inputs.iter().map(|(name, array)| (*name, array)).collect();
    let error = program(&device).call(&inputs).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Parity, "{error}");
    assert!(device.tunings().choices.is_empty());
}

/// Other tiles and other steps round otherwise, and nothing else.
#[test]
fn training_is_the_same_with_and_without_fusion_and_tuning() {
    let losses = |device: &Device| Training::new(device, 3, 256).losses(12);
    let wanted = losses(&Device::cpu());
    let ways = [
        Options::default(),
        Options { tuning: Tuning::Quick, ..Options::default() },
        Options { tiles: Tiles::Staged, ..Options::default() },
        Options { tiles: Tiles::Winograd, ..Options::default() },
        Options { unfused: true, unproven: true, ..Options::default() },
    ];
    for options in ways {
        let Some(device) = common::open_gpu(options).or_else(common::skip) else { return };
        for (step, (got, wanted)) in losses(&device).into_iter().zip(&wanted).enumerate() {
            assert!((got - wanted).abs() <= 1e-3 * wanted, "{options:?}, step {step}: {got}, should be {wanted}");
        }
    }
}

/// What a convolution gives, and the gradient of its image: in channels enough for Winograd's filtering to be measured.
fn convolutions(device: &Device) -> Program {
    Program::compile("convolutions", &Store::new(device, 0), Mode::Train, |trace| {
        let x = trace.input("x", &[3, 9, 14, 32], DType::F32);
        let weight = trace.input("weight", &[36, 3, 3, 32], DType::F32);
        let y = x.conv2d(&weight, Window::new([3, 3]).padding(1), 1).relu();
        trace.output("y", &y);
        trace.output("gradient", &trace.gradient(&(&y * &y).sum_all(), &[&x])[0]);
    })
    .unwrap()
}

/// Runs the convolutions and compares with the CPU device; gives what was measured.
fn measured_convolutions(device: &Device) -> Tunings {
    let array = |shape: &[usize], seed| {
        Array::from_fn(shape, |i| ((i[0] * 5 + i[1] * 7 + i[2] * 11 + i[3] * 3 + seed) % 13) as f32 / 13.0 - 0.5)
    };
    let (x, weight) = (array(&[3, 9, 14, 32], 1), array(&[36, 3, 3, 32], 2));
    let call = |device: &Device| convolutions(device).call(&[("x", &x), ("weight", &weight)]).unwrap();
    let (got, wanted) = (call(device), call(&Device::cpu()));
    for (name, wanted) in wanted {
        let largest = wanted.to_f64_vec().into_iter().map(f64::abs).fold(0.0, f64::max);
        for (got, wanted) in got[&name].to_f64_vec().into_iter().zip(wanted.to_f64_vec()) {
            assert!((got - wanted).abs() <= 1e-5 * largest, "{name}: {got}, should be {wanted}");
        }
    }
    device.tunings()
}

#[test]
fn winograd_is_measured_where_it_is_asked_for_and_nowhere_else() {
    let Some(device) = measuring() else { return };
    let options = Options { winograd: true, ..device.options() };
    let without = measured_convolutions(&device);
    let with = measured_convolutions(&device.reopened_with(options).unwrap());
    let tried = |tunings: &Tunings| {
        let trials = tunings.choices.values().flat_map(|choice| &choice.trials);
        let filtered = trials.filter(|trial| trial.tiles == Tiles::Winograd);
        filtered.map(|trial| assert!(trial.outcome.is_ok(), "{:?}", trial.outcome)).count()
    };
    assert_eq!(tried(&without), 0);
    assert!(tried(&with) >= 1, "{:?}", with.choices);
    // What one measured is no choice of the other.
    assert!(with.choices.keys().any(|class| !without.choices.contains_key(class)));
    // Nor is what a file says of it without having asked.
    let mut unasked = without.clone();
    unasked.choices.values_mut().for_each(|choice| choice.tiles = Tiles::Winograd);
    assert_eq!(device.reopened_with(options).unwrap().load_tunings(&unasked), 0);
    // Without measurements it costs nothing.
    let planned = |options| convolutions(&device.reopened_with(options).unwrap()).planned_bytes();
    let plain = Options::default();
    assert_eq!(planned(Options { winograd: true, ..plain }), planned(plain));
    assert!(planned(options) > planned(plain));
}

#[test]
fn winograd_made_wrong_is_refused_by_name_and_never_used() {
    let Some(device) = measuring() else { return };
    let device = device.reopened_with(Options { winograd: true, ..device.options() }).unwrap();
    device.rewrite_kernels(Some(std::sync::Arc::new(|_: &str, text: &str| text.replace("upper + lower", "upper"))));
    let tunings = measured_convolutions(&device);
    let refused = tunings.refused();
    assert!(!refused.is_empty(), "{:?}", tunings.choices);
    for (class, tiles, error) in refused {
        assert!(tiles == Tiles::Winograd && class.ends_with(", or winograd"), "{class}: {tiles:?}");
        assert!(error.to_string().contains("(winograd filters + winograd tiles + winograd products, "), "{error}");
    }
    assert!(tunings.choices.values().all(|choice| choice.tiles != Tiles::Winograd));
}

/// More tiles than the workspace has room for.
#[test]
fn winograd_goes_round_by_round() {
    let Some(device) = common::open_gpu(Options { tiles: Tiles::Winograd, ..Options::default() }) else { return };
    let program = |device: &Device| {
        Program::compile("rounds", &Store::new(device, 0), Mode::Evaluate, |trace| {
            let x = trace.input("x", &[3, 321, 320, 3], DType::F32);
            let weight = trace.input("weight", &[5, 3, 3, 3], DType::F32);
            trace.output("y", &x.conv2d(&weight, Window::new([3, 3]).padding(1), 1));
        })
        .unwrap()
    };
    let array = |shape: &[usize]| Array::from_fn(shape, |i| ((i[0] + i[1] * 7 + i[2] * 11 + i[3] * 3) % 13) as f32);
    let (x, weight) = (array(&[3, 321, 320, 3]), array(&[5, 3, 3, 3]));
    let inputs = [("x", &x), ("weight", &weight)];
    let filtered = program(&device);
    let got = filtered.call(&inputs).unwrap();
    // Whole numbers, and halves of them: nothing is rounded.
    assert_eq!(got, program(&Device::cpu()).call(&inputs).unwrap());
    let before = device.counters().dispatches;
    filtered.run(&inputs).unwrap();
    assert_eq!(device.counters().dispatches - before, 5, "the filters, and two rounds");
}

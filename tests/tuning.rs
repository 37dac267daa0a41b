//! Tiles that are chosen by measurement: a choice for every class, none of a wrong candidate, and none twice.

mod common;

use common::model::Training;

use neuropil::device::{Options, Tiles, Tuning};
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
        Options { unfused: true, unproven: true, ..Options::default() },
    ];
    for options in ways {
        let Some(device) = common::open_gpu(options).or_else(common::skip) else { return };
        for (step, (got, wanted)) in losses(&device).into_iter().zip(&wanted).enumerate() {
            assert!((got - wanted).abs() <= 1e-3 * wanted, "{options:?}, step {step}: {got}, should be {wanted}");
        }
    }
}

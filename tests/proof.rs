//! Kernels are proven on first use: what a step must give ([`neuropil::schedule::evaluate`]), and what happens to a kernel
//! that gives something else.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use common::model::Training;
use half::f16;
use neuropil::check::{Case, cases, compare};
use neuropil::device::{Options, Tiles};
use neuropil::graph::{Sample, Tolerance};
use neuropil::ops::REGISTRY;
use neuropil::schedule::evaluate::{Choice, evaluate};
use neuropil::schedule::{Arena, Schedule, SlotId, StoreLayout};
use neuropil::shape::Window;
use neuropil::simplify::simplify;
use neuropil::{Array, DType, Device, Error, ErrorKind, Init, Mode, Program, Result, Store, Trace};

/// A schedule run by the evaluator alone, every element of every step: no device.
struct Interpreter<'a> {
    schedule: &'a Schedule,
    memory: BTreeMap<Arena, Vec<u32>>,
}

impl Interpreter<'_> {
    fn words(&self, slot: SlotId) -> Vec<u32> {
        let (arena, range) = self.schedule.range(slot);
        self.memory[&arena][range].to_vec()
    }

    fn write(&mut self, slot: SlotId, words: &[u32]) {
        let (arena, range) = self.schedule.range(slot);
        self.memory.get_mut(&arena).unwrap()[range].copy_from_slice(words);
    }

    fn run(&mut self) -> Result<()> {
        for step in &self.schedule.steps {
            let operands: Vec<Vec<u32>> = step.reads.iter().map(|&slot| self.words(slot)).collect();
            let elements = evaluate(self.schedule, step, &operands, Choice::All)?;
            for (write, &slot) in step.writes.iter().enumerate() {
                let dtype = self.schedule.slot(slot).ty.dtype;
                let mut words = self.words(slot);
                let mut found = 0;
                for element in elements.iter().filter(|element| element.write == write) {
                    found += 1;
                    store(&mut words, dtype, element.index, element.value);
                }
                assert_eq!(found, self.schedule.slot(slot).ty.len(), "{}: elements of result {write}", step.label);
                self.write(slot, &words);
            }
        }
        Ok(())
    }
}

fn store(words: &mut [u32], dtype: DType, index: usize, value: f64) {
    match dtype {
        DType::F16 => {
            let shift = 16 * (index % 2);
            let bits = u32::from(f16::from_f64(value).to_bits()) << shift;
            words[index / 2] = words[index / 2] & !(0xffff << shift) | bits;
        }
        DType::U32 => words[index] = value as u32,
        DType::I32 => words[index] = value as i32 as u32,
        _ => words[index] = (value as f32).to_bits(),
    }
}

/// What is wrong with a case, if anything.
fn interpreted(case: &Case) -> Result<()> {
    let graph = simplify(&case.graph)?;
    let limits = common::limits(Tiles::Direct);
    let schedule = common::portable_schedule(&graph, &StoreLayout::default(), &limits);
    let memory = schedule.arenas.iter().map(|&(arena, words)| (arena, vec![0; words])).collect();
    let mut interpreter = Interpreter { schedule: &schedule, memory };
    for (name, slot) in &schedule.inputs {
        interpreter.write(*slot, &case.leaves[name].to_words());
    }
    interpreter.run()?;
    for (want, (name, slot, ty)) in case.wants.iter().zip(&schedule.outputs) {
        assert_eq!(want.name, *name);
        let got = Array::from_words(&ty.shape, ty.dtype, &interpreter.words(*slot))?;
        // Steps round to memory between them, which shows where a gradient cancels to nothing.
        let tolerance = Tolerance { absolute: want.tolerance.absolute + 1e-8, ..want.tolerance };
        compare(name, &got, &want.array, tolerance)?.verdict()?;
    }
    Ok(())
}

/// The judge, and the fuser: every step of every case as the evaluator sees it, against the reference of the graph.
#[test]
fn the_evaluator_runs_every_case_as_the_reference_does() {
    let filter = std::env::var("NEUROPIL_TEST_FAMILY").unwrap_or_default();
    let (mut count, mut failures) = (0, Vec::new());
    for family in REGISTRY.iter().filter(|family| family.name.contains(&filter)) {
        let start = std::time::Instant::now();
        for sample in (family.samples)() {
            for case in cases(&sample).unwrap() {
                count += 1;
                let what = |error: Error| format!("{} / {}, {}: {error}", sample.op.name(), case.name, case.direction);
                failures.extend(interpreted(&case).err().map(what));
            }
        }
        println!("{}: {:.1?}", family.name, start.elapsed());
    }
    assert!(count > 0 && failures.is_empty(), "{} of {count} cases:\n{}", failures.len(), failures.join("\n"));
}

/// Opens the GPU under test with kernels of this form of products, for a test that wants it to itself.
fn own_gpu(tiles: Tiles) -> Option<Device> {
    common::open_gpu(Options { tiles, ..Options::default() }).or_else(common::skip)
}

#[test]
fn the_first_step_of_training_proves_all_kernels_and_the_second_none() {
    let Some(device) = own_gpu(Tiles::Auto) else { return };
    let mut training = Training::new(&device, 0, 64);
    assert_eq!(device.counters().proven, 0);
    let start = Instant::now();
    training.step();
    device.wait().unwrap();
    println!("the first step takes {:.1?}", start.elapsed());
    let first = device.counters();
    assert_eq!(first.proven, first.pipelines, "every kernel is proven once");
    training.step();
    let second = device.counters();
    assert_eq!((second.proven, second.submits), (first.proven, first.submits + 1));
    // Another program finds its kernels proven.
    let mut other = Training::new(&device, 1, 32);
    let compiled = device.counters();
    other.step();
    assert_eq!(device.counters().proven, compiled.pipelines);

    let Some(unproven) = common::open_gpu(Options { unproven: true, ..Options::default() }) else { return };
    let mut plain = Training::new(&unproven, 0, 64);
    let start = Instant::now();
    plain.step();
    unproven.wait().unwrap();
    println!("without the proof {:.1?}", start.elapsed());
    plain.step();
    assert_eq!(unproven.counters().proven, 0);
    assert_eq!(training.bits(), plain.bits(), "the proof changes nothing");
}

/// A fault in a kernel: what replaces what, in the texts of kernels of this label.
struct Fault {
    label: &'static str,
    from: &'static str,
    to: &'static str,
}

impl Fault {
    /// Has the kernels of this label made wrong from now on.
    fn make(self, device: &Device) {
        device.rewrite_kernels(Some(Arc::new(move |label, text| {
            if label == self.label {
                assert!(text.contains(self.from), "{label} has no {:?}:\n{text}", self.from);
                text.replacen(self.from, self.to, 1)
            } else {
                text.to_owned()
            }
        })));
    }
}

/// Trains with a fault: the first step must end with an error that starts with `blamed`, and leave the store as it was; the
/// second with the same, and run nothing. Gives the error.
fn refused(device: &Device, fault: Fault, blamed: &str) -> String {
    fault.make(device);
    let mut training = Training::new(device, 0, 64);
    let (images, labels) = training.next_batch();
    let inputs: [(&str, &Array); 2] = [("images", &images), ("labels", &labels)];
    let before = training.bits();
    let error = training.program.run(&inputs).expect_err("the kernel is wrong");
    assert_eq!(error.kind(), ErrorKind::Parity, "{error}");
    let text = error.to_string();
    println!("{text}");
    assert!(text.contains(blamed) && text.contains("refused from now on"), "{blamed}: {text}");
    assert_eq!(training.bits(), before, "{blamed}: the store is as it was");

    let submits = device.counters().submits;
    let again = training.program.run(&inputs).expect_err("it still is");
    assert_eq!((again.to_string(), device.counters().submits), (text.clone(), submits), "refused without running");
    // Any program with this text is.
    let mut other = Training::new(device, 1, 64);
    let (images, labels) = other.next_batch();
    assert!(other.program.run(&[("images", &images), ("labels", &labels)]).is_err());
    assert_eq!(device.counters().submits, submits);
    device.rewrite_kernels(None);
    Training::new(device, 1, 64).step();
    text
}

/// Every kind of work; most by a fault that only some elements show.
#[test]
fn a_kernel_made_wrong_is_refused_by_name() {
    let faults = [
        // Fused into the product: the activation is lost.
        ("conv2 conv2d+relu", "= relu(t2)", "= t2"),
        // Ties count, of which there are many where nothing is positive.
        ("conv1 max_pool2d", "value > best", "value >= best"),
        ("conv2 max_pool2d.grad+select", "t0 > t1", "t0 >= t1"),
        ("conv1 max_pool2d.grad+select", "tap.x * KERNEL_W + tap.y", "tap.y * KERNEL_W + tap.x"),
        // The first of many terms is missing.
        ("conv1 sum", "var index = begin + y;", "var index = begin + y + u32(begin + y == 0u);"),
        ("conv1 conv2d.grad_weight (finish)", "a.sum + b.sum", "a.sum + 0.999 * b.sum"),
        ("linear softmax_cross_entropy", "(1.0 - smoothing) * of_label", "0.999 * of_label"),
        // Momentum, when there is none yet.
        ("optimizer add, optimizer sub ×6", "t0 * t1", "t0"),
    ];
    for (label, from, to) in faults {
        let Some(device) = own_gpu(Tiles::Auto) else { return };
        let step = label.trim_end_matches(" (finish)");
        refused(&device, Fault { label, from, to }, &format!("{step} ("));
    }
}

#[test]
fn a_tile_made_wrong_is_refused_by_name() {
    let forms = [
        // The last terms of every sum are missing.
        (Tiles::Direct, "k < part.end; k += 4u", "k + 4u < part.end; k += 4u", "direct 16×32 tile"),
        (Tiles::Staged, "k < part.end; k += DEPTH", "k + DEPTH < part.end; k += DEPTH", "staged 64×64 tile"),
        (Tiles::Broadcast, "k < part.end; k += DEPTH", "k + DEPTH < part.end; k += DEPTH", "broadcast 32×32 tile"),
    ];
    for (tiles, from, to, form) in forms {
        let Some(device) = own_gpu(tiles) else { return };
        let label = "conv2 conv2d.grad_weight";
        let text = refused(&device, Fault { label, from, to }, &format!("program \"train\": {label} ({form}"));
        assert!(text.contains("neuropil check --op conv2d.grad_weight --device"), "{text}");
    }
}

/// Where a driver has matrix units.
#[test]
fn a_cooperative_tile_made_wrong_is_refused_by_name() {
    let Some(device) = own_gpu(Tiles::Auto) else { return };
    if !device.tiles().contains(&Tiles::Cooperative) {
        println!("skipped: {device:?} has no matrix units");
        return;
    }
    let run = |fault: Option<Fault>| {
        let device = own_gpu(Tiles::Cooperative).expect("the device has such tiles");
        if let Some(fault) = fault {
            fault.make(&device);
        }
        let program = Program::compile("product", &Store::new(&device, 0), Mode::Evaluate, |trace| {
            let operand = |name, shape| trace.scope().param(name, shape, Init::Uniform { bound: 1.0 }).cast(DType::F16);
            trace.output("y", &operand("a", &[130, 70]).matmul(&operand("b", &[70, 90])));
        });
        program.unwrap().run(&[])
    };
    run(None).unwrap();
    let faults = [
        ("k < part.end; k += DEPTH", "k + DEPTH < part.end; k += DEPTH"),
        ("coopMultiplyAdd(a, b[j], pieces[i * PIECES + j])", "coopMultiplyAdd(a, b[0], pieces[i * PIECES + j])"),
        ("(i * BAND + down) * STRIDE_A", "down * STRIDE_A"),
    ];
    for (from, to) in faults {
        let error = run(Some(Fault { label: "matmul", from, to })).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Parity);
        assert!(error.to_string().contains("matmul (cooperative 128×128 tile) is wrong"), "{error}");
    }
}

/// The bound of Winograd's filtering is wider than that of a sum, but a mistake in any of its kernels is not within it.
#[test]
fn winograd_made_wrong_is_refused_by_name() {
    let faults = [
        (" (filters)", "vec4(0.0, 0.5, 0.5, 1.0)", "vec4(0.0, 0.5, 0.5, 0.999)"),
        (" (tiles)", "d[h + 2u] - d[h + 1u]", "d[h + 2u]"),
        ("", "pixels[2][i] += down.y * across.x", "pixels[2][i] += down.x * across.y"),
        // Fused into the products.
        ("", "= relu(t2)", "= t2"),
    ];
    for (kernel, from, to) in faults {
        let Some(device) = own_gpu(Tiles::Winograd) else { return };
        let label = ["conv2 conv2d+relu", kernel].concat().leak();
        let blamed = "conv2 conv2d+relu (winograd filters + winograd tiles + winograd products, ";
        refused(&device, Fault { label, from, to }, blamed);
    }
}

#[test]
fn a_wrong_update_leaves_gradients_and_store_alone() {
    let Some(device) = own_gpu(Tiles::Auto) else { return };
    Fault { label: "optimizer add, optimizer sub ×6", from: "t5 - t7", to: "t5 + t7" }.make(&device);
    let mut training = Training::new(&device, 0, 64);
    let (images, labels) = training.next_batch();
    let before = training.bits();
    training.program.run_gradients(&[("images", &images), ("labels", &labels)]).unwrap();
    let gradient = training.program.gradient("conv1.weight").unwrap();
    let error = training.program.run_updates().unwrap_err();
    assert!(error.to_string().contains("optimizer sub ×6 (elementwise by four) is wrong"), "{error}");
    assert_eq!(training.bits(), before);
    assert_eq!(training.program.gradient("conv1.weight").unwrap(), gradient);
}

/// `tanh(2x + 1)` in one kernel, moments, and a narrow convolution: kernels that the network above does not have.
#[test]
fn chains_moments_and_narrow_groups_made_wrong_are_refused() {
    let build = |trace: &Trace| {
        let x = trace.input("x", &[4, 6, 6, 8], DType::F32);
        let weight = trace.scope().param("weight", &[8, 3, 3, 1], Init::fan_in(9));
        trace.output("chain", &(&x * 2.0 + 1.0).tanh());
        trace.output("variance", &x.var(&[0, 1, 2], 0));
        trace.output("depthwise", &x.conv2d(&weight, Window::new([3, 3]), 8));
    };
    let faults = [
        ("tanh", "magnitude < 0.3", "magnitude < 0.9"),
        ("moments", "a.squares + b.squares", "b.squares"),
        ("conv2d", "sums[i] += a_one(places[i], depth) * b;", "sums[i] = a_one(places[i], depth) * b;"),
    ];
    for (label, from, to) in faults {
        let Some(device) = own_gpu(Tiles::Auto) else { return };
        Fault { label, from, to }.make(&device);
        let program = Program::compile("parts", &Store::new(&device, 0), Mode::Evaluate, build).unwrap();
        let x = Sample::uniform(&[4, 6, 6, 8], -1.0, 1.0, 1);
        let error = program.run(&[("x", &x)]).expect_err(label);
        println!("{error}");
        assert!(error.to_string().contains(&format!("{label} (")), "{error}");
    }
}

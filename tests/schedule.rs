//! What the scheduler makes of a training step, and that it changes no result of any graph.

mod common;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use common::model::train_step;
use common::random_graph;
use neuropil::check::{Leaves, reference};
use neuropil::device::Tiles;
use neuropil::graph::{Graph, Leaf, WindowKind};
use neuropil::schedule::{Arena, Schedule, SlotId, Step, StoreLayout, Work, aligned};
use neuropil::shape::Window;
use neuropil::simplify::simplify;
use neuropil::{Array, DType, Device, Init, Mode, Program, Store, Tensor, Trace};

/// The schedule of the small network's training step on 64 images, for a portable GPU.
fn training_schedule() -> Schedule {
    let trace = Trace::new(true, Vec::new());
    train_step(&trace, 64);
    let graph = simplify(&trace.finish().unwrap().graph).unwrap();
    common::portable_schedule(&graph, &layout(&graph), &common::limits(Tiles::Staged))
}

/// A store as [`Store`] would lay it out: parameters, plain states, and each parameter's velocity at its offset.
fn layout(graph: &Graph) -> StoreLayout {
    let mut layout = StoreLayout { segments: vec![0; 3], ..StoreLayout::default() };
    for (name, value) in graph.leaves(Leaf::Parameter).collect::<Vec<_>>() {
        for (segment, leaf, name) in
            [(0, Leaf::Parameter, name.to_owned()), (2, Leaf::State, format!("optimizer.velocity/{name}"))]
        {
            layout.entries.insert((leaf, name), (segment, layout.segments[segment]));
            layout.segments[segment] += aligned(graph.type_of(value).len());
        }
    }
    for (name, value) in graph.leaves(Leaf::State).filter(|(name, _)| !name.contains('/')) {
        layout.entries.insert((Leaf::State, name.to_owned()), (1, layout.segments[1]));
        layout.segments[1] += aligned(graph.type_of(value).len());
    }
    layout
}

#[test]
fn the_training_step_is_scheduled_as_on_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/train_step.txt");
    let text = training_schedule().to_string();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let changed = text.lines().zip(golden.lines()).position(|(new, old)| new != old);
    assert!(
        text == golden,
        "the schedule is not that of {}, from line {} on; if it is meant to be, run with UPDATE_GOLDEN=1. It is:\n{text}",
        path.display(),
        changed.unwrap_or_else(|| text.lines().count().min(golden.lines().count())) + 1,
    );
}

#[test]
fn bias_and_activation_are_part_of_the_product() {
    let schedule = training_schedule();
    for layer in ["conv1", "conv2", "linear"] {
        let forward = schedule.steps.iter().find(|step| step.label.starts_with(layer)).unwrap();
        let Work::Gemm { epilogue: Some((_, epilogue)), .. } = &forward.work else {
            panic!("{layer}: {}", forward.work)
        };
        let functions = if layer == "linear" { 1 } else { 2 };
        assert_eq!((epilogue.cost(), forward.reads.len(), forward.writes.len()), (functions, 3, 1), "{layer}");
    }
}

/// The gradient of ReLU is the mask of the pool's gradient, which is written once.
#[test]
fn masks_are_part_of_pool_gradients() {
    let trace = Trace::new(true, Vec::new());
    let x = trace.scope().param("x", &[2, 8, 8, 4], Init::Uniform { bound: 1.0 });
    let window = Window::new([2, 2]).stride(2);
    let loss = x.square().relu().max_pool2d(window).sum_all();
    trace.output("gradient", &trace.gradient(&loss, &[&x])[0]);
    let graph = simplify(&trace.finish().unwrap().graph).unwrap();
    let schedule = common::portable_schedule(&graph, &layout(&graph), &common::limits(Tiles::Direct));
    let gradients = schedule.steps.iter().filter_map(|step| match &step.work {
        Work::Window { pooling, epilogue } => Some((pooling.kind, epilogue.is_some())),
        _ => None,
    });
    let gradients: Vec<(WindowKind, bool)> = gradients.collect();
    assert!(gradients.contains(&(WindowKind::MaxScatter, true)), "{schedule}");
    assert!(gradients.contains(&(WindowKind::Max, false)), "two results: {schedule}");
}

#[test]
fn the_optimizer_is_one_step_over_all_parameters() {
    let schedule = training_schedule();
    let [update] = &schedule.steps[schedule.cut..] else { panic!("{schedule}") };
    let Work::Elementwise { shape, .. } = &update.work else { panic!("{}", update.work) };
    let parameters = schedule.slots.iter().filter(|slot| slot.place.arena == Arena::Store(0));
    let end = parameters.map(|slot| slot.place.offset + slot.ty.len()).max();
    assert_eq!(Some(shape.iter().product::<usize>()), end, "from the first parameter to the end of the last");
    let arenas =
        |slots: &[SlotId]| -> BTreeSet<Arena> { slots.iter().map(|&slot| schedule.slot(slot).place.arena).collect() };
    assert_eq!(arenas(&update.writes), BTreeSet::from([Arena::Store(0), Arena::Store(2)]));
    assert_eq!(
        arenas(&update.reads),
        BTreeSet::from([Arena::Store(0), Arena::Store(1), Arena::Store(2), Arena::Gradient(0)])
    );
}

#[test]
fn activations_take_little_more_than_they_must() {
    let schedule = training_schedule();
    let activations = schedule.arenas.iter().filter(|(arena, _)| matches!(arena, Arena::Activation(_)));
    let words: usize = activations.map(|(_, words)| words).sum();
    let ratio = words as f64 / schedule.lower_bound as f64;
    println!("activations: {} bytes, at least {} needed: {ratio:.3} times that", words * 4, schedule.lower_bound * 4);
    assert!(ratio <= 1.6, "{ratio}");
}

#[test]
fn what_a_step_writes_is_not_in_a_buffer_that_it_reads() {
    let schedule = training_schedule();
    let arena = |slot| schedule.slot(slot).place.arena;
    let in_place = |step: &Step, slot| step.writes.contains(slot) && step.reads.contains(slot);
    for step in &schedule.steps {
        let mixed = step.reads.iter().find(|read| {
            !in_place(step, read)
                && step.writes.iter().chain(&step.workspace).any(|&write| arena(write) == arena(**read))
        });
        assert!(mixed.is_none(), "{}: reads and writes {}", step.label, arena(*mixed.unwrap()));
    }
}

/// Compiles a graph of exact numbers and runs it twice, the second time from the states that the first run has left: all
/// gradients, outputs and new values must be those of the reference. `build` gives the inputs' data.
fn check_exactly(device: &Device, what: &str, build: impl FnOnce(&Trace) -> Vec<(String, Array)>) {
    let store = Store::new(device, 0);
    let mut traced = None;
    let program = Program::compile(what, &store, Mode::Evaluate, |trace| {
        let inputs = build(trace);
        traced = trace.finish().ok().map(|traced| (traced.graph, inputs));
    });
    let program = program.unwrap_or_else(|error| panic!("{error}"));
    let (graph, inputs) = traced.expect("what compiles was traced");
    let inputs: Vec<(&str, &Array)> = inputs.iter().map(|(name, array)| (name.as_str(), array)).collect();
    let mut leaves: Leaves =
        inputs.iter().map(|(name, array)| ((Leaf::Input, (*name).into()), (*array).clone())).collect();
    for leaf in [Leaf::Parameter, Leaf::State] {
        for (name, ty) in store.names(leaf) {
            let integers = random_graph::integers(&ty.shape, &name);
            store.set(&name, &integers).unwrap();
            leaves.insert((leaf, name), integers);
        }
    }
    for run in 0..2 {
        let expected = reference::run(&graph, &leaves, DType::F64).unwrap();
        let same = |name: &str, got: Array, want: &Array| {
            let at = || format!("{what} on {device:?}, run {run}: {name} of\n{graph}\n{}", program.schedule());
            assert_eq!(got, want.cast(DType::F32), "{}", at());
        };
        program.run_gradients(&inputs).unwrap();
        expected.gradients().for_each(|(name, want)| same(name, program.gradient(name).unwrap(), want));
        program.run_updates().unwrap();
        expected.outputs().for_each(|(name, want)| same(name, program.read(name).unwrap(), want));
        for (leaf, name, want) in expected.updates() {
            same(name, store.get(name).unwrap(), want);
            leaves.insert((leaf, name.to_owned()), want.clone());
        }
        program.check_guards().unwrap_or_else(|error| panic!("{error}"));
    }
}

fn check_random_graphs(device: &Device, seeds: Range<u64>) {
    for seed in seeds {
        check_exactly(device, &format!("graph {seed}"), |trace| random_graph::build(trace, seed));
    }
}

#[test]
fn random_graphs_compute_what_they_say_on_the_cpu() {
    check_random_graphs(&Device::cpu_with(common::GUARDED), 0..2000);
}

#[test]
fn random_graphs_compute_what_they_say_on_the_gpu() {
    if let Some(device) = common::open_gpu(common::GUARDED).or_else(common::skip) {
        check_random_graphs(&device, 0..40);
    }
}

/// An epilogue takes the place of its product, which must then be of no other use.
#[test]
fn a_product_that_is_used_twice_through_a_reshape_is_stored() {
    check_exactly(&Device::cpu_with(common::GUARDED), "reshaped", |trace| {
        let x = trace.input("x", &[4, 3], DType::F32);
        let product = x.matmul_transposed(&x, false, true).reshape(&[16]);
        trace.output("negative", &-&product);
        trace.output("positive", &product.relu());
        vec![("x".into(), random_graph::integers(&[4, 3], "x"))]
    });
    check_exactly(&Device::cpu_with(common::GUARDED), "a single number", |trace| {
        let x = trace.input("x", &[1, 3], DType::F32);
        let number = x.matmul_transposed(&x, false, true).clamp(-50.0, 50.0).reshape(&[1]);
        trace.output("once", &number);
        trace.output("twice", &number.reshape(&[1, 1]));
        vec![("x".into(), random_graph::integers(&[1, 3], "x"))]
    });
}

#[test]
fn one_value_can_be_the_new_value_of_several_states() {
    check_exactly(&Device::cpu_with(common::GUARDED), "copies", |trace| {
        let x = trace.input("x", &[3], DType::F32);
        let states = ["sum", "copy", "another"];
        let states = states.map(|name| trace.scope().state(name, &[3], DType::F32, Init::Constant(0.0)));
        let sum = &states[0] + x;
        states.iter().for_each(|state| trace.update(state, &sum));
        vec![("x".into(), random_graph::integers(&[3], "x"))]
    });
}

/// Updates that are alike become one step, but not where one writes what another reads.
#[test]
fn updates_of_neighbours_that_look_at_each_other_stay_apart() {
    check_exactly(&Device::cpu_with(common::GUARDED), "chain", |trace| {
        let scope = trace.scope();
        let shapes: [&[usize]; 6] = [&[5, 20], &[3, 4], &[5, 20], &[3, 4], &[5, 20], &[3, 4]];
        let parameters: Vec<Tensor> =
            (0..6).map(|i| scope.param(&format!("parameter{i}"), shapes[i], Init::Constant(0.0))).collect();
        for (parameter, next) in parameters.iter().zip(&parameters[2..]) {
            trace.update(parameter, &(parameter + next));
        }
        Vec::new()
    });
}

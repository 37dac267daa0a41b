//! Mixed precision: what is stored as `f16`, that training works as in `f32`, and that an overflow harms nothing.

mod common;

use std::ops::ControlFlow;

use neuropil::data::digits;
use neuropil::graph::{Leaf, Sample};
use neuropil::nn::models::{mlp, small_cnn};
use neuropil::nn::{Module, Sequential};
use neuropil::optim::{Adam, Group, LOSS_SCALE, LossScale, Optimizer, SKIPPED_STEPS, Sgd};
use neuropil::schedule::{Arena, Schedule};
use neuropil::shape::{Window, Window1d};
use neuropil::train::{Settings, Trainer};
use neuropil::{Array, DType, Device, Init, Mode, Precision, Program, Store, Tensor, Trace, loss};

/// The CPU and, if it stores `f16`, the GPU under test.
fn devices() -> Vec<Device> {
    let (able, unable): (Vec<Device>, Vec<Device>) = common::devices().into_iter().partition(Device::has_f16);
    unable.iter().for_each(|device| println!("skipped: {} has no f16", device.name()));
    able
}

fn trainer(device: &Device, model: Sequential, precision: Precision, settings: Settings) -> Trainer {
    Trainer::new(device, model, [8, 8, 1], Settings { precision, ..settings })
}

/// The share of right answers on the digits' test set after training.
fn accuracy(device: &Device, precision: Precision, epochs: usize) -> f64 {
    let (train, test) = digits().unwrap();
    let settings = Settings { epochs, ..Settings::default().learning_rate(4e-3) };
    let mut trainer = trainer(device, small_cnn(10), precision, settings);
    let epochs = trainer.fit(&train, Some(&test), |_| ControlFlow::Continue(())).unwrap();
    println!("{} {precision:?}: {:?}", device.name(), epochs.last());
    epochs.last().unwrap().test.unwrap().accuracy
}

#[test]
fn digits_are_learned_as_well_as_in_f32() {
    let single = accuracy(&Device::cpu(), Precision::F32, 8);
    for device in devices() {
        let mixed = accuracy(&device, Precision::Mixed, 8);
        assert!(mixed >= 0.985, "{}: {mixed}, {single} in f32", device.name());
        assert!((single - mixed).abs() < 0.01, "{}: {mixed}, {single} in f32", device.name());
    }
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let (train, _) = digits().unwrap();
    let train = train.subset(&(0..320).collect::<Vec<_>>()).unwrap();
    for device in devices() {
        let run = || {
            // 200 steps.
            let settings = Settings { epochs: 10, batch_size: 16, ..Settings::default() };
            let mut trainer = trainer(&device, mlp(10), Precision::Mixed, settings);
            trainer.fit(&train, None, |_| ControlFlow::Continue(())).unwrap();
            bits(trainer.store())
        };
        assert_eq!(run(), run(), "{}", device.name());
    }
}

/// The bits of all parameters and states, by name.
fn bits(store: &Store) -> Vec<(String, Vec<u32>)> {
    let names = [Leaf::Parameter, Leaf::State].into_iter().flat_map(|leaf| store.names(leaf));
    names.map(|(name, _)| (name.clone(), store.get(&name).unwrap().to_words())).collect()
}

/// Bytes of the intermediate results.
fn activations(schedule: &Schedule) -> usize {
    let arenas = schedule.arenas.iter().filter(|(arena, _)| matches!(arena, Arena::Activation(_)));
    arenas.map(|(_, words)| words * 4).sum()
}

#[test]
fn activations_take_about_half_the_memory() {
    let device = Device::cpu();
    let bytes = |precision| {
        let mut trainer = trainer(&device, small_cnn(10), precision, Settings::default());
        let program = trainer.train_program(64).unwrap();
        (activations(program.schedule()), program.schedule().lower_bound * 4)
    };
    let (single, mixed) = (bytes(Precision::F32), bytes(Precision::Mixed));
    println!("activations and their lower bound: {single:?} bytes in f32, {mixed:?} mixed");
    // Masters' copies and the taps of max pools are not halved.
    assert!(mixed.0 as f64 <= 0.6 * single.0 as f64, "{mixed:?} of {single:?}");
    assert!(mixed.1 as f64 <= 0.6 * single.1 as f64, "{mixed:?} of {single:?}");
}

/// A step of a network with a batch norm on 8 images; its output is `loss`.
fn step(store: &Store, scale: LossScale, optimizer: &dyn Optimizer) -> Program {
    Program::compile("step", store, Mode::Train, |trace| {
        trace.set_precision(Precision::Mixed);
        let (images, labels) =
            (trace.input("images", &[8, 8, 8, 1], DType::F32), trace.input("labels", &[8], DType::U32));
        let logits = small_cnn(10).forward(&trace.scope(), images);
        let loss = loss::cross_entropy(&logits, &labels, 0.0);
        trace.output("loss", &loss);
        scale.minimize(trace, &loss, optimizer);
    })
    .unwrap()
}

fn item(store: &Store, name: &str) -> f64 {
    store.get(name).unwrap().item().unwrap()
}

#[test]
fn a_step_that_overflows_changes_nothing_but_the_scale() {
    let (train, _) = digits().unwrap();
    let (images, labels) = train.batch(&(0..8).collect::<Vec<_>>()).unwrap();
    let sgd = Sgd::new(0.05).momentum(0.9);
    let optimizers: [&dyn Optimizer; 2] = [&Adam::decoupled(2e-3, 0.01), &sgd];
    for (device, optimizer) in devices().iter().flat_map(|device| optimizers.map(|optimizer| (device, optimizer))) {
        let store = Store::new(device, 3);
        // Gradients of about 0.01 times 2⁴⁰ are far above 65,504.
        let first = 2f64.powi(40);
        let scale = LossScale { initial: first, growth_interval: 4, ..LossScale::default() };
        let program = step(&store, scale, optimizer);
        // What is not of the loss scale, and not a counter of the random numbers, which go on.
        let kept = || {
            let all = bits(&store).into_iter();
            all.filter(|(name, _)| !name.contains("loss_scale") && !name.starts_with("random.")).collect::<Vec<_>>()
        };
        let before = kept();
        let run = |images: &Array| program.run(&[("images", images), ("labels", &labels)]).unwrap();
        let mut skipped = 0;
        while item(&store, SKIPPED_STEPS) as usize == skipped {
            assert_eq!((kept(), item(&store, LOSS_SCALE)), (before.clone(), first / 2f64.powi(skipped as i32)));
            run(&images);
            skipped += 1;
            assert!(skipped < 40, "the scale never fits");
        }
        println!("{}: {} steps skipped, the scale is {}", device.name(), skipped - 1, item(&store, LOSS_SCALE));
        assert!(skipped > 10);
        assert_ne!(kept(), before);
        for _ in 0..30 {
            run(&images);
        }
        let loss = program.read("loss").unwrap().item().unwrap();
        assert!(loss < 1.0, "and it learns: {loss}");

        // An input that no f16 holds: all gradients are NaN.
        let (before, scale, skipped) = (kept(), item(&store, LOSS_SCALE), item(&store, SKIPPED_STEPS));
        run(&Array::full(&[8, 8, 8, 1], 1e30f32));
        assert_eq!(kept(), before);
        assert_eq!((item(&store, LOSS_SCALE), item(&store, SKIPPED_STEPS)), (scale / 2.0, skipped + 1.0));
        run(&images);
        assert_ne!(kept(), before);
        assert!(program.read("loss").unwrap().item().unwrap() < 1.0);
    }
}

#[test]
fn the_scale_grows_after_good_steps() {
    let store = Store::new(&Device::cpu(), 0);
    let scale = LossScale { initial: 8.0, growth_factor: 4.0, growth_interval: 3, ..LossScale::default() };
    let program = Program::compile("line", &store, Mode::Train, |trace| {
        let weight = trace.scope().param("weight", &[2], Init::Constant(1.0));
        let x = trace.input("x", &[2], DType::F32);
        scale.minimize(trace, &(weight * x).sum_all(), &Sgd::new(0.5));
    })
    .unwrap();
    let mut run = |x: f32| {
        program.run(&[("x", &Array::full(&[2], x))]).unwrap();
        item(&store, LOSS_SCALE)
    };
    let scales: Vec<f64> = [1.0, 1.0, 1.0, 1.0, f32::INFINITY, 1.0, 1.0, 1.0].into_iter().map(&mut run).collect();
    assert_eq!(scales, [8.0, 8.0, 32.0, 32.0, 16.0, 16.0, 16.0, 64.0]);
    // Seven good steps of slope 1, whatever the scale was.
    assert_eq!(store.get("weight").unwrap().to_f64_vec(), [1.0 - 7.0 * 0.5; 2]);
    assert_eq!(program.gradient("weight").unwrap().to_f64_vec(), [1.0, 1.0]);
}

#[test]
fn updates_are_one_step_under_a_loss_scale() {
    for device in devices() {
        let store = Store::new(&device, 0);
        let program = step(&store, LossScale::default(), &Adam::decoupled(2e-3, 0.01));
        let schedule = program.schedule();
        let parameters = |step: &neuropil::schedule::Step| {
            step.writes.iter().filter(|&&slot| schedule.slot(slot).ty.len() > 1000).count()
        };
        let updates: Vec<&str> = schedule.steps[schedule.cut..]
            .iter()
            .filter(|step| parameters(step) > 0)
            .map(|step| step.label.as_str())
            .collect();
        assert_eq!(updates.len(), 1, "{}: {updates:?}", device.name());
    }
}

#[test]
fn parameters_gradients_and_optimizers_stay_f32_and_products_do_not() {
    let store = Store::new(&Device::cpu(), 0);
    let program = step(&store, LossScale::default(), &Adam::new(1e-3));
    let graph = program.graph();
    for value in graph.results() {
        assert_ne!(graph.type_of(value).dtype, DType::F16);
    }
    for (id, node) in graph.nodes() {
        let Some(op) = node.op() else { continue };
        let half = node.inputs.iter().any(|&v| graph.type_of(v).dtype == DType::F16);
        let product = op.name().starts_with("conv2d") || op.name() == "matmul";
        assert!(!product || half, "%{} {op:?} is not of f16", id.0);
        assert!(!half || &*node.scope != "optimizer" && op.name() != "sqrt", "%{} {op:?} is of f16", id.0);
    }
    let weights = graph.leaves(Leaf::Parameter).map(|(name, _)| program.gradient(name).unwrap().dtype());
    assert!(weights.into_iter().all(|dtype| dtype == DType::F32));
}

/// What is made of products stores what they take and give as `f16`, forward and backward.
#[test]
fn products_in_other_operations_are_of_f16_too() {
    let weight = |trace: &Trace, name, shape: &[usize]| trace.scope().param(name, shape, Init::Uniform { bound: 0.5 });
    type Build<'a> = &'a dyn Fn(&Trace, Tensor) -> Tensor;
    let cases: [(&str, &[usize], Build<'_>); 4] = [
        ("conv1d", &[2, 6, 4], &|trace, x| x.conv1d(&weight(trace, "weight", &[4, 3, 4]), Window1d::new(3), 1)),
        ("conv_transpose2d", &[2, 3, 3, 4], &|trace, x| {
            x.conv_transpose2d(&weight(trace, "weight", &[4, 3, 3, 4]), Window::new([3, 3]).stride(2), [0, 0], 1)
        }),
        ("attention", &[2, 6, 4], &|trace, x| {
            let x = x.linear(&weight(trace, "weight", &[4, 4]), None);
            x.scaled_dot_product_attention(&x, &x, None, true)
        }),
        ("einsum", &[2, 6, 4], &|trace, x| x.einsum("bic,dc->bid", &[&weight(trace, "weight", &[5, 4])])),
    ];
    for (device, (name, shape, build)) in devices().iter().flat_map(|device| cases.iter().map(move |c| (device, c))) {
        let run = |precision| {
            let store = Store::new(device, 1);
            let program = Program::compile(name, &store, Mode::Train, |trace| {
                trace.set_precision(precision);
                let y = build(trace, trace.input("x", shape, DType::F32));
                trace.output("y", &y);
                trace.gradients(&y.square().mean_all());
            })
            .unwrap();
            let x = Sample::uniform(shape, -1.0, 1.0, 5);
            program.run(&[("x", &x)]).unwrap();
            let results = [program.read("y").unwrap(), program.gradient("weight").unwrap()];
            (program, results.map(|array| array.to_f64_vec()))
        };
        let ((mixed, got), (_, want)) = (run(Precision::Mixed), run(Precision::F32));
        let graph = mixed.graph();
        let products = graph
            .nodes()
            .filter(|(_, node)| node.op().is_some_and(|op| op.name().starts_with("conv2d") || op.name() == "matmul"));
        let halves = products.map(|(_, node)| node.inputs.iter().all(|&v| graph.type_of(v).dtype == DType::F16));
        let halves: Vec<bool> = halves.collect();
        assert!(halves.len() > 1 && halves.iter().all(|&half| half), "{name}: {halves:?}");
        for (got, want) in got.iter().zip(&want) {
            let largest = want.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
            let worst = got.iter().zip(want).map(|(got, want)| (got - want).abs()).fold(0.0, f64::max);
            assert!(worst > 0.0 && worst < 4e-3 * largest, "{name} on {}: {worst} of {largest}", device.name());
        }
    }
}

/// A step of least squares by `update`.
fn regression(store: &Store, update: &dyn Fn(&Trace, &Tensor)) -> Program {
    Program::compile("regression", store, Mode::Train, |trace| {
        let (x, y) = (trace.input("x", &[5, 6], DType::F32), trace.input("y", &[5, 3], DType::F32));
        let weight = trace.scope().param("weight", &[3, 6], Init::Uniform { bound: 1.0 });
        let bias = trace.scope().param("bias", &[3], Init::Uniform { bound: 1.0 });
        update(trace, &loss::mse(&x.linear(&weight, Some(&bias)).tanh(), &y));
    })
    .unwrap()
}

/// Clipping, accumulation, averages and groups see gradients without the scale, and a run that is skipped is none to them.
#[test]
fn wrapped_optimizers_do_not_notice_the_scale() {
    let groups = [Group::new(&["bias"]).weight_decay(0.0).rate(0.5)];
    let adam = || Adam::decoupled(0.05, 0.1).clip_norm(0.2).averaged(0.9);
    let optimizers: [(&str, Box<dyn Optimizer>); 2] = [
        ("steps with all of it", Box::new(adam().grouped(groups.clone()).accumulate(3))),
        ("sums within a limit", Box::new(Sgd::new(0.1).momentum(0.9).accumulate(2).clip_norm(0.3))),
    ];
    for (device, (name, optimizer)) in devices().iter().flat_map(|d| optimizers.iter().map(move |o| (d, o))) {
        let [plain, scaled] = [0; 2].map(|_| Store::new(device, 3));
        let of_plain = regression(&plain, &|trace, loss| optimizer.update(trace, &trace.gradients(loss)));
        let scale = LossScale { growth_interval: 3, ..LossScale::default() };
        let of_scaled = regression(&scaled, &|trace, loss| scale.minimize(trace, loss, optimizer.as_ref()));
        let kept = || {
            let all = bits(&scaled).into_iter();
            all.filter(|(name, _)| !name.contains("loss_scale")).collect::<Vec<_>>()
        };
        let y = Sample::uniform(&[5, 3], -1.0, 1.0, 7);
        for run in 0..12 {
            let x = Sample::uniform(&[5, 6], -1.0, 1.0, 20 + run);
            of_plain.run(&[("x", &x), ("y", &y)]).unwrap();
            if run % 4 == 1 {
                let (before, scale) = (kept(), item(&scaled, LOSS_SCALE));
                of_scaled.run(&[("x", &Array::full(&[5, 6], f32::NAN)), ("y", &y)]).unwrap();
                assert_eq!(kept(), before, "{name} on {}", device.name());
                assert_eq!(item(&scaled, LOSS_SCALE), scale / 2.0);
            }
            of_scaled.run(&[("x", &x), ("y", &y)]).unwrap();
        }
        assert_eq!(item(&scaled, SKIPPED_STEPS), 3.0);
        for (name, _) in kept() {
            let [got, want] = [&scaled, &plain].map(|store| store.get(&name).unwrap().to_f64_vec());
            for (got, want) in got.into_iter().zip(want) {
                assert!((got - want).abs() < 2e-6, "{name} on {}: {got} and {want}", device.name());
            }
        }
    }
}

/// Every `f16`, numbers between, ties, and what is out of range: the same bits on every device, and those of the host.
#[test]
fn conversions_have_the_same_bits_everywhere() {
    let array = common::halves::numbers();
    let wanted = array.cast(DType::F16);
    for device in devices() {
        let store = Store::new(&device, 0);
        let program = Program::compile("cast", &store, Mode::Evaluate, |trace| {
            let x = trace.input("x", array.shape(), DType::F32);
            let half = x.cast(DType::F16);
            trace.output("stored", &half);
            trace.output("computed", &(half.cast(DType::F32) * 1.0));
        })
        .unwrap();
        let results = program.call(&[("x", &array)]).unwrap();
        let differ = |got: &[f64]| {
            let pairs = got.iter().zip(wanted.to_f64_vec()).zip(array.to_f64_vec());
            pairs.filter(|((got, want), _)| **got != *want).map(|((got, want), x)| (x, *got, want)).collect::<Vec<_>>()
        };
        for name in ["stored", "computed"] {
            let wrong = differ(&results[name].to_f64_vec());
            assert!(
                wrong.is_empty(),
                "{} on {}: {} of {:?}",
                name,
                device.name(),
                wrong.len(),
                &wrong[..wrong.len().min(9)]
            );
        }
        assert_eq!(results["stored"].dtype(), DType::F16);
    }
}

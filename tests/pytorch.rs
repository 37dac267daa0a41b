//! PyTorch as a judge: what it computed (`tests/pytorch/*.safetensors`, written by `scripts/golden.py`) against the user's
//! interface on both devices, forward and backward.
//!
//! References are written by those who write the kernels, so both can be wrong alike; PyTorch was written by others. Files
//! hold `float64` results rounded to `float32`. [`apply`] says how a case is written with [`Tensor`]s.

mod common;

use std::time::Instant;

use common::golden::{Golden, Params, load};
use neuropil::check::compare;
use neuropil::graph::Tolerance;
use neuropil::loss::{self, CrossEntropy};
use neuropil::ops::resample::Interpolation;
use neuropil::optim::{Adagrad, Adam, NAdam, Optimizer, RmsProp, Schedule, Sgd, Span};
use neuropil::shape::Window1d;
use neuropil::{Array, DType, Device, Init, Mode, Program, Store, Tensor, Trace};

/// A case, written as a user would.
fn apply(op: &str, p: &Params<'_>, x: &[Tensor]) -> Vec<Tensor> {
    let pooled = || p.window(p.pair("kernel_size"));
    let axis = || p.number("axis") as isize;
    let third = x.get(2).filter(|_| p.flag("weight") || p.flag("pos_weight"));
    let y = match op {
        "conv2d" => x[0].conv2d(&x[1], p.window([x[1].shape()[1], x[1].shape()[2]]), p.count("groups")),
        "conv_transpose2d" => {
            let window = p.window([x[1].shape()[1], x[1].shape()[2]]);
            x[0].conv_transpose2d(&x[1], window, p.pair("output_padding"), p.count("groups"))
        }
        "conv1d" => {
            let (kernel_size, padding) = (x[1].shape()[1], p.count("padding"));
            let (stride, dilation) = (p.count("stride"), p.count("dilation"));
            x[0].conv1d(&x[1], Window1d { kernel_size, stride, padding: [padding; 2], dilation }, p.count("groups"))
        }
        "matmul" => x[0].matmul(&x[1]),
        "linear" => x[0].linear(&x[1], x.get(2)),
        "einsum" => x[0].einsum(p.0["equation"].as_str().unwrap(), &x[1..].iter().collect::<Vec<_>>()),
        "scaled_dot_product_attention" => x[0].scaled_dot_product_attention(&x[1], &x[2], x.get(3), p.flag("causal")),
        "max_pool2d" => x[0].max_pool2d(pooled()),
        "avg_pool2d" => x[0].avg_pool2d_with(pooled(), p.flag("include_padding")),
        "lp_pool2d" => x[0].lp_pool2d(p.number("p"), pooled()),
        "adaptive_avg_pool2d" => x[0].adaptive_avg_pool2d(p.pair("size")),
        "adaptive_max_pool2d" => x[0].adaptive_max_pool2d(p.pair("size")),
        "upsample_nearest2d" => x[0].interpolate(p.pair("size"), Interpolation::Nearest),
        "upsample_bilinear2d" => {
            let align_corners = p.flag("align_corners");
            x[0].interpolate(p.pair("size"), Interpolation::Bilinear { align_corners })
        }
        "pixel_shuffle" => x[0].pixel_shuffle(p.count("factor")),
        "pixel_unshuffle" => x[0].pixel_unshuffle(p.count("factor")),
        "pad" => {
            let borders: Vec<(usize, usize)> = p.borders("padding").iter().map(|b| (b[0], b[1])).collect();
            match p.0["mode"].as_str().unwrap() {
                "constant" => x[0].pad(&borders, 0.0),
                "reflect" => x[0].pad_reflect(&borders),
                "replicate" => x[0].pad_replicate(&borders),
                _ => x[0].pad_circular(&borders),
            }
        }
        "batch_norm" => x[0].batch_norm(&x[1], &x[2], p.number("epsilon"))[0].clone(),
        "batch_norm_inference" => x[0].batch_norm_inference(&x[1], &x[2], &x[3], &x[4], p.number("epsilon")),
        "layer_norm" => x[0].layer_norm(p.count("axes"), Some(&x[1]), Some(&x[2]), p.number("epsilon")),
        "rms_norm" => x[0].rms_norm(p.count("axes"), Some(&x[1]), p.number("epsilon")),
        "group_norm" => x[0].group_norm(p.count("groups"), Some(&x[1]), Some(&x[2]), p.number("epsilon")),
        "instance_norm" => x[0].instance_norm(Some(&x[1]), Some(&x[2]), p.number("epsilon")),
        "prelu" => x[0].prelu(&x[1]),
        "glu" => x[0].glu(axis()),
        "relu6" => x[0].relu6(),
        "sum" => x[0].sum(&p.axes()),
        "mean" => x[0].mean(&p.axes()),
        "max" => x[0].max(&p.axes()),
        "min" => x[0].min(&p.axes()),
        "prod" => x[0].prod(&p.axes()),
        "argmax" => x[0].argmax(&p.axes()),
        "logsumexp" => x[0].logsumexp(&p.axes()),
        "var" => x[0].var(&p.axes(), p.count("correction")),
        "std" => x[0].std(&p.axes(), p.count("correction")),
        "norm" => x[0].norm(&p.axes(), p.0["p"].as_str().unwrap().parse().unwrap()),
        "softmax" => x[0].softmax(axis()),
        "log_softmax" => x[0].log_softmax(axis()),
        "cumsum" => x[0].cumsum(axis()),
        "gather" => x[0].gather(axis(), &x[1]),
        "scatter_add" => x[0].scatter_add(axis(), &x[1], &x[2]),
        "index_select" => x[0].index_select(axis(), &x[1]),
        "embedding" => x[0].embedding(&x[1], None),
        "one_hot" => x[0].one_hot(p.count("classes")),
        "sort" => return x[0].sort(axis(), p.flag("descending")).to_vec(),
        "top_k" => return x[0].top_k(p.count("k"), axis(), p.flag("largest")).to_vec(),
        "l1" => loss::l1_loss(&x[0], &x[1], p.reduction()),
        "mse" => loss::mse_loss(&x[0], &x[1], p.reduction()),
        "smooth_l1" => loss::smooth_l1_loss(&x[0], &x[1], p.number("beta"), p.reduction()),
        "huber" => loss::huber_loss(&x[0], &x[1], p.number("delta"), p.reduction()),
        "bce" => loss::binary_cross_entropy(&x[0], &x[1], None, p.reduction()),
        "bce_with_logits" => loss::binary_cross_entropy_with_logits(&x[0], &x[1], None, third, p.reduction()),
        "kl_div" => loss::kl_div(&x[0], &x[1], p.flag("log_target"), p.reduction()),
        "hinge_embedding" => loss::hinge_embedding_loss(&x[0], &x[1], p.number("margin"), p.reduction()),
        "sigmoid_focal" => {
            loss::sigmoid_focal_loss(&x[0], &x[1], Some(p.number("alpha")), p.number("gamma"), p.reduction())
        }
        "cosine_embedding" => loss::cosine_embedding_loss(&x[0], &x[1], &x[2], p.number("margin"), p.reduction()),
        "nll" => loss::nll_loss(&x[0], &x[1], None, None, p.reduction()),
        "cross_entropy" | "cross_entropy_soft" => CrossEntropy {
            label_smoothing: p.number("label_smoothing"),
            weight: third.cloned(),
            ignore_index: p.0["ignore_index"].as_u64().map(|label| label as u32),
            reduction: p.reduction(),
        }
        .forward(&x[0], &x[1]),
        // All others are elementwise functions.
        row => {
            let values = if p.0["values"].is_null() { Vec::new() } else { p.values("values") };
            x[0].elementwise(row, &x[1..].iter().collect::<Vec<_>>(), &values)
        }
    };
    vec![y]
}

/// Rounding in proportion to the largest number of the array: sums of the sizes in the files, in any order, with a driver's
/// `exp` and `log`. What norms and angles give comes from numbers near 1 that may cancel, and where an input is far from zero,
/// what is left after subtracting the mean has lost digits: the mean is rounded, an ulp of it over a deviation of a half.
fn tolerance(golden: &Golden, want: &Array) -> Tolerance {
    let size = |array: &Array, least: f64| {
        let finite = array.to_f64_vec().into_iter().filter(|x| x.is_finite() && x.abs() < 1e30);
        finite.fold(least, |scale: f64, x| scale.max(x.abs()))
    };
    let norm = golden.op.ends_with("_norm") || golden.op == "batch_norm_inference";
    let least = if norm || golden.op == "cosine_embedding" { 1.0 } else { 1e-3 };
    let factor = if norm { 0.5 * size(&golden.inputs[0], 2.0) } else { 1.0 };
    let absolute = 4e-6 * factor * size(want, least);
    Tolerance { absolute, relative: 1e-5 * factor, reason: "f32 sums, exp and log, by scale" }
}

fn check_case(device: &Device, golden: &Golden) -> Result<(), neuropil::Error> {
    let store = Store::new(device, 0);
    let mut wants: Vec<(String, Array)> = Vec::new();
    let program = Program::compile(&golden.op, &store, Mode::Train, |trace: &Trace| {
        let inputs: Vec<Tensor> = golden.inputs.iter().map(|array| trace.data(array)).collect();
        let outputs = apply(&golden.op, &Params(&golden.params), &inputs);
        assert_eq!(outputs.len(), golden.outputs.len(), "{}", golden.op);
        let mut loss: Option<Tensor> = None;
        for (i, (output, want)) in outputs.iter().zip(&golden.outputs).enumerate() {
            trace.output(&format!("out{i}"), output);
            wants.push((format!("out{i}"), want.clone()));
            if let Some(Some(upstream)) = golden.upstreams.get(i) {
                let part = (output * trace.data(upstream)).sum_all();
                loss = Some(loss.map_or(part.clone(), |sum| sum + part));
            }
        }
        let Some(loss) = loss else { return };
        let wanted: Vec<usize> = (0..inputs.len()).filter(|&i| golden.gradients[i].is_some()).collect();
        let gradients = trace.gradient(&loss, &wanted.iter().map(|&i| &inputs[i]).collect::<Vec<_>>());
        for (i, gradient) in wanted.into_iter().zip(gradients) {
            trace.output(&format!("grad{i}"), &gradient);
            wants.extend(golden.gradients[i].clone().map(|want| (format!("grad{i}"), want)));
        }
    })?;
    program.run(&[])?;
    for (name, want) in wants {
        compare(&name, &program.read(&name)?, &want, tolerance(golden, &want))?.verdict()?;
    }
    Ok(())
}

fn check_family(family: &str) {
    let filter = std::env::var("NEUROPIL_TEST_CASE").unwrap_or_default();
    let goldens: Vec<Golden> =
        load(family).into_iter().filter(|golden| format!("{} {}", golden.op, golden.name).contains(&filter)).collect();
    for device in common::devices() {
        let start = Instant::now();
        let failure = |golden: &Golden| {
            let error = check_case(&device, golden).err()?;
            Some(format!("{} / {}: {error}", golden.op, golden.name))
        };
        let failures: Vec<String> = goldens.iter().filter_map(failure).collect();
        println!("{family} on {}: {} cases in {:.1?}", device.name(), goldens.len(), start.elapsed());
        assert!(failures.is_empty(), "{device:?}: {} failures:\n{}", failures.len(), failures.join("\n"));
    }
}

macro_rules! families {
    ($($test:ident $family:literal;)+) => {$(
        #[test]
        fn $test() {
            check_family($family);
        }
    )+};
}

families! {
    convolutions_are_those_of_pytorch "conv2d";
    products_are_those_of_pytorch "matmul";
    image_operations_are_those_of_pytorch "image";
    norms_are_those_of_pytorch "norm";
    elementwise_functions_are_those_of_pytorch "elementwise";
    reductions_are_those_of_pytorch "reduce";
    indexing_is_that_of_pytorch "indexing";
    losses_are_those_of_pytorch "loss";
}

/// The optimizer of a case.
fn optimizer(op: &str, p: &Params<'_>) -> Box<dyn Optimizer> {
    let rate = p.number("lr");
    let or = |name: &str, default: f64| p.0[name].as_f64().unwrap_or(default);
    let (weight_decay, momentum) = (or("weight_decay", 0.0), or("momentum", 0.0));
    let betas = if p.0["betas"].is_null() { [0.9, 0.999] } else { [0, 1].map(|i| p.values("betas")[i]) };
    match op {
        "sgd" => Box::new(Sgd { momentum, weight_decay, nesterov: p.flag("nesterov"), ..Sgd::new(rate) }),
        "adam" => Box::new(Adam { weight_decay, betas, ..Adam::new(rate) }),
        "adamw" => Box::new(Adam::decoupled(rate, or("weight_decay", 0.01))),
        "nadam" => Box::new(NAdam { weight_decay, ..NAdam::new(rate) }),
        "rmsprop" => {
            let (centered, alpha) = (p.flag("centered"), or("alpha", 0.99));
            Box::new(RmsProp { weight_decay, momentum, centered, alpha, ..RmsProp::new(rate) })
        }
        "adagrad" => {
            let (rate_decay, initial_accumulator) = (or("lr_decay", 0.0), or("initial_accumulator_value", 0.0));
            Box::new(Adagrad { weight_decay, rate_decay, initial_accumulator, ..Adagrad::new(rate) })
        }
        other => panic!("no optimizer {other:?}"),
    }
}

/// Twenty steps on given gradients.
#[test]
fn optimizers_walk_as_those_of_pytorch() {
    for device in common::devices() {
        for golden in load("optim") {
            let (start, gradients, want) = (&golden.inputs[0], &golden.inputs[1], &golden.outputs[0]);
            let store = Store::new(&device, 0);
            let optimizer = optimizer(&golden.op, &Params(&golden.params));
            let step = Program::compile(&golden.op, &store, Mode::Train, |trace| {
                let parameter = trace.scope().param("weight", start.shape(), Init::Constant(0.0));
                let gradient = trace.input("gradient", start.shape(), DType::F32);
                optimizer.update(trace, &trace.gradients(&(parameter * gradient).sum_all()));
            })
            .unwrap();
            store.set("weight", start).unwrap();
            let size = start.len();
            let mut trajectory = Vec::new();
            for gradient in gradients.as_slice::<f32>().unwrap().chunks(size) {
                step.run(&[("gradient", &Array::new(start.shape(), gradient.to_vec()).unwrap())]).unwrap();
                trajectory.extend_from_slice(store.get("weight").unwrap().as_slice::<f32>().unwrap());
            }
            let trajectory = Array::new(want.shape(), trajectory).unwrap();
            let tolerance = Tolerance { absolute: 2e-6, relative: 2e-6, reason: "twenty updates of a few roundings" };
            let verdict = compare(&golden.op, &trajectory, want, tolerance).unwrap().verdict();
            verdict.unwrap_or_else(|error| panic!("{device:?}, {}: {error}", golden.name));
        }
    }
}

/// The learning rate at each of forty steps.
#[test]
fn schedules_are_those_of_pytorch() {
    for golden in load("schedule") {
        let p = Params(&golden.params);
        let minimum = p.0["floor"].as_f64().unwrap_or(0.0);
        let schedule = match &*golden.op {
            "step" => Schedule::Step { every: Span::Steps(p.count("every")), gamma: p.number("gamma") },
            "multi_step" => {
                let milestones = p.values("milestones").into_iter().map(|step| Span::Steps(step as usize)).collect();
                Schedule::MultiStep { milestones, gamma: p.number("gamma") }
            }
            "exponential" => Schedule::Exponential { gamma: p.number("gamma") },
            "cosine" => Schedule::Cosine { minimum },
            "cosine_restarts" => {
                let (first, growth) = (Span::Steps(p.count("first")), p.count("growth"));
                Schedule::CosineRestarts { first, growth, minimum }
            }
            "linear" => Schedule::Linear { from: p.number("from"), to: p.number("to") },
            "polynomial" => Schedule::Polynomial { power: p.number("power") },
            // PyTorch reaches the end with the last step.
            "one_cycle" => Schedule::OneCycle { rise: 0.3, start: 1.0 / 25.0, end: 1.0 / 250_000.0 },
            other => panic!("no schedule {other:?}"),
        };
        let steps = p.0["steps"].as_f64().map_or(40, |steps| steps as usize);
        for (step, want) in golden.outputs[0].to_f64_vec().into_iter().enumerate() {
            let got = schedule.factor(step, steps);
            assert!((got - want).abs() < 1e-6, "{}, step {step}: {got}, PyTorch has {want}", golden.op);
        }
    }
}

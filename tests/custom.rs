//! Users' own operations: the one of the example on every device, and what the checks say of wrong ones.

mod common;
#[path = "common/double.rs"]
mod double;

#[path = "../examples/08_custom_operation.rs"]
#[allow(dead_code, reason = "the example's main function is for people")]
mod example;

use std::ops::ControlFlow;

use double::{TWICE, double};
use example::{channel_sum, local_response_norm};
use neuropil::check::parity::check_samples;
use neuropil::data::digits;
use neuropil::graph::{Sample, Tolerance};
use neuropil::nn::{Activation, Conv2d, Flatten, Linear, MaxPool2d, Sequential};
use neuropil::ops::custom::{Custom, Kernel};
use neuropil::train::{Settings, Trainer};
use neuropil::{Array, DType, Device, Mode, Precision, Program, Store, Trace};

fn image(op: Custom) -> Sample {
    Sample::new("image", op, vec![Sample::uniform(&[3, 5, 7, 9], -1.0, 1.0, 3)], Tolerance::sum(5))
}

#[test]
fn the_operation_of_the_example_is_right_on_every_device() {
    for device in common::devices() {
        let summary = check_samples(&device, &[image(channel_sum(2)), image(channel_sum(0))]).unwrap();
        assert_eq!((summary.cases, summary.failed), (8, 0), "{device:?}");
    }
}

#[test]
fn a_network_with_it_trains() {
    let (train, test) = digits().unwrap();
    for device in common::devices() {
        let model = Sequential::new()
            .named("conv", Conv2d::new(16, 3).padding(1))
            .then(Activation::Relu)
            .then(local_response_norm)
            .then(MaxPool2d::new(2))
            .then(Flatten)
            .named("head", Linear::new(10));
        let settings = Settings { epochs: 4, seed: 1, ..Settings::default() };
        let mut trainer = Trainer::new(&device, model, [8, 8, 1], settings);
        let epochs = trainer.fit(&train, Some(&test), |_| ControlFlow::Continue(())).unwrap();
        let accuracy = epochs.last().unwrap().test.unwrap().accuracy;
        assert!(accuracy > 0.85, "{device:?}: {accuracy}");
    }
}

const TWICE_BUT_THE_LAST: &str = "@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x + 1u < params.extents.x) { out0[id.x] = 2.0 * in0[id.x]; }
}";

#[test]
fn wrong_operations_are_noticed() {
    check_samples(&Device::cpu(), &[image(double(TWICE, 2.0))]).unwrap();
    let error = check_samples(&Device::cpu(), &[image(double(TWICE, 1.9))]).expect_err("a wrong gradient").to_string();
    assert!(error.contains("double, image, gradient"), "{error}");
    let Some(gpu) = common::gpu() else { return };
    check_samples(&gpu, &[image(double(TWICE, 2.0))]).unwrap();
    let error = check_samples(&gpu, &[image(double(TWICE_BUT_THE_LAST, 2.0))]).expect_err("a wrong shader").to_string();
    assert!(error.contains("double, image, forward"), "{error}");
}

#[test]
fn training_through_an_operation_without_a_gradient_is_refused() {
    let identity = |_: &Custom, inputs: &[Array]| Ok(inputs.to_vec());
    let op = Custom::new("opaque_identity", "", |inputs| Ok(inputs.to_vec()), identity, |_, _| Kernel::default());
    let store = Store::new(&Device::cpu(), 0);
    let compiled = Program::compile("train", &store, Mode::Train, |trace: &Trace| {
        let x = trace.input("x", &[2, 3], DType::F32);
        let weight = trace.scope().param("weight", &[3], neuropil::Init::Constant(1.0));
        trace.gradients(&(x * weight).custom(op.clone(), &[]).sum_all());
    });
    let error = compiled.err().expect("no gradient").to_string();
    assert!(error.contains("opaque_identity has no gradient") && error.contains("Custom::gradient"), "{error}");
}

const PRODUCT: &str = "@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < params.extents.x) { out0[id.x] = in0[id.x] * in1[id.x]; }
}";

/// A kernel may get one tensor twice, and one that lies beside its result.
#[test]
fn one_tensor_may_be_both_operands() {
    let reference = |_: &Custom, inputs: &[Array]| {
        let (a, b) = (inputs[0].as_slice::<f64>()?, inputs[1].as_slice::<f64>()?);
        Ok(vec![Array::new(inputs[0].shape(), a.iter().zip(b).map(|(a, b)| a * b).collect())?])
    };
    let kernel = |inputs: &[neuropil::graph::TensorType], _: &[neuropil::graph::TensorType]| Kernel {
        extents: vec![inputs[0].len()],
        workgroups: inputs[0].len().div_ceil(64),
        ..Kernel::default()
    };
    let op = Custom::new("product", PRODUCT, |inputs| Ok(inputs[..1].to_vec()), reference, kernel);
    for device in common::devices() {
        let trace = Trace::default();
        let x = trace.data(&Array::new(&[3], vec![1f32, -2.0, 3.0]).unwrap());
        // Four squares in a row: operands and results change places in the arenas.
        let y = (0..4).fold(x * 1.5, |x, _| x.custom(op.clone(), &[&x]) * 0.5);
        let power = |x: f64| (0..4).fold(x * 1.5, |x, _| x * x * 0.5);
        let got = y.eval(&device).unwrap().to_f64_vec();
        for (got, x) in got.into_iter().zip([1.0, -2.0, 3.0]) {
            approx::assert_relative_eq!(got, power(x), max_relative = 1e-5);
        }
    }
}

/// Between products of `f16` it gets and gives `f32`: its shader knows nothing of mixed precision.
#[test]
fn an_operation_in_mixed_precision_is_of_f32() {
    for device in common::devices().into_iter().filter(Device::has_f16) {
        let run = |precision| {
            let store = Store::new(&device, 0);
            let program = Program::compile("mixed", &store, Mode::Train, |trace: &Trace| {
                trace.set_precision(precision);
                let x = trace.input("x", &[3, 5], DType::F32);
                let [first, second] = ["first", "second"]
                    .map(|name| trace.scope().param(name, &[5, 5], neuropil::Init::Uniform { bound: 1.0 }));
                let y = x.matmul(&first).custom(double(TWICE, 2.0), &[]).matmul(&second);
                trace.output("y", &y);
                trace.gradients(&y.square().sum_all());
            })
            .unwrap();
            let x = Sample::uniform(&[3, 5], -1.0, 1.0, 4);
            program.run(&[("x", &x)]).unwrap();
            [program.read("y").unwrap(), program.gradient("first").unwrap()].map(|array| array.to_f64_vec())
        };
        for (mixed, single) in run(Precision::Mixed).iter().zip(&run(Precision::F32)) {
            let largest = single.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
            let worst = mixed.iter().zip(single).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst > 0.0 && worst < 4e-3 * largest, "{device:?}: {worst} of {largest}");
        }
    }
}

const PARTS: &str = "@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < params.extents.x) {
        out0[id.x] = trunc(in0[id.x]);
        out1[id.x] = in0[id.x] - trunc(in0[id.x]);
    }
}";

#[test]
fn an_operation_may_have_several_outputs() {
    let reference = |_: &Custom, inputs: &[Array]| {
        let x = inputs[0].as_slice::<f64>()?;
        let part = |f: fn(&f64) -> f64| Array::new(inputs[0].shape(), x.iter().map(f).collect());
        Ok(vec![part(|x| x.trunc())?, part(|x| x.fract())?])
    };
    let kernel = |inputs: &[neuropil::graph::TensorType], _: &[neuropil::graph::TensorType]| Kernel {
        extents: vec![inputs[0].len()],
        workgroups: inputs[0].len().div_ceil(64),
        ..Kernel::default()
    };
    let shape = |inputs: &[neuropil::graph::TensorType]| Ok(vec![inputs[0].clone(); 2]);
    let op = Custom::new("parts", PARTS, shape, reference, kernel);
    for device in common::devices() {
        let trace = Trace::default();
        let x = trace.data(&Array::new(&[3], vec![1.5f32, -2.25, 0.75]).unwrap());
        let [whole, rest] = x.custom_outputs(op.clone(), &[]);
        assert_eq!(whole.eval(&device).unwrap().to_f64_vec(), [1.0, -2.0, 0.0]);
        assert_eq!(rest.eval(&device).unwrap().to_f64_vec(), [0.5, -0.25, 0.75]);
        let [_, _, third] = x.custom_outputs(op.clone(), &[]);
        let error = third.eval(&device).expect_err("there are two").to_string();
        assert!(error.contains("parts: has 2 outputs, 3 were asked for"), "{error}");
    }
}

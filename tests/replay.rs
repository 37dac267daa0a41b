//! Runs that are judged while they go on: the operation and the layer that went wrong are named, and nothing is lost.

mod common;

use std::sync::Arc;

use neuropil::check::replay;
use neuropil::data::{digits, shuffle};
use neuropil::device::Options;
use neuropil::nn::models::ConvBlock;
use neuropil::nn::{BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Module, Sequential};
use neuropil::schedule::Work;
use neuropil::train::{Settings, Trainer};
use neuropil::{Array, Device, ErrorKind, Precision, Scope, Tensor};

/// Two convolutions, so that a fault has a layer to be in; and a layer of every other kind.
fn model() -> Sequential {
    Sequential::new()
        .named("block1", ConvBlock { conv: Conv2d::new(8, 3).padding(1) })
        .named("pool", MaxPool2d::new(2))
        .named("block2", ConvBlock { conv: Conv2d::new(12, 3).padding(1) })
        .named("norm", BatchNorm::default())
        .named("flatten", Flatten)
        .named("dropout", Dropout::new(0.2))
        .named("head", Linear::new(10))
}

fn trainer(device: &Device, model: Sequential, precision: Precision) -> Trainer {
    Trainer::new(device, model, [8, 8, 1], Settings { seed: 1, precision, ..Settings::default() })
}

fn batches(count: usize, size: usize) -> Vec<(Array, Array)> {
    let (train, _) = digits().unwrap();
    let order = shuffle(train.len(), 1, 1);
    let batches = train.batches(&order, size).unwrap().take(count).map(|indices| train.batch(indices).unwrap());
    batches.collect()
}

#[test]
fn right_steps_pass_and_give_the_same_bits() {
    for device in common::devices() {
        for precision in [Precision::F32, Precision::Mixed] {
            if precision == Precision::Mixed && !device.has_f16() {
                continue;
            }
            let weights = |every: usize, detect: bool| {
                let mut trainer = trainer(&device, model(), precision);
                trainer.verify(every);
                trainer.detect_nonfinite(detect);
                for (images, labels) in batches(4, 8) {
                    trainer.step(&images, &labels, 1.0).unwrap();
                }
                trainer.store().weights().unwrap()
            };
            let plain = weights(0, false);
            assert!(plain == weights(2, true), "{} {precision:?}: recorded steps give other bits", device.name());
        }
    }
}

/// A replay shows little unless it sees what the kernels gave.
#[test]
fn a_recording_holds_what_every_product_and_every_reduction_gave() {
    let mut trainer = trainer(&Device::cpu(), model(), Precision::F32);
    let (images, labels) = batches(1, 8).remove(0);
    let program = trainer.train_program(8).unwrap();
    let recording = program.record(&[("images", &images), ("labels", &labels)]).unwrap();
    for step in program.schedule().steps.iter().filter(|step| !matches!(step.work, Work::Elementwise { .. })) {
        for slot in step.writes.iter().map(|&slot| program.schedule().slot(slot)) {
            let value = slot.value.unwrap_or_else(|| panic!("{}: nothing says what it gives", step.label));
            assert_eq!(recording.written[&value].shape(), program.graph().shape(value), "{}", step.label);
        }
    }
    assert!(replay::divergence(program.graph(), &recording).unwrap().is_none());
}

/// A kernel that goes wrong in the middle of a run: batches of another size need kernels of their own, which are compiled
/// then.
#[test]
fn a_fault_in_one_layers_gradient_kernel_is_found_and_named() {
    // Without the proof on first use, which would refuse the kernel before.
    let Some(device) = common::open_gpu(Options { unproven: true, ..Options::default() }).or_else(common::skip) else {
        return;
    };
    let mut trainer = trainer(&device, model(), Precision::F32);
    trainer.verify(1);
    for (images, labels) in batches(3, 32) {
        trainer.step(&images, &labels, 1.0).unwrap();
    }
    let wrong_by = 1.0001;
    device.rewrite_kernels(Some(Arc::new(move |label: &str, text: &str| match label {
        "block2.conv conv2d.grad_weight" => {
            let (right, wrong) =
                ("fn store(i: u32, value: f32) {", "fn store(i: u32, given: f32) {\n    let value = given");
            assert!(text.contains(right), "{text}");
            text.replace(right, &format!("{wrong} * {wrong_by};"))
        }
        _ => text.to_owned(),
    })));
    let before = trainer.store().weights().unwrap();
    let (images, labels) = batches(1, 24).remove(0);
    let error = trainer.step(&images, &labels, 1.0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Parity);
    let text = error.to_string();
    let named = "step 4: the operation conv2d.grad_weight of the layer block2.conv";
    assert!(text.starts_with(named) && text.contains("differs from the reference"), "{text}");
    assert!(text.contains("`neuropil check`") && text.ends_with("as it was before this step"), "{text}");
    assert!(before == trainer.store().weights().unwrap(), "the wrong step has changed the model");
}

/// A step that is looked at runs no kernel unproven either, and one that ends so leaves the model as it was.
#[test]
fn recorded_steps_prove_their_kernels() {
    let Some(device) = common::open_gpu(Options::default()).or_else(common::skip) else { return };
    let mut trainer = trainer(&device, model(), Precision::F32);
    trainer.detect_nonfinite(true);
    let (images, labels) = batches(1, 8).remove(0);
    trainer.step(&images, &labels, 1.0).unwrap();
    assert!(device.counters().proven > 0);
    let before = trainer.store().weights().unwrap();
    device.rewrite_kernels(Some(Arc::new(|label: &str, text: &str| match label {
        "block2.conv conv2d.grad_input" => text
            .replace("fn store(i: u32, value: f32) {", "fn store(i: u32, given: f32) {\n    let value = 2.0 * given;"),
        _ => text.to_owned(),
    })));
    let (images, labels) = batches(1, 24).remove(0);
    let text = trainer.step(&images, &labels, 1.0).unwrap_err().to_string();
    assert!(text.contains("block2.conv conv2d.grad_input") && text.contains("is refused from now on"), "{text}");
    assert!(before == trainer.store().weights().unwrap(), "the wrong step has changed the model");
}

/// Where it began: an operation on the way, or what came from outside.
#[test]
fn the_first_value_that_is_not_finite_is_named() {
    struct Overflow;
    impl Module for Overflow {
        fn forward(&self, _: &Scope, x: Tensor) -> Tensor {
            // Blank pixels give log 0; the sum of them is what the loss then shows.
            &x + &x.log().mean_all()
        }
    }
    struct Masked;
    impl Module for Masked {
        fn forward(&self, _: &Scope, x: Tensor) -> Tensor {
            let hidden = &x + f64::NEG_INFINITY;
            &hidden + &(-&hidden).relu()
        }
    }
    for device in common::devices() {
        let broken =
            Sequential::new().named("flatten", Flatten).named("logarithm", Overflow).named("head", Linear::new(10));
        let mut trainer = trainer(&device, broken, Precision::F32);
        trainer.detect_nonfinite(true);
        let (images, labels) = batches(1, 8).remove(0);
        let text = trainer.step(&images, &labels, 1.0).unwrap_err().to_string();
        let named = "step 1: the operation log of the layer logarithm, from tests/replay.rs";
        assert!(text.starts_with(named) && text.contains("is -inf"), "{text}");

        // Infinities that are meant are not blamed for the NaN that something else makes of them.
        let masked = Sequential::new().named("flatten", Flatten).named("masked", Masked).named("head", Linear::new(10));
        let mut trainer = self::trainer(&device, masked, Precision::F32);
        trainer.detect_nonfinite(true);
        let text = trainer.step(&images, &labels, 1.0).unwrap_err().to_string();
        assert!(text.starts_with("step 1: the operation add of the layer masked") && text.contains("is NaN"), "{text}");

        let mut trainer = self::trainer(&device, model(), Precision::F32);
        trainer.detect_nonfinite(true);
        let pixels: Vec<f32> =
            images.as_slice::<f32>().unwrap().iter().map(|&x| if x == 0.0 { f32::NAN } else { x }).collect();
        let nan = Array::new(images.shape(), pixels).unwrap();
        let text = trainer.step(&nan, &labels, 1.0).unwrap_err().to_string();
        assert!(text.contains("comes from outside: the input \"images\"[0, 0, 0, 0] is NaN"), "{text}");
        trainer.step(&images, &labels, 1.0).unwrap();
    }
}

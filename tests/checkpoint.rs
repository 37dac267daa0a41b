//! Gradient checkpointing: the same gradients with less memory.

mod common;

use neuropil::nn::{Activation, BatchNorm, Checkpoint, Conv2d, Dropout, Flatten, Linear, Module, Sequential};
use neuropil::schedule::Arena;
use neuropil::{Array, DType, Mode, Precision, Program, Scope, Store, Tensor, Trace, loss};

/// A residual block with batch norm, dropout and a softmax over channels.
fn block(scope: &Scope, x: Tensor) -> Tensor {
    let conv = |name, x| Conv2d::new(8, 3).padding(1).no_bias().forward(&scope.enter(name), x);
    let y = BatchNorm::default().forward(&scope.enter("norm1"), conv("conv1", x.clone()));
    let y = Dropout::new(0.2).forward(&scope.enter("drop"), y.silu());
    let y = BatchNorm::default().forward(&scope.enter("norm2"), conv("conv2", y));
    scope.resume();
    (x + y.softmax(3) * 4.0).relu()
}

fn model(depth: usize, checkpointed: bool) -> Sequential {
    let stem = Sequential::new().named("stem", Conv2d::new(8, 3).padding(1));
    let body = (0..depth).fold(stem, |model, i| {
        let name = format!("block{i}");
        if checkpointed { model.named(&name, Checkpoint(block)) } else { model.named(&name, block) }
    });
    body.named("flatten", Flatten).named("head", Linear::new(3)).named("out", Activation::LeakyRelu(0.5))
}

fn trace_step(trace: &Trace, model: &Sequential, batch: usize) {
    let images = trace.input("images", &[batch, 12, 12, 2], DType::F32);
    let labels = trace.input("labels", &[batch], DType::U32);
    let loss = loss::cross_entropy(&model.forward(&trace.scope(), images), &labels, 0.0);
    trace.gradients(&loss);
    trace.output("loss", &loss);
}

fn activation_words(program: &Program) -> usize {
    let arenas = program.schedule().arenas.iter();
    arenas.filter(|(arena, _)| matches!(arena, Arena::Activation(_))).map(|(_, words)| words).sum()
}

#[test]
fn recomputed_blocks_give_the_same_gradients() {
    let images = Array::from_fn(&[5, 12, 12, 2], |i| ((i[0] * 7 + i[1] * 5 + i[2] * 3 + i[3]) % 11) as f32 / 11.0);
    let labels = Array::from_fn(&[5], |i| (i[0] % 3) as u32);
    for device in common::devices() {
        let gradients = |name: &str, build: &dyn Fn(&Trace)| {
            let store = Store::new(&device, 3);
            let program = Program::compile(name, &store, Mode::Train, build).unwrap();
            program.run(&[("images", &images), ("labels", &labels)]).unwrap();
            let parameters: Vec<String> =
                store.names(neuropil::graph::Leaf::Parameter).into_iter().map(|p| p.0).collect();
            let of = |name: &String| (name.clone(), program.gradient(name).unwrap().to_f64_vec());
            (program.read("loss").unwrap(), parameters.iter().map(of).collect::<Vec<_>>())
        };
        let (loss, kept) = gradients("kept", &|trace| trace_step(trace, &model(3, false), 5));
        let wrapped = gradients("wrapped", &|trace| trace_step(trace, &model(3, true), 5));
        let named = gradients("named", &|trace| {
            trace.checkpoint("block*");
            trace_step(trace, &model(3, false), 5);
        });
        let parts = gradients("parts", &|trace| {
            trace.checkpoint("block1.norm*");
            trace.checkpoint("block2.conv2");
            trace_step(trace, &model(3, false), 5);
        });
        for (other_loss, recomputed) in [wrapped, named, parts] {
            assert_eq!(loss, other_loss, "{device:?}: the way forward does not change");
            for ((name, kept), (_, recomputed)) in kept.iter().zip(&recomputed) {
                assert!(kept.iter().any(|&g| g != 0.0), "{name}");
                let scale = kept.iter().fold(0.0, |largest: f64, g| largest.max(g.abs()));
                for (kept, recomputed) in kept.iter().zip(recomputed) {
                    assert!((kept - recomputed).abs() <= 2e-5 * scale, "{device:?}, {name}: {kept} and {recomputed}");
                }
            }
        }
    }
}

/// Casts come after the copies: the second run of a block reads the same `f16`, and its gradients are as near to those of
/// `f32` as those of the first.
#[test]
fn recomputed_blocks_in_mixed_precision() {
    let images = Array::from_fn(&[5, 12, 12, 2], |i| ((i[0] * 7 + i[1] * 5 + i[2] * 3 + i[3]) % 11) as f32 / 11.0);
    let labels = Array::from_fn(&[5], |i| (i[0] % 3) as u32);
    for device in common::devices().into_iter().filter(neuropil::Device::has_f16) {
        let run = |precision: Precision, checkpointed: bool| {
            let store = Store::new(&device, 3);
            let model = model(3, checkpointed);
            let program = Program::compile("mixed", &store, Mode::Train, |trace| {
                trace.set_precision(precision);
                trace_step(trace, &model, 5);
            })
            .unwrap();
            program.run(&[("images", &images), ("labels", &labels)]).unwrap();
            let loss = program.read("loss").unwrap().item().unwrap();
            let gradients = store.names(neuropil::graph::Leaf::Parameter).into_iter().map(|(name, _)| {
                let gradient = program.gradient(&name).unwrap().to_f64_vec();
                (name, gradient)
            });
            (loss, gradients.collect::<Vec<_>>())
        };
        let (single, kept, recomputed) =
            (run(Precision::F32, false), run(Precision::Mixed, false), run(Precision::Mixed, true));
        for (what, (loss, gradients)) in [("kept", kept), ("recomputed", recomputed)] {
            assert!((loss - single.0).abs() < 5e-3 * single.0, "{device:?}, {what}: {loss} and {}", single.0);
            for ((name, want), (_, got)) in single.1.iter().zip(&gradients) {
                let norm = |of: &mut dyn Iterator<Item = f64>| of.map(|x| x * x).sum::<f64>().sqrt();
                let error = norm(&mut want.iter().zip(got).map(|(want, got)| want - got));
                let size = norm(&mut want.iter().copied());
                assert!(error < 0.01 * size, "{device:?}, {what}, {name}: {error} of {size}");
            }
        }
    }
}

#[test]
fn recomputed_blocks_need_less_memory() {
    for precision in [Precision::F32, Precision::Mixed] {
        let words = |checkpointed: bool| {
            let store = Store::new(&neuropil::Device::cpu(), 0);
            let model = model(8, checkpointed);
            let program = Program::compile("memory", &store, Mode::Train, |trace| {
                trace.set_precision(precision);
                trace_step(trace, &model, 16);
            })
            .unwrap();
            (activation_words(&program), program.schedule().steps.len())
        };
        let ((kept, steps), (recomputed, more_steps)) = (words(false), words(true));
        println!("{precision:?}: {kept} words in {steps} steps; recomputed: {recomputed} words in {more_steps} steps");
        assert!(more_steps > steps);
        assert!(recomputed * 2 < kept, "{recomputed} of {kept} words");
    }
}

#[test]
fn a_block_that_does_not_exist_is_named() {
    let store = Store::new(&neuropil::Device::cpu(), 0);
    let compiled = Program::compile("typo", &store, Mode::Train, |trace| {
        trace.checkpoint("blok1");
        trace_step(trace, &model(2, false), 4);
    });
    let error = compiled.err().expect("there is no such block").to_string();
    assert!(error.contains("\"blok1\"") && error.contains("block1"), "{error}");
}

//! Kernels are proven on first use: what a step must give ([`neuropil::schedule::evaluate`]), and what happens to a kernel
//! that gives something else.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use common::model::Training;
use half::f16;
use neuropil::check::{Case, cases, compare};
use neuropil::device::gpu::Limits;
use neuropil::device::{Options, Tiles};
use neuropil::graph::Tolerance;
use neuropil::ops::REGISTRY;
use neuropil::schedule::evaluate::{Choice, evaluate};
use neuropil::schedule::{Arena, Schedule, SlotId, StoreLayout};
use neuropil::simplify::simplify;
use neuropil::{Array, DType, Device, Error, Result};

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
    let limits = Limits { direct: true, workgroups: 65_535 };
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

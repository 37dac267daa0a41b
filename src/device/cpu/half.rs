//! Tensors of `f16` on the CPU: widened to `f32` in scratch before a step, rounded to memory after it.
//!
//! So every kind of work computes in `f32` and knows nothing of them. Rounding is to nearest, ties to even, beyond 65,504
//! to infinity: as everywhere in the crate.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use rayon::prelude::*;

use super::memory::{Scratch, Slices, Source};
use crate::graph::TensorType;

/// Elements of one task.
const GRAIN: usize = 1 << 15;

/// Which operands and results of a step are of `f16`, and how many elements they have.
#[derive(Debug)]
pub(super) struct Halves {
    reads: Vec<Option<usize>>,
    writes: Vec<Option<usize>>,
}

impl Halves {
    /// `None` if there are none.
    pub fn new(reads: &[&TensorType], writes: &[&TensorType]) -> Option<Self> {
        let lens = |types: &[&TensorType]| -> Vec<Option<usize>> {
            types.iter().map(|ty| (ty.dtype == crate::DType::F16).then(|| ty.len())).collect()
        };
        let halves = Halves { reads: lens(reads), writes: lens(writes) };
        halves.reads.iter().chain(&halves.writes).any(Option::is_some).then_some(halves)
    }

    /// Calls `run` with slices in which they are of `f32`.
    pub fn widened<R>(&self, slices: Slices<'_>, run: impl FnOnce(Slices<'_>) -> R) -> R {
        let Slices { reads, writes: mut stored } = slices;
        let scratch = |len: &Option<usize>| len.map(Scratch::take);
        let (mut wide_reads, mut wide_writes): (Vec<Option<Scratch>>, Vec<Option<Scratch>>) =
            (self.reads.iter().map(scratch).collect(), self.writes.iter().map(scratch).collect());
        for (source, wide) in reads.iter().zip(&mut wide_reads) {
            match (source, wide) {
                (Source::Shared { words, .. }, Some(wide)) => widen(words, wide),
                (Source::InPlace(write), _) => {
                    if let Some(wide) = &mut wide_writes[*write] {
                        widen(stored[*write], wide);
                    }
                }
                (Source::Shared { .. }, None) => {}
            }
        }
        let sources = reads.iter().zip(&wide_reads).map(|(&source, wide)| match (source, wide) {
            (Source::Shared { base, .. }, Some(wide)) => Source::Shared { words: wide, base },
            _ => source,
        });
        let reads = sources.collect();
        let writes = stored.iter_mut().zip(&mut wide_writes).map(|(stored, wide)| match wide {
            Some(wide) => &mut **wide,
            None => &mut **stored,
        });
        let result = run(Slices { reads, writes: writes.collect() });
        for (stored, wide) in stored.iter_mut().zip(&wide_writes) {
            if let Some(wide) = wide {
                narrow(wide, stored);
            }
        }
        result
    }
}

fn widen(words: &[u32], wide: &mut [u32]) {
    let halves: &[u16] = &bytemuck::cast_slice(words)[..wide.len()];
    let halves: &[f16] = halves.reinterpret_cast();
    let pieces = wide.par_chunks_mut(GRAIN).zip(halves.par_chunks(GRAIN));
    pieces.for_each(|(wide, halves)| halves.convert_to_f32_slice(bytemuck::cast_slice_mut(wide)));
}

fn narrow(wide: &[u32], words: &mut [u32]) {
    let halves: &mut [u16] = &mut bytemuck::cast_slice_mut(words)[..wide.len()];
    let halves: &mut [f16] = halves.reinterpret_cast_mut();
    let pieces = halves.par_chunks_mut(GRAIN).zip(wide.par_chunks(GRAIN));
    pieces.for_each(|(halves, wide)| halves.convert_from_f32_slice(bytemuck::cast_slice(wide)));
}

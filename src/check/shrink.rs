//! The smallest inputs on which something still fails.
//!
//! Axes are cut to a beginning of themselves: all axes of one extent together, since they usually mean the same (the rows of
//! one matrix are the columns of the other), and single ones. A cut is kept if the operation accepts it and it fails still.
//! That is repeated until no cut helps or [`MOST`] were tried.

use crate::array::Array;
use crate::check::fresh::types;
use crate::graph::Op;
use crate::shape::{element_count, strides, unravel};

/// Cuts that are tried.
const MOST: usize = 60;

/// Looks for smaller inputs of `op` on which `fails` still gives something; `None` if there are none, else the smallest that
/// were found with what `fails` gave. Inputs that the operation refuses are not tried.
pub fn smallest<T>(
    op: &dyn Op,
    inputs: &[Array],
    mut fails: impl FnMut(&[Array]) -> Option<T>,
) -> Option<(Vec<Array>, T)> {
    let mut best: Option<(Vec<Array>, T)> = None;
    let mut tries = 0;
    loop {
        let now = best.as_ref().map_or(inputs, |(inputs, _)| inputs);
        let smaller = cuts(now).into_iter().find_map(|cut| {
            let candidate: Vec<Array> = now.iter().zip(&cut).map(|(array, shape)| beginning(array, shape)).collect();
            if tries == MOST || op.infer(&types(&candidate)).is_err() {
                return None;
            }
            tries += 1;
            fails(&candidate).map(|failure| (candidate, failure))
        });
        match smaller {
            Some(found) => best = Some(found),
            None => return best,
        }
    }
}

/// The shapes that one cut makes of those of `inputs`: the largest cuts first, those of all equal extents before single axes.
fn cuts(inputs: &[Array]) -> Vec<Vec<Vec<usize>>> {
    let shapes: Vec<Vec<usize>> = inputs.iter().map(|array| array.shape().to_vec()).collect();
    let mut extents: Vec<usize> = shapes.iter().flatten().copied().filter(|&extent| extent > 1).collect();
    extents.sort_unstable_by(|a, b| b.cmp(a));
    extents.dedup();
    let shorter = |extent: usize| {
        let mut lengths = vec![1, extent / 2, extent - 1];
        lengths.dedup();
        lengths
    };
    let mut cuts = Vec::new();
    for &extent in &extents {
        for length in shorter(extent) {
            let cut = |shape: &Vec<usize>| shape.iter().map(|&e| if e == extent { length } else { e }).collect();
            cuts.push(shapes.iter().map(cut).collect());
        }
    }
    for (input, shape) in shapes.iter().enumerate() {
        for (axis, &extent) in shape.iter().enumerate().filter(|(_, extent)| **extent > 1) {
            for length in shorter(extent) {
                let mut cut = shapes.clone();
                cut[input][axis] = length;
                if !cuts.contains(&cut) {
                    cuts.push(cut);
                }
            }
        }
    }
    cuts
}

/// The elements of `array` whose indices are inside of `shape`.
fn beginning(array: &Array, shape: &[usize]) -> Array {
    let (elements, strides) = (array.to_f64_vec(), strides(array.shape()));
    let element =
        |flat| elements[unravel(flat, shape).iter().zip(&strides).map(|(i, stride)| i * stride).sum::<usize>()];
    let kept: Vec<f64> = (0..element_count(shape)).map(element).collect();
    Array::new(shape, kept).expect("an element for every index").cast(array.dtype())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::cases;
    use crate::graph::{Expect, Sample};
    use crate::ops::REGISTRY;

    fn first(family: &str) -> Sample {
        let family = REGISTRY.iter().find(|known| known.name == family).unwrap();
        (family.samples)().swap_remove(0)
    }

    #[test]
    fn equal_extents_shrink_together() {
        let op = first("matmul").op;
        let inputs = [Sample::uniform(&[37, 19], 0.0, 1.0, 1), Sample::uniform(&[19, 23], 0.0, 1.0, 2)];
        // Wrong where there are more than 4 terms and a second column.
        let fails = |inputs: &[Array]| (inputs[0].shape()[1] > 4 && inputs[1].shape()[1] > 1).then_some("wrong");
        let (smallest, failure) = smallest(&*op, &inputs, fails).unwrap();
        let shapes: Vec<&[usize]> = smallest.iter().map(Array::shape).collect();
        assert_eq!((shapes, failure), (vec![&[1, 5][..], &[5, 2]], "wrong"));
        assert_eq!(smallest[1].to_f64_vec()[2], inputs[1].to_f64_vec()[23]);
    }

    #[test]
    fn what_does_not_fail_smaller_stays() {
        let sample = first("softmax");
        let whole = sample.inputs[0].shape().to_vec();
        assert!(smallest(&*sample.op, &sample.inputs, |inputs| (inputs[0].shape() == whole).then_some(())).is_none());
    }

    /// Cutting makes inputs that no sample has, so no reference may panic on them.
    #[test]
    fn all_samples_can_be_cut() {
        for family in REGISTRY {
            for sample in (family.samples)().into_iter().filter(|sample| matches!(sample.expect, Expect::Reference)) {
                let tried = |inputs: &[Array]| cases(&Sample { inputs: inputs.to_vec(), ..sample.clone() }).ok();
                let found = smallest(&*sample.op, &sample.inputs, tried);
                let extents = |inputs: &[Array]| inputs.iter().flat_map(Array::shape).sum::<usize>();
                if let Some((smallest, _)) = found {
                    assert!(extents(&smallest) < extents(&sample.inputs), "{}, {}", sample.op.name(), sample.name);
                }
            }
        }
    }
}

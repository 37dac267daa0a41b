//! Padding with what the tensor holds: reflected, replicated, or wrapped around.
//!
//! ```text
//! y[o] = x[i] on every axis of extent n, for the coordinate o - before outside of 0..n
//! reflect    i = -(o - before)  or  2(n - 1) - (o - before): the edge itself is not repeated
//! replicate  i = 0              or  n - 1
//! circular   i = o - before + n or  o - before - n
//! ```
//!
//! As PyTorch's `pad` with the mode of that name; a constant border is [`super::movement::Pad`]. An axis has up to three
//! regions, in each of which the coordinate of `x` is an affine function: so the whole is loads with bounds in one pass,
//! which consumers absorb. The gradient folds the borders back, axis by axis.

use super::movement::gather;
use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{
    Access, Autocast, Bound, Expression, Gradient, Graph, Lowering, Op, Sample, TensorType, Term, Tolerance, Value,
    expect_inputs,
};
use crate::shape::strides;

/// Axes padded in one pass: each multiplies the number of regions by three.
const AXES_AT_ONCE: usize = 2;

/// What a border repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border {
    /// The inside, mirrored at the edge element.
    Reflect,
    /// The edge element.
    Replicate,
    /// The other end.
    Circular,
}

/// `before` and `after` elements around every axis, taken from the tensor itself.
#[derive(Clone, Debug)]
pub struct PadBorder {
    /// What they are.
    pub border: Border,
    /// Elements in front, an axis.
    pub before: Vec<usize>,
    /// Elements behind, an axis.
    pub after: Vec<usize>,
}

/// Coordinates `begin..end` of an output axis, of which `o` shows coordinate `start + step · o` of the input.
struct Region {
    begin: usize,
    end: usize,
    start: isize,
    step: isize,
}

impl PadBorder {
    fn is_padded(&self, axis: usize) -> bool {
        self.before[axis] + self.after[axis] > 0
    }

    fn padded_axes(&self) -> impl Iterator<Item = usize> {
        (0..self.before.len()).filter(|&axis| self.is_padded(axis))
    }

    /// The parts of an output axis, for an input of `extent`.
    fn regions(&self, axis: usize, extent: usize) -> Vec<Region> {
        let (first, end) = (self.before[axis], self.before[axis] + extent);
        let (before, last) = (first as isize, extent as isize - 1);
        let [(front_start, front_step), (back_start, back_step)] = match self.border {
            Border::Reflect => [(before, -1), (2 * last + before, -1)],
            Border::Replicate => [(0, 0), (last, 0)],
            Border::Circular => [(last + 1 - before, 1), (-before - last - 1, 1)],
        };
        let regions = [
            Region { begin: 0, end: first, start: front_start, step: front_step },
            Region { begin: first, end, start: -before, step: 1 },
            Region { begin: end, end: end + self.after[axis], start: back_start, step: back_step },
        ];
        regions.into_iter().filter(|region| region.begin < region.end).collect()
    }

    /// The gradient of a tensor of `extent` on `axis` from that of the tensor padded there.
    fn fold_back(&self, graph: &mut Graph, g: Value, axis: usize, extent: usize) -> Result<Value> {
        let (before, after) = (self.before[axis], self.after[axis]);
        let take = |graph: &mut Graph, begin: usize, count: usize| {
            let mut from = vec![0; self.before.len()];
            let mut to = graph.shape(g).to_vec();
            (from[axis], to[axis]) = (begin, begin + count);
            graph.slice(g, &from, &to, &vec![1; self.before.len()])
        };
        let mut sum = take(graph, before, extent)?;
        for (begin, count, is_front) in [(0, before, true), (before + extent, after, false)] {
            if count == 0 {
                continue;
            }
            let mut piece = take(graph, begin, count)?;
            // Where in the input the piece comes from.
            let place = match (self.border, is_front) {
                (Border::Reflect, true) => 1,
                (Border::Reflect, false) => extent - 1 - count,
                (Border::Replicate, true) | (Border::Circular, false) => 0,
                (Border::Replicate, false) => extent - 1,
                (Border::Circular, true) => extent - count,
            };
            match self.border {
                Border::Reflect => piece = graph.flip(piece, &[axis])?,
                Border::Replicate => piece = graph.sum(piece, &[axis])?,
                Border::Circular => {}
            }
            let (mut front, mut behind) = (vec![0; self.before.len()], vec![0; self.before.len()]);
            (front[axis], behind[axis]) = (place, extent - place - graph.shape(piece)[axis]);
            let placed = graph.pad(piece, &front, &behind, 0.0)?;
            sum = graph.add(sum, placed)?;
        }
        Ok(sum)
    }
}

impl Op for PadBorder {
    fn name(&self) -> &'static str {
        match self.border {
            Border::Reflect => "pad_reflect",
            Border::Replicate => "pad_replicate",
            Border::Circular => "pad_circular",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        expect_inputs(name, inputs, 1)?;
        let mut shape = inputs[0].shape.clone();
        if self.before.len() != shape.len() || self.after.len() != shape.len() {
            let message = format_args!("one border an axis is needed for {shape:?}, got {:?}", self.before);
            return Err(Error::shape(name, message));
        }
        for (axis, extent) in shape.iter_mut().enumerate() {
            let (before, after) = (self.before[axis], self.after[axis]);
            let most = match self.border {
                Border::Reflect => extent.saturating_sub(1),
                Border::Replicate if *extent > 0 => usize::MAX,
                Border::Replicate | Border::Circular => *extent,
            };
            if before.max(after) > most {
                let message = format_args!(
                    "a border of ({before}, {after}) is too wide for axis {axis} of {:?}; it may have {most} elements",
                    inputs[0].shape
                );
                return Err(Error::shape(name, message));
            }
            *extent = extent.checked_add(before).and_then(|sum| sum.checked_add(after)).ok_or_else(|| {
                Error::shape(name, format_args!("a border of ({before}, {after}) on axis {axis} has no end"))
            })?;
        }
        Ok(vec![TensorType::new(inputs[0].dtype, shape)])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Follow
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(mut g) = cx.gradient(0) else { return Ok(()) };
            let shape = cx.input_shape(0);
            for axis in self.padded_axes() {
                g = self.fold_back(cx.graph, g, axis, shape[axis])?;
            }
            cx.give(0, g);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let from = inputs[0].shape();
        let strides = strides(from);
        let shape: Vec<usize> = (0..from.len()).map(|a| self.before[a] + from[a] + self.after[a]).collect();
        gather(&inputs[0], &shape, |index| {
            let element = (0..index.len()).map(|axis| {
                let coordinate = index[axis] as isize - self.before[axis] as isize;
                let extent = from[axis] as isize;
                let source = match self.border {
                    Border::Reflect if coordinate < extent => coordinate.abs(),
                    Border::Reflect => 2 * (extent - 1) - coordinate,
                    Border::Replicate => coordinate.clamp(0, extent - 1),
                    Border::Circular => coordinate.rem_euclid(extent),
                };
                source as usize * strides[axis]
            });
            Some(element.sum())
        })
    }

    fn lowering(&self, inputs: &[TensorType], _: &[TensorType]) -> Lowering {
        if self.padded_axes().count() > AXES_AT_ONCE {
            return Lowering::Decompose;
        }
        let TensorType { shape, dtype } = &inputs[0];
        // Every combination of one region an axis is a load of its own.
        let mut accesses = vec![Access::identity(shape)];
        for axis in self.padded_axes() {
            let regions = self.regions(axis, shape[axis]);
            let within = |access: &Access, region: &Region| {
                let mut access = access.clone();
                access.offset += region.start * access.strides[axis];
                access.strides[axis] *= region.step;
                access.bounds.push(Bound { axis, begin: region.begin, end: region.end });
                access
            };
            accesses = accesses.iter().flat_map(|access| regions.iter().map(|r| within(access, r))).collect();
        }
        let mut expression = Expression::default();
        let mut term = expression.push(Term::Scalar { value: 0.0, dtype: *dtype });
        for access in accesses {
            let otherwise = (!access.bounds.is_empty()).then_some(term);
            term = expression.push(Term::Load { operand: 0, access, otherwise, dtype: *dtype });
        }
        expression.results.push(term);
        Lowering::Elementwise(expression)
    }

    /// The first padded axes, then the others.
    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let Some(rest) = self.padded_axes().nth(AXES_AT_ONCE) else {
            let message = format!("{}: no decomposition into smaller operations", self.name());
            return Err(Error::new(ErrorKind::Graph, message));
        };
        let part = |first: bool| {
            let kept = |widths: &[usize]| {
                widths.iter().enumerate().map(|(axis, &n)| if (axis < rest) == first { n } else { 0 }).collect()
            };
            PadBorder { border: self.border, before: kept(&self.before), after: kept(&self.after) }
        };
        let first = graph.emit(part(true), inputs)?;
        Ok(vec![graph.emit(part(false), &[first])?])
    }
}

impl Graph {
    /// `before` and `after` elements around every axis, taken from the tensor itself as `border` says.
    ///
    /// # Errors
    /// When there is not one border an axis, or a border is wider than what it is taken from.
    pub fn pad_border(&mut self, x: Value, border: Border, before: &[usize], after: &[usize]) -> Result<Value> {
        self.emit(PadBorder { border, before: before.to_vec(), after: after.to_vec() }, &[x])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let data = |shape: &[usize]| Sample::uniform(shape, -2.0, 2.0, 95);
    let pad = |border, before: &[usize], after: &[usize]| PadBorder {
        border,
        before: before.to_vec(),
        after: after.to_vec(),
    };
    let mut samples = Vec::new();
    for border in [Border::Reflect, Border::Replicate, Border::Circular] {
        let mut sample = |name: &str, shape: &[usize], before: &[usize], after: &[usize]| {
            samples.push(Sample::new(name, pad(border, before, after), vec![data(shape)], Tolerance::EXACT));
        };
        sample("image", &[2, 4, 5, 3], &[0, 1, 2, 0], &[0, 3, 1, 0]);
        sample("one channel, one side", &[1, 3, 4, 1], &[0, 0, 3, 0], &[0, 2, 0, 0]);
        sample("three axes", &[3, 4, 2], &[2, 0, 1], &[1, 2, 1]);
        sample("vector, as far as reflections go", &[5], &[4], &[4]);
        sample("no border", &[2, 3], &[0, 0], &[0, 0]);
        sample("one element, no border", &[1], &[0], &[0]);
        sample("no images", &[0, 3, 2, 1], &[0, 1, 1, 0], &[0, 2, 0, 0]);
    }
    let two = |border, before, after| pad(border, &[before], &[after]);
    let (replicate, circular, reflect) = (Border::Replicate, Border::Circular, Border::Reflect);
    samples.push(Sample::new("one element", two(replicate, 3, 2), vec![data(&[1])], Tolerance::EXACT));
    samples.push(Sample::new("once around", two(circular, 3, 3), vec![data(&[3])], Tolerance::EXACT));
    let special = Array::new(&[4], vec![f32::NAN, 1.0, f32::INFINITY, -0.0]).expect("four elements");
    samples.push(Sample::new("NaN and infinity", two(reflect, 2, 3), vec![special], Tolerance::EXACT).not_smooth());
    let integers = data(&[2, 4]).cast(DType::I32);
    let both = pad(reflect, &[1, 2], &[1, 3]);
    samples.push(Sample::new("integers", both, vec![integers], Tolerance::EXACT));
    let error = |name, op, shape: &[usize], words| Sample::error(name, op, vec![data(shape)], ErrorKind::Shape, words);
    samples.extend([
        error("mirror too short", two(reflect, 0, 4), &[4], "(0, 4) is too wide for axis 0 of [4]; it may have 3"),
        error("nothing to mirror", two(reflect, 1, 0), &[1], "may have 0 elements"),
        error("nothing to repeat", two(replicate, 1, 0), &[0], "pad_replicate: a border of (1, 0) is too wide"),
        error("more than around", two(circular, 4, 0), &[3], "(4, 0) is too wide for axis 0 of [3]; it may have 3"),
        error("no end", two(replicate, usize::MAX, 1), &[2], "has no end"),
        error("axes missing", two(replicate, 1, 1), &[2, 2], "one border an axis is needed for [2, 2]"),
    ]);
    samples
}

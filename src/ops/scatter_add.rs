//! Elements added up where their indices say, along one axis: the gradients of `gather` and `index_select`.
//!
//! With the source seen as `[outer, m, inner]` around the axis, `y[o, t, i] = Σ source[o, k, i]` over the k whose index is
//! t: `index[o, k, i]` for `scatter_add`, `index[k]` for `index_add`. These are PyTorch's functions of these names on zeros,
//! with `u32` indices. An index that names no element of y is ignored. The gradient picks by the same indices ([`Gather`]).
//!
//! Nothing is atomic: each element of y looks at its m candidates in order and adds its own, so results do not depend on
//! timing. The cost on a GPU is m reads of an index for each element of y, whatever the number of hits; the CPU device
//! takes each element of the source once. Axes longer than 32,768 are taken in pieces, whose sums are added in order.

use crate::array::{Array, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Gradient, Graph, Lowering, Op, Opaque, Sample, TensorType, Tolerance, Value, expect_inputs};
use crate::ops::gather::{Gather, Indices, Outside, WORKGROUP, expect_index, expect_vector, sample_index};
use crate::shape::around_axis;
use crate::with_float;

/// The most elements that one invocation looks at.
const LONGEST: usize = 1 << 15;

/// Source and `u32` indices → the sums of the elements with equal index, along `axis` of the result.
#[derive(Clone, Debug)]
pub struct ScatterAdd {
    /// The axis.
    pub axis: usize,
    /// The result's extent on it.
    pub extent: usize,
    /// Whether the indices are of the source's shape, or a vector.
    pub indices: Indices,
}

impl Op for ScatterAdd {
    fn name(&self) -> &'static str {
        match self.indices {
            Indices::Each => "scatter_add",
            Indices::Shared => "index_add",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        expect_inputs(name, inputs, 2)?;
        let (source, index) = (&inputs[0], &inputs[1]);
        if !source.dtype.is_float() {
            return Err(Error::dtype(name, format_args!("takes floats, got {source}; cast first")));
        }
        if self.axis >= source.shape.len() {
            return Err(Error::shape(name, format_args!("no axis {} in {:?}", self.axis, source.shape)));
        }
        expect_index(name, index)?;
        let fits = match self.indices {
            Indices::Each => index.shape == source.shape,
            Indices::Shared => expect_vector(name, index)? == source.shape[self.axis],
        };
        if !fits {
            return Err(Error::shape(
                name,
                format_args!("the index {index} does not fit the source {source} on axis {}", self.axis),
            ));
        }
        let mut shape = source.shape.clone();
        shape[self.axis] = self.extent;
        Ok(vec![TensorType::new(source.dtype, shape)])
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let index = cx.input(1);
            let gather = Gather { axis: self.axis, indices: self.indices, outside: Outside::Zero };
            let gradient = cx.graph.emit(gather, &[g, index])?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let [outer, taken, inner] = around_axis(inputs[0].shape(), self.axis);
        let index = inputs[1].as_slice::<u32>()?;
        with_float!(self.name(), inputs[0], T => {
            let source = inputs[0].as_slice::<T>()?;
            let mut sums = vec![T::c(0.0); outer * self.extent * inner];
            for o in 0..outer {
                for k in 0..taken {
                    for i in 0..inner {
                        let element = (o * taken + k) * inner + i;
                        let named = index[if self.indices == Indices::Shared { k } else { element }] as usize;
                        if named < self.extent {
                            sums[(o * self.extent + named) * inner + i] += source[element];
                        }
                    }
                }
            }
            let mut shape = inputs[0].shape().to_vec();
            shape[self.axis] = self.extent;
            Ok(vec![Array::new(&shape, sums)?])
        })
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        let [_, taken, inner] = around_axis(&inputs[0].shape, self.axis);
        if taken > LONGEST {
            return Lowering::Decompose;
        }
        let len = outputs[0].len();
        Lowering::Opaque(Opaque {
            wgsl: concat!(
                include_str!("../../shaders/scatter_add.wgsl"),
                include_str!("../../shaders/elementwise.wgsl")
            ),
            constants: vec![
                ("WORKGROUP", format!("{WORKGROUP}u")),
                ("SHARED", (self.indices == Indices::Shared).to_string()),
            ],
            extents: vec![len as u32, self.extent as u32, taken as u32, inner as u32],
            workgroups: len.div_ceil(WORKGROUP),
        })
    }

    /// Pieces of the axis that one invocation can look at, and the sum of what they give.
    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let taken = graph.shape(inputs[0])[self.axis];
        let mut total = None;
        for begin in (0..taken.max(1)).step_by(LONGEST) {
            let end = (begin + LONGEST).min(taken);
            let source = slice_axis(graph, inputs[0], self.axis, begin, end)?;
            let along = if self.indices == Indices::Shared { 0 } else { self.axis };
            let index = slice_axis(graph, inputs[1], along, begin, end)?;
            let part = graph.emit(self.clone(), &[source, index])?;
            total = Some(total.map_or(Ok(part), |sum| graph.add(sum, part))?);
        }
        Ok(total.into_iter().collect())
    }
}

/// `begin..end` of one axis.
fn slice_axis(graph: &mut Graph, x: Value, axis: usize, begin: usize, end: usize) -> Result<Value> {
    let mut to = graph.shape(x).to_vec();
    let (mut from, step) = (vec![0; to.len()], vec![1; to.len()]);
    (from[axis], to[axis]) = (begin, end);
    graph.slice(x, &from, &to, &step)
}

impl Graph {
    /// Zeros of the shape of `source` with `extent` elements along `axis`, to which each element of `source` is added
    /// where its element of `index` says. An index that names no element is ignored.
    ///
    /// # Errors
    /// When there is no such axis, `source` is not of floats, or the index is not `u32` of the same shape.
    pub fn scatter_add(&mut self, source: Value, axis: usize, index: Value, extent: usize) -> Result<Value> {
        self.emit(ScatterAdd { axis, extent, indices: Indices::Each }, &[source, index])
    }

    /// Zeros of the shape of `source` with `extent` elements along `axis`, to which each slice of `source` is added where
    /// its element of the vector `index` says. An index that names none is ignored.
    ///
    /// # Errors
    /// When there is no such axis, `source` is not of floats, or the index is not a vector of `u32`, one a slice.
    pub fn index_add(&mut self, source: Value, axis: usize, index: Value, extent: usize) -> Result<Value> {
        self.emit(ScatterAdd { axis, extent, indices: Indices::Shared }, &[source, index])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let data = |shape: &[usize]| Sample::uniform(shape, -1.0, 1.0, 22);
    let each = |axis, extent| ScatterAdd { axis, extent, indices: Indices::Each };
    let shared = |axis, extent| ScatterAdd { axis, extent, indices: Indices::Shared };
    let index = sample_index;
    let sum = Tolerance::sum;
    let beyond = || Array::new(&[5], vec![0u32, 3, 4, u32::MAX, 3]).expect("five");
    // One index for all that comes before the last of a second piece.
    let (long, last) = (LONGEST + 40, LONGEST + 39);
    let pieces = || Array::from_fn(&[long], |i| u32::from(i[0] == last));
    vec![
        Sample::new("last axis", each(1, 7), vec![data(&[4, 5]), index(&[4, 5], 7)], sum(5)),
        Sample::new("first axis", each(0, 3), vec![data(&[9, 5]), index(&[9, 5], 3)], sum(9)),
        Sample::new("middle axis", each(1, 4), vec![data(&[2, 70, 3]), index(&[2, 70, 3], 4)], sum(70)),
        Sample::new("one element", each(0, 1), vec![data(&[1]), index(&[1], 1)], sum(1)),
        Sample::new("all to one", each(0, 2), vec![data(&[100]), Array::full(&[100], 1u32)], sum(100)),
        Sample::new("no sources", each(0, 3), vec![data(&[0, 2]), index(&[0, 2], 3)], sum(1)),
        Sample::new("no targets", each(0, 0), vec![data(&[3]), index(&[3], 2)], sum(1)),
        Sample::new("names no element", each(0, 4), vec![data(&[5]), beyond()], sum(2)),
        Sample::new("one row of one", shared(0, 1), vec![data(&[1, 1]), index(&[1], 1)], sum(1)),
        Sample::new("no rows", shared(0, 3), vec![data(&[0, 2]), index(&[0], 3)], sum(1)),
        Sample::new("rows", shared(0, 6), vec![data(&[9, 5]), index(&[9], 6)], sum(9)),
        Sample::new("columns", shared(1, 3), vec![data(&[4, 70]), index(&[70], 3)], sum(70)),
        Sample::new("names no row", shared(0, 4), vec![data(&[5, 2]), beyond()], sum(2)),
        Sample::new("pieces, shared", shared(0, 2), vec![data(&[long, 1]), pieces()], sum(long)),
        Sample::new("pieces", each(0, 2), vec![data(&[long]), pieces()], sum(long)),
        Sample::error("axis", each(1, 2), vec![data(&[3]), index(&[3], 2)], ErrorKind::Shape, "no axis 1"),
        Sample::error("float index", each(0, 2), vec![data(&[3]), data(&[3])], ErrorKind::DType, "must be u32"),
        Sample::error(
            "integers",
            each(0, 2),
            vec![Array::zeros(&[3], DType::U32), index(&[3], 2)],
            ErrorKind::DType,
            "takes floats",
        ),
        Sample::error("index short", each(0, 2), vec![data(&[3]), index(&[2], 2)], ErrorKind::Shape, "does not fit"),
        Sample::error("rows missing", shared(0, 2), vec![data(&[3, 2]), index(&[2], 2)], ErrorKind::Shape, "does not"),
        Sample::error("matrix", shared(0, 2), vec![data(&[3]), index(&[3, 1], 2)], ErrorKind::Shape, "be a vector"),
    ]
}

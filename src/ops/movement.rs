//! Operations that move elements and compute nothing: reshape, broadcast, permute, flip, slice, pad, concatenate.
//!
//! Reshape is the same bytes. The others are loads with an affine access map, which consumers absorb; each one's gradient
//! is another of them.

use crate::array::{Array, Element};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{
    Access, Autocast, Bound, Expression, Gradient, Graph, Lowering, Op, Sample, TensorType, Term, Tolerance, Value,
    expect_inputs,
};
use crate::shape::{element_count, unravel};

/// The same elements in another shape.
#[derive(Clone, Debug)]
pub struct Reshape {
    /// The new extents.
    pub shape: Vec<usize>,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs("reshape", inputs, 1)?;
        if inputs[0].len() != element_count(&self.shape) {
            return Err(Error::shape(
                "reshape",
                format_args!(
                    "{:?} has {} elements and {:?} has {}",
                    inputs[0].shape,
                    inputs[0].len(),
                    self.shape,
                    element_count(&self.shape)
                ),
            ));
        }
        Ok(vec![TensorType::new(inputs[0].dtype, self.shape.clone())])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Follow
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            if let Some(g) = cx.gradient(0) {
                let shape = cx.input_shape(0);
                let gradient = cx.graph.reshape(g, &shape)?;
                cx.give(0, gradient);
            }
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        Ok(vec![inputs[0].reshape(&self.shape)?])
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Alias
    }
}

/// Extents of 1, and missing leading axes, stretched to a larger shape.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// The new extents.
    pub shape: Vec<usize>,
}

impl Op for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs("broadcast", inputs, 1)?;
        if crate::shape::broadcast("broadcast", &[&inputs[0].shape, &self.shape])? != self.shape {
            return Err(Error::shape(
                "broadcast",
                format_args!("{:?} does not stretch to {:?}", inputs[0].shape, self.shape),
            ));
        }
        Ok(vec![TensorType::new(inputs[0].dtype, self.shape.clone())])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Follow
    }

    fn gradient(&self) -> Gradient<'_> {
        // The walker sums over broadcast axes.
        Gradient::rule(|cx| {
            if let Some(g) = cx.gradient(0) {
                cx.give(0, g);
            }
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let access = Access::broadcast(inputs[0].shape(), &self.shape);
        gather(&inputs[0], &self.shape, |index| access.element(index))
    }

    fn lowering(&self, inputs: &[TensorType], _: &[TensorType]) -> Lowering {
        let access = Access::broadcast(&inputs[0].shape, &self.shape);
        Lowering::Elementwise(Expression::load(0, access, inputs[0].dtype))
    }
}

/// Axes in another order: axis `i` of the output is axis `axes[i]` of the input.
#[derive(Clone, Debug)]
pub struct Permute {
    /// The order.
    pub axes: Vec<usize>,
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs("permute", inputs, 1)?;
        let shape = &inputs[0].shape;
        let mut sorted = self.axes.clone();
        sorted.sort_unstable();
        if sorted != (0..shape.len()).collect::<Vec<_>>() {
            return Err(Error::shape(
                "permute",
                format_args!("{:?} is not an order of the {} axes of {shape:?}", self.axes, shape.len()),
            ));
        }
        Ok(vec![TensorType::new(inputs[0].dtype, self.axes.iter().map(|&a| shape[a]).collect::<Vec<_>>())])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Follow
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            if let Some(g) = cx.gradient(0) {
                let mut inverse = vec![0; self.axes.len()];
                self.axes.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
                let gradient = cx.graph.permute(g, &inverse)?;
                cx.give(0, gradient);
            }
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let from = inputs[0].shape();
        let shape: Vec<usize> = self.axes.iter().map(|&a| from[a]).collect();
        let strides = crate::shape::strides(from);
        gather(&inputs[0], &shape, |index| Some(index.iter().zip(&self.axes).map(|(i, &a)| i * strides[a]).sum()))
    }

    fn lowering(&self, inputs: &[TensorType], _: &[TensorType]) -> Lowering {
        let mut access = Access::identity(&inputs[0].shape);
        access.strides = self.axes.iter().map(|&a| access.strides[a]).collect();
        Lowering::Elementwise(Expression::load(0, access, inputs[0].dtype))
    }
}

/// The elements of some axes in reverse order.
#[derive(Clone, Debug)]
pub struct Flip {
    /// Ascending.
    pub axes: Vec<usize>,
}

impl Op for Flip {
    fn name(&self) -> &'static str {
        "flip"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs("flip", inputs, 1)?;
        let shape = &inputs[0].shape;
        let ascending = self.axes.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending || self.axes.last().is_some_and(|&axis| axis >= shape.len()) {
            return Err(Error::shape("flip", format_args!("{:?} are not ascending axes of {shape:?}", self.axes)));
        }
        Ok(inputs.to_vec())
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            if let Some(g) = cx.gradient(0) {
                let gradient = cx.graph.flip(g, &self.axes)?;
                cx.give(0, gradient);
            }
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let shape = inputs[0].shape();
        let strides = crate::shape::strides(shape);
        gather(&inputs[0], shape, |index| {
            let mirrored = |axis: usize| shape[axis] - 1 - index[axis];
            let source = |axis| if self.axes.contains(&axis) { mirrored(axis) } else { index[axis] };
            Some((0..index.len()).map(|axis| source(axis) * strides[axis]).sum())
        })
    }

    fn lowering(&self, inputs: &[TensorType], _: &[TensorType]) -> Lowering {
        let mut access = Access::identity(&inputs[0].shape);
        for &axis in &self.axes {
            access.offset += inputs[0].shape[axis].saturating_sub(1) as isize * access.strides[axis];
            access.strides[axis] *= -1;
        }
        Lowering::Elementwise(Expression::load(0, access, inputs[0].dtype))
    }
}

/// `begin..end` by steps of `step` on every axis.
#[derive(Clone, Debug)]
pub struct Slice {
    /// First coordinate, an axis.
    pub begin: Vec<usize>,
    /// First coordinate no longer taken, an axis.
    pub end: Vec<usize>,
    /// Distance of the coordinates taken, an axis.
    pub step: Vec<usize>,
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs("slice", inputs, 1)?;
        let shape = &inputs[0].shape;
        let rank = shape.len();
        if self.begin.len() != rank || self.end.len() != rank || self.step.len() != rank {
            return Err(Error::shape(
                "slice",
                format_args!("one range an axis is needed for {shape:?}, got {:?}", self.begin),
            ));
        }
        for (axis, &extent) in shape.iter().enumerate() {
            let (begin, end, step) = (self.begin[axis], self.end[axis], self.step[axis]);
            if begin > end || end > extent || step == 0 {
                return Err(Error::shape(
                    "slice",
                    format_args!("{begin}..{end} by {step} is not within axis {axis} of {shape:?}"),
                ));
            }
        }
        let extents = (0..rank).map(|axis| (self.end[axis] - self.begin[axis]).div_ceil(self.step[axis]));
        Ok(vec![TensorType::new(inputs[0].dtype, extents.collect::<Vec<_>>())])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Follow
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let from = cx.input_shape(0);
            let taken = cx.graph.shape(g).to_vec();
            // The slice read coordinate begin + i·step; the gradient puts it back there and zeros elsewhere.
            let interior: Vec<usize> = self.step.iter().map(|step| step - 1).collect();
            let after = (0..from.len()).map(|axis| {
                let covered = if taken[axis] == 0 { 0 } else { (taken[axis] - 1) * self.step[axis] + 1 };
                from[axis] - self.begin[axis] - covered
            });
            let pad = Pad { before: self.begin.clone(), after: after.collect(), interior, value: 0.0 };
            let gradient = cx.graph.emit(pad, &[g])?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let strides = crate::shape::strides(inputs[0].shape());
        let ty = TensorType::new(inputs[0].dtype(), inputs[0].shape());
        let shape = self.infer(&[ty])?.swap_remove(0).shape;
        gather(&inputs[0], &shape, |index| {
            Some((0..index.len()).map(|a| (self.begin[a] + index[a] * self.step[a]) * strides[a]).sum())
        })
    }

    fn lowering(&self, inputs: &[TensorType], _: &[TensorType]) -> Lowering {
        let mut access = Access::identity(&inputs[0].shape);
        for axis in 0..self.begin.len() {
            access.offset += (self.begin[axis] as isize) * access.strides[axis];
            access.strides[axis] *= self.step[axis] as isize;
        }
        Lowering::Elementwise(Expression::load(0, access, inputs[0].dtype))
    }
}

/// A constant border: `before` and `after` elements around every axis, `interior` ones between neighbours.
#[derive(Clone, Debug)]
pub struct Pad {
    /// Elements in front, an axis.
    pub before: Vec<usize>,
    /// Elements behind, an axis.
    pub after: Vec<usize>,
    /// Elements between two neighbours, an axis (only for gradients of strided slices).
    pub interior: Vec<usize>,
    /// The value of the new elements.
    pub value: f64,
}

impl Pad {
    fn axis_extent(&self, axis: usize, extent: usize) -> usize {
        let between = self.interior[axis] * extent.saturating_sub(1);
        self.before[axis] + extent + between + self.after[axis]
    }
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs("pad", inputs, 1)?;
        let shape = &inputs[0].shape;
        let rank = shape.len();
        if self.before.len() != rank || self.after.len() != rank || self.interior.len() != rank {
            return Err(Error::shape(
                "pad",
                format_args!("one border an axis is needed for {shape:?}, got {:?}", self.before),
            ));
        }
        let extents: Vec<usize> = (0..rank).map(|axis| self.axis_extent(axis, shape[axis])).collect();
        Ok(vec![TensorType::new(inputs[0].dtype, extents)])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Follow
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let from = cx.input_shape(0);
            let step: Vec<usize> = self.interior.iter().map(|i| i + 1).collect();
            let end = (0..from.len())
                .map(|axis| self.before[axis] + if from[axis] == 0 { 0 } else { (from[axis] - 1) * step[axis] + 1 });
            let slice = Slice { begin: self.before.clone(), end: end.collect(), step };
            let gradient = cx.graph.emit(slice, &[g])?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let from = inputs[0].shape();
        let strides = crate::shape::strides(from);
        let shape: Vec<usize> = (0..from.len()).map(|axis| self.axis_extent(axis, from[axis])).collect();
        gather_or(&inputs[0], &shape, self.value, |index| {
            let mut element = 0;
            for axis in 0..index.len() {
                let position = index[axis].checked_sub(self.before[axis])?;
                let step = self.interior[axis] + 1;
                if position % step != 0 || position / step >= from[axis] {
                    return None;
                }
                element += position / step * strides[axis];
            }
            Some(element)
        })
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        if self.interior.iter().any(|&i| i > 0) {
            return Lowering::Decompose;
        }
        let mut expression = Expression::default();
        let otherwise = expression.push(Term::Scalar { value: self.value, dtype: inputs[0].dtype });
        let term = padded_load(&mut expression, 0, &inputs[0], &self.before, &outputs[0].shape, otherwise);
        expression.results.push(term);
        Lowering::Elementwise(expression)
    }

    /// Interior padding is padding of a finer axis: `[…, n, …]` as `[…, n, 1, …]`, padded to `[…, n, step, …]` behind,
    /// reshaped, and cut after the last element.
    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let mut x = inputs[0];
        for axis in 0..self.interior.len() {
            let shape = graph.shape(x).to_vec();
            let step = self.interior[axis] + 1;
            if step == 1 || shape[axis] == 0 {
                continue;
            }
            let mut fine = shape.clone();
            fine.insert(axis + 1, 1);
            x = graph.reshape(x, &fine)?;
            let mut after = vec![0; fine.len()];
            after[axis + 1] = step - 1;
            x = graph.pad(x, &vec![0; fine.len()], &after, self.value)?;
            let mut wide = shape.clone();
            wide[axis] *= step;
            x = graph.reshape(x, &wide)?;
            wide[axis] -= step - 1;
            x = graph.slice(x, &vec![0; wide.len()], &wide, &vec![1; wide.len()])?;
        }
        Ok(vec![graph.pad(x, &self.before, &self.after, self.value)?])
    }
}

/// Pieces one after the other along one axis.
#[derive(Clone, Debug)]
pub struct Concat {
    /// The axis.
    pub axis: usize,
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let Some(first) = inputs.first() else {
            return Err(Error::shape("concat", "needs at least one tensor"));
        };
        if self.axis >= first.shape.len() {
            return Err(Error::shape("concat", format_args!("no axis {} in {:?}", self.axis, first.shape)));
        }
        let mut shape = first.shape.clone();
        shape[self.axis] = 0;
        for input in inputs {
            let mut other = input.shape.clone();
            if other.len() == shape.len() {
                shape[self.axis] += other[self.axis];
                other[self.axis] = shape[self.axis];
            }
            if other != shape || input.dtype != first.dtype {
                return Err(Error::shape(
                    "concat",
                    format_args!("{input} does not continue {first} along axis {}", self.axis),
                ));
            }
        }
        Ok(vec![TensorType::new(first.dtype, shape)])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Follow
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let mut begin = 0;
            for i in 0..cx.graph.node(cx.output(0).node).inputs.len() {
                let mut shape = cx.input_shape(i);
                let mut from = vec![0; shape.len()];
                from[self.axis] = begin;
                begin += shape[self.axis];
                shape[self.axis] = begin;
                let gradient = cx.graph.slice(g, &from, &shape, &vec![1; from.len()])?;
                cx.give(i, gradient);
            }
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let types: Vec<TensorType> = inputs.iter().map(|a| TensorType::new(a.dtype(), a.shape())).collect();
        let shape = self.infer(&types)?.swap_remove(0).shape;
        let pieces: Vec<Vec<f64>> = inputs.iter().map(Array::to_f64_vec).collect();
        let mut elements = Vec::with_capacity(element_count(&shape));
        for flat in 0..element_count(&shape) {
            let mut index = unravel(flat, &shape);
            let mut piece = 0;
            while index[self.axis] >= inputs[piece].shape()[self.axis] {
                index[self.axis] -= inputs[piece].shape()[self.axis];
                piece += 1;
            }
            let strides = crate::shape::strides(inputs[piece].shape());
            elements.push(pieces[piece][index.iter().zip(&strides).map(|(i, s)| i * s).sum::<usize>()]);
        }
        Ok(vec![Array::new(&shape, elements)?.cast(inputs[0].dtype())])
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        let mut expression = Expression::default();
        let dtype = outputs[0].dtype;
        let mut begin = outputs[0].shape[self.axis];
        let mut term = expression.push(Term::Scalar { value: 0.0, dtype });
        // From the last piece to the first: each is read inside its bounds, else the rest of the chain.
        for (operand, input) in inputs.iter().enumerate().rev() {
            begin -= input.shape[self.axis];
            let mut before = vec![0; input.shape.len()];
            before[self.axis] = begin;
            term = padded_load(&mut expression, operand, input, &before, &outputs[0].shape, term);
        }
        expression.results.push(term);
        Lowering::Elementwise(expression)
    }
}

/// A load of `input` placed at `before` in the iteration space `space`; bounds only where there is a border.
fn padded_load(
    expression: &mut Expression,
    operand: usize,
    input: &TensorType,
    before: &[usize],
    space: &[usize],
    otherwise: usize,
) -> usize {
    let mut access = Access::identity(&input.shape);
    for axis in 0..before.len() {
        access.offset -= before[axis] as isize * access.strides[axis];
        let end = before[axis] + input.shape[axis];
        if before[axis] > 0 || end < space[axis] {
            access.bounds.push(Bound { axis, begin: before[axis], end });
        }
    }
    let otherwise = (!access.bounds.is_empty()).then_some(otherwise);
    expression.push(Term::Load { operand, access, otherwise, dtype: input.dtype })
}

/// The elements of `from` that `source` names, for every index of `shape`.
pub(super) fn gather(from: &Array, shape: &[usize], source: impl Fn(&[usize]) -> Option<usize>) -> Result<Vec<Array>> {
    gather_or(from, shape, 0.0, source)
}

fn gather_or(
    from: &Array,
    shape: &[usize],
    otherwise: f64,
    source: impl Fn(&[usize]) -> Option<usize>,
) -> Result<Vec<Array>> {
    fn typed<T: Element>(
        from: &Array,
        shape: &[usize],
        otherwise: f64,
        source: impl Fn(&[usize]) -> Option<usize>,
    ) -> Result<Vec<Array>> {
        let elements = from.as_slice::<T>()?;
        let gathered = (0..element_count(shape))
            .map(|flat| source(&unravel(flat, shape)).map_or(T::from_f64(otherwise), |element| elements[element]))
            .collect();
        Ok(vec![Array::new(shape, gathered)?])
    }
    match from.dtype() {
        DType::F32 => typed::<f32>(from, shape, otherwise, source),
        DType::F16 => typed::<half::f16>(from, shape, otherwise, source),
        DType::F64 => typed::<f64>(from, shape, otherwise, source),
        DType::U32 => typed::<u32>(from, shape, otherwise, source),
        DType::I32 => typed::<i32>(from, shape, otherwise, source),
    }
}

impl Graph {
    /// The same elements in another shape.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshape(&mut self, x: Value, shape: &[usize]) -> Result<Value> {
        if self.shape(x) == shape {
            return Ok(x);
        }
        self.emit(Reshape { shape: shape.to_vec() }, &[x])
    }

    /// `x` stretched to `shape`.
    ///
    /// # Errors
    /// When an extent other than 1 would change.
    pub fn broadcast_to(&mut self, x: Value, shape: &[usize]) -> Result<Value> {
        if self.shape(x) == shape {
            return Ok(x);
        }
        self.emit(Broadcast { shape: shape.to_vec() }, &[x])
    }

    /// Axes in another order.
    ///
    /// # Errors
    /// When `axes` is not an order of all axes.
    pub fn permute(&mut self, x: Value, axes: &[usize]) -> Result<Value> {
        self.emit(Permute { axes: axes.to_vec() }, &[x])
    }

    /// The elements of `axes` (ascending) in reverse order.
    ///
    /// # Errors
    /// When an axis does not exist.
    pub fn flip(&mut self, x: Value, axes: &[usize]) -> Result<Value> {
        self.emit(Flip { axes: axes.to_vec() }, &[x])
    }

    /// `begin..end` by `step` on every axis.
    ///
    /// # Errors
    /// When a range is outside its axis.
    pub fn slice(&mut self, x: Value, begin: &[usize], end: &[usize], step: &[usize]) -> Result<Value> {
        self.emit(Slice { begin: begin.to_vec(), end: end.to_vec(), step: step.to_vec() }, &[x])
    }

    /// A border of `value`.
    ///
    /// # Errors
    /// When there is not one border an axis.
    pub fn pad(&mut self, x: Value, before: &[usize], after: &[usize], value: f64) -> Result<Value> {
        if before.iter().chain(after).all(|&n| n == 0) {
            return Ok(x);
        }
        let interior = vec![0; before.len()];
        self.emit(Pad { before: before.to_vec(), after: after.to_vec(), interior, value }, &[x])
    }

    /// Pieces one after the other along `axis`.
    ///
    /// # Errors
    /// When other extents or the types differ.
    pub fn concat(&mut self, pieces: &[Value], axis: usize) -> Result<Value> {
        self.emit(Concat { axis }, pieces)
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let data = |shape: &[usize]| Sample::uniform(shape, -2.0, 2.0, 1);
    let e = Tolerance::EXACT;
    let slice = |begin: &[usize], end: &[usize], step: &[usize]| Slice {
        begin: begin.to_vec(),
        end: end.to_vec(),
        step: step.to_vec(),
    };
    let pad = |before: &[usize], after: &[usize], value| Pad {
        before: before.to_vec(),
        after: after.to_vec(),
        interior: vec![0; before.len()],
        value,
    };
    let flip = |axes: &[usize]| Flip { axes: axes.to_vec() };
    let spread = Pad { before: vec![1, 0], after: vec![0, 2], interior: vec![2, 1], value: 0.0 };
    vec![
        Sample::new("merge", Reshape { shape: vec![6, 4] }, vec![data(&[2, 3, 4])], e),
        Sample::new("one element", Reshape { shape: vec![1] }, vec![data(&[1, 1])], e),
        Sample::new("zero size", Reshape { shape: vec![0, 5] }, vec![data(&[5, 0])], e),
        Sample::error("sizes differ", Reshape { shape: vec![7] }, vec![data(&[6])], ErrorKind::Shape, "6 elements"),
        Sample::new("row", Broadcast { shape: vec![3, 4] }, vec![data(&[4])], e),
        Sample::new("column and new axis", Broadcast { shape: vec![2, 3, 4] }, vec![data(&[3, 1])], e),
        Sample::new("one element", Broadcast { shape: vec![1, 1] }, vec![data(&[1])], e),
        Sample::new("zero size", Broadcast { shape: vec![0, 3] }, vec![data(&[3])], e),
        Sample::error("shrinks", Broadcast { shape: vec![1] }, vec![data(&[4])], ErrorKind::Shape, "does not stretch"),
        Sample::new("transpose", Permute { axes: vec![1, 0] }, vec![data(&[3, 5])], e),
        Sample::new("rotate", Permute { axes: vec![2, 0, 3, 1] }, vec![data(&[2, 3, 4, 5])], e),
        Sample::new("one element", Permute { axes: vec![1, 0] }, vec![data(&[1, 1])], e),
        Sample::new("zero size permute", Permute { axes: vec![1, 0] }, vec![data(&[0, 5])], e),
        Sample::error(
            "axis twice",
            Permute { axes: vec![0, 0] },
            vec![data(&[3, 5])],
            ErrorKind::Shape,
            "not an order",
        ),
        Sample::new("one axis", flip(&[1]), vec![data(&[2, 5, 3])], e),
        Sample::new("all axes", flip(&[0, 1]), vec![data(&[4, 3])], e),
        Sample::new("extents of 1", flip(&[0, 2]), vec![data(&[1, 3, 1])], e),
        Sample::new("one element", flip(&[0]), vec![data(&[1])], e),
        Sample::new("zero size flip", flip(&[0, 1]), vec![data(&[0, 3])], e),
        Sample::error(
            "no such axis",
            flip(&[2]),
            vec![data(&[4, 3])],
            ErrorKind::Shape,
            "not ascending axes of [4, 3]",
        ),
        Sample::new("inner", slice(&[1, 2], &[3, 5], &[1, 1]), vec![data(&[4, 6])], e),
        Sample::new("steps", slice(&[0, 1], &[4, 6], &[3, 2]), vec![data(&[4, 6])], e),
        Sample::new("one element", slice(&[3, 2], &[4, 3], &[1, 1]), vec![data(&[4, 6])], e),
        Sample::new("nothing", slice(&[2, 0], &[2, 6], &[1, 1]), vec![data(&[4, 6])], e),
        Sample::error("too far", slice(&[0], &[9], &[1]), vec![data(&[4])], ErrorKind::Shape, "not within axis 0"),
        Sample::new("border", pad(&[1, 0, 2], &[0, 3, 1], 0.5), vec![data(&[2, 3, 4])], e),
        Sample::new("spread", spread, vec![data(&[3, 4])], e),
        Sample::new("no border", pad(&[0], &[0], 1.0), vec![data(&[1])], e),
        Sample::new("around nothing", pad(&[1], &[2], -1.0), vec![data(&[0])], e),
        Sample::new("one before nothing", pad(&[1], &[0], -1.0), vec![data(&[0])], e),
        Sample::error(
            "axes missing",
            pad(&[1], &[1], 0.0),
            vec![data(&[2, 2])],
            ErrorKind::Shape,
            "one border an axis",
        ),
        Sample::new("middle axis", Concat { axis: 1 }, vec![data(&[2, 3, 2]), data(&[2, 1, 2]), data(&[2, 4, 2])], e),
        Sample::new("first axis", Concat { axis: 0 }, vec![data(&[2, 3]), data(&[0, 3]), data(&[1, 3])], e),
        Sample::new("single", Concat { axis: 0 }, vec![data(&[1])], e),
        Sample::error(
            "extents",
            Concat { axis: 0 },
            vec![data(&[2, 3]), data(&[2, 4])],
            ErrorKind::Shape,
            "does not continue",
        ),
    ]
}

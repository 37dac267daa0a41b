//! Sorting along one axis, and the largest or smallest k elements.
//!
//! The values in order with their positions (`u32`) on the axis. The order is PyTorch's: a NaN is larger than every
//! number, so it comes last in ascending and first in descending order, and zeros of both signs are equal. Equal elements
//! keep the order in which they stood, in both directions, so positions are the same on every device.
//!
//! A GPU counts for each element how many come before it: n reads each, n² for a line. That is quick up to some thousand
//! elements; lines longer than 32,768 are refused. The gradient of the values goes to the positions they came from
//! ([`ScatterAdd`]).

use crate::array::{Array, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Gradient, Graph, Lowering, Op, Opaque, Sample, TensorType, Tolerance, Value, expect_inputs};
use crate::ops::gather::Indices;
use crate::ops::scatter_add::ScatterAdd;
use crate::shape::around_axis;
use crate::with_float;

/// Invocations of a workgroup.
const WORKGROUP: usize = 64;

/// The longest line.
const LONGEST: usize = 1 << 15;

/// x → the elements in order along `axis`, and their positions.
#[derive(Clone, Debug)]
pub struct Sort {
    /// The axis.
    pub axis: usize,
    /// Whether the largest comes first.
    pub descending: bool,
    /// How many of each line to keep, from the first; all if `None`.
    pub keep: Option<usize>,
}

impl Op for Sort {
    fn name(&self) -> &'static str {
        if self.keep.is_some() { "top_k" } else { "sort" }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        expect_inputs(name, inputs, 1)?;
        let TensorType { shape, dtype } = &inputs[0];
        if !dtype.is_float() {
            return Err(Error::dtype(name, format_args!("takes floats, got {}; cast first", inputs[0])));
        }
        let Some(&extent) = shape.get(self.axis) else {
            return Err(Error::shape(name, format_args!("no axis {} in {shape:?}", self.axis)));
        };
        if extent > LONGEST {
            return Err(Error::shape(
                name,
                format_args!("axis {} of {shape:?} is longer than {LONGEST}; cut it into pieces", self.axis),
            ));
        }
        let keep = self.keep.unwrap_or(extent);
        if keep > extent {
            return Err(Error::shape(name, format_args!("no {keep} elements on axis {} of {shape:?}", self.axis)));
        }
        let mut kept = shape.clone();
        kept[self.axis] = keep;
        Ok(vec![TensorType::new(*dtype, kept.clone()), TensorType::new(DType::U32, kept)])
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let (positions, extent) = (cx.output(1), cx.input_shape(0)[self.axis]);
            let back = ScatterAdd { axis: self.axis, extent, indices: Indices::Each };
            let gradient = cx.graph.emit(back, &[g, positions])?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let [outer, extent, inner] = around_axis(inputs[0].shape(), self.axis);
        let keep = self.keep.unwrap_or(extent);
        with_float!(self.name(), inputs[0], T => {
            let x = inputs[0].as_slice::<T>()?;
            let (mut values, mut positions) = (vec![T::c(0.0); outer * keep * inner], vec![0; outer * keep * inner]);
            for line in 0..outer * inner {
                let element = |place: usize| x[(line / inner * extent + place) * inner + line % inner];
                let mut order: Vec<usize> = (0..extent).collect();
                // A stable sort by (is NaN, value).
                order.sort_by(|&a, &b| {
                    let (a, b) = (element(a), element(b));
                    let by_value = a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal);
                    let ascending = a.is_nan().cmp(&b.is_nan()).then(by_value);
                    if self.descending { ascending.reverse() } else { ascending }
                });
                for (rank, &place) in order.iter().take(keep).enumerate() {
                    let to = (line / inner * keep + rank) * inner + line % inner;
                    (values[to], positions[to]) = (element(place), place as u32);
                }
            }
            let mut shape = inputs[0].shape().to_vec();
            shape[self.axis] = keep;
            Ok(vec![Array::new(&shape, values)?, Array::new(&shape, positions)?])
        })
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        let [_, extent, inner] = around_axis(&inputs[0].shape, self.axis);
        let (len, keep) = (inputs[0].len(), outputs[0].shape[self.axis]);
        Lowering::Opaque(Opaque {
            wgsl: concat!(include_str!("../../shaders/sort.wgsl"), include_str!("../../shaders/elementwise.wgsl")),
            constants: vec![("WORKGROUP", format!("{WORKGROUP}u")), ("DESCENDING", self.descending.to_string())],
            extents: vec![len as u32, extent as u32, keep as u32, inner as u32],
            workgroups: len.div_ceil(WORKGROUP),
        })
    }
}

impl Graph {
    /// The elements of `x` in order along `axis`, and their positions (`u32`). Equal ones keep their order; NaN counts as
    /// the largest.
    ///
    /// # Errors
    /// When there is no such axis, it is longer than 32,768, or `x` is not of floats.
    pub fn sort(&mut self, x: Value, axis: usize, descending: bool) -> Result<[Value; 2]> {
        let outputs = self.apply(std::sync::Arc::new(Sort { axis, descending, keep: None }), &[x])?;
        Ok([outputs[0], outputs[1]])
    }

    /// The `k` largest (or smallest) elements of `x` in order along `axis`, and their positions (`u32`); of equal ones
    /// the first.
    ///
    /// # Errors
    /// As [`Graph::sort`], and when there are fewer than `k`.
    pub fn top_k(&mut self, x: Value, k: usize, axis: usize, largest: bool) -> Result<[Value; 2]> {
        let outputs = self.apply(std::sync::Arc::new(Sort { axis, descending: largest, keep: Some(k) }), &[x])?;
        Ok([outputs[0], outputs[1]])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let e = Tolerance::EXACT;
    let data = |shape: &[usize]| Sample::uniform(shape, -2.0, 2.0, 25);
    let op = |axis, descending, keep| Sort { axis, descending, keep };
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    let special = || {
        let row = vec![1.0, nan, -0.0, 0.0, 2.0, -infinity, 2.0, infinity, nan, -1.0, 0.0, -nan, 2.0, -1.0];
        Array::new(&[1, row.len()], row).expect("one row")
    };
    let ties = || Array::from_fn(&[70, 3], |i| ((i[0] * 5 + i[1]) % 7) as f32);
    let shape = ErrorKind::Shape;
    vec![
        Sample::new("last axis", op(1, false, None), vec![data(&[4, 9])], e),
        Sample::new("descending", op(1, true, None), vec![data(&[4, 9])], e),
        Sample::new("first axis", op(0, false, None), vec![data(&[67, 3])], e),
        Sample::new("middle axis", op(1, true, None), vec![data(&[2, 5, 3])], e),
        Sample::new("long line", op(0, false, None), vec![data(&[1500])], e),
        Sample::new("one element", op(0, false, None), vec![data(&[1])], e),
        Sample::new("no elements", op(1, false, None), vec![data(&[3, 0])], e),
        Sample::new("ties", op(0, false, None), vec![ties()], e).not_smooth(),
        Sample::new("ties, descending", op(0, true, None), vec![ties()], e).not_smooth(),
        Sample::new("NaN, zeros, infinities", op(1, false, None), vec![special()], e).not_smooth(),
        Sample::new("NaN, zeros, infinities, descending", op(1, true, None), vec![special()], e).not_smooth(),
        Sample::new("largest of one", op(0, true, Some(1)), vec![data(&[1])], e),
        Sample::new("three largest", op(1, true, Some(3)), vec![data(&[5, 8])], e),
        Sample::new("two smallest", op(0, false, Some(2)), vec![data(&[6, 4])], e),
        Sample::new("all", op(0, true, Some(6)), vec![data(&[6])], e),
        Sample::new("none", op(1, true, Some(0)), vec![data(&[2, 6])], e),
        Sample::new("largest with NaN", op(1, true, Some(5)), vec![special()], e).not_smooth(),
        Sample::error("axis", op(2, false, None), vec![data(&[2, 3])], shape, "no axis 2 in [2, 3]"),
        Sample::error("integers", op(0, false, None), vec![ties().cast(DType::U32)], ErrorKind::DType, "takes floats"),
        Sample::error("too long", op(0, false, None), vec![data(&[LONGEST + 1])], shape, "is longer than 32768"),
        Sample::error("too many", op(0, true, Some(4)), vec![data(&[3])], shape, "no 4 elements on axis 0"),
    ]
}

//! Elements picked by index along one axis: `gather` and `index_select`.
//!
//! With x seen as `[outer, n, inner]` around the axis, `y[o, k, i] = x[o, index[o, k, i], i]` for `gather`, whose index has
//! a number for each element of the result, and `y[o, k, i] = x[o, index[k], i]` for `index_select`, whose index is a vector.
//! Both are PyTorch's functions of these names, with `u32` indices.
//!
//! An index of n or more names no element. Indices are data, which no shape rule can check, and a mistake must show: the
//! element picked is NaN (0 for integers), on every device. The gradient sums what each element was picked for
//! ([`ScatterAdd`]), and ignores such indices; so the gradient of that gradient picks 0 there ([`Outside::Zero`]).

use crate::array::{Array, Element};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Gradient, Graph, Lowering, Op, Opaque, Sample, TensorType, Tolerance, Value, expect_inputs};
use crate::ops::scatter_add::ScatterAdd;
use crate::shape::around_axis;

/// Invocations of a workgroup.
pub(super) const WORKGROUP: usize = 64;

/// What the indices stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indices {
    /// A number for each element.
    Each,
    /// A vector along the axis, for all lines alike.
    Shared,
}

/// What an index that names no element picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// NaN, or 0 of integers.
    Nan,
    /// 0.
    Zero,
}

/// x and `u32` indices → the elements of x that they name along `axis`.
#[derive(Clone, Debug)]
pub struct Gather {
    /// The axis.
    pub axis: usize,
    /// Whether the indices are `x`'s shape but for the axis, or a vector.
    pub indices: Indices,
    /// What an index that names no element picks.
    pub outside: Outside,
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        match self.indices {
            Indices::Each => "gather",
            Indices::Shared => "index_select",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        expect_inputs(name, inputs, 2)?;
        let (x, index) = (&inputs[0], &inputs[1]);
        if self.axis >= x.shape.len() {
            return Err(Error::shape(name, format_args!("no axis {} in {:?}", self.axis, x.shape)));
        }
        expect_index(name, index)?;
        let mut shape = x.shape.clone();
        match self.indices {
            Indices::Each => {
                shape[self.axis] = index.shape.get(self.axis).copied().unwrap_or(0);
                if shape != index.shape {
                    return Err(Error::shape(
                        name,
                        format_args!("the index {index} may differ from {x} on axis {} alone", self.axis),
                    ));
                }
            }
            Indices::Shared => shape[self.axis] = expect_vector(name, index)?,
        }
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let (index, extent) = (cx.input(1), cx.input_shape(0)[self.axis]);
            let scatter = ScatterAdd { axis: self.axis, extent, indices: self.indices };
            let gradient = cx.graph.emit(scatter, &[g, index])?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        Ok(vec![match inputs[0].dtype() {
            DType::F32 => self.picked::<f32>(inputs)?,
            DType::F16 => self.picked::<half::f16>(inputs)?,
            DType::F64 => self.picked::<f64>(inputs)?,
            DType::U32 => self.picked::<u32>(inputs)?,
            DType::I32 => self.picked::<i32>(inputs)?,
        }])
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        let [_, extent, inner] = around_axis(&inputs[0].shape, self.axis);
        let (len, taken) = (outputs[0].len(), outputs[0].shape[self.axis]);
        let outside = match self.outside {
            Outside::Nan if inputs[0].dtype.is_float() => f32::NAN.to_bits(),
            _ => 0,
        };
        macro_rules! shader {
            ($value:literal) => {
                concat!(
                    "alias VALUE = ",
                    $value,
                    ";\n",
                    include_str!("../../shaders/gather.wgsl"),
                    include_str!("../../shaders/elementwise.wgsl"),
                )
            };
        }
        let wgsl = match inputs[0].dtype {
            DType::U32 => shader!("u32"),
            DType::I32 => shader!("i32"),
            _ => shader!("f32"),
        };
        Lowering::Opaque(Opaque {
            wgsl,
            constants: vec![
                ("WORKGROUP", format!("{WORKGROUP}u")),
                ("SHARED", (self.indices == Indices::Shared).to_string()),
                ("OUTSIDE", format!("{outside}u")),
            ],
            extents: vec![len as u32, extent as u32, taken as u32, inner as u32],
            workgroups: len.div_ceil(WORKGROUP),
        })
    }
}

impl Gather {
    fn picked<T: Element>(&self, inputs: &[Array]) -> Result<Array> {
        let (x, index) = (inputs[0].as_slice::<T>()?, inputs[1].as_slice::<u32>()?);
        let [outer, extent, inner] = around_axis(inputs[0].shape(), self.axis);
        let taken = match self.indices {
            Indices::Each => inputs[1].shape()[self.axis],
            Indices::Shared => index.len(),
        };
        let outside = T::from_f64(if self.outside == Outside::Nan { f64::NAN } else { 0.0 });
        let mut y = Vec::with_capacity(outer * taken * inner);
        for o in 0..outer {
            for k in 0..taken {
                for i in 0..inner {
                    let named = match self.indices {
                        Indices::Each => index[(o * taken + k) * inner + i],
                        Indices::Shared => index[k],
                    } as usize;
                    y.push(if named < extent { x[(o * extent + named) * inner + i] } else { outside });
                }
            }
        }
        let mut shape = inputs[0].shape().to_vec();
        shape[self.axis] = taken;
        Array::new(&shape, y)
    }
}

/// Refuses indices that are not `u32`.
pub(super) fn expect_index(op: &str, index: &TensorType) -> Result<()> {
    if index.dtype == DType::U32 {
        return Ok(());
    }
    Err(Error::dtype(op, format_args!("the index is {index}, it must be u32; cast first")))
}

/// The length of an index that must be a vector.
pub(super) fn expect_vector(op: &str, index: &TensorType) -> Result<usize> {
    match index.shape[..] {
        [length] => Ok(length),
        _ => Err(Error::shape(op, format_args!("the index is {index}, it must be a vector; reshape first"))),
    }
}

impl Graph {
    /// The elements of `x` that `index` names along `axis`, one for each element of `index`. On other axes the index may
    /// be shorter than `x`. An index that names no element gives NaN (0 for integers).
    ///
    /// # Errors
    /// When there is no such axis, the index is not of `u32`, or longer than `x` on another axis.
    pub fn gather(&mut self, x: Value, axis: usize, index: Value) -> Result<Value> {
        let (from, to) = (self.shape(x).to_vec(), self.shape(index).to_vec());
        let mut end = from.clone();
        if from.len() == to.len() {
            for other in (0..from.len()).filter(|&other| other != axis) {
                end[other] = from[other].min(to[other]);
            }
        }
        let rank = from.len();
        let x = if end == from { x } else { self.slice(x, &vec![0; rank], &end, &vec![1; rank])? };
        self.emit(Gather { axis, indices: Indices::Each, outside: Outside::Nan }, &[x, index])
    }

    /// The slices of `x` along `axis` that the vector `index` names. An index that names none gives NaN (0 for integers).
    ///
    /// # Errors
    /// When there is no such axis, or the index is not a vector of `u32`.
    pub fn index_select(&mut self, x: Value, axis: usize, index: Value) -> Result<Value> {
        self.emit(Gather { axis, indices: Indices::Shared, outside: Outside::Nan }, &[x, index])
    }
}

/// Indices that meet the first and the last of `extent`, some of them twice.
pub(super) fn sample_index(shape: &[usize], extent: usize) -> Array {
    let mut flat = 0;
    Array::from_fn(shape, |_| {
        flat += 1;
        (flat * (extent - 1) % extent) as u32 / (1 + flat as u32 % 2)
    })
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let e = Tolerance::EXACT;
    let data = |shape: &[usize]| Sample::uniform(shape, -2.0, 2.0, 21);
    let gather = |axis| Gather { axis, indices: Indices::Each, outside: Outside::Nan };
    let select = |axis| Gather { axis, indices: Indices::Shared, outside: Outside::Nan };
    let zero = |indices| Gather { axis: 0, indices, outside: Outside::Zero };
    let index = sample_index;
    let vector = |elements: &[u32]| Array::new(&[elements.len()], elements.to_vec()).expect("a vector");
    let integers = |dtype| Array::from_fn(&[5, 3], |i| (i[0] * 3 + i[1]) as u32).cast(dtype);
    let beyond = || vector(&[0, 4, 5, u32::MAX, 1]);
    vec![
        Sample::new("last axis", gather(1), vec![data(&[4, 7]), index(&[4, 5], 7)], e),
        Sample::new("first axis", gather(0), vec![data(&[6, 5]), index(&[9, 5], 6)], e),
        Sample::new("channels of an image", gather(2), vec![data(&[2, 3, 5, 4]), index(&[2, 3, 70, 4], 5)], e),
        Sample::new("one element", gather(0), vec![data(&[1]), index(&[1], 1)], e),
        Sample::new("nothing taken", gather(1), vec![data(&[3, 4]), index(&[3, 0], 4)], e),
        Sample::new("taken from nothing", gather(0), vec![data(&[0, 2]), index(&[3, 2], 1)], e),
        Sample::new("names no element", gather(0), vec![data(&[5]), beyond()], e).not_smooth(),
        Sample::new("no element is zero", zero(Indices::Each), vec![data(&[5]), beyond()], e),
        Sample::new("u32", gather(0), vec![integers(DType::U32), index(&[2, 3], 6)], e),
        Sample::new("i32", gather(1), vec![integers(DType::I32), index(&[5, 4], 3)], e),
        Sample::new("one row of one", select(0), vec![data(&[1, 1]), vector(&[0])], e),
        Sample::new("rows", select(0), vec![data(&[6, 5]), vector(&[5, 0, 0, 3])], e),
        Sample::new("columns", select(1), vec![data(&[3, 4]), index(&[70], 4)], e),
        Sample::new("middle axis", select(1), vec![data(&[2, 5, 3]), vector(&[4])], e),
        Sample::new("no rows", select(0), vec![data(&[4, 2]), vector(&[])], e),
        Sample::new("names no row", select(0), vec![data(&[5, 2]), beyond()], e).not_smooth(),
        Sample::new("no row is zero", zero(Indices::Shared), vec![data(&[5, 2]), beyond()], e),
        Sample::error("axis", gather(2), vec![data(&[2, 3]), index(&[2, 3], 2)], ErrorKind::Shape, "no axis 2"),
        Sample::error("float index", gather(0), vec![data(&[3]), data(&[3])], ErrorKind::DType, "must be u32"),
        Sample::error(
            "another axis differs",
            gather(0),
            vec![data(&[2, 3]), index(&[2, 4], 2)],
            ErrorKind::Shape,
            "may differ from f32[2, 3] on axis 0 alone",
        ),
        Sample::error("matrix", select(0), vec![data(&[3]), index(&[1, 1], 3)], ErrorKind::Shape, "must be a vector"),
    ]
}

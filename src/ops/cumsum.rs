//! Running sums along one axis.
//!
//! `y[i] = Σ x[j]` over j ≤ i; over j < i if exclusive; over j ≥ i or j > i if reversed. The gradient is the running sum from
//! the other end.
//!
//! A line of up to 1,024 elements is added in order, one line an invocation. A longer one is cut into blocks: the running
//! sums of each block, to which those of the blocks' totals are added. So any length is within reach, and rounding grows
//! with the length of a block, not of the line.

use crate::array::{Array, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Gradient, Graph, Lowering, Op, Opaque, Sample, TensorType, Tolerance, Value, expect_inputs};
use crate::shape::around_axis;
use crate::with_float;

/// Invocations of a workgroup.
const WORKGROUP: usize = 64;

/// The longest line that one invocation adds up.
const LONGEST: usize = 1024;

/// The sums of the elements up to each, along `axis`.
#[derive(Clone, Debug)]
pub struct Cumsum {
    /// The axis.
    pub axis: usize,
    /// Whether an element is left out of its own sum.
    pub exclusive: bool,
    /// Whether to start from the end.
    pub reverse: bool,
}

impl Op for Cumsum {
    fn name(&self) -> &'static str {
        "cumsum"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs("cumsum", inputs, 1)?;
        let TensorType { shape, dtype } = &inputs[0];
        if !dtype.is_float() {
            return Err(Error::dtype("cumsum", format_args!("takes floats, got {}; cast first", inputs[0])));
        }
        if self.axis >= shape.len() {
            return Err(Error::shape("cumsum", format_args!("no axis {} in {shape:?}", self.axis)));
        }
        Ok(inputs.to_vec())
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            if let Some(g) = cx.gradient(0) {
                let gradient = cx.graph.emit(Cumsum { reverse: !self.reverse, ..self.clone() }, &[g])?;
                cx.give(0, gradient);
            }
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let [outer, extent, inner] = around_axis(inputs[0].shape(), self.axis);
        with_float!("cumsum", inputs[0], T => {
            let x = inputs[0].as_slice::<T>()?;
            let mut y = vec![T::c(0.0); x.len()];
            for line in 0..outer * inner {
                let mut sum = T::c(0.0);
                for step in 0..extent {
                    let place = if self.reverse { extent - 1 - step } else { step };
                    let element = (line / inner * extent + place) * inner + line % inner;
                    let before = sum;
                    sum += x[element];
                    y[element] = if self.exclusive { before } else { sum };
                }
            }
            Ok(vec![Array::new(inputs[0].shape(), y)?])
        })
    }

    fn lowering(&self, inputs: &[TensorType], _: &[TensorType]) -> Lowering {
        let [outer, extent, inner] = around_axis(&inputs[0].shape, self.axis);
        if extent > LONGEST {
            return Lowering::Decompose;
        }
        let lines = outer * inner;
        let flags = u32::from(self.exclusive) + 2 * u32::from(self.reverse);
        Lowering::Opaque(Opaque {
            wgsl: concat!(include_str!("../../shaders/cumsum.wgsl"), include_str!("../../shaders/elementwise.wgsl")),
            constants: vec![("WORKGROUP", format!("{WORKGROUP}u"))],
            extents: vec![lines as u32, extent as u32, inner as u32, flags],
            workgroups: lines.div_ceil(WORKGROUP),
        })
    }

    /// Blocks of about the square root of the axis: `[…, n, …]` as `[…, blocks, block, …]`, filled up with zeros.
    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let (axis, shape) = (self.axis, graph.shape(inputs[0]).to_vec());
        let extent = shape[axis];
        if extent == 0 {
            return Ok(inputs.to_vec());
        }
        let block = ((extent as f64).sqrt().ceil() as usize).min(LONGEST);
        let blocks = extent.div_ceil(block);
        let (none, mut after) = (vec![0; shape.len()], vec![0; shape.len()]);
        after[axis] = blocks * block - extent;
        let filled = graph.pad(inputs[0], &none, &after, 0.0)?;
        let mut cut = shape.clone();
        cut[axis] = block;
        cut.insert(axis, blocks);
        let cut = graph.reshape(filled, &cut)?;
        let within = graph.emit(Cumsum { axis: axis + 1, ..self.clone() }, &[cut])?;
        let totals = graph.sum(cut, &[axis + 1])?;
        let before = graph.emit(Cumsum { exclusive: true, ..self.clone() }, &[totals])?;
        let running = graph.add(within, before)?;
        let mut whole = shape.clone();
        whole[axis] = blocks * block;
        let running = graph.reshape(running, &whole)?;
        Ok(vec![if whole == shape { running } else { graph.slice(running, &none, &shape, &vec![1; shape.len()])? }])
    }
}

impl Graph {
    /// The sums of the elements up to each along `axis`: without the element itself if `exclusive`, from the end if
    /// `reverse`.
    ///
    /// # Errors
    /// When there is no such axis, or `x` is not of floats.
    pub fn cumsum(&mut self, x: Value, axis: usize, exclusive: bool, reverse: bool) -> Result<Value> {
        self.emit(Cumsum { axis, exclusive, reverse }, &[x])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let data = |shape: &[usize]| Sample::uniform(shape, -1.0, 1.0, 24);
    let op = |axis, exclusive, reverse| Cumsum { axis, exclusive, reverse };
    let sum = Tolerance::sum;
    let special = Array::new(&[2, 4], vec![1.0, f32::NAN, 2.0, 3.0, 1.0, f32::INFINITY, -1.0, 2.0]).expect("two rows");
    let mut samples = Vec::new();
    for (name, exclusive, reverse) in [
        ("plain", false, false),
        ("exclusive", true, false),
        ("reverse", false, true),
        ("exclusive and reverse", true, true),
    ] {
        samples.push(Sample::new(name, op(1, exclusive, reverse), vec![data(&[3, 7, 5])], sum(7)));
        let long = vec![data(&[LONGEST + 9, 2])];
        samples.push(Sample::new(format!("blocks, {name}"), op(0, exclusive, reverse), long, sum(LONGEST)));
    }
    samples.extend([
        Sample::new("last axis", op(1, false, false), vec![data(&[70, 9])], sum(9)),
        Sample::new("longest line", op(0, false, false), vec![data(&[LONGEST])], sum(LONGEST)),
        Sample::new("one element", op(0, false, true), vec![data(&[1])], sum(1)),
        Sample::new("no elements", op(1, false, false), vec![data(&[3, 0])], sum(1)),
        Sample::new("no lines", op(0, false, false), vec![data(&[3, 0])], sum(1)),
        Sample::new("NaN, infinity", op(1, false, false), vec![special], sum(4)).not_smooth(),
        Sample::error("axis", op(1, false, false), vec![data(&[3])], ErrorKind::Shape, "no axis 1 in [3]"),
        Sample::error(
            "integers",
            op(0, false, false),
            vec![Array::zeros(&[3], DType::U32)],
            ErrorKind::DType,
            "takes floats",
        ),
    ]);
    samples
}

//! Images in another size: nearest and bilinear interpolation, adaptive average pooling, and their gradients.
//!
//! ```text
//! y[n, p, q, c] = Σ_h Σ_w a(p, h) · b(q, w) · x[n, h, w, c];  dx[n, h, w, c] = Σ_p Σ_q a(p, h) · b(q, w) · dy[n, p, q, c]
//! nearest    one pixel, h = floor(p · in / out)
//! bilinear   the two pixels beside the source coordinate s, with weights 1 - |s - h|:
//!            s = max(0, ((2p + 1) · in - out) / (2 · out)), or p · (in - 1) / (out - 1) with aligned corners
//! average    all of floor(p · in / out) .. ceil((p + 1) · in / out), with equal weights
//! ```
//!
//! As PyTorch's `interpolate` and `adaptive_avg_pool2d`. Pixels and weights follow from integers, so every device reads
//! the same ones; PyTorch rounds the ratio, so that now and then its nearest pixel is a neighbour (from 2 pixels to 82).
//! A pixel of weight zero is not read: NaN beside what is read does not spread. The map is linear, so one operation in two
//! directions, each the gradient of the other, is all there is. Sizes that divide need no kernel: pixels are repeated, or
//! blocks of them summed.

use std::ops::Range;

use super::pool::{GRADIENT, IMAGE, four_axes, output_shape};
use crate::array::{Array, Float};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{
    Autocast, Gradient, Graph, Lowering, Op, Opaque, Sample, TensorType, Tolerance, Value, expect_inputs,
};
use crate::with_float;

/// Invocations of a workgroup.
const WORKGROUP: usize = 64;

/// The most that sizes may differ by as a factor: an invocation visits up to twice as many pixels of an axis.
const MOST_FACTOR: usize = 20_000;

/// The largest product of an axis's extents before and after, so that twice that is an `i32`.
const MOST_PRODUCT: usize = 1 << 29;

/// How an image gets another size; the names are those of PyTorch's `interpolate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The pixel at `floor(p · in / out)`.
    Nearest,
    /// The two nearest pixels of each axis, by their distance.
    Bilinear {
        /// Whether the centres of the corner pixels stay where they are, else the corners of the image.
        align_corners: bool,
    },
    /// The mean of the pixels that the position covers: adaptive average pooling.
    Area,
}

/// Image `[N, H, W, C]` → `[N, P, Q, C]`; or transposed, the gradient of that: `[N, P, Q, C]` → `[N, H, W, C]`.
#[derive(Clone, Debug)]
pub struct Resample {
    /// What a position reads.
    pub mode: Interpolation,
    /// The extents of the output: `[P, Q]`, or transposed `[H, W]`.
    pub size: [usize; 2],
    /// Whether positions give to the pixels that they would read.
    pub transposed: bool,
}

/// One axis of an image.
#[derive(Clone, Copy)]
struct Axis {
    pixels: usize,
    positions: usize,
}

impl Axis {
    /// The pixels that position `p` reads, with weights whose sum is 1.
    fn taps(self, mode: Interpolation, p: usize) -> Vec<(usize, f64)> {
        let (pixels, positions) = (self.pixels, self.positions);
        let (numerator, denominator) = match mode {
            Interpolation::Nearest => return vec![(p * pixels / positions, 1.0)],
            Interpolation::Area => {
                let covered = covered(p, pixels, positions);
                let share = 1.0 / covered.len() as f64;
                return covered.map(|pixel| (pixel, share)).collect();
            }
            Interpolation::Bilinear { align_corners: true } => (p * (pixels - 1), (positions - 1).max(1)),
            Interpolation::Bilinear { align_corners: false } => {
                (((2 * p + 1) * pixels).saturating_sub(positions), 2 * positions)
            }
        };
        let (first, rest) = (numerator / denominator, numerator % denominator);
        if rest == 0 || first + 1 == pixels {
            return vec![(first, 1.0)];
        }
        let further = rest as f64 / denominator as f64;
        vec![(first, 1.0 - further), (first + 1, further)]
    }

    /// For each output the inputs it reads, with their weights.
    fn table(self, mode: Interpolation, transposed: bool) -> Vec<Vec<(usize, f64)>> {
        let taps = (0..self.positions).map(|p| self.taps(mode, p));
        if !transposed {
            return taps.collect();
        }
        let mut table = vec![Vec::new(); self.pixels];
        for (p, taps) in taps.enumerate() {
            for (pixel, weight) in taps {
                table[pixel].push((p, weight));
            }
        }
        table
    }
}

/// The pixels of `0..pixels` that position `p` of `positions` covers, if the positions cover them evenly.
pub(super) fn covered(p: usize, pixels: usize, positions: usize) -> Range<usize> {
    p * pixels / positions..((p + 1) * pixels).div_ceil(positions)
}

/// Refuses sizes that the kernels of `op` cannot count.
pub(super) fn check_sizes(op: &str, image: [usize; 2], positions: [usize; 2]) -> Result<()> {
    for (pixels, positions) in image.into_iter().zip(positions) {
        if pixels == 0 || positions == 0 {
            let message = format_args!("from {pixels} pixels to {positions}; every extent must be at least 1");
            return Err(Error::shape(op, message));
        }
        let factor = pixels.div_ceil(positions).max(positions.div_ceil(pixels));
        if factor > MOST_FACTOR || pixels.checked_mul(positions).is_none_or(|product| product > MOST_PRODUCT) {
            let message = format_args!(
                "from {pixels} pixels to {positions}; at most a factor of {MOST_FACTOR} and a product of \
                 {MOST_PRODUCT} can be done at once, do it in two steps"
            );
            return Err(Error::shape(op, message));
        }
    }
    Ok(())
}

impl Resample {
    /// The axes of the image, from the shape of the input.
    fn axes(&self, input: &[usize]) -> [Axis; 2] {
        [0, 1].map(|axis| match self.transposed {
            false => Axis { pixels: input[1 + axis], positions: self.size[axis] },
            true => Axis { pixels: self.size[axis], positions: input[1 + axis] },
        })
    }

    /// The extents of the blocks of which one side has one element and the other all, if sizes divide; blocks of one
    /// where nothing changes.
    fn blocks(&self, input: &[usize]) -> Option<[usize; 2]> {
        let [rows, columns] = self.axes(input).map(|Axis { pixels, positions }| {
            let (many, few) = match self.mode {
                Interpolation::Nearest => (positions, pixels),
                Interpolation::Area => (pixels, positions),
                Interpolation::Bilinear { .. } => return (pixels == positions).then_some(1),
            };
            (many % few == 0).then_some(many / few)
        });
        Some([rows?, columns?])
    }
}

impl Op for Resample {
    fn name(&self) -> &'static str {
        match (self.mode, self.transposed) {
            (Interpolation::Nearest, false) => "upsample_nearest2d",
            (Interpolation::Nearest, true) => "upsample_nearest2d.grad",
            (Interpolation::Bilinear { .. }, false) => "upsample_bilinear2d",
            (Interpolation::Bilinear { .. }, true) => "upsample_bilinear2d.grad",
            (Interpolation::Area, false) => "adaptive_avg_pool2d",
            (Interpolation::Area, true) => "adaptive_avg_pool2d.grad",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1)?;
        let what = if self.transposed { GRADIENT } else { IMAGE };
        let [batch, rows, columns, channels] = four_axes(self.name(), &inputs[0], what)?;
        let (image, positions) =
            if self.transposed { (self.size, [rows, columns]) } else { ([rows, columns], self.size) };
        check_sizes(self.name(), image, positions)?;
        Ok(vec![TensorType::new(inputs[0].dtype, [batch, self.size[0], self.size[1], channels])])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Parts
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let shape = cx.input_shape(0);
            let back = Resample { mode: self.mode, size: [shape[1], shape[2]], transposed: !self.transposed };
            let gradient = cx.graph.emit(back, &[g])?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let shape = output_shape(self, inputs)?;
        with_float!(self.name(), inputs[0], T => {
            let (x, from) = (inputs[0].as_slice::<T>()?, inputs[0].shape());
            let [rows, columns] = self.axes(from).map(|axis| axis.table(self.mode, self.transposed));
            let (height, width, channels) = (from[1], from[2], from[3]);
            let mut y = Vec::with_capacity(crate::shape::element_count(&shape));
            for n in 0..shape[0] {
                for row in &rows {
                    for column in &columns {
                        let begin = y.len();
                        y.resize(begin + channels, T::c(0.0));
                        for &(h, a) in row {
                            for &(w, b) in column {
                                let pixel = &x[((n * height + h) * width + w) * channels..][..channels];
                                let share = T::c(a * b);
                                y[begin..].iter_mut().zip(pixel).for_each(|(sum, &x)| *sum += share * x);
                            }
                        }
                    }
                }
            }
            Ok(vec![Array::new(&shape, y)?])
        })
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        let input = &inputs[0].shape;
        if self.blocks(input).is_some() {
            return Lowering::Decompose;
        }
        let mode = match self.mode {
            Interpolation::Nearest => "NEAREST",
            Interpolation::Bilinear { align_corners: false } => "BILINEAR",
            Interpolation::Bilinear { align_corners: true } => "BILINEAR_ALIGNED",
            Interpolation::Area => "AREA",
        };
        let [rows, columns] = self.axes(input);
        let number = |name, value: usize| (name, format!("{value}u"));
        Lowering::Opaque(Opaque {
            wgsl: concat!(
                include_str!("../../shaders/lib/covered.wgsl"),
                include_str!("../../shaders/resample.wgsl"),
                include_str!("../../shaders/elementwise.wgsl"),
            ),
            constants: vec![
                number("WORKGROUP", WORKGROUP),
                ("MODE", mode.to_owned()),
                ("TRANSPOSED", self.transposed.to_string()),
                number("IMAGE_H", rows.pixels),
                number("IMAGE_W", columns.pixels),
                number("POSITIONS_P", rows.positions),
                number("POSITIONS_Q", columns.positions),
                number("CHANNELS", input[3]),
            ],
            extents: vec![outputs[0].len() as u32],
            workgroups: outputs[0].len().div_ceil(WORKGROUP),
        })
    }

    /// One element of each block repeated, or the elements of each block summed.
    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let x = inputs[0];
        let shape = graph.shape(x).to_vec();
        let Some(blocks) = self.blocks(&shape) else {
            let message = format!("{}: no decomposition where sizes do not divide", self.name());
            return Err(Error::new(ErrorKind::Graph, message));
        };
        if blocks == [1, 1] {
            return Ok(vec![x]);
        }
        let [height, width] = self.size;
        let repeats = (self.mode == Interpolation::Nearest) != self.transposed;
        let mut y = if repeats {
            let fine = graph.reshape(x, &[shape[0], shape[1], 1, shape[2], 1, shape[3]])?;
            graph.broadcast_to(fine, &[shape[0], shape[1], blocks[0], shape[2], blocks[1], shape[3]])?
        } else {
            let fine = graph.reshape(x, &[shape[0], height, blocks[0], width, blocks[1], shape[3]])?;
            graph.sum(fine, &[2, 4])?
        };
        y = graph.reshape(y, &[shape[0], height, width, shape[3]])?;
        if self.mode == Interpolation::Area {
            y = graph.scale(y, 1.0 / (blocks[0] * blocks[1]) as f64)?;
        }
        Ok(vec![y])
    }
}

impl Graph {
    /// The image in the size `[H, W]`: `[N, H, W, C]` → `[N, size, C]`.
    ///
    /// # Errors
    /// When the image has not four axes of floats, an extent is zero, or sizes differ by more than 20,000 times.
    pub fn interpolate(&mut self, image: Value, size: [usize; 2], mode: Interpolation) -> Result<Value> {
        self.emit(Resample { mode, size, transposed: false }, &[image])
    }

    /// The means of `[P, Q]` parts of the image, as even as can be: `[N, H, W, C]` → `[N, P, Q, C]`.
    ///
    /// # Errors
    /// As [`Graph::interpolate`].
    pub fn adaptive_avg_pool2d(&mut self, image: Value, size: [usize; 2]) -> Result<Value> {
        self.interpolate(image, size, Interpolation::Area)
    }
}

/// Both directions between the image `shape` and positions `size`.
fn both(name: &str, mode: Interpolation, shape: [usize; 4], size: [usize; 2]) -> [Sample; 2] {
    let image = [shape[1], shape[2]];
    let op = |size, transposed| Resample { mode, size, transposed };
    // Every output is a sum of as many products as elements meet at it.
    let terms = |transposed| {
        let axes = [0, 1].map(|axis| Axis { pixels: image[axis], positions: size[axis] });
        let [rows, columns] = axes.map(|axis| axis.table(mode, transposed).iter().map(Vec::len).max().unwrap_or(1));
        rows * columns
    };
    let tolerance = |transposed| match terms(transposed) {
        0 | 1 if mode == Interpolation::Nearest => Tolerance::EXACT,
        count => Tolerance::sum(count),
    };
    let x = Sample::uniform(&shape, -1.0, 1.0, 61);
    let g = Sample::uniform(&[shape[0], size[0], size[1], shape[3]], -1.0, 1.0, 62);
    [
        Sample::new(name, op(size, false), vec![x], tolerance(false)),
        Sample::new(name, op(image, true), vec![g], tolerance(true)),
    ]
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let nearest = Interpolation::Nearest;
    let [bilinear, aligned] = [false, true].map(|align_corners| Interpolation::Bilinear { align_corners });
    let area = Interpolation::Area;
    let mut samples = Vec::new();
    for mode in [nearest, bilinear, aligned, area] {
        samples.extend(both("5×7 to 7×5", mode, [2, 5, 7, 3], [7, 5]));
        samples.extend(both("1×4 to 4×1", mode, [1, 1, 4, 2], [4, 1]));
        samples.extend(both("8×6 to 3×4, one channel", mode, [1, 8, 6, 1], [3, 4]));
        samples.extend(both("no images", mode, [0, 5, 7, 3], [7, 5]));
        samples.extend(both("one element", mode, [1, 1, 1, 1], [1, 1]));
    }
    for mode in [bilinear, aligned] {
        samples.extend(both("twice", mode, [2, 3, 4, 4], [6, 8]));
        samples.extend(both("as it is", mode, [1, 3, 5, 2], [3, 5]));
    }
    samples.extend(both("small shares", bilinear, [1, 2, 3, 1], [3, 170]));
    samples.extend(both("small shares", area, [1, 12, 13, 1], [1, 1]));
    samples.extend(both("3 and 2 times", nearest, [2, 3, 4, 4], [9, 8]));
    samples.extend(both("a third of 9×6", area, [2, 9, 6, 4], [3, 2]));
    samples.extend(both("to one", area, [2, 7, 5, 6], [1, 1]));

    // Pixels of weight zero are not read: rows 0 and 3 of 4, aligned, take nothing of rows 1 and 2.
    let hole = Array::from_fn(&[1, 4, 4, 1], |i| if i[1] == 1 { f32::NAN } else { (i[1] * 4 + i[2]) as f32 / 16.0 });
    let few = Resample { mode: aligned, size: [2, 3], transposed: false };
    samples.push(Sample::new("NaN beside what is read", few, vec![hole], Tolerance::sum(4)).not_smooth());

    let op = |mode, size, transposed| Resample { mode, size, transposed };
    let data = |shape: &[usize]| Sample::uniform(shape, -1.0, 1.0, 63);
    let error = |name, op, shape: &[usize], words| Sample::error(name, op, vec![data(shape)], ErrorKind::Shape, words);
    let integers = vec![Array::full(&[1, 4, 4, 1], 1u32)];
    let words = "upsample_nearest2d: the image must be [N, H, W, C], got [4, 4, 3]";
    samples.extend([
        error("three axes", op(nearest, [2, 2], false), &[4, 4, 3], words),
        error("gradient of two axes", op(bilinear, [2, 2], true), &[4, 4], "must be [N, P, Q, C], got [4, 4]"),
        error("to nothing", op(area, [0, 2], false), &[1, 4, 4, 3], "from 4 pixels to 0; every extent"),
        error("from nothing", op(bilinear, [2, 2], false), &[1, 4, 0, 3], "from 0 pixels to 2; every extent"),
        error("too far", op(nearest, [2, 30_000], false), &[1, 1, 1, 3], "at most a factor of 20000"),
        error("too large", op(area, [1, 1 << 16], false), &[1, 1, 1 << 15, 0], "at most a factor of 20000"),
        Sample::error("integers", op(area, [2, 2], false), integers, ErrorKind::DType, "got u32[1, 4, 4, 1]"),
    ]);
    samples
}

//! Adaptive max pooling: the largest pixel of each of `[P, Q]` parts of an image, as even as can be.
//!
//! ```text
//! y[n, p, q, c] = max x[n, h, w, c] over floor(p · H / P) <= h < ceil((p + 1) · H / P), and w likewise from q and W
//! ```
//!
//! As PyTorch's `adaptive_max_pool2d`. The second output is the winner's flat index `h · W + w`: the first of equals, and
//! the first NaN if there is one. The gradient goes to that pixel alone; parts may overlap, and a pixel sums those that
//! chose it. Choosing and giving back are each other's gradients, as in [`super::pool`]. An index that its position does
//! not cover chooses nothing.

use ndarray::Array4;

use super::pool::{GRADIENT, IMAGE, distinct, four_axes, output_shape};
use super::resample::{check_sizes, covered};
use crate::array::{Array, Element, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Gradient, Graph, Lowering, Op, Opaque, Sample, TensorType, Tolerance, Value, expect_inputs};
use crate::shape::Window;
use crate::with_float;

/// Invocations of a workgroup.
const WORKGROUP: usize = 64;

/// Image `[N, H, W, C]` → the largest pixel of each part `[N, P, Q, C]`, and its flat index (`u32`).
#[derive(Clone, Debug)]
pub struct AdaptiveMaxPool2d {
    /// `[P, Q]`.
    pub size: [usize; 2],
}

/// The gradient of [`AdaptiveMaxPool2d`]: (gradient of the positions, indices) → gradient of the image.
#[derive(Clone, Debug)]
pub struct AdaptiveMaxPool2dGrad {
    /// `[H, W]`.
    pub image: [usize; 2],
}

/// The gradient of [`AdaptiveMaxPool2dGrad`]: (image, indices) → the pixel that each position chose.
#[derive(Clone, Debug)]
pub struct AdaptiveMaxPool2dGather;

/// The pixel of flat index `index`, if position `(p, q)` of `positions` covers it.
fn pixel(image: [usize; 2], positions: [usize; 2], [p, q]: [usize; 2], index: u32) -> Option<[usize; 2]> {
    let [h, w] = [index as usize / image[1], index as usize % image[1]];
    let inside = covered(p, image[0], positions[0]).contains(&h) && covered(q, image[1], positions[1]).contains(&w);
    inside.then_some([h, w])
}

/// The extents of an array's middle axes.
fn middle(shape: &[usize]) -> [usize; 2] {
    [shape[1], shape[2]]
}

fn check_indices(op: &str, indices: &TensorType, shape: [usize; 4]) -> Result<()> {
    let wanted = TensorType::new(DType::U32, shape);
    if *indices == wanted {
        return Ok(());
    }
    Err(Error::shape(op, format_args!("the indices chosen must be {wanted}, got {indices}")))
}

/// The kernel `wgsl` with an invocation an element of `output`, for an image and positions of these shapes.
fn kernel(wgsl: &'static str, image: &[usize], positions: &[usize], output: &TensorType) -> Lowering {
    let number = |name, value: usize| (name, format!("{value}u"));
    Lowering::Opaque(Opaque {
        wgsl,
        constants: vec![
            number("WORKGROUP", WORKGROUP),
            number("IMAGE_H", image[1]),
            number("IMAGE_W", image[2]),
            number("POSITIONS_P", positions[1]),
            number("POSITIONS_Q", positions[2]),
            number("CHANNELS", image[3]),
        ],
        extents: vec![output.len() as u32],
        workgroups: output.len().div_ceil(WORKGROUP),
    })
}

impl Op for AdaptiveMaxPool2d {
    fn name(&self) -> &'static str {
        "adaptive_max_pool2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1)?;
        let [batch, height, width, channels] = four_axes(self.name(), &inputs[0], IMAGE)?;
        check_sizes(self.name(), [height, width], self.size)?;
        let shape = [batch, self.size[0], self.size[1], channels];
        Ok(vec![TensorType::new(inputs[0].dtype, shape), TensorType::new(DType::U32, shape)])
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let (shape, indices) = (cx.input_shape(0), cx.output(1));
            let gradient = cx.graph.emit(AdaptiveMaxPool2dGrad { image: middle(&shape) }, &[g, indices])?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let shape = output_shape(self, inputs)?;
        with_float!(self.name(), inputs[0], T => {
            let x = inputs[0].view4::<T>()?;
            let [height, width] = middle(x.shape());
            let winners = Array4::from_shape_fn(shape, |(n, p, q, c)| {
                let mut best: Option<(usize, T)> = None;
                for h in covered(p, height, self.size[0]) {
                    for w in covered(q, width, self.size[1]) {
                        let value: T = x[[n, h, w, c]];
                        if best.is_none_or(|(_, best)| (value > best || value.is_nan()) && !best.is_nan()) {
                            best = Some((h * width + w, value));
                        }
                    }
                }
                best.unwrap_or((0, T::c(0.0)))
            });
            Ok(vec![
                <T as Element>::wrap(winners.mapv(|(_, value)| value).into_dyn()),
                Array::U32(winners.mapv(|(index, _)| index as u32).into_dyn()),
            ])
        })
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        let wgsl = concat!(
            include_str!("../../shaders/lib/covered.wgsl"),
            include_str!("../../shaders/lib/adaptive_max_pool.wgsl"),
            include_str!("../../shaders/elementwise.wgsl"),
        );
        kernel(wgsl, &inputs[0].shape, &outputs[0].shape, &outputs[0])
    }
}

impl Op for AdaptiveMaxPool2dGrad {
    fn name(&self) -> &'static str {
        "adaptive_max_pool2d.grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2)?;
        let shape = four_axes(self.name(), &inputs[0], GRADIENT)?;
        let [batch, rows, columns, channels] = shape;
        check_sizes(self.name(), self.image, [rows, columns])?;
        check_indices(self.name(), &inputs[1], shape)?;
        Ok(vec![TensorType::new(inputs[0].dtype, [batch, self.image[0], self.image[1], channels])])
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(u) = cx.gradient(0) else { return Ok(()) };
            let indices = cx.input(1);
            let gradient = cx.graph.emit(AdaptiveMaxPool2dGather, &[u, indices])?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let shape = output_shape(self, inputs)?;
        with_float!(self.name(), inputs[0], T => {
            let (g, indices) = (inputs[0].view4::<T>()?, inputs[1].view4::<u32>()?);
            let positions = middle(g.shape());
            let mut gradient = Array4::from_elem(shape, T::c(0.0));
            for ((n, p, q, c), &index) in indices.indexed_iter() {
                if let Some([h, w]) = pixel(self.image, positions, [p, q], index) {
                    gradient[[n, h, w, c]] += g[[n, p, q, c]];
                }
            }
            Ok(vec![<T as Element>::wrap(gradient.into_dyn())])
        })
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        let wgsl = concat!(
            include_str!("../../shaders/lib/covered.wgsl"),
            include_str!("../../shaders/lib/adaptive_max_pool_scatter.wgsl"),
            include_str!("../../shaders/elementwise.wgsl"),
        );
        kernel(wgsl, &outputs[0].shape, &inputs[0].shape, &outputs[0])
    }
}

impl Op for AdaptiveMaxPool2dGather {
    fn name(&self) -> &'static str {
        "adaptive_max_pool2d.gather"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2)?;
        let [batch, height, width, channels] = four_axes(self.name(), &inputs[0], IMAGE)?;
        let Ok([_, rows, columns, _]) = <[usize; 4]>::try_from(inputs[1].shape.as_slice()) else {
            let message = format_args!("the indices must be [N, P, Q, C], got {:?}", inputs[1].shape);
            return Err(Error::shape(self.name(), message));
        };
        check_sizes(self.name(), [height, width], [rows, columns])?;
        let shape = [batch, rows, columns, channels];
        check_indices(self.name(), &inputs[1], shape)?;
        Ok(vec![TensorType::new(inputs[0].dtype, shape)])
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let (shape, indices) = (cx.input_shape(0), cx.input(1));
            let gradient = cx.graph.emit(AdaptiveMaxPool2dGrad { image: middle(&shape) }, &[g, indices])?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let shape = output_shape(self, inputs)?;
        with_float!(self.name(), inputs[0], T => {
            let (x, indices) = (inputs[0].view4::<T>()?, inputs[1].view4::<u32>()?);
            let (image, positions) = (middle(x.shape()), middle(indices.shape()));
            let chosen = Array4::from_shape_fn(shape, |(n, p, q, c)| {
                let pixel = pixel(image, positions, [p, q], indices[[n, p, q, c]]);
                pixel.map_or(T::c(0.0), |[h, w]| x[[n, h, w, c]])
            });
            Ok(vec![<T as Element>::wrap(chosen.into_dyn())])
        })
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        let wgsl = concat!(
            include_str!("../../shaders/lib/covered.wgsl"),
            include_str!("../../shaders/lib/adaptive_max_pool_gather.wgsl"),
            include_str!("../../shaders/elementwise.wgsl"),
        );
        kernel(wgsl, &inputs[0].shape, &outputs[0].shape, &outputs[0])
    }
}

impl Graph {
    /// The largest pixels of `[P, Q]` parts of the image: `[N, H, W, C]` → `[N, P, Q, C]`.
    ///
    /// # Errors
    /// When the image has not four axes of floats, or an extent is zero.
    pub fn adaptive_max_pool2d(&mut self, image: Value, size: [usize; 2]) -> Result<Value> {
        // Parts that divide the image are windows side by side.
        if let [_, height, width, _] = *self.shape(image)
            && size.iter().all(|&extent| extent > 0)
            && height > 0
            && width > 0
            && height % size[0] == 0
            && width % size[1] == 0
        {
            let kernel_size = [height / size[0], width / size[1]];
            return self.max_pool2d(image, Window { stride: kernel_size, ..Window::new(kernel_size) });
        }
        self.emit(AdaptiveMaxPool2d { size }, &[image])
    }

    /// As [`Graph::adaptive_max_pool2d`], with the flat index `h · W + w` of each of those pixels.
    ///
    /// # Errors
    /// As [`Graph::adaptive_max_pool2d`].
    pub fn adaptive_max_pool2d_with_indices(&mut self, image: Value, size: [usize; 2]) -> Result<[Value; 2]> {
        let outputs = self.apply(std::sync::Arc::new(AdaptiveMaxPool2d { size }), &[image])?;
        Ok([outputs[0], outputs[1]])
    }
}

/// Choosing from `x`, giving back, and taking what was chosen.
fn three(name: &str, x: Array, size: [usize; 2]) -> [Sample; 3] {
    let image = middle(x.shape());
    let op = AdaptiveMaxPool2d { size };
    let indices = op.reference(std::slice::from_ref(&x)).expect("the cases fit").swap_remove(1);
    let g = Sample::uniform(indices.shape(), -1.0, 1.0, 72);
    // An even part touches one neighbour at most, an uneven one two: so many positions may choose a pixel.
    let meeting: usize = (0..2).map(|axis| size[axis].div_ceil(image[axis]) + 1).product();
    let choice = Sample::uniform(x.shape(), -1.0, 1.0, 73);
    [
        Sample::new(name, op, vec![x], Tolerance::EXACT),
        Sample::new(name, AdaptiveMaxPool2dGrad { image }, vec![g, indices.clone()], Tolerance::sum(meeting)),
        Sample::new(name, AdaptiveMaxPool2dGather, vec![choice, indices], Tolerance::EXACT),
    ]
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    for (name, shape, size) in [
        ("5×7 to 7×5", [2, 5, 7, 3], [7, 5]),
        ("1×4 to 4×1", [1, 1, 4, 2], [4, 1]),
        ("7×5 to 3×2, one channel", [1, 7, 5, 1], [3, 2]),
        ("a third of 9×6", [2, 9, 6, 4], [3, 2]),
        ("one element", [1, 1, 1, 1], [1, 1]),
        ("no images", [0, 5, 7, 3], [2, 3]),
    ] {
        samples.extend(three(name, distinct(&shape, 71), size));
    }
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    let special = vec![
        1.0, 1.0, nan, 2.0, -infinity, // ties, NaN, infinity
        1.0, 0.0, nan, nan, -infinity, //
        -0.0, 0.0, infinity, -infinity, -infinity,
    ];
    let special = Array::new(&[1, 3, 5, 1], special).expect("15 elements");
    samples.extend(three("ties, NaN and infinity", special, [2, 3]).map(Sample::not_smooth));
    // Indices that no position covers choose nothing.
    let far = || Array::from_fn(&[1, 2, 2, 1], |i| if i[1] == i[2] { 11 } else { u32::MAX });
    let data = |shape: &[usize]| Sample::uniform(shape, -1.0, 1.0, 74);
    let grad = |image| AdaptiveMaxPool2dGrad { image };
    samples.extend([
        Sample::new("far indices", grad([3, 5]), vec![data(&[1, 2, 2, 1]), far()], Tolerance::EXACT),
        Sample::new("far indices", AdaptiveMaxPool2dGather, vec![data(&[1, 3, 5, 1]), far()], Tolerance::EXACT),
    ]);

    fn error(name: &str, op: impl Op, inputs: Vec<Array>, words: &'static str) -> Sample {
        Sample::error(name, op, inputs, ErrorKind::Shape, words)
    }
    let choose = |size| AdaptiveMaxPool2d { size };
    let indices = |shape: &[usize]| Array::full(shape, 0u32);
    let integers = vec![Array::full(&[1, 4, 4, 1], 1u32)];
    let positions = data(&[1, 2, 2, 3]);
    samples.extend([
        error("three axes", choose([2, 2]), vec![data(&[4, 4, 3])], "must be [N, H, W, C], got [4, 4, 3]"),
        error("to nothing", choose([2, 0]), vec![data(&[1, 4, 4, 3])], "from 4 pixels to 0"),
        error("from nothing", choose([2, 2]), vec![data(&[1, 0, 4, 3])], "from 0 pixels to 2"),
        Sample::error("integers", choose([2, 2]), integers, ErrorKind::DType, "takes floats, got u32[1, 4, 4, 1]"),
        error(
            "float indices",
            grad([5, 4]),
            vec![positions.clone(), positions.clone()],
            "the indices chosen must be u32[1, 2, 2, 3], got f32[1, 2, 2, 3]",
        ),
        error("image of nothing", grad([0, 4]), vec![positions, indices(&[1, 2, 2, 3])], "from 0 pixels to 2"),
        error(
            "indices of one channel",
            AdaptiveMaxPool2dGather,
            vec![data(&[1, 4, 4, 3]), indices(&[1, 2, 2, 1])],
            "the indices chosen must be u32[1, 2, 2, 3], got u32[1, 2, 2, 1]",
        ),
        error(
            "indices of two axes",
            AdaptiveMaxPool2dGather,
            vec![data(&[1, 4, 4, 3]), indices(&[2, 2])],
            "the indices must be [N, P, Q, C], got [2, 2]",
        ),
    ]);
    samples
}

//! Two-dimensional convolution and its two gradients, channels last.
//!
//! ```text
//! y[n, p, q, o] = Σ_{r, s, c} x[n, h, w, c] · weight[o, r, s, c],    zero where (h, w) is outside the image
//! h = p · stride + r · dilation - padding before,    w likewise from q and s
//! ```
//!
//! The image is `[N, H, W, Cin]`, the weight `[Cout, Kh, Kw, Cin / groups]`, the result `[N, P, Q, Cout]`; the channels of
//! image and result are split into `groups` consecutive runs, and run g of the result reads run g of the image. The kernel
//! is not flipped, as in PyTorch. All three operations are linear in both inputs, and the gradients of each are the other
//! two, so gradients of gradients need nothing else. On a device each is one matrix product with its own way to find the
//! operands: no patch is ever written to memory.

use crate::array::{Array, Element, Float};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{
    Autocast, Gemm, Gradient, Graph, Lowering, Matrix, Op, Operand, Sample, TensorType, Tolerance, Value, expect_inputs,
};
use crate::shape::{Window, element_count, unravel};
use crate::with_float;

/// The convolution: (image, weight) → result.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// Kernel, stride, padding and dilation.
    pub window: Window,
    /// Independent runs of channels.
    pub groups: usize,
}

/// The gradient of the image: (gradient of the result, weight) → `[N, H, W, Cin]`.
#[derive(Clone, Debug)]
pub struct Conv2dGradInput {
    /// Kernel, stride, padding and dilation.
    pub window: Window,
    /// Independent runs of channels.
    pub groups: usize,
    /// `[H, W]`: strides round positions down, so it does not follow from the result.
    pub image: [usize; 2],
}

/// The gradient of the weight: (gradient of the result, image) → `[Cout, Kh, Kw, Cin / groups]`.
#[derive(Clone, Debug)]
pub struct Conv2dGradWeight {
    /// Kernel, stride, padding and dilation.
    pub window: Window,
    /// Independent runs of channels.
    pub groups: usize,
}

/// The extents of a convolution, from the shapes of its image and its result.
struct Extents {
    window: Window,
    image: [usize; 2],
    positions: [usize; 2],
    batch: usize,
    groups: usize,
    /// Channels of the image, of all groups and of one.
    inputs: [usize; 2],
    /// Channels of the result, of all groups and of one.
    outputs: [usize; 2],
}

impl Extents {
    fn new(window: Window, groups: usize, image: &[usize], result: &[usize]) -> Self {
        Extents {
            window,
            image: [image[1], image[2]],
            positions: [result[1], result[2]],
            batch: image[0],
            groups,
            inputs: [image[3], image[3] / groups],
            outputs: [result[3], result[3] / groups],
        }
    }

    /// Whether the windows are the pixels: then the convolution is a product of matrices as they lie in memory.
    fn is_product(&self) -> bool {
        self.groups == 1 && self.window == Window::new([1, 1])
    }

    /// The image as patches: a row a position, a column a tap.
    fn patches(&self) -> Operand {
        let [pixel, channels] = self.inputs;
        if self.is_product() {
            return Operand::Matrix(Matrix { row: pixel, column: 1, group: 0 });
        }
        Operand::Patches { window: self.window, image: self.image, positions: self.positions, channels, pixel }
    }

    /// The result's gradient as seen by the image: a row a pixel, a column a tap.
    fn covering(&self) -> Operand {
        let [pixel, channels] = self.outputs;
        if self.is_product() {
            return Operand::Matrix(Matrix { row: pixel, column: 1, group: 0 });
        }
        Operand::Covering { window: self.window, image: self.image, positions: self.positions, channels, pixel }
    }
}

/// Checks that both inputs are floats of one type with as many axes as asked for, and gives their extents.
pub(super) fn axes<const N: usize>(op: &str, inputs: &[TensorType], what: [&str; 2]) -> Result<[[usize; N]; 2]> {
    expect_inputs(op, inputs, 2)?;
    let (a, b) = (&inputs[0], &inputs[1]);
    if !a.dtype.is_float() || a.dtype != b.dtype {
        return Err(Error::dtype(op, format_args!("takes floats of one type, got {a} and {b}; cast first")));
    }
    let extents = |ty: &TensorType, what: &str| {
        <[usize; N]>::try_from(ty.shape.as_slice())
            .map_err(|_| Error::shape(op, format_args!("{what}, got {:?}", ty.shape)))
    };
    Ok([extents(a, what[0])?, extents(b, what[1])?])
}

const IMAGE: &str = "the image must be [N, H, W, Cin]";
const WEIGHT: &str = "the weight must be [Cout, Kh, Kw, Cin / groups]";
const RESULT: &str = "the gradient must be [N, P, Q, Cout]";

pub(super) fn check_groups(op: &str, groups: usize, inputs: usize, outputs: usize) -> Result<()> {
    if groups > 0 && inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups) {
        return Ok(());
    }
    Err(Error::shape(
        op,
        format_args!("{groups} groups must divide the {inputs} channels of the input and the {outputs} of the result"),
    ))
}

pub(super) fn check_weight(op: &str, weight: &[usize], wanted: &[usize]) -> Result<()> {
    if weight == wanted {
        return Ok(());
    }
    Err(Error::shape(op, format_args!("the weight is {weight:?}, channels, window and groups need {wanted:?}")))
}

fn check_positions(op: &str, window: &Window, image: [usize; 2], positions: [usize; 2]) -> Result<()> {
    let wanted = window.output_size(op, image)?;
    if positions == wanted {
        return Ok(());
    }
    Err(Error::shape(
        op,
        format_args!("the gradient has {positions:?} positions, the window has {wanted:?} on an image of {image:?}"),
    ))
}

/// Any elements of an operation's output: what both forms of the reference are made of.
trait Elements: Op + Sized {
    /// The elements of the output, of shape `shape`, at row-major `indices`.
    fn elements<T: Float>(
        &self,
        inputs: &[Array],
        shape: &[usize],
        indices: impl Iterator<Item = usize>,
    ) -> Result<Vec<T>>;

    fn output_shape(&self, inputs: &[Array]) -> Result<Vec<usize>> {
        let types: Vec<TensorType> = inputs.iter().map(|a| TensorType::new(a.dtype(), a.shape())).collect();
        Ok(self.infer(&types)?.swap_remove(0).shape)
    }
}

fn all_elements(op: &impl Elements, inputs: &[Array]) -> Result<Vec<Array>> {
    let shape = op.output_shape(inputs)?;
    with_float!(op.name(), inputs[0], T => {
        Ok(vec![Array::new(&shape, op.elements::<T>(inputs, &shape, 0..element_count(&shape))?)?])
    })
}

fn elements_at(op: &impl Elements, inputs: &[Array], indices: &[usize]) -> Result<Vec<f64>> {
    let shape = op.output_shape(inputs)?;
    with_float!(op.name(), inputs[0], T => {
        let elements = op.elements::<T>(inputs, &shape, indices.iter().copied())?;
        Ok(elements.into_iter().map(Element::to_f64).collect())
    })
}

/// The multi-index of `flat` in a shape of four axes.
fn unravel4(flat: usize, shape: &[usize]) -> [usize; 4] {
    let index = unravel(flat, shape);
    [index[0], index[1], index[2], index[3]]
}

impl Elements for Conv2d {
    fn elements<T: Float>(
        &self,
        inputs: &[Array],
        shape: &[usize],
        indices: impl Iterator<Item = usize>,
    ) -> Result<Vec<T>> {
        let (image, weight) = (inputs[0].view4::<T>()?, inputs[1].view4::<T>()?);
        let (window, e) = (&self.window, Extents::new(self.window, self.groups, image.shape(), shape));
        let element = |flat: usize| {
            let [n, p, q, o] = unravel4(flat, shape);
            let first_input = o / e.outputs[1] * e.inputs[1];
            let mut sum = T::c(0.0);
            for r in 0..window.kernel_size[0] {
                for s in 0..window.kernel_size[1] {
                    let (h, w) = (window.source(0, p, r, e.image[0]), window.source(1, q, s, e.image[1]));
                    let (Some(h), Some(w)) = (h, w) else { continue };
                    for c in 0..e.inputs[1] {
                        sum += image[[n, h, w, first_input + c]] * weight[[o, r, s, c]];
                    }
                }
            }
            sum
        };
        Ok(indices.map(element).collect())
    }
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [[batch, height, width, channels], weight] = axes("conv2d", inputs, [IMAGE, WEIGHT])?;
        check_groups("conv2d", self.groups, channels, weight[0])?;
        let [kernel_height, kernel_width] = self.window.kernel_size;
        check_weight("conv2d", &weight, &[weight[0], kernel_height, kernel_width, channels / self.groups])?;
        let [rows, columns] = self.window.output_size("conv2d", [height, width])?;
        Ok(vec![TensorType::new(inputs[0].dtype, [batch, rows, columns, weight[0]])])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Half
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let (image, weight) = (cx.input(0), cx.input(1));
            if cx.wants(0) {
                let gradient = cx.graph.conv2d_grad_input(g, weight, image, self.window, self.groups)?;
                cx.give(0, gradient);
            }
            if cx.wants(1) {
                let gradient = cx.graph.conv2d_grad_weight(g, image, self.window, self.groups)?;
                cx.give(1, gradient);
            }
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        all_elements(self, inputs)
    }

    fn reference_at(&self, inputs: &[Array], indices: &[usize]) -> Result<Vec<f64>> {
        elements_at(self, inputs, indices)
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        let e = Extents::new(self.window, self.groups, &inputs[0].shape, &outputs[0].shape);
        let ([_, inputs], [outputs, outputs_per_group]) = (e.inputs, e.outputs);
        let k = self.window.taps() * inputs;
        Lowering::Gemm(Gemm {
            groups: e.groups,
            m: e.batch * element_count(&e.positions),
            n: outputs_per_group,
            k,
            a: e.patches(),
            b: Operand::Matrix(Matrix { row: 1, column: k, group: outputs_per_group * k }),
            output: Matrix { row: outputs, column: 1, group: outputs_per_group },
        })
    }
}

impl Elements for Conv2dGradInput {
    fn elements<T: Float>(
        &self,
        inputs: &[Array],
        shape: &[usize],
        indices: impl Iterator<Item = usize>,
    ) -> Result<Vec<T>> {
        let (gradient, weight) = (inputs[0].view4::<T>()?, inputs[1].view4::<T>()?);
        let (window, e) = (&self.window, Extents::new(self.window, self.groups, shape, gradient.shape()));
        let element = |flat: usize| {
            let [n, h, w, c] = unravel4(flat, shape);
            let (group, c) = (c / e.inputs[1], c % e.inputs[1]);
            let mut sum = T::c(0.0);
            for r in 0..window.kernel_size[0] {
                for s in 0..window.kernel_size[1] {
                    let (p, q) = (window.position(0, h, r, e.positions[0]), window.position(1, w, s, e.positions[1]));
                    let (Some(p), Some(q)) = (p, q) else { continue };
                    for o in group * e.outputs[1]..(group + 1) * e.outputs[1] {
                        sum += gradient[[n, p, q, o]] * weight[[o, r, s, c]];
                    }
                }
            }
            sum
        };
        Ok(indices.map(element).collect())
    }
}

impl Op for Conv2dGradInput {
    fn name(&self) -> &'static str {
        "conv2d.grad_input"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [[batch, rows, columns, channels], weight] = axes(self.name(), inputs, [RESULT, WEIGHT])?;
        let ([height, width], [kernel_height, kernel_width]) = (self.image, self.window.kernel_size);
        check_groups(self.name(), self.groups, weight[3].saturating_mul(self.groups), channels)?;
        check_weight(self.name(), &weight, &[channels, kernel_height, kernel_width, weight[3]])?;
        check_positions(self.name(), &self.window, self.image, [rows, columns])?;
        Ok(vec![TensorType::new(inputs[0].dtype, [batch, height, width, weight[3] * self.groups])])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Half
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(u) = cx.gradient(0) else { return Ok(()) };
            let (gradient, weight) = (cx.input(0), cx.input(1));
            if cx.wants(0) {
                let gradient = cx.graph.conv2d(u, weight, self.window, self.groups)?;
                cx.give(0, gradient);
            }
            if cx.wants(1) {
                let gradient = cx.graph.conv2d_grad_weight(gradient, u, self.window, self.groups)?;
                cx.give(1, gradient);
            }
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        all_elements(self, inputs)
    }

    fn reference_at(&self, inputs: &[Array], indices: &[usize]) -> Result<Vec<f64>> {
        elements_at(self, inputs, indices)
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        let e = Extents::new(self.window, self.groups, &outputs[0].shape, &inputs[0].shape);
        let ([inputs, inputs_per_group], [_, outputs]) = (e.inputs, e.outputs);
        let taps = self.window.taps();
        let filters = match e.is_product() {
            true => Operand::Matrix(Matrix { row: inputs_per_group, column: 1, group: 0 }),
            false => Operand::Filters { taps, outputs, channels: inputs_per_group },
        };
        Lowering::Gemm(Gemm {
            groups: e.groups,
            m: e.batch * element_count(&e.image),
            n: inputs_per_group,
            k: taps * outputs,
            a: e.covering(),
            b: filters,
            output: Matrix { row: inputs, column: 1, group: inputs_per_group },
        })
    }
}

impl Elements for Conv2dGradWeight {
    fn elements<T: Float>(
        &self,
        inputs: &[Array],
        shape: &[usize],
        indices: impl Iterator<Item = usize>,
    ) -> Result<Vec<T>> {
        let (gradient, image) = (inputs[0].view4::<T>()?, inputs[1].view4::<T>()?);
        let (window, e) = (&self.window, Extents::new(self.window, self.groups, image.shape(), gradient.shape()));
        let element = |flat: usize| {
            let [o, r, s, c] = unravel4(flat, shape);
            let c = o / e.outputs[1] * e.inputs[1] + c;
            let mut sum = T::c(0.0);
            for n in 0..e.batch {
                for p in 0..e.positions[0] {
                    for q in 0..e.positions[1] {
                        let (h, w) = (window.source(0, p, r, e.image[0]), window.source(1, q, s, e.image[1]));
                        let (Some(h), Some(w)) = (h, w) else { continue };
                        sum += gradient[[n, p, q, o]] * image[[n, h, w, c]];
                    }
                }
            }
            sum
        };
        Ok(indices.map(element).collect())
    }
}

impl Op for Conv2dGradWeight {
    fn name(&self) -> &'static str {
        "conv2d.grad_weight"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [[batch, rows, columns, outputs], [images, height, width, channels]] =
            axes(self.name(), inputs, [RESULT, IMAGE])?;
        check_groups(self.name(), self.groups, channels, outputs)?;
        if batch != images {
            return Err(Error::shape(self.name(), format_args!("{batch} gradients for {images} images")));
        }
        check_positions(self.name(), &self.window, [height, width], [rows, columns])?;
        let [kernel_height, kernel_width] = self.window.kernel_size;
        let shape = [outputs, kernel_height, kernel_width, channels / self.groups];
        Ok(vec![TensorType::new(inputs[0].dtype, shape)])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Half
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(u) = cx.gradient(0) else { return Ok(()) };
            let (gradient, image) = (cx.input(0), cx.input(1));
            if cx.wants(0) {
                let gradient = cx.graph.conv2d(image, u, self.window, self.groups)?;
                cx.give(0, gradient);
            }
            if cx.wants(1) {
                let gradient = cx.graph.conv2d_grad_input(gradient, u, image, self.window, self.groups)?;
                cx.give(1, gradient);
            }
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        all_elements(self, inputs)
    }

    fn reference_at(&self, inputs: &[Array], indices: &[usize]) -> Result<Vec<f64>> {
        elements_at(self, inputs, indices)
    }

    fn lowering(&self, inputs: &[TensorType], _: &[TensorType]) -> Lowering {
        let e = Extents::new(self.window, self.groups, &inputs[1].shape, &inputs[0].shape);
        let ([_, inputs], [outputs, outputs_per_group]) = (e.inputs, e.outputs);
        let (m, n) = (outputs_per_group, self.window.taps() * inputs);
        Lowering::Gemm(Gemm {
            groups: e.groups,
            m,
            n,
            k: e.batch * element_count(&e.positions),
            a: Operand::Matrix(Matrix { row: 1, column: outputs, group: outputs_per_group }),
            b: e.patches(),
            output: Matrix { row: n, column: 1, group: m * n },
        })
    }
}

impl Graph {
    /// The convolution of `image` `[N, H, W, Cin]` with `weight` `[Cout, Kh, Kw, Cin / groups]`: `[N, P, Q, Cout]`.
    ///
    /// # Errors
    /// When the shapes, the window and the groups do not fit, or the types are not one float type.
    pub fn conv2d(&mut self, image: Value, weight: Value, window: Window, groups: usize) -> Result<Value> {
        self.emit(Conv2d { window, groups }, &[image, weight])
    }

    fn conv2d_grad_input(
        &mut self,
        gradient: Value,
        weight: Value,
        image: Value,
        window: Window,
        groups: usize,
    ) -> Result<Value> {
        let image = [self.shape(image)[1], self.shape(image)[2]];
        self.emit(Conv2dGradInput { window, groups, image }, &[gradient, weight])
    }

    fn conv2d_grad_weight(&mut self, gradient: Value, image: Value, window: Window, groups: usize) -> Result<Value> {
        self.emit(Conv2dGradWeight { window, groups }, &[gradient, image])
    }
}

/// One convolution, tested with both its gradients.
struct Case {
    name: &'static str,
    /// `[N, H, W, Cin]`.
    image: [usize; 4],
    /// Channels of the result.
    outputs: usize,
    window: Window,
    groups: usize,
}

impl Case {
    fn samples(&self) -> [Sample; 3] {
        let &Case { name, image, outputs, window, groups } = self;
        let [batch, height, width, channels] = image;
        let [rows, columns] = window.output_size("sample", [height, width]).expect("the cases fit");
        let x = Sample::uniform(&image, -1.0, 1.0, 31);
        let weight_shape = [outputs, window.kernel_size[0], window.kernel_size[1], channels / groups];
        let weight = Sample::uniform(&weight_shape, -1.0, 1.0, 32);
        let g = Sample::uniform(&[batch, rows, columns, outputs], -1.0, 1.0, 33);
        let taps = window.taps();
        [
            Sample::new(
                name,
                Conv2d { window, groups },
                vec![x.clone(), weight.clone()],
                Tolerance::sum(taps * channels / groups),
            ),
            Sample::new(
                name,
                Conv2dGradInput { window, groups, image: [height, width] },
                vec![g.clone(), weight],
                Tolerance::sum(taps * outputs / groups),
            ),
            Sample::new(name, Conv2dGradWeight { window, groups }, vec![g, x], Tolerance::sum(batch * rows * columns)),
        ]
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let window = |height, width| Window::new([height, width]);
    let case = |name, image, outputs, window, groups| Case { name, image, outputs, window, groups };
    let uneven = Window { padding: [[0, 2], [1, 0]], ..window(3, 3) };
    let skewed = Window { kernel_size: [2, 5], stride: [3, 1], padding: [[1, 0], [2, 3]], dilation: [1, 2] };
    let differing = |stride, dilation| Window { stride, dilation, ..window(3, 3).padding(2) };
    let cases = [
        case("3×3", [2, 7, 6, 4], 8, window(3, 3).padding(1), 1),
        case("one element", [1, 1, 1, 1], 1, window(1, 1), 1),
        case("1×1", [2, 5, 4, 8], 12, window(1, 1), 1),
        case("1×1, odd channels", [1, 3, 3, 5], 7, window(1, 1), 1),
        case("1×1, stride 2", [2, 5, 6, 4], 4, window(1, 1).stride(2), 1),
        case("1×1, padding", [1, 3, 2, 3], 2, window(1, 1).padding(1), 1),
        case("one channel", [1, 9, 9, 1], 1, window(3, 3), 1),
        case("three channels", [2, 8, 8, 3], 16, window(3, 3).padding(1), 1),
        case("odd everything", [3, 5, 7, 5], 3, window(3, 3).padding(1), 1),
        case("no padding", [2, 6, 6, 4], 4, window(3, 3), 1),
        case("stride 2, even size", [2, 8, 8, 4], 8, window(3, 3).stride(2).padding(1), 1),
        case("stride 2, odd size", [1, 7, 9, 3], 5, window(3, 3).stride(2).padding(1), 1),
        case("stride leaves a rest", [1, 8, 10, 2], 3, window(3, 3).stride(3), 1),
        case("stride above kernel", [1, 11, 10, 4], 4, window(2, 2).stride(4), 1),
        case("stride above kernel, padding", [1, 7, 8, 2], 3, window(1, 2).stride(3).padding(1), 1),
        case("dilation 2", [1, 9, 8, 4], 4, window(3, 3).padding(2).dilation(2), 1),
        case("dilation 3", [1, 9, 10, 2], 3, window(3, 2).padding(1).dilation(3), 1),
        case("dilation and stride", [1, 11, 10, 3], 4, window(3, 3).stride(2).padding(2).dilation(2), 1),
        case("uneven padding", [2, 5, 6, 3], 4, uneven, 1),
        case("everything uneven", [2, 8, 9, 3], 5, skewed, 1),
        case("5×1", [1, 8, 5, 4], 4, window(5, 1).padding(1), 1),
        case("1×4", [1, 5, 8, 2], 6, window(1, 4), 1),
        case("7×7", [1, 9, 8, 3], 4, window(7, 7).stride(2).padding(3), 1),
        case("kernel above image", [1, 2, 3, 3], 2, window(5, 5).padding(2), 1),
        case("kernel as large as image", [2, 4, 3, 3], 5, window(4, 3), 1),
        case("padding above kernel", [1, 3, 3, 2], 2, window(2, 2).padding(3), 1),
        case("groups 2", [2, 6, 5, 8], 12, window(3, 3).padding(1), 2),
        case("groups 2, odd channels", [1, 5, 5, 6], 10, window(3, 3).stride(2).padding(1), 2),
        case("groups 3, uneven", [2, 7, 6, 3], 9, skewed, 3),
        case("depthwise", [2, 6, 7, 8], 8, window(3, 3).padding(1), 8),
        case("depthwise, odd channels", [1, 7, 5, 5], 5, window(3, 3).stride(2).padding(1), 5),
        case("depthwise, multiplier 2", [1, 6, 6, 4], 8, window(3, 3).padding(1), 4),
        case("depthwise, uneven", [1, 8, 8, 3], 6, skewed, 3),
        case(
            "stride and dilation with a common factor",
            [1, 13, 12, 3],
            4,
            window(3, 2).stride(4).padding(1).dilation(2),
            1,
        ),
        case("strides and dilations that differ", [1, 15, 13, 2], 3, differing([4, 3], [2, 2]), 1),
        case("strides and dilations that differ, across", [1, 13, 15, 2], 3, differing([3, 4], [1, 2]), 1),
        case("dilations that differ, steps", [1, 14, 17, 2], 2, differing([2, 4], [3, 1]), 1),
        case("dilation above stride", [1, 12, 13, 2], 3, window(2, 3).stride(2).padding(3).dilation(4), 1),
        case("stride above image", [2, 3, 2, 4], 3, window(2, 1).stride(5).padding(2), 1),
        case("groups 4", [2, 6, 5, 16], 16, window(3, 3).padding(1), 4),
        case("groups 4, stride and dilation 2", [1, 9, 8, 8], 12, window(3, 3).stride(2).padding(2).dilation(2), 4),
        case("depthwise, stride 3, dilation 2", [2, 9, 8, 5], 10, window(3, 2).stride(3).padding(1).dilation(2), 5),
        case("depthwise, uneven padding", [2, 5, 6, 3], 3, uneven, 3),
        case("depthwise, kernel above image", [1, 2, 3, 4], 4, window(5, 5).padding(2), 4),
        case("depthwise, a position more than blocks", [1, 5, 5, 3], 3, window(3, 3), 3),
        case("depthwise, many positions", [3, 17, 13, 2], 2, window(2, 2), 2),
        case("between tiles", [2, 9, 8, 20], 40, window(3, 3).padding(1), 1),
        case("across tiles", [2, 9, 8, 20], 70, window(3, 3).padding(1).stride(2), 1),
        case("many channels", [1, 3, 3, 130], 66, window(1, 1), 1),
        case("many positions", [3, 17, 13, 2], 3, window(2, 2), 1),
        case("no images", [0, 5, 5, 4], 3, window(3, 3).padding(1), 1),
        case("no channels", [2, 4, 4, 0], 3, window(3, 3).padding(1), 1),
        case("no results", [2, 4, 4, 3], 0, window(3, 3).padding(1), 1),
    ];
    let mut samples: Vec<Sample> = cases.iter().flat_map(Case::samples).collect();

    let data = |shapes: [&[usize]; 2]| shapes.map(|shape| Sample::uniform(shape, -1.0, 1.0, 34)).to_vec();
    fn error(name: &str, op: impl Op, inputs: Vec<Array>, words: &'static str) -> Sample {
        Sample::error(name, op, inputs, ErrorKind::Shape, words)
    }
    let forward = |groups| Conv2d { window: window(3, 3), groups };
    let grad_input = |image| Conv2dGradInput { window: window(3, 3), groups: 1, image };
    let grad_weight = || Conv2dGradWeight { window: window(3, 3), groups: 1 };
    let image: &[usize] = &[2, 5, 5, 4];
    samples.extend([
        error(
            "image of three axes",
            forward(1),
            data([&[5, 5, 4], &[8, 3, 3, 4]]),
            "conv2d: the image must be [N, H, W, Cin], got [5, 5, 4]",
        ),
        error(
            "weight of two axes",
            forward(1),
            data([image, &[8, 36]]),
            "conv2d: the weight must be [Cout, Kh, Kw, Cin / groups], got [8, 36]",
        ),
        error(
            "channels",
            forward(1),
            data([image, &[8, 3, 3, 3]]),
            "the weight is [8, 3, 3, 3], channels, window and groups need [8, 3, 3, 4]",
        ),
        error(
            "channels of a group",
            forward(2),
            data([image, &[8, 3, 3, 4]]),
            "the weight is [8, 3, 3, 4], channels, window and groups need [8, 3, 3, 2]",
        ),
        error("kernel", forward(1), data([image, &[8, 3, 1, 4]]), "channels, window and groups need [8, 3, 3, 4]"),
        error(
            "groups",
            forward(3),
            data([image, &[6, 3, 3, 1]]),
            "3 groups must divide the 4 channels of the input and the 6 of the result",
        ),
        error("no groups", forward(0), data([image, &[8, 3, 3, 4]]), "0 groups must divide"),
        error(
            "window too large",
            forward(1),
            data([&[2, 5, 2, 4], &[8, 3, 3, 4]]),
            "larger than the padded image of 2",
        ),
        Sample::error(
            "integers",
            forward(1),
            vec![Array::full(image, 1u32), Array::full(&[8, 3, 3, 4], 1u32)],
            ErrorKind::DType,
            "takes floats of one type, got u32[2, 5, 5, 4] and u32[8, 3, 3, 4]",
        ),
        error(
            "positions",
            grad_input([5, 5]),
            data([&[2, 4, 3, 8], &[8, 3, 3, 4]]),
            "the gradient has [4, 3] positions, the window has [3, 3] on an image of [5, 5]",
        ),
        error(
            "channels",
            grad_input([5, 5]),
            data([&[2, 3, 3, 6], &[8, 3, 3, 4]]),
            "the weight is [8, 3, 3, 4], channels, window and groups need [6, 3, 3, 4]",
        ),
        error(
            "kernel",
            grad_input([5, 5]),
            data([&[2, 3, 3, 8], &[8, 2, 3, 4]]),
            "the weight is [8, 2, 3, 4], channels, window and groups need [8, 3, 3, 4]",
        ),
        error(
            "positions",
            grad_weight(),
            data([&[2, 5, 5, 8], image]),
            "the gradient has [5, 5] positions, the window has [3, 3] on an image of [5, 5]",
        ),
        error("batch", grad_weight(), data([&[1, 3, 3, 8], image]), "1 gradients for 2 images"),
        error(
            "groups",
            Conv2dGradWeight { window: window(3, 3), groups: 4 },
            data([&[2, 3, 3, 6], image]),
            "4 groups must divide the 4 channels of the input and the 6 of the result",
        ),
    ]);
    samples
}

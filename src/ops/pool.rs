//! Pooling over windows of an image, channels last: the largest element, or the mean.
//!
//! ```text
//! max:  y[n, p, q, c] = max_{r, s} x[n, h, w, c]         avg:  y[n, p, q, c] = Σ_{r, s} x[n, h, w, c] / count
//! h = p · stride + r · dilation - padding before,    w likewise from q and s
//! ```
//!
//! Padding never wins a maximum and adds nothing to a sum. Max pooling also gives the position of the winner, the tap
//! `r · kernel width + s`: the first of equals, and the first NaN if there is one. Its gradient goes to that pixel alone,
//! and a pixel sums the windows that chose it; no pixel is compared again, so ties have one winner. Choosing and giving
//! back are each other's gradients, as are averaging and spreading.

use ndarray::Array4;

use crate::array::{Array, Element, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{
    Autocast, Gradient, Graph, Lowering, Op, Pooling, Sample, TensorType, Tolerance, Value, WindowKind, expect_inputs,
};
use crate::shape::Window;
use crate::with_float;

/// Image `[N, H, W, C]` → the largest element of each window `[N, P, Q, C]`, and its tap (`u32`).
#[derive(Clone, Debug)]
pub struct MaxPool2d {
    /// Kernel, stride, padding and dilation.
    pub window: Window,
}

/// The gradient of [`MaxPool2d`]: (gradient of the positions, taps) → gradient of the image.
#[derive(Clone, Debug)]
pub struct MaxPool2dGrad {
    /// Kernel, stride, padding and dilation.
    pub window: Window,
    /// `[H, W]`: strides round positions down, so it does not follow from the positions.
    pub image: [usize; 2],
}

/// The gradient of [`MaxPool2dGrad`]: (image, taps) → the element that each window chose.
#[derive(Clone, Debug)]
pub struct MaxPool2dGather {
    /// Kernel, stride, padding and dilation.
    pub window: Window,
}

/// Image `[N, H, W, C]` → the mean of each window `[N, P, Q, C]`.
#[derive(Clone, Debug)]
pub struct AvgPool2d {
    /// Kernel, stride, padding and dilation.
    pub window: Window,
    /// Whether padding counts as zeros: the divisor is then always the number of taps, else that of taps in the image.
    pub include_padding: bool,
}

/// The gradient of [`AvgPool2d`]: gradient of the positions → gradient of the image.
#[derive(Clone, Debug)]
pub struct AvgPool2dGrad {
    /// Kernel, stride, padding and dilation.
    pub window: Window,
    /// As in [`AvgPool2d`].
    pub include_padding: bool,
    /// `[H, W]`.
    pub image: [usize; 2],
}

/// Checks for a float tensor of four axes, and gives its extents.
pub(super) fn four_axes(op: &str, ty: &TensorType, what: &str) -> Result<[usize; 4]> {
    if !ty.dtype.is_float() {
        return Err(Error::dtype(op, format_args!("takes floats, got {ty}; cast first")));
    }
    <[usize; 4]>::try_from(ty.shape.as_slice())
        .map_err(|_| Error::shape(op, format_args!("{what}, got {:?}", ty.shape)))
}

pub(super) const IMAGE: &str = "the image must be [N, H, W, C]";
pub(super) const GRADIENT: &str = "the gradient must be [N, P, Q, C]";

/// `[P, Q]`. Refuses windows that have no tap inside the image: there would be nothing to choose and nothing to average.
pub(super) fn positions(op: &str, window: &Window, image: [usize; 2]) -> Result<[usize; 2]> {
    let positions = window.output_size(op, image)?;
    for axis in 0..2 {
        let in_image = |position, tap| window.source(axis, position, tap, image[axis]).is_some();
        let has_tap = |position| (0..window.kernel_size[axis]).any(|tap| in_image(position, tap));
        if !(0..positions[axis]).all(has_tap) {
            return Err(Error::shape(
                op,
                format_args!(
                    "some windows lie wholly in the padding {:?} of an image of {image:?} (kernel_size {:?}, dilation \
                     {:?}); pad at most half a window",
                    window.padding, window.kernel_size, window.dilation
                ),
            ));
        }
    }
    Ok(positions)
}

fn check_positions(op: &str, window: &Window, image: [usize; 2], found: [usize; 2]) -> Result<()> {
    let wanted = positions(op, window, image)?;
    if found == wanted {
        return Ok(());
    }
    Err(Error::shape(
        op,
        format_args!("there are {found:?} positions, the window has {wanted:?} on an image of {image:?}"),
    ))
}

fn check_taps(op: &str, taps: &TensorType, shape: [usize; 4]) -> Result<()> {
    let wanted = TensorType::new(DType::U32, shape);
    if *taps == wanted {
        return Ok(());
    }
    Err(Error::shape(op, format_args!("the taps chosen must be {wanted}, got {taps}")))
}

/// The shape of output 0 of `op`.
pub(super) fn output_shape(op: &impl Op, inputs: &[Array]) -> Result<[usize; 4]> {
    let types: Vec<TensorType> = inputs.iter().map(|a| TensorType::new(a.dtype(), a.shape())).collect();
    four_axes(op.name(), &op.infer(&types)?[0], IMAGE)
}

/// The pixel that tap `tap` of the window at `(p, q)` reads, if it is inside the image.
fn pixel(window: &Window, image: [usize; 2], p: usize, q: usize, tap: usize) -> Option<(usize, usize)> {
    let (r, s) = (tap / window.kernel_size[1], tap % window.kernel_size[1]);
    Some((window.source(0, p, r, image[0])?, window.source(1, q, s, image[1])?))
}

/// The pixels of the window at `(p, q)` that are inside the image, with their taps in order.
pub(super) fn pixels(
    window: &Window,
    image: [usize; 2],
    p: usize,
    q: usize,
) -> impl Iterator<Item = (usize, (usize, usize))> + '_ {
    (0..window.taps()).filter_map(move |tap| Some((tap, pixel(window, image, p, q, tap)?)))
}

/// The number by which [`AvgPool2d`] divides at `(p, q)`.
fn divisor(window: &Window, include_padding: bool, image: [usize; 2], p: usize, q: usize) -> f64 {
    if include_padding { window.taps() as f64 } else { pixels(window, image, p, q).count() as f64 }
}

fn lowering(kind: WindowKind, window: Window, image: &[usize], positions: &[usize]) -> Lowering {
    Lowering::Window(Pooling {
        kind,
        window,
        batch: image[0],
        image: [image[1], image[2]],
        positions: [positions[1], positions[2]],
        channels: image[3],
    })
}

impl Op for MaxPool2d {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1)?;
        let [batch, height, width, channels] = four_axes(self.name(), &inputs[0], IMAGE)?;
        let [rows, columns] = positions(self.name(), &self.window, [height, width])?;
        let shape = [batch, rows, columns, channels];
        Ok(vec![TensorType::new(inputs[0].dtype, shape), TensorType::new(DType::U32, shape)])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Follow
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let (shape, taps) = (cx.input_shape(0), cx.output(1));
            let gradient = MaxPool2dGrad { window: self.window, image: [shape[1], shape[2]] };
            let gradient = cx.graph.emit(gradient, &[g, taps])?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let shape = output_shape(self, inputs)?;
        with_float!(self.name(), inputs[0], T => {
            let x = inputs[0].view4::<T>()?;
            let image = [x.shape()[1], x.shape()[2]];
            let winner = |(n, p, q, c)| {
                let mut best: Option<(usize, T)> = None;
                for (tap, (h, w)) in pixels(&self.window, image, p, q) {
                    let value: T = x[[n, h, w, c]];
                    if best.is_none_or(|(_, best)| (value > best || value.is_nan()) && !best.is_nan()) {
                        best = Some((tap, value));
                    }
                }
                best.unwrap_or((0, T::c(0.0)))
            };
            let winners = Array4::from_shape_fn(shape, winner);
            Ok(vec![
                <T as Element>::wrap(winners.mapv(|(_, value)| value).into_dyn()),
                Array::U32(winners.mapv(|(tap, _)| tap as u32).into_dyn()),
            ])
        })
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        lowering(WindowKind::Max, self.window, &inputs[0].shape, &outputs[0].shape)
    }
}

impl Op for MaxPool2dGrad {
    fn name(&self) -> &'static str {
        "max_pool2d.grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2)?;
        let shape = four_axes(self.name(), &inputs[0], GRADIENT)?;
        let [batch, rows, columns, channels] = shape;
        check_positions(self.name(), &self.window, self.image, [rows, columns])?;
        check_taps(self.name(), &inputs[1], shape)?;
        Ok(vec![TensorType::new(inputs[0].dtype, [batch, self.image[0], self.image[1], channels])])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Follow
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(u) = cx.gradient(0) else { return Ok(()) };
            let taps = cx.input(1);
            let gradient = cx.graph.emit(MaxPool2dGather { window: self.window }, &[u, taps])?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let shape = output_shape(self, inputs)?;
        with_float!(self.name(), inputs[0], T => {
            let (g, taps) = (inputs[0].view4::<T>()?, inputs[1].view4::<u32>()?);
            let mut gradient = Array4::from_elem(shape, T::c(0.0));
            for ((n, p, q, c), &tap) in taps.indexed_iter() {
                if let Some((h, w)) = pixel(&self.window, self.image, p, q, tap as usize) {
                    gradient[[n, h, w, c]] += g[[n, p, q, c]];
                }
            }
            Ok(vec![<T as Element>::wrap(gradient.into_dyn())])
        })
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        lowering(WindowKind::MaxScatter, self.window, &outputs[0].shape, &inputs[0].shape)
    }
}

impl Op for MaxPool2dGather {
    fn name(&self) -> &'static str {
        "max_pool2d.gather"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2)?;
        let [batch, height, width, channels] = four_axes(self.name(), &inputs[0], IMAGE)?;
        let [rows, columns] = positions(self.name(), &self.window, [height, width])?;
        let shape = [batch, rows, columns, channels];
        check_taps(self.name(), &inputs[1], shape)?;
        Ok(vec![TensorType::new(inputs[0].dtype, shape)])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Follow
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let (shape, taps) = (cx.input_shape(0), cx.input(1));
            let gradient = MaxPool2dGrad { window: self.window, image: [shape[1], shape[2]] };
            let gradient = cx.graph.emit(gradient, &[g, taps])?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let shape = output_shape(self, inputs)?;
        with_float!(self.name(), inputs[0], T => {
            let (x, taps) = (inputs[0].view4::<T>()?, inputs[1].view4::<u32>()?);
            let image = [x.shape()[1], x.shape()[2]];
            let chosen = Array4::from_shape_fn(shape, |(n, p, q, c)| {
                let pixel = pixel(&self.window, image, p, q, taps[[n, p, q, c]] as usize);
                pixel.map_or(T::c(0.0), |(h, w)| x[[n, h, w, c]])
            });
            Ok(vec![<T as Element>::wrap(chosen.into_dyn())])
        })
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        lowering(WindowKind::MaxGather, self.window, &inputs[0].shape, &outputs[0].shape)
    }
}

impl Op for AvgPool2d {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1)?;
        let [batch, height, width, channels] = four_axes(self.name(), &inputs[0], IMAGE)?;
        let [rows, columns] = positions(self.name(), &self.window, [height, width])?;
        Ok(vec![TensorType::new(inputs[0].dtype, [batch, rows, columns, channels])])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Follow
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let shape = cx.input_shape(0);
            let (window, include_padding) = (self.window, self.include_padding);
            let gradient = AvgPool2dGrad { window, include_padding, image: [shape[1], shape[2]] };
            let gradient = cx.graph.emit(gradient, &[g])?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let shape = output_shape(self, inputs)?;
        with_float!(self.name(), inputs[0], T => {
            let x = inputs[0].view4::<T>()?;
            let image = [x.shape()[1], x.shape()[2]];
            let mean = Array4::from_shape_fn(shape, |(n, p, q, c)| {
                let sum: T = pixels(&self.window, image, p, q).map(|(_, (h, w))| x[[n, h, w, c]]).sum();
                sum / T::c(divisor(&self.window, self.include_padding, image, p, q))
            });
            Ok(vec![<T as Element>::wrap(mean.into_dyn())])
        })
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        let kind = WindowKind::Mean { include_padding: self.include_padding };
        lowering(kind, self.window, &inputs[0].shape, &outputs[0].shape)
    }
}

impl Op for AvgPool2dGrad {
    fn name(&self) -> &'static str {
        "avg_pool2d.grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1)?;
        let [batch, rows, columns, channels] = four_axes(self.name(), &inputs[0], GRADIENT)?;
        check_positions(self.name(), &self.window, self.image, [rows, columns])?;
        Ok(vec![TensorType::new(inputs[0].dtype, [batch, self.image[0], self.image[1], channels])])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Follow
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(u) = cx.gradient(0) else { return Ok(()) };
            let gradient = cx.graph.avg_pool2d(u, self.window, self.include_padding)?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let shape = output_shape(self, inputs)?;
        with_float!(self.name(), inputs[0], T => {
            let g = inputs[0].view4::<T>()?;
            let mut gradient = Array4::from_elem(shape, T::c(0.0));
            for ((n, p, q, c), &g) in g.indexed_iter() {
                let share = g / T::c(divisor(&self.window, self.include_padding, self.image, p, q));
                for (_, (h, w)) in pixels(&self.window, self.image, p, q) {
                    gradient[[n, h, w, c]] += share;
                }
            }
            Ok(vec![<T as Element>::wrap(gradient.into_dyn())])
        })
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        let kind = WindowKind::MeanScatter { include_padding: self.include_padding };
        lowering(kind, self.window, &outputs[0].shape, &inputs[0].shape)
    }
}

impl Graph {
    /// The largest element of each window: `[N, H, W, C]` → `[N, P, Q, C]`.
    ///
    /// # Errors
    /// When the image has not four axes, or a window lies wholly in the padding.
    pub fn max_pool2d(&mut self, image: Value, window: Window) -> Result<Value> {
        self.emit(MaxPool2d { window }, &[image])
    }

    /// The mean of each window: `[N, H, W, C]` → `[N, P, Q, C]`; padding counts as zeros if `include_padding`.
    ///
    /// # Errors
    /// When the image has not four axes, or a window lies wholly in the padding.
    pub fn avg_pool2d(&mut self, image: Value, window: Window, include_padding: bool) -> Result<Value> {
        self.emit(AvgPool2d { window, include_padding }, &[image])
    }

    /// The mean of each channel: `[N, H, W, C]` → `[N, C]`.
    ///
    /// # Errors
    /// When the image has not four axes.
    pub fn global_avg_pool2d(&mut self, image: Value) -> Result<Value> {
        let [batch, _, _, channels] = four_axes("global_avg_pool2d", self.type_of(image), IMAGE)?;
        let mean = self.mean(image, &[1, 2])?;
        self.reshape(mean, &[batch, channels])
    }
}

/// `shape` filled with different numbers from -1 to 1 in random order: no window has a tie, however little they move.
pub(super) fn distinct(shape: &[usize], seed: u64) -> Array {
    let count = crate::shape::element_count(shape);
    let mut ramp: Vec<f32> = (0..count).map(|i| (2 * i + 1) as f32 / count as f32 - 1.0).collect();
    let mut stream = crate::random::Stream::new(seed, "pool");
    for last in (1..count).rev() {
        ramp.swap(last, stream.below(last as u64 + 1) as usize);
    }
    Array::new(shape, ramp).expect("as many elements as the shape says")
}

/// Max pooling of `x`, its gradient, and the gradient of that.
fn max_samples(name: &str, x: Array, window: Window) -> [Sample; 3] {
    let image = [x.shape()[1], x.shape()[2]];
    let op = MaxPool2d { window };
    let taps = op.reference(std::slice::from_ref(&x)).expect("the cases fit").swap_remove(1);
    let g = Sample::uniform(taps.shape(), -1.0, 1.0, 42);
    let overlaps = (0..2).any(|axis| window.stride[axis] <= window.dilation[axis] * (window.kernel_size[axis] - 1));
    let sum = if overlaps { Tolerance::sum(window.taps()) } else { Tolerance::EXACT };
    let choice = Sample::uniform(x.shape(), -1.0, 1.0, 43);
    [
        Sample::new(name, op, vec![x], Tolerance::EXACT),
        Sample::new(name, MaxPool2dGrad { window, image }, vec![g, taps.clone()], sum),
        Sample::new(name, MaxPool2dGather { window }, vec![choice, taps], Tolerance::EXACT),
    ]
}

/// Average pooling of an image of shape `shape`, and its gradient.
fn avg_samples(name: &str, shape: &[usize; 4], window: Window) -> Vec<Sample> {
    let image = [shape[1], shape[2]];
    let [rows, columns] = window.output_size("sample", image).expect("the cases fit");
    let x = Sample::uniform(shape, -1.0, 1.0, 44);
    let g = Sample::uniform(&[shape[0], rows, columns, shape[3]], -1.0, 1.0, 45);
    let tolerance = Tolerance::sum(window.taps());
    let mut samples = Vec::new();
    for include_padding in [false, true] {
        let name = if include_padding { format!("{name}, padding counts") } else { name.to_owned() };
        let grad = AvgPool2dGrad { window, include_padding, image };
        samples.push(Sample::new(&name, AvgPool2d { window, include_padding }, vec![x.clone()], tolerance));
        samples.push(Sample::new(&name, grad, vec![g.clone()], tolerance));
    }
    samples
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let window = |height, width| Window::new([height, width]);
    let uneven = Window { padding: [[0, 1], [1, 0]], ..window(3, 2).stride(2) };
    // Seven positions down can read a pixel, two across.
    let steep = Window { stride: [1, 2], dilation: [3, 1], ..window(3, 3) };
    let skewed = Window { kernel_size: [2, 4], stride: [3, 1], padding: [[1, 0], [1, 3]], dilation: [1, 2] };
    let cases: &[(&str, [usize; 4], Window)] = &[
        ("2×2", [2, 6, 4, 4], window(2, 2).stride(2)),
        ("one element", [1, 1, 1, 1], window(1, 1)),
        ("one channel, odd size", [1, 7, 5, 1], window(2, 2).stride(2)),
        ("overlapping", [2, 7, 6, 3], window(3, 3).stride(2).padding(1)),
        ("overlapping, four channels", [1, 8, 9, 8], window(3, 3).stride(2).padding(1)),
        ("stride 1", [1, 6, 5, 5], window(3, 3)),
        ("stride 1, padding", [1, 5, 4, 2], window(3, 3).padding(1)),
        ("stride above kernel", [1, 9, 8, 4], window(2, 2).stride(3)),
        ("1×1, stride 2", [2, 5, 4, 3], window(1, 1).stride(2)),
        ("dilation 2", [1, 9, 8, 3], window(3, 3).padding(1).dilation(2)),
        ("dilation 3", [1, 10, 9, 2], window(2, 3).stride(2).dilation(3)),
        ("more positions down than across", [1, 8, 7, 2], steep),
        ("3×1", [1, 7, 5, 2], window(3, 1).padding(0)),
        ("1×4", [1, 3, 9, 6], window(1, 4).stride(2)),
        ("uneven padding", [2, 6, 7, 3], uneven),
        ("everything uneven", [2, 7, 8, 3], skewed),
        ("kernel above image", [1, 3, 2, 3], window(4, 4).padding(2)),
        ("whole image", [2, 4, 3, 5], window(4, 3)),
        ("no images", [0, 4, 4, 3], window(2, 2).stride(2)),
        ("no channels", [2, 4, 4, 0], window(2, 2).stride(2)),
    ];
    let mut samples = Vec::new();
    for (name, shape, window) in cases {
        samples.extend(max_samples(name, distinct(shape, 41), *window));
        samples.extend(avg_samples(name, shape, *window));
    }

    let negative = Array::from_fn(&[1, 4, 4, 1], |i| -100.0 + (i[1] * 4 + i[2]) as f32);
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    let special = vec![
        1.0, 1.0, nan, 2.0, 0.0, -0.0, // ties, NaN, signed zeros
        1.0, 1.0, nan, nan, -0.0, 0.0, //
        -infinity, -infinity, infinity, 3.0, -5.0, -infinity, //
        -infinity, -infinity, 1.0, infinity, -infinity, -5.0f32,
    ];
    let special = Array::new(&[1, 4, 6, 1], special).expect("24 elements");
    for (name, window) in [("", window(2, 2).stride(2)), (", overlapping", window(3, 3).stride(2).padding(1))] {
        let named = |what: &str| format!("{what}{name}");
        let equal = Array::full(&[1, 5, 4, 2], 0.5f32);
        let not_smooth = |samples: [Sample; 3]| samples.map(Sample::not_smooth);
        samples.extend(not_smooth(max_samples(&named("ties, NaN and infinity"), special.clone(), window)));
        samples.extend(not_smooth(max_samples(&named("all equal"), equal, window)));
        samples.extend(max_samples(&named("below the padding"), negative.clone(), window));
    }

    fn error(name: &str, op: impl Op, inputs: Vec<Array>, words: &'static str) -> Sample {
        Sample::error(name, op, inputs, ErrorKind::Shape, words)
    }
    let data = |shape: &[usize]| Sample::uniform(shape, -1.0, 1.0, 46);
    let max = |window| MaxPool2d { window };
    let grad = |image| MaxPool2dGrad { window: window(2, 2).stride(2), image };
    let gather = || MaxPool2dGather { window: window(2, 2).stride(2) };
    let avg = |window| AvgPool2d { window, include_padding: true };
    let avg_grad = |image| AvgPool2dGrad { window: window(2, 2).stride(2), include_padding: false, image };
    let taps = |shape: &[usize]| Array::full(shape, 0u32);
    let integers = || vec![Array::full(&[1, 4, 4, 1], 1u32)];
    samples.extend([
        error(
            "three axes",
            max(window(2, 2)),
            vec![data(&[4, 4, 3])],
            "max_pool2d: the image must be [N, H, W, C], got [4, 4, 3]",
        ),
        error("window too large", max(window(5, 2)), vec![data(&[1, 4, 4, 3])], "larger than the padded image of 4"),
        error("only padding", max(window(2, 2).padding(2)), vec![data(&[1, 4, 4, 3])], "wholly in the padding"),
        error(
            "only padding, dilation",
            max(window(2, 2).padding(2).dilation(3)),
            vec![data(&[1, 1, 1, 3])],
            "pad at most half a window",
        ),
        error("no pixels", max(window(2, 2).padding(1)), vec![data(&[1, 0, 4, 3])], "wholly in the padding"),
        error("stride 0", max(window(2, 2).stride(0)), vec![data(&[1, 4, 4, 3])], "must be at least 1"),
        Sample::error("integers", max(window(2, 2)), integers(), ErrorKind::DType, "takes floats, got u32[1, 4, 4, 1]"),
        error(
            "positions",
            grad([4, 4]),
            vec![data(&[1, 3, 2, 3]), taps(&[1, 3, 2, 3])],
            "there are [3, 2] positions, the window has [2, 2] on an image of [4, 4]",
        ),
        error(
            "float taps",
            grad([4, 4]),
            vec![data(&[1, 2, 2, 3]), data(&[1, 2, 2, 3])],
            "the taps chosen must be u32[1, 2, 2, 3], got f32[1, 2, 2, 3]",
        ),
        error(
            "too few taps",
            gather(),
            vec![data(&[1, 4, 4, 3]), taps(&[1, 2, 2, 1])],
            "the taps chosen must be u32[1, 2, 2, 3], got u32[1, 2, 2, 1]",
        ),
        error(
            "two axes",
            avg(window(2, 2)),
            vec![data(&[4, 4])],
            "avg_pool2d: the image must be [N, H, W, C], got [4, 4]",
        ),
        error("only padding", avg(window(2, 2).padding(2)), vec![data(&[1, 4, 4, 3])], "wholly in the padding"),
        Sample::error("integers", avg(window(2, 2)), integers(), ErrorKind::DType, "takes floats, got u32[1, 4, 4, 1]"),
        error(
            "positions",
            avg_grad([5, 4]),
            vec![data(&[1, 3, 2, 3])],
            "there are [3, 2] positions, the window has [2, 2] on an image of [5, 4]",
        ),
    ]);
    samples
}

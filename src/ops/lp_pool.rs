//! Power-average pooling: the p-norm of each window, without the absolute value.
//!
//! ```text
//! y[n, p, q, c] = (Σ_{r, s} x[n, h, w, c]^p)^(1/p)        dx = Σ_windows dy · y^(1 - p) · x^(p - 1)
//! ```
//!
//! As PyTorch's `lp_pool2d`, signs included: elements keep theirs, so with an odd `p` they cancel, and a negative sum has
//! no root and gives NaN (but `p` = 1, the plain sum); a fractional power of a negative element is NaN. Where the result is
//! 0 the gradient is 0. Padding adds nothing.

use ndarray::Array4;

use super::pool::{AvgPool2dGrad, IMAGE, four_axes, output_shape, pixels, positions};
use crate::array::{Array, Element, Float};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Gradient, Graph, Lowering, Op, Sample, TensorType, Tolerance, Value, expect_inputs};
use crate::shape::Window;
use crate::with_float;

/// Image `[N, H, W, C]` → `(Σ x^p)^(1/p)` of each window `[N, P, Q, C]`.
#[derive(Clone, Debug)]
pub struct LpPool2d {
    /// The power p, positive.
    pub norm_type: f64,
    /// Kernel, stride, padding and dilation.
    pub window: Window,
}

impl Op for LpPool2d {
    fn name(&self) -> &'static str {
        "lp_pool2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1)?;
        if !(self.norm_type > 0.0 && self.norm_type.is_finite()) {
            let message = format!("{}: a norm_type of {} is not positive and finite", self.name(), self.norm_type);
            return Err(Error::new(ErrorKind::Config, message));
        }
        let [batch, height, width, channels] = four_axes(self.name(), &inputs[0], IMAGE)?;
        let [rows, columns] = positions(self.name(), &self.window, [height, width])?;
        Ok(vec![TensorType::new(inputs[0].dtype, [batch, rows, columns, channels])])
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(mut g) = cx.gradient(0) else { return Ok(()) };
            let (x, y, shape) = (cx.input(0), cx.output(0), cx.input_shape(0));
            let dtype = cx.graph.type_of(y).dtype;
            let (zero, one) = (cx.graph.constant(0.0, dtype)?, cx.graph.constant(1.0, dtype)?);
            let vanishes = cx.graph.elementwise("eq", &[y, zero], &[])?;
            if self.norm_type != 1.0 {
                // A power of 1 where there is none of 0, so that nothing infinite is multiplied by the zero chosen below.
                let base = cx.graph.select(vanishes, one, y)?;
                let root = power(cx.graph, base, 1.0 - self.norm_type)?;
                g = cx.graph.mul(g, root)?;
            }
            let g = cx.graph.select(vanishes, zero, g)?;
            let spread = AvgPool2dGrad { window: self.window, include_padding: true, image: [shape[1], shape[2]] };
            let spread = cx.graph.emit(spread, &[g])?;
            let mut gradient = cx.graph.scale(spread, self.window.taps() as f64)?;
            if self.norm_type != 1.0 {
                let slope = power(cx.graph, x, self.norm_type - 1.0)?;
                gradient = cx.graph.mul(gradient, slope)?;
            }
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let shape = output_shape(self, inputs)?;
        with_float!(self.name(), inputs[0], T => {
            let x = inputs[0].view4::<T>()?;
            let image = [x.shape()[1], x.shape()[2]];
            let p = T::c(self.norm_type);
            let norms = Array4::from_shape_fn(shape, |(n, row, column, c)| {
                let powers = pixels(&self.window, image, row, column).map(|(_, (h, w))| x[[n, h, w, c]].powf(p));
                powers.sum::<T>().powf(T::c(1.0) / p)
            });
            Ok(vec![<T as Element>::wrap(norms.into_dyn())])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let powers = power(graph, inputs[0], self.norm_type)?;
        let mean = graph.avg_pool2d(powers, self.window, true)?;
        let sum = graph.scale(mean, self.window.taps() as f64)?;
        Ok(vec![power(graph, sum, 1.0 / self.norm_type)?])
    }
}

/// `x^exponent`, by a plainer function where there is one.
fn power(graph: &mut Graph, x: Value, exponent: f64) -> Result<Value> {
    if exponent == 1.0 {
        Ok(x)
    } else if exponent == 2.0 {
        graph.unary("square", x)
    } else if exponent == 0.5 {
        graph.unary("sqrt", x)
    } else if exponent == -1.0 {
        let one = graph.constant(1.0, graph.type_of(x).dtype)?;
        graph.div(one, x)
    } else {
        graph.elementwise("pow", &[x], &[exponent])
    }
}

impl Graph {
    /// `(Σ x^p)^(1/p)` of each window for p = `norm_type`, and the largest magnitude for an infinite one:
    /// `[N, H, W, C]` → `[N, P, Q, C]`.
    ///
    /// # Errors
    /// When the image has not four axes, a window lies wholly in the padding, or `norm_type` is not positive.
    pub fn lp_pool2d(&mut self, image: Value, norm_type: f64, window: Window) -> Result<Value> {
        if norm_type == f64::INFINITY {
            let magnitudes = self.unary("abs", image)?;
            return self.max_pool2d(magnitudes, window);
        }
        self.emit(LpPool2d { norm_type, window }, &[image])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let window = |height, width| Window::new([height, width]);
    let op = |norm_type, window| LpPool2d { norm_type, window };
    let signed = |shape: &[usize]| Sample::uniform(shape, -1.0, 1.0, 81);
    let positive = |shape: &[usize]| Sample::uniform(shape, 0.2, 1.5, 82);
    let roots = Tolerance {
        absolute: 1e-6,
        relative: 1e-6,
        reason: "squares, their sum and its root: a few roundings each; the root is at least 0.1",
    };
    let powers = Tolerance {
        absolute: 1e-30,
        relative: 2e-5,
        reason: "WGSL: pow is exp2(y·log2(x)), 6e-6 for the powers, their sum's root, and 1/p times the first",
    };
    let halves = window(2, 2).stride(2);
    let overlapping = window(3, 2).stride(2).padding(1);
    // Windows of zeros alone, of zeros and others, of numbers that cancel.
    let special = |elements: [f32; 8]| Array::new(&[1, 2, 4, 1], elements.to_vec()).expect("eight elements");
    let zeros = || special([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -2.0, 0.5]);
    let cancels = special([1.0, -2.0, 1.0, 3.0, 2.0, -1.0, 0.5, 0.25]);
    let negative = special([-1.0, -2.0, 1.0, 3.0, 0.5, 0.25, -0.5, f32::NAN]);
    let sample = |name: &str, op, x, tolerance| Sample::new(name, op, vec![x], tolerance);
    let refuse = |name: &str, norm_type, words| {
        Sample::error(name, op(norm_type, halves), vec![signed(&[1, 2, 2, 1])], ErrorKind::Config, words)
    };
    vec![
        sample("p = 2", op(2.0, halves), signed(&[2, 6, 4, 4]), roots),
        sample("p = 2, overlapping", op(2.0, overlapping), signed(&[2, 5, 7, 3]), roots),
        sample("p = 2, one element", op(2.0, window(1, 1)), positive(&[1, 1, 1, 1]), roots),
        sample("p = 1", op(1.0, halves), signed(&[1, 5, 7, 1]), Tolerance::sum(4)),
        sample("p = 3", op(3.0, overlapping), positive(&[2, 5, 6, 3]), powers),
        sample("p = 1/2", op(0.5, halves), positive(&[1, 4, 5, 2]), powers),
        sample("p = 1.7", op(1.7, window(2, 3)), positive(&[1, 4, 5, 2]), powers),
        sample("no images", op(2.0, halves), signed(&[0, 4, 4, 3]), roots),
        sample("p = 2, zeros", op(2.0, halves), zeros(), roots).not_smooth(),
        sample("p = 1, cancels", op(1.0, halves), cancels, Tolerance::sum(4))
            .by_convention("sign(0) = 0 is a factor in PyTorch, although a sum of 0 itself has the slope 1"),
        sample("p = 3, zeros", op(3.0, halves), zeros(), powers).not_smooth(),
        sample("p = 3, negative sums and NaN", op(3.0, halves), negative.clone(), powers).not_smooth(),
        sample("p = 1.7, negative", op(1.7, halves), negative, powers).not_smooth(),
        refuse("p = 0", 0.0, "norm_type of 0 is not positive"),
        refuse("p negative", -2.0, "norm_type of -2 is not positive"),
        refuse("p NaN", f64::NAN, "is not positive and finite"),
        Sample::error(
            "three axes",
            op(2.0, halves),
            vec![signed(&[4, 4, 3])],
            ErrorKind::Shape,
            "lp_pool2d: the image must be [N, H, W, C], got [4, 4, 3]",
        ),
        Sample::error(
            "only padding",
            op(2.0, window(2, 2).padding(2)),
            vec![signed(&[1, 4, 4, 3])],
            ErrorKind::Shape,
            "wholly in the padding",
        ),
        Sample::error(
            "integers",
            op(2.0, halves),
            vec![Array::full(&[1, 4, 4, 1], 1u32)],
            ErrorKind::DType,
            "takes floats, got u32[1, 4, 4, 1]",
        ),
    ]
}

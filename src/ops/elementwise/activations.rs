//! The rows of activations. Formulas, and gradients at kinks, follow PyTorch's documentation of the function of the same
//! name. They are the same form as the rows of `table.rs`, whose helpers they use.

use super::functions::float_function;
use super::table::{EXP, give_between, give_product, points, row, scaled_gaussian, with_parameters};
use super::{Row, Signature};
use crate::error::Result;
use crate::graph::{Backward, Tolerance, Value, Wgsl};

/// Of SELU (Klambauer et al. 2017).
const SELU_ALPHA: f64 = 1.6732632423543772;
/// Of SELU.
const SELU_SCALE: f64 = 1.0507009873554805;

/// Activations.
pub static ROWS: &[Row] = &[
    row(
        "relu",
        1,
        Signature::Float,
        Wgsl::Source("fn relu(x: f32) -> f32 { return select(x, 0.0, x < 0.0); }"),
        float_function!(T, [x], if x < T::c(0.0) { T::c(0.0) } else { x }),
        Some(|cx, _, g| {
            let y = cx.output(0);
            give_where_positive(cx, g, y)
        }),
        points((0.1, 3.0), &[-2.0, -0.5, 0.0, f64::NAN], Tolerance::EXACT),
    ),
    row(
        "leaky_relu",
        1,
        Signature::Float,
        Wgsl::Source("fn leaky_relu(x: f32, slope: f32) -> f32 { return select(x, slope * x, x < 0.0); }"),
        float_function!(T, [x, slope], if x < T::c(0.0) { slope * x } else { x }),
        Some(|cx, parameters, g| {
            let x = cx.input(0);
            let dtype = cx.graph.type_of(x).dtype;
            let zero = cx.graph.constant(0.0, dtype)?;
            let positive = cx.graph.elementwise("gt", &[x, zero], &[])?;
            let scaled = cx.graph.scale(g, parameters[0])?;
            let gradient = cx.graph.select(positive, g, scaled)?;
            cx.give(0, gradient);
            Ok(())
        }),
        with_parameters((-3.0, -0.1), &[0.0, 2.0, -2.0, f64::NAN], &[&[0.01]], Tolerance::ROUNDED),
    ),
    row(
        "elu",
        1,
        Signature::Float,
        Wgsl::Source("fn elu(x: f32, alpha: f32) -> f32 { return select(x, alpha * expm1(x), x <= 0.0); }"),
        float_function!(T, [x, alpha], if x <= T::c(0.0) { alpha * x.exp_m1() } else { x }),
        Some(|cx, parameters, g| {
            // For x <= 0 the slope is alpha·exp(x) = y + alpha.
            let (x, y) = (cx.input(0), cx.output(0));
            let zero = cx.graph.constant(0.0, cx.graph.type_of(x).dtype)?;
            let positive = cx.graph.elementwise("gt", &[x, zero], &[])?;
            let slope = cx.graph.shift(y, parameters[0])?;
            let scaled = cx.graph.mul(g, slope)?;
            let gradient = cx.graph.select(positive, g, scaled)?;
            cx.give(0, gradient);
            Ok(())
        }),
        with_parameters((-3.0, -0.05), &[0.0, 2.0, -1e-4, -30.0], &[&[1.0], &[0.7]], EXP),
    ),
    row(
        "sigmoid",
        1,
        Signature::Float,
        Wgsl::Source("fn sigmoid(x: f32) -> f32 { return 1.0 / (1.0 + exponential(-x)); }"),
        float_function!(T, [x], T::c(1.0) / (T::c(1.0) + (-x).exp())),
        Some(|cx, _, g| {
            // y·(1 - y) = y - y²
            let y = cx.output(0);
            let squared = cx.graph.unary("square", y)?;
            let slope = cx.graph.sub(y, squared)?;
            give_product(cx, g, slope)
        }),
        points((-4.0, 4.0), &[-30.0, 0.0, 30.0, f64::NAN], EXP),
    ),
    row(
        "gelu",
        1,
        Signature::Float,
        Wgsl::Source("fn gelu(x: f32) -> f32 { return 0.5 * x * error_function_complement(-0.70710678 * x); }"),
        float_function!(T, [x], T::c(0.5) * x * (-x * T::c(std::f64::consts::FRAC_1_SQRT_2)).erfc()),
        Some(|cx, _, g| {
            // Φ(x) + x·φ(x), Φ(x) = (1 + erf(x/√2))/2, φ(x) = exp(-x²/2)/√(2π)
            let x = cx.input(0);
            let scaled = cx.graph.scale(x, std::f64::consts::FRAC_1_SQRT_2)?;
            let erf = cx.graph.unary("erf", scaled)?;
            let half = cx.graph.scale(erf, 0.5)?;
            let distribution = cx.graph.shift(half, 0.5)?;
            let density = scaled_gaussian(cx, x, -0.5, 1.0 / std::f64::consts::TAU.sqrt())?;
            let weighted = cx.graph.mul(x, density)?;
            let slope = cx.graph.add(distribution, weighted)?;
            give_product(cx, g, slope)
        }),
        points(
            (-3.0, 3.0),
            &[-5.0, -1e-4, 0.0, 5.0, f64::NAN],
            Tolerance {
                absolute: 1e-7,
                relative: 4e-6,
                reason: "erfc approximation 1.2e-7 relative, times exp's error",
            },
        ),
    ),
    row(
        "gelu_tanh",
        1,
        Signature::Float,
        Wgsl::Source(
            "fn gelu_tanh(x: f32) -> f32 { return 0.5 * x * (1.0 + hyperbolic_tangent(0.7978845608 * (x + 0.044715 * x * x * x))); }",
        ),
        float_function!(
            T,
            [x],
            T::c(0.5)
                * x
                * (T::c(1.0) + (T::c((2.0 / std::f64::consts::PI).sqrt()) * (x + T::c(0.044715) * x * x * x)).tanh())
        ),
        Some(|cx, _, g| {
            // With u = √(2/π)(x + 0.044715x³), t = tanh(u): (1 + t)/2 + x(1 - t²)/2 · √(2/π)(1 + 3·0.044715x²)
            let x = cx.input(0);
            let squared = cx.graph.unary("square", x)?;
            let root = (2.0 / std::f64::consts::PI).sqrt();
            let cubic = cx.graph.scale(squared, 0.044715 * root)?;
            let inner = cx.graph.shift(cubic, root)?;
            let u = cx.graph.mul(x, inner)?;
            let t = cx.graph.unary("tanh", u)?;
            let half = cx.graph.scale(t, 0.5)?;
            let first = cx.graph.shift(half, 0.5)?;
            let t_squared = cx.graph.unary("square", t)?;
            let one = cx.graph.constant(0.5, cx.graph.type_of(x).dtype)?;
            let half_t_squared = cx.graph.scale(t_squared, 0.5)?;
            let slope_t = cx.graph.sub(one, half_t_squared)?;
            let slope_u = cx.graph.scale(squared, 3.0 * 0.044715 * root)?;
            let slope_u = cx.graph.shift(slope_u, root)?;
            let chain = cx.graph.mul(slope_t, slope_u)?;
            let second = cx.graph.mul(x, chain)?;
            let slope = cx.graph.add(first, second)?;
            give_product(cx, g, slope)
        }),
        points(
            (-3.0, 3.0),
            &[-5.0, 0.0, 5.0, f64::NAN],
            Tolerance { absolute: 6e-7, relative: 2e-6, reason: "1 + tanh cancels for negative x" },
        ),
    ),
    row(
        "silu",
        1,
        Signature::Float,
        Wgsl::Source("fn silu(x: f32) -> f32 { return x / (1.0 + exponential(-x)); }"),
        float_function!(T, [x], x / (T::c(1.0) + (-x).exp())),
        Some(|cx, _, g| {
            // s + x·s(1 - s) = s + y(1 - s), s = sigmoid(x)
            let (x, y) = (cx.input(0), cx.output(0));
            let s = cx.graph.unary("sigmoid", x)?;
            let product = cx.graph.mul(y, s)?;
            let rest = cx.graph.sub(y, product)?;
            let slope = cx.graph.add(s, rest)?;
            give_product(cx, g, slope)
        }),
        points((-4.0, 4.0), &[-30.0, 0.0, 30.0, f64::NAN], EXP),
    ),
    row(
        "softplus",
        1,
        Signature::Float,
        Wgsl::Source("fn softplus(x: f32) -> f32 { return select(x, 0.0, x < 0.0) + log1p(exponential(-abs(x))); }"),
        float_function!(T, [x], (if x < T::c(0.0) { T::c(0.0) } else { x }) + (-x.abs()).exp().ln_1p()),
        Some(|cx, _, g| {
            let x = cx.input(0);
            let slope = cx.graph.unary("sigmoid", x)?;
            give_product(cx, g, slope)
        }),
        points((-4.0, 4.0), &[-30.0, 0.0, 30.0, f64::NAN], EXP),
    ),
    row(
        "hard_swish",
        1,
        Signature::Float,
        Wgsl::Source(
            "fn hard_swish(x: f32) -> f32 { return select(select(x * (x + 3.0) / 6.0, x, x >= 3.0), 0.0, x <= -3.0); }",
        ),
        float_function!(
            T,
            [x],
            if x <= T::c(-3.0) {
                T::c(0.0)
            } else if x >= T::c(3.0) {
                x
            } else {
                x * (x + T::c(3.0)) / T::c(6.0)
            }
        ),
        Some(|cx, _, g| {
            // (2x + 3)/6 between -3 and 3, 0 below, 1 above.
            let x = cx.input(0);
            let dtype = cx.graph.type_of(x).dtype;
            let third = cx.graph.scale(x, 1.0 / 3.0)?;
            let inner = cx.graph.shift(third, 0.5)?;
            let (low, high) = (cx.graph.constant(-3.0, dtype)?, cx.graph.constant(3.0, dtype)?);
            let (zero, one) = (cx.graph.constant(0.0, dtype)?, cx.graph.constant(1.0, dtype)?);
            let below = cx.graph.elementwise("le", &[x, low], &[])?;
            let above = cx.graph.elementwise("ge", &[x, high], &[])?;
            let slope = cx.graph.select(above, one, inner)?;
            let slope = cx.graph.select(below, zero, slope)?;
            give_product(cx, g, slope)
        }),
        points(
            (-2.9, 2.9),
            &[-4.0, -3.0, 0.0, 3.0, 4.0, f64::NAN],
            Tolerance {
                absolute: 3e-7,
                relative: 6e-7,
                reason: "x + 3 cancels near -3: an absolute error of 3 roundings",
            },
        ),
    ),
    row(
        "prelu",
        2,
        Signature::Float,
        Wgsl::Source("fn prelu(x: f32, slope: f32) -> f32 { return select(slope * x, x, x > 0.0); }"),
        float_function!(T, [x, slope], if x > T::c(0.0) { x } else { slope * x }),
        Some(|cx, _, g| {
            let (x, slope) = (cx.input(0), cx.input(1));
            let zero = cx.graph.constant(0.0, cx.graph.type_of(x).dtype)?;
            let positive = cx.graph.elementwise("gt", &[x, zero], &[])?;
            if cx.wants(0) {
                let scaled = cx.graph.mul(g, slope)?;
                let gradient = cx.graph.select(positive, g, scaled)?;
                cx.give(0, gradient);
            }
            if cx.wants(1) {
                let product = cx.graph.mul(g, x)?;
                let gradient = cx.graph.select(positive, zero, product)?;
                cx.give(1, gradient);
            }
            Ok(())
        }),
        points((-3.0, 3.0), &[-2.0, 0.0, 0.25, 2.0, f64::NAN], Tolerance::ROUNDED),
    ),
    row(
        "selu",
        1,
        Signature::Float,
        Wgsl::Source(
            "fn selu(x: f32) -> f32 { return 1.0507009873554805 * select(1.6732632423543772 * expm1(x), x, x > 0.0); }",
        ),
        float_function!(T, [x], T::c(SELU_SCALE) * if x > T::c(0.0) { x } else { T::c(SELU_ALPHA) * x.exp_m1() }),
        Some(|cx, _, g| {
            // For x <= 0 the slope is scale·alpha·exp(x) = y + scale·alpha.
            let (x, y) = (cx.input(0), cx.output(0));
            let scale = cx.graph.constant(SELU_SCALE, cx.graph.type_of(x).dtype)?;
            let falling = cx.graph.shift(y, SELU_SCALE * SELU_ALPHA)?;
            give_product_where_positive(cx, g, [scale, falling])
        }),
        points((-3.0, 3.0), &[-80.0, -1e-4, 0.0, 80.0, f64::NAN], EXP),
    ),
    row(
        "celu",
        1,
        Signature::Float,
        Wgsl::Source("fn celu(x: f32, alpha: f32) -> f32 { return select(alpha * expm1(x / alpha), x, x > 0.0); }"),
        float_function!(T, [x, alpha], if x > T::c(0.0) { x } else { alpha * (x / alpha).exp_m1() }),
        Some(|cx, parameters, g| {
            // For x <= 0 the slope is exp(x/alpha) = y/alpha + 1.
            let y = cx.output(0);
            let one = cx.graph.constant(1.0, cx.graph.type_of(y).dtype)?;
            let scaled = cx.graph.scale(y, 1.0 / parameters[0])?;
            let falling = cx.graph.shift(scaled, 1.0)?;
            give_product_where_positive(cx, g, [one, falling])
        }),
        with_parameters((-3.0, 3.0), &[-30.0, -1e-4, 0.0, 30.0, f64::NAN], &[&[1.0], &[0.6]], EXP),
    ),
    row(
        "mish",
        1,
        Signature::Float,
        // tanh(log(1 + e^x)) as a quotient of polynomials in e^-|x|, which is at most 1.
        Wgsl::Source(
            "fn mish(x: f32) -> f32 {
    let n = exponential(-abs(x));
    let rising = (1.0 + 2.0 * n) / (1.0 + 2.0 * n * (1.0 + n));
    let falling = n * (n + 2.0) / (n * (n + 2.0) + 2.0);
    return x * select(rising, falling, x < 0.0);
}",
        ),
        float_function!(T, [x], {
            let (n, one, two) = ((-x.abs()).exp(), T::c(1.0), T::c(2.0));
            let tanh = if x < T::c(0.0) {
                n * (n + two) / (n * (n + two) + two)
            } else {
                (one + two * n) / (one + two * n * (one + n))
            };
            x * tanh
        }),
        Some(|cx, _, g| {
            // t + x·(1 - t²)·sigmoid(x), t = tanh(softplus(x))
            let x = cx.input(0);
            let softplus = cx.graph.unary("softplus", x)?;
            let t = cx.graph.unary("tanh", softplus)?;
            let squared = cx.graph.unary("square", t)?;
            let one = cx.graph.constant(1.0, cx.graph.type_of(x).dtype)?;
            let slope_t = cx.graph.sub(one, squared)?;
            let sigmoid = cx.graph.unary("sigmoid", x)?;
            let chain = cx.graph.mul(slope_t, sigmoid)?;
            let second = cx.graph.mul(x, chain)?;
            let slope = cx.graph.add(t, second)?;
            give_product(cx, g, slope)
        }),
        points((-4.0, 4.0), &[-1000.0, -30.0, 0.0, 30.0, 1000.0, f64::NAN], EXP),
    ),
    row(
        "hard_sigmoid",
        1,
        Signature::Float,
        Wgsl::Source(
            "fn hard_sigmoid(x: f32) -> f32 { return select(select(x / 6.0 + 0.5, 1.0, x >= 3.0), 0.0, x <= -3.0); }",
        ),
        float_function!(
            T,
            [x],
            if x <= T::c(-3.0) {
                T::c(0.0)
            } else if x >= T::c(3.0) {
                T::c(1.0)
            } else {
                x / T::c(6.0) + T::c(0.5)
            }
        ),
        Some(|cx, _, g| {
            let sixth = cx.graph.scale(g, 1.0 / 6.0)?;
            give_between(cx, sixth, [-3.0, 3.0], ["gt", "lt"])
        }),
        points(
            (-4.0, 4.0),
            &[-3.0, -2.9, 0.0, 3.0, 1000.0, f64::NAN],
            Tolerance { absolute: 1.5e-7, relative: 4e-7, reason: "x/6 + 1/2 cancels near -3: roundings of 6e-8" },
        ),
    ),
    row(
        "hard_tanh",
        1,
        Signature::Float,
        Wgsl::Source(
            "fn hard_tanh(x: f32, low: f32, high: f32) -> f32 { return select(select(x, low, x < low), high, x > high); }",
        ),
        float_function!(
            T,
            [x, low, high],
            if x > high {
                high
            } else if x < low {
                low
            } else {
                x
            }
        ),
        // Unlike clamp's, the gradient is zero at the ends.
        Some(|cx, parameters, g| give_between(cx, g, [parameters[0], parameters[1]], ["gt", "lt"])),
        with_parameters((-3.0, 3.0), &[-1.0, 0.0, 1.0, 6.0, f64::NAN], &[&[-1.0, 1.0], &[0.0, 6.0]], Tolerance::EXACT),
    ),
    row(
        "softsign",
        1,
        Signature::Float,
        Wgsl::Source("fn softsign(x: f32) -> f32 { return x / (1.0 + abs(x)); }"),
        float_function!(T, [x], x / (T::c(1.0) + x.abs())),
        Some(|cx, _, g| {
            // 1/(1 + |x|)²
            let x = cx.input(0);
            let magnitude = cx.graph.unary("abs", x)?;
            let shifted = cx.graph.shift(magnitude, 1.0)?;
            let inverse = cx.graph.unary("reciprocal", shifted)?;
            let slope = cx.graph.unary("square", inverse)?;
            give_product(cx, g, slope)
        }),
        points((-4.0, 4.0), &[-1e10, 0.0, 1e-6, 1e10, f64::NAN], Tolerance::ROUNDED),
    ),
    row(
        "log_sigmoid",
        1,
        Signature::Float,
        Wgsl::Source("fn log_sigmoid(x: f32) -> f32 { return select(0.0, x, x < 0.0) - log1p(exponential(-abs(x))); }"),
        float_function!(T, [x], (if x < T::c(0.0) { x } else { T::c(0.0) }) - (-x.abs()).exp().ln_1p()),
        Some(|cx, _, g| {
            // sigmoid(-x)
            let x = cx.input(0);
            let negative = cx.graph.unary("neg", x)?;
            let slope = cx.graph.unary("sigmoid", negative)?;
            give_product(cx, g, slope)
        }),
        points((-4.0, 4.0), &[-1000.0, -30.0, 0.0, 30.0, 1000.0, f64::NAN], EXP),
    ),
    row(
        "tanh_shrink",
        1,
        Signature::Float,
        Wgsl::Source("fn tanh_shrink(x: f32) -> f32 { return x - hyperbolic_tangent(x); }"),
        float_function!(T, [x], x - x.tanh()),
        Some(|cx, _, g| {
            // 1 - (1 - tanh²)
            let x = cx.input(0);
            let tanh = cx.graph.unary("tanh", x)?;
            let slope = cx.graph.unary("square", tanh)?;
            give_product(cx, g, slope)
        }),
        points(
            (-3.0, 3.0),
            &[-1000.0, 0.0, 0.1, 1000.0, f64::NAN],
            Tolerance {
                absolute: 1e-6,
                relative: 1e-6,
                reason: "x - tanh x cancels: 2e-6 of tanh, which is at most 1/2 there",
            },
        ),
    ),
    row(
        "soft_shrink",
        1,
        Signature::Float,
        Wgsl::Source(
            "fn soft_shrink(x: f32, lambda: f32) -> f32 {
    return select(select(x + lambda, x - lambda, x > 0.0), 0.0, abs(x) <= lambda);
}",
        ),
        float_function!(
            T,
            [x, lambda],
            if x.abs() <= lambda {
                T::c(0.0)
            } else if x > T::c(0.0) {
                x - lambda
            } else {
                x + lambda
            }
        ),
        Some(|cx, parameters, g| {
            let x = cx.input(0);
            let dtype = cx.graph.type_of(x).dtype;
            let (zero, lambda) = (cx.graph.constant(0.0, dtype)?, cx.graph.constant(parameters[0], dtype)?);
            let magnitude = cx.graph.unary("abs", x)?;
            let shrunk = cx.graph.elementwise("le", &[magnitude, lambda], &[])?;
            let gradient = cx.graph.select(shrunk, zero, g)?;
            cx.give(0, gradient);
            Ok(())
        }),
        with_parameters(
            (-3.0, 3.0),
            &[-0.5, 0.0, 0.5, 4.0, f64::NAN],
            &[&[0.5], &[0.001]],
            Tolerance { absolute: 2e-7, relative: 1e-7, reason: "one rounding of a number up to 3" },
        ),
    ),
    row(
        "hard_shrink",
        1,
        Signature::Float,
        Wgsl::Source("fn hard_shrink(x: f32, lambda: f32) -> f32 { return select(x, 0.0, abs(x) <= lambda); }"),
        float_function!(T, [x, lambda], if x.abs() <= lambda { T::c(0.0) } else { x }),
        Some(|cx, parameters, g| {
            let x = cx.input(0);
            let dtype = cx.graph.type_of(x).dtype;
            let (zero, lambda) = (cx.graph.constant(0.0, dtype)?, cx.graph.constant(parameters[0], dtype)?);
            let magnitude = cx.graph.unary("abs", x)?;
            let shrunk = cx.graph.elementwise("le", &[magnitude, lambda], &[])?;
            let gradient = cx.graph.select(shrunk, zero, g)?;
            cx.give(0, gradient);
            Ok(())
        }),
        with_parameters((0.6, 3.0), &[-4.0, -0.5, -0.3, 0.0, 0.3, 0.5, f64::NAN], &[&[0.5], &[0.25]], Tolerance::EXACT),
    ),
    row(
        "threshold",
        1,
        Signature::Float,
        Wgsl::Source("fn threshold(x: f32, limit: f32, value: f32) -> f32 { return select(x, value, x <= limit); }"),
        float_function!(T, [x, limit, value], if x <= limit { value } else { x }),
        Some(|cx, parameters, g| {
            let x = cx.input(0);
            let dtype = cx.graph.type_of(x).dtype;
            let (zero, limit) = (cx.graph.constant(0.0, dtype)?, cx.graph.constant(parameters[0], dtype)?);
            let replaced = cx.graph.elementwise("le", &[x, limit], &[])?;
            let gradient = cx.graph.select(replaced, zero, g)?;
            cx.give(0, gradient);
            Ok(())
        }),
        with_parameters((-3.0, 3.0), &[0.5, 0.0, 2.0, f64::NAN], &[&[0.5, -7.0]], Tolerance::EXACT),
    ),
];

fn give_where_positive(cx: &mut Backward<'_>, gradient: Value, y: Value) -> Result<()> {
    let zero = cx.graph.constant(0.0, cx.graph.type_of(y).dtype)?;
    let positive = cx.graph.elementwise("gt", &[y, zero], &[])?;
    let masked = cx.graph.select(positive, gradient, zero)?;
    cx.give(0, masked);
    Ok(())
}

/// The gradient of a function with one slope where x is positive and another elsewhere.
fn give_product_where_positive(cx: &mut Backward<'_>, gradient: Value, slopes: [Value; 2]) -> Result<()> {
    let x = cx.input(0);
    let zero = cx.graph.constant(0.0, cx.graph.type_of(x).dtype)?;
    let positive = cx.graph.elementwise("gt", &[x, zero], &[])?;
    let slope = cx.graph.select(positive, slopes[0], slopes[1])?;
    give_product(cx, gradient, slope)
}

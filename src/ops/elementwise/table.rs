//! The rows. Formulas follow PyTorch's documentation of the function of the same name.
//!
//! WGSL forms avoid the built-ins that lose NaN (`max`, `clamp`) or accuracy (`tanh` near 0); see `shaders/lib/math.wgsl`
//! for the helpers `is_nan`, `erf`, `erfc`, `expm1` and `log1p` they use.

use super::functions::{
    cast_function, compare_function, finite_function, float_function, half_function, number_function, select_function,
};
use super::{Points, Row, Rule, Signature, unknown};
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Backward, Function, Tolerance, Value, Wgsl};

type Forms = (fn(DType, &[&[u32]], &mut [u32]), fn(&[f64]) -> f64, fn(&[f32]) -> f32);

/// Tolerance of drivers' `exp`: WGSL allows 3 + 2·|x| ulp.
const EXP: Tolerance = Tolerance {
    absolute: 3e-7,
    relative: 6e-6,
    reason: "WGSL allows exp 3 + 2|x| ulp; results below 1 cancel to 3e-7",
};
/// Tolerance of drivers' `log`: absolute 2^-21 in [0.5, 2], 3 ulp elsewhere.
const LOG: Tolerance =
    Tolerance { absolute: 5e-7, relative: 4e-7, reason: "WGSL allows log 2^-21 absolute near 1, 3 ulp elsewhere" };
/// Tolerance of drivers' division and square root.
const DIVIDE: Tolerance =
    Tolerance { absolute: 1e-30, relative: 4e-7, reason: "WGSL allows division and sqrt 2.5 ulp each" };

const fn row(
    name: &'static str,
    arity: usize,
    signature: Signature,
    wgsl: Wgsl,
    forms: Forms,
    gradient: Option<Rule>,
    samples: Points,
) -> Row {
    let (block, eval64, eval32) = forms;
    Row { function: Function { name, wgsl, block }, arity, signature, eval64, eval32, gradient, samples }
}

const fn points(range: (f64, f64), special: &'static [f64], tolerance: Tolerance) -> Points {
    Points { range, special, parameters: &[], tolerance }
}

const fn with_parameters(
    range: (f64, f64),
    special: &'static [f64],
    parameters: &'static [&'static [f64]],
    tolerance: Tolerance,
) -> Points {
    Points { range, special, parameters, tolerance }
}

/// Integers as well as floats: the second, empty parameter set asks for integer samples.
const BOTH_TYPES: &[&[f64]] = &[&[], &[]];
const COMPARED: &[f64] = &[-1.0, 0.0, -0.0, 1.0, 2.0, f64::NAN, f64::INFINITY];

/// All elementwise operations.
pub static ROWS: &[Row] = &[
    row(
        "add",
        2,
        Signature::Numeric,
        Wgsl::Infix("+"),
        number_function!(T, [a, b], a.plus(b)),
        Some(|cx, _, g| {
            cx.give(0, g);
            cx.give(1, g);
            Ok(())
        }),
        with_parameters((0.0, 9.0), &[-1.5, 0.0, f64::NAN, f64::INFINITY], BOTH_TYPES, Tolerance::ROUNDED),
    ),
    row(
        "sub",
        2,
        Signature::Numeric,
        Wgsl::Infix("-"),
        number_function!(T, [a, b], a.minus(b)),
        Some(|cx, _, g| {
            cx.give(0, g);
            let negative = cx.graph.unary("neg", g)?;
            cx.give(1, negative);
            Ok(())
        }),
        with_parameters((0.0, 9.0), &[-1.5, 0.0, f64::NAN], BOTH_TYPES, Tolerance::ROUNDED),
    ),
    row(
        "mul",
        2,
        Signature::Numeric,
        Wgsl::Infix("*"),
        number_function!(T, [a, b], a.times(b)),
        Some(|cx, _, g| {
            let (a, b) = (cx.input(0), cx.input(1));
            for (i, other) in [(0, b), (1, a)] {
                if cx.wants(i) {
                    let gradient = cx.graph.mul(g, other)?;
                    cx.give(i, gradient);
                }
            }
            Ok(())
        }),
        with_parameters((0.0, 9.0), &[-1.5, 0.0, f64::NAN, f64::INFINITY], BOTH_TYPES, Tolerance::ROUNDED),
    ),
    row(
        "div",
        2,
        Signature::Float,
        Wgsl::Infix("/"),
        float_function!(T, [a, b], a / b),
        Some(|cx, _, g| {
            // d(a/b)/da = 1/b, d(a/b)/db = -(a/b)/b
            let (b, quotient) = (cx.input(1), cx.output(0));
            let over_b = cx.graph.div(g, b)?;
            cx.give(0, over_b);
            if cx.wants(1) {
                let product = cx.graph.mul(over_b, quotient)?;
                let gradient = cx.graph.unary("neg", product)?;
                cx.give(1, gradient);
            }
            Ok(())
        }),
        points((0.5, 3.0), &[-2.0, 1.0, 3.0], DIVIDE),
    ),
    row(
        "neg",
        1,
        Signature::Float,
        Wgsl::Source("fn neg(x: f32) -> f32 { return -x; }"),
        float_function!(T, [x], -x),
        Some(|cx, _, g| {
            let gradient = cx.graph.unary("neg", g)?;
            cx.give(0, gradient);
            Ok(())
        }),
        points((-3.0, 3.0), &[0.0, f64::NAN, f64::INFINITY], Tolerance::EXACT),
    ),
    row(
        "abs",
        1,
        Signature::Float,
        Wgsl::Builtin("abs"),
        float_function!(T, [x], x.abs()),
        Some(|cx, _, g| {
            let x = cx.input(0);
            let sign = cx.graph.unary("sign", x)?;
            give_product(cx, g, sign)
        }),
        points((0.1, 3.0), &[-2.0, -0.0, 0.0, f64::NAN], Tolerance::EXACT),
    ),
    row(
        "sign",
        1,
        Signature::Float,
        Wgsl::Source("fn sign_of(x: f32) -> f32 { return select(sign(x), x, is_nan(x)); }"),
        float_function!(
            T,
            [x],
            if x > T::c(0.0) {
                T::c(1.0)
            } else if x < T::c(0.0) {
                T::c(-1.0)
            } else {
                x
            }
        ),
        None,
        points((-3.0, 3.0), &[0.0, f64::NAN], Tolerance::EXACT),
    ),
    row(
        "exp",
        1,
        Signature::Float,
        Wgsl::Source("fn exp_of(x: f32) -> f32 { return exponential(x); }"),
        float_function!(T, [x], x.exp()),
        Some(|cx, _, g| {
            let y = cx.output(0);
            give_product(cx, g, y)
        }),
        points((-3.0, 3.0), &[-80.0, 0.0, 80.0, f64::NAN], EXP),
    ),
    row(
        "log",
        1,
        Signature::Float,
        Wgsl::Builtin("log"),
        float_function!(T, [x], x.ln()),
        Some(|cx, _, g| {
            let x = cx.input(0);
            let gradient = cx.graph.div(g, x)?;
            cx.give(0, gradient);
            Ok(())
        }),
        points((0.2, 4.0), &[1e-30, 1.0, 1e30], LOG),
    ),
    row(
        "sqrt",
        1,
        Signature::Float,
        Wgsl::Builtin("sqrt"),
        float_function!(T, [x], x.sqrt()),
        Some(|cx, _, g| {
            let y = cx.output(0);
            let twice = cx.graph.scale(y, 2.0)?;
            let gradient = cx.graph.div(g, twice)?;
            cx.give(0, gradient);
            Ok(())
        }),
        points((0.2, 4.0), &[0.0, 1e-30, 1e30], DIVIDE),
    ),
    row(
        "square",
        1,
        Signature::Float,
        Wgsl::Source("fn square(x: f32) -> f32 { return x * x; }"),
        float_function!(T, [x], x * x),
        Some(|cx, _, g| {
            let x = cx.input(0);
            let twice = cx.graph.scale(x, 2.0)?;
            give_product(cx, g, twice)
        }),
        points((-3.0, 3.0), &[0.0, f64::NAN], Tolerance::ROUNDED),
    ),
    row(
        "pow",
        1,
        Signature::Float,
        // The built-in is undefined for negative bases.
        Wgsl::Source(
            "fn pow_constant(x: f32, exponent: f32) -> f32 {
    if (exponent == 0.0) { return 1.0; }
    if (is_nan(x)) { return x; }
    if (x == 0.0) { return select(0.0, 1.0 / abs(x), exponent < 0.0); }
    let magnitude = pow(abs(x), exponent);
    if (x > 0.0) { return magnitude; }
    if (floor(exponent) != exponent) { return quiet_nan(); }
    let even = floor(exponent * 0.5) * 2.0 == exponent;
    return select(-magnitude, magnitude, even);
}",
        ),
        float_function!(T, [x, exponent], x.powf(exponent)),
        Some(|cx, parameters, g| {
            let (x, exponent) = (cx.input(0), parameters[0]);
            let power = cx.graph.elementwise("pow", &[x], &[exponent - 1.0])?;
            let slope = cx.graph.scale(power, exponent)?;
            give_product(cx, g, slope)
        }),
        with_parameters(
            (0.3, 2.0),
            &[0.0, 1.0, 2.0],
            &[&[3.0], &[0.5], &[1.7]],
            Tolerance { absolute: 1e-30, relative: 6e-6, reason: "WGSL: pow is exp2(y·log2(x))" },
        ),
    ),
    row(
        "minimum",
        2,
        Signature::Float,
        Wgsl::Source(
            "fn minimum(a: f32, b: f32) -> f32 { return select(select(b, a, a < b), a + b, is_nan(a) || is_nan(b)); }",
        ),
        float_function!(
            T,
            [a, b],
            if a.is_nan() || b.is_nan() {
                a + b
            } else if a < b {
                a
            } else {
                b
            }
        ),
        Some(|cx, _, g| give_extremum(cx, g, "lt")),
        points((-3.0, 3.0), COMPARED, Tolerance::EXACT),
    ),
    row(
        "maximum",
        2,
        Signature::Float,
        Wgsl::Source(
            "fn maximum(a: f32, b: f32) -> f32 { return select(select(b, a, a > b), a + b, is_nan(a) || is_nan(b)); }",
        ),
        float_function!(
            T,
            [a, b],
            if a.is_nan() || b.is_nan() {
                a + b
            } else if a > b {
                a
            } else {
                b
            }
        ),
        Some(|cx, _, g| give_extremum(cx, g, "gt")),
        points((-3.0, 3.0), COMPARED, Tolerance::EXACT),
    ),
    compare("eq", Wgsl::Infix("=="), compare_function!([a, b], a == b)),
    compare("ne", Wgsl::Infix("!="), compare_function!([a, b], a != b)),
    compare("lt", Wgsl::Infix("<"), compare_function!([a, b], a < b)),
    compare("le", Wgsl::Infix("<="), compare_function!([a, b], a <= b)),
    compare("gt", Wgsl::Infix(">"), compare_function!([a, b], a > b)),
    compare("ge", Wgsl::Infix(">="), compare_function!([a, b], a >= b)),
    row(
        "isfinite",
        1,
        Signature::Classify,
        // By the bits: comparisons with NaN are not reliable on all drivers.
        Wgsl::Source("fn isfinite(x: f32) -> u32 { return u32((bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u); }"),
        finite_function!(),
        None,
        points((-3.0, 3.0), &[0.0, f64::NAN, f64::INFINITY, -f64::INFINITY, 3.4e38], Tolerance::EXACT),
    ),
    row(
        "select",
        3,
        Signature::Select,
        Wgsl::Source("fn select_by(condition: u32, a: f32, b: f32) -> f32 { return select(b, a, condition != 0u); }"),
        select_function!(),
        Some(|cx, _, g| {
            let condition = cx.input(0);
            let zero = cx.graph.constant(0.0, cx.graph.type_of(g).dtype)?;
            for (i, (a, b)) in [(1, (g, zero)), (2, (zero, g))] {
                if cx.wants(i) {
                    let gradient = cx.graph.select(condition, a, b)?;
                    cx.give(i, gradient);
                }
            }
            Ok(())
        }),
        points((-3.0, 3.0), &[f64::NAN, 1.0, f64::INFINITY], Tolerance::EXACT),
    ),
    row(
        "clamp",
        1,
        Signature::Float,
        Wgsl::Source(
            "fn clamp_between(x: f32, low: f32, high: f32) -> f32 { return select(select(x, low, x < low), high, x > high); }",
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
        Some(|cx, parameters, g| {
            // The gradient passes where low <= x <= high, ends included.
            let x = cx.input(0);
            let dtype = cx.graph.type_of(x).dtype;
            let (low, high) = (cx.graph.constant(parameters[0], dtype)?, cx.graph.constant(parameters[1], dtype)?);
            let zero = cx.graph.constant(0.0, dtype)?;
            let above = cx.graph.elementwise("ge", &[x, low], &[])?;
            let below = cx.graph.elementwise("le", &[x, high], &[])?;
            let kept = cx.graph.select(above, g, zero)?;
            let gradient = cx.graph.select(below, kept, zero)?;
            cx.give(0, gradient);
            Ok(())
        }),
        with_parameters((-0.9, 1.4), &[-1.0, 1.5, -2.0, 2.0, f64::NAN], &[&[-1.0, 1.5]], Tolerance::EXACT),
    ),
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
        "tanh",
        1,
        Signature::Float,
        Wgsl::Source("fn tanh_exact(x: f32) -> f32 { return hyperbolic_tangent(x); }"),
        float_function!(T, [x], x.tanh()),
        Some(|cx, _, g| {
            let y = cx.output(0);
            let squared = cx.graph.unary("square", y)?;
            let one = cx.graph.constant(1.0, cx.graph.type_of(y).dtype)?;
            let slope = cx.graph.sub(one, squared)?;
            give_product(cx, g, slope)
        }),
        points(
            (-3.0, 3.0),
            &[-20.0, -1e-5, 0.0, 1e-10, 0.3, 20.0, f64::NAN],
            Tolerance {
                absolute: 1e-30,
                relative: 2e-6,
                reason: "relative everywhere: a series near 0, exp elsewhere",
            },
        ),
    ),
    row(
        "erf",
        1,
        Signature::Float,
        Wgsl::Source("fn erf(x: f32) -> f32 { return error_function(x); }"),
        float_function!(T, [x], x.erf()),
        Some(|cx, _, g| {
            // 2/√π · exp(-x²)
            let x = cx.input(0);
            let slope = scaled_gaussian(cx, x, -1.0, std::f64::consts::FRAC_2_SQRT_PI)?;
            give_product(cx, g, slope)
        }),
        points(
            (-2.5, 2.5),
            &[-6.0, -1e-4, 0.0, 0.5, 6.0, f64::NAN],
            Tolerance { absolute: 2e-7, relative: 1e-6, reason: "error of the erfc approximation 1.2e-7" },
        ),
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
    cast("cast_f32", Wgsl::Builtin("f32"), DType::F32, cast_function!(f32), Some(give_as_input)),
    row(
        "cast_f16",
        1,
        Signature::Cast(DType::F16),
        Wgsl::Source("fn cast_f16(x: f32) -> f32 { return nearest_half(x); }"),
        half_function!(),
        Some(give_as_input),
        points(
            (-4.0, 4.0),
            // Ties, the ends of the range, steps below 2⁻¹⁴, and half of the smallest.
            &[
                1.00048828125,
                1.00146484375,
                65504.0,
                65519.0,
                65520.0,
                -1e30,
                6.1e-5,
                -3.1e-6,
                5.97e-8,
                2.98e-8,
                0.0,
                f64::NAN,
                f64::INFINITY,
            ],
            Tolerance::HALF,
        ),
    ),
    cast("cast_u32", Wgsl::Builtin("u32"), DType::U32, cast_function!(u32), None),
    cast("cast_i32", Wgsl::Builtin("i32"), DType::I32, cast_function!(i32), None),
];

const fn compare(name: &'static str, wgsl: Wgsl, forms: Forms) -> Row {
    let samples = with_parameters((-2.0, 2.0), COMPARED, BOTH_TYPES, Tolerance::EXACT);
    row(name, 2, Signature::Compare, wgsl, forms, None, samples)
}

const fn cast(name: &'static str, wgsl: Wgsl, to: DType, forms: Forms, gradient: Option<Rule>) -> Row {
    row(name, 1, Signature::Cast(to), wgsl, forms, gradient, points((0.0, 100.0), &[0.0, 1.0, 2.9], Tolerance::EXACT))
}

/// The row called `name`.
///
/// # Errors
/// When there is none.
pub fn row_named(name: &str) -> Result<&'static Row> {
    ROWS.iter().find(|row| row.function.name == name).ok_or_else(|| unknown(name))
}

/// The gradient of a conversion, as what was converted.
fn give_as_input(cx: &mut Backward<'_>, _: &[f64], gradient: Value) -> Result<()> {
    let dtype = cx.graph.type_of(cx.input(0)).dtype;
    let gradient = cx.graph.cast(gradient, dtype)?;
    cx.give(0, gradient);
    Ok(())
}

fn give_product(cx: &mut Backward<'_>, gradient: Value, slope: Value) -> Result<()> {
    let product = cx.graph.mul(gradient, slope)?;
    cx.give(0, product);
    Ok(())
}

fn give_where_positive(cx: &mut Backward<'_>, gradient: Value, y: Value) -> Result<()> {
    let zero = cx.graph.constant(0.0, cx.graph.type_of(y).dtype)?;
    let positive = cx.graph.elementwise("gt", &[y, zero], &[])?;
    let masked = cx.graph.select(positive, gradient, zero)?;
    cx.give(0, masked);
    Ok(())
}

/// The gradient of `minimum` and `maximum`: to the operand that won, half to each of equals.
fn give_extremum(cx: &mut Backward<'_>, gradient: Value, wins: &'static str) -> Result<()> {
    let operands = [cx.input(0), cx.input(1)];
    let dtype = cx.graph.type_of(operands[0]).dtype;
    let zero = cx.graph.constant(0.0, dtype)?;
    let half = cx.graph.scale(gradient, 0.5)?;
    let tie = cx.graph.elementwise("eq", &operands, &[])?;
    for (i, [this, other]) in [operands, [operands[1], operands[0]]].into_iter().enumerate() {
        if cx.wants(i) {
            let won = cx.graph.elementwise(wins, &[this, other], &[])?;
            let share = cx.graph.select(tie, half, zero)?;
            let share = cx.graph.select(won, gradient, share)?;
            cx.give(i, share);
        }
    }
    Ok(())
}

/// `factor * exp(exponent * x²)`.
fn scaled_gaussian(cx: &mut Backward<'_>, x: Value, exponent: f64, factor: f64) -> Result<Value> {
    let squared = cx.graph.unary("square", x)?;
    let scaled = cx.graph.scale(squared, exponent)?;
    let bell = cx.graph.unary("exp", scaled)?;
    cx.graph.scale(bell, factor)
}

//! The rows of arithmetic and of mathematical functions. Formulas follow PyTorch's documentation of the function of the
//! same name.
//!
//! WGSL forms avoid the built-ins that lose NaN (`max`, `clamp`) or accuracy (`tanh` near 0); see `shaders/lib/math.wgsl`
//! for the helpers `is_nan`, `erf`, `erfc`, `expm1` and `log1p` they use.

use super::functions::{
    cast_function, compare_function, finite_function, float_function, half_function, number_function, select_function,
};
use super::{Points, Row, Rule, Signature};
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Backward, Function, Tolerance, Value, Wgsl};

pub(super) type Forms = (fn(DType, &[&[u32]], &mut [u32]), fn(&[f64]) -> f64, fn(&[f32]) -> f32);

/// Tolerance of drivers' `exp`: WGSL allows 3 + 2·|x| ulp.
pub(super) const EXP: Tolerance = Tolerance {
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

pub(super) const fn row(
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

pub(super) const fn points(range: (f64, f64), special: &'static [f64], tolerance: Tolerance) -> Points {
    Points { range, special, parameters: &[], tolerance }
}

pub(super) const fn with_parameters(
    range: (f64, f64),
    special: &'static [f64],
    parameters: &'static [&'static [f64]],
    tolerance: Tolerance,
) -> Points {
    Points { range, special, parameters, tolerance }
}

/// Of sine and cosine, which are computed by the same polynomials everywhere.
const TURNED: Tolerance = Tolerance {
    absolute: 3e-7,
    relative: 0.0,
    reason: "x less multiples of pi/2 is right to 6e-8, polynomials to as much",
};
const TURNS: &[f64] = &[-5000.0, -100.0, -1e-5, 0.0, 1.5, 2.5, 4.7, 100.0, 5000.0, f64::NAN];
const HALVES: &[f64] = &[-2.5, -1.5, -1.0, -0.5, 0.0, 0.5, 1.5, 2.5, 1e10, f64::NAN, f64::INFINITY];
/// Integers as well as floats: the second, empty parameter set asks for integer samples.
/// As some GPUs make it; the lowest bit of its `f32` is set.
const NAN_WITH_PAYLOAD: f64 = f64::from_bits(0x7ff8_0000_2000_0000);
const BOTH_TYPES: &[&[f64]] = &[&[], &[]];
const COMPARED: &[f64] = &[-1.0, 0.0, -0.0, 1.0, 2.0, f64::NAN, f64::INFINITY];

/// Arithmetic, comparisons, conversions, functions.
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
        Wgsl::Source("fn log_of(x: f32) -> f32 { return logarithm(x); }"),
        float_function!(T, [x], x.ln()),
        Some(|cx, _, g| {
            let x = cx.input(0);
            let gradient = cx.graph.div(g, x)?;
            cx.give(0, gradient);
            Ok(())
        }),
        points((0.2, 4.0), &[-1.0, 0.0, 1e-30, 0.01, 1.0, 1e30, f64::INFINITY, f64::NAN], LOG),
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
        "reciprocal",
        1,
        Signature::Float,
        Wgsl::Source("fn reciprocal(x: f32) -> f32 { return 1.0 / x; }"),
        float_function!(T, [x], T::c(1.0) / x),
        Some(|cx, _, g| {
            let y = cx.output(0);
            let squared = cx.graph.unary("square", y)?;
            let slope = cx.graph.unary("neg", squared)?;
            give_product(cx, g, slope)
        }),
        points((0.3, 3.0), &[-2.0, 1e-15, 1e15, f64::INFINITY, f64::NAN], DIVIDE),
    ),
    row(
        "rsqrt",
        1,
        Signature::Float,
        Wgsl::Builtin("inverseSqrt"),
        float_function!(T, [x], T::c(1.0) / x.sqrt()),
        Some(|cx, _, g| {
            // -y³/2
            let y = cx.output(0);
            let squared = cx.graph.unary("square", y)?;
            let cubed = cx.graph.mul(squared, y)?;
            let slope = cx.graph.scale(cubed, -0.5)?;
            give_product(cx, g, slope)
        }),
        points((0.2, 4.0), &[1e-20, 1.0, 1e20], DIVIDE),
    ),
    row(
        "log1p",
        1,
        Signature::Float,
        Wgsl::Source("fn log1p_of(x: f32) -> f32 { return log1p(x); }"),
        float_function!(T, [x], x.ln_1p()),
        Some(|cx, _, g| {
            let x = cx.input(0);
            let shifted = cx.graph.shift(x, 1.0)?;
            let gradient = cx.graph.div(g, shifted)?;
            cx.give(0, gradient);
            Ok(())
        }),
        points((-0.4, 4.0), &[-0.75, -1e-6, 0.0, 1e-6, 1e10, f64::NAN], LOG),
    ),
    row(
        "expm1",
        1,
        Signature::Float,
        Wgsl::Source("fn expm1_of(x: f32) -> f32 { return expm1(x); }"),
        float_function!(T, [x], x.exp_m1()),
        Some(|cx, _, g| {
            let y = cx.output(0);
            let slope = cx.graph.shift(y, 1.0)?;
            give_product(cx, g, slope)
        }),
        points((-3.0, 3.0), &[-80.0, -1e-6, 0.0, 1e-6, 80.0, f64::NAN], EXP),
    ),
    row(
        "sin",
        1,
        Signature::Float,
        Wgsl::Source("fn sin_of(x: f32) -> f32 { return sine(x, 0.0); }"),
        float_function!(T, [x], x.sin()),
        Some(|cx, _, g| {
            let x = cx.input(0);
            let slope = cx.graph.unary("cos", x)?;
            give_product(cx, g, slope)
        }),
        points((-4.0, 4.0), TURNS, TURNED),
    ),
    row(
        "cos",
        1,
        Signature::Float,
        Wgsl::Source("fn cos_of(x: f32) -> f32 { return sine(x, 1.0); }"),
        float_function!(T, [x], x.cos()),
        Some(|cx, _, g| {
            let x = cx.input(0);
            let sine = cx.graph.unary("sin", x)?;
            let slope = cx.graph.unary("neg", sine)?;
            give_product(cx, g, slope)
        }),
        points((-4.0, 4.0), TURNS, TURNED),
    ),
    step("floor", Wgsl::Builtin("floor"), float_function!(T, [x], x.floor())),
    step("ceil", Wgsl::Builtin("ceil"), float_function!(T, [x], x.ceil())),
    step(
        "round",
        Wgsl::Builtin("round"),
        float_function!(
            T,
            [x],
            // Halves to even.
            if (x - x.trunc()).abs() == T::c(0.5) { T::c(2.0) * (x * T::c(0.5)).round() } else { x.round() }
        ),
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
        Wgsl::Source("fn pow_constant(x: f32, exponent: f32) -> f32 { return power_of(x, exponent); }"),
        float_function!(T, [x, exponent], x.powf(exponent)),
        Some(|cx, parameters, g| {
            let (x, exponent) = (cx.input(0), parameters[0]);
            let power = cx.graph.elementwise("pow", &[x], &[exponent - 1.0])?;
            let slope = cx.graph.scale(power, exponent)?;
            give_product(cx, g, slope)
        }),
        with_parameters(
            (0.3, 2.0),
            &[-2.0, 0.0, 1.0, 2.0],
            &[&[3.0], &[2.0], &[0.5], &[1.7], &[0.005], &[-1.0]],
            Tolerance { absolute: 1e-30, relative: 6e-6, reason: "WGSL: pow is exp2(y·log2(x))" },
        ),
    ),
    row(
        "power",
        2,
        Signature::Float,
        Wgsl::Source("fn power(x: f32, exponent: f32) -> f32 { return power_of(x, exponent); }"),
        float_function!(T, [x, exponent], x.powf(exponent)),
        Some(|cx, _, g| {
            let (x, exponent, y) = (cx.input(0), cx.input(1), cx.output(0));
            let zero = cx.graph.constant(0.0, cx.graph.type_of(x).dtype)?;
            if cx.wants(0) {
                // exponent·x^(exponent - 1); nothing where the exponent is 0, whatever x is.
                let less = cx.graph.shift(exponent, -1.0)?;
                let power = cx.graph.elementwise("power", &[x, less], &[])?;
                let slope = cx.graph.mul(exponent, power)?;
                let constant = cx.graph.elementwise("eq", &[exponent, zero], &[])?;
                let slope = cx.graph.select(constant, zero, slope)?;
                give_product(cx, g, slope)?;
            }
            if cx.wants(1) {
                // y·log(x); nothing where x is 0.
                let one = cx.graph.constant(1.0, cx.graph.type_of(x).dtype)?;
                let is_zero = cx.graph.elementwise("eq", &[x, zero], &[])?;
                let base = cx.graph.select(is_zero, one, x)?;
                let log = cx.graph.unary("log", base)?;
                let slope = cx.graph.mul(y, log)?;
                let gradient = cx.graph.mul(g, slope)?;
                cx.give(1, gradient);
            }
            Ok(())
        }),
        points(
            (0.3, 2.0),
            &[-1.0, 0.0, 0.5, 1.0, 2.0, 3.0],
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
        points(
            (-3.0, 3.0),
            &[0.0, f64::NAN, NAN_WITH_PAYLOAD, f64::INFINITY, -f64::INFINITY, 3.4e38],
            Tolerance::EXACT,
        ),
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
            // Ends included.
            give_between(cx, g, [parameters[0], parameters[1]], ["ge", "le"])
        }),
        with_parameters((-0.9, 1.4), &[-1.0, 1.5, -2.0, 2.0, f64::NAN], &[&[-1.0, 1.5]], Tolerance::EXACT),
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

/// A function with steps: its gradient is zero.
const fn step(name: &'static str, wgsl: Wgsl, forms: Forms) -> Row {
    row(name, 1, Signature::Float, wgsl, forms, None, points((-3.0, 3.0), HALVES, Tolerance::EXACT))
}

const fn compare(name: &'static str, wgsl: Wgsl, forms: Forms) -> Row {
    let samples = with_parameters((-2.0, 2.0), COMPARED, BOTH_TYPES, Tolerance::EXACT);
    row(name, 2, Signature::Compare, wgsl, forms, None, samples)
}

const fn cast(name: &'static str, wgsl: Wgsl, to: DType, forms: Forms, gradient: Option<Rule>) -> Row {
    row(name, 1, Signature::Cast(to), wgsl, forms, gradient, points((0.0, 100.0), &[0.0, 1.0, 2.9], Tolerance::EXACT))
}

/// The gradient of a conversion, as what was converted.
fn give_as_input(cx: &mut Backward<'_>, _: &[f64], gradient: Value) -> Result<()> {
    let dtype = cx.graph.type_of(cx.input(0)).dtype;
    let gradient = cx.graph.cast(gradient, dtype)?;
    cx.give(0, gradient);
    Ok(())
}

pub(super) fn give_product(cx: &mut Backward<'_>, gradient: Value, slope: Value) -> Result<()> {
    let product = cx.graph.mul(gradient, slope)?;
    cx.give(0, product);
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

/// The gradient of a function that is flat outside of a range: `bounds` compare x with its lower and its upper end.
pub(super) fn give_between(
    cx: &mut Backward<'_>,
    gradient: Value,
    ends: [f64; 2],
    bounds: [&'static str; 2],
) -> Result<()> {
    let x = cx.input(0);
    let dtype = cx.graph.type_of(x).dtype;
    let zero = cx.graph.constant(0.0, dtype)?;
    let mut kept = gradient;
    for (end, bound) in ends.into_iter().zip(bounds) {
        let end = cx.graph.constant(end, dtype)?;
        let inside = cx.graph.elementwise(bound, &[x, end], &[])?;
        kept = cx.graph.select(inside, kept, zero)?;
    }
    cx.give(0, kept);
    Ok(())
}

/// `factor * exp(exponent * x²)`.
pub(super) fn scaled_gaussian(cx: &mut Backward<'_>, x: Value, exponent: f64, factor: f64) -> Result<Value> {
    let squared = cx.graph.unary("square", x)?;
    let scaled = cx.graph.scale(squared, exponent)?;
    let bell = cx.graph.unary("exp", scaled)?;
    cx.graph.scale(bell, factor)
}

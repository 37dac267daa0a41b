//! The WGSL text of a kernel: a generated prelude, shared files from `shaders/lib`, and the plain file of the kernel.
//!
//! [`Source`] collects the prelude. Bindings are named by what they are: `in0 …` and `out0 …` for kernels that are written
//! by hand, `b0 …` for generated expressions. Binding 0 is always the uniform `params`: extents that depend on the batch
//! size, and the constants of expressions, so that the text depends on neither. The expression generator turns terms into
//! one `let` each.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::dtype::DType;
use crate::graph::{Access, Expression, Function, Term, Wgsl};

/// Files that kernels are made of, by name.
macro_rules! library {
    ($($name:ident = $file:literal),+ $(,)?) => {
        $(pub(super) const $name: &str = include_str!(concat!("../../../shaders/", $file));)+
        /// Every shader file that the GPU device uses, with its path below `shaders/`.
        pub const FILES: &[(&str, &str)] = &[$(($file, $name)),+];
    };
}

library! {
    ELEMENTWISE = "elementwise.wgsl",
    REDUCE = "reduce.wgsl",
    MATMUL = "matmul.wgsl",
    CONV2D = "conv2d.wgsl",
    MATMUL_TILE = "lib/matmul_tile.wgsl",
    MATMUL_STAGED = "lib/matmul_staged.wgsl",
    MATMUL_DIRECT = "lib/matmul_direct.wgsl",
    MATMUL_BROADCAST = "lib/matmul_broadcast.wgsl",
    MATMUL_COOPERATIVE = "lib/matmul_cooperative.wgsl",
    WINOGRAD_FILTERS = "lib/winograd_filters.wgsl",
    WINOGRAD_TILES = "lib/winograd_tiles.wgsl",
    WINOGRAD_PRODUCTS = "lib/winograd_products.wgsl",
    MATH = "lib/math.wgsl",
    INDEX = "lib/index.wgsl",
    PHILOX = "lib/philox.wgsl",
    WINDOW = "lib/window.wgsl",
    PATCHES = "lib/operand_patches.wgsl",
    COVERING = "lib/operand_covering.wgsl",
    SUM = "lib/accumulate_sum.wgsl",
    PRODUCT = "lib/accumulate_product.wgsl",
    MAX = "lib/accumulate_max.wgsl",
    MOMENTS = "lib/accumulate_moments.wgsl",
    POOL_MAX = "lib/pool_max.wgsl",
    POOL_MAX_SCATTER = "lib/pool_max_scatter.wgsl",
    POOL_MAX_GATHER = "lib/pool_max_gather.wgsl",
    POOL_MEAN = "lib/pool_mean.wgsl",
    POOL_MEAN_SCATTER = "lib/pool_mean_scatter.wgsl",
    POOL_DIVISOR = "lib/pool_divisor.wgsl",
}

/// A kernel's text under construction.
#[derive(Default)]
pub(super) struct Source {
    /// Whether a binding is of `f16`, which a shader has to ask for.
    half: bool,
    /// Whether matrices of whole subgroups occur, likewise.
    cooperative: bool,
    declarations: String,
    functions: String,
    libraries: Vec<&'static str>,
    used: BTreeSet<&'static str>,
    scalars: Vec<u32>,
}

/// How a binding is declared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    Scalar(DType),
    /// Four elements.
    Vector(DType),
    /// The struct of the reduction's accumulator.
    Accumulator,
}

impl Source {
    /// A source that starts with the libraries every kernel uses.
    pub fn new() -> Self {
        let mut source = Source::default();
        source.library(INDEX);
        source.library(MATH);
        source
    }

    /// Includes a shared file, once.
    pub fn library(&mut self, text: &'static str) {
        if !self.libraries.iter().any(|known| std::ptr::eq(*known, text) || *known == text) {
            self.libraries.push(text);
        }
    }

    /// `const NAME = value;`
    pub fn constant(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.declarations, "const {name} = {value};");
    }

    /// `alias NAME = type;`
    pub fn alias(&mut self, name: &str, ty: &str) {
        let _ = writeln!(self.declarations, "alias {name} = {ty};");
    }

    /// Declares the matrices that subgroups multiply together: `FragmentA`, `FragmentB` and their product `FragmentC`.
    pub fn cooperative(&mut self, fragment: usize) {
        self.cooperative = true;
        for (role, ty) in [("A", "f16"), ("B", "f16"), ("C", "f32")] {
            self.alias(&format!("Fragment{role}"), &format!("coop_mat{fragment}x{fragment}<{ty}, {role}>"));
        }
    }

    /// A line of declarations or functions.
    pub fn line(&mut self, line: &str) {
        let _ = writeln!(self.functions, "{line}");
    }

    /// A storage binding.
    pub fn binding(&mut self, index: usize, name: &str, element: Element, writable: bool) {
        let access = if writable { "read_write" } else { "read" };
        self.half |= matches!(element, Element::Scalar(DType::F16) | Element::Vector(DType::F16));
        let element = match element {
            Element::Scalar(dtype) => dtype.wgsl().to_owned(),
            Element::Vector(dtype) => format!("vec4<{dtype}>"),
            Element::Accumulator => "Accumulator".to_owned(),
        };
        let _ = writeln!(
            self.declarations,
            "@group(0) @binding({}) var<storage, {access}> {name}: array<{element}>;",
            index + 1
        );
    }

    /// A number that is passed beside the text: its expression in WGSL.
    pub fn scalar(&mut self, value: f64, dtype: DType) -> String {
        let bits = match dtype {
            DType::U32 => value as u32,
            DType::I32 => value as i32 as u32,
            DType::F32 | DType::F16 | DType::F64 => (value as f32).to_bits(),
        };
        let slot = self.scalars.len();
        self.scalars.push(bits);
        let word = format!("params.scalars[{}].{}", slot / 4, ["x", "y", "z", "w"][slot % 4]);
        match dtype {
            DType::U32 => word,
            other => format!("bitcast<{}>({word})", other.computed().wgsl()),
        }
    }

    fn function(&mut self, function: &'static Function) {
        if let Wgsl::Source(text) = function.wgsl
            && self.used.insert(function.name)
        {
            let _ = writeln!(self.functions, "{text}");
        }
    }

    /// The statements that evaluate `expression`; gives them and the names of its results.
    ///
    /// `load` gives the WGSL of an operand's element from its index text. `flat` names the row-major index, for accesses
    /// that are the identity over `shape`; coordinates are `c0 …` and must be declared (see [`coordinates`]).
    pub fn expression(
        &mut self,
        expression: &Expression,
        shape: &[usize],
        flat: Option<&str>,
        load: &dyn Fn(usize, &str) -> String,
    ) -> (String, Vec<String>) {
        let mut text = String::new();
        for (id, term) in expression.terms.iter().enumerate() {
            let value = match term {
                Term::Load { operand, access, otherwise, .. } => {
                    let index = index(access, shape, flat);
                    let element = load(*operand, &index);
                    // An index that is never used may not even be valid.
                    let nowhere = access.bounds.iter().any(|b| b.begin >= b.end.min(shape[b.axis]));
                    match otherwise {
                        Some(otherwise) if nowhere => format!("t{otherwise}"),
                        Some(otherwise) if !access.bounds.is_empty() => {
                            let inside: Vec<String> = access
                                .bounds
                                .iter()
                                .map(|b| format!("c{0} >= {1}u && c{0} < {2}u", b.axis, b.begin, b.end))
                                .collect();
                            let _ = writeln!(text, "    var t{id} = t{otherwise};");
                            let _ = writeln!(text, "    if ({}) {{ t{id} = {element}; }}", inside.join(" && "));
                            continue;
                        }
                        _ => element,
                    }
                }
                Term::Scalar { value, dtype } => self.scalar(*value, *dtype),
                Term::Coordinate { axis } => format!("c{axis}"),
                Term::Random { key, step, stream } => {
                    self.library(PHILOX);
                    let stream = self.scalar(f64::from(*stream), DType::U32);
                    format!(
                        "random_bits({}, {}, {stream}, vec2<u32>({}, {}))",
                        flat.unwrap_or("0u"),
                        load(*step, "0u"),
                        load(*key, "0u"),
                        load(*key, "1u")
                    )
                }
                Term::Apply { function, arguments, dtype } => {
                    self.function(function);
                    apply(function, arguments, *dtype)
                }
            };
            let _ = writeln!(text, "    let t{id} = {value};");
        }
        (text, expression.results.iter().map(|id| format!("t{id}")).collect())
    }

    /// The whole text, ending with `kernel`, and the words of the uniform: extents, sizes, then scalars.
    pub fn finish(mut self, kernel: &str, extents: [u32; 4], sizes: [u32; 4]) -> (String, Vec<u32>) {
        let vectors = self.scalars.len().div_ceil(4);
        self.scalars.resize(vectors * 4, 0);
        let scalars = if vectors > 0 { format!("    scalars: array<vec4<u32>, {vectors}>,\n") } else { String::new() };
        let enable = [(self.half, "enable f16;\n"), (self.cooperative, "enable wgpu_cooperative_matrix;\n")];
        let enabled: String = enable.into_iter().filter(|(used, _)| *used).map(|(_, line)| line).collect();
        let mut text = format!(
            "{enabled}struct Params {{\n    extents: vec4<u32>,\n    sizes: vec4<u32>,\n{scalars}}}\n\
             @group(0) @binding(0) var<uniform> params: Params;\n"
        );
        text += &self.declarations;
        for library in &self.libraries {
            text += "\n";
            text += library;
        }
        text += "\n";
        text += &self.functions;
        text += "\n";
        text += kernel;
        (text, extents.into_iter().chain(sizes).chain(self.scalars).collect())
    }
}

/// A stored element as the number that is computed with.
pub(super) fn widened(dtype: DType, element: &str) -> String {
    if dtype == DType::F16 { format!("f32({element})") } else { element.to_owned() }
}

/// A number as the element that is stored: rounded to nearest, whatever the driver's own conversion does.
pub(super) fn narrowed(dtype: DType, number: &str) -> String {
    if dtype == DType::F16 { format!("f16(nearest_half({number}))") } else { number.to_owned() }
}

/// `let c0 = …;` for every coordinate of the element `flat` of `shape` that some access needs. The leading extent, which
/// may depend on the batch size, does not occur.
pub(super) fn coordinates(expression: &Expression, shape: &[usize], flat: &str) -> String {
    let needed = |axis: usize| {
        expression.terms.iter().any(|term| match term {
            Term::Load { access, .. } => {
                access.bounds.iter().any(|b| b.axis == axis)
                    || (access.strides[axis] != 0 && !access.is_identity(shape))
            }
            Term::Coordinate { axis: used } => *used == axis,
            _ => false,
        })
    };
    let inner = crate::shape::strides(shape);
    let mut text = String::new();
    for axis in (0..shape.len()).filter(|&axis| needed(axis)) {
        let quotient = if inner[axis] == 1 { flat.to_owned() } else { format!("{flat} / {}u", inner[axis].max(1)) };
        let coordinate = if axis == 0 { quotient } else { format!("({quotient}) % {}u", shape[axis].max(1)) };
        let _ = writeln!(text, "    let c{axis} = {coordinate};");
    }
    text
}

fn index(access: &Access, shape: &[usize], flat: Option<&str>) -> String {
    if let Some(flat) = flat
        && access.is_identity(shape)
        && shape.iter().any(|&extent| extent > 1)
    {
        return flat.to_owned();
    }
    let negative = access.offset < 0 || access.strides.iter().any(|&s| s < 0);
    let mut parts = Vec::new();
    if access.offset != 0 {
        parts.push(if negative { access.offset.to_string() } else { format!("{}u", access.offset) });
    }
    for (axis, &stride) in access.strides.iter().enumerate() {
        if stride == 0 || shape[axis] <= 1 {
            continue;
        }
        let coordinate = if negative { format!("i32(c{axis})") } else { format!("c{axis}") };
        let suffix = if negative { "" } else { "u" };
        parts.push(if stride == 1 { coordinate } else { format!("{coordinate} * {stride}{suffix}") });
    }
    match (parts.is_empty(), negative) {
        (true, _) => "0u".to_owned(),
        (false, true) => format!("u32({})", parts.join(" + ")),
        (false, false) => parts.join(" + "),
    }
}

fn apply(function: &Function, arguments: &[usize], dtype: DType) -> String {
    let list = || arguments.iter().map(|a| format!("t{a}")).collect::<Vec<_>>().join(", ");
    match function.wgsl {
        // `!=` is false for NaN on some drivers.
        Wgsl::Infix("!=") => format!("u32(!(t{} == t{}))", arguments[0], arguments[1]),
        Wgsl::Infix(operator) if matches!(operator, "==" | "<" | "<=" | ">" | ">=") => {
            format!("u32(t{} {operator} t{})", arguments[0], arguments[1])
        }
        Wgsl::Infix(operator) => format!("t{} {operator} t{}", arguments[0], arguments[1]),
        Wgsl::Builtin("f32" | "u32" | "i32") => format!("{}({})", dtype.wgsl(), list()),
        Wgsl::Builtin(name) => format!("{name}({})", list()),
        Wgsl::Source(text) => format!("{}({})", defined_name(text), list()),
    }
}

/// The name of the function that `text` defines.
fn defined_name(text: &str) -> &str {
    let after = text.split_once("fn ").map_or(text, |(_, rest)| rest);
    after.split_once('(').map_or(after, |(name, _)| name).trim()
}

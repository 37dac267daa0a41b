//! How the kernels of products find elements of their operands and results: the hooks of `shaders/matmul.wgsl` and
//! `shaders/conv2d.wgsl`.
//!
//! Finding an element takes divisions, so an index is decoded once, to three words, and used for many elements. The
//! decoding of images is in `shaders/lib/operand_*.wgsl`, that of matrices in memory is written here.

use super::lower::window_constants;
use super::source::{self, Source};
use crate::dtype::DType;
use crate::graph::{Gemm, Matrix, Operand};
use crate::shape::Window;

/// The parts of a product whose sums go over different terms. An operand of [`Operand::Covering`] has one a phase of the
/// stride (see `shaders/lib/operand_covering.wgsl`), any other product is a single part.
pub(super) struct Phases {
    /// How many there are.
    pub count: usize,
    /// Rows of each; some may have fewer.
    pub m: usize,
    /// Terms of the longest sums.
    pub k: usize,
}

impl Phases {
    /// The phases of `gemm`.
    pub fn new(gemm: &Gemm) -> Self {
        let Operand::Covering { window, image, channels, .. } = &gemm.a else {
            return Phases { count: 1, m: gemm.m, k: gemm.k };
        };
        let images = gemm.m / (image[0] * image[1]).max(1);
        let mut phases = Phases { count: 1, m: images, k: *channels };
        for (axis, &pixels) in image.iter().enumerate() {
            let on_axis = window.axis(axis);
            let count = on_axis.stride.min(pixels);
            phases.count *= count;
            phases.m *= pixels.div_ceil(on_axis.stride);
            phases.k *= (0..count).map(|pixel| on_axis.taps_reading(pixel).count()).max().unwrap_or(0);
        }
        phases
    }

    /// `PHASES`, `begin_phase`, `term_of` and `c_row`, `c_column`, where elements of the result are.
    pub fn functions(&self, source: &mut Source, gemm: &Gemm) {
        source.constant("PHASES", format_args!("{}u", self.count));
        source.constant("NOWHERE", "0xffffffffu");
        let mut place = "row";
        if let Operand::Covering { window, .. } = &gemm.a {
            place = "pixel_of_row(row)";
            for (axis, letter) in ["H", "W"].into_iter().enumerate() {
                let [common, inverse] = common_and_inverse(window, axis);
                source.constant(&format!("COMMON_{letter}"), format_args!("{common}u"));
                source.constant(&format!("INVERSE_{letter}"), format_args!("{inverse}u"));
            }
        } else {
            source.line("fn begin_phase(phase: u32) -> u32 { return params.extents.z; }");
            source.line("fn term_of(k: u32) -> u32 { return k; }");
        }
        let Matrix { row, column, group } = gemm.output;
        let offset = matrix_offset(source, &[("place", row), ("group", group)]);
        source.line(&format!(
            "fn c_row(row: u32, group: u32) -> u32 {{\n    let place = {place};\n    \
             return select({offset}, NOWHERE, (row >= params.extents.x) | (place == NOWHERE));\n}}"
        ));
        let offset = matrix_offset(source, &[("column", column)]);
        source.line(&format!("fn c_column(column: u32) -> u32 {{ return {offset}; }}"));
    }
}

/// The greatest common divisor of stride and dilation, and what makes the rest of the dilation 1 modulo the rest of the
/// stride.
fn common_and_inverse(window: &Window, axis: usize) -> [usize; 2] {
    let (stride, dilation) = (window.stride[axis], window.dilation[axis]);
    let (mut common, mut rest) = (stride, dilation);
    while rest > 0 {
        (common, rest) = (rest, common % rest);
    }
    let (step, jump) = (stride / common, dilation / common);
    let inverse = (1..step).find(|inverse| inverse * (jump % step) % step == 1).unwrap_or(0);
    [common, inverse]
}

/// Whether four neighbours along each operand's contiguous axis are an aligned vector.
pub(super) fn vectors(gemm: &Gemm) -> [bool; 2] {
    let b = operand_vectors(&gemm.b, gemm.n, gemm.k);
    // The terms of a phase are runs of channels, of which four must be neighbours in B as well.
    let runs = match gemm.a {
        Operand::Covering { channels, .. } => channels.is_multiple_of(4) || columns_are_contiguous(&gemm.b),
        _ => true,
    };
    [operand_vectors(&gemm.a, gemm.k, gemm.m), b && runs]
}

/// `across` and `down` are the operand's extents (columns, rows).
fn operand_vectors(operand: &Operand, across: usize, down: usize) -> bool {
    match operand {
        Operand::Matrix(m) if m.column == 1 => {
            across.is_multiple_of(4) && m.row.is_multiple_of(4) && m.group.is_multiple_of(4)
        }
        Operand::Matrix(m) => {
            m.row == 1 && down.is_multiple_of(4) && m.column.is_multiple_of(4) && m.group.is_multiple_of(4)
        }
        Operand::Patches { channels, pixel, .. } | Operand::Covering { channels, pixel, .. } => {
            channels.is_multiple_of(4) && pixel.is_multiple_of(4)
        }
        Operand::Filters { channels, .. } => channels.is_multiple_of(4),
    }
}

/// Whether columns, not rows, are neighbours in memory.
fn columns_are_contiguous(operand: &Operand) -> bool {
    match operand {
        Operand::Matrix(m) => m.column == 1 || m.row != 1,
        Operand::Patches { .. } | Operand::Covering { .. } | Operand::Filters { .. } => true,
    }
}

/// `NAME_row`, `NAME_column`: an index decoded; and how an element is found where they cross: `NAME_one`, or `NAME_four` for
/// operands read by vectors.
pub(super) fn elements(source: &mut Source, name: &str, operand: &Operand, binding: &str, vector: bool) {
    let (row, column, element) = match operand {
        Operand::Matrix(matrix) => {
            let row = matrix_offset(source, &[("index", matrix.row), ("group", matrix.group)]);
            let column = matrix_offset(source, &[("index", matrix.column)]);
            (format!("vec3<u32>({row}, 0u, 0u)"), format!("vec3<u32>({column}, 0u, 0u)"), "i32(row.x + column.x)")
        }
        Operand::Patches { window, image, positions, channels, pixel } => {
            gathered(source, window, [*image, *positions], *channels, *pixel);
            source.library(source::PATCHES);
            ("patches_row(index, group)".into(), "patches_column(index, group)".into(), "patches_element(row, column)")
        }
        Operand::Covering { window, image, positions, channels, pixel } => {
            gathered(source, window, [*image, *positions], *channels, *pixel);
            source.library(source::COVERING);
            ("covering_row(at)".into(), "covering_column(at, group)".into(), "covering_element(row, column)")
        }
        Operand::Filters { taps, outputs, channels } => {
            // Row = (tap, output), column = channel, in [output, tap, channel].
            let row = format!(
                "vec3<u32>(((group * {outputs}u + index % {outputs}u) * {taps}u + index / {outputs}u) * {channels}u, 0u, 0u)"
            );
            (row, "vec3<u32>(index, 0u, 0u)".into(), "i32(row.x + column.x)")
        }
    };
    // Rows of A are bounded by m and its columns by the end of the sum; for B it is the other way round.
    let sides = if name == "a" {
        [("row", row, "params.extents.x"), ("column", column, "")]
    } else {
        [("row", row, ""), ("column", column, "params.extents.y")]
    };
    for (side, decoded, limit) in sides {
        let (parameter, limit, index) =
            if limit.is_empty() { (", end: u32", "end", "term_of(at)") } else { ("", limit, "at") };
        source.line(&format!(
            "fn {name}_{side}(at: u32, group: u32{parameter}) -> vec3<u32> {{\n    let index = {index};\n    \
             return select({decoded}, OUTSIDE, at >= {limit});\n}}"
        ));
    }
    // Without branches, which compilers of software rasterisers take hard: outside, the first element is read and dropped.
    source.line(&format!(
        "fn {name}_element(row: vec3<u32>, column: vec3<u32>) -> i32 {{\n    \
         return select({element}, -1, (row.x == OUTSIDE.x) | (column.x == OUTSIDE.x));\n}}"
    ));
    // The conversion is none where the operand is of `f32`.
    let (read, ty, zero, index) = if vector {
        ("four", "vec4<f32>", "vec4<f32>()", "u32(max(at, 0)) / 4u")
    } else {
        ("one", "f32", "0.0", "u32(max(at, 0))")
    };
    source.line(&format!(
        "fn {name}_{read}(row: vec3<u32>, column: vec3<u32>) -> {ty} {{\n    \
         let at = {name}_element(row, column);\n    return select({zero}, {ty}({binding}[{index}]), at >= 0);\n}}"
    ));
}

/// `NAME_rows`, `NAME_columns`, `NAME_block`: four indices decoded, and the 16 elements where they cross.
pub(super) fn blocks(source: &mut Source, name: &str, operand: &Operand, vector: bool) {
    for (side, summed) in [("row", name == "b"), ("column", name == "a")] {
        let (parameter, argument) = if summed { (", end: u32", ", end") } else { ("", "") };
        source.line(&format!(
            "fn {name}_{side}s(first: u32, group: u32{parameter}) -> Four {{\n    var four: Four;\n    \
             for (var i = 0u; i < 4u; i++) {{\n        four[i] = {name}_{side}(first + i, group{argument});\n    }}\n    \
             return four;\n}}"
        ));
    }
    // [row][column] of the block.
    let list = |part: &dyn Fn(usize) -> String| (0..4).map(part).collect::<Vec<_>>().join(", ");
    let block = if !vector {
        let row = |i: usize| format!("vec4<f32>({})", list(&|j| format!("{name}_one(rows[{i}], columns[{j}])")));
        format!("mat4x4<f32>({})", list(&row))
    } else if columns_are_contiguous(operand) {
        format!("mat4x4<f32>({})", list(&|i| format!("{name}_four(rows[{i}], columns[0])")))
    } else {
        format!("transpose(mat4x4<f32>({}))", list(&|j| format!("{name}_four(rows[0], columns[{j}])")))
    };
    source.line(&format!("fn {name}_block(rows: Four, columns: Four) -> mat4x4<f32> {{\n    return {block};\n}}"));
}

/// The sum of indices times strides. Strides are passed beside the text, except where neighbours are contiguous, so that
/// products of any size share pipelines.
fn matrix_offset(source: &mut Source, parts: &[(&str, usize)]) -> String {
    let mut part = |&(name, stride): &(&str, usize)| match stride {
        1 => name.to_owned(),
        stride => format!("{name} * {}", source.scalar(stride as f64, DType::U32)),
    };
    parts.iter().map(&mut part).collect::<Vec<_>>().join(" + ")
}

fn gathered(source: &mut Source, window: &Window, [image, positions]: [[usize; 2]; 2], channels: usize, pixel: usize) {
    window_constants(source, window, image, positions);
    source.constant("CHANNELS", format_args!("{channels}u"));
    source.constant("PIXEL", format_args!("{pixel}u"));
    source.library(source::WINDOW);
}

//! Matrix products and convolutions as dispatches of `shaders/matmul.wgsl`.
//!
//! The skeleton is one; what differs is how the index of an operand is decoded to an element, which is written here or in
//! `shaders/lib/operand_*.wgsl`, and the tile. The tile follows from the columns alone, so that batch sizes share pipelines.

use super::lower::{Bindings, Dispatch, Limits, window_constants};
use super::reduce;
use super::source::{self, Element, Source, coordinates};
use crate::dtype::DType;
use crate::graph::{Expression, Gemm, Matrix, Operand};
use crate::schedule::{Schedule, SlotId, Step};

/// What one workgroup computes: `rows × columns` of the result, `depth` of the sum at a time; one invocation computes
/// `micro_rows × micro_columns` of it.
struct Tile {
    rows: usize,
    columns: usize,
    depth: usize,
    micro_rows: usize,
    micro_columns: usize,
    /// Through workgroup memory.
    staged: bool,
}

impl Tile {
    const fn staged(rows: usize, columns: usize, depth: usize, micro: [usize; 2]) -> Self {
        Tile { rows, columns, depth, micro_rows: micro[0], micro_columns: micro[1], staged: true }
    }

    const fn direct(rows: usize, columns: usize, micro: [usize; 2]) -> Self {
        Tile { rows, columns, depth: 4, micro_rows: micro[0], micro_columns: micro[1], staged: false }
    }

    /// The tile for results of `columns` columns.
    fn choose(columns: usize, limits: &Limits) -> Self {
        match (limits.direct, columns) {
            (true, 0..=4) => Tile::direct(32, 4, [4, 4]),
            (true, 5..=16) => Tile::direct(16, 16, [4, 4]),
            (true, _) => Tile::direct(16, 32, [8, 8]),
            (false, 0..=48) => Tile::staged(64, 32, 16, [8, 4]),
            (false, _) => Tile::staged(64, 64, 16, [4, 4]),
        }
    }
}

/// How a product is spread over workgroups.
struct GemmPlan {
    tile: Tile,
    /// Workgroups that share the sum of one element.
    splits: usize,
    /// Terms of the sum that each adds.
    per_split: usize,
}

impl GemmPlan {
    fn new(gemm: &Gemm, has_epilogue: bool, limits: &Limits) -> Self {
        let tile = Tile::choose(gemm.n, limits);
        let tiles = gemm.m.div_ceil(tile.rows) * gemm.n.div_ceil(tile.columns) * gemm.groups;
        // Enough workgroups to fill a GPU, with enough to do for each; and no invocation near 65,535 iterations, where some
        // drivers stop a loop. An epilogue needs whole sums; the scheduler gives none to long ones.
        let worthwhile = (gemm.k / 128).clamp(1, 64);
        let wanted = (128 / tiles.max(1)).clamp(1, worthwhile);
        let splits = if has_epilogue { 1 } else { wanted.max(gemm.k.div_ceil(16384)) };
        let per_split = gemm.k.div_ceil(splits).next_multiple_of(tile.depth);
        GemmPlan { splits: gemm.k.div_ceil(per_split).max(1), tile, per_split }
    }

    fn workgroups(&self, gemm: &Gemm) -> usize {
        gemm.m.div_ceil(self.tile.rows) * gemm.n.div_ceil(self.tile.columns) * gemm.groups * self.splits
    }

    fn constants(&self, source: &mut Source) {
        let Tile { rows, columns, depth, micro_rows, micro_columns, staged } = self.tile;
        let numbers = [
            ("ROWS", rows),
            ("COLUMNS", columns),
            ("DEPTH", depth),
            ("MICRO_ROWS", micro_rows),
            ("MICRO_COLUMNS", micro_columns),
        ];
        for (name, value) in numbers {
            source.constant(name, format_args!("{value}u"));
        }
        source.constant("STAGED", staged);
        source.alias("Four", "array<vec3<u32>, 4>");
        source.constant("OUTSIDE", "vec3<u32>(0xffffffffu)");
    }
}

/// Words of scratch memory for the parts of split sums.
pub(super) fn workspace(gemm: &Gemm, has_epilogue: bool, limits: &Limits) -> usize {
    let splits = GemmPlan::new(gemm, has_epilogue, limits).splits;
    if splits > 1 { splits * gemm.groups * gemm.m * gemm.n } else { 0 }
}

/// The dispatches of a product.
pub(super) fn lower(
    schedule: &Schedule,
    step: &Step,
    gemm: &Gemm,
    epilogue: Option<&(Vec<usize>, Expression)>,
    limits: &Limits,
) -> Vec<Dispatch> {
    let plan = GemmPlan::new(gemm, epilogue.is_some(), limits);
    let total = gemm.groups * gemm.m * gemm.n;
    let parts = step.workspace.filter(|_| plan.splits > 1);
    let target: Vec<SlotId> = parts.map_or_else(|| step.writes.clone(), |parts| vec![parts]);
    let mut source = Source::new();
    plan.constants(&mut source);
    let bindings = Bindings::new(schedule, &step.reads, &target);
    // One binding has one type: a tensor that is also used otherwise is read by scalars.
    let vectors = [operand_vectors(&gemm.a, gemm.k, gemm.m), operand_vectors(&gemm.b, gemm.n, gemm.k)];
    let vector = |slot: SlotId| {
        let otherwise = step.reads[2..].contains(&slot) || target.contains(&slot);
        !otherwise && (0..2).all(|o| step.reads[o] != slot || vectors[o])
    };
    bindings.declare(&mut source, |slot| {
        (step.reads[..2].contains(&slot) && vector(slot)).then_some(Element::Vector(bindings.dtype(slot)))
    });
    for (name, operand, slot) in [("a", &gemm.a, step.reads[0]), ("b", &gemm.b, step.reads[1])] {
        operand_functions(&mut source, name, operand, &bindings.name(slot), vector(slot));
    }
    let Matrix { row, column, group } = gemm.output;
    let offset = matrix_offset(&mut source, &[("row", row), ("column", column), ("group", group)]);
    source.line(&format!("fn c_offset(row: u32, column: u32, group: u32) -> u32 {{ return {offset}; }}"));
    let store = match epilogue {
        Some((shape, expression)) => {
            let load = |operand: usize, index: &str| match operand {
                0 => "value".to_owned(),
                other => bindings.load(step.reads[other + 1], index),
            };
            let (body, results) = source.expression(expression, shape, Some("i"), &load);
            coordinates(expression, shape, "i") + &body + &bindings.stores(&step.writes, &results)
        }
        None => bindings.stores(&target, &["value".to_owned()]),
    };
    source.line(&format!("fn store(i: u32, value: f32) {{\n{store}}}"));
    let extents = [gemm.m, gemm.n, gemm.k, gemm.groups].map(|v| v as u32);
    let sizes = [plan.splits, plan.per_split, 0, total].map(|v| v as u32);
    let (text, params) = source.finish(source::MATMUL, extents, sizes);
    let workgroups = plan.workgroups(gemm);
    let product = Dispatch { label: step.label.clone(), text, bindings: bindings.bounds, params, workgroups };
    match parts {
        Some(parts) => {
            let sum = reduce::sum_of_parts(schedule, &step.label, parts, step.writes[0], plan.splits, total);
            vec![product, sum]
        }
        None => vec![product],
    }
}

/// Whether four neighbours along the operand's contiguous axis are an aligned vector. `across` and `down` are its extents
/// (columns, rows).
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

/// `NAME_rows`, `NAME_columns`, `NAME_block`: how the kernel reads four rows by four columns of an operand.
fn operand_functions(source: &mut Source, name: &str, operand: &Operand, binding: &str, vector: bool) {
    let (row, column, element) = match operand {
        Operand::Matrix(matrix) => {
            let row = matrix_offset(source, &[("index", matrix.row), ("group", matrix.group)]);
            let column = matrix_offset(source, &[("index", matrix.column)]);
            (format!("vec3<u32>({row}, 0u, 0u)"), format!("vec3<u32>({column}, 0u, 0u)"), "i32(row.x + column.x)")
        }
        Operand::Patches { window, image, positions, channels, pixel } => {
            window_constants(source, window, *image, *positions);
            operand_constants(source, *channels, *pixel);
            source.library(source::WINDOW);
            source.library(source::PATCHES);
            ("patches_row(index, group)".into(), "patches_column(index, group)".into(), "patches_element(row, column)")
        }
        Operand::Covering { window, image, positions, channels, pixel } => {
            window_constants(source, window, *image, *positions);
            operand_constants(source, *channels, *pixel);
            source.library(source::WINDOW);
            source.library(source::COVERING);
            (
                "covering_row(index, group)".into(),
                "covering_column(index, group)".into(),
                "covering_element(row, column)",
            )
        }
        Operand::Filters { taps, outputs, channels } => {
            // Row = (tap, output), column = channel, in [output, tap, channel].
            let row = format!(
                "vec3<u32>(((group * {outputs}u + index % {outputs}u) * {taps}u + index / {outputs}u) * {channels}u, 0u, 0u)"
            );
            (row, "vec3<u32>(index, 0u, 0u)".into(), "i32(row.x + column.x)")
        }
    };
    // Rows of A are bounded by m and its columns by the end of the split; for B it is the other way round.
    let sides = if name == "a" {
        [("rows", row, "", "params.extents.x"), ("columns", column, ", end: u32", "end")]
    } else {
        [("rows", row, ", end: u32", "end"), ("columns", column, "", "params.extents.y")]
    };
    for (side, decoded, parameter, limit) in sides {
        source.line(&format!(
            "fn {name}_{side}(first: u32, group: u32{parameter}) -> Four {{\n    var four: Four;\n    \
             for (var i = 0u; i < 4u; i++) {{\n        let index = first + i;\n        \
             four[i] = select({decoded}, OUTSIDE, index >= {limit});\n    }}\n    return four;\n}}"
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

fn operand_constants(source: &mut Source, channels: usize, pixel: usize) {
    source.constant("CHANNELS", format_args!("{channels}u"));
    source.constant("PIXEL", format_args!("{pixel}u"));
}

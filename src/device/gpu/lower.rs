//! Steps as dispatches: text, bindings, sizes. Plain data, made without a GPU.
//!
//! Before: [`crate::schedule`]. After: [`super::execute`] makes pipelines and bind groups of it. Kernel choices depend on
//! shapes and [`Limits`] alone, never on the batch size where that can be avoided, so that batch sizes share pipelines.

use crate::dtype::DType;
use crate::graph::{Accumulator, Expression, Gemm, Matrix, Opaque, Operand, Pooling, Reduce, WindowKind};
use crate::schedule::{Schedule, SlotId, Step, Work};
use crate::shape::Window;

use super::source::{self, Element, Source, coordinates};

/// What kernels must know of an adapter.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Workgroup memory is no faster than the cache (software rasterisers, some mobile GPUs).
    pub direct: bool,
    /// Workgroups of one dispatch dimension.
    pub workgroups: u32,
}

/// A binding: a slot, and whether the kernel writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    /// What is bound.
    pub slot: SlotId,
    /// `read_write` or `read`.
    pub writable: bool,
}

/// One dispatch.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The step's label.
    pub label: String,
    /// The complete WGSL.
    pub text: String,
    /// Storage bindings 1, 2, …
    pub bindings: Vec<Bound>,
    /// The words of the uniform at binding 0.
    pub params: Vec<u32>,
    /// Workgroups, before folding.
    pub workgroups: usize,
}

const WORKGROUP: usize = 64;

/// The dispatches of one step.
pub fn lower(schedule: &Schedule, step: &Step, limits: &Limits) -> Vec<Dispatch> {
    match &step.work {
        Work::Elementwise { shape, expression } => vec![elementwise(schedule, step, shape, expression)],
        Work::Reduce(reduce) => lower_reduce(schedule, step, reduce),
        Work::Gemm { gemm, epilogue } => lower_gemm(schedule, step, gemm, epilogue.as_ref(), limits),
        Work::Window(pooling) => vec![window(schedule, step, pooling)],
        Work::Opaque { shader, .. } => vec![opaque(schedule, step, shader)],
    }
}

/// Words of scratch memory that [`lower`] needs for this work.
pub fn workspace(work: &Work, limits: &Limits) -> usize {
    match work {
        Work::Reduce(reduce) => {
            let plan = ReducePlan::new(reduce);
            if plan.splits > 1 { plan.outputs * plan.splits * accumulator_words(reduce.accumulator) } else { 0 }
        }
        Work::Gemm { gemm, epilogue } => {
            let splits = GemmPlan::new(gemm, epilogue.is_some(), limits).splits;
            if splits > 1 { splits * gemm.groups * gemm.m * gemm.n } else { 0 }
        }
        _ => 0,
    }
}

/// Bindings of a step: every distinct slot once; writable if it is written, or lies in an arena that is written (a buffer
/// must not be bound both ways in one dispatch).
struct Bindings<'a> {
    schedule: &'a Schedule,
    bounds: Vec<Bound>,
}

impl<'a> Bindings<'a> {
    fn new(schedule: &'a Schedule, reads: &[SlotId], writes: &[SlotId]) -> Self {
        let arena = |slot: SlotId| schedule.slot(slot).place.arena;
        let mut bounds: Vec<Bound> = Vec::new();
        for &slot in reads.iter().chain(writes) {
            if !bounds.iter().any(|b| b.slot == slot) {
                let writable = writes.iter().any(|&write| arena(write) == arena(slot));
                bounds.push(Bound { slot, writable });
            }
        }
        Bindings { schedule, bounds }
    }

    fn declare(&self, source: &mut Source) {
        for (i, bound) in self.bounds.iter().enumerate() {
            let dtype = self.schedule.slot(bound.slot).ty.dtype;
            source.binding(i, &format!("b{i}"), Element::Scalar(dtype), bound.writable);
        }
    }

    fn name(&self, slot: SlotId) -> String {
        let index = self.bounds.iter().position(|b| b.slot == slot).expect("every slot of the step is bound");
        format!("b{index}")
    }
}

fn elementwise(schedule: &Schedule, step: &Step, shape: &[usize], expression: &Expression) -> Dispatch {
    let mut source = Source::new();
    source.constant("WORKGROUP", format_args!("{WORKGROUP}u"));
    let bindings = Bindings::new(schedule, &step.reads, &step.writes);
    bindings.declare(&mut source);
    let load = |operand: usize, index: &str| format!("{}[{index}]", bindings.name(step.reads[operand]));
    let (body, results) = source.expression(expression, shape, Some("i"), &load);
    let mut text = format!("fn compute(i: u32) {{\n{}{body}", coordinates(expression, shape, "i"));
    for (&write, result) in step.writes.iter().zip(&results) {
        text += &format!("    {}[i] = {result};\n", bindings.name(write));
    }
    source.line(&(text + "}"));
    let len: usize = shape.iter().product();
    let (text, params) = source.finish(source::ELEMENTWISE, [len as u32, 0, 0, 0], [0; 4]);
    let workgroups = len.div_ceil(WORKGROUP);
    Dispatch { label: step.label.clone(), text, bindings: bindings.bounds, params, workgroups }
}

const fn accumulator_words(accumulator: Accumulator) -> usize {
    match accumulator {
        Accumulator::Sum => 1,
        Accumulator::Max | Accumulator::ArgMax => 2,
        Accumulator::Moments => 3,
    }
}

/// How a reduction is spread over workgroups.
struct ReducePlan {
    outputs: usize,
    reduced: usize,
    lanes_x: usize,
    lanes_y: usize,
    splits: usize,
    per_split: usize,
}

impl ReducePlan {
    fn new(reduce: &Reduce) -> Self {
        let rank = reduce.shape.len();
        let is_reduced = |axis: &usize| reduce.axes.contains(axis);
        let reduced: usize = (0..rank).filter(is_reduced).map(|axis| reduce.shape[axis]).product();
        let outputs: usize = (0..rank).filter(|axis| !is_reduced(axis)).map(|axis| reduce.shape[axis]).product();
        // Neighbouring lanes read neighbouring elements: along the kept axes if those are the last.
        let kept_last: usize =
            (0..rank).rev().take_while(|axis| !is_reduced(axis)).map(|axis| reduce.shape[axis]).product();
        let lanes_x = if kept_last > 1 {
            kept_last.next_power_of_two().min(WORKGROUP)
        } else if reduced <= 32 && !reduce.axes.contains(&0) {
            // A few elements each: one lane an output. Not where the count depends on the batch size.
            WORKGROUP
        } else {
            1
        };
        let lanes_y = WORKGROUP / lanes_x;
        let groups = outputs.div_ceil(lanes_x).max(1);
        let most = reduced.div_ceil(lanes_y * 16).max(1);
        // Enough workgroups to fill a GPU, and no invocation near 65,535 iterations, where some drivers stop a loop.
        let splits = (64 / groups).clamp(1, most.min(64)).max(reduced.div_ceil(lanes_y * 16384));
        ReducePlan { outputs, reduced, lanes_x, lanes_y, splits, per_split: reduced.div_ceil(splits) }
    }
}

fn lower_reduce(schedule: &Schedule, step: &Step, reduce: &Reduce) -> Vec<Dispatch> {
    let load = |bindings: &Bindings<'_>, operand: usize, index: &str| {
        format!("{}[{index}]", bindings.name(step.reads[operand]))
    };
    reduce_dispatches(schedule, &step.label, reduce, &step.reads, &step.writes, step.workspace, &load)
}

type LoadOperand<'a> = dyn Fn(&Bindings<'_>, usize, &str) -> String + 'a;

fn reduce_dispatches(
    schedule: &Schedule,
    label: &str,
    reduce: &Reduce,
    reads: &[SlotId],
    writes: &[SlotId],
    workspace: Option<SlotId>,
    load: &LoadOperand<'_>,
) -> Vec<Dispatch> {
    let plan = ReducePlan::new(reduce);
    let Some(partials) = workspace.filter(|_| plan.splits > 1) else {
        return vec![reduce_stage(schedule, label, reduce, &plan, Stage::Whole, reads, writes, load)];
    };
    let first = reduce_stage(schedule, label, reduce, &plan, Stage::Partial, reads, &[partials], load);
    let last =
        ReducePlan { reduced: plan.splits, lanes_x: WORKGROUP, lanes_y: 1, splits: 1, per_split: plan.splits, ..plan };
    let last = reduce_stage(schedule, label, reduce, &last, Stage::Finish, &[partials], writes, load);
    vec![first, last]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Elements to results.
    Whole,
    /// Elements to partial results.
    Partial,
    /// Partial results to results.
    Finish,
}

#[expect(clippy::too_many_arguments, reason = "the parts of one dispatch, used in one place")]
fn reduce_stage(
    schedule: &Schedule,
    label: &str,
    reduce: &Reduce,
    plan: &ReducePlan,
    stage: Stage,
    reads: &[SlotId],
    writes: &[SlotId],
    load: &LoadOperand<'_>,
) -> Dispatch {
    let mut source = Source::new();
    source.constant("LANES_X", format_args!("{}u", plan.lanes_x));
    source.constant("LANES_Y", format_args!("{}u", plan.lanes_y));
    source.constant("WORKGROUP", format_args!("{WORKGROUP}u"));
    let value = reduce.expression.terms[reduce.expression.results[0]].dtype();
    source.library(match reduce.accumulator {
        Accumulator::Sum => source::SUM,
        Accumulator::Max | Accumulator::ArgMax => source::MAX,
        Accumulator::Moments => source::MOMENTS,
    });
    source.alias("VALUE", value.wgsl());
    let (fields, finish) = match reduce.accumulator {
        Accumulator::Sum => ("    r0: VALUE,\n", ""),
        Accumulator::Max => ("    r0: f32,\n", "fn finish(a: Accumulator) -> Result { return Result(a.value); }"),
        Accumulator::ArgMax => ("    r0: u32,\n", "fn finish(a: Accumulator) -> Result { return Result(a.index); }"),
        Accumulator::Moments => ("    r0: f32,\n    r1: f32,\n", ""),
    };
    source.line(&format!("struct Result {{\n{fields}}}\n{finish}"));
    let bindings = Bindings::new(schedule, reads, writes);
    for (i, bound) in bindings.bounds.iter().enumerate() {
        let partial = (stage == Stage::Partial && writes.contains(&bound.slot))
            || (stage == Stage::Finish && reads.contains(&bound.slot));
        let dtype = schedule.slot(bound.slot).ty.dtype;
        let element = if partial { Element::Accumulator } else { Element::Scalar(dtype) };
        source.binding(i, &format!("b{i}"), element, bound.writable);
    }
    if stage == Stage::Finish {
        source.line(&format!(
            "fn add_element(a: Accumulator, output: u32, index: u32) -> Accumulator {{\n    \
             return combine(a, {}[index * params.extents.x + output]);\n}}",
            bindings.name(reads[0])
        ));
    } else {
        let coordinates = reduce_coordinates(reduce);
        let load = |operand: usize, index: &str| load(&bindings, operand, index);
        let (body, results) = source.expression(&reduce.expression, &reduce.shape, Some("element"), &load);
        source.line(&format!(
            "fn add_element(a: Accumulator, output: u32, index: u32) -> Accumulator {{\n{coordinates}{body}    \
             return accumulate(a, {}, index);\n}}",
            results[0]
        ));
    }
    let mut store = String::from("fn store_result(output: u32, split: u32, a: Accumulator) {\n");
    if stage == Stage::Partial {
        store += &format!("    {}[split * params.extents.x + output] = a;\n", bindings.name(writes[0]));
    } else {
        store += "    let result = finish(a);\n";
        for (i, &write) in writes.iter().enumerate() {
            store += &format!("    {}[output] = result.r{i};\n", bindings.name(write));
        }
    }
    source.line(&(store + "}"));
    let extents = [plan.outputs, plan.reduced, plan.splits, plan.per_split].map(|v| v as u32);
    let (text, params) = source.finish(source::REDUCE, extents, [0; 4]);
    let workgroups = plan.outputs.div_ceil(plan.lanes_x) * plan.splits;
    let label = if stage == Stage::Finish { format!("{label} (finish)") } else { label.to_owned() };
    Dispatch { label, text, bindings: bindings.bounds, params, workgroups }
}

/// The coordinates of the iteration space from the kept index `output` and the reduced index `index`.
fn reduce_coordinates(reduce: &Reduce) -> String {
    let rank = reduce.shape.len();
    let mut text = String::new();
    for (flat, reduced) in [("output", false), ("index", true)] {
        let axes: Vec<usize> = (0..rank).filter(|axis| reduce.axes.contains(axis) == reduced).collect();
        let mut inner = 1;
        for (place, &axis) in axes.iter().enumerate().rev() {
            let quotient = if inner == 1 { flat.to_owned() } else { format!("({flat} / {inner}u)") };
            let extent = reduce.shape[axis].max(1);
            text += &if place == 0 {
                format!("    let c{axis} = {quotient};\n")
            } else {
                format!("    let c{axis} = {quotient} % {extent}u;\n")
            };
            inner *= extent;
        }
    }
    let strides = crate::shape::strides(&reduce.shape);
    let parts: Vec<String> = (0..rank).map(|axis| format!("c{axis} * {}u", strides[axis])).collect();
    text += &format!("    let element = {};\n", if rank == 0 { "0u".to_owned() } else { parts.join(" + ") });
    text
}

/// How a product is spread over workgroups.
#[derive(Clone, Copy, Debug)]
struct GemmPlan {
    rows: usize,
    columns: usize,
    depth: usize,
    micro_rows: usize,
    micro_columns: usize,
    staged: bool,
    splits: usize,
    per_split: usize,
}

impl GemmPlan {
    fn new(gemm: &Gemm, has_epilogue: bool, limits: &Limits) -> Self {
        // (rows, columns, depth, rows and columns of one invocation), staged in workgroup memory or not.
        let (rows, columns, depth, micro_rows, micro_columns, staged) = match (limits.direct, gemm.n) {
            (true, 0..=4) => (32, 4, 4, 4, 4, false),
            (true, 5..=16) => (16, 16, 4, 4, 4, false),
            (true, _) => (16, 32, 4, 8, 8, false),
            (false, 0..=48) => (64, 32, 16, 8, 4, true),
            (false, _) => (64, 64, 16, 4, 4, true),
        };
        let tiles = gemm.m.div_ceil(rows) * gemm.n.div_ceil(columns) * gemm.groups;
        let most = gemm.k.div_ceil(depth.max(16) * 8).max(1);
        let wanted = (128 / tiles.max(1)).clamp(1, most).min(64);
        // No invocation near 65,535 iterations in all its loops, where some drivers stop: nor with an epilogue, which
        // needs whole sums; products that long with an epilogue do not occur.
        let splits = if has_epilogue { 1 } else { wanted.max(gemm.k.div_ceil(16384)) };
        let per_split = gemm.k.div_ceil(splits).next_multiple_of(depth);
        GemmPlan {
            rows,
            columns,
            depth,
            micro_rows,
            micro_columns,
            staged,
            splits: gemm.k.div_ceil(per_split).max(1),
            per_split,
        }
    }
}

fn lower_gemm(
    schedule: &Schedule,
    step: &Step,
    gemm: &Gemm,
    epilogue: Option<&(Vec<usize>, Expression)>,
    limits: &Limits,
) -> Vec<Dispatch> {
    let plan = GemmPlan::new(gemm, epilogue.is_some(), limits);
    let total = gemm.groups * gemm.m * gemm.n;
    let target: Vec<SlotId> = match step.workspace {
        Some(workspace) if plan.splits > 1 => vec![workspace],
        _ => step.writes.clone(),
    };
    let mut source = Source::new();
    source.constant("ROWS", format_args!("{}u", plan.rows));
    source.constant("COLUMNS", format_args!("{}u", plan.columns));
    source.constant("DEPTH", format_args!("{}u", plan.depth));
    source.constant("MICRO_ROWS", format_args!("{}u", plan.micro_rows));
    source.constant("MICRO_COLUMNS", format_args!("{}u", plan.micro_columns));
    source.constant("STAGED", plan.staged);
    source.alias("Four", "array<vec3<u32>, 4>");
    source.constant("OUTSIDE", "vec3<u32>(0xffffffffu)");
    let vectors = [operand_vectors(&gemm.a, gemm.k, gemm.m), operand_vectors(&gemm.b, gemm.n, gemm.k)];
    let bindings = Bindings::new(schedule, &step.reads, &target);
    for (i, bound) in bindings.bounds.iter().enumerate() {
        let operands = [0, 1].into_iter().filter(|&o| step.reads[o] == bound.slot);
        // One binding has one type: a tensor that is also used elementwise, or twice, is read by scalars.
        let other = step.reads[2..].contains(&bound.slot) || step.writes.contains(&bound.slot);
        let mut all = operands.peekable();
        let vector = all.peek().is_some() && !other && all.all(|o| vectors[o]);
        let dtype = schedule.slot(bound.slot).ty.dtype;
        source.binding(
            i,
            &format!("b{i}"),
            if vector { Element::Vector } else { Element::Scalar(dtype) },
            bound.writable,
        );
    }
    let vector_binding = |slot: SlotId| {
        let other = step.reads[2..].contains(&slot) || step.writes.contains(&slot);
        !other && [0, 1].into_iter().filter(|&o| step.reads[o] == slot).all(|o| vectors[o])
    };
    for (o, (name, operand)) in [("a", &gemm.a), ("b", &gemm.b)].into_iter().enumerate() {
        let slot = step.reads[o];
        let vector = vectors[o] && vector_binding(slot);
        operand_functions(&mut source, name, operand, &bindings.name(slot), vector);
    }
    let Matrix { row, column, group } = gemm.output;
    let offset = matrix_offset(&mut source, &[("row", row), ("column", column), ("group", group)]);
    source.line(&format!("fn c_offset(row: u32, column: u32, group: u32) -> u32 {{ return {offset}; }}"));
    let mut store = String::from("fn store(i: u32, value: f32) {\n");
    match epilogue {
        Some((shape, expression)) => {
            let load = |operand: usize, index: &str| match operand {
                0 => "value".to_owned(),
                other => format!("{}[{index}]", bindings.name(step.reads[other + 1])),
            };
            let (body, results) = source.expression(expression, shape, Some("i"), &load);
            store += &coordinates(expression, shape, "i");
            store += &body;
            for (&write, result) in step.writes.iter().zip(&results) {
                store += &format!("    {}[i] = {result};\n", bindings.name(write));
            }
        }
        None => store += &format!("    {}[i] = value;\n", bindings.name(target[0])),
    }
    source.line(&(store + "}"));
    let extents = [gemm.m, gemm.n, gemm.k, gemm.groups].map(|v| v as u32);
    let sizes = [plan.splits, plan.per_split, 0, total].map(|v| v as u32);
    let (text, params) = source.finish(source::MATMUL, extents, sizes);
    let workgroups = gemm.m.div_ceil(plan.rows) * gemm.n.div_ceil(plan.columns) * gemm.groups * plan.splits;
    let mut dispatches =
        vec![Dispatch { label: step.label.clone(), text, bindings: bindings.bounds, params, workgroups }];
    if plan.splits > 1 {
        // The parts in order: a sum over the leading axis of [splits, elements].
        let shape = vec![plan.splits, total];
        let access = crate::graph::Access::identity(&shape);
        let expression = Expression::load(0, access, DType::F32);
        let reduce = Reduce { expression, shape, axes: vec![0], accumulator: Accumulator::Sum };
        let finish = ReducePlan {
            outputs: total,
            reduced: plan.splits,
            lanes_x: WORKGROUP,
            lanes_y: 1,
            splits: 1,
            per_split: plan.splits,
        };
        let load = |bindings: &Bindings<'_>, _: usize, index: &str| format!("{}[{index}]", bindings.name(target[0]));
        let label = format!("{} (sum of parts)", step.label);
        dispatches.push(reduce_stage(schedule, &label, &reduce, &finish, Stage::Whole, &target, &step.writes, &load));
    }
    dispatches
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
    source.line(&format!(
        "fn {name}_element(row: vec3<u32>, column: vec3<u32>) -> i32 {{\n    \
         if (row.x == OUTSIDE.x || column.x == OUTSIDE.x) {{ return -1; }}\n    return {element};\n}}"
    ));
    // One read: four neighbours, or one element.
    if vector {
        source.line(&format!(
            "fn {name}_four(row: vec3<u32>, column: vec3<u32>) -> vec4<f32> {{\n    \
             let at = {name}_element(row, column);\n    if (at < 0) {{ return vec4<f32>(); }}\n    \
             return {binding}[u32(at) / 4u];\n}}"
        ));
    } else {
        source.line(&format!(
            "fn {name}_one(row: vec3<u32>, column: vec3<u32>) -> f32 {{\n    \
             let at = {name}_element(row, column);\n    if (at < 0) {{ return 0.0; }}\n    return {binding}[u32(at)];\n}}"
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

fn operand_constants(source: &mut Source, channels: usize, pixel: usize) {
    source.constant("CHANNELS", format_args!("{channels}u"));
    source.constant("PIXEL", format_args!("{pixel}u"));
}

fn window_constants(source: &mut Source, window: &Window, image: [usize; 2], positions: [usize; 2]) {
    let pairs = [
        ("IMAGE", ["H", "W"], image),
        ("POSITIONS", ["P", "Q"], positions),
        ("KERNEL", ["H", "W"], window.kernel_size),
        ("STRIDE", ["H", "W"], window.stride),
        ("PADDING", ["H", "W"], [window.padding[0][0], window.padding[1][0]]),
        ("DILATION", ["H", "W"], window.dilation),
    ];
    for (name, axes, values) in pairs {
        for (axis, value) in axes.into_iter().zip(values) {
            source.constant(&format!("{name}_{axis}"), format_args!("{value}u"));
        }
    }
}

fn window(schedule: &Schedule, step: &Step, pooling: &Pooling) -> Dispatch {
    let mut source = Source::new();
    source.constant("WORKGROUP", format_args!("{WORKGROUP}u"));
    window_constants(&mut source, &pooling.window, pooling.image, pooling.positions);
    source.constant("CHANNELS", format_args!("{}u", pooling.channels));
    source.library(source::WINDOW);
    if let WindowKind::Mean { include_padding } | WindowKind::MeanScatter { include_padding } = pooling.kind {
        source.constant("INCLUDE_PADDING", include_padding);
        source.library(source::POOL_DIVISOR);
    }
    source.library(match pooling.kind {
        WindowKind::Max => source::POOL_MAX,
        WindowKind::MaxScatter => source::POOL_MAX_SCATTER,
        WindowKind::MaxGather => source::POOL_MAX_GATHER,
        WindowKind::Mean { .. } => source::POOL_MEAN,
        WindowKind::MeanScatter { .. } => source::POOL_MEAN_SCATTER,
    });
    let bindings = named_bindings(schedule, step, &mut source);
    let len = schedule.slot(step.writes[0]).ty.len();
    let (text, params) = source.finish(source::ELEMENTWISE, [len as u32, 0, 0, 0], [0; 4]);
    Dispatch { label: step.label.clone(), text, bindings, params, workgroups: len.div_ceil(WORKGROUP) }
}

/// Bindings `in0 …` and `out0 …`, for kernels written by hand.
fn named_bindings(schedule: &Schedule, step: &Step, source: &mut Source) -> Vec<Bound> {
    let arena = |slot: SlotId| schedule.slot(slot).place.arena;
    let mut bounds = Vec::new();
    for (i, &slot) in step.reads.iter().enumerate() {
        let writable = step.writes.iter().any(|&write| arena(write) == arena(slot));
        source.binding(bounds.len(), &format!("in{i}"), Element::Scalar(schedule.slot(slot).ty.dtype), writable);
        bounds.push(Bound { slot, writable });
    }
    for (i, &slot) in step.writes.iter().enumerate() {
        source.binding(bounds.len(), &format!("out{i}"), Element::Scalar(schedule.slot(slot).ty.dtype), true);
        bounds.push(Bound { slot, writable: true });
    }
    bounds
}

fn opaque(schedule: &Schedule, step: &Step, shader: &Opaque) -> Dispatch {
    let mut source = Source::new();
    for (name, value) in &shader.constants {
        source.constant(name, value);
    }
    let bindings = named_bindings(schedule, step, &mut source);
    let mut extents = [0; 4];
    extents.iter_mut().zip(&shader.extents).for_each(|(to, from)| *to = *from);
    let (text, params) = source.finish(shader.wgsl, extents, [0; 4]);
    Dispatch { label: step.label.clone(), text, bindings, params, workgroups: shader.workgroups }
}

//! Matrix products and convolutions as dispatches of `shaders/matmul.wgsl`, or of `shaders/conv2d.wgsl` where groups are
//! narrow.
//!
//! The skeletons are two; what differs is how the index of an operand is decoded to an element ([`super::operand`]), and the
//! tile. The caller names the kind of tiles ([`Tiles`]), which [`super::tune`] may have chosen by measurement; its extents
//! follow from the columns, and the fixed rule leaves out the largest extent, so that batch sizes share pipelines.

use std::fmt;

use super::lower::{Bindings, Dispatch, Limits, WORKGROUP, of_halves};
use super::operand::{self, Phases};
use super::reduce;
use super::source::{self, Element, Source};
use super::winograd;
use crate::device::Tiles;
use crate::graph::{Gemm, Matrix, Operand};
use crate::schedule::{Epilogue, Schedule, SlotId, Step};
use crate::shape::Window;

/// The product of the two smaller of rows, columns and terms below which a product is small.
const SMALL: usize = 256;

/// Channels and outputs from which on Winograd's filtering may pay; where it is slow the tuner soon tries it no more.
const FILTERED: usize = 32;

/// What one workgroup computes: `rows × columns` of the result; one invocation computes `micro_rows × micro_columns` of it.
#[derive(Clone, Copy)]
struct Tile {
    rows: usize,
    columns: usize,
    micro_rows: usize,
    micro_columns: usize,
    blocks: Blocks,
}

/// How the 4×4 blocks of the operands come to the invocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocks {
    /// Through workgroup memory.
    Staged,
    /// Each invocation reads its own.
    Direct,
    /// Workgroups are subgroups of so many lanes, and what all of them need one of them reads.
    Broadcast(usize),
    /// Through workgroup memory as `f16`, and as matrices of so many rows and columns to the lanes of a subgroup together.
    Cooperative { fragment: usize, lanes: usize },
}

impl Tile {
    /// The tile for results of `columns` columns. `tiles` is one that the device has, and no [`Tiles::Winograd`].
    fn choose(columns: usize, tiles: Tiles, limits: &Limits) -> Self {
        let lanes = limits.lanes.unwrap_or(1);
        let blocks = match tiles {
            Tiles::Auto | Tiles::Winograd | Tiles::Staged | Tiles::Large | Tiles::Small => Blocks::Staged,
            Tiles::Direct => Blocks::Direct,
            Tiles::Broadcast => Blocks::Broadcast(lanes),
            Tiles::Cooperative => Blocks::Cooperative { fragment: limits.fragment.unwrap_or(1), lanes },
        };
        let [rows, wide, micro_rows, micro_columns] = match (tiles, columns) {
            (Tiles::Auto | Tiles::Winograd | Tiles::Staged, 0..=48) => [64, 32, 8, 4],
            (Tiles::Auto | Tiles::Winograd | Tiles::Staged, _) => [64, 64, 4, 4],
            (Tiles::Large, _) => [128, 128, 8, 8],
            (Tiles::Small, _) => [32, 32, 4, 4],
            (Tiles::Direct, 0..=4) => [32, 4, 4, 4],
            (Tiles::Direct, 5..=8) => [32, 8, 4, 4],
            (Tiles::Direct, 9..=16) => [16, 16, 4, 4],
            (Tiles::Direct, _) => [16, 32, 8, 8],
            // Lanes side by side over the rows, then over the columns.
            (Tiles::Broadcast, 0..=4) => [4 * lanes, 4, 4, 4],
            (Tiles::Broadcast, 5..=8) if lanes >= 2 => [4 * lanes, 8, 4, 8],
            (Tiles::Broadcast, 9..=16) if lanes >= 4 => [4 * lanes, 16, 4, 16],
            // No lane has more than 32 rows: their sums must fit its registers.
            (Tiles::Broadcast, _) => [4 * lanes.min(8), 4 * lanes, 4 * lanes.min(8), 4],
            // Sums go through memory by 32 rows at a time.
            (Tiles::Cooperative, 0..=64) => [64, 64, 8, 4],
            (Tiles::Cooperative, _) => [128, 128, 16, 4],
        };
        Tile { rows, columns: wide, micro_rows, micro_columns, blocks }
    }

    /// Terms of the sum that are added at a time.
    fn depth(&self) -> usize {
        match self.blocks {
            Blocks::Staged if self.rows > 64 => 8,
            Blocks::Staged => 16,
            Blocks::Direct => 4,
            Blocks::Broadcast(lanes) => 4 * lanes / self.shared_blocks(),
            Blocks::Cooperative { fragment, .. } => 2 * fragment,
        }
    }

    /// The blocks that lanes side by side have in common: of A if they lie over the columns, else of B.
    fn shared_blocks(&self) -> usize {
        if self.rows == self.micro_rows { self.micro_rows / 4 } else { self.micro_columns / 4 }
    }

    /// `products` of the kernel, and what it is told.
    fn form(&self, source: &mut Source) {
        match self.blocks {
            Blocks::Staged => {
                source.constant("DEPTH", format_args!("{}u", self.depth()));
                source.library(source::MATMUL_STAGED);
            }
            Blocks::Direct => source.library(source::MATMUL_DIRECT),
            Blocks::Broadcast(lanes) => {
                source.constant("LANES", format_args!("{lanes}u"));
                source.line(&adding_lane_by_lane(lanes, self.shared_blocks()));
                source.library(source::MATMUL_BROADCAST);
            }
            Blocks::Cooperative { fragment, lanes } => {
                source.constant("DEPTH", format_args!("{}u", self.depth()));
                source.constant("LANES", format_args!("{lanes}u"));
                source.constant("FRAGMENT", format_args!("{fragment}u"));
                source.cooperative(fragment);
                source.library(source::MATMUL_COOPERATIVE);
            }
        }
    }
}

/// Whether cooperative tiles can be cut so, and fit `bytes` of workgroup memory: every band of 32 rows into pieces of
/// `fragment` rows and columns, as many for each subgroup of `lanes`.
pub(super) fn can_cooperate(fragment: usize, lanes: usize, bytes: usize) -> bool {
    let divides = |[invocations, columns]: [usize; 2]| {
        let subgroups = invocations / lanes.max(1);
        let across = subgroups / (32 / fragment);
        across > 0 && across * (32 / fragment) * lanes == invocations && columns.is_multiple_of(across * fragment)
    };
    // As shaders/lib/matmul_cooperative.wgsl has them, for the larger tile.
    let depth = 2 * fragment;
    let needed = 8 * (128 * (depth / 4 + 2) + depth * (128 / 4 + 2)) + 16 * 32 * (128 / 4);
    matches!(fragment, 8 | 16) && [[128, 64], [256, 128]].into_iter().all(divides) && needed <= bytes
}

/// `add_products_of_all_lanes` of `shaders/lib/matmul_broadcast.wgsl`.
fn adding_lane_by_lane(lanes: usize, shared_blocks: usize) -> String {
    let mut text = "fn add_products_of_all_lanes(sums: ptr<function, Sums>, block: mat4x4<f32>, own: Four, k: u32, part: Part) {\n"
        .to_owned();
    for lane in 0..lanes {
        let depth = lane / shared_blocks;
        if lane % shared_blocks == 0 {
            text += &format!("    let own{depth} = own_block(own, k + {}u, part);\n", depth * 4);
        }
        let columns = [0, 1, 2, 3].map(|c| format!("subgroupBroadcast(block[{c}], {lane}u)")).join(", ");
        text += &format!("    add_product(sums, own{depth}, {lane}u, mat4x4<f32>({columns}));\n");
    }
    text + "}"
}

/// Convolutions of many narrow groups: an invocation computes `block` elements of the wide side of one group.
struct Narrow {
    /// The narrow side are the rows, not the columns.
    transposed: bool,
    block: usize,
}

impl Narrow {
    /// `None` if groups are wide enough for tiles.
    fn choose(gemm: &Gemm, limits: &Limits) -> Option<Self> {
        let gathered = |operand: &Operand| matches!(operand, Operand::Patches { .. } | Operand::Covering { .. });
        let (transposed, narrow) = match (gathered(&gemm.a), gathered(&gemm.b)) {
            (true, _) => (false, gemm.n),
            (_, true) => (true, gemm.m),
            _ => return None,
        };
        // A tile has at least 4 columns where it is direct, else 32.
        let narrowest = if matches!(limits.tiles, Tiles::Direct | Tiles::Broadcast) { 2 } else { 8 };
        // Taps in even blocks. There are always many positions, and their number must not be in the text.
        let block = if transposed { gemm.n.div_ceil(gemm.n.div_ceil(4).max(1)) } else { 4 };
        (gemm.groups > 1 && narrow <= narrowest).then_some(Narrow { transposed, block })
    }
}

enum Form {
    Tiled(Tile),
    Narrow(Narrow),
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Form::Tiled(Tile { rows, columns, blocks, .. }) => {
                let blocks = match blocks {
                    Blocks::Staged => "staged",
                    Blocks::Direct => "direct",
                    Blocks::Broadcast(_) => "broadcast",
                    Blocks::Cooperative { .. } => "cooperative",
                };
                write!(f, "{blocks} {rows}×{columns} tile")
            }
            Form::Narrow(Narrow { block, .. }) => write!(f, "narrow groups, blocks of {block}"),
        }
    }
}

/// How a product is spread over workgroups.
pub(super) struct GemmPlan {
    form: Form,
    phases: Phases,
    pub workgroups: usize,
    /// Workgroups that share the sum of one element.
    splits: usize,
    /// Terms of the sum that each adds.
    per_split: usize,
}

impl GemmPlan {
    pub(super) fn new(gemm: &Gemm, has_epilogue: bool, limits: &Limits, tiles: Tiles) -> Self {
        let phases = Phases::new(gemm);
        let (m, n, k) = (phases.m, gemm.n, phases.k.max(1));
        // Invocations or tiles of one split, and how many of them are a workgroup.
        let (form, depth, units, per_workgroup) = match Narrow::choose(gemm, limits) {
            Some(narrow) => {
                let (short, long) = if narrow.transposed { (m, n) } else { (n, m) };
                let invocations = short * long.div_ceil(narrow.block) * gemm.groups * phases.count;
                (Form::Narrow(narrow), 1, invocations, WORKGROUP)
            }
            None => {
                let tile = Tile::choose(n, tiles, limits);
                let tiles = m.div_ceil(tile.rows) * n.div_ceil(tile.columns) * gemm.groups * phases.count;
                (Form::Tiled(tile), tile.depth(), tiles, 1)
            }
        };
        // Enough workgroups to fill a GPU, with enough to do for each; and no invocation near 65,535 iterations, where some
        // drivers stop a loop. An epilogue needs whole sums; the scheduler gives none to long ones.
        let worthwhile = (k / 128).clamp(1, 64);
        let wanted = (128 / units.div_ceil(per_workgroup).max(1)).clamp(1, worthwhile);
        let splits = if has_epilogue { 1 } else { wanted.max(k.div_ceil(16384)) };
        let per_split = k.div_ceil(splits).next_multiple_of(depth);
        let splits = k.div_ceil(per_split);
        GemmPlan { form, phases, workgroups: (units * splits).div_ceil(per_workgroup), splits, per_split }
    }

    /// The form of the kernel, for people.
    pub(super) fn form(&self) -> String {
        self.form.to_string()
    }

    /// The kernel for the operands of `step`, which writes elements of the product to `target`, or what the epilogue makes
    /// of them to the step's results.
    pub(super) fn kernel<'a>(
        &self,
        schedule: &'a Schedule,
        step: &Step,
        gemm: &Gemm,
        epilogue: Option<&Epilogue>,
        target: &[SlotId],
    ) -> Kernel<'a> {
        let mut source = Source::new();
        let text = self.constants(&mut source);
        let bindings = Bindings::new(schedule, &step.reads, target);
        // One binding has one type: a tensor that is also used otherwise is read by scalars.
        let tiled = matches!(self.form, Form::Tiled(_));
        let vectors = operand::vectors(gemm).map(|vector| vector && tiled);
        let vector = |slot: SlotId| {
            let otherwise = step.reads[2..].contains(&slot) || target.contains(&slot);
            !otherwise && (0..2).all(|o| step.reads[o] != slot || vectors[o])
        };
        bindings.declare(&mut source, |slot| {
            (step.reads[..2].contains(&slot) && vector(slot)).then_some(Element::Vector(bindings.dtype(slot)))
        });
        for (name, operand, slot) in [("a", &gemm.a, step.reads[0]), ("b", &gemm.b, step.reads[1])] {
            operand::elements(&mut source, name, operand, &bindings.name(slot), vector(slot));
            if tiled {
                operand::blocks(&mut source, name, operand, vector(slot));
            }
        }
        self.phases.functions(&mut source, gemm);
        let store = match epilogue {
            Some(epilogue) => bindings.epilogue(&mut source, epilogue, &step.reads[2..], &step.writes),
            None => bindings.stores(target, &["value".to_owned()]),
        };
        source.line(&format!("fn store(i: u32, value: f32) {{\n{store}}}"));
        Kernel { source, bindings, text }
    }

    /// Declares what the kernel is told of its form; gives the kernel.
    fn constants(&self, source: &mut Source) -> &'static str {
        source.constant("OUTSIDE", "vec3<u32>(0xffffffffu)");
        match &self.form {
            Form::Tiled(tile) => {
                let numbers = [
                    ("ROWS", tile.rows),
                    ("COLUMNS", tile.columns),
                    ("MICRO_ROWS", tile.micro_rows),
                    ("MICRO_COLUMNS", tile.micro_columns),
                ];
                for (name, value) in numbers {
                    source.constant(name, format_args!("{value}u"));
                }
                source.alias("Four", "array<vec3<u32>, 4>");
                source.library(source::MATMUL_TILE);
                tile.form(source);
                source::MATMUL
            }
            Form::Narrow(Narrow { transposed, block }) => {
                source.constant("WORKGROUP", format_args!("{WORKGROUP}u"));
                source.constant("BLOCK", format_args!("{block}u"));
                source.constant("TRANSPOSED", transposed);
                source::CONV2D
            }
        }
    }
}

/// A kernel but for its sizes; `text` is its file.
pub(super) struct Kernel<'a> {
    pub source: Source,
    pub bindings: Bindings<'a>,
    pub text: &'static str,
}

/// Words of scratch memory, whichever of its tiles a product may get: for the parts of split sums, or what Winograd's
/// filtering has on its way.
pub(super) fn workspace(gemm: &Gemm, has_epilogue: bool, limits: &Limits) -> usize {
    let words = |tiles| match GemmPlan::new(gemm, has_epilogue, limits, tiles).splits {
        _ if tiles == Tiles::Winograd => winograd::workspace(gemm),
        0..=1 => 0,
        splits => splits * gemm.groups * gemm.m * gemm.n,
    };
    let possible = [false, true].into_iter().flat_map(|half| candidates(gemm, half, limits));
    possible.map(words).max().unwrap_or(0)
}

/// The tiles of a product by the fixed rule; `half` says that both operands are of `f16`.
fn rule(gemm: &Gemm, half: bool, limits: &Limits) -> Tiles {
    match if is_small(gemm) { limits.small } else { limits.tiles } {
        Tiles::Cooperative if !half => Tiles::Staged,
        tiles => tiles,
    }
}

/// Whether a product reads so little again that its tiles do not matter. The largest extent does not count: it is the
/// batch's as a rule, and batch sizes share pipelines.
fn is_small(gemm: &Gemm) -> bool {
    let mut extents = [gemm.m, gemm.n, gemm.k];
    extents.sort_unstable();
    extents[0] * extents[1] < SMALL
}

/// The tiles that a product may have, the likeliest first: that of the fixed rule. `half` as for [`rule`].
pub(super) fn candidates(gemm: &Gemm, half: bool, limits: &Limits) -> Vec<Tiles> {
    let filtered = limits.winograd && winograd::fits(gemm);
    if filtered && !limits.measured {
        return vec![Tiles::Winograd];
    }
    let narrow = Narrow::choose(gemm, limits).is_some();
    if narrow || is_small(gemm) || !limits.measured {
        return vec![rule(gemm, half, limits)];
    }
    let likely: &[Tiles] = if limits.tiles == Tiles::Staged {
        &[Tiles::Cooperative, Tiles::Large, Tiles::Small, Tiles::Broadcast]
    } else {
        &[Tiles::Broadcast, Tiles::Direct, Tiles::Staged, Tiles::Cooperative]
    };
    let possible = |tiles: &Tiles| match tiles {
        Tiles::Large => gemm.m >= 128 && gemm.n >= 96,
        Tiles::Broadcast => limits.lanes.is_some(),
        Tiles::Cooperative => half && limits.fragment.is_some(),
        _ => true,
    };
    let filtered = filtered && gemm.n >= FILTERED && gemm.k >= 9 * FILTERED;
    let likely = filtered.then_some(&Tiles::Winograd).into_iter().chain(likely);
    let others = likely.copied().filter(|&tiles| tiles != limits.tiles).filter(possible);
    std::iter::once(limits.tiles).chain(others).collect()
}

/// The end of a class of which Winograd's filtering is a candidate.
pub(super) const OR_WINOGRAD: &str = ", or winograd";

/// What products have in common that the same tiles are best for: batch sizes up to a power of two, all else equal.
pub(super) fn class(gemm: &Gemm, half: bool, limits: &Limits) -> String {
    let Gemm { groups, m, n, k, a, b, .. } = gemm;
    let (m, k) = (m.next_power_of_two(), k.next_power_of_two());
    let half = if half { " f16" } else { "" };
    let filtered = if limits.winograd && winograd::fits(gemm) { OR_WINOGRAD } else { "" };
    format!("{groups}×{m}×{n}×{k}{half}, {} by {}{filtered}", described(a), described(b))
}

/// An operand in a word or two.
fn described(operand: &Operand) -> String {
    match operand {
        Operand::Matrix(Matrix { column: 1, .. }) => "rows".to_owned(),
        Operand::Matrix(_) => "columns".to_owned(),
        Operand::Filters { taps, .. } => format!("filters of {taps}"),
        Operand::Patches { window, channels, .. } => format!("patches {} {channels}", extents(window)),
        Operand::Covering { window, channels, .. } => format!("covering {} {channels}", extents(window)),
    }
}

fn extents(window: &Window) -> String {
    let Window { kernel_size: [r, s], stride: [down, across], dilation: [dh, dw], .. } = window;
    format!("{r}×{s}/{down}×{across}/{dh}×{dw}")
}

/// The dispatches of a product.
pub(super) fn lower(
    schedule: &Schedule,
    step: &Step,
    gemm: &Gemm,
    epilogue: Option<&Epilogue>,
    limits: &Limits,
    tiles: Tiles,
) -> Vec<Dispatch> {
    if tiles == Tiles::Winograd {
        let filtered = winograd::lower(schedule, step, gemm, epilogue, limits);
        return filtered.unwrap_or_else(|| {
            lower(schedule, step, gemm, epilogue, limits, rule(gemm, of_halves(schedule, step), limits))
        });
    }
    let plan = GemmPlan::new(gemm, epilogue.is_some(), limits, tiles);
    let total = gemm.groups * gemm.m * gemm.n;
    let parts = step.workspace.filter(|_| plan.splits > 1);
    let target: Vec<SlotId> = parts.map_or_else(|| step.writes.clone(), |parts| vec![parts]);
    let Kernel { source, bindings, text } = plan.kernel(schedule, step, gemm, epilogue, &target);
    let extents = [plan.phases.m, gemm.n, plan.phases.k, gemm.groups].map(|v| v as u32);
    let sizes = [plan.splits, plan.per_split, 0, total].map(|v| v as u32);
    let (text, params) = source.finish(text, extents, sizes);
    let workgroups = plan.workgroups;
    let (label, form) = (step.label.clone(), plan.form.to_string());
    let product = Dispatch { label, form, text, bindings: bindings.bounds, params, workgroups };
    match parts {
        Some(parts) => {
            let sum = reduce::sum_of_parts(schedule, &step.label, parts, step.writes[0], plan.splits, [total, gemm.n]);
            vec![product, sum]
        }
        None => vec![product],
    }
}

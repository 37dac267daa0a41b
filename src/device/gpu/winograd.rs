//! Convolutions of 3×3 with stride 1, and their input gradients, by Winograd's minimal filtering F(2×2, 3×3): 16 products
//! in place of 36.
//!
//! Two kernels transform filters and image, a third computes 16 products of matrices and transforms them to the result as
//! they come: groups of one product, by whichever blocks any other has. Transformed filters and tiles of the image lie in the
//! step's workspace, so that is what bounds how many tiles are on their way at a time: a step is as many rounds of two
//! dispatches as it takes, after one for the filters. What rounds is more than in the sum itself;
//! [`crate::schedule::evaluate`] has a bound for it. Before: [`super::gemm`], which asks whether a product [`fits`].

use super::gemm::{GemmPlan, Kernel};
use super::lower::{Bindings, Bound, Dispatch, Limits, WORKGROUP};
use super::source::{self, Element, Source};
use crate::device::Tiles;
use crate::dtype::DType;
use crate::graph::{Filtering, Gemm, Matrix, Operand, TensorType};
use crate::schedule::{Epilogue, Origin, Place, Schedule, Slot, SlotId, Step, aligned};

/// Words of the workspace at most: 16 MiB.
const WORKSPACE: usize = 4 << 20;
/// Tiles that a round must have at least, if there are as many.
const FEWEST: usize = 256;
/// Products of an element: those of the 4×4 pixels of a tile.
const PRODUCTS: usize = 16;

/// How a convolution is cut into rounds.
struct Plan {
    filtering: Filtering,
    /// Channels and outputs, padded to vectors.
    channels: usize,
    outputs: usize,
    /// Tiles down and across an image.
    grid: [usize; 2],
    /// Tiles of all images, and of a round.
    tiles: usize,
    round: usize,
}

impl Plan {
    /// `None` if the product is no such convolution, or the filters leave too little of the workspace.
    fn new(gemm: &Gemm) -> Option<Self> {
        let filtering = gemm.filtering()?;
        let (channels, outputs) = (filtering.channels.next_multiple_of(4), filtering.outputs.next_multiple_of(4));
        let grid = filtering.result.map(|extent| extent.div_ceil(2));
        let tiles = filtering.images * grid[0] * grid[1];
        let left = WORKSPACE.checked_sub(PRODUCTS * channels * outputs)?;
        let round = tiles.min(left / (PRODUCTS * channels));
        (round >= tiles.min(FEWEST)).then_some(Plan { filtering, channels, outputs, grid, tiles, round })
    }

    /// Words of transformed filters, and of the transformed tiles of a round.
    fn words(&self) -> [usize; 2] {
        let Plan { channels, outputs, round, .. } = *self;
        [channels * outputs, channels * round].map(|elements| aligned(PRODUCTS * elements))
    }

    /// What kernels know of the tiles.
    fn constants(&self, source: &mut Source) {
        source.constant("TILES_H", format_args!("{}u", self.grid[0]));
        source.constant("TILES_W", format_args!("{}u", self.grid[1]));
    }
}

/// Whether a product can be computed so.
pub(super) fn fits(gemm: &Gemm) -> bool {
    Plan::new(gemm).is_some()
}

/// Words of scratch memory; none where the product does not fit.
pub(super) fn workspace(gemm: &Gemm) -> usize {
    Plan::new(gemm).map_or(0, |plan| plan.words().iter().sum())
}

/// The dispatches of a convolution; `None` where it does not fit, or the step has no workspace for it.
pub(super) fn lower(
    schedule: &Schedule,
    step: &Step,
    gemm: &Gemm,
    epilogue: Option<&Epilogue>,
    limits: &Limits,
) -> Option<Vec<Dispatch>> {
    let plan = Plan::new(gemm)?;
    let workspace = step.workspace.filter(|&slot| schedule.slot(slot).ty.words() >= plan.words().iter().sum())?;
    let mut slots = Slots { schedule, local: Schedule::default(), origins: Vec::new() };
    let mut begin = 0;
    let parts = plan.words().map(|words| {
        begin += words;
        slots.part(workspace, begin - words, words)
    });
    let reads = step.reads.iter().map(|&slot| slots.whole(slot)).collect();
    let writes = step.writes.iter().map(|&slot| slots.whole(slot)).collect();
    let step = Step { label: step.label.clone(), work: step.work.clone(), reads, writes, workspace: None };
    let kernels = Kernels { plan: &plan, schedule: &slots.local, step: &step, parts, limits };
    let mut dispatches = vec![kernels.filters()];
    for first in (0..plan.tiles).step_by(plan.round) {
        let tiles = plan.round.min(plan.tiles - first);
        dispatches.push(kernels.tiles(first, tiles));
        dispatches.push(kernels.products(epilogue, first, tiles));
    }
    dispatches.iter_mut().flat_map(|dispatch| &mut dispatch.bindings).for_each(|bound| slots.restore(bound));
    Some(dispatches)
}

/// The step's slots and the parts of its workspace, each of them a slot of a schedule of their own.
struct Slots<'a> {
    schedule: &'a Schedule,
    local: Schedule,
    /// What each is there: a slot, and the words of it that count.
    origins: Vec<(SlotId, Option<[usize; 2]>)>,
}

impl Slots<'_> {
    fn whole(&mut self, slot: SlotId) -> SlotId {
        let known = self.origins.iter().position(|origin| *origin == (slot, None));
        known.map_or_else(|| self.add(self.schedule.slot(slot).clone(), (slot, None)), SlotId)
    }

    fn part(&mut self, workspace: SlotId, begin: usize, words: usize) -> SlotId {
        let Place { arena, offset } = self.schedule.slot(workspace).place;
        let (ty, place) = (TensorType::new(DType::F32, [words]), Place { arena, offset: offset + begin });
        let slot = Slot { ty, origin: Origin::Workspace, place, value: None };
        self.add(slot, (workspace, Some([begin, begin + words])))
    }

    fn add(&mut self, slot: Slot, origin: (SlotId, Option<[usize; 2]>)) -> SlotId {
        self.local.slots.push(slot);
        self.origins.push(origin);
        SlotId(self.origins.len() - 1)
    }

    /// Has a binding speak of the slots of the whole schedule.
    fn restore(&self, bound: &mut Bound) {
        (bound.slot, bound.part) = self.origins[bound.slot.0];
    }
}

/// The kernels of a step; all slots are local.
struct Kernels<'a> {
    plan: &'a Plan,
    schedule: &'a Schedule,
    step: &'a Step,
    /// Filters and tiles.
    parts: [SlotId; 2],
    limits: &'a Limits,
}

impl Kernels<'_> {
    fn dispatch(
        &self,
        (kernel, label, form): (&'static str, &str, &str),
        source: Source,
        bindings: Bindings<'_>,
        numbers: [[usize; 4]; 2],
        workgroups: usize,
    ) -> Dispatch {
        let [extents, sizes] = numbers.map(|numbers| numbers.map(|number| number as u32));
        let (text, params) = source.finish(kernel, extents, sizes);
        let (label, form) = (format!("{}{label}", self.step.label), format!("winograd {form}"));
        Dispatch { label, form, text, bindings: bindings.bounds, params, workgroups }
    }

    fn filters(&self) -> Dispatch {
        let Plan { filtering, channels, outputs, .. } = *self.plan;
        let mut source = Source::new();
        source.constant("WORKGROUP", format_args!("{WORKGROUP}u"));
        let bindings = Bindings::new(self.schedule, &[self.step.reads[1]], &[self.parts[0]]);
        bindings.declare(&mut source, |_| None);
        let [of_tap, of_channel, of_output] = filtering.strides.map(|stride| source.scalar(stride as f64, DType::U32));
        let tap = if filtering.turned { "(8u - tap)" } else { "tap" };
        let index = format!("{tap} * {of_tap} + channel * {of_channel} + output * {of_output}");
        let element = bindings.load(self.step.reads[1], &index);
        source.line(&format!(
            "fn filter_element(tap: u32, channel: u32, output: u32) -> f32 {{\n    return {element};\n}}"
        ));
        let store = bindings.store(self.parts[0], "i", "value");
        source.line(&format!("fn store(i: u32, value: f32) {{\n{store}}}"));
        source.library(source::WINOGRAD_FILTERS);
        let extents = [channels * outputs, outputs, filtering.channels, filtering.outputs];
        let workgroups = extents[0].div_ceil(WORKGROUP);
        self.dispatch(
            (source::ELEMENTWISE, " (filters)", "filters"),
            source,
            bindings,
            [extents, [channels, 0, 0, 0]],
            workgroups,
        )
    }

    fn tiles(&self, first: usize, tiles: usize) -> Dispatch {
        let Plan { filtering, channels, .. } = *self.plan;
        let (image, part) = (self.step.reads[0], self.parts[1]);
        let mut source = Source::new();
        self.plan.constants(&mut source);
        source.constant("WORKGROUP", format_args!("{WORKGROUP}u"));
        source.constant("ORIGIN_H", format_args!("{}i", filtering.origin[0]));
        source.constant("ORIGIN_W", format_args!("{}i", filtering.origin[1]));
        let bindings = Bindings::new(self.schedule, &[image], &[part]);
        let vectors = filtering.channels.is_multiple_of(4) && filtering.pixel.is_multiple_of(4);
        bindings.declare(&mut source, |slot| match slot {
            slot if slot == part => Some(Element::Vector(DType::F32)),
            _ => vectors.then_some(Element::Vector(bindings.dtype(image))),
        });
        let (name, quads) = (bindings.name(image), channels / 4);
        let [height, width] = filtering.image;
        let (pixel, count) = (filtering.pixel, filtering.channels);
        let four = if vectors {
            format!("    return select(vec4<f32>(), vec4<f32>({name}[select(0u, at / 4u, inside)]), inside);\n")
        } else {
            let one = |c: usize| {
                let there = format!("inside & (quad * 4u + {c}u < {count}u)");
                format!("select(0.0, f32({name}[select(0u, at + {c}u, {there})]), {there})")
            };
            format!("    return vec4<f32>({});\n", (0..4).map(one).collect::<Vec<_>>().join(", "))
        };
        source.line(&format!(
            "fn image_four(image: u32, row: i32, column: i32, quad: u32) -> vec4<f32> {{\n    \
             let inside = (row >= 0) & (row < {height}) & (column >= 0) & (column < {width});\n    \
             let at = ((image * {height}u + u32(row)) * {width}u + u32(column)) * {pixel}u + quad * 4u;\n{four}}}"
        ));
        let part = bindings.name(part);
        source.line(&format!("fn store(i: u32, four: vec4<f32>) {{\n    {part}[i] = four;\n}}"));
        source.library(source::WINOGRAD_TILES);
        let numbers = [[tiles * quads, quads, 0, 0], [first, tiles, 0, 0]];
        let workgroups = numbers[0][0].div_ceil(WORKGROUP);
        self.dispatch((source::ELEMENTWISE, " (tiles)", "tiles"), source, bindings, numbers, workgroups)
    }

    fn products(&self, epilogue: Option<&Epilogue>, first: usize, tiles: usize) -> Dispatch {
        let Plan { filtering, channels, outputs, .. } = *self.plan;
        let matrix = |across: usize, down: usize| Matrix { row: across, column: 1, group: across * down };
        let gemm = Gemm {
            groups: PRODUCTS,
            m: tiles,
            n: outputs,
            k: channels,
            a: Operand::Matrix(matrix(channels, tiles)),
            b: Operand::Matrix(matrix(outputs, channels)),
            output: matrix(outputs, tiles),
        };
        // Four results are on their way beside each sum, so those must be few.
        let blocks = match self.limits.tiles {
            Tiles::Direct | Tiles::Broadcast => self.limits.tiles,
            _ => Tiles::Small,
        };
        let plan = GemmPlan::new(&gemm, true, self.limits, blocks);
        let [filters, image] = self.parts;
        let reads = [image, filters].into_iter().chain(self.step.reads[2..].iter().copied()).collect();
        let step = Step { reads, ..self.step.clone() };
        let Kernel { mut source, bindings, .. } = plan.kernel(self.schedule, &step, &gemm, epilogue, &step.writes);
        self.plan.constants(&mut source);
        source.constant("RESULT_H", format_args!("{}u", filtering.result[0]));
        source.constant("RESULT_W", format_args!("{}u", filtering.result[1]));
        let numbers = [[tiles, outputs, channels, 0], [first, filtering.outputs, 0, 0]];
        let form = format!("products, {}", plan.form());
        let workgroups = plan.workgroups / PRODUCTS;
        self.dispatch((source::WINOGRAD_PRODUCTS, "", &form), source, bindings, numbers, workgroups)
    }
}

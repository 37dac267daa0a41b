//! Steps as dispatches: text, bindings, sizes. Plain data, made without a GPU.
//!
//! Before: [`crate::schedule`]. After: [`super::execute`] makes pipelines and bind groups of it. Kernel choices depend on
//! shapes, [`Limits`] and the [`Tiles`] that the caller names, never on the batch size where that can be avoided, so that batch
//! sizes share pipelines.

use std::ops::Range;

use super::source::{self, Element, Source, coordinates, narrowed, widened};
use super::{elementwise, gemm, reduce};
use crate::device::Tiles;
use crate::dtype::DType;
use crate::graph::{Opaque, Pooling, WindowKind};
use crate::schedule::{Arena, Epilogue, Schedule, SlotId, Step, Work};
use crate::shape::Window;

/// What kernels must know of an adapter.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The tiles of products by the fixed rule; never [`Tiles::Auto`].
    pub tiles: Tiles,
    /// Those of small products, for which tiles that take long to compile are not worth it.
    pub small: Tiles,
    /// Whether other tiles may turn out to be better.
    pub measured: bool,
    /// Whether convolutions that [`Tiles::Winograd`] fits have it: where tiles are measured as a candidate, else always.
    pub winograd: bool,
    /// Lanes of a subgroup, where all have as many.
    pub lanes: Option<usize>,
    /// Rows and columns of the matrices that subgroups multiply together, where they can: of `f16`, with sums of `f32`.
    pub fragment: Option<usize>,
    /// Workgroups of one dispatch dimension.
    pub workgroups: u32,
}

/// A binding: a slot or a part of one, and whether the kernel writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    /// What is bound.
    pub slot: SlotId,
    /// The first and one-past-last word of it, if not all.
    pub part: Option<[usize; 2]>,
    /// `read_write` or `read`.
    pub writable: bool,
}

impl Bound {
    fn whole(slot: SlotId, writable: bool) -> Self {
        Bound { slot, part: None, writable }
    }

    /// The first and one-past-last word of its arena.
    pub fn range(&self, schedule: &Schedule) -> (Arena, Range<usize>) {
        let (arena, slot) = schedule.range(self.slot);
        (arena, self.part.map_or(slot.clone(), |[begin, end]| slot.start + begin..slot.start + end))
    }
}

/// One dispatch.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The step's label.
    pub label: String,
    /// Which of the kernel's forms it is, for people: `direct 16×32 tile`.
    pub form: String,
    /// The complete WGSL.
    pub text: String,
    /// Storage bindings 1, 2, …
    pub bindings: Vec<Bound>,
    /// The words of the uniform at binding 0.
    pub params: Vec<u32>,
    /// Workgroups, before folding.
    pub workgroups: usize,
}

/// Invocations of a workgroup, where a kernel has no reason for another number.
pub(super) const WORKGROUP: usize = 64;

/// The tiles that a step may have, the likeliest first; none if it has no tiles.
pub fn candidates(schedule: &Schedule, step: &Step, limits: &Limits) -> Vec<Tiles> {
    let Work::Gemm { gemm, .. } = &step.work else { return Vec::new() };
    gemm::candidates(gemm, of_halves(schedule, step), limits)
}

/// Whether both factors of a product are of `f16`.
pub fn of_halves(schedule: &Schedule, step: &Step) -> bool {
    step.reads[..2].iter().all(|&slot| schedule.slot(slot).ty.dtype == DType::F16)
}

/// What steps have in common that the same tiles are best for; `None` if the step has no tiles.
pub fn class(schedule: &Schedule, step: &Step, limits: &Limits) -> Option<String> {
    let Work::Gemm { gemm, .. } = &step.work else { return None };
    Some(gemm::class(gemm, of_halves(schedule, step), limits))
}

/// The dispatches of one step; products with these tiles.
pub fn lower(schedule: &Schedule, step: &Step, limits: &Limits, tiles: Tiles) -> Vec<Dispatch> {
    match &step.work {
        Work::Elementwise { shape, expression } => vec![elementwise::lower(schedule, step, shape, expression)],
        Work::Reduce(reduce) => reduce::lower(schedule, step, reduce),
        Work::Gemm { gemm, epilogue } => gemm::lower(schedule, step, gemm, epilogue.as_ref(), limits, tiles),
        Work::Window { pooling, epilogue } => vec![window(schedule, step, pooling, epilogue.as_ref())],
        Work::Opaque { shader, .. } => vec![opaque(schedule, step, shader)],
    }
}

/// Words of scratch memory that [`lower`] needs for this work.
pub fn workspace(work: &Work, limits: &Limits) -> usize {
    match work {
        Work::Reduce(reduce) => reduce::workspace(reduce),
        Work::Gemm { gemm, epilogue } => gemm::workspace(gemm, epilogue.is_some(), limits),
        _ => 0,
    }
}

/// Bindings of a step: every distinct slot once; writable if it is written, or lies in an arena that is written (a buffer
/// must not be bound both ways in one dispatch).
pub(super) struct Bindings<'a> {
    schedule: &'a Schedule,
    pub bounds: Vec<Bound>,
}

impl<'a> Bindings<'a> {
    pub fn new(schedule: &'a Schedule, reads: &[SlotId], writes: &[SlotId]) -> Self {
        let arena = |slot: SlotId| schedule.slot(slot).place.arena;
        let mut bounds: Vec<Bound> = Vec::new();
        for &slot in reads.iter().chain(writes) {
            if !bounds.iter().any(|b| b.slot == slot) {
                let writable = writes.iter().any(|&write| arena(write) == arena(slot));
                bounds.push(Bound::whole(slot, writable));
            }
        }
        Bindings { schedule, bounds }
    }

    /// Declares `b0 …`; `special` says which slots are not arrays of their own element type.
    pub fn declare(&self, source: &mut Source, special: impl Fn(SlotId) -> Option<Element>) {
        for (i, bound) in self.bounds.iter().enumerate() {
            let plain = Element::Scalar(self.schedule.slot(bound.slot).ty.dtype);
            source.binding(i, &format!("b{i}"), special(bound.slot).unwrap_or(plain), bound.writable);
        }
    }

    /// The element of `slot` at `index`, as a number to compute with.
    pub fn load(&self, slot: SlotId, index: &str) -> String {
        widened(self.dtype(slot), &format!("{}[{index}]", self.name(slot)))
    }

    /// The statement that stores `result` at `index` of `slot`.
    pub fn store(&self, slot: SlotId, index: &str, result: &str) -> String {
        format!("    {}[{index}] = {};\n", self.name(slot), narrowed(self.dtype(slot), result))
    }

    /// Statements that store `results` at index `i` of `writes`.
    pub fn stores(&self, writes: &[SlotId], results: &[String]) -> String {
        writes.iter().zip(results).map(|(&write, result)| self.store(write, "i", result)).collect()
    }

    /// Statements that store what an epilogue makes of `value`, the element at index `i`; `others` are what it reads beside.
    pub fn epilogue(
        &self,
        source: &mut Source,
        (shape, expression): &Epilogue,
        others: &[SlotId],
        writes: &[SlotId],
    ) -> String {
        let load = |operand: usize, index: &str| match operand {
            0 => "value".to_owned(),
            other => self.load(others[other - 1], index),
        };
        let (body, results) = source.expression(expression, shape, Some("i"), &load);
        coordinates(expression, shape, "i") + &body + &self.stores(writes, &results)
    }

    pub fn dtype(&self, slot: SlotId) -> DType {
        self.schedule.slot(slot).ty.dtype
    }

    pub fn name(&self, slot: SlotId) -> String {
        let index = self.bounds.iter().position(|b| b.slot == slot).expect("every slot of the step is bound");
        format!("b{index}")
    }
}

/// The constants of `shaders/lib/window.wgsl`.
pub(super) fn window_constants(source: &mut Source, window: &Window, image: [usize; 2], positions: [usize; 2]) {
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

fn window(schedule: &Schedule, step: &Step, pooling: &Pooling, epilogue: Option<&Epilogue>) -> Dispatch {
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
    let bindings = Bindings::new(schedule, &step.reads, &step.writes);
    bindings.declare(&mut source, |_| None);
    let operands = pooling.kind.operands();
    for (i, &slot) in step.reads[..operands].iter().enumerate() {
        let (ty, element) = (bindings.dtype(slot).computed().wgsl(), bindings.load(slot, "i"));
        source.line(&format!("fn read_in{i}(i: u32) -> {ty} {{ return {element}; }}"));
    }
    if let Some(epilogue) = epilogue {
        let stores = bindings.epilogue(&mut source, epilogue, &step.reads[operands..], &step.writes);
        source.line(&format!("fn write_out0(i: u32, value: f32) {{\n{stores}}}"));
    } else {
        for (i, &slot) in step.writes.iter().enumerate() {
            let (ty, store) = (bindings.dtype(slot).computed().wgsl(), bindings.store(slot, "i", "value"));
            source.line(&format!("fn write_out{i}(i: u32, value: {ty}) {{\n{store}}}"));
        }
    }
    let len = schedule.slot(step.writes[0]).ty.len();
    let (text, params) = source.finish(source::ELEMENTWISE, [len as u32, 0, 0, 0], [0; 4]);
    let (label, form) = (step.label.clone(), "pooling".to_owned());
    Dispatch { label, form, text, bindings: bindings.bounds, params, workgroups: len.div_ceil(WORKGROUP) }
}

/// Bindings `in0 …` and `out0 …`, for kernels written by hand.
fn named_bindings(schedule: &Schedule, step: &Step, source: &mut Source) -> Vec<Bound> {
    let arena = |slot: SlotId| schedule.slot(slot).place.arena;
    let mut bounds = Vec::new();
    for (i, &slot) in step.reads.iter().enumerate() {
        let writable = step.writes.iter().any(|&write| arena(write) == arena(slot));
        source.binding(bounds.len(), &format!("in{i}"), Element::Scalar(schedule.slot(slot).ty.dtype), writable);
        bounds.push(Bound::whole(slot, writable));
    }
    for (i, &slot) in step.writes.iter().enumerate() {
        source.binding(bounds.len(), &format!("out{i}"), Element::Scalar(schedule.slot(slot).ty.dtype), true);
        bounds.push(Bound::whole(slot, true));
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
    let (label, form) = (step.label.clone(), "a shader of its own".to_owned());
    Dispatch { label, form, text, bindings, params, workgroups: shader.workgroups }
}

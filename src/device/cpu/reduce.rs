//! Reductions: an expression evaluated in blocks and folded, in an order that depends on the shapes alone.
//!
//! Axes are put in the order outer kept, reduced, inner kept, where the inner ones are those behind the last reduced
//! axis. Without inner axes every result folds a row of consecutive elements; with them, a panel of rows is folded into one
//! state a column, so memory is read in order either way. Long reductions are cut into pieces of fixed size, whose states
//! are merged in order: the same bits whatever the number of threads. The folds themselves are in [`super::fold`].

use rayon::prelude::*;

use super::elementwise;
use super::fold::{ArgMax, Columns, Fold, Max, Moments, Product, Rows, Sum, WrappingSum};
use super::memory::{Scratch, Slices, Source};
use super::program::{Evaluation, OperandInfo, Program};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Access, Accumulator, Expression, Reduce, Term};
use crate::shape::element_count;
use crate::vector::widest;

/// Elements of one task, or of one piece of a long reduction.
const GRAIN: usize = 1 << 15;
/// Elements of a panel at most.
const PANEL: usize = 1 << 12;
/// Columns and rows of a panel at most: short f32 sums, and states that stay in the first-level cache.
const WIDTH: usize = 1 << 10;
const HEIGHT: usize = 64;

/// A reduction.
#[derive(Debug)]
pub(super) struct Plan {
    program: Program,
    /// Evaluates the expression to memory first, where its value depends on the order of axes.
    staged: Option<elementwise::Plan>,
    accumulator: Accumulator,
    integer: bool,
    outer: usize,
    reduced: usize,
    inner: usize,
    /// Columns of a panel.
    width: usize,
    /// Elements of one result that one task folds.
    piece: usize,
}

impl Plan {
    /// Prepares `reduce`, with results of `results` words each.
    ///
    /// # Errors
    /// As [`Program::new`], and for element types that the accumulator does not take.
    pub fn new(reduce: &Reduce, operands: &[OperandInfo], results: &[usize]) -> Result<Self> {
        let Reduce { expression, shape, axes, accumulator } = reduce;
        let [result] = expression.results[..] else {
            return Err(Error::new(ErrorKind::Graph, "a reduction is of one expression"));
        };
        let dtype = expression.terms[result].dtype();
        if *accumulator != Accumulator::Sum && dtype.computed() != DType::F32 {
            return Err(Error::dtype("reduce", format_args!("{accumulator:?} takes f32, got {dtype}")));
        }
        if operands.iter().any(|operand| operand.in_place) {
            return Err(Error::new(ErrorKind::Graph, "a reduction cannot work in place"));
        }
        // An axis of one element is reduced by keeping it.
        let is_reduced = |axis: usize| shape[axis] != 1 && axes.contains(&axis);
        let split = (0..shape.len()).rfind(|&axis| is_reduced(axis)).map_or(0, |last| last + 1);
        let mut order: Vec<usize> = (0..split).filter(|&axis| !is_reduced(axis)).collect();
        let outer = order.iter().map(|&axis| shape[axis]).product();
        order.extend((0..split).filter(|&axis| is_reduced(axis)));
        let reduced = order.iter().map(|&axis| shape[axis]).product::<usize>().checked_div(outer).unwrap_or(0);
        order.extend(split..shape.len());
        let inner: usize = element_count(&shape[split..]);
        let count = outer * inner;
        let expected = if *accumulator == Accumulator::Moments { 2 } else { 1 };
        if results.len() != expected || results.iter().any(|&len| len < count) {
            return Err(Error::new(ErrorKind::Graph, format!("{count} results for slots of {results:?} elements")));
        }

        let width = inner.min(WIDTH);
        let height = if width == inner { (PANEL / width.max(1)).clamp(1, HEIGHT) } else { 1 };
        let block = if inner == 1 { WIDTH } else { width * height };
        // Rows and panels begin at multiples of this.
        let step = match inner {
            1 if reduced <= block => reduced.max(1),
            _ if inner > 1 && width == inner => inner,
            _ => 1,
        };
        let evaluation = Evaluation { block, step: Some(step) };
        let draws = expression.terms.iter().any(|term| matches!(term, Term::Random { .. }));
        let moved = order.iter().enumerate().any(|(position, &axis)| position != axis);
        let (staged, program) = if draws && moved {
            let size = element_count(shape);
            let staged = elementwise::Plan::new(expression, shape, operands, &[size])?;
            let load = Expression::load(0, Access::identity(shape), dtype);
            let (load, order) = reorder(&load, shape, &order);
            let program = Program::new(&load, &order, &[OperandInfo { len: size, in_place: false }], evaluation)?;
            (Some(staged), program)
        } else {
            let (expression, order) = reorder(expression, shape, &order);
            (None, Program::new(&expression, &order, operands, evaluation)?)
        };
        let piece = if inner == 1 { GRAIN } else { (GRAIN / width.max(1)).next_multiple_of(HEIGHT) };
        Ok(Plan {
            program,
            staged,
            accumulator: *accumulator,
            integer: !dtype.is_float(),
            outer,
            reduced,
            inner,
            width,
            piece,
        })
    }

    /// Runs the step.
    pub fn run(&self, slices: Slices<'_>) {
        let Slices { reads, mut writes } = slices;
        let Some(staged) = &self.staged else { return self.dispatch(&reads, &mut writes) };
        let mut memory = Scratch::take(self.outer * self.reduced * self.inner);
        staged.fill(&reads, vec![&mut memory]);
        self.dispatch(&[Source::Shared { words: &memory, base: 0 }], &mut writes);
    }

    fn dispatch(&self, sources: &[Source<'_>], writes: &mut [&mut [u32]]) {
        match self.accumulator {
            Accumulator::Sum if self.integer => self.fold::<WrappingSum>(sources, writes),
            Accumulator::Sum => self.fold::<Sum>(sources, writes),
            Accumulator::Product => self.fold::<Product>(sources, writes),
            Accumulator::Max => self.fold::<Max>(sources, writes),
            Accumulator::ArgMax => self.fold::<ArgMax>(sources, writes),
            Accumulator::Moments => self.fold::<Moments>(sources, writes),
        }
    }

    fn fold<F: Fold>(&self, sources: &[Source<'_>], writes: &mut [&mut [u32]]) {
        let results = self.outer * self.inner;
        if results == 0 {
            return;
        }
        let pieces = self.reduced.div_ceil(self.piece).max(1);
        let segments = self.inner.div_ceil(self.width);
        // One state a column of every task; those of one result are merged below.
        let mut states = vec![F::EMPTY; self.outer * pieces * segments * self.width];
        if self.inner == 1 && pieces == 1 {
            let rows = (GRAIN / self.reduced.max(1)).clamp(1, self.outer);
            self.each(sources, states.par_chunks_mut(rows), |plan, task, states, sources, scratch| {
                plan.rows::<F>(task * rows, states, sources, scratch);
            });
        } else {
            self.each(sources, states.par_chunks_mut(self.width), |plan, task, states, sources, scratch| {
                let (outer, piece, segment) = (task / segments / pieces, task / segments % pieces, task % segments);
                plan.piece::<F>([outer, piece, segment], states, sources, scratch);
            });
        }
        for result in 0..results {
            let (outer, inner) = (result / self.inner, result % self.inner);
            let (segment, column) = (inner / self.width, inner % self.width);
            let state = |piece: usize| states[((outer * pieces + piece) * segments + segment) * self.width + column];
            let words = F::finish((1..pieces).fold(state(0), |sum, piece| F::merge(sum, state(piece))));
            writes.iter_mut().zip(words).for_each(|(write, word)| write[result] = word);
        }
    }

    /// Runs tasks in parallel, each with its states and with scratch for the program.
    fn each<'s, S: Send + 's>(
        &self,
        sources: &[Source<'_>],
        tasks: impl IndexedParallelIterator<Item = &'s mut [S]>,
        run: impl Fn(&Self, usize, &mut [S], &[Source<'_>], &mut [u32]) + Sync,
    ) {
        let size = self.program.scratch();
        let scratch = || {
            let mut scratch = Scratch::take(size);
            self.program.begin(0, sources, &mut [], &mut scratch);
            scratch
        };
        let work = self.reduced * self.outer * self.inner / tasks.len().max(1) + 1;
        tasks.with_min_len((GRAIN / work).max(1)).enumerate().for_each_init(scratch, |scratch, (task, states)| {
            run(self, task, states, sources, scratch);
        });
    }

    /// Folds whole rows: the results from `first`.
    fn rows<F: Fold>(&self, first: usize, states: &mut [F::State], sources: &[Source<'_>], scratch: &mut [u32]) {
        let (program, length) = (&self.program, self.reduced);
        if length == 0 {
            return;
        }
        let together = (program.block() / length).max(1);
        for (group, states) in states.chunks_mut(together).enumerate() {
            let start = (first + group * together) * length;
            if length > program.block() {
                states[0] = self.long_row::<F>(start, 0..length, sources, scratch);
                continue;
            }
            let len = states.len() * length;
            let values = program.evaluate(start..start + len, sources, scratch);
            widest(Rows::<F> { states, values, position: 0 });
        }
    }

    /// Folds the elements `range` of the row that begins at position `start`.
    fn long_row<F: Fold>(
        &self,
        start: usize,
        range: std::ops::Range<usize>,
        sources: &[Source<'_>],
        scratch: &mut [u32],
    ) -> F::State {
        let mut state = F::EMPTY;
        for position in range.clone().step_by(self.program.block()) {
            let len = self.program.block().min(range.end - position);
            let first = start + position;
            let values = self.program.evaluate(first..first + len, sources, scratch);
            let mut of_block = [F::EMPTY];
            widest(Rows::<F> { states: &mut of_block, values, position });
            state = F::merge(state, of_block[0]);
        }
        state
    }

    /// Folds one piece of the reduced elements for one segment of the inner ones.
    fn piece<F: Fold>(
        &self,
        [outer, piece, segment]: [usize; 3],
        states: &mut [F::State],
        sources: &[Source<'_>],
        scratch: &mut [u32],
    ) {
        let range = piece * self.piece..((piece + 1) * self.piece).min(self.reduced);
        if self.inner == 1 {
            states[0] = self.long_row::<F>(outer * self.reduced, range, sources, scratch);
            return;
        }
        let first = segment * self.width;
        let width = self.width.min(self.inner - first);
        let height = if width == self.inner { (self.program.block() / width).clamp(1, HEIGHT) } else { 1 };
        for row in range.clone().step_by(height) {
            let start = (outer * self.reduced + row) * self.inner + first;
            let len = height.min(range.end - row) * width;
            let panel = self.program.evaluate(start..start + len, sources, scratch);
            widest(Columns::<F> { states: &mut states[..width], panel, position: row });
        }
    }
}

/// The expression over the axes in another `order`, and the extents in that order.
fn reorder(expression: &Expression, shape: &[usize], order: &[usize]) -> (Expression, Vec<usize>) {
    let mut expression = expression.clone();
    let place = |axis: usize| order.iter().position(|&other| other == axis).unwrap_or(axis);
    for term in &mut expression.terms {
        match term {
            Term::Load { access, .. } => {
                access.strides = order.iter().map(|&axis| access.strides[axis]).collect();
                access.bounds.iter_mut().for_each(|bound| bound.axis = place(bound.axis));
            }
            Term::Coordinate { axis } => *axis = place(*axis),
            _ => {}
        }
    }
    (expression, order.iter().map(|&axis| shape[axis]).collect())
}

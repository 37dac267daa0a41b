//! An [`Expression`] prepared for evaluation in blocks: terms become instructions over registers of one block each.
//!
//! A load in order borrows the operand and costs nothing; what is the same everywhere (constants, scalars and functions
//! of them) is computed once a task, in [`Program::begin`]; everything else is computed by [`Program::evaluate`], a block
//! at a time, so that intermediate results stay in the first-level cache. Registers are reused after their last reader.
//! How a block is loaded, filled or drawn is in [`super::load`]. Accesses are checked against the operands' sizes here,
//! once, so that a run has nothing left to refuse.

use super::load::{RANK, Walk, coordinates, random};
use super::memory::Source;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Access, Expression, Term, TermId};
use crate::shape::element_count;

/// The most arguments a function may have.
const ARGUMENTS: usize = 8;

/// What is known of an operand when a program is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct OperandInfo {
    /// Its number of elements.
    pub len: usize,
    /// Whether it is overwritten by a result at equal indices.
    pub in_place: bool,
}

/// Where the value of a term is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Register(usize),
    /// In the operand, at the positions of the block.
    Operand(usize),
}

#[derive(Debug)]
struct Instruction {
    register: usize,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Fill(u32),
    Scalar { operand: usize, element: usize },
    Gather { operand: usize, walk: Walk, otherwise: Option<Place> },
    Coordinate { extent: usize, stride: usize },
    Random { key: usize, step: usize, stream: u32 },
    Apply { block: fn(DType, &[&[u32]], &mut [u32]), dtype: DType, arguments: Vec<Place> },
}

/// The operands of one task.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a, 'b> {
    /// Operand `i` of the expression.
    pub sources: &'a [Source<'b>],
    /// The task's part of the results, for operands in place.
    pub writes: &'a [&'b mut [u32]],
    /// The first element of that part.
    pub base: usize,
}

impl<'a> Inputs<'a, '_> {
    /// The words of an operand, and the element that the first one is.
    fn words(&self, operand: usize) -> (&'a [u32], usize) {
        match self.sources[operand] {
            Source::Shared { words, base } => (words, base),
            Source::InPlace(write) => (&self.writes[write], self.base),
        }
    }
}

/// An expression over an iteration space, ready to be evaluated at ranges of its row-major positions.
#[derive(Debug)]
pub(super) struct Program {
    block: usize,
    registers: usize,
    uniform: Vec<Instruction>,
    instructions: Vec<Instruction>,
    results: Vec<Place>,
    cost: usize,
}

impl Program {
    /// Prepares `expression` over `shape` for blocks of at most `block` elements.
    ///
    /// # Errors
    /// When an operand is missing, too small or read elsewhere than where it is overwritten.
    pub fn new(expression: &Expression, shape: &[usize], operands: &[OperandInfo], block: usize) -> Result<Self> {
        let mut expression = expression.clone();
        let mut shape = expression.collapse(shape);
        if shape.is_empty() {
            // A space without axes is one of a single element.
            shape.push(1);
            for term in &mut expression.terms {
                if let Term::Load { access, .. } = term {
                    access.strides.push(0);
                }
            }
        }
        if shape.len() > RANK {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{} axes, the CPU device takes {RANK}", shape.len()),
            ));
        }
        let count = element_count(&shape);
        let program = Program {
            block: block.min(count.max(1)),
            registers: 0,
            uniform: vec![],
            instructions: vec![],
            results: vec![],
            cost: expression.cost(),
        };
        if count == 0 {
            return Ok(program);
        }
        let dtypes = expression.terms.iter().map(Term::dtype).collect();
        let compiler = Compiler { operands, shape, places: vec![], uniform: vec![], dtypes, free: vec![], program };
        compiler.compile(&expression)
    }

    /// The words of scratch that evaluation needs.
    pub fn scratch(&self) -> usize {
        self.registers * self.block
    }

    /// The largest number of elements evaluated at once.
    pub fn block(&self) -> usize {
        self.block
    }

    /// Function applications an element.
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// Computes what is the same everywhere; once for every scratch, before [`Program::evaluate`].
    pub fn begin(&self, inputs: Inputs<'_, '_>, scratch: &mut [u32]) {
        self.execute(&self.uniform, 0, self.block, inputs, scratch);
    }

    /// Evaluates the `len` elements from `start`; their values are then in [`Program::result`].
    pub fn evaluate(&self, start: usize, len: usize, inputs: Inputs<'_, '_>, scratch: &mut [u32]) {
        self.execute(&self.instructions, start, len, inputs, scratch);
    }

    /// Result `i` of the block evaluated last.
    pub fn result<'s>(
        &self,
        i: usize,
        start: usize,
        len: usize,
        sources: &[Source<'s>],
        scratch: &'s [u32],
    ) -> &'s [u32] {
        match self.results[i] {
            Place::Register(register) => &scratch[register * self.block..][..len],
            Place::Operand(operand) => match sources[operand] {
                Source::Shared { words, base } => &words[start - base..][..len],
                Source::InPlace(_) => unreachable!("the compiler copies results that are operands in place"),
            },
        }
    }

    /// Evaluates the elements from `start` into `writes`, which are the results' words from there on.
    pub fn fill(&self, start: usize, sources: &[Source<'_>], writes: &mut [&mut [u32]], scratch: &mut [u32]) {
        let count = writes.first().map_or(0, |write| write.len());
        let mut done = 0;
        while done < count {
            let len = self.block.min(count - done);
            self.evaluate(start + done, len, Inputs { sources, writes, base: start }, scratch);
            for (i, write) in writes.iter_mut().enumerate() {
                write[done..done + len].copy_from_slice(self.result(i, start + done, len, sources, scratch));
            }
            done += len;
        }
    }

    fn value<'s>(
        &self,
        place: Place,
        start: usize,
        len: usize,
        inputs: Inputs<'s, '_>,
        registers: Registers<'s>,
    ) -> &'s [u32] {
        match place {
            Place::Register(register) => &registers.get(register, self.block)[..len],
            Place::Operand(operand) => {
                let (words, base) = inputs.words(operand);
                &words[start - base..start - base + len]
            }
        }
    }

    fn execute(
        &self,
        instructions: &[Instruction],
        start: usize,
        len: usize,
        inputs: Inputs<'_, '_>,
        scratch: &mut [u32],
    ) {
        for Instruction { register, action } in instructions {
            let (low, rest) = scratch.split_at_mut(register * self.block);
            let (out, high) = rest.split_at_mut(self.block);
            let (out, registers) = (&mut out[..len], Registers { low, high, hole: *register });
            match action {
                Action::Fill(word) => out.fill(*word),
                Action::Scalar { operand, element } => {
                    let (words, base) = inputs.words(*operand);
                    out.fill(words[element - base]);
                }
                Action::Gather { operand, walk, otherwise } => {
                    let otherwise = otherwise.map(|place| self.value(place, start, len, inputs, registers));
                    walk.gather(start, inputs.words(*operand), otherwise, out);
                }
                Action::Coordinate { extent, stride } => coordinates(start, *extent, *stride, out),
                Action::Random { key, step, stream } => {
                    let (key, step) = (inputs.words(*key).0, inputs.words(*step).0);
                    random(start, [key[0], key[1]], step[0], *stream, out);
                }
                Action::Apply { block, dtype, arguments } => {
                    let mut values: [&[u32]; ARGUMENTS] = [&[]; ARGUMENTS];
                    for (value, place) in values.iter_mut().zip(arguments) {
                        *value = self.value(*place, start, len, inputs, registers);
                    }
                    block(*dtype, &values[..arguments.len()], out);
                }
            }
        }
    }
}

/// All registers but the one being written.
#[derive(Clone, Copy)]
struct Registers<'s> {
    low: &'s [u32],
    high: &'s [u32],
    hole: usize,
}

impl<'s> Registers<'s> {
    fn get(self, register: usize, block: usize) -> &'s [u32] {
        if register < self.hole {
            &self.low[register * block..(register + 1) * block]
        } else {
            let after = register - self.hole - 1;
            &self.high[after * block..(after + 1) * block]
        }
    }
}

struct Compiler<'a> {
    operands: &'a [OperandInfo],
    shape: Vec<usize>,
    /// Where each term's value is.
    places: Vec<Place>,
    /// Whether each term has the same value everywhere.
    uniform: Vec<bool>,
    dtypes: Vec<DType>,
    free: Vec<usize>,
    program: Program,
}

impl Compiler<'_> {
    fn compile(mut self, expression: &Expression) -> Result<Program> {
        let mut last_use: Vec<TermId> = (0..expression.terms.len()).collect();
        for (id, term) in expression.terms.iter().enumerate() {
            inputs_of(term).for_each(|input| last_use[input] = id);
        }
        expression.results.iter().for_each(|&result| last_use[result] = usize::MAX);
        for (id, term) in expression.terms.iter().enumerate() {
            self.term(term, expression.results.contains(&id))?;
            for ended in inputs_of(term).chain([id]).filter(|&input| last_use[input] == id) {
                if let (Place::Register(register), false) = (self.places[ended], self.uniform[ended]) {
                    if !self.free.contains(&register) {
                        self.free.push(register);
                    }
                }
            }
        }
        self.program.results = expression.results.iter().map(|&result| self.places[result]).collect();
        Ok(self.program)
    }

    fn term(&mut self, term: &Term, is_result: bool) -> Result<()> {
        let (action, uniform) = match term {
            Term::Scalar { value, dtype } => (Action::Fill(word(*value, *dtype)?), true),
            Term::Coordinate { axis } => {
                let stride = element_count(&self.shape[axis + 1..]);
                (Action::Coordinate { extent: self.shape[*axis], stride }, false)
            }
            Term::Random { key, step, stream } => {
                self.operand(*key, 1)?;
                self.operand(*step, 0)?;
                (Action::Random { key: *key, step: *step, stream: *stream }, false)
            }
            Term::Apply { function, arguments, dtype } => {
                if arguments.len() > ARGUMENTS {
                    let what =
                        format!("{} takes {} arguments, the limit is {ARGUMENTS}", function.name, arguments.len());
                    return Err(Error::new(ErrorKind::Unsupported, what));
                }
                let dtype = arguments.last().map_or(*dtype, |&last| self.dtypes[last]);
                let uniform = arguments.iter().all(|&argument| self.uniform[argument]);
                let arguments = arguments.iter().map(|&argument| self.places[argument]).collect();
                (Action::Apply { block: function.block, dtype, arguments }, uniform)
            }
            Term::Load { operand, access, otherwise, .. } => {
                match self.load(*operand, access, *otherwise, is_result)? {
                    Some(load) => load,
                    None => {
                        self.places.push(Place::Operand(*operand));
                        self.uniform.push(false);
                        return Ok(());
                    }
                }
            }
        };
        let reused = if uniform { None } else { self.free.pop() };
        let register = reused.unwrap_or_else(|| {
            self.program.registers += 1;
            self.program.registers - 1
        });
        let instructions = if uniform { &mut self.program.uniform } else { &mut self.program.instructions };
        instructions.push(Instruction { register, action });
        self.places.push(Place::Register(register));
        self.uniform.push(uniform);
        Ok(())
    }

    /// How a load is done and whether its value is the same everywhere; `None` if the operand is read where it is.
    fn load(
        &self,
        operand: usize,
        access: &Access,
        otherwise: Option<TermId>,
        is_result: bool,
    ) -> Result<Option<(Action, bool)>> {
        let shape = &self.shape;
        if !access.bounds.is_empty() && otherwise.is_none() {
            return Err(Error::new(
                ErrorKind::Graph,
                format!("a load of operand {operand} has bounds and no otherwise"),
            ));
        }
        let walk = Walk::new(access, shape);
        let (first, last) = walk.extremes().unwrap_or((0, 0));
        let unread = walk.extremes().is_none();
        if first < 0 {
            return Err(Error::new(ErrorKind::Graph, format!("a load reads element {first} of operand {operand}")));
        }
        let info = if unread { self.info(operand)? } else { self.operand(operand, last as usize)? };
        let dense = Access { bounds: Vec::new(), ..access.clone() }.is_identity(shape);
        if info.in_place && !dense {
            return Err(Error::new(
                ErrorKind::Graph,
                format!("operand {operand} is overwritten in place, and read at other indices by {access:?}"),
            ));
        }
        if dense && access.bounds.is_empty() && !(is_result && info.in_place) {
            return Ok(None);
        }
        if access.is_scalar() && !info.in_place {
            return Ok(Some((Action::Scalar { operand, element: first as usize }, true)));
        }
        let otherwise = otherwise.map(|term| self.places[term]);
        Ok(Some((Action::Gather { operand, walk, otherwise }, false)))
    }

    fn info(&self, operand: usize) -> Result<OperandInfo> {
        let missing =
            || Error::new(ErrorKind::Graph, format!("no operand {operand}, there are {}", self.operands.len()));
        self.operands.get(operand).copied().ok_or_else(missing)
    }

    /// Operand `operand`, which must have an element `last`.
    fn operand(&self, operand: usize, last: usize) -> Result<OperandInfo> {
        let info = self.info(operand)?;
        if last < info.len {
            return Ok(info);
        }
        Err(Error::new(
            ErrorKind::Graph,
            format!("element {last} of operand {operand}, which has {} elements", info.len),
        ))
    }
}

fn inputs_of(term: &Term) -> impl Iterator<Item = TermId> + '_ {
    let (arguments, otherwise) = match term {
        Term::Apply { arguments, .. } => (arguments.as_slice(), None),
        Term::Load { otherwise, .. } => (&[][..], *otherwise),
        _ => (&[][..], None),
    };
    arguments.iter().copied().chain(otherwise)
}

fn word(value: f64, dtype: DType) -> Result<u32> {
    match dtype {
        DType::F32 => Ok((value as f32).to_bits()),
        DType::U32 => Ok(value as u32),
        DType::I32 => Ok(value as i32 as u32),
        other => Err(Error::dtype("cpu", format_args!("{other} is not stored in 32-bit words"))),
    }
}

//! From the terms of an expression to the instructions of a [`Program`]: registers, and checks of every access.
//!
//! A term in order is no instruction at all; one that is the same in every block goes to the instructions that run once a
//! task and keeps its register; any other gives its register back after its last reader.

use super::load::Walk;
use super::program::{ARGUMENTS, Action, Instruction, OperandInfo, Place, Program};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Access, Expression, Term, TermId};
use crate::shape::element_count;

/// The state of a translation.
pub(super) struct Compiler<'a> {
    operands: &'a [OperandInfo],
    shape: Vec<usize>,
    /// Where each term's value is.
    places: Vec<Place>,
    /// [`Evaluation::step`](super::program::Evaluation).
    step: Option<usize>,
    /// Whether results are computed where they are stored: no operand is there.
    direct: bool,
    /// Whether each term has the same values in every block.
    uniform: Vec<bool>,
    dtypes: Vec<DType>,
    free: Vec<usize>,
    program: Program,
}

impl<'a> Compiler<'a> {
    /// A translation that completes `program`, which is over `shape` and evaluated at multiples of `step`.
    pub fn new(operands: &'a [OperandInfo], shape: Vec<usize>, step: Option<usize>, program: Program) -> Self {
        let direct = step.is_none() && !operands.iter().any(|operand| operand.in_place);
        let (places, uniform, dtypes, free) = (vec![], vec![], vec![], vec![]);
        Compiler { operands, shape, step, direct, places, uniform, dtypes, free, program }
    }

    /// Translates all terms.
    ///
    /// # Errors
    /// As [`Program::new`].
    pub fn compile(mut self, expression: &Expression) -> Result<Program> {
        self.dtypes = expression.terms.iter().map(Term::dtype).collect();
        let mut last_use: Vec<TermId> = (0..expression.terms.len()).collect();
        for (id, term) in expression.terms.iter().enumerate() {
            inputs_of(term).for_each(|input| last_use[input] = id);
        }
        expression.results.iter().for_each(|&result| last_use[result] = usize::MAX);
        for (id, term) in expression.terms.iter().enumerate() {
            self.term(term, expression.results.iter().position(|&result| result == id))?;
            for ended in inputs_of(term).chain([id]).filter(|&input| last_use[input] == id) {
                if let Place::Register(register) = self.places[ended]
                    && !self.uniform[ended]
                    && !self.free.contains(&register)
                {
                    self.free.push(register);
                }
            }
        }
        self.program.results = expression.results.iter().map(|&result| self.places[result]).collect();
        Ok(self.program)
    }

    fn term(&mut self, term: &Term, result: Option<usize>) -> Result<()> {
        let (action, uniform) = match term {
            Term::Scalar { value, dtype } => (Action::Fill(word(*value, *dtype)?), true),
            Term::Coordinate { axis } => {
                let stride = element_count(&self.shape[axis + 1..]);
                (Action::Coordinate { extent: self.shape[*axis], stride }, false)
            }
            Term::Random { key, step, stream } => {
                if self.operand(*key, 1)?.in_place || self.operand(*step, 0)?.in_place {
                    return Err(Error::new(ErrorKind::Graph, "the key of random bits is overwritten in place"));
                }
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
                match self.load(*operand, access, *otherwise, result.is_some())? {
                    Some(load) => load,
                    None => {
                        if !self.program.streams.contains(operand) {
                            self.program.streams.push(*operand);
                        }
                        self.places.push(Place::Operand(*operand));
                        self.uniform.push(false);
                        return Ok(());
                    }
                }
            }
        };
        let target = match result {
            Some(result) if self.direct && !uniform => Place::Result(result),
            _ => {
                let reused = if uniform { None } else { self.free.pop() };
                Place::Register(reused.unwrap_or_else(|| {
                    self.program.registers += 1;
                    self.program.registers - 1
                }))
            }
        };
        let instructions = if uniform { &mut self.program.uniform } else { &mut self.program.instructions };
        instructions.push(Instruction { target, action });
        self.places.push(target);
        self.uniform.push(uniform);
        Ok(())
    }

    /// How a load is done and whether its values are the same in every block; `None` if the operand is read where it is.
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
        let uniform = !info.in_place && walk.is_alike(self.program.block(), self.step.unwrap_or(self.program.block()));
        Ok(Some((Action::Gather { operand, walk, otherwise }, uniform)))
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
        DType::F32 | DType::F16 => Ok((value as f32).to_bits()),
        DType::U32 => Ok(value as u32),
        DType::I32 => Ok(value as i32 as u32),
        other => Err(Error::dtype("cpu", format_args!("{other} is not stored in 32-bit words"))),
    }
}

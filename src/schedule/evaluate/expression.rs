//! Expressions at one element: every term in order, as a [`Number`].

use super::Stored;
use super::number::{ARGUMENTS, Arithmetic, Number, apply};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Access, Expression, Term, TermId};
use crate::ops::elementwise::{Row, row_named};
use crate::random::philox;
use crate::shape::element_count;

/// An expression over an iteration space and operands.
pub(super) struct Evaluator<'a> {
    terms: Vec<Prepared<'a>>,
    results: &'a [TermId],
    shape: &'a [usize],
    /// The element at each term's place; overwritten at each element.
    numbers: Vec<Number>,
    coordinates: Vec<usize>,
}

enum Prepared<'a> {
    /// Operand 0 of an epilogue.
    Product,
    Load {
        operand: &'a Stored<'a>,
        access: &'a Access,
        otherwise: Option<TermId>,
    },
    Constant(Number),
    Coordinate(usize),
    Random {
        key: [u32; 2],
        step: u32,
        stream: u32,
    },
    Apply {
        row: &'static Row,
        dtype: DType,
        arithmetic: Option<Arithmetic>,
        arguments: &'a [TermId],
    },
}

impl<'a> Evaluator<'a> {
    /// Prepares `expression` over `shape`. With `is_epilogue`, operand 0 is given at each element and operand `i` is
    /// `operands[i]` all the same: the first of `operands` is not looked at.
    ///
    /// # Errors
    /// When an operand is missing, a function is unknown, or a load has bounds and nothing outside of them.
    pub fn new(
        expression: &'a Expression,
        shape: &'a [usize],
        operands: &'a [Stored<'a>],
        is_epilogue: bool,
    ) -> Result<Self> {
        let operand = |operand: usize| {
            let missing = || malformed(format!("no operand {operand}, there are {}", operands.len()));
            operands.get(operand).ok_or_else(missing)
        };
        let prepare = |term: &'a Term| {
            Ok(match term {
                Term::Load { operand: 0, .. } if is_epilogue => Prepared::Product,
                Term::Load { operand: index, access, otherwise, .. } => {
                    if !access.bounds.is_empty() && otherwise.is_none() {
                        return Err(malformed(format!("a load of operand {index} has bounds and no otherwise")));
                    }
                    Prepared::Load { operand: operand(*index)?, access, otherwise: *otherwise }
                }
                Term::Scalar { value, dtype } => Prepared::Constant(match dtype {
                    DType::U32 => Number::exact(f64::from(*value as u32)),
                    DType::I32 => Number::exact(f64::from(*value as i32)),
                    _ => Number::stored(f64::from(*value as f32), DType::F32),
                }),
                Term::Coordinate { axis } => Prepared::Coordinate(*axis),
                Term::Random { key, step, stream } => {
                    let (key, step) = (operand(*key)?, operand(*step)?);
                    Prepared::Random { key: [key.word(0)?, key.word(1)?], step: step.word(0)?, stream: *stream }
                }
                Term::Apply { function, arguments, dtype } => {
                    if arguments.len() > ARGUMENTS {
                        return Err(malformed(format!("{} takes {} arguments", function.name, arguments.len())));
                    }
                    let dtype = arguments.last().map_or(*dtype, |&last| expression.terms[last].dtype()).computed();
                    let row = row_named(function.name)?;
                    Prepared::Apply { row, dtype, arithmetic: Arithmetic::of(row, dtype), arguments }
                }
            })
        };
        Ok(Evaluator {
            terms: expression.terms.iter().map(prepare).collect::<Result<_>>()?,
            results: &expression.results,
            shape,
            numbers: Vec::with_capacity(expression.terms.len()),
            coordinates: vec![0; shape.len()],
        })
    }

    /// Evaluates the element at row-major index `flat`.
    ///
    /// # Errors
    /// When it reads outside of an operand.
    pub fn at(&mut self, flat: usize, product: Option<Number>) -> Result<()> {
        let mut rest = flat;
        for (coordinate, &extent) in self.coordinates.iter_mut().zip(self.shape).rev() {
            (*coordinate, rest) = (rest % extent, rest / extent);
        }
        self.numbers.clear();
        for term in &self.terms {
            let number = match term {
                Prepared::Product => product.ok_or_else(|| malformed("an epilogue without a product".to_owned()))?,
                Prepared::Load { operand, access, otherwise } => match (access.element(&self.coordinates), otherwise) {
                    (Some(element), _) => operand.get(element)?,
                    (None, Some(otherwise)) => self.numbers[*otherwise],
                    (None, None) => return Err(malformed("a load outside of its bounds".to_owned())),
                },
                Prepared::Constant(number) => *number,
                Prepared::Coordinate(axis) => Number::exact(self.coordinates[*axis] as f64),
                Prepared::Random { key, step, stream } => {
                    let words = philox([(flat / 4) as u32, *step, *stream, 0], *key);
                    Number::exact(f64::from(words[flat % 4]))
                }
                Prepared::Apply { row, dtype, arithmetic, arguments } => {
                    if let (Some(arithmetic), &[a, b]) = (arithmetic, *arguments)
                        && let Some(number) = arithmetic.apply(self.numbers[a], self.numbers[b])
                    {
                        self.numbers.push(number);
                        continue;
                    }
                    let mut values = [Number::exact(0.0); ARGUMENTS];
                    values.iter_mut().zip(*arguments).for_each(|(value, &term)| *value = self.numbers[term]);
                    apply(row, *dtype, &values[..arguments.len()])
                }
            };
            self.numbers.push(number);
        }
        Ok(())
    }

    /// The results at the element that was evaluated.
    pub fn results(&self) -> impl Iterator<Item = Number> + '_ {
        self.results.iter().map(|&term| self.numbers[term])
    }
}

/// What the evaluation of `expression` over `shape` takes, in elements read and functions applied; the shape does not
/// matter but for being empty.
pub(super) fn cost(expression: &Expression, shape: &[usize]) -> usize {
    if element_count(shape) == 0 { 1 } else { expression.terms.len() + 6 * expression.cost() }
}

fn malformed(what: String) -> Error {
    Error::new(ErrorKind::Graph, what)
}

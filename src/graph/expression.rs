//! Elementwise work as data: what one element of the output is, in terms of elements of the operands.
//!
//! An [`Expression`] is a list of [`Term`]s in evaluation order over an iteration space (a shape). A load reads an operand
//! through an [`Access`], an affine map from the coordinates of the iteration space to an element; so permuting, slicing,
//! broadcasting and padding are loads, and fusing them into a consumer is composing maps. Devices turn an expression into
//! WGSL or into loops; neither knows which operation it came from.

use std::fmt;

use crate::dtype::DType;

/// The place of a term in its expression.
pub type TermId = usize;

/// How a function is written in WGSL.
#[derive(Clone, Copy, Debug)]
pub enum Wgsl {
    /// Between its two arguments: `+`.
    Infix(&'static str),
    /// A built-in: `min`, or a conversion: `f32`.
    Builtin(&'static str),
    /// The text of a function of the same name as the [`Function`].
    Source(&'static str),
}

/// A scalar function that devices can evaluate: a row of the table in [`crate::ops::elementwise`].
pub struct Function {
    /// Unique name; also the WGSL function's name where there is source text.
    pub name: &'static str,
    /// The GPU's form.
    pub wgsl: Wgsl,
    /// The CPU device's form: applies the function to blocks of words of equal length. Floats are passed by their bits;
    /// the type is that of the last argument.
    pub block: fn(DType, &[&[u32]], &mut [u32]),
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// A condition on one coordinate: `begin <= coordinate < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    /// The axis of the iteration space.
    pub axis: usize,
    /// First coordinate inside.
    pub begin: usize,
    /// First coordinate outside again.
    pub end: usize,
}

/// An affine map from coordinates of the iteration space to an element of an operand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// The element at the origin (may be negative where bounds keep it from being read).
    pub offset: isize,
    /// Elements a step on each axis of the iteration space; 0 broadcasts.
    pub strides: Vec<isize>,
    /// Where the operand is read; elsewhere the load gives its `otherwise` term.
    pub bounds: Vec<Bound>,
}

impl Access {
    /// The map that reads a dense operand of the iteration space's own `shape`.
    pub fn identity(shape: &[usize]) -> Self {
        let strides = crate::shape::strides(shape).into_iter().map(|s| s as isize).collect();
        Access { offset: 0, strides, bounds: Vec::new() }
    }

    /// The map that broadcasts a dense operand of shape `from` to the iteration space `to`, aligned at the last axis.
    pub fn broadcast(from: &[usize], to: &[usize]) -> Self {
        let lead = to.len() - from.len();
        let mut strides = vec![0; to.len()];
        for (axis, stride) in crate::shape::strides(from).into_iter().enumerate() {
            if from[axis] != 1 {
                strides[lead + axis] = stride as isize;
            }
        }
        Access { offset: 0, strides, bounds: Vec::new() }
    }

    /// Whether it reads a dense operand of `shape` in order. Strides of axes of extent 1 do not matter.
    pub fn is_identity(&self, shape: &[usize]) -> bool {
        let dense = crate::shape::strides(shape);
        self.offset == 0
            && self.bounds.is_empty()
            && (0..shape.len()).all(|axis| shape[axis] <= 1 || self.strides[axis] == dense[axis] as isize)
    }

    /// Whether it reads one element everywhere.
    pub fn is_scalar(&self) -> bool {
        self.bounds.is_empty() && self.strides.iter().all(|&s| s == 0)
    }

    /// How coordinates of an operand of shape `from` follow from those of the iteration space `to`: for each axis of the
    /// operand its start and its steps an axis of the iteration space. `None` if the map is not of that form.
    ///
    /// The strides alone say it for views made by slicing, permuting and broadcasting: each axis of the iteration space
    /// walks one axis of the operand.
    pub fn coordinates(&self, from: &[usize], to: &[usize]) -> Option<AxisSteps> {
        if self.offset < 0 || from.contains(&0) || to.contains(&0) {
            return None;
        }
        let dense = crate::shape::strides(from);
        let start = crate::shape::unravel(self.offset as usize, from);
        if self.offset as usize >= from.iter().product() {
            return None;
        }
        let mut steps = vec![vec![0; to.len()]; from.len()];
        let mut last = start.clone();
        for (axis, &extent) in to.iter().enumerate() {
            let stride = self.strides[axis];
            if extent == 1 || stride == 0 {
                continue;
            }
            let walked = (0..from.len()).find(|&inner| {
                let whole = dense[inner] as isize;
                from[inner] > 1
                    && stride > 0
                    && stride % whole == 0
                    && last[inner] + (stride / whole) as usize * (extent - 1) < from[inner]
            })?;
            let step = stride as usize / dense[walked];
            steps[walked][axis] = step;
            last[walked] += step * (extent - 1);
        }
        Some(AxisSteps { start, steps, rank: to.len() })
    }

    /// This access, of an operand over the coordinates that `steps` gives, as an access over the outer iteration space.
    #[must_use]
    pub fn compose(&self, steps: &AxisSteps) -> Access {
        let mut composed = Access { offset: self.offset, strides: vec![0; steps.rank], bounds: Vec::new() };
        for (axis, &stride) in self.strides.iter().enumerate() {
            composed.offset += steps.start[axis] as isize * stride;
            for (to, &step) in steps.steps[axis].iter().enumerate() {
                composed.strides[to] += step as isize * stride;
            }
        }
        composed
    }

    /// The element read at `coordinates`, or `None` outside the bounds.
    pub fn element(&self, coordinates: &[usize]) -> Option<usize> {
        let inside = self.bounds.iter().all(|b| (b.begin..b.end).contains(&coordinates[b.axis]));
        let element =
            coordinates.iter().zip(&self.strides).fold(self.offset, |sum, (&c, &stride)| sum + c as isize * stride);
        inside.then_some(element as usize)
    }
}

/// Coordinates of an operand as affine functions of the coordinates of an iteration space.
#[derive(Clone, Debug)]
pub struct AxisSteps {
    /// The coordinate at the origin, an axis of the operand.
    start: Vec<usize>,
    /// For each axis of the operand, the step on each axis of the iteration space.
    steps: Vec<Vec<usize>>,
    /// Axes of the iteration space.
    rank: usize,
}

/// One step of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// An element of operand `operand`.
    Load {
        /// Index into the operands of the work that owns the expression.
        operand: usize,
        /// Which element.
        access: Access,
        /// The value outside the access's bounds; must be given when there are bounds.
        otherwise: Option<TermId>,
        /// The operand's element type.
        dtype: DType,
    },
    /// A constant. Devices keep it out of the program text, so that works which differ in a constant share a pipeline.
    Scalar {
        /// The value.
        value: f64,
        /// Its type.
        dtype: DType,
    },
    /// The coordinate on one axis of the iteration space, `u32`.
    Coordinate {
        /// The axis.
        axis: usize,
    },
    /// 32 random bits for this element: word `i % 4` of Philox4x32-10 at counter `(i / 4, step, stream, 0)`, for the
    /// row-major element index `i`.
    Random {
        /// Operand that holds the key, `u32[2]`.
        key: usize,
        /// Operand that holds the step counter, `u32[]`.
        step: usize,
        /// Tells two uses in one step apart.
        stream: u32,
    },
    /// A function of earlier terms.
    Apply {
        /// What to apply.
        function: &'static Function,
        /// To what.
        arguments: Vec<TermId>,
        /// The type of the result.
        dtype: DType,
    },
}

impl Term {
    /// The element type of the term's value.
    pub fn dtype(&self) -> DType {
        match self {
            Term::Load { dtype, .. } | Term::Scalar { dtype, .. } | Term::Apply { dtype, .. } => *dtype,
            Term::Coordinate { .. } | Term::Random { .. } => DType::U32,
        }
    }
}

/// Terms in evaluation order, and which of them are the results.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expression {
    /// Every term reads only earlier ones.
    pub terms: Vec<Term>,
    /// One term a result.
    pub results: Vec<TermId>,
}

impl Expression {
    /// Adds a term, or finds the equal one.
    pub fn push(&mut self, term: Term) -> TermId {
        if let Some(known) = self.terms.iter().position(|t| *t == term) {
            return known;
        }
        self.terms.push(term);
        self.terms.len() - 1
    }

    /// The expression that is one load.
    pub fn load(operand: usize, access: Access, dtype: DType) -> Self {
        let mut expression = Expression::default();
        let term = expression.push(Term::Load { operand, access, otherwise: None, dtype });
        expression.results.push(term);
        expression
    }

    /// The distinct operands, in order of first use. (While the scheduler fuses, operands are slot numbers.)
    pub fn operands(&self) -> Vec<usize> {
        let mut operands = Vec::new();
        let mut add = |operand: usize| {
            if !operands.contains(&operand) {
                operands.push(operand);
            }
        };
        for term in &self.terms {
            match term {
                Term::Load { operand, .. } => add(*operand),
                Term::Random { key, step, .. } => {
                    add(*key);
                    add(*step);
                }
                _ => {}
            }
        }
        operands
    }

    /// Whether every element is the same, so that the shape does not matter.
    pub fn is_uniform(&self) -> bool {
        !self.is_positional()
            && self.terms.iter().all(|t| if let Term::Load { access, .. } = t { access.is_scalar() } else { true })
    }

    /// A uniform expression over an iteration space of `rank` axes.
    pub fn set_rank(&mut self, rank: usize) {
        for term in &mut self.terms {
            if let Term::Load { access, .. } = term {
                access.strides = vec![0; rank];
            }
        }
    }

    /// The number of function applications: 0 for a view of its operands.
    pub fn cost(&self) -> usize {
        self.terms.iter().filter(|t| matches!(t, Term::Apply { .. } | Term::Random { .. })).count()
    }

    /// Whether the value depends on where it is computed, so that it must not be moved to another iteration space.
    pub fn is_positional(&self) -> bool {
        self.terms.iter().any(|t| matches!(t, Term::Coordinate { .. } | Term::Random { .. }))
    }

    /// The highest operand index used, plus one.
    pub fn operand_count(&self) -> usize {
        let last = |term: &Term| match term {
            Term::Load { operand, .. } => operand + 1,
            Term::Random { key, step, .. } => key.max(step) + 1,
            _ => 0,
        };
        self.terms.iter().map(last).max().unwrap_or(0)
    }

    /// The same work over fewer axes: neighbours that every access walks alike become one, axes of extent 1 go.
    ///
    /// Gives the new iteration space. The leading axis stays leading, so what depends on it stays out of the text.
    pub fn collapse(&mut self, shape: &[usize]) -> Vec<usize> {
        let axes: Vec<(usize, ())> = shape.iter().map(|&extent| (extent, ())).collect();
        self.collapse_alike(axes).into_iter().map(|(extent, ())| extent).collect()
    }

    /// As [`Expression::collapse`], over axes of several kinds: only neighbours of one kind become one. Gives the extent and
    /// kind of each axis of the new iteration space.
    pub fn collapse_alike<K: PartialEq>(&mut self, mut axes: Vec<(usize, K)>) -> Vec<(usize, K)> {
        if self.is_positional_by_axis() {
            return axes;
        }
        let mut accesses: Vec<&mut Access> = self
            .terms
            .iter_mut()
            .filter_map(|t| if let Term::Load { access, .. } = t { Some(access) } else { None })
            .collect();
        let mut axis = 0;
        while axis < axes.len() {
            let extent = axes[axis].0;
            let bounded = |a: &Access, axis: usize| a.bounds.iter().any(|b| b.axis == axis);
            let removable = extent == 1 && !accesses.iter().any(|a| bounded(a, axis));
            let mergeable = axis > 0
                && axes[axis - 1].1 == axes[axis].1
                && accesses.iter().all(|a| {
                    !bounded(a, axis)
                        && !bounded(a, axis - 1)
                        && a.strides[axis - 1] == a.strides[axis] * extent as isize
                });
            if !removable && !mergeable {
                axis += 1;
                continue;
            }
            let keep = axis > 0 && !removable;
            if keep {
                axes[axis - 1].0 *= extent;
            }
            for access in &mut accesses {
                if keep {
                    access.strides[axis - 1] = access.strides[axis];
                }
                access.strides.remove(axis);
                access.bounds.iter_mut().filter(|b| b.axis > axis).for_each(|b| b.axis -= 1);
            }
            axes.remove(axis);
        }
        axes
    }

    fn is_positional_by_axis(&self) -> bool {
        self.terms.iter().any(|t| matches!(t, Term::Coordinate { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collapse_merges_what_all_accesses_walk_alike() {
        let shape = [2, 3, 1, 4];
        let mut expression = Expression::load(0, Access::identity(&shape), DType::F32);
        expression.push(Term::Load {
            operand: 1,
            access: Access::broadcast(&[4], &shape),
            otherwise: None,
            dtype: DType::F32,
        });
        assert_eq!(expression.collapse(&shape), [6, 4]);
        let Term::Load { access, .. } = &expression.terms[0] else { panic!() };
        assert!(access.is_identity(&[6, 4]));
        let Term::Load { access, .. } = &expression.terms[1] else { panic!() };
        assert_eq!(access.strides, [0, 1]);
    }
}

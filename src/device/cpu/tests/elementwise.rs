//! Random expressions against evaluation element by element.

use super::*;
use crate::graph::{Bound, TermId};
use crate::ops::elementwise::row_named;

fn apply(expression: &mut Expression, name: &'static str, arguments: Vec<TermId>, dtype: DType) -> TermId {
    let function = &row_named(name).unwrap().function;
    expression.push(Term::Apply { function, arguments, dtype })
}

/// A random expression over `shape` with its operands; operand 0 is dense, and read in order only.
fn random_expression(rng: &mut Stream, shape: &[usize]) -> (Expression, Vec<Array>) {
    let mut expression = Expression::default();
    let mut operands = vec![uniform(shape, rng), Array::new(&[2], vec![7u32, 9]).unwrap(), Array::scalar(3u32)];
    let load = |operand, access, otherwise| Term::Load { operand, access, otherwise, dtype: DType::F32 };
    let mut floats = vec![expression.push(load(0, Access::identity(shape), None))];
    for _ in 0..2 + below(rng, 8) {
        let pick = |rng: &mut Stream| floats[below(rng, floats.len())];
        let term = match below(rng, 8) {
            0..3 => {
                let (mut access, array) = random_load(rng, shape);
                let mut otherwise = None;
                if below(rng, 2) == 0 && !shape.is_empty() {
                    let axis = below(rng, shape.len());
                    let begin = below(rng, shape[axis] + 1);
                    let end = begin + below(rng, shape[axis] + 1 - begin);
                    access.bounds.push(Bound { axis, begin, end });
                    otherwise = Some(pick(rng));
                }
                operands.push(array);
                expression.push(load(operands.len() - 1, access, otherwise))
            }
            3 => expression.push(Term::Scalar { value: 0.25, dtype: DType::F32 }),
            4 if !shape.is_empty() => {
                let coordinate = expression.push(Term::Coordinate { axis: below(rng, shape.len()) });
                apply(&mut expression, "cast_f32", vec![coordinate], DType::F32)
            }
            5 => {
                let bits = expression.push(Term::Random { key: 1, step: 2, stream: below(rng, 2) as u32 });
                apply(&mut expression, "cast_f32", vec![bits], DType::F32)
            }
            _ => {
                let (a, b) = (pick(rng), pick(rng));
                let name = ["add", "sub", "mul"][below(rng, 3)];
                apply(&mut expression, name, vec![a, b], DType::F32)
            }
        };
        floats.push(term);
    }
    let results = 1 + below(rng, 3);
    expression.results = (0..results).map(|_| floats[floats.len() - 1 - below(rng, floats.len().min(3))]).collect();
    (expression, operands)
}

fn check(seed: u64, shape: &[usize], in_place: bool) {
    let mut rng = Stream::new(seed, "cpu.elementwise");
    let (expression, operands) = random_expression(&mut rng, shape);
    let work = Work::Elementwise { shape: shape.to_vec(), expression: expression.clone() };
    let writes = vec![f32s(shape); expression.results.len()];
    let pairs: &[(usize, usize)] = if in_place { &[(0, 0)] } else { &[] };
    let found = words(&run(work, &operands, &writes, pairs).unwrap());
    let operands = words(&operands);
    for flat in 0..crate::shape::element_count(shape) {
        let values = naive(&expression, shape, flat, &operands);
        for (found, &result) in found.iter().zip(&expression.results) {
            let (found, wanted) = (f32::from_bits(found[flat]), f32::from_bits(values[result]));
            assert!(found == wanted || found.is_nan() && wanted.is_nan(), "seed {seed} {shape:?} {expression:?}");
        }
    }
}

#[test]
fn random_expressions_agree_with_their_definition() {
    at_every_width(|| {
        for seed in 0..300 {
            let mut rng = Stream::new(seed, "cpu.shape");
            let shape: Vec<usize> = (0..below(&mut rng, 5)).map(|_| 1 + below(&mut rng, 9)).collect();
            check(seed, &shape, seed % 3 == 0);
        }
    });
}

#[test]
fn many_blocks_and_tasks_agree_as_well() {
    at_every_width(|| {
        for (seed, shape) in
            [[7, 40, 301], [90_000, 1, 1], [3, 30_001, 1], [1, 130, 514], [1, 900, 64], [5, 70, 96]].iter().enumerate()
        {
            check(1000 + seed as u64, shape, seed % 2 == 0);
        }
    });
}

#[test]
fn nothing_happens_for_no_elements() {
    let expression = Expression::load(0, Access::identity(&[3, 0]), DType::F32);
    let work = Work::Elementwise { shape: vec![3, 0], expression };
    let found = run(work, &[uniform(&[3, 0], &mut Stream::new(0, ""))], &[f32s(&[3, 0])], &[]).unwrap();
    assert_eq!(found[0].shape(), [3, 0]);
}

#[test]
fn malformed_steps_are_refused_by_name() {
    let x = uniform(&[4], &mut Stream::new(0, ""));
    let refuse = |access: Access, in_place: &[(usize, usize)], words: &str| {
        let work = Work::Elementwise { shape: vec![4], expression: Expression::load(0, access, DType::F32) };
        let error = run(work, std::slice::from_ref(&x), &[f32s(&[4])], in_place).unwrap_err().to_string();
        assert!(error.starts_with("test: ") && error.contains(words), "{error}");
    };
    refuse(Access { offset: 1, strides: vec![1], bounds: vec![] }, &[], "element 4 of operand 0");
    refuse(Access { offset: 0, strides: vec![-1], bounds: vec![] }, &[], "element -3");
    refuse(Access { offset: 3, strides: vec![-1], bounds: vec![] }, &[(0, 0)], "overwritten in place");
    refuse(Access { offset: 0, strides: vec![1], bounds: vec![Bound { axis: 0, begin: 0, end: 2 }] }, &[], "otherwise");
}

//! Random reductions against plain loops.

use super::*;
use crate::graph::{Accumulator, Reduce};
use crate::ops::elementwise::row_named;
use crate::shape::element_count;

/// The elements of each result in row-major order, as words.
fn slices(reduce: &Reduce, operands: &[Array]) -> Vec<Vec<u32>> {
    let Reduce { expression, shape, axes, .. } = reduce;
    let kept: Vec<usize> = (0..shape.len()).map(|axis| if axes.contains(&axis) { 1 } else { shape[axis] }).collect();
    let (strides, operands) = (crate::shape::strides(&kept), words(operands));
    let mut slices = vec![Vec::new(); element_count(&kept)];
    for flat in 0..element_count(shape) {
        let index = unravel(flat, shape);
        let result: usize = (0..shape.len()).map(|axis| index[axis].min(kept[axis] - 1) * strides[axis]).sum();
        slices[result].push(naive(expression, shape, flat, &operands)[expression.results[0]]);
    }
    slices
}

fn largest(values: &[f64]) -> usize {
    values.iter().position(|v| v.is_nan()).unwrap_or_else(|| {
        let best = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        values.iter().position(|&v| v == best).unwrap_or(0)
    })
}

fn check(reduce: &Reduce, operands: &[Array], what: &str) {
    let slices = slices(reduce, operands);
    let dtype = if reduce.accumulator == Accumulator::ArgMax { DType::U32 } else { DType::F32 };
    let results = if reduce.accumulator == Accumulator::Moments { 2 } else { 1 };
    let types = vec![TensorType::new(dtype, [slices.len()]); results];
    let found = run(Work::Reduce(reduce.clone()), operands, &types, &[]).unwrap();
    let found: Vec<Vec<f64>> = found.iter().map(Array::to_f64_vec).collect();
    for (i, slice) in slices.iter().enumerate() {
        let values: Vec<f64> = slice.iter().map(|&word| f64::from(f32::from_bits(word))).collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let magnitude = values.iter().map(|v| v.abs()).sum::<f64>();
        let wanted = match reduce.accumulator {
            Accumulator::Sum => vec![(values.iter().sum::<f64>(), 2e-7 * magnitude)],
            Accumulator::Product => {
                // As f32, in which long products leave the range.
                let product = f64::from(values.iter().product::<f64>() as f32);
                vec![(product, 2e-7 * product.abs())]
            }
            Accumulator::Max => vec![(values[largest(&values)], 0.0)],
            Accumulator::ArgMax => vec![(largest(&values) as f64, 0.0)],
            Accumulator::Moments => {
                let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
                vec![(mean, 2e-7 * magnitude / count), (variance, 5e-7 * variance + 1e-13 * mean * mean)]
            }
        };
        for (found, (wanted, tolerance)) in found.iter().zip(wanted) {
            let close =
                found[i] == wanted || (found[i] - wanted).abs() <= tolerance || (found[i].is_nan() && wanted.is_nan());
            assert!(close, "{what} {:?} {:?}: {} is not {wanted}", reduce.accumulator, reduce.axes, found[i]);
        }
    }
}

const ALL: [Accumulator; 5] =
    [Accumulator::Sum, Accumulator::Product, Accumulator::Max, Accumulator::ArgMax, Accumulator::Moments];

/// `x + load`, over any axes: in order, permuted, broadcast.
#[test]
fn random_reductions_agree_with_their_definition() {
    at_every_width(|| {
        for seed in 0..200 {
            let mut rng = Stream::new(seed, "cpu.reduce");
            let shape: Vec<usize> = (0..1 + below(&mut rng, 4)).map(|_| 1 + below(&mut rng, 9)).collect();
            let axes = (0..shape.len()).filter(|_| below(&mut rng, 2) == 0).collect();
            let mut expression = Expression::load(0, Access::identity(&shape), DType::F32);
            let (access, array) = random_load(&mut rng, &shape);
            let load = expression.push(Term::Load { operand: 1, access, otherwise: None, dtype: DType::F32 });
            let function = &row_named("add").unwrap().function;
            let mut result = expression.push(Term::Apply { function, arguments: vec![0, load], dtype: DType::F32 });
            if seed % 5 == 0 {
                // Bits that depend on the position, whatever the order of evaluation; and a coordinate.
                let bits = expression.push(Term::Random { key: 2, step: 3, stream: 1 });
                let axis = expression.push(Term::Coordinate { axis: below(&mut rng, shape.len()) });
                let arguments = vec![bits, axis];
                let bits = expression.push(Term::Apply { function, arguments, dtype: DType::U32 });
                let cast = &row_named("cast_f32").unwrap().function;
                let cast = expression.push(Term::Apply { function: cast, arguments: vec![bits], dtype: DType::F32 });
                result = expression.push(Term::Apply { function, arguments: vec![result, cast], dtype: DType::F32 });
            }
            expression.results = vec![result];
            let operands = [uniform(&shape, &mut rng), array, Array::full(&[2], 5u32), Array::scalar(1u32)];
            let accumulator = ALL[seed as usize % ALL.len()];
            check(&Reduce { expression, shape, axes, accumulator }, &operands, &format!("seed {seed}"));
        }
    });
}

#[test]
fn long_wide_and_special_reductions() {
    at_every_width(|| {
        let mut rng = Stream::new(1, "cpu.reduce");
        let cases: [(&[usize], &[usize]); 8] = [
            (&[3, 100_001], &[1]),
            (&[40_003, 3], &[0]),
            (&[301, 1030], &[0]),
            (&[5, 70, 1500], &[1]),
            (&[4, 33, 5, 65], &[0, 2]),
            (&[20_000, 5], &[1]),
            (&[17, 4099], &[0, 1]),
            (&[70_000], &[]),
        ];
        for (shape, axes) in cases {
            let mut x = uniform(shape, &mut rng);
            for accumulator in ALL {
                let expression = Expression::load(0, Access::identity(shape), DType::F32);
                let reduce = Reduce { expression, shape: shape.to_vec(), axes: axes.to_vec(), accumulator };
                check(&reduce, &[x.clone()], "");
                if let Array::F32(x) = &mut x {
                    x.iter_mut().for_each(|x| *x = if *x > 0.999 { 100.0 } else { x.round() + 30.0 });
                }
            }
            if let Array::F32(x) = &mut x {
                x.iter_mut().step_by(3001).for_each(|x| *x = f32::NAN);
            }
            for accumulator in [Accumulator::Max, Accumulator::ArgMax] {
                let expression = Expression::load(0, Access::identity(shape), DType::F32);
                check(
                    &Reduce { expression, shape: shape.to_vec(), axes: axes.to_vec(), accumulator },
                    &[x.clone()],
                    "NaN",
                );
            }
        }
    });
}

/// `x - row`, whose row is the same in every block, or not, as extents have it.
#[test]
fn rows_that_repeat() {
    let mut rng = Stream::new(2, "cpu.reduce");
    let cases: [(&[usize], &[usize]); 6] = [
        (&[3000, 64], &[0]),
        (&[700, 96], &[1]),
        (&[40, 9, 48], &[0, 1]),
        (&[5, 600, 48], &[1]),
        (&[90, 1100], &[0]),
        (&[50, 3, 20], &[0, 2]),
    ];
    for (shape, axes) in cases {
        let last = &shape[shape.len() - 1..];
        let operands = [uniform(shape, &mut rng), uniform(last, &mut rng)];
        for accumulator in ALL {
            let mut expression = Expression::load(0, Access::identity(shape), DType::F32);
            let access = Access::broadcast(last, shape);
            let row = expression.push(Term::Load { operand: 1, access, otherwise: None, dtype: DType::F32 });
            let function = &row_named("sub").unwrap().function;
            let result = expression.push(Term::Apply { function, arguments: vec![0, row], dtype: DType::F32 });
            expression.results = vec![result];
            check(&Reduce { expression, shape: shape.to_vec(), axes: axes.to_vec(), accumulator }, &operands, "rows");
        }
    }
}

#[test]
fn integers_wrap_and_empty_reductions_have_their_values() {
    let reduce = |shape: &[usize], axes: &[usize], accumulator, dtype| {
        let expression = Expression::load(0, Access::identity(shape), dtype);
        Work::Reduce(Reduce { expression, shape: shape.to_vec(), axes: axes.to_vec(), accumulator })
    };
    let x = Array::full(&[3, 5], 0x9000_0001_u32);
    for axis in [0, 1] {
        let ty = TensorType::new(DType::U32, [[5, 3][axis]]);
        let found =
            run(reduce(&[3, 5], &[axis], Accumulator::Sum, DType::U32), std::slice::from_ref(&x), &[ty], &[]).unwrap();
        assert_eq!(found[0].to_words()[0], 0x9000_0001_u32.wrapping_mul([3, 5][axis]));
    }
    for (shape, axes) in [([2, 0], [1]), ([0, 2], [0])] {
        let x = Array::zeros(&shape, DType::F32);
        let sum =
            run(reduce(&shape, &axes, Accumulator::Sum, DType::F32), std::slice::from_ref(&x), &[f32s(&[2])], &[])
                .unwrap();
        assert_eq!(sum[0].to_f64_vec(), [0.0; 2]);
        let types = [f32s(&[2]), f32s(&[2])];
        let found = run(reduce(&shape, &axes, Accumulator::Moments, DType::F32), &[x], &types, &[]).unwrap();
        assert!(found.iter().all(|array| array.to_f64_vec().iter().all(|v| v.is_nan())));
    }
}

#[test]
fn sums_of_a_million_elements_are_accurate() {
    let x = Array::full(&[1_000_000], 0.1f32);
    let expression = Expression::load(0, Access::identity(&[1000, 1000]), DType::F32);
    for axes in [vec![0], vec![0, 1]] {
        let reduce =
            Reduce { expression: expression.clone(), shape: vec![1000, 1000], axes, accumulator: Accumulator::Sum };
        check(&reduce, std::slice::from_ref(&x), "");
    }
}

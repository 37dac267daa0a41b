//! Random products and convolutions against sums over the operands' definitions.

use super::*;
use crate::graph::{Gemm, Matrix, Operand};
use crate::ops::elementwise::row_named;
use crate::shape::Window;

/// Element (row, column) of `operand`, by its definition.
fn element(operand: &Operand, data: &[f64], group: usize, row: usize, column: usize) -> f64 {
    match *operand {
        Operand::Matrix(m) => data[group * m.group + row * m.row + column * m.column],
        Operand::Filters { taps, outputs, channels } => {
            let (tap, output) = (row / outputs, row % outputs + group * outputs);
            data[(output * taps + tap) * channels + column]
        }
        Operand::Patches { window, image, positions, channels, pixel } => {
            let [n, p, q] = unravel(row, &[usize::MAX, positions[0], positions[1]])[..] else { unreachable!() };
            let (r, s, c) = tap(&window, channels, column);
            let (h, w) = (window.source(0, p, r, image[0]), window.source(1, q, s, image[1]));
            let (Some(h), Some(w)) = (h, w) else { return 0.0 };
            data[((n * image[0] + h) * image[1] + w) * pixel + group * channels + c]
        }
        Operand::Covering { window, image, positions, channels, pixel } => {
            let [n, h, w] = unravel(row, &[usize::MAX, image[0], image[1]])[..] else { unreachable!() };
            let (r, s, c) = tap(&window, channels, column);
            let (p, q) = (window.position(0, h, r, positions[0]), window.position(1, w, s, positions[1]));
            let (Some(p), Some(q)) = (p, q) else { return 0.0 };
            data[((n * positions[0] + p) * positions[1] + q) * pixel + group * channels + c]
        }
    }
}

fn tap(window: &Window, channels: usize, column: usize) -> (usize, usize, usize) {
    let tap = column / channels;
    (tap / window.kernel_size[1], tap % window.kernel_size[1], column % channels)
}

/// Checks a product of random operands of these sizes, alone and with `relu(product * scale + x)` over `x` in place.
fn check(gemm: &Gemm, a: usize, b: usize, what: &str) {
    let mut rng = Stream::new(gemm.m as u64, what);
    let operands = [uniform(&[a], &mut rng), uniform(&[b], &mut rng)];
    let data: Vec<Vec<f64>> = operands.iter().map(Array::to_f64_vec).collect();
    let Gemm { groups, m, n, k, output, .. } = *gemm;
    let len = groups * m * n;
    let (mut wanted, mut magnitude) = (vec![0.0; len], vec![0.0; len]);
    for flat in 0..len {
        let [group, row, column] = unravel(flat, &[groups, m, n])[..] else { unreachable!() };
        let place = group * output.group + row * output.row + column * output.column;
        for i in 0..k {
            let product = element(&gemm.a, &data[0], group, row, i) * element(&gemm.b, &data[1], group, i, column);
            (wanted[place], magnitude[place]) = (wanted[place] + product, magnitude[place] + product.abs());
        }
    }
    let compare = |found: &Array, wanted: &[f64], what: &str| {
        for ((found, wanted), magnitude) in found.to_f64_vec().iter().zip(wanted).zip(&magnitude) {
            assert!((found - wanted).abs() <= 1e-6 * (magnitude + 1.0), "{what} {gemm:?}: {found} is not {wanted}");
        }
    };
    let work = |epilogue| Work::Gemm { gemm: gemm.clone(), epilogue };
    let found = run(work(None), &operands, &[f32s(&[len])], &[]).unwrap();
    compare(&found[0], &wanted, what);

    let mut epilogue = Expression::load(0, Access::identity(&[len]), DType::F32);
    let apply = |name: &'static str, arguments: Vec<usize>, terms: &mut Vec<Term>| {
        terms.push(Term::Apply { function: &row_named(name).unwrap().function, arguments, dtype: DType::F32 });
        terms.len() - 1
    };
    let terms = &mut epilogue.terms;
    terms.push(Term::Load { operand: 1, access: Access::identity(&[len]), otherwise: None, dtype: DType::F32 });
    terms.push(Term::Scalar { value: 0.5, dtype: DType::F32 });
    let scaled = apply("mul", vec![0, 2], terms);
    let sum = apply("add", vec![scaled, 1], terms);
    let activated = apply("relu", vec![sum], terms);
    epilogue.results = vec![activated, 0];
    let x = uniform(&[len], &mut rng);
    let finished: Vec<f64> = wanted.iter().zip(x.to_f64_vec()).map(|(w, x)| (w * 0.5 + x).max(0.0)).collect();
    let operands = [operands[0].clone(), operands[1].clone(), x];
    let types = [f32s(&[len]), f32s(&[len])];
    let found = run(work(Some((vec![len], epilogue))), &operands, &types, &[(0, 2)]).unwrap();
    compare(&found[0], &finished, what);
    compare(&found[1], &wanted, what);
}

#[test]
fn matrices_of_any_layout() {
    at_every_width(|| {
        for (i, [groups, m, n, k]) in [
            [1, 5, 7, 3],
            [3, 4, 6, 5],
            [1, 1, 9, 700],
            [2, 130, 3, 40],
            [1, 30, 20, 5000],
            [1, 300, 530, 70],
            [4, 70, 1, 9],
        ]
        .into_iter()
        .enumerate()
        {
            let rows = |rows: usize, columns: usize| Matrix { row: columns, column: 1, group: rows * columns };
            let columns = |rows: usize, columns: usize| Matrix { row: 1, column: rows, group: rows * columns };
            let between = Matrix { row: n * groups, column: 1, group: n };
            for (a, b, output) in [
                (rows(m, k), rows(k, n), rows(m, n)),
                (columns(m, k), columns(k, n), between),
                (rows(m, k), Matrix { group: 0, ..columns(k, n) }, columns(m, n)),
            ] {
                let gemm = Gemm { groups, m, n, k, a: Operand::Matrix(a), b: Operand::Matrix(b), output };
                check(&gemm, groups * m * k, groups * k * n, &format!("case {i}"));
            }
        }
    });
}

#[test]
fn empty_sums_are_zero_and_empty_products_nothing() {
    let matrix = Operand::Matrix(Matrix { row: 1, column: 1, group: 0 });
    for [m, n, k] in [[3, 4, 0], [0, 4, 2], [3, 0, 2]] {
        let output = Matrix { row: n, column: 1, group: m * n };
        check(&Gemm { groups: 1, m, n, k, a: matrix, b: matrix, output }, 8, 8, "empty");
    }
}

/// A convolution `[batch, H, W, groups·cin]` → `groups·cout` channels: forward and both gradients.
fn convolution(batch: usize, image: [usize; 2], groups: usize, [cin, cout]: [usize; 2], window: Window) {
    let positions = window.output_size("test", image).unwrap();
    let (taps, pixels) = (window.taps(), [batch * image[0] * image[1], batch * positions[0] * positions[1]]);
    let (inputs, outputs, weights) = (pixels[0] * groups * cin, pixels[1] * groups * cout, groups * cout * taps * cin);
    let patches = Operand::Patches { window, image, positions, channels: cin, pixel: groups * cin };
    let covering = Operand::Covering { window, image, positions, channels: cout, pixel: groups * cout };
    let k = taps * cin;
    let what = format!("{batch} {image:?} {groups} {cin} {cout} {window:?}");
    let forward = Gemm {
        groups,
        m: pixels[1],
        n: cout,
        k,
        a: patches,
        b: Operand::Matrix(Matrix { row: 1, column: k, group: cout * k }),
        output: Matrix { row: groups * cout, column: 1, group: cout },
    };
    check(&forward, inputs, weights, &what);
    let grad_input = Gemm {
        groups,
        m: pixels[0],
        n: cin,
        k: taps * cout,
        a: covering,
        b: Operand::Filters { taps, outputs: cout, channels: cin },
        output: Matrix { row: groups * cin, column: 1, group: cin },
    };
    check(&grad_input, outputs, weights, &what);
    let grad_weight = Gemm {
        groups,
        m: cout,
        n: k,
        k: pixels[1],
        a: Operand::Matrix(Matrix { row: 1, column: groups * cout, group: cout }),
        b: patches,
        output: Matrix { row: k, column: 1, group: cout * k },
    };
    check(&grad_weight, outputs, inputs, &what);
}

#[test]
fn random_convolutions_and_their_gradients() {
    at_every_width(|| {
        for seed in 0..120 {
            let mut rng = Stream::new(seed, "cpu.conv");
            let mut up_to = |n: usize| 1 + below(&mut rng, n);
            let window = Window {
                kernel_size: [up_to(3), up_to(4)],
                stride: [up_to(3), up_to(2)],
                padding: [[up_to(3) - 1, up_to(2) - 1], [up_to(2) - 1, up_to(3) - 1]],
                dilation: [up_to(2), up_to(2)],
            };
            let image = [5 + up_to(6), 6 + up_to(6)];
            let (groups, channels) =
                if seed % 3 == 0 { (1 + up_to(5), [1, 1]) } else { (up_to(3), [up_to(5), up_to(4)]) };
            convolution(up_to(3), image, groups, channels, window);
        }
    });
}

#[test]
fn large_convolutions_and_their_gradients() {
    at_every_width(|| {
        let three = Window::new([3, 3]).padding(1);
        convolution(3, [20, 21], 1, [12, 17], three);
        convolution(2, [13, 12], 1, [90, 5], three.stride(2));
        convolution(1, [6, 7], 1, [530, 3], three);
        convolution(4, [9, 9], 1, [24, 20], Window::new([1, 1]));
        convolution(4, [30, 30], 24, [1, 1], three);
        // More channels than registers hold, more taps than are summed at once, lines of one place.
        convolution(2, [9, 7], 75, [1, 1], three.stride(2));
        convolution(2, [8, 9], 3, [1, 1], Window::new([6, 7]).padding(3));
        convolution(2, [9, 1], 40, [1, 1], Window::new([3, 1]).dilation(2));
        convolution(3, [14, 14], 8, [1, 1], Window::new([5, 5]).padding(2).stride(2));
    });
}

/// The bits do not depend on the number of threads.
#[test]
fn one_thread_and_four_give_the_same_bits() {
    let (positions, window) = ([40, 40], Window::new([3, 3]).padding(1));
    let patches = Operand::Patches { window, image: [40, 40], positions, channels: 6, pixel: 6 };
    let gradient = Operand::Matrix(Matrix { row: 1, column: 10, group: 0 });
    let output = Matrix { row: 54, column: 1, group: 0 };
    let gemm = Gemm { groups: 1, m: 10, n: 54, k: 6400, a: gradient, b: patches, output };
    let mut rng = Stream::new(5, "threads");
    let operands = [uniform(&[64_000], &mut rng), uniform(&[38_400], &mut rng)];
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let work = Work::Gemm { gemm: gemm.clone(), epilogue: None };
        pool.install(|| run(work, &operands, &[f32s(&[540])], &[]).unwrap()[0].to_words())
    };
    assert_eq!(with(1), with(4));
}

//! The error model of sums: tight enough that the last tap of a kernel cannot hide, wide enough for any order of additions.

use std::collections::BTreeMap;

use neuropil::check::{Case, by_winograd, cases, error_model, fresh, reference};
use neuropil::graph::{Graph, Leaf, TensorType};
use neuropil::ops::REGISTRY;
use neuropil::random::Stream;
use neuropil::schedule::evaluate::Products;
use neuropil::shape::Window;
use neuropil::{Array, DType};

/// The cases of all samples that the model judges, at their own inputs and at fresh ones.
fn judged() -> impl Iterator<Item = (String, Case)> {
    let samples = REGISTRY.iter().flat_map(|family| (family.samples)());
    let both = samples.flat_map(|sample| {
        let drawn = fresh::sample(&sample, 5);
        std::iter::once(sample).chain(drawn)
    });
    let of_sample = |sample: neuropil::graph::Sample| {
        let op = sample.op.name();
        let cases = cases(&sample).unwrap().into_iter();
        cases.map(move |case| (format!("{op} / {}, {}", case.name, case.direction), case))
    };
    both.flat_map(of_sample).filter(|(_, case)| case.wants.iter().any(|want| want.bounds.is_some()))
}

/// The results of a case on other data.
fn results(case: &Case, leaves: &BTreeMap<String, Array>) -> reference::Evaluation {
    let leaves = leaves.iter().map(|(name, array)| ((Leaf::Input, name.clone()), array.clone())).collect();
    reference::run(&case.graph, &leaves, DType::F64).unwrap()
}

/// Zeros the last element of each operand of each case; gives how many times that shows, and how many times it does not
/// although something changes.
fn missing_elements(cases: impl Iterator<Item = (String, Case)>) -> (usize, Vec<String>) {
    let (mut missing, mut unread, mut hidden) = (0, 0, Vec::new());
    for (name, case) in cases {
        for (input, array) in case.leaves.iter().filter(|(_, array)| array.dtype().is_float() && !array.is_empty()) {
            let mut elements = array.to_f64_vec();
            let finite = elements.iter().all(|x| x.is_finite());
            let last = elements.iter().rposition(|x| *x != 0.0).filter(|_| finite);
            let Some(last) = last else { continue };
            elements[last] = 0.0;
            let without = Array::new(array.shape(), elements).unwrap().cast(array.dtype());
            let mut leaves = case.leaves.clone();
            leaves.insert(input.clone(), without);
            let evaluation = results(&case, &leaves);
            let outputs = case.wants.iter().map(|want| (want, evaluation.output(&want.name).unwrap()));
            let (mut changes, mut shows) = (false, false);
            for (want, got) in outputs {
                changes |= got.to_f64_vec() != want.array.to_f64_vec();
                shows |= !want.compare(got).unwrap().is_right();
            }
            match (changes, shows) {
                (false, _) => unread += 1,
                (true, true) => missing += 1,
                (true, false) => hidden.push(format!("{name}: {input}[{last}]")),
            }
        }
    }
    println!("{missing} missing elements show, {unread} are not read");
    (missing, hidden)
}

#[test]
fn no_last_element_of_an_operand_can_be_missing() {
    let (missing, hidden) = missing_elements(judged());
    assert!(missing > 500, "{missing}");
    assert!(hidden.is_empty(), "{} hide:\n{}", hidden.len(), hidden.join("\n"));
}

#[test]
fn nor_within_the_bounds_of_winograd() {
    let of_case = |(name, case): (String, Case)| Some((name, by_winograd(case).unwrap()?));
    let (missing, hidden) = missing_elements(judged().filter_map(of_case));
    assert!(missing > 50, "{missing}");
    assert!(hidden.is_empty(), "{} hide:\n{}", hidden.len(), hidden.join("\n"));
}

/// The sum of products in `f32`, in one of several orders.
fn in_order(order: usize, a: &[f32], b: &[f32]) -> f32 {
    let terms: Vec<f32> = a.iter().zip(b).map(|(a, b)| a * b).collect();
    let plain = |terms: &[f32]| terms.iter().fold(0f32, |sum, term| sum + term);
    fn pairwise(terms: &[f32]) -> f32 {
        match terms {
            [] => 0.0,
            [one] => *one,
            many => pairwise(&many[..many.len() / 2]) + pairwise(&many[many.len() / 2..]),
        }
    }
    match order {
        0 => plain(&terms),
        1 => terms.iter().rev().fold(0f32, |sum, term| sum + term),
        2 => pairwise(&terms),
        3 => terms.chunks(16).map(plain).fold(0f32, |sum, part| sum + part),
        // Eight lanes, as a vector of them adds.
        4 => plain(&(0..8).map(|lane| terms.iter().skip(lane).step_by(8).fold(0f32, |s, t| s + t)).collect::<Vec<_>>()),
        _ => a.iter().zip(b).fold(0f32, |sum, (a, b)| a.mul_add(*b, sum)),
    }
}

#[test]
fn every_order_of_additions_is_within_the_bound() {
    let mut worst = 0f64;
    for length in [1usize, 2, 3, 9, 64, 1000, 20_000] {
        let mut graph = Graph::new();
        let leaf = |graph: &mut Graph, name: &str, shape: [usize; 2]| {
            graph.leaf(Leaf::Input, name, TensorType::new(DType::F32, shape)).unwrap()
        };
        let (a, b) = (leaf(&mut graph, "a", [1, length]), leaf(&mut graph, "b", [length, 1]));
        let product = graph.matmul(a, b, false, false).unwrap();
        graph.outputs.push(("c".to_owned(), product));
        for seed in 0..20 {
            let mut stream = Stream::new(seed, "orders");
            // Of both signs, of one, almost of one, and first of one and then of the other, which cancel.
            let kinds: [&mut dyn FnMut(usize) -> f32; 4] = [
                &mut {
                    let mut s = stream.clone();
                    move |_| 2.0 * s.uniform() - 1.0
                },
                &mut {
                    let mut s = stream.clone();
                    move |_| s.uniform()
                },
                &mut {
                    let mut s = stream.clone();
                    move |_| s.uniform() - 0.2
                },
                &mut {
                    let mut s = stream.clone();
                    move |i| if 2 * i < length { s.uniform() } else { -s.uniform() }
                },
            ];
            for element in kinds {
                let x: Vec<f32> = (0..length).map(element).collect();
                let y: Vec<f32> = (0..length).map(|_| 0.5 + stream.uniform()).collect();
                let array = |shape, elements: &[f32]| Array::new(shape, elements.to_vec()).unwrap();
                let leaves = BTreeMap::from([
                    ("a".to_owned(), array(&[1, length], &x)),
                    ("b".to_owned(), array(&[length, 1], &y)),
                ]);
                let bound = error_model::bounds(&graph, &leaves).unwrap()["c"][0].error;
                let exact: f64 = x.iter().zip(&y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                for order in 0..6 {
                    let units = (f64::from(in_order(order, &x, &y)) - exact).abs() / bound;
                    assert!(units <= 1.0, "order {order} of {length} terms, seed {seed}: {units} of {bound:e}");
                    worst = worst.max(units);
                }
            }
        }
    }
    println!("the worst is {worst:.2} of its bound");
    assert!(worst > 0.1, "the bound is not tight: {worst}");
}

#[test]
fn sums_of_whole_numbers_have_room_at_fresh_inputs() {
    // A norm of order 1 at zeros is exact; the sum of numbers drawn between is not.
    let family = REGISTRY.iter().find(|family| family.name == "statistics").unwrap();
    let samples = (family.samples)();
    let zeros = samples.iter().find(|sample| sample.name == "zeros, order 1").unwrap();
    for seed in 0..20 {
        let drawn = fresh::sample(zeros, seed).unwrap();
        let case = &cases(&drawn).unwrap()[0];
        let bounds = case.wants[0].bounds.as_ref().expect("a sum");
        let sums = case.wants[0].array.to_f64_vec();
        assert!(bounds.iter().zip(sums).all(|(bound, sum)| sum == 0.0 || *bound >= 6e-8 * sum), "{bounds:?}");
    }
}

/// What is allowed nothing at a sample's own inputs is allowed nothing at fresh ones, or has room for what rounds there.
#[test]
fn exact_samples_are_right_in_f32_at_any_fresh_inputs() {
    let exact = |sample: &neuropil::graph::Sample| sample.tolerance.absolute == 0.0 && sample.tolerance.relative == 0.0;
    let mut count = 0;
    for sample in REGISTRY.iter().flat_map(|family| (family.samples)()).filter(exact) {
        for seed in 0..10 {
            let Some(drawn) = fresh::sample(&sample, seed) else { continue };
            for case in cases(&drawn).unwrap() {
                let case = fresh::widened(case, seed).unwrap();
                let leaves = case.leaves.iter().map(|(name, array)| ((Leaf::Input, name.clone()), array.clone()));
                let single = reference::run(&case.graph, &leaves.collect(), DType::F32).unwrap();
                for want in &case.wants {
                    let comparison = want.compare(single.output(&want.name).unwrap()).unwrap();
                    let at = || format!("{} / {}, {}, seed {seed}", sample.op.name(), case.name, case.direction);
                    assert!(comparison.is_right(), "{}: {comparison}", at());
                    count += 1;
                }
            }
        }
    }
    assert!(count > 1000, "{count}");
}

/// The convolution of one image of 6×6 with one filter, padded to the same size, by F(2×2, 3×3) in `f32`.
fn winograd_in_f32(image: &[f32], weight: &[f32], channels: usize) -> Vec<f32> {
    let turned = |m: Vec<Vec<f32>>| (0..m[0].len()).map(|j| m.iter().map(|line| line[j]).collect()).collect();
    // A transform of the lines of a matrix, then of its columns.
    fn both(
        f: &dyn Fn(&[f32]) -> Vec<f32>,
        turned: &dyn Fn(Vec<Vec<f32>>) -> Vec<Vec<f32>>,
        m: &[Vec<f32>],
    ) -> Vec<Vec<f32>> {
        let lines = turned(m.iter().map(|line| f(line)).collect());
        turned(lines.iter().map(|line| f(line)).collect())
    }
    let of_pixels = |d: &[f32]| vec![d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]];
    let of_filter = |g: &[f32]| vec![g[0], 0.5 * (g[0] + g[1] + g[2]), 0.5 * (g[0] - g[1] + g[2]), g[2]];
    let of_result = |m: &[f32]| vec![m[0] + m[1] + m[2], m[1] - m[2] - m[3]];
    let pixel = |y: usize, x: usize, c: usize| {
        let inside = (1..=6).contains(&y) && (1..=6).contains(&x);
        if inside { image[((y - 1) * 6 + x - 1) * channels + c] } else { 0.0 }
    };
    let mut result = vec![0.0; 36];
    for (ty, tx) in (0..9).map(|tile| (2 * (tile / 3), 2 * (tile % 3))) {
        let mut sums = vec![vec![0f32; 4]; 4];
        for c in 0..channels {
            let tile: Vec<Vec<f32>> = (0..4).map(|h| (0..4).map(|w| pixel(ty + h, tx + w, c)).collect()).collect();
            let filter: Vec<Vec<f32>> =
                (0..3).map(|r| (0..3).map(|s| weight[(r * 3 + s) * channels + c]).collect()).collect();
            let (u, v) = (both(&of_filter, &turned, &filter), both(&of_pixels, &turned, &tile));
            (0..16).for_each(|i| sums[i / 4][i % 4] += u[i / 4][i % 4] * v[i / 4][i % 4]);
        }
        let pixels = both(&of_result, &turned, &sums);
        (0..4).for_each(|i| result[(ty + i / 2) * 6 + tx + i % 2] = pixels[i / 2][i % 2]);
    }
    result
}

/// The graph of [`winograd_in_f32`], and the bounds of its elements.
fn bounds_of_convolution(
    image: &[f32],
    weight: &[f32],
    channels: usize,
    products: Products,
) -> Vec<error_model::Bound> {
    let mut graph = Graph::new();
    let mut leaf =
        |name: &str, shape: [usize; 4]| graph.leaf(Leaf::Input, name, TensorType::new(DType::F32, shape)).unwrap();
    let (x, w) = (leaf("x", [1, 6, 6, channels]), leaf("w", [1, 3, 3, channels]));
    let y = graph.conv2d(x, w, Window::new([3, 3]).padding(1), 1).unwrap();
    graph.outputs.push(("y".to_owned(), y));
    let array = |shape: [usize; 4], elements: &[f32]| Array::new(&shape, elements.to_vec()).unwrap();
    let leaves = BTreeMap::from([
        ("x".to_owned(), array([1, 6, 6, channels], image)),
        ("w".to_owned(), array([1, 3, 3, channels], weight)),
    ]);
    error_model::bounds_as(&graph, &leaves, products).unwrap().remove("y").unwrap()
}

#[test]
fn winograd_is_within_its_bound_and_not_always_within_that_of_a_sum() {
    let (mut worst, mut beyond) = (0f64, 0);
    for channels in [1usize, 3, 16, 100, 500] {
        for seed in 0..6 {
            let mut stream = Stream::new(seed, "winograd");
            // Of both signs, of one, and of both with a pixel that drowns its neighbours.
            for kind in 0..3 {
                let offset = if kind == 1 { 0.0 } else { 0.5 };
                let mut image: Vec<f32> = (0..36 * channels).map(|_| stream.uniform() - offset).collect();
                let weight: Vec<f32> = (0..9 * channels).map(|_| stream.uniform() - offset).collect();
                if kind == 2 {
                    image[14 * channels] = 1e5;
                }
                let bounds = bounds_of_convolution(&image, &weight, channels, Products::Winograd);
                let sums = bounds_of_convolution(&image, &weight, channels, Products::Direct);
                let got = winograd_in_f32(&image, &weight, channels);
                for (i, (got, (bound, sum))) in got.into_iter().zip(bounds.iter().zip(&sums)).enumerate() {
                    assert_eq!(bound.value, sum.value);
                    let distance = (f64::from(got) - bound.value).abs();
                    let units = distance / bound.error;
                    assert!(units <= 1.0, "{channels} channels, kind {kind}, element {i}: {units} of {bound:?}");
                    worst = worst.max(units);
                    beyond += usize::from(distance > sum.error);
                }
            }
        }
    }
    println!("the worst is {worst:.2} of its bound; {beyond} elements are beyond that of a sum");
    assert!(worst > 0.05, "the bound is not tight: {worst}");
    assert!(beyond > 0, "the bound of a sum would do");
}

#[test]
fn of_a_tile_with_a_number_that_is_not_finite_nothing_is_said() {
    let (mut image, weight) = (vec![1f32; 36], [0.5f32; 9]);
    // In the tiles of the first two rows and the last four columns, but in no window of the first row and column 2.
    image[2 * 6 + 4] = f32::INFINITY;
    let bounds = bounds_of_convolution(&image, &weight, 1, Products::Winograd);
    let known: Vec<bool> = bounds.iter().map(|bound| bound.error.is_finite()).collect();
    let (far, near) = ([true; 6], [true, true, false, false, false, false]);
    assert_eq!(known, [near, near, near, near, far, far].concat());
    assert!(bounds_of_convolution(&image, &weight, 1, Products::Direct)[2].error.is_finite());
}

//! The error model of sums: tight enough that the last tap of a kernel cannot hide, wide enough for any order of additions.

use std::collections::BTreeMap;

use neuropil::check::{Case, cases, error_model, fresh, reference};
use neuropil::graph::{Graph, Leaf, TensorType};
use neuropil::ops::REGISTRY;
use neuropil::random::Stream;
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

#[test]
fn no_last_element_of_an_operand_can_be_missing() {
    let (mut missing, mut unread, mut hidden) = (0, 0, Vec::new());
    for (name, case) in judged() {
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
    assert!(missing > 500, "{missing}");
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

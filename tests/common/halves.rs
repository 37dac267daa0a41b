//! Conversions to `f16` and back, which must have the same bits on every device.

use std::collections::BTreeMap;

use neuropil::check::{Case, Direction, Want};
use neuropil::graph::{Graph, Leaf, TensorType, Tolerance};
use neuropil::{Array, DType};

/// Every seventh `f16`, numbers between, ties, and what is out of range; no NaN, which has many bits.
pub fn numbers() -> Array {
    let mut numbers: Vec<f32> = Vec::new();
    let half = |bits: u16| Array::from_words(&[1], DType::F16, &[u32::from(bits)]).unwrap().item().unwrap() as f32;
    for bits in (0..u16::MAX).step_by(7) {
        let (exact, next) = (half(bits), half(bits + 1));
        numbers.extend([exact, exact * 1.0001, (exact + next) / 2.0, exact * 1e-3]);
    }
    numbers.extend([
        65519.0,
        65519.996,
        65520.0,
        1e30,
        f32::MIN_POSITIVE,
        f32::INFINITY,
        2f32.powi(-25),
        2.9e-8,
        3.1e-8,
    ]);
    numbers.retain(|x| !x.is_nan());
    Array::new(&[numbers.len()], numbers).unwrap()
}

/// The conversion to `f16` and, without being stored, back.
pub fn case() -> Case {
    let x = numbers();
    let mut graph = Graph::new();
    let input = graph.leaf(Leaf::Input, "in0", TensorType::new(DType::F32, x.shape())).unwrap();
    let half = graph.cast(input, DType::F16).unwrap();
    let back = graph.cast(half, DType::F32).unwrap();
    graph.outputs.push(("out0".to_owned(), back));
    let array = x.cast(DType::F16).cast(DType::F32);
    let want = Want { name: "out0".to_owned(), array, tolerance: Tolerance::EXACT, bounds: None };
    Case {
        name: "to f16 and back".to_owned(),
        direction: Direction::Forward,
        graph,
        leaves: BTreeMap::from([("in0".to_owned(), x)]),
        wants: vec![want],
    }
}

//! Einstein sums of random equations: the decomposition against plain loops, and gradients against central differences.

use std::collections::BTreeMap;

use neuropil::check::{gradients, reference};
use neuropil::graph::{Graph, Leaf, Op, Sample, TensorType};
use neuropil::ops::einsum::Einsum;
use neuropil::{Array, DType, Device, Mode, Program, Result, Store};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// An equation and extents of the labels `a` to `e`.
#[derive(Clone, Debug)]
struct Equation {
    text: String,
    operands: Vec<String>,
    extents: Vec<usize>,
}

impl Equation {
    fn inputs(&self) -> Vec<Array> {
        let extent = |label: u8| self.extents[usize::from(label - b'a')];
        let shapes = self.operands.iter().map(|labels| labels.bytes().map(extent).collect::<Vec<usize>>());
        shapes.zip(1..).map(|(shape, seed)| Sample::uniform(&shape, -1.0, 1.0, seed)).collect()
    }
}

fn equations() -> impl Strategy<Value = Equation> {
    let operand = || proptest::collection::vec(select(vec!['a', 'b', 'c', 'd', 'e']), 0..4);
    let operands = proptest::collection::vec(operand(), 1..3);
    let extents = proptest::collection::vec(1..4usize, 5);
    (operands, extents).prop_flat_map(|(operands, extents)| {
        let mut labels: Vec<char> = operands.iter().flatten().copied().collect();
        labels.sort_unstable();
        labels.dedup();
        let count = labels.len();
        let output = subsequence(labels, 0..=count).prop_shuffle();
        output.prop_map(move |output| {
            let operands: Vec<String> = operands.iter().map(|labels| labels.iter().collect()).collect();
            let text = format!("{}->{}", operands.join(","), output.into_iter().collect::<String>());
            Equation { text, operands, extents: extents.clone() }
        })
    })
}

/// What the decomposition gives, in `f64`.
fn decomposed(op: &Einsum, inputs: &[Array]) -> Result<Array> {
    let (mut graph, mut leaves, mut values) = (Graph::new(), BTreeMap::new(), Vec::new());
    for (i, array) in inputs.iter().enumerate() {
        values.push(graph.leaf(Leaf::Input, &i.to_string(), TensorType::new(DType::F32, array.shape()))?);
        leaves.insert((Leaf::Input, i.to_string()), array.clone());
    }
    graph.outputs = vec![("y".to_owned(), op.decompose(&mut graph, &values)?[0])];
    graph.verify()?;
    Ok(reference::run(&graph, &leaves, DType::F64)?.output("y")?.clone())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decompositions_agree_with_plain_loops(equation in equations()) {
        let op = Einsum::new(&equation.text).unwrap();
        let inputs: Vec<Array> = equation.inputs().iter().map(|array| array.cast(DType::F64)).collect();
        let (got, want) = (decomposed(&op, &inputs).unwrap(), op.reference(&inputs).unwrap().swap_remove(0));
        prop_assert_eq!(got.shape(), want.shape());
        for (got, want) in got.to_f64_vec().into_iter().zip(want.to_f64_vec()) {
            prop_assert!((got - want).abs() < 1e-9, "{}: {} is not {}", equation.text, got, want);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gradients_agree_with_central_differences(equation in equations()) {
        let outcome = gradients::function(&equation.inputs(), |graph, values| graph.einsum(&equation.text, values));
        outcome.unwrap().verdict().unwrap();
    }
}

/// What `equation` makes of 1, 2, 3, … in operands of these shapes, on the CPU.
fn run(equation: &str, shapes: &[&[usize]]) -> Result<(Vec<usize>, Vec<f64>)> {
    let counted = |shape: &[usize]| {
        let mut next = 0.0f32;
        Array::from_fn(shape, |_| {
            next += 1.0;
            next
        })
    };
    let program = Program::compile("einsum", &Store::new(&Device::cpu(), 0), Mode::Evaluate, |trace| {
        let operands: Vec<_> = shapes.iter().map(|shape| trace.data(&counted(shape))).collect();
        let others: Vec<_> = operands[1..].iter().collect();
        trace.output("y", &operands[0].einsum(equation, &others));
    })?;
    let y = program.call(&[])?.remove("y").expect("asked for");
    Ok((y.shape().to_vec(), y.to_f64_vec()))
}

#[test]
fn equations_mean_what_they_mean_elsewhere() {
    // [[1, 2], [3, 4]]
    let square: &[usize] = &[2, 2];
    assert_eq!(run("ij,jk->ik", &[square, square]).unwrap(), (vec![2, 2], vec![7.0, 10.0, 15.0, 22.0]));
    assert_eq!(run(" i j , j k ", &[square, square]).unwrap(), (vec![2, 2], vec![7.0, 10.0, 15.0, 22.0]));
    assert_eq!(run("ij,kj->ki", &[square, square]).unwrap(), (vec![2, 2], vec![5.0, 11.0, 11.0, 25.0]));
    assert_eq!(run("ba", &[square]).unwrap(), (vec![2, 2], vec![1.0, 3.0, 2.0, 4.0]), "alphabetical: transposed");
    assert_eq!(run("ii", &[square]).unwrap(), (vec![], vec![5.0]));
    assert_eq!(run("ii->i", &[square]).unwrap(), (vec![2], vec![1.0, 4.0]));
    assert_eq!(run("ij->", &[square]).unwrap(), (vec![], vec![10.0]));
    assert_eq!(run("i,j->ji", &[&[2], &[3]]).unwrap(), (vec![3, 2], vec![1.0, 2.0, 2.0, 4.0, 3.0, 6.0]));
    assert_eq!(run("bi,bi->b", &[square, square]).unwrap(), (vec![2], vec![5.0, 25.0]));
}

#[test]
fn mistakes_name_the_label() {
    let refusal = |equation, shapes: &[&[usize]]| run(equation, shapes).unwrap_err().to_string();
    let text = refusal("ij,jk->ik", &[&[2, 3], &[4, 2]]);
    assert!(
        text.contains("the label 'j' is of 3 elements, and of 4 in operand 1") && text.contains("einsum.rs"),
        "{text}"
    );
    let text = refusal("ij->ik", &[&[2, 3]]);
    assert!(text.contains("the result's label 'k' is in no operand"), "{text}");
}

#[test]
fn equal_equations_are_equal_operations() {
    let debug = |equation| format!("{:?}", Einsum::new(equation).unwrap());
    assert_eq!(debug("ij, jk"), debug("ij,jk -> ik"));
}

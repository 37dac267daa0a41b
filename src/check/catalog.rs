//! The list of all operations, as a page of documentation: what the registry knows, with PyTorch's names.
//!
//! Before: [`crate::ops::REGISTRY`]. After: a test writes `docs/operations.md` and holds it to this.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::pytorch;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Expect, Gradient, Graph, Leaf, Lowering, Op, Sample, TensorType, Tolerance, Value};
use crate::ops::REGISTRY;

/// What the registry says of one operation.
pub struct Entry {
    /// The family: the file below `src/ops`.
    pub family: &'static str,
    /// PyTorch's name of it; what it is for, where PyTorch has none.
    pub pytorch: Option<&'static str>,
    /// How gradients pass.
    pub gradient: String,
    /// The element types of the samples' inputs (of the output, where there are none).
    pub types: BTreeSet<String>,
    /// The kinds of work that it becomes.
    pub kernels: BTreeSet<&'static str>,
    /// The kinds of work of the operations it is made of, where it is.
    pub parts: BTreeSet<&'static str>,
    /// Samples that must give a result.
    pub samples: usize,
    /// Samples that must be refused.
    pub refusals: usize,
    /// The largest error that a sample allows whose operands are not `f16`.
    pub tolerance: Tolerance,
}

/// All operations of the registry, by name.
///
/// # Errors
/// When an operation refuses one of its samples, or does not decompose as it says.
pub fn entries() -> Result<BTreeMap<&'static str, Entry>> {
    let mut entries: BTreeMap<&'static str, Entry> = BTreeMap::new();
    for family in REGISTRY {
        for sample in (family.samples)() {
            let name = sample.op.name();
            let entry = entries.entry(name).or_insert_with(|| Entry {
                family: family.name,
                pytorch: pytorch::name(name),
                gradient: gradient(sample.op.as_ref()),
                types: BTreeSet::new(),
                kernels: BTreeSet::new(),
                parts: BTreeSet::new(),
                samples: 0,
                refusals: 0,
                tolerance: Tolerance::EXACT,
            });
            match sample.expect {
                Expect::Error(..) => entry.refusals += 1,
                Expect::Reference => entry.add(&sample)?,
            }
        }
    }
    Ok(entries)
}

impl Entry {
    fn add(&mut self, sample: &Sample) -> Result<()> {
        self.samples += 1;
        let inputs: Vec<TensorType> = sample.inputs.iter().map(|a| TensorType::new(a.dtype(), a.shape())).collect();
        let outputs = sample.op.infer(&inputs)?;
        let types = if inputs.is_empty() { &outputs } else { &inputs };
        self.types.extend(types.iter().map(|ty| ty.dtype.to_string()));
        match kernel(&sample.op.lowering(&inputs, &outputs)) {
            Some(kernel) => _ = self.kernels.insert(kernel),
            None => self.parts.extend(parts(sample.op.as_ref(), &inputs)?),
        }
        let half = inputs.iter().any(|ty| ty.dtype == DType::F16);
        if !half
            && sample.tolerance.absolute + sample.tolerance.relative > self.tolerance.absolute + self.tolerance.relative
        {
            self.tolerance = sample.tolerance;
        }
        Ok(())
    }
}

fn gradient(op: &dyn Op) -> String {
    match op.gradient() {
        Gradient::Rule(_) => "rule".to_owned(),
        Gradient::Decompose => "of its parts".to_owned(),
        Gradient::Zero => "zero".to_owned(),
        Gradient::None(reason) => format!("none: {reason}"),
    }
}

/// The kind of work; `None` for that of smaller operations.
fn kernel(lowering: &Lowering) -> Option<&'static str> {
    Some(match lowering {
        Lowering::Alias => "view",
        Lowering::Elementwise(_) => "elementwise",
        Lowering::Reduce(_) => "reduction",
        Lowering::Gemm(_) => "product",
        Lowering::Window(_) => "pooling",
        Lowering::Opaque(_) => "own shader",
        Lowering::Decompose => return None,
    })
}

/// The kinds of work of a decomposition, down to what decomposes no further; views, which cost nothing, are left out.
fn parts(op: &dyn Op, inputs: &[TensorType]) -> Result<BTreeSet<&'static str>> {
    let mut graph = Graph::new();
    let leaves = inputs.iter().enumerate().map(|(i, ty)| graph.leaf(Leaf::Input, &format!("in{i}"), ty.clone()));
    let values = leaves.collect::<Result<Vec<Value>>>()?;
    op.decompose(&mut graph, &values)?;
    let mut kinds = BTreeSet::new();
    for (op, node) in graph.nodes().filter_map(|(_, node)| node.op().map(|op| (op, node))) {
        let inputs: Vec<TensorType> = node.inputs.iter().map(|&v| graph.type_of(v).clone()).collect();
        match kernel(&op.lowering(&inputs, &node.types)) {
            Some(kernel) => _ = kinds.insert(kernel),
            None => kinds.extend(parts(op.as_ref(), &inputs)?),
        }
    }
    kinds.remove("view");
    Ok(kinds)
}

/// The page.
///
/// # Errors
/// As [`entries`].
pub fn markdown() -> Result<String> {
    let entries = entries()?;
    let count = |f: fn(&Entry) -> usize| entries.values().map(f).sum::<usize>();
    let mut page = format!(
        "# Operations\n\n\
         Made from the registry (`src/ops`) by `UPDATE_GOLDEN=1 cargo test --test docs`; the test fails where this page is not \
         what the registry says.\n\n\
         {} operations, {} samples that must give what the `f64` reference gives, {} that must be refused. Each sample runs \
         forward, backward, through strided views and between neighbours, on the CPU device and on the GPU.\n\n\
         * **Gradient**: *rule* emits graph nodes, so it can be differentiated again; *of its parts* is that of the smaller \
         operations it is made of.\n\
         * **Work**: what it becomes. Elementwise work is fused with its neighbours, into reductions and behind products.\n\
         * **Tolerance**: the largest error that any of its samples allows, absolute and relative to the result; on operands \
         of `f16` one rounding to `f16` more. Where a sample is one step that sums, every element has a bound of its own \
         instead, from its absolute terms (`check::error_model`).\n\n\
         | operation | PyTorch | file | gradient | element types | work | samples (refused) | tolerance |\n\
         |---|---|---|---|---|---|---|---|\n",
        entries.len(),
        count(|entry| entry.samples),
        count(|entry| entry.refusals),
    );
    for (name, entry) in &entries {
        let types = entry.types.iter().cloned().collect::<Vec<_>>().join(" ");
        let mut work: Vec<String> = entry.kernels.iter().map(|&kernel| kernel.to_owned()).collect();
        if !entry.parts.is_empty() {
            work.push(format!("made of {}", entry.parts.iter().copied().collect::<Vec<_>>().join(", ")));
        }
        let work = work.join("; ");
        let _ = writeln!(
            page,
            "| `{name}` | {} | {} | {} | {types} | {work} | {} ({}) | {} |",
            pytorch_name(entry.pytorch),
            entry.family,
            entry.gradient,
            entry.samples,
            entry.refusals,
            allowed(entry.tolerance),
        );
    }
    Ok(page)
}

/// A function as code, below `torch` unless it names another package; a description as it is.
fn pytorch_name(name: Option<&str>) -> String {
    match name {
        Some(name) if name.starts_with('(') => name[1..name.len() - 1].to_owned(),
        Some(name) if name.starts_with("torchvision") => format!("`{name}`"),
        Some(name) => format!("`torch.{name}`"),
        None => "?".to_owned(),
    }
}

fn allowed(tolerance: Tolerance) -> String {
    match (tolerance.absolute > 1e-20, tolerance.relative > 0.0) {
        (false, false) => "exact".to_owned(),
        (true, false) => format!("{:.0e}", tolerance.absolute),
        (false, true) => format!("{:.0e}·\\|y\\|", tolerance.relative),
        (true, true) => format!("{:.0e} + {:.0e}·\\|y\\|", tolerance.absolute, tolerance.relative),
    }
}

//! The pages of `docs/` say what is true.

use std::collections::BTreeMap;
use std::path::Path;

use neuropil::check::{catalog, pytorch};
use neuropil::graph::TensorType;
use neuropil::ops::REGISTRY;

#[test]
fn the_list_of_operations_is_that_of_the_registry() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = catalog::markdown().unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let different = page.lines().zip(written.lines()).find(|(new, old)| new != old);
    assert!(
        page == written,
        "docs/operations.md is not what the registry says; UPDATE_GOLDEN=1 cargo test --test docs writes it\n{different:?}"
    );
}

#[test]
fn every_operation_has_its_name_in_pytorch_or_says_what_it_is_for() {
    let entries = catalog::entries().unwrap();
    let missing: Vec<&str> =
        entries.iter().filter(|(_, entry)| entry.pytorch.is_none()).map(|(name, _)| *name).collect();
    assert!(missing.is_empty(), "src/check/pytorch.rs lacks {missing:?}");
    let stale: Vec<&str> = pytorch::listed().filter(|name| !entries.contains_key(name)).collect();
    assert!(stale.is_empty(), "src/check/pytorch.rs lists {stale:?}, which the registry does not know");
}

/// Kernels break at sizes that nobody thinks of: every operation is tested, or refuses to work, without elements and with a
/// single one.
#[test]
fn every_operation_has_a_sample_without_elements_and_one_of_a_single_element() {
    let mut found: BTreeMap<&str, [bool; 2]> = BTreeMap::new();
    for sample in REGISTRY.iter().flat_map(|family| (family.samples)()) {
        let sizes = found.entry(sample.op.name()).or_default();
        let inputs: Vec<TensorType> = sample.inputs.iter().map(|a| TensorType::new(a.dtype(), a.shape())).collect();
        let outputs = sample.op.infer(&inputs).unwrap_or_default();
        sizes[0] |= inputs.iter().chain(&outputs).any(TensorType::is_empty);
        sizes[1] |= outputs.first().or(inputs.first()).is_some_and(|ty| ty.len() == 1);
    }
    let lack =
        |which: usize| found.iter().filter(|(_, sizes)| !sizes[which]).map(|(name, _)| *name).collect::<Vec<_>>();
    let (empty, single) = (lack(0), lack(1));
    assert!(
        empty.is_empty() && single.is_empty(),
        "no sample without elements: {empty:?}\nnone of one element: {single:?}"
    );
}

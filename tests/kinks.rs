//! Where a function has no derivative: the table of legal gradients on every device, and that no operation is missing.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use neuropil::check::kinks::{KINKS, NOT_LISTED};
use neuropil::check::sides::{self, JUMP, STEEP, UNDEFINED, UNSETTLED};
use neuropil::graph::Expect;
use neuropil::ops::REGISTRY;

#[test]
fn gradients_are_legal_on_every_device() {
    for device in std::iter::once(None).chain(common::devices().into_iter().map(Some)) {
        let checked = KINKS.iter().map(|kink| kink.check(device.as_ref()));
        let wrong: Vec<String> = checked.filter_map(|checked| Some(checked.err()?.to_string())).collect();
        assert!(wrong.is_empty(), "on {device:?}:\n{}", wrong.join("\n"));
    }
}

#[test]
fn a_gradient_that_is_not_legal_is_named() {
    let relu = KINKS.iter().find(|kink| kink.op == "relu").expect("relu is listed");
    let one = neuropil::check::kinks::Kink { legal: &[&[0.0], &[1.0, 2.0]], ..*relu };
    let error = one.check(None).unwrap_err().to_string();
    assert!(error.contains("relu at 0: element 1 has the gradient 0e0, legal are [1.0, 2.0]"), "{error}");
}

/// What the samples show, and what the table says, are of the same operations.
#[test]
fn every_operation_with_a_kink_is_listed() {
    let listed: BTreeSet<&str> = KINKS.iter().map(|kink| kink.op).chain(NOT_LISTED.iter().map(|(op, _)| *op)).collect();
    let mut missing: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let (mut samples, mut compared, mut left_out) = (0, 0, BTreeMap::new());
    for sample in REGISTRY.iter().flat_map(|family| (family.samples)()) {
        if sample.smooth || matches!(sample.expect, Expect::Error(..)) {
            continue;
        }
        samples += 1;
        if let Some(reason) = sample.convention {
            assert!(listed.contains(sample.op.name()) && reason.len() > 20, "{}: {reason}", sample.name);
            continue;
        }
        let Some(sides) = sides::of_sample(&sample).unwrap() else { continue };
        let wrong = sides.errors.iter().find(|error| !error.is_right());
        assert!(wrong.is_none(), "{} / {}: {wrong:?}", sample.op.name(), sample.name);
        compared += sides.smooth + sides.kinks;
        sides.left_out.iter().for_each(|(reason, count)| *left_out.entry(*reason).or_insert(0) += count);
        let rough = [JUMP, STEEP, UNDEFINED, UNSETTLED].iter().any(|reason| sides.left_out.contains_key(reason));
        if (sides.kinks > 0 || rough) && !listed.contains(sample.op.name()) {
            missing.entry(sample.op.name()).or_default().insert(format!("{}: {sides:?}", sample.name));
        }
    }
    println!("{samples} samples that are not smooth: {compared} elements compared, left out {left_out:?}");
    assert!(missing.is_empty(), "kinks that check::kinks does not list:\n{missing:#?}");
    assert!(NOT_LISTED.iter().all(|(op, reason)| reason.len() > 20 && !KINKS.iter().any(|kink| kink.op == *op)));
    let names: BTreeSet<&str> = REGISTRY.iter().flat_map(|f| (f.samples)()).map(|sample| sample.op.name()).collect();
    let stale: Vec<&&str> = listed.iter().filter(|op| !names.contains(**op)).collect();
    assert!(stale.is_empty(), "no operations: {stale:?}");
}

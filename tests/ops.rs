//! Every operation on every device against its plain reference: forward, through views, and its gradient.
//!
//! [`neuropil::check::cases`] makes the cases from the samples in the operations' files; each runs twice, with guard words
//! around every intermediate tensor. A driver that compiles shaders in software spends nearly all the time on that, in one
//! thread a device: so families are dealt to test functions with a device each, which the test runner starts side by side.
//! `NEUROPIL_TEST_FAMILY` limits all of them to families whose names contain it.

mod common;

use std::time::Instant;

use neuropil::check::{Case, cases, check_error, parity};
use neuropil::device::{Options, Tiles};
use neuropil::graph::{Expect, Sample};
use neuropil::ops::REGISTRY;
use neuropil::{Device, Error};

/// The families of each test function, of similar cost. Products cost most: their kernels are the longest.
const CONVOLUTION: &[&str] = &["conv1d", "conv2d", "conv_transpose2d"];
const PRODUCT: &[&str] = &["matmul"];
const ELEMENTWISE: &[&str] = &["elementwise", "constant", "dropout", "movement"];
const IMAGES: &[&str] = &["adaptive_max_pool", "border", "lp_pool", "pixel_shuffle", "resample"];
const INDEXING: &[&str] = &["cumsum", "embedding", "gather", "scatter_add", "sort"];
const LOSSES: &[&str] = &["cosine_similarity", "cross_entropy", "focal", "multi_margin"];
const COMPOSED: &[&str] = &["attention", "einsum", "glu", "norm", "statistics"];
const OTHERS: &[&str] = &["batch_norm", "half", "pool", "recompute", "reduce", "softmax"];
/// All of them.
const DEALT: [&[&str]; 8] = [CONVOLUTION, PRODUCT, ELEMENTWISE, IMAGES, INDEXING, LOSSES, COMPOSED, OTHERS];

#[test]
fn every_family_is_tested_once() {
    let mut dealt: Vec<&str> = DEALT.concat();
    dealt.sort_unstable();
    let mut families: Vec<&str> = REGISTRY.iter().map(|family| family.name).collect();
    families.sort_unstable();
    assert_eq!(dealt, families);
}

#[test]
fn all_families_on_the_cpu() {
    let device = Device::cpu_with(common::GUARDED);
    for families in DEALT {
        check(&device, families, 1);
    }
}

#[test]
fn convolution_on_the_gpu() {
    check_on_gpu(CONVOLUTION);
}

#[test]
fn products_on_the_gpu() {
    check_on_gpu(PRODUCT);
}

#[test]
fn elementwise_on_the_gpu() {
    check_on_gpu(ELEMENTWISE);
}

#[test]
fn images_on_the_gpu() {
    check_on_gpu(IMAGES);
}

#[test]
fn indexing_on_the_gpu() {
    check_on_gpu(INDEXING);
}

#[test]
fn losses_on_the_gpu() {
    check_on_gpu(LOSSES);
}

#[test]
fn other_families_on_the_gpu() {
    check_on_gpu(OTHERS);
}

#[test]
fn composed_families_on_the_gpu() {
    check_on_gpu(COMPOSED);
}

/// Shaders run unchecked elsewhere; with the checks that browsers compile in they must give the same.
#[test]
fn some_of_all_kinds_of_work_on_the_gpu_with_checked_shaders() {
    let Some(device) = common::checked_gpu() else { return };
    check(&device, &["batch_norm", "cross_entropy", "dropout", "movement", "reduce", "softmax"], 1);
    check(&device, &["half"], 4);
    check(&device, &["elementwise", "pool"], 8);
    check(&device, &[IMAGES, INDEXING, LOSSES].concat(), 5);
    check(&device, &["conv2d", "matmul"], 24);
}

/// The form of products that software rasterisers do not choose: hardware GPUs do.
#[test]
fn staged_products_on_the_gpu() {
    let staged = Options { tiles: Tiles::Staged, ..common::GUARDED };
    if let Some(device) = common::open_gpu(staged).or_else(common::skip) {
        check(&device, &["half"], 3);
        check(&device, &["conv2d", "matmul"], 8);
    }
}

fn check_on_gpu(families: &[&str]) {
    if let Some(device) = common::open_gpu(common::GUARDED).or_else(common::skip) {
        check(&device, families, 1);
    }
}

/// Checks every `stride`-th sample of `families`; fails with all that is wrong.
fn check(device: &Device, families: &[&str], stride: usize) {
    let filter = std::env::var("NEUROPIL_TEST_FAMILY").unwrap_or_default();
    let mut failures = Vec::new();
    for family in REGISTRY.iter().filter(|family| families.contains(&family.name) && family.name.contains(&filter)) {
        let start = Instant::now();
        let mut count = 0;
        for sample in (family.samples)().iter().step_by(stride) {
            for (case, failure) in outcomes(device, sample) {
                count += 1;
                failures
                    .extend(failure.map(|error| format!("{} / {} / {case}: {error}", family.name, sample.op.name())));
            }
        }
        println!("{} on {}: {count} cases in {:.1?}", family.name, device.name(), start.elapsed());
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Every case of a sample, with what is wrong, if anything: the output, the index, and both values.
fn outcomes(device: &Device, sample: &Sample) -> Vec<(String, Option<Error>)> {
    if matches!(sample.expect, Expect::Error(..)) {
        return vec![(format!("{}, refused", sample.name), check_error(sample).err())];
    }
    match cases(sample) {
        Ok(cases) => {
            let outcome = |case: &Case| {
                if case.needs_f16() && !device.has_f16() {
                    println!("skipped, {} has no f16: {}", device.name(), case.name);
                    return None;
                }
                match parity::check_case(device, case) {
                    Ok(verdict) => verdict.failure,
                    Err(error) => Some(error),
                }
            };
            cases.iter().map(|case| (format!("{}, {}", case.name, case.direction), outcome(case))).collect()
        }
        Err(error) => vec![(format!("{}, reference", sample.name), Some(error))],
    }
}

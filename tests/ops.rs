//! Every operation on every device against its plain reference, by the suite that the command `check` runs.
//!
//! `NEUROPIL_TEST_FAMILY` limits it to the family or operation of that name, or those whose names contain it.

mod common;

use std::sync::Arc;

use neuropil::Device;
use neuropil::check::findings::{Failure, Finding};
use neuropil::check::suite::{Event, Level, Plan, Suite};
use neuropil::check::variants::variants;
use neuropil::device::Options;

#[test]
fn all_operations_on_the_cpu() {
    check(&Device::cpu(), &Plan { level: Level::Full, ..Plan::default() });
}

#[test]
fn all_operations_on_the_gpu() {
    let Some(device) = common::open_gpu(Options::default()).or_else(common::skip) else { return };
    check(&device, &Plan::default());
}

/// The kernels that this device does not choose, and the checks that browsers compile in: a few samples of every operation.
#[test]
fn other_variants_on_the_gpu() {
    let Some(device) = common::open_gpu(Options::default()).or_else(common::skip) else { return };
    for variant in &variants(&device)[1..] {
        for seed in 0..3 {
            check(
                &device,
                &Plan { level: Level::Quick, variant: Some(variant.name.to_owned()), seed, ..Plan::default() },
            );
        }
    }
}

/// Runs a plan; fails with all that is wrong.
fn check(device: &Device, plan: &Plan) {
    let op = plan.op.clone().or_else(|| std::env::var("NEUROPIL_TEST_FAMILY").ok());
    let found = findings(device, &Plan { op, ..plan.clone() });
    let wrong = |finding: &Finding| {
        let error = &finding.failure.as_ref()?.error;
        Some(format!("{} / {} / {} / {}: {error}", finding.family, finding.op, finding.case(), finding.variant))
    };
    let failures: Vec<String> = found.iter().filter_map(wrong).collect();
    let skipped = found.iter().filter(|finding| finding.skipped).count();
    println!("{} cases on {}, {skipped} of them left out: it has no f16", found.len(), device.name());
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

fn findings(device: &Device, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    let suite = Suite::new(device, plan).expect("there are such operations");
    let outcome = suite.run(|event| {
        if let Event::Found(finding) = event {
            findings.push(finding.clone());
        }
    });
    let lost = outcome.expect("the device opens again").lost;
    assert!(lost.is_none(), "{lost:?}");
    findings
}

/// A kernel is made wrong from its sixth element on: that is found, made small, and found again by what it is called.
#[test]
fn a_wrong_kernel_is_found_made_small_and_found_again() {
    let Some(device) = common::open_gpu(Options::default()).or_else(common::skip) else { return };
    // Of kernels that compute four elements an invocation, those four; of others the one.
    let sixth = |label: &str, text: &str| match text.rsplit_once("[i] = ") {
        Some(_) if label == "div" && text.contains("fn one_of_four") => (0..4).fold(text.to_owned(), |text, place| {
            let wrong = format!("(y{place}.r0 + select(0.0, 1.0, 4u * i + {place}u >= 5u))");
            text.replace(&format!("y{place}.r0"), &wrong)
        }),
        Some((before, after)) if label == "div" => {
            let (value, rest) = after.split_once(';').expect("a statement");
            format!("{before}[i] = {value} + select(0.0, 1.0, i >= 5u);{rest}")
        }
        _ => text.to_owned(),
    };
    device.rewrite_kernels(Some(Arc::new(sixth)));
    let plan = Plan { op: Some("div".to_owned()), seed: 3, ..Plan::default() };
    let found = findings(&device, &plan);
    assert!(found.iter().any(|finding| finding.failure.is_none()), "what has fewer elements is right");
    let (finding, failure) = found.iter().find_map(|f| Some((f, f.failure.as_ref()?))).expect("it is found");
    let Failure { smallest: Some(smallest), element: Some(_), .. } = failure else { panic!("{failure:?}") };
    let element = smallest.element.as_ref().expect("a number is wrong");
    let elements = smallest.inputs.iter().map(|input| input.len()).max();
    assert!(elements == Some(6) && element.index.len() == smallest.inputs[0].shape.len(), "{:?}", smallest.inputs);
    assert!((element.got - element.want - 1.0).abs() < 1e-5, "{element}");

    let named = Plan { case: Some(finding.case()), variant: Some(finding.variant.to_owned()), ..plan };
    for level in [Level::Quick, Level::Standard, Level::Full] {
        let again = findings(&device, &Plan { level, ..named.clone() });
        let failures: Vec<String> =
            again.iter().filter_map(|f| Some(format!("{:?}", f.failure.as_ref()?.smallest))).collect();
        assert!(again.iter().all(|f| f.case() == finding.case() && f.variant == finding.variant));
        assert_eq!(failures, [format!("{:?}", failure.smallest)]);
    }
    let fresh = found.iter().find(|f| f.fresh && f.failure.is_some()).expect("fresh inputs show it too");
    let again = findings(&device, &Plan { case: Some(fresh.case()), ..named });
    assert!(again.len() == 1 && again[0].worst == fresh.worst, "{again:?}");
}

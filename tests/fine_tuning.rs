//! Starting from given weights: a new head, frozen layers, and what is refused.

mod common;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use neuropil::data::{Dataset, digits};
use neuropil::nn::models::small_cnn;
use neuropil::train::{Settings, Trainer};
use neuropil::{Array, Device};

/// The digits as even (0) and odd (1) ones.
fn parity(digits: &Dataset) -> Dataset {
    let labels = digits.labels().iter().map(|label| label % 2).collect();
    Dataset::new("parity", digits.images().unwrap(), labels, vec!["even".into(), "odd".into()]).unwrap()
}

fn trainer(device: &Device, classes: usize, epochs: usize) -> Trainer {
    Trainer::new(device, small_cnn(classes), [8, 8, 1], Settings { epochs, seed: 7, ..Settings::default() })
}

fn digit_weights(train: &Dataset) -> BTreeMap<String, Array> {
    let mut digits = trainer(&Device::cpu(), 10, 4);
    digits.fit(train, None, |_| ControlFlow::Continue(())).unwrap();
    digits.store().weights().unwrap()
}

#[test]
fn a_new_head_learns_on_frozen_features() {
    let (train, test) = digits().unwrap();
    let weights = digit_weights(&train);
    for device in common::devices() {
        let mut tuned = trainer(&device, 2, 3);
        let kept = tuned.start_from(&weights, &["head.*"]).unwrap();
        assert_eq!(kept, ["head.bias", "head.weight"]);
        tuned.freeze("block*").unwrap();
        let head = tuned.store().get("head.weight").unwrap();
        let epochs = tuned.fit(&parity(&train), Some(&parity(&test)), |_| ControlFlow::Continue(())).unwrap();
        let accuracy = epochs.last().unwrap().test.unwrap().accuracy;
        assert!(accuracy > 0.95, "{device:?}: {accuracy}");
        assert_ne!(tuned.store().get("head.weight").unwrap(), head);
        for name in ["block1.conv.weight", "block2.norm.bias", "block3.conv.weight"] {
            assert_eq!(tuned.store().get(name).unwrap(), weights[name], "{device:?}: {name} is frozen");
        }
        let states = tuned.store().names(neuropil::graph::Leaf::State);
        assert!(states.iter().any(|(name, _)| name.contains("head.weight")), "the head has moments");
        assert!(!states.iter().any(|(name, _)| name.contains("block1.conv.weight")), "what is frozen has none");
    }
}

#[test]
fn weights_of_another_model_are_refused() {
    let (train, _) = digits().unwrap();
    let weights = digit_weights(&train);
    let refuse = |weights: &BTreeMap<String, Array>, new: &[&str], words: &str| {
        let mut tuned = trainer(&Device::cpu(), 2, 1);
        let before = tuned.start_from(weights, &["*"]).map(|_| tuned.store().weights().unwrap()).unwrap();
        let error = tuned.start_from(weights, new).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(before, tuned.store().weights().unwrap(), "nothing has changed");
    };
    refuse(&weights, &[], "this part is new");
    refuse(&weights, &["haed.*"], "nothing of this model is called \"haed.*\"; it has block1");
    let mut partial = weights.clone();
    partial.remove("block2.conv.weight");
    refuse(&partial, &["head.*"], "the weights lack \"block2.conv.weight\"");
    let mut foreign = weights;
    foreign.insert("stem.weight".into(), Array::scalar(1f32));
    refuse(&foreign, &["head.*"], "the weights have \"stem.weight\", which this model lacks");

    let error = trainer(&Device::cpu(), 2, 1).freeze("blok*").expect_err("no such parameter").to_string();
    assert!(error.contains("no parameter is called \"blok*\"; there are block1"), "{error}");
}

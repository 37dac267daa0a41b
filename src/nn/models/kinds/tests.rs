//! Layers and mistakes of a description.

use super::super::{Description, by_name};
use crate::nn::parameters::parameters;

/// A description of these layers.
fn of(layers: &str) -> String {
    format!("{{\"layer\":[{layers}]}}")
}

fn shapes(layers: &str, image: [usize; 3]) -> Vec<(String, Vec<usize>)> {
    let model = by_name(&of(layers), 7).unwrap();
    parameters(&model, image).unwrap().into_iter().map(|parameter| (parameter.name, parameter.shape)).collect()
}

#[test]
fn every_kind_is_built() {
    let layers = r#"
        {"kind":"conv","channels":8,"kernel":[3,5],"stride":[1,2],"padding":[1,2],"bias":false},
        {"kind":"batch_norm","momentum":0.2},{"kind":"relu"},{"kind":"leaky_relu","slope":0.2},
        {"kind":"conv_block","channels":8,"kernel":1,"activation":"gelu"},
        {"kind":"residual_block","channels":8},{"kind":"separable_block","channels":8,"stride":2},
        {"kind":"inverted_residual","channels":8,"expansion":2},{"kind":"group_norm","groups":2},{"kind":"prelu"},
        {"kind":"upsample","factor":2},{"kind":"max_pool","size":2},{"kind":"upsample","factor":2,"mode":"bilinear"},
        {"kind":"avg_pool","size":3,"stride":2,"padding":1,"ceil":true},
        {"kind":"conv_transpose","channels":4,"kernel":3,"stride":2,"padding":1,"output_padding":1},
        {"kind":"adaptive_avg_pool","size":[2,1]},{"kind":"flatten"},{"kind":"dropout","rate":0.5},
        {"kind":"elu"},{"kind":"celu","alpha":2},{"kind":"linear","features":"classes","bias":false}"#;
    let found = shapes(layers, [8, 8, 3]);
    assert_eq!(found[0], ("0.weight".into(), vec![8, 3, 5, 3]));
    assert_eq!(found.last().unwrap(), &("20.weight".into(), vec![7, 8]));
    let pooled = shapes(r#"{"kind":"global_avg_pool"},{"kind":"linear","name":"head","features":3}"#, [8, 8, 3]);
    assert_eq!(pooled, [("head.weight".into(), vec![3, 3]), ("head.bias".into(), vec![3])]);
    for activation in
        "selu sigmoid tanh gelu gelu_tanh silu softplus softsign hard_swish hard_sigmoid mish relu6 log_sigmoid"
            .split(' ')
    {
        assert_eq!(shapes(&format!("{{\"kind\":\"{activation}\"}}"), [2, 2, 1]), []);
    }
}

#[test]
fn mistakes_name_the_layer_the_field_and_the_remedy() {
    for (layers, words) in [
        ("", "1 to 1000 layers"),
        ("3", "layer 0 is 3"),
        ("{}", "layer 0 has no kind; give one of conv,"),
        (r#"{"kind":1}"#, "layer 0: kind = 1: give one of conv,"),
        (r#"{"kind":"relu"},{"kind":"convv"}"#, "layer 1 has the kind \"convv\"; give one of conv,"),
        (r#"{"kind":"conv","kernel":3}"#, "layer 0 (conv): channels is missing: give a whole number from 1 to 65536"),
        (r#"{"kind":"conv","channels":8}"#, "layer 0 (conv): kernel is missing"),
        (r#"{"kind":"conv","channels":0,"kernel":3}"#, "layer 0 (conv): channels = 0: give"),
        (
            r#"{"kind":"conv","channels":8,"kernel":[3]}"#,
            "layer 0 (conv): kernel = [3]: give a whole number from 1 to 65536, or two",
        ),
        (
            r#"{"kind":"conv","channels":8,"kernel":3,"padding":-1}"#,
            "layer 0 (conv): padding = -1: give a whole number from 0",
        ),
        (
            r#"{"kind":"conv","chanels":8,"channels":8,"kernel":3}"#,
            "there is no \"chanels\" here; it takes kernel, stride,",
        ),
        (r#"{"kind":"relu","slope":8}"#, "layer 0 (relu): there is no \"slope\" here; it takes nothing but a name"),
        (r#"{"kind":"linear","features":"many"}"#, "layer 0 (linear): features = \"many\": give"),
        (r#"{"kind":"dropout","rate":1}"#, "layer 0 (dropout): rate = 1: give a number from 0 to below 1"),
        (r#"{"kind":"linear","features":1,"bias":0}"#, "bias = 0: give true or false"),
        (r#"{"kind":"conv_block","channels":1,"activation":"elu"}"#, "activation = \"elu\": give one without numbers"),
        (r#"{"kind":"relu","name":"a.b"}"#, "name = \"a.b\": give a text of letters"),
        (r#"{"kind":"relu","name":"a"},{"kind":"relu","name":"a"}"#, "layer 1 is called \"a\" as one before it"),
    ] {
        let text = Description::from_json(&of(layers)).unwrap_err().to_string();
        assert!(text.contains(words), "{text}, not {words}");
    }
    for (text, words) in [
        ("{", "no JSON"),
        ("[]", "no table"),
        (r#"{"layers":[]}"#, "the description has \"layers\""),
        (r#"{"name":3,"layer":[]}"#, "name = 3"),
    ] {
        let text = Description::from_json(text).unwrap_err().to_string();
        assert!(text.contains(words), "{text}, not {words}");
    }
}

#[test]
fn a_description_is_the_same_after_saving() {
    let description = Description::from_json("{\"name\": \"n\",\n \"layer\": [{\"kind\": \"flatten\"}]}").unwrap();
    assert_eq!(description.to_json(), r#"{"layer":[{"kind":"flatten"}],"name":"n"}"#);
    assert_eq!(Description::from_json(&description.to_json()).unwrap(), description);
    assert_eq!(super::super::title(&description.to_json()), "n");
    assert_eq!(super::super::title("mlp"), "mlp");
}

//! The examples on neurons and brains keep their promises: each `run` trains, tests what it learned, and draws.
//!
//! They are compiled into this test, rather than started, so that they need no build of their own. Pictures go to a folder
//! of the test; those of `docs/brain/` are what the same code draws when it is run as an example on the CPU.
#![allow(clippy::duplicate_mod, reason = "every example includes the module with which all of them draw")]

use std::path::Path;

use neuropil::Device;

macro_rules! examples {
    ($($name:ident $file:literal $picture:literal)+) => {$(
        #[allow(dead_code, reason = "`main` is of the example")]
        #[path = $file]
        mod $name;

        #[test]
        fn $name() {
            let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("brain").join($picture);
            $name::run(&Device::cpu(), &picture).unwrap();
            let text = std::fs::read_to_string(&picture).unwrap();
            assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{picture:?} is no SVG");
            assert!(text.len() < 100_000, "{picture:?} has {} bytes", text.len());
            let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/brain").join($picture);
            assert!(shown.exists(), "{shown:?} is missing: run the example");
        }
    )+};
}

examples! {
    mlp "../examples/05_xor_mlp.rs" "mlp.svg"
    digits_cnn "../examples/06_digits_cnn.rs" "cnn.svg"
    neuron "../examples/09_neuron.rs" "neuron.svg"
    backpropagation "../examples/10_backpropagation.rs" "backpropagation.svg"
    spiking_neurons "../examples/11_spiking_neurons.rs" "spiking.svg"
    hopfield_memory "../examples/12_hopfield_memory.rs" "hopfield.svg"
    pole_balancing "../examples/13_pole_balancing.rs" "pole.svg"
}

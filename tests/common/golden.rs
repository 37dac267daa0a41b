//! What PyTorch computed, as `scripts/golden.py` wrote it.

use std::path::Path;

use neuropil::Array;
use neuropil::format::safetensors;
use neuropil::loss::Reduction;
use neuropil::shape::Window;
use serde_json::Value;

/// A case of a file.
pub struct Golden {
    /// The operation.
    pub op: String,
    /// What is special about it.
    pub name: String,
    /// Its parameters.
    pub params: Value,
    /// What it is applied to.
    pub inputs: Vec<Array>,
    /// What it gives.
    pub outputs: Vec<Array>,
    /// What flows into each output on the way back.
    pub upstreams: Vec<Option<Array>>,
    /// The gradient of each input.
    pub gradients: Vec<Option<Array>>,
}

/// The cases of `tests/pytorch/FAMILY.safetensors`.
pub fn load(family: &str) -> Vec<Golden> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/pytorch/{family}.safetensors"));
    let (mut arrays, metadata) = safetensors::load(&path).unwrap();
    let golden: Value = serde_json::from_str(&metadata["golden"]).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    let read = |(index, case): (usize, &Value)| {
        let mut all = |what: &str, count: &str| -> Vec<Option<Array>> {
            let count = case[count].as_u64().unwrap();
            (0..count).map(|i| arrays.remove(&format!("{index}/{what}{i}"))).collect()
        };
        Golden {
            op: case["op"].as_str().unwrap().to_owned(),
            name: case["name"].as_str().unwrap().to_owned(),
            params: case["params"].clone(),
            inputs: all("in", "inputs").into_iter().map(Option::unwrap).collect(),
            outputs: all("out", "outputs").into_iter().map(Option::unwrap).collect(),
            upstreams: all("upstream", "outputs"),
            gradients: all("grad", "inputs"),
        }
    };
    cases.iter().enumerate().map(read).collect()
}

/// The parameters of a case.
pub struct Params<'a>(pub &'a Value);

impl Params<'_> {
    pub fn number(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or_else(|| panic!("{name} in {}", self.0))
    }

    pub fn count(&self, name: &str) -> usize {
        self.number(name) as usize
    }

    pub fn flag(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or(false)
    }

    pub fn pair(&self, name: &str) -> [usize; 2] {
        [0, 1].map(|i| self.0[name][i].as_u64().unwrap_or_else(|| panic!("{name} in {}", self.0)) as usize)
    }

    pub fn values(&self, name: &str) -> Vec<f64> {
        self.0[name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    }

    pub fn axes(&self) -> Vec<isize> {
        self.values("axes").into_iter().map(|axis| axis as isize).collect()
    }

    pub fn reduction(&self) -> Reduction {
        match self.0["reduction"].as_str() {
            Some("none") => Reduction::None,
            Some("sum") => Reduction::Sum,
            _ => Reduction::Mean,
        }
    }

    /// `[[before, after], …]`, or one number for both sides of an axis.
    pub fn borders(&self, name: &str) -> Vec<[usize; 2]> {
        let border = |axis: &Value| match axis.as_u64() {
            Some(both) => [both as usize; 2],
            None => [0, 1].map(|side| axis[side].as_u64().unwrap() as usize),
        };
        self.0[name].as_array().unwrap().iter().map(border).collect()
    }

    pub fn window(&self, kernel_size: [usize; 2]) -> Window {
        let mut window = Window::new(kernel_size);
        window.stride = self.pair("stride");
        if !self.0["padding"].is_null() {
            let borders = self.borders("padding");
            window.padding = [borders[0], borders[1]];
        }
        if !self.0["dilation"].is_null() {
            window.dilation = self.pair("dilation");
        }
        window
    }
}

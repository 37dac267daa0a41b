//! Networks from a description: layers one after the other, as data.
//!
//! A description is a list of layers, each with its `kind` and the numbers of that kind; `docs/models.md` lists them. It is JSON
//! here, and may come from TOML, which says the same. What a layer does not know is an error that names the layer, the field and
//! what it takes. A saved model has the whole description in it, so that it can be built from its file alone.
//! Before: [`super::kinds`], which makes the layers.

use serde_json::{Map, Value};

use super::super::Sequential;
use super::kinds;
use crate::error::{Error, ErrorKind, Result};

/// The most layers.
const MAX_LAYERS: usize = 1000;
/// What a description has.
const FIELDS: [&str; 2] = ["layer", "name"];

/// A network as data.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    name: String,
    value: Value,
}

impl Description {
    /// Whether a text is meant as a description, not as a name.
    pub fn is_one(text: &str) -> bool {
        text.trim_start().starts_with('{')
    }

    /// Reads a description in JSON: `{"name": "…", "layer": [{"kind": "conv", …}, …]}`.
    ///
    /// ```
    /// use neuropil::nn::models::Description;
    /// let text = r#"{"layer": [{"kind": "flatten"}, {"kind": "linear", "features": "classes"}]}"#;
    /// let model = Description::from_json(text)?.build(10)?;
    /// # Ok::<(), neuropil::Error>(())
    /// ```
    ///
    /// # Errors
    /// What is no JSON; a layer that is none, lacks a field or has one that is unknown or out of range.
    pub fn from_json(text: &str) -> Result<Self> {
        let value = serde_json::from_str(text).map_err(|e| refused(format!("the description is no JSON ({e})")))?;
        Self::from_value(value)
    }

    /// As [`Description::from_json`], of a value that was read.
    ///
    /// # Errors
    /// As [`Description::from_json`].
    pub fn from_value(value: Value) -> Result<Self> {
        let Value::Object(fields) = &value else { return Err(refused("the description is no table".to_owned())) };
        if let Some(unknown) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            let text = format!("the description has {unknown:?}; it takes a name and layers, as [[layer]]");
            return Err(refused(text));
        }
        let name = match fields.get("name") {
            None => "described".to_owned(),
            Some(Value::String(name)) if !name.is_empty() => name.clone(),
            Some(other) => return Err(refused(format!("name = {other}: give a text"))),
        };
        let description = Description { name, value: value.clone() };
        description.build(1)?;
        Ok(description)
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The description in JSON; equal ones are equal texts.
    pub fn to_json(&self) -> String {
        self.value.to_string()
    }

    /// The network with `classes` outputs, where the description says `"classes"`.
    ///
    /// # Errors
    /// As [`Description::from_json`].
    pub fn build(&self, classes: usize) -> Result<Sequential> {
        let layers = match self.value.get("layer") {
            Some(Value::Array(layers)) if (1..=MAX_LAYERS).contains(&layers.len()) => layers,
            _ => return Err(refused(format!("it has 1 to {MAX_LAYERS} layers, each as [[layer]]; give it some"))),
        };
        let mut names: Vec<String> = Vec::new();
        let mut model = Sequential::new();
        for (position, layer) in layers.iter().enumerate() {
            let (name, built) = kinds::add(model, position, table(position, layer)?, classes)?;
            if names.contains(&name) {
                let text = format!("layer {position} is called {name:?} as one before it; give it another name");
                return Err(refused(text));
            }
            names.push(name);
            model = built;
        }
        Ok(model)
    }
}

fn table(position: usize, layer: &Value) -> Result<&Map<String, Value>> {
    layer.as_object().ok_or_else(|| refused(format!("layer {position} is {layer}, and no table with a kind")))
}

/// An error in a description.
pub(super) fn refused(text: String) -> Error {
    Error::new(ErrorKind::Config, text)
}

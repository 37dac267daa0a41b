//! The kinds of layers in a description, with what each takes.

use std::cell::RefCell;

use serde_json::{Map, Value};

use super::super::{
    Activation, AdaptiveAvgPool2d, AvgPool2d, BatchNorm, Conv2d, ConvTranspose2d, Dropout, Flatten, GlobalAvgPool2d,
    GroupNorm, Interpolation, Linear, MaxPool2d, Prelu, Sequential, Upsample,
};
use super::description::refused;
use super::{InvertedResidual, NormedConv, ResidualBlock, SeparableBlock};
use crate::error::Result;
use crate::shape::Window;

/// The largest number of channels, features or pixels.
const MAX: usize = 1 << 16;
/// The most that images are magnified.
const MAX_FACTOR: f64 = 16.0;
/// What every layer may have.
const ALL: [&str; 2] = ["kind", "name"];

/// The kinds, in groups.
const KINDS: &str = "conv, conv_transpose, linear, batch_norm, group_norm, dropout, flatten, max_pool, avg_pool, \
    adaptive_avg_pool, global_avg_pool, upsample, prelu, conv_block, residual_block, separable_block, inverted_residual, \
    and the activations relu, leaky_relu, elu, celu, selu, sigmoid, tanh, gelu, gelu_tanh, silu, softplus, softsign, \
    hard_swish, hard_sigmoid, mish, relu6, log_sigmoid";

/// `model` with the layer that `fields` describe behind it, and the name of that layer: its position unless it has one.
pub(super) fn add(
    model: Sequential,
    position: usize,
    fields: &Map<String, Value>,
    classes: usize,
) -> Result<(String, Sequential)> {
    let kind = match fields.get("kind") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(other) => return Err(refused(format!("layer {position}: kind = {other}: give one of {KINDS}"))),
        None => return Err(refused(format!("layer {position} has no kind; give one of {KINDS}"))),
    };
    let fields = Fields { position, kind, fields, classes, taken: RefCell::default() };
    let name = fields.name()?;
    let built = layer(model, &name, &fields)?;
    fields.finish()?;
    Ok((name, built))
}

fn layer(model: Sequential, name: &str, f: &Fields) -> Result<Sequential> {
    Ok(match f.kind {
        "conv" => model.named(name, conv(f)?),
        "conv_transpose" => model.named(
            name,
            ConvTranspose2d {
                window: window(f, None, [0; 2])?,
                output_padding: f.pair("output_padding", Some([0; 2]), 0)?,
                groups: f.whole("groups", Some(1), 1)?,
                bias: f.flag("bias", true)?,
                ..ConvTranspose2d::new(f.extent("channels")?, 1)
            },
        ),
        "linear" => model.named(name, Linear { bias: f.flag("bias", true)?, ..Linear::new(f.extent("features")?) }),
        "batch_norm" => {
            let BatchNorm { epsilon, momentum } = BatchNorm::default();
            model.named(
                name,
                BatchNorm {
                    epsilon: f.number("epsilon", Some(epsilon))?,
                    momentum: f.number("momentum", Some(momentum))?,
                },
            )
        }
        "group_norm" => model.named(name, GroupNorm::new(f.whole("groups", None, 1)?)),
        "dropout" => {
            let rate = f.number("rate", None)?;
            if !(0.0..1.0).contains(&rate) {
                return Err(f.wrong("rate", "give a number from 0 to below 1"));
            }
            model.named(name, Dropout::new(rate))
        }
        "flatten" => model.named(name, Flatten),
        "max_pool" => {
            let size = f.pair("size", None, 1)?;
            model.named(name, MaxPool2d { window: window(f, Some(size), [0; 2])?, ceil_mode: f.flag("ceil", false)? })
        }
        "avg_pool" => {
            let size = f.pair("size", None, 1)?;
            model.named(
                name,
                AvgPool2d {
                    window: window(f, Some(size), [0; 2])?,
                    count_include_pad: f.flag("count_padding", true)?,
                    ceil_mode: f.flag("ceil", false)?,
                },
            )
        }
        "adaptive_avg_pool" => model.named(name, AdaptiveAvgPool2d { size: f.pair("size", None, 1)? }),
        "global_avg_pool" => model.named(name, GlobalAvgPool2d),
        "upsample" => {
            let mode = match f.text("mode", "nearest")?.as_str() {
                "nearest" => Interpolation::Nearest,
                "bilinear" => Interpolation::Bilinear { align_corners: false },
                _ => return Err(f.wrong("mode", "give nearest or bilinear")),
            };
            let factor = f.number("factor", None)?;
            if !(0.0..=MAX_FACTOR).contains(&factor) {
                return Err(f.wrong("factor", "give a number from 0 to 16"));
            }
            model.named(name, Upsample::by(factor).mode(mode))
        }
        "prelu" => model.named(name, Prelu::default()),
        "conv_block" => {
            let activation = match f.text("activation", "relu")?.as_str() {
                "none" => None,
                activation => Some(
                    plain(activation)
                        .ok_or_else(|| f.wrong("activation", "give one without numbers, such as gelu, or none"))?,
                ),
            };
            model.named(name, NormedConv { conv: block_conv(f)?, activation })
        }
        "residual_block" => {
            model.named(name, ResidualBlock { channels: f.extent("channels")?, stride: f.whole("stride", Some(1), 1)? })
        }
        "separable_block" => model
            .named(name, SeparableBlock { channels: f.extent("channels")?, stride: f.whole("stride", Some(1), 1)? }),
        "inverted_residual" => model.named(
            name,
            InvertedResidual {
                channels: f.extent("channels")?,
                stride: f.whole("stride", Some(1), 1)?,
                expansion: f.whole("expansion", Some(6), 1)?,
            },
        ),
        "leaky_relu" => model.named(name, Activation::LeakyRelu(f.number("slope", Some(0.01))?)),
        "elu" => model.named(name, Activation::Elu(f.number("alpha", Some(1.0))?)),
        "celu" => model.named(name, Activation::Celu(f.number("alpha", Some(1.0))?)),
        other => match plain(other) {
            Some(activation) => model.named(name, activation),
            None => return Err(refused(format!("layer {} has the kind {other:?}; give one of {KINDS}", f.position))),
        },
    })
}

/// The activation of this name, if it takes no numbers.
fn plain(name: &str) -> Option<Activation> {
    Some(match name {
        "relu" => Activation::Relu,
        "selu" => Activation::Selu,
        "sigmoid" => Activation::Sigmoid,
        "tanh" => Activation::Tanh,
        "gelu" => Activation::Gelu,
        "gelu_tanh" => Activation::GeluTanh,
        "silu" => Activation::Silu,
        "softplus" => Activation::Softplus,
        "softsign" => Activation::Softsign,
        "hard_swish" => Activation::HardSwish,
        "hard_sigmoid" => Activation::HardSigmoid,
        "mish" => Activation::Mish,
        "relu6" => Activation::Relu6,
        "log_sigmoid" => Activation::LogSigmoid,
        _ => return None,
    })
}

fn conv(f: &Fields) -> Result<Conv2d> {
    Ok(Conv2d {
        window: window(f, None, [0; 2])?,
        groups: f.whole("groups", Some(1), 1)?,
        bias: f.flag("bias", true)?,
        ..Conv2d::new(f.extent("channels")?, 1)
    })
}

/// A convolution that keeps the size unless it has a stride.
fn block_conv(f: &Fields) -> Result<Conv2d> {
    let kernel = f.pair("kernel", Some([3; 2]), 1)?;
    Ok(Conv2d {
        window: window(f, None, kernel.map(|extent| extent / 2))?,
        groups: f.whole("groups", Some(1), 1)?,
        ..Conv2d::new(f.extent("channels")?, 1)
    })
}

/// The window of a convolution, or of pooling with windows of `size`, which are side by side unless a stride is given.
fn window(f: &Fields, size: Option<[usize; 2]>, padding: [usize; 2]) -> Result<Window> {
    let default = (f.kind == "conv_block").then_some([3; 2]);
    let kernel = size.map_or_else(|| f.pair("kernel", default, 1), Ok)?;
    Ok(Window {
        kernel_size: kernel,
        stride: f.pair("stride", Some(size.unwrap_or([1; 2])), 1)?,
        padding: f.pair("padding", Some(padding), 0)?.map(|extent| [extent; 2]),
        dilation: if size.is_some() { [1; 2] } else { f.pair("dilation", Some([1; 2]), 1)? },
    })
}

/// The fields of a layer, and which of them were asked for.
struct Fields<'a> {
    position: usize,
    kind: &'a str,
    fields: &'a Map<String, Value>,
    classes: usize,
    taken: RefCell<Vec<&'static str>>,
}

impl Fields<'_> {
    fn get(&self, field: &'static str) -> Option<&Value> {
        let mut taken = self.taken.borrow_mut();
        if !taken.contains(&field) {
            taken.push(field);
        }
        self.fields.get(field)
    }

    /// What is wrong with a field, with the remedy.
    fn wrong(&self, field: &str, remedy: &str) -> crate::error::Error {
        let what = self.fields.get(field).map_or_else(|| "is missing".to_owned(), |value| format!("= {value}"));
        refused(format!("layer {} ({}): {field} {what}: {remedy}", self.position, self.kind))
    }

    fn name(&self) -> Result<String> {
        match self.fields.get("name") {
            None => Ok(self.position.to_string()),
            Some(Value::String(name))
                if !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c)) =>
            {
                Ok(name.clone())
            }
            Some(_) => Err(self.wrong("name", "give a text of letters, digits, _ and -")),
        }
    }

    fn natural(value: &Value, least: usize) -> Option<usize> {
        value.as_u64().and_then(|number| usize::try_from(number).ok()).filter(|number| (least..=MAX).contains(number))
    }

    fn whole(&self, field: &'static str, default: Option<usize>, least: usize) -> Result<usize> {
        let found = match (self.get(field), default) {
            (None, default) => default,
            (Some(value), _) => Self::natural(value, least),
        };
        found.ok_or_else(|| self.wrong(field, &format!("give a whole number from {least} to {MAX}")))
    }

    /// A number of channels or features, or as many as there are classes.
    fn extent(&self, field: &'static str) -> Result<usize> {
        let found = match self.get(field) {
            Some(Value::String(text)) if text == "classes" => Some(self.classes),
            Some(value) => Self::natural(value, 1),
            None => None,
        };
        found.ok_or_else(|| self.wrong(field, &format!("give a whole number from 1 to {MAX}, or \"classes\"")))
    }

    /// Of height and width: one number for both, or two.
    fn pair(&self, field: &'static str, default: Option<[usize; 2]>, least: usize) -> Result<[usize; 2]> {
        let found = match (self.get(field), default) {
            (None, default) => default,
            (Some(Value::Array(both)), _) => match both.as_slice() {
                [height, width] => Self::natural(height, least).zip(Self::natural(width, least)).map(|(h, w)| [h, w]),
                _ => None,
            },
            (Some(value), _) => Self::natural(value, least).map(|number| [number; 2]),
        };
        let remedy = format!("give a whole number from {least} to {MAX}, or two as in [3, 5]");
        found.ok_or_else(|| self.wrong(field, &remedy))
    }

    fn number(&self, field: &'static str, default: Option<f64>) -> Result<f64> {
        let found = match (self.get(field), default) {
            (None, default) => default,
            (Some(value), _) => value.as_f64().filter(|number| number.is_finite()),
        };
        found.ok_or_else(|| self.wrong(field, "give a number"))
    }

    fn flag(&self, field: &'static str, default: bool) -> Result<bool> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(field, "give true or false")),
        }
    }

    fn text(&self, field: &'static str, default: &str) -> Result<String> {
        match self.get(field) {
            None => Ok(default.to_owned()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(self.wrong(field, "give a text")),
        }
    }

    /// Nothing, if all fields are known.
    fn finish(&self) -> Result<()> {
        let taken = self.taken.borrow();
        let unknown = self.fields.keys().find(|key| !ALL.contains(&key.as_str()) && !taken.contains(&key.as_str()));
        let Some(unknown) = unknown else { return Ok(()) };
        let takes = if taken.is_empty() { "nothing but a name".to_owned() } else { taken.join(", ") };
        Err(refused(format!("layer {} ({}): there is no {unknown:?} here; it takes {takes}", self.position, self.kind)))
    }
}

#[cfg(test)]
mod tests;

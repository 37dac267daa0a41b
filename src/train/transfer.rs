//! Weights from other programs, and for them: which array of a file is which parameter, and in which layout.
//!
//! A rule says how they are matched: by equal names, or in the order in which file and model declare them; in the order, the
//! last parts of the names (`weight`, `running_mean`) must be equal too. Layouts are PyTorch's or the crate's own. Whatever
//! does not match is named, one by one; nothing is left at its initial value in silence. PyTorch's `num_batches_tracked` has no
//! counterpart and is passed over. Before: [`crate::nn::parameters`], [`crate::format`].

use std::collections::{BTreeMap, BTreeSet};

use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::nn::parameters::Parameter;
use crate::tensor::{AVERAGE, AVERAGE_STEPS};

/// How many mismatches an error names before it counts.
const NAMED: usize = 8;
/// PyTorch's count of the batches that a batch norm has seen.
const BATCH_COUNT: &str = "num_batches_tracked";

/// How arrays are matched with parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// Those of equal names.
    Names,
    /// The first with the first, and so on.
    Order,
}

/// In which order the axes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Channels are the second axis, of weights too.
    PyTorch,
    /// Channels are the last axis.
    Own,
}

/// A parameter with the name and the value of the array that it is.
type Pair<'a> = (&'a Parameter, &'a (String, Array));

/// The values of all `parameters` from the arrays `given`.
///
/// # Errors
/// When arrays are missing, left over or of other shapes: all of them are named, up to eight.
pub fn import(
    parameters: &[Parameter],
    given: &[(String, Array)],
    matching: Matching,
    layout: Layout,
) -> Result<BTreeMap<String, Array>> {
    let value = |(parameter, (_, array)): Pair| {
        let array = if array.dtype() == DType::F32 { array.clone() } else { array.cast(DType::F32) };
        let value = if layout == Layout::PyTorch { parameter.from_pytorch(&array)? } else { array };
        Ok((parameter.name.clone(), value))
    };
    matched(parameters, given, matching, layout)?.into_iter().map(value).collect()
}

/// The `weights` of a model with these `parameters`, in their order; with `names`, under those of the arrays that match in the
/// order. Averages stand for their parameters, as they do in prediction. States beside the parameters are left out.
///
/// # Errors
/// When weights are missing or of other shapes, or `names` do not match.
pub fn export(
    parameters: &[Parameter],
    weights: &BTreeMap<String, Array>,
    names: Option<&[(String, Array)]>,
    layout: Layout,
) -> Result<Vec<(String, Array)>> {
    let names = match names {
        Some(names) => {
            let pairs = matched(parameters, names, Matching::Order, layout)?;
            pairs.into_iter().map(|(_, (name, _))| name.clone()).collect()
        }
        None => parameters.iter().map(|parameter| parameter.name.clone()).collect::<Vec<String>>(),
    };
    let averaged = weights.get(AVERAGE_STEPS).map(Array::item).transpose()?.is_some_and(|steps| steps > 0.0);
    let value = |(parameter, name): (&Parameter, String)| {
        let average = weights.get(&format!("{AVERAGE}/{}", parameter.name)).filter(|_| averaged);
        let Some(array) = average.or_else(|| weights.get(&parameter.name)) else {
            return Err(refused(&[format!("{} is missing", parameter.name)]));
        };
        Ok((name, if layout == Layout::PyTorch { parameter.to_pytorch(array)? } else { array.clone() }))
    };
    parameters.iter().zip(names).map(value).collect()
}

/// Every parameter with its array.
fn matched<'a>(
    parameters: &'a [Parameter],
    given: &'a [(String, Array)],
    matching: Matching,
    layout: Layout,
) -> Result<Vec<Pair<'a>>> {
    let given: Vec<&(String, Array)> = given.iter().filter(|(name, _)| last_part(name) != BATCH_COUNT).collect();
    let (pairs, mut wrong) = match matching {
        Matching::Names => by_names(parameters, &given),
        Matching::Order => by_order(parameters, &given),
    };
    for (parameter, (name, array)) in &pairs {
        let wanted = if layout == Layout::PyTorch { parameter.pytorch_shape() } else { parameter.shape.clone() };
        if array.shape() != wanted {
            let own = if *name == parameter.name { String::new() } else { format!(" for {}", parameter.name) };
            wrong.push(format!("{name} is {:?}, {wanted:?} is wanted{own}", array.shape()));
        }
    }
    if wrong.is_empty() { Ok(pairs) } else { Err(refused(&wrong)) }
}

fn by_names<'a>(parameters: &'a [Parameter], given: &[&'a (String, Array)]) -> (Vec<Pair<'a>>, Vec<String>) {
    let arrays: BTreeMap<&str, &(String, Array)> = given.iter().map(|&array| (array.0.as_str(), array)).collect();
    let (mut pairs, mut wrong) = (Vec::new(), Vec::new());
    for parameter in parameters {
        match arrays.get(parameter.name.as_str()) {
            Some(&array) => pairs.push((parameter, array)),
            None => wrong.push(format!("{} {:?} is missing", parameter.name, parameter.shape)),
        }
    }
    let known: BTreeSet<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    let unknown = given.iter().filter(|(name, _)| !known.contains(name.as_str()));
    wrong.extend(unknown.map(|(name, array)| format!("{name} {:?} is not of this model", array.shape())));
    (pairs, wrong)
}

fn by_order<'a>(parameters: &'a [Parameter], given: &[&'a (String, Array)]) -> (Vec<Pair<'a>>, Vec<String>) {
    let mut wrong = Vec::new();
    if parameters.len() != given.len() {
        wrong.push(format!("the file has {} arrays, the model {}", given.len(), parameters.len()));
    }
    let mut pairs = Vec::new();
    for (i, (parameter, &array)) in parameters.iter().zip(given).enumerate() {
        if last_part(&parameter.name) == last_part(&array.0) {
            pairs.push((parameter, array));
        } else {
            wrong.push(format!("number {} is {} in the file and {} in the model", i + 1, array.0, parameter.name));
        }
    }
    (pairs, wrong)
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn refused(wrong: &[String]) -> Error {
    let more = wrong.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let named = wrong[..wrong.len().min(NAMED)].join("; ");
    Error::new(ErrorKind::Shape, format!("the weights are not those of the model: {named}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::parameters::parameters;
    use crate::nn::{BatchNorm, Conv2d, Flatten, Linear, Sequential};

    fn model() -> Vec<Parameter> {
        let model = Sequential::new()
            .named("conv", Conv2d::new(2, 2).no_bias())
            .named("norm", BatchNorm::default())
            .then(Flatten)
            .named("head", Linear::new(3));
        parameters(&model, [3, 3, 1]).unwrap()
    }

    /// Names and shapes as PyTorch has them.
    fn given() -> Vec<(String, Array)> {
        let arrays: [(&str, &[usize]); 8] = [
            ("0.weight", &[2, 1, 2, 2]),
            ("1.weight", &[2]),
            ("1.bias", &[2]),
            ("1.running_mean", &[2]),
            ("1.running_var", &[2]),
            ("1.num_batches_tracked", &[]),
            ("3.weight", &[3, 8]),
            ("3.bias", &[3]),
        ];
        let array =
            |shape: &[usize]| Array::from_fn(shape, |i| (0..shape.len()).map(|axis| i[axis]).sum::<usize>() as f32);
        arrays.map(|(name, shape)| (name.to_owned(), array(shape))).to_vec()
    }

    #[test]
    fn what_is_imported_is_exported() {
        let (model, given) = (model(), given());
        let weights = import(&model, &given, Matching::Order, Layout::PyTorch).unwrap();
        assert_eq!(weights["conv.weight"].shape(), [2, 2, 2, 1]);
        assert_eq!(weights.len(), 7);
        let back = export(&model, &weights, Some(&given), Layout::PyTorch).unwrap();
        let without_count: Vec<_> = given.iter().filter(|(name, _)| !name.contains("num")).cloned().collect();
        assert_eq!(back, without_count);

        let own = export(&model, &weights, None, Layout::Own).unwrap();
        assert_eq!(own[0].0, "conv.weight");
        assert_eq!(import(&model, &own, Matching::Names, Layout::Own).unwrap(), weights);
    }

    #[test]
    fn averages_stand_for_parameters() {
        let model = model();
        let mut weights = import(&model, &given(), Matching::Order, Layout::PyTorch).unwrap();
        weights.insert("average/head.bias".into(), Array::full(&[3], 9f32));
        weights.insert(AVERAGE_STEPS.into(), Array::scalar(0f32));
        let bias = |weights: &BTreeMap<String, Array>| {
            export(&model, weights, None, Layout::PyTorch).unwrap()[6].1.to_f64_vec()
        };
        assert_eq!(bias(&weights), [0.0, 1.0, 2.0]);
        weights.insert(AVERAGE_STEPS.into(), Array::scalar(1f32));
        assert_eq!(bias(&weights), [9.0; 3]);
    }

    #[test]
    fn what_does_not_match_is_named() {
        let (model, mut given) = (model(), given());
        let error = |given: &[(String, Array)], matching| {
            import(&model, given, matching, Layout::PyTorch).unwrap_err().to_string()
        };
        let text = error(&given, Matching::Names);
        assert!(text.contains("conv.weight [2, 2, 2, 1] is missing") && text.ends_with("; and 6 more"), "{text}");
        given.swap(0, 2);
        let text = error(&given, Matching::Order);
        assert!(text.contains("number 1 is 1.bias in the file and conv.weight in the model"), "{text}");
        given.swap(0, 2);
        given[0].1 = Array::full(&[2, 2, 2, 1], 0f32);
        let text = error(&given, Matching::Order);
        assert!(text.contains("0.weight is [2, 2, 2, 1], [2, 1, 2, 2] is wanted for conv.weight"), "{text}");
        given.pop();
        assert!(error(&given, Matching::Order).contains("the file has 6 arrays, the model 7"));
        assert!(
            export(&model, &BTreeMap::new(), None, Layout::Own)
                .unwrap_err()
                .to_string()
                .contains("conv.weight is missing")
        );
    }
}

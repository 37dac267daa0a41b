//! A trained model as one safetensors file: weights, and what prediction needs in the metadata.

use std::collections::BTreeMap;
use std::path::Path;

use crate::array::Array;
use crate::data::Normalization;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::format::safetensors;
use crate::nn::parameters::parameters;
use crate::nn::{Sequential, models};
use crate::store::is_of_training;

use super::normalization;

/// The most numbers that an image may have: 16 million, as a square of 4,096.
const MAX_IMAGE: usize = 1 << 24;

/// What prediction needs besides weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// The network: its name in [`models`], or its whole description as JSON ([`models::Description`]).
    pub model: String,
    /// The names of the classes, in the order of the outputs.
    pub class_names: Vec<String>,
    /// `[H, W, C]` of the pictures.
    pub image_shape: [usize; 3],
    /// The name of the data set it was trained on.
    pub dataset: String,
}

/// A model read from a file.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// What it is.
    pub info: ModelInfo,
    /// Parameters and states by name.
    pub weights: BTreeMap<String, Array>,
}

impl ModelFile {
    /// Writes the file, which is replaced as a whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        safetensors::save(path, &self.weights, &write_info(&self.info))
    }

    /// Reads a file that [`ModelFile::save`] or, with a description of the model, [`super::Checkpoint::save`] wrote.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or lacks what prediction needs.
    pub fn load(path: &Path) -> Result<Self> {
        let (mut weights, metadata) = safetensors::load(path)?;
        weights.retain(|name, _| !is_of_training(name));
        let info = read_info(&metadata).context(|| path.display().to_string())?;
        Ok(ModelFile { info, weights })
    }

    /// The network that the file names or describes.
    ///
    /// # Errors
    /// When there is none of this name, the description is wrong, the images do not fit it, or it has more parameters than
    /// the file: nothing is allocated for those.
    pub fn network(&self) -> Result<Sequential> {
        let model = models::by_name(&self.info.model, self.info.class_names.len())?;
        let wanted = parameters(&model, self.info.image_shape).context(|| models::title(&self.info.model))?;
        let wanted: usize = wanted.iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum();
        let held: usize = self.weights.values().map(Array::len).sum();
        if wanted <= held {
            return Ok(model);
        }
        let text = format!(
            "the network {} has {wanted} numbers and the file {held}: it belongs to another network, or to images of another \
             size",
            models::title(&self.info.model)
        );
        Err(Error::new(ErrorKind::Shape, text))
    }

    /// What pixels are taken relative to, if the network takes them so.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn normalization(&self) -> Result<Option<Normalization>> {
        normalization::of(&self.weights)
    }
}

/// The metadata of a file with this description.
pub(super) fn write_info(info: &ModelInfo) -> BTreeMap<String, String> {
    let [height, width, channels] = info.image_shape;
    let class_names = serde_json::to_string(&info.class_names).unwrap_or_default();
    let metadata = [
        ("neuropil.model", info.model.clone()),
        ("neuropil.class_names", class_names),
        ("neuropil.image_shape", format!("{height},{width},{channels}")),
        ("neuropil.dataset", info.dataset.clone()),
    ];
    metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

pub(super) fn read_info(metadata: &BTreeMap<String, String>) -> Result<ModelInfo> {
    let get = |key: &str| {
        metadata.get(key).ok_or_else(|| {
            let text = format!("the file has no {key:?}: it holds weights, but was not saved by `neuropil train`");
            Error::new(ErrorKind::Format, text)
        })
    };
    let damaged =
        |key: &str| Error::new(ErrorKind::Format, format!("{key:?} in the file is damaged; save the model again"));
    let class_names: Vec<String> =
        serde_json::from_str(get("neuropil.class_names")?).map_err(|_| damaged("neuropil.class_names"))?;
    let extents: Option<Vec<usize>> = get("neuropil.image_shape")?.split(',').map(|part| part.parse().ok()).collect();
    let image_shape: [usize; 3] =
        extents.and_then(|extents| extents.try_into().ok()).ok_or_else(|| damaged("neuropil.image_shape"))?;
    let size = image_shape.iter().try_fold(1usize, |size, &extent| size.checked_mul(extent));
    if !size.is_some_and(|size| (1..=MAX_IMAGE).contains(&size)) {
        return Err(damaged("neuropil.image_shape"));
    }
    if class_names.is_empty() {
        return Err(damaged("neuropil.class_names"));
    }
    let (model, dataset) = (get("neuropil.model")?.clone(), get("neuropil.dataset")?.clone());
    Ok(ModelInfo { model, class_names, image_shape, dataset })
}

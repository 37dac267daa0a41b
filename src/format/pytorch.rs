//! State dictionaries that `torch.save` wrote (`.pt`, `.pth`), read safely.
//!
//! A file is a zip archive, uncompressed: `NAME/data.pkl` says what there is ([`super::pickle`]: no code of it runs), the members
//! `NAME/data/KEY` hold the elements. A tensor is a view of such a storage: a place to start and a stride an axis; several may
//! share one. What is read is checked against what is there: no tensor has more elements than its storage, and all together
//! no more than some times the file, so that a small file stays small in memory. Tensors come in the order of the file, which
//! is that of the modules. After: [`super::weights`].
//!
//! Source: <https://docs.pytorch.org/docs/stable/notes/serialization.html>.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use super::pickle::{self, Node, Pickle, Storage, Tensor};
use crate::array::Array;
use crate::error::{Context, Error, ErrorKind, Result};

/// The most bytes of a description; a thousand tensors take some hundred thousand.
const MAX_PICKLE: u64 = 1 << 24;
/// The most axes of a tensor.
const MAX_RANK: usize = 16;
/// How many times the bytes of the file all tensors together may have: they may share storages.
const MAX_SHARING: usize = 8;
/// Where training scripts keep the state dictionary beside other things.
const KEYS: [&str; 6] = ["state_dict", "model_state_dict", "model_state", "model", "net", "weights"];

/// The tensors of a state dictionary by name, in the order of the file.
///
/// # Errors
/// What is no such file, is damaged, or holds Python objects other than tensors, numbers, text and collections of them;
/// tensors of complex or quantized numbers.
pub fn decode(bytes: &[u8]) -> Result<Vec<(String, Array)>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| damaged(&e))?;
    let names: Vec<String> = archive.file_names().flatten().map(|name| name.into_owned()).collect();
    let Some(root) = names.iter().find_map(|name| name.strip_suffix("data.pkl")) else {
        let text = "is a zip archive without data.pkl, so torch.save did not write it; save it with torch.save";
        return Err(Error::new(ErrorKind::Format, text));
    };
    let byteorder = format!("{root}byteorder");
    if names.contains(&byteorder) && member(&mut archive, &byteorder, 16)? != b"little" {
        let text = "holds numbers in big-endian order; save it on a little-endian machine";
        return Err(Error::new(ErrorKind::Format, text));
    }
    let description = format!("{root}data.pkl");
    let pickle = pickle::read(&member(&mut archive, &description, MAX_PICKLE)?).context(|| "data.pkl")?;
    let mut storages = HashMap::new();
    let mut left = bytes.len().saturating_mul(MAX_SHARING);
    let tensors = tensors(&pickle)?.into_iter().map(|(name, tensor)| {
        let Node::Storage(storage) = &pickle.nodes[tensor.storage] else {
            return Err(Error::new(ErrorKind::Format, format!("{name}: has no storage; save it again")));
        };
        if !storages.contains_key(storage.key.as_str()) {
            let path = format!("{root}data/{}", storage.key);
            let elements = member(&mut archive, &path, bytes.len() as u64).context(|| name.to_owned())?;
            storages.insert(storage.key.as_str(), elements);
        }
        let array = view(tensor, storage, &storages[storage.key.as_str()], &mut left).context(|| name.to_owned())?;
        Ok((name.to_owned(), array))
    });
    tensors.collect()
}

fn damaged(error: &dyn std::fmt::Display) -> Error {
    let text = format!("is no whole file of torch.save ({error}); save or copy it again");
    Error::new(ErrorKind::Format, text)
}

/// A member of the archive, of at most so many bytes.
fn member(archive: &mut zip::ZipArchive<Cursor<&[u8]>>, name: &str, limit: u64) -> Result<Vec<u8>> {
    let member = archive.by_name(name).map_err(|e| damaged(&format_args!("{name}: {e}")))?;
    if member.compression() != zip::CompressionMethod::Stored {
        return Err(damaged(&format_args!("{name} is compressed, which torch.save never does")));
    }
    let mut content = Vec::new();
    member.take(limit + 1).read_to_end(&mut content).map_err(|e| damaged(&format_args!("{name}: {e}")))?;
    match content.len() as u64 > limit {
        true => Err(damaged(&format_args!("{name} has more than {limit} bytes"))),
        false => Ok(content),
    }
}

/// The tensors of the dictionary that is the state, which may be one of several values of another.
fn tensors(pickle: &Pickle) -> Result<Vec<(&str, &Tensor)>> {
    let dict = |id: usize| if let Node::Dict(pairs) = &pickle.nodes[id] { Some(pairs) } else { None };
    let Some(pairs) = dict(pickle.root) else {
        let text = "holds no dictionary; save one with torch.save(model.state_dict(), FILE)";
        return Err(Error::new(ErrorKind::Format, text));
    };
    let text = |id: usize| if let Node::Text(text) = &pickle.nodes[id] { Some(text.as_str()) } else { None };
    let of = |pairs: &'_ [(usize, usize)]| -> Vec<(&str, &Tensor)> {
        let tensor = |id: usize| if let Node::Tensor(tensor) = &pickle.nodes[id] { Some(tensor) } else { None };
        pairs.iter().filter_map(|&(key, value)| text(key).zip(tensor(value))).collect()
    };
    let nested = |wanted: &str| {
        let found = pairs.iter().find(|&&(key, _)| text(key) == Some(wanted)).and_then(|&(_, value)| dict(value));
        found.map(|pairs| of(pairs)).filter(|tensors| !tensors.is_empty())
    };
    let direct = of(pairs);
    let found = if direct.is_empty() { KEYS.iter().find_map(|key| nested(key)) } else { Some(direct) };
    found.ok_or_else(|| {
        let keys: Vec<&str> = pairs.iter().filter_map(|&(key, _)| text(key)).take(12).collect();
        let text = format!(
            "has no tensors, and none under {}; its keys are {:?}; save the state dictionary alone",
            KEYS.join(", "),
            keys.join(", ")
        );
        Error::new(ErrorKind::Format, text)
    })
}

/// The elements that `tensor` sees of `content`; takes their bytes off what is `left` of all.
fn view(tensor: &Tensor, storage: &Storage, content: &[u8], left: &mut usize) -> Result<Array> {
    let Tensor { offset, shape, strides, .. } = tensor;
    let wrong = |what: String| Error::new(ErrorKind::Format, format!("{what}; save it again"));
    let size = storage.ty.size();
    let stored = content.len() / size;
    if usize::try_from(storage.elements).ok().and_then(|elements| elements.checked_mul(size)) != Some(content.len()) {
        let text = format!("its storage should have {} elements of {:?}", storage.elements, storage.ty);
        return Err(wrong(format!("{text} and has {} bytes", content.len())));
    }
    let natural =
        |numbers: &[i64]| numbers.iter().map(|&number| usize::try_from(number).ok()).collect::<Option<Vec<_>>>();
    let parts = natural(shape).zip(natural(strides)).zip(usize::try_from(*offset).ok());
    let Some(((shape, strides), offset)) =
        parts.filter(|((shape, strides), _)| shape.len() == strides.len() && shape.len() <= MAX_RANK)
    else {
        return Err(wrong(format!("has the shape {shape:?}, the strides {strides:?} and the offset {offset}")));
    };
    let elements = shape.iter().try_fold(1usize, |elements, &extent| elements.checked_mul(extent));
    let Some(elements) = elements.filter(|&elements| elements <= stored) else {
        return Err(wrong(format!("shape {shape:?} has more elements than the {stored} of its storage")));
    };
    let last = shape
        .iter()
        .zip(&strides)
        .try_fold(offset, |last, (&extent, &stride)| extent.saturating_sub(1).checked_mul(stride)?.checked_add(last));
    if elements > 0 && last.is_none_or(|last| last >= stored) {
        return Err(wrong(format!(
            "shape {shape:?} with strides {strides:?} from {offset} reaches beyond the {stored} elements of its storage"
        )));
    }
    let bytes = elements * size;
    *left = left.checked_sub(bytes).ok_or_else(|| {
        wrong(format!("its tensors have more than {MAX_SHARING} times the bytes of the file, by sharing storages"))
    })?;
    storage.ty.array(&shape, &gather(content, size, &shape, &strides, offset, elements))
}

/// The bytes of `elements` elements in row-major order of `shape`.
fn gather(content: &[u8], size: usize, shape: &[usize], strides: &[usize], offset: usize, elements: usize) -> Vec<u8> {
    let mut gathered = Vec::with_capacity(elements * size);
    let mut index = vec![0; shape.len()];
    let mut at = offset;
    for _ in 0..elements {
        gathered.extend_from_slice(&content[at * size..(at + 1) * size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    gathered
}

#[cfg(test)]
mod tests;

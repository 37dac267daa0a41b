//! safetensors: named arrays and string metadata in one file, readable by every framework.
//!
//! A file is the length of its header (8 bytes, little-endian), the header (JSON: type, shape and byte range of every
//! array, and the metadata), then the elements, little-endian. The same content always gives the same bytes, so two
//! checkpoints can be compared as files: the header is written here, in order, because the `safetensors` crate orders
//! metadata by chance. Reading is left to that crate, which checks that the arrays cover the file without gap or overlap.
//!
//! Source: <https://github.com/huggingface/safetensors#format>.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use ::safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Map, Value, json};

use super::elements::ElementType;
use super::{failed, write_atomically};
use crate::array::Array;
use crate::error::{Context, Error, ErrorKind, Result};

/// The name in the header that holds the metadata, and so cannot be an array's.
const METADATA: &str = "__metadata__";
/// What the length of the header is a multiple of, so that elements are aligned in the file.
const ALIGNMENT: usize = 8;

/// Writes `tensors` and `metadata` to the file `path`, which is replaced as a whole or, after an error, not at all.
///
/// # Errors
/// A file that cannot be written, or an array called `__metadata__`.
pub fn save(path: &Path, tensors: &BTreeMap<String, Array>, metadata: &BTreeMap<String, String>) -> Result<()> {
    write_atomically(path, |writer| encode(writer, tensors, metadata))
}

/// Reads the arrays and the metadata of the file `path`.
///
/// # Errors
/// A file that cannot be read, is damaged or is not safetensors, or an array of 8-bit floats, complex numbers or integers beyond
/// 32 bits. `BF16` becomes `F32`, small integers `I32`.
pub fn load(path: &Path) -> Result<(BTreeMap<String, Array>, BTreeMap<String, String>)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    decode(&bytes).context(|| path.display().to_string())
}

/// Writes `tensors` and `metadata` to `writer`.
///
/// # Errors
/// As [`save`].
pub fn encode(
    writer: &mut dyn Write,
    tensors: &BTreeMap<String, Array>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    if tensors.contains_key(METADATA) {
        return Err(Error::new(ErrorKind::Config, format!("no array can be called {METADATA}; rename it")));
    }
    // Wide elements first, so that all of them are aligned.
    let mut ordered: Vec<_> = tensors.iter().collect();
    ordered.sort_by_key(|(_, array)| std::cmp::Reverse(array.dtype().size()));

    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert(METADATA.to_owned(), json!(metadata));
    }
    let mut offset = 0;
    for (name, array) in &ordered {
        let end = offset + array.len() * array.dtype().size();
        let entry = json!({ "dtype": type_name(array), "shape": array.shape(), "data_offsets": [offset, end] });
        header.insert((*name).clone(), entry);
        offset = end;
    }
    let mut header = Value::Object(header).to_string();
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(ALIGNMENT) - header.len()));

    let mut write = || {
        writer.write_all(&(header.len() as u64).to_le_bytes())?;
        writer.write_all(header.as_bytes())?;
        ordered.iter().try_for_each(|(_, array)| write_elements(writer, array))
    };
    write().map_err(failed)
}

fn type_name(array: &Array) -> &'static str {
    match array {
        Array::F32(_) => "F32",
        Array::F64(_) => "F64",
        Array::F16(_) => "F16",
        Array::U32(_) => "U32",
        Array::I32(_) => "I32",
    }
}

fn write_elements(writer: &mut dyn Write, array: &Array) -> io::Result<()> {
    match array {
        Array::F32(a) => a.iter().try_for_each(|v| writer.write_all(&v.to_le_bytes())),
        Array::F64(a) => a.iter().try_for_each(|v| writer.write_all(&v.to_le_bytes())),
        Array::F16(a) => a.iter().try_for_each(|v| writer.write_all(&v.to_le_bytes())),
        Array::U32(a) => a.iter().try_for_each(|v| writer.write_all(&v.to_le_bytes())),
        Array::I32(a) => a.iter().try_for_each(|v| writer.write_all(&v.to_le_bytes())),
    }
}

/// The arrays and the metadata in the bytes of a file.
///
/// # Errors
/// As [`load`].
pub fn decode(bytes: &[u8]) -> Result<(BTreeMap<String, Array>, BTreeMap<String, String>)> {
    let malformed = |e| {
        let message = format!("is not a whole safetensors file ({e}); save, export or copy it again");
        Error::new(ErrorKind::Format, message)
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(malformed)?;
    let file = SafeTensors::deserialize(bytes).map_err(malformed)?;
    let metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let array = read_elements(&view).context(|| format!("array {name}"))?;
        tensors.insert(name.to_owned(), array);
    }
    Ok((tensors, metadata))
}

fn read_elements(view: &TensorView<'_>) -> Result<Array> {
    let ty = match view.dtype() {
        Dtype::F64 => ElementType::F64,
        Dtype::F32 => ElementType::F32,
        Dtype::F16 => ElementType::F16,
        Dtype::BF16 => ElementType::Bf16,
        Dtype::I64 => ElementType::I64,
        Dtype::I32 => ElementType::I32,
        Dtype::U32 => ElementType::U32,
        Dtype::I16 => ElementType::I16,
        Dtype::I8 => ElementType::I8,
        Dtype::U8 => ElementType::U8,
        Dtype::BOOL => ElementType::Bool,
        other => {
            let text = format!(
                "has elements of type {other}; F64, F32, F16, BF16, BOOL and integers are read, convert it to one"
            );
            return Err(Error::new(ErrorKind::DType, text));
        }
    };
    ty.array(view.shape(), view.data())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::TempDir;
    use crate::random::Stream;

    type Content = (BTreeMap<String, Array>, BTreeMap<String, String>);

    fn example() -> Content {
        let tensors = [
            ("conv.weight", Array::new(&[2, 1, 1, 2], vec![1.5f32, -0.0, f32::MIN_POSITIVE, f32::INFINITY]).unwrap()),
            ("step", Array::scalar(7u32)),
            ("offsets", Array::new(&[3], vec![i32::MIN, 0, i32::MAX]).unwrap()),
            ("exact", Array::new(&[1, 2], vec![0.1f64, -1e300]).unwrap()),
            ("halves", Array::new(&[3], vec![0.5f32, -65504.0, f32::INFINITY]).unwrap().cast(crate::DType::F16)),
            ("empty \"ü\"", Array::full(&[0, 4], 0f32)),
        ];
        let metadata = [("model", "tiny \"net\"\n"), ("format", "neuropil"), ("epoch", "3"), ("", "")];
        (
            tensors.into_iter().map(|(name, array)| (name.to_owned(), array)).collect(),
            metadata.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        )
    }

    fn bytes((tensors, metadata): &Content) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&mut bytes, tensors, metadata).unwrap();
        bytes
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let (dir, content) = (TempDir::new(), example());
        let path = dir.path().join("model.safetensors");
        save(&path, &content.0, &content.1).unwrap();
        assert_eq!(load(&path).unwrap(), content);

        let nothing = Content::default();
        save(&path, &nothing.0, &nothing.1).unwrap();
        assert_eq!(load(&path).unwrap(), nothing);
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let small = (
            BTreeMap::from([("a".to_owned(), Array::scalar(1f32)), ("b".to_owned(), Array::scalar(2f64))]),
            BTreeMap::from([("z".to_owned(), "1".to_owned()), ("y".to_owned(), "2".to_owned())]),
        );
        let header = r#"{"__metadata__":{"y":"2","z":"1"},"a":{"data_offsets":[8,12],"dtype":"F32","shape":[]},"b":{"data_offsets":[0,8],"dtype":"F64","shape":[]}}"#;
        let written = bytes(&small);
        assert_eq!(std::str::from_utf8(&written[8..written.len() - 12]).unwrap().trim_end(), header);
        assert_eq!((written.len() - 12) % 8, 0);
        assert_eq!(written[written.len() - 12..], [2f64.to_le_bytes().to_vec(), 1f32.to_le_bytes().to_vec()].concat());
    }

    #[test]
    fn errors_name_the_file_or_the_array() {
        let dir = TempDir::new();
        let absent = load(&dir.path().join("absent")).unwrap_err();
        assert!(absent.kind() == ErrorKind::Io && absent.to_string().contains("absent"));
        let text = load(&dir.write("model.pt", b"PK\x03\x04 a zip of pickles")).unwrap_err().to_string();
        assert!(text.contains("model.pt") && text.contains("not a whole safetensors file"), "{text}");

        let header = r#"{"weight":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}"#;
        let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0, 0]].concat();
        let text = decode(&file).unwrap_err().to_string();
        assert!(text.starts_with("array weight: has elements of type F8_E4M3"), "{text}");

        let reserved = BTreeMap::from([(METADATA.to_owned(), Array::scalar(0f32))]);
        let error = save(&dir.path().join("x"), &reserved, &BTreeMap::new()).unwrap_err();
        assert!(error.kind() == ErrorKind::Config && !dir.path().join("x").exists());
    }

    #[test]
    fn a_truncated_or_extended_file_is_always_an_error() {
        let mut whole = bytes(&example());
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]).unwrap_err().kind(), ErrorKind::Format, "{length} bytes");
        }
        whole.push(0);
        assert!(decode(&whole).is_err());
    }

    #[test]
    fn mutated_files_are_read_or_refused() {
        let original = bytes(&example());
        let mut stream = Stream::new(0, "safetensors mutations");
        for _ in 0..20_000 {
            let mut mutated = original.clone();
            for _ in 0..=stream.below(3) {
                let at = stream.below(mutated.len() as u64) as usize;
                // Digits and brackets keep the header valid more often than random bytes do.
                mutated[at] = match stream.below(2) {
                    0 => b"0123456789[]{},:\"FUI"[stream.below(20) as usize],
                    _ => stream.next_u32() as u8,
                };
            }
            let _ = decode(&mutated);
        }
        let header = format!(r#"{{"a":{{"dtype":"F32","shape":[0,{0},{0}],"data_offsets":[0,0]}}}}"#, u64::MAX / 2);
        let huge = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
        assert!(decode(&huge).is_err());
    }
}

//! Archives of NumPy arrays (`.npz`) with weights: an array a member, in the order given.
//!
//! Written uncompressed, as `numpy.savez` does, so that `numpy.load` and everything built on it read it. Reading takes what
//! [`crate::data::npy`] takes, and knows no pickled objects. After: [`super::weights`].
//!
//! Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::io::{Cursor, Read, Seek, Write};

use zip::write::{SimpleFileOptions, ZipWriter};

use crate::array::Array;
use crate::data::npy::{self, Elements, Npy};
use crate::error::{Context, Error, ErrorKind, Result};

/// What the length of a file up to the elements is a multiple of.
const ALIGNMENT: usize = 64;

/// The bytes of an archive with these arrays.
///
/// # Errors
/// Two arrays of one name.
pub fn encode(arrays: &[(String, Array)]) -> Result<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, array) in arrays {
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        let started = archive.start_file(format!("{name}.npy"), options);
        let written = started.and_then(|()| Ok(archive.write_all(&npy_bytes(array))?));
        written.map_err(|e| Error::new(ErrorKind::Format, format!("{name}: {e}; rename it")))?;
    }
    let archive = archive.finish().map_err(|e| Error::new(ErrorKind::Format, e.to_string()))?;
    Ok(archive.into_inner())
}

/// The arrays of an archive by name, in its order; bytes and other integers are `i32`.
///
/// # Errors
/// What is no archive, is damaged, or has arrays of text or of integers beyond 32 bits.
pub fn decode(reader: impl Read + Seek) -> Result<Vec<(String, Array)>> {
    let damaged = |e: zip::result::ZipError| {
        Error::new(ErrorKind::Format, format!("is no whole archive of NumPy ({e}); save or copy it again"))
    };
    let mut archive = zip::ZipArchive::new(reader).map_err(damaged)?;
    let mut arrays = Vec::new();
    for index in 0..archive.len() {
        let member = archive.by_index(index).map_err(damaged)?;
        let file = member.name().map_err(damaged)?.into_owned();
        let name = file.strip_suffix(".npy").unwrap_or(&file).to_owned();
        let array = npy::read(member).and_then(array).context(|| file)?;
        arrays.push((name, array));
    }
    Ok(arrays)
}

fn array(Npy { shape, elements }: Npy) -> Result<Array> {
    match elements {
        Elements::Floats(numbers) => Array::new(&shape, numbers),
        Elements::Bytes(bytes) => Array::new(&shape, bytes.into_iter().map(i32::from).collect()),
        Elements::Integers(numbers) => {
            let narrow: std::result::Result<Vec<i32>, _> = numbers.into_iter().map(i32::try_from).collect();
            let beyond = |_| Error::new(ErrorKind::DType, "has integers beyond 32 bits; convert it with astype");
            Array::new(&shape, narrow.map_err(beyond)?)
        }
        Elements::Texts(_) => Err(Error::new(ErrorKind::DType, "has text; weights are numbers, leave it out")),
    }
}

/// The array as a file of its own.
fn npy_bytes(array: &Array) -> Vec<u8> {
    fn bytes<T: Copy, const N: usize>(elements: impl Iterator<Item = T>, word: impl Fn(T) -> [u8; N]) -> Vec<u8> {
        elements.flat_map(word).collect()
    }
    let (descr, elements) = match array {
        Array::F64(a) => ("<f8", bytes(a.iter().copied(), f64::to_le_bytes)),
        Array::F32(a) => ("<f4", bytes(a.iter().copied(), f32::to_le_bytes)),
        Array::F16(a) => ("<f2", bytes(a.iter().copied(), half::f16::to_le_bytes)),
        Array::U32(a) => ("<u4", bytes(a.iter().copied(), u32::to_le_bytes)),
        Array::I32(a) => ("<i4", bytes(a.iter().copied(), i32::to_le_bytes)),
    };
    let extents: String = array.shape().iter().map(|extent| format!("{extent}, ")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", extents.trim_end());
    let length = (10 + header.len() + 1).next_multiple_of(ALIGNMENT);
    let header = format!("{header:<width$}\n", width = length - 11);
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &elements].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_in_its_order() {
        let arrays = [
            ("z.weight", Array::new(&[2, 1, 2], vec![1.5f32, -0.0, 3.0, f32::INFINITY]).unwrap()),
            ("a.steps", Array::scalar(-7i32)),
            ("b", Array::new(&[3], vec![1i32, 2, 3]).unwrap()),
        ];
        let arrays: Vec<(String, Array)> = arrays.into_iter().map(|(name, array)| (name.to_owned(), array)).collect();
        let bytes = encode(&arrays).unwrap();
        assert_eq!(decode(Cursor::new(&bytes)).unwrap(), arrays);
        let twice = [arrays[0].clone(), arrays[0].clone()];
        assert!(encode(&twice).unwrap_err().to_string().contains("z.weight"));
        for length in 0..bytes.len() {
            assert!(decode(Cursor::new(&bytes[..length])).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn the_header_is_that_of_numpy() {
        let bytes = npy_bytes(&Array::new(&[1, 2], vec![1f32, 2.0]).unwrap());
        assert!(
            bytes.starts_with(b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2,), }")
        );
        assert_eq!((bytes.len(), bytes[127]), (128 + 8, b'\n'));
        let scalar = npy_bytes(&Array::scalar(1f64));
        assert!(scalar[10..].starts_with(b"{'descr': '<f8', 'fortran_order': False, 'shape': (), }"));
    }
}

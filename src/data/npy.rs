//! NumPy's array files: a header in the notation of Python, then the elements.
//!
//! A file is the magic bytes, a version, the length of the header, the header (a dictionary of element type, order and
//! shape), then the elements. A file is taken as it is or refused: every element that the header declares must be there and
//! none more, and memory grows with what a file holds, never with what its header claims. Elements are widened to what the
//! crate computes with: bytes stay bytes, other integers become `i64`, floats `f32`. Pickled objects are never read.
//!
//! Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::io::Read;

use super::files::{REMEDY, unreadable};
use crate::error::{Error, ErrorKind, Result};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// The most bytes of a header; what NumPy writes has some hundred.
const MAX_HEADER: usize = 1 << 16;
/// The most bytes of elements that a file may declare.
const MAX_BYTES: usize = 1 << 34;

/// An array from a file, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Npy {
    /// The extents, each at least 1.
    pub shape: Vec<usize>,
    /// As many as the product of `shape`.
    pub elements: Elements,
}

/// The elements of an array.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// From `uint8` and `bool`.
    Bytes(Vec<u8>),
    /// From other integers.
    Integers(Vec<i64>),
    /// From `float16`, `float32` and `float64`.
    Floats(Vec<f32>),
    /// From `str`.
    Texts(Vec<String>),
}

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    /// Byte order, kind and size, as in `<f4`.
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

fn malformed(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Format, text)
}

/// Reads an array.
///
/// # Errors
/// What is no array file, is truncated or has bytes too many; arrays in Fortran's order or of other elements than numbers
/// and text.
pub fn read(mut reader: impl Read) -> Result<Npy> {
    let header = read_header(&mut reader)?;
    let Header { descr, fortran_order, shape } = &header;
    if *fortran_order && shape.len() > 1 {
        return Err(malformed("is in Fortran's order; save numpy.ascontiguousarray of it"));
    }
    let (kind, size) = element_type(descr)?;
    let bytes = shape.iter().try_fold(size, |bytes: usize, &extent| bytes.checked_mul(extent));
    let Some(bytes) = bytes.filter(|bytes| (1..=MAX_BYTES).contains(bytes)) else {
        return Err(malformed(format!(
            "its header declares the shape {shape:?} of {descr}; 1 to {MAX_BYTES} bytes are read; {REMEDY}"
        )));
    };
    let mut content = Vec::new();
    reader.take(bytes as u64 + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() != bytes {
        let found = if content.len() > bytes { "more".to_owned() } else { content.len().to_string() };
        return Err(malformed(format!(
            "has {found} bytes of elements, its header declares {bytes} ({shape:?} of {descr}); {REMEDY}"
        )));
    }
    let elements = elements(content, descr.starts_with('>'), kind, size)?;
    Ok(Npy { shape: header.shape, elements })
}

fn read_header(reader: &mut impl Read) -> Result<Header> {
    let mut start = [0; 8];
    reader.read_exact(&mut start).map_err(unreadable)?;
    let (magic, &[major, _]) = (&start[..6], &start[6..]) else { return Err(malformed("has no version")) };
    if magic != MAGIC || !(1..=3).contains(&major) {
        return Err(malformed(format!(
            "starts with the bytes {start:02x?}, and is no array of NumPy in version 1 to 3 of the format; save it with \
             numpy.save or numpy.savez"
        )));
    }
    let mut length = [0; 4];
    let length_bytes = if major == 1 { 2 } else { 4 };
    reader.read_exact(&mut length[..length_bytes]).map_err(unreadable)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HEADER {
        return Err(malformed(format!("has a header of {length} bytes, at most {MAX_HEADER} are read; {REMEDY}")));
    }
    let mut text = vec![0; length];
    reader.read_exact(&mut text).map_err(unreadable)?;
    let parsed = std::str::from_utf8(&text).ok().and_then(|text| Python(text).header());
    parsed.ok_or_else(|| {
        let text = String::from_utf8_lossy(&text[..length.min(200)]).trim_end().to_owned();
        malformed(format!(
            "has the header {text:?}; wanted is descr, fortran_order and shape of an array of one type; save such a one"
        ))
    })
}

/// What is left of a text in Python's notation.
struct Python<'a>(&'a str);

impl<'a> Python<'a> {
    /// Whether `sign` comes next; it is then left behind.
    fn eat(&mut self, sign: &str) -> bool {
        let rest = self.0.trim_start();
        let found = rest.strip_prefix(sign);
        self.0 = found.unwrap_or(rest);
        found.is_some()
    }

    fn quoted(&mut self) -> Option<&'a str> {
        let quote = ["'", "\""].into_iter().find(|quote| self.eat(quote))?;
        let (text, rest) = self.0.split_once(quote)?;
        self.0 = rest;
        Some(text)
    }

    fn number(&mut self) -> Option<usize> {
        let rest = self.0.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        // Python 2 wrote `5L`.
        self.0 = rest[end..].strip_prefix('L').unwrap_or(&rest[end..]);
        rest[..end].parse().ok()
    }

    fn tuple(&mut self) -> Option<Vec<usize>> {
        let mut numbers = Vec::new();
        if !self.eat("(") {
            return None;
        }
        while !self.eat(")") {
            numbers.push(self.number()?);
            if !self.eat(",") {
                return self.eat(")").then_some(numbers);
            }
        }
        Some(numbers)
    }

    fn header(mut self) -> Option<Header> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        if !self.eat("{") {
            return None;
        }
        while !self.eat("}") {
            let key = self.quoted()?;
            if !self.eat(":") {
                return None;
            }
            match key {
                "descr" => descr = Some(self.quoted()?.to_owned()),
                "fortran_order" if self.eat("True") => fortran_order = Some(true),
                "fortran_order" if self.eat("False") => fortran_order = Some(false),
                "shape" => shape = Some(self.tuple()?),
                _ => return None,
            }
            if !self.eat(",") {
                if self.eat("}") {
                    break;
                }
                return None;
            }
        }
        let whole = self.0.trim().is_empty();
        Some(Header { descr: descr?, fortran_order: fortran_order?, shape: shape? }).filter(|_| whole)
    }
}

/// The kind of elements and the bytes of each.
fn element_type(descr: &str) -> Result<(char, usize)> {
    let refused = || {
        malformed(format!(
            "has elements of type {descr:?}; read are uint8, bool, integers, floats and str; convert it with astype"
        ))
    };
    let mut chars = descr.strip_prefix(['<', '>', '|', '=']).unwrap_or(descr).chars();
    let kind = chars.next().ok_or_else(refused)?;
    let size: usize = chars.as_str().parse().map_err(|_| refused())?;
    match (kind, size) {
        ('b', 1) | ('u' | 'i', 1 | 2 | 4 | 8) | ('f', 2 | 4 | 8) => Ok((kind, size)),
        // Characters of four bytes.
        ('U', 1..=MAX_HEADER) => Ok((kind, 4 * size)),
        _ => Err(refused()),
    }
}

fn elements(content: Vec<u8>, big_endian: bool, kind: char, size: usize) -> Result<Elements> {
    if matches!((kind, size), ('b' | 'u', 1)) {
        return Ok(Elements::Bytes(content));
    }
    // Little-endian and widened to eight bytes, the sign too.
    let word = |bytes: &[u8]| {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        if big_endian {
            wide[..bytes.len()].reverse();
        }
        let unused = 64 - 8 * bytes.len() as u32;
        let word = u64::from_le_bytes(wide);
        if kind == 'i' { ((word << unused) as i64 >> unused) as u64 } else { word }
    };
    let words = content.chunks_exact(if kind == 'U' { 4 } else { size }).map(word);
    Ok(match (kind, size) {
        ('f', 2) => Elements::Floats(words.map(|word| half::f16::from_bits(word as u16).to_f32()).collect()),
        ('f', 4) => Elements::Floats(words.map(|word| f32::from_bits(word as u32)).collect()),
        ('f', _) => Elements::Floats(words.map(|word| f64::from_bits(word) as f32).collect()),
        ('U', _) => {
            let characters: Option<Vec<char>> = words.map(|word| char::from_u32(word as u32)).collect();
            let characters = characters.ok_or_else(|| malformed(format!("has text that is none; {REMEDY}")))?;
            let text = |text: &[char]| text.iter().collect::<String>().trim_end_matches('\0').to_owned();
            Elements::Texts(characters.chunks_exact(size / 4).map(text).collect())
        }
        ('u', 8) => {
            let numbers: std::result::Result<Vec<i64>, _> = words.map(i64::try_from).collect();
            Elements::Integers(
                numbers.map_err(|_| malformed("has numbers beyond those of int64; convert it to int64"))?,
            )
        }
        _ => Elements::Integers(words.map(|word| word as i64).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::npy;
    use super::*;
    use crate::random::Stream;

    #[test]
    fn elements_of_every_type_are_read() {
        let of = |descr: &str, shape: &str, elements: &[u8]| read(&npy(descr, shape, elements)[..]).unwrap();
        assert_eq!(of("|u1", "(2, 1)", &[3, 255]), Npy { shape: vec![2, 1], elements: Elements::Bytes(vec![3, 255]) });
        assert_eq!(of("|b1", "(2,)", &[1, 0]).elements, Elements::Bytes(vec![1, 0]));
        for (descr, bytes) in [
            ("|i1", vec![0xFF, 7]),
            ("<i2", vec![0xFF, 0xFF, 7, 0]),
            (">i2", vec![0xFF, 0xFF, 0, 7]),
            ("<i4", [(-1i32).to_le_bytes(), 7i32.to_le_bytes()].concat()),
            ("<i8", [(-1i64).to_le_bytes(), 7i64.to_le_bytes()].concat()),
            (">i8", [(-1i64).to_be_bytes(), 7i64.to_be_bytes()].concat()),
        ] {
            assert_eq!(of(descr, "(2,)", &bytes).elements, Elements::Integers(vec![-1, 7]), "{descr}");
        }
        assert_eq!(of("<u2", "(1,)", &[0xFF, 0xFF]).elements, Elements::Integers(vec![65535]));
        for (descr, bytes) in [
            ("<f2", half::f16::from_f32(-0.5).to_le_bytes().to_vec()),
            ("<f4", (-0.5f32).to_le_bytes().to_vec()),
            (">f4", (-0.5f32).to_be_bytes().to_vec()),
            ("<f8", (-0.5f64).to_le_bytes().to_vec()),
        ] {
            assert_eq!(
                of(descr, "()", &bytes),
                Npy { shape: vec![], elements: Elements::Floats(vec![-0.5]) },
                "{descr}"
            );
        }
        let text: Vec<u8> = ['ü', 'x', 'y', '\0'].iter().flat_map(|&c| (c as u32).to_le_bytes()).collect();
        assert_eq!(of("<U2", "(2,)", &text).elements, Elements::Texts(vec!["üx".into(), "y".into()]));
    }

    #[test]
    fn headers_are_read_in_any_order() {
        let header = |text: &'static str| Python(text).header();
        let expected = Header { descr: "<f4".into(), fortran_order: true, shape: vec![2, 3] };
        assert_eq!(header("{\"shape\": (2L,3,), 'fortran_order':True, 'descr' : '<f4'} \n"), Some(expected));
        for bad in [
            "",
            "{}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,)}",
        ] {
            assert_eq!(header(bad), None, "{bad}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let mut fortran = npy("|u1", "(2, 2)", &[0; 4]);
        let at = fortran.windows(5).position(|bytes| bytes == b"False").unwrap();
        fortran[at..at + 5].copy_from_slice(b"True ");
        for (bytes, finding) in [
            (vec![], "truncated"),
            (b"PK\x03\x04 not an array".to_vec(), "is no array of NumPy"),
            (npy("|u1", "(5,)", &[0; 4]), "has 4 bytes of elements, its header declares 5"),
            (npy("|u1", "(3,)", &[0; 4]), "has more bytes"),
            (npy("|u1", "(0, 4)", &[]), "[0, 4]"),
            (npy("<f4", "(4294967296, 4294967296)", &[]), "bytes are read"),
            (npy("|O", "(1,)", &[0; 8]), "elements of type \"|O\""),
            (npy("<c8", "(1,)", &[0; 8]), "convert it with astype"),
            (npy("<u8", "(1,)", &[0xFF; 8]), "int64"),
            (npy("<U1", "(1,)", &[0xFF; 4]), "text"),
            (fortran, "ascontiguousarray"),
        ] {
            let error = read(&bytes[..]).unwrap_err();
            assert!(error.kind() == ErrorKind::Format && error.to_string().contains(finding), "{error}, not {finding}");
        }
    }

    #[test]
    fn mutated_files_are_read_whole_or_refused() {
        let mut stream = Stream::new(0, "npy mutations");
        for original in [npy("|u1", "(2, 3, 4)", &[7; 24]), npy("<f8", "(3,)", &[1; 24]), npy("<U2", "(3,)", &[0; 24])]
        {
            for _ in 0..5000 {
                let mut bytes = original.clone();
                for _ in 0..=stream.below(3) {
                    let at = stream.below(bytes.len() as u64) as usize;
                    bytes[at] = stream.next_u32() as u8;
                }
                if stream.below(4) == 0 {
                    bytes.truncate(stream.below(bytes.len() as u64) as usize);
                }
                match read(&bytes[..]) {
                    Ok(npy) => assert_eq!(
                        npy.shape.iter().product::<usize>(),
                        match npy.elements {
                            Elements::Bytes(bytes) => bytes.len(),
                            Elements::Integers(numbers) => numbers.len(),
                            Elements::Floats(numbers) => numbers.len(),
                            Elements::Texts(texts) => texts.len(),
                        }
                    ),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Format, "{error}"),
                }
            }
        }
    }
}

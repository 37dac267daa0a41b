//! Files of weights of any kind, as named arrays in the order of the file.
//!
//! The kind is told by the first bytes, not by the name. safetensors orders by name, so the order of modules is lost in it;
//! archives of NumPy and state dictionaries of PyTorch keep theirs. What a model makes of them: [`crate::train::transfer`].

use std::collections::BTreeMap;
use std::fmt;
use std::io::Cursor;
use std::path::Path;

use super::{failed, npz, pytorch, safetensors, write_atomically};
use crate::array::Array;
use crate::error::{Context, Error, ErrorKind, Result};

/// Arrays by name, in an order.
pub type Named = Vec<(String, Array)>;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of safetensors; by name.
    Safetensors,
    /// An archive of NumPy arrays.
    Npz,
    /// A state dictionary that `torch.save` wrote.
    PyTorch,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Safetensors => "safetensors",
            Kind::Npz => "NumPy archive",
            Kind::PyTorch => "PyTorch state dictionary",
        })
    }
}

/// Reads the arrays of the file `path`.
///
/// # Errors
/// As [`decode`]; a file that cannot be read.
pub fn load(path: &Path) -> Result<(Kind, Named)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    decode(&bytes).context(|| path.display().to_string())
}

/// The arrays in the bytes of a file.
///
/// # Errors
/// What is none of these files, is damaged, or holds what is not read.
pub fn decode(bytes: &[u8]) -> Result<(Kind, Named)> {
    if !bytes.starts_with(b"PK") {
        if bytes.starts_with(b"\x80") && !bytes.get(1..8).is_some_and(|rest| rest.contains(&0)) {
            let text = "is a pickle outside of an archive, which PyTorch wrote before version 1.6; save it anew with torch.save";
            return Err(Error::new(ErrorKind::Format, text));
        }
        return Ok((Kind::Safetensors, safetensors::decode(bytes)?.0.into_iter().collect()));
    }
    let archive = zip::ZipArchive::new(Cursor::new(bytes))
        .map_err(|e| Error::new(ErrorKind::Format, format!("is no whole archive ({e}); save or copy it again")))?;
    let is_pytorch = archive.file_names().flatten().any(|name| name == "data.pkl" || name.ends_with("/data.pkl"));
    drop(archive);
    match is_pytorch {
        true => Ok((Kind::PyTorch, pytorch::decode(bytes)?)),
        false => Ok((Kind::Npz, npz::decode(Cursor::new(bytes))?)),
    }
}

/// Writes `arrays` to the file `path`, whose end says the kind: `.safetensors` or `.npz`.
///
/// # Errors
/// Another end; two arrays of one name; a file that cannot be written.
pub fn save(path: &Path, arrays: &Named) -> Result<()> {
    match path.extension().and_then(|end| end.to_str()) {
        Some("safetensors") => {
            let tensors: BTreeMap<String, Array> = arrays.iter().cloned().collect();
            // PyTorch's own reader wants this where others do without.
            let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
            safetensors::save(path, &tensors, &metadata)
        }
        Some("npz") => {
            let bytes = npz::encode(arrays)?;
            write_atomically(path, |writer| writer.write_all(&bytes).map_err(failed))
        }
        _ => {
            let text = format!("{}: weights are written as .safetensors or .npz; name such a file", path.display());
            Err(Error::new(ErrorKind::Config, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::TempDir;

    #[test]
    fn files_are_told_by_their_bytes() {
        let dir = TempDir::new();
        let arrays: Named = vec![("b".into(), Array::scalar(1f32)), ("a".into(), Array::scalar(2f32))];
        let (npz, safe) = (dir.path().join("w.npz"), dir.path().join("w.safetensors"));
        save(&npz, &arrays).unwrap();
        save(&safe, &arrays).unwrap();
        assert_eq!(load(&npz).unwrap(), (Kind::Npz, arrays.clone()));
        let sorted = vec![arrays[1].clone(), arrays[0].clone()];
        assert_eq!(load(&safe).unwrap(), (Kind::Safetensors, sorted));
        assert!(save(&dir.path().join("w.pt"), &arrays).unwrap_err().to_string().contains(".safetensors or .npz"));

        for (bytes, words) in [
            (&b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."[..], "before version 1.6"),
            (b"PK\x03\x04 cut", "no whole archive"),
            (b"", "safetensors"),
        ] {
            let error = load(&dir.write("x", bytes)).unwrap_err();
            assert!(error.kind() == ErrorKind::Format && error.to_string().contains(words), "{error}");
        }
    }
}

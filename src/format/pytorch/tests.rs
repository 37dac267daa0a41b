//! State dictionaries made by hand: views of storages, and what does not fit.

use std::io::Write;

use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::*;

/// What [`torch`] puts into the pickle for a tensor: storage class, key, stored elements, offset, shape, strides.
type Entry<'a> = (&'a str, &'a str, &'a str, u8, u8, &'a [u8], &'a [u8]);

fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn tuple(numbers: &[u8]) -> Vec<u8> {
    let items = numbers.iter().flat_map(|&number| [b'K', number]);
    std::iter::once(b'(').chain(items).chain([b't']).collect()
}

fn dictionary(entries: &[Entry]) -> Vec<u8> {
    let mut pickle = b"}(".to_vec();
    for &(name, class, key, elements, offset, shape, strides) in entries {
        pickle.extend(text(name));
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        pickle.extend([text("storage"), format!("ctorch\n{class}\n").into_bytes(), text(key), text("cpu")].concat());
        pickle.extend([b'K', elements, b't', b'Q', b'K', offset]);
        pickle.extend([tuple(shape), tuple(strides), b"\x89Nt".to_vec()].concat());
        pickle.push(b'R');
    }
    pickle.push(b'u');
    pickle
}

fn archive(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        archive.start_file(format!("net/{name}"), SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn torch(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let pickle = [b"\x80\x02", pickle, b"."].concat();
    let members = [("data.pkl", &pickle[..]), ("byteorder", b"little")];
    archive(&[&members[..], storages].concat(), CompressionMethod::Stored)
}

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[test]
fn views_share_storages() {
    let stored = floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let entries: &[Entry] = &[
        ("whole", "FloatStorage", "0", 6, 0, &[2, 3], &[3, 1]),
        ("transposed", "FloatStorage", "0", 6, 0, &[3, 2], &[1, 3]),
        ("row", "FloatStorage", "0", 6, 3, &[3], &[1]),
        ("column", "FloatStorage", "0", 6, 1, &[2], &[3]),
        ("repeated", "FloatStorage", "0", 6, 5, &[2], &[0]),
        ("scalar", "LongStorage", "1", 1, 0, &[], &[]),
        ("empty", "FloatStorage", "2", 0, 0, &[0, 3], &[3, 1]),
        ("bf16", "BFloat16Storage", "3", 1, 0, &[1], &[1]),
    ];
    let storages =
        [("data/0", &stored[..]), ("data/1", &7i64.to_le_bytes()), ("data/2", &[]), ("data/3", &[0x80, 0x3F])];
    let read = decode(&torch(&dictionary(entries), &storages)).unwrap();
    let names: Vec<&str> = read.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["whole", "transposed", "row", "column", "repeated", "scalar", "empty", "bf16"]);
    let values = |name: &str| read.iter().find(|(n, _)| n == name).unwrap().1.to_f64_vec();
    assert_eq!(values("transposed"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!((values("row"), values("column")), (vec![3.0, 4.0, 5.0], vec![1.0, 4.0]));
    assert_eq!((values("repeated"), values("scalar"), values("bf16")), (vec![5.0, 5.0], vec![7.0], vec![1.0]));
    assert_eq!(read[0].1, Array::new(&[2, 3], vec![0f32, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap());
    assert_eq!((read[5].1.shape(), read[6].1.shape()), (&[][..], &[0, 3][..]));
}

#[test]
fn a_state_beside_other_things_is_found() {
    let entries: &[Entry] = &[("w", "FloatStorage", "0", 1, 0, &[1], &[1])];
    let pickle =
        [b"}(".to_vec(), text("epoch"), b"K\x03".to_vec(), text("state_dict"), dictionary(entries), b"u".to_vec()];
    let storages = [("data/0", &floats(&[2.5])[..])];
    let read = decode(&torch(&pickle.concat(), &storages)).unwrap();
    assert_eq!(read, [("w".to_owned(), Array::new(&[1], vec![2.5f32]).unwrap())]);
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    let one = |entry: Entry| torch(&dictionary(&[entry]), &[("data/0", &[0; 24])]);
    for (bytes, words) in [
        (one(("w", "FloatStorage", "0", 6, 0, &[7], &[1])), "more elements than the 6"),
        (one(("w", "FloatStorage", "0", 6, 1, &[6], &[1])), "reaches beyond the 6"),
        (one(("w", "FloatStorage", "0", 6, 0, &[2, 3], &[4, 1])), "reaches beyond the 6"),
        (one(("w", "FloatStorage", "0", 6, 0, &[2, 3], &[1])), "strides [1]"),
        (one(("w", "FloatStorage", "0", 5, 0, &[5], &[1])), "should have 5 elements of F32 and has 24 bytes"),
        (one(("w", "FloatStorage", "1", 6, 0, &[6], &[1])), "w: is no whole file"),
        (one(("w", "FloatStorage", "../0", 6, 0, &[6], &[1])), "w: is no whole file"),
        (one(("w", "ComplexFloatStorage", "0", 3, 0, &[3], &[1])), "torch.ComplexFloatStorage, which is refused"),
        (one(("w", "FloatStorage", "0", 6, 0, &[1; 17], &[1; 17])), "has the shape"),
        (torch(b"K\x01", &[]), "holds no dictionary"),
        (torch(b"}X\x01\x00\x00\x00aK\x01s", &[]), "its keys are \"a\""),
        (torch(b"cos\nsystem\nX\x02\x00\x00\x00id\x85R", &[]), "data.pkl: asks for Python's os.system"),
        (archive(&[("images.npy", b"")], CompressionMethod::Stored), "without data.pkl"),
        (archive(&[("data.pkl", b"}."), ("byteorder", b"big")], CompressionMethod::Stored), "big-endian"),
        (archive(&[("data.pkl", &[b'N'; 1 << 16])], CompressionMethod::Deflated), "compressed"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec(), "no whole file of torch.save"),
    ] {
        let error = decode(&bytes).unwrap_err();
        assert!(error.kind() == ErrorKind::Format && error.to_string().contains(words), "{error}, not {words}");
    }
}

/// A thousand views of one storage are no thousand storages in memory.
#[test]
fn sharing_has_an_end() {
    let stored = vec![0; 4 * 255];
    let many: Vec<String> = (0..10_000).map(|i| i.to_string()).collect();
    let entries: Vec<Entry> =
        many.iter().map(|name| (name.as_str(), "FloatStorage", "0", 255, 0, &[255][..], &[1][..])).collect();
    let error = decode(&torch(&dictionary(&entries), &[("data/0", &stored)])).unwrap_err();
    assert!(error.to_string().contains("by sharing storages"), "{error}");
}

#[test]
fn truncated_files_are_refused() {
    let entries: &[Entry] = &[("w", "FloatStorage", "0", 2, 0, &[2], &[1])];
    let whole = torch(&dictionary(entries), &[("data/0", &floats(&[1.0, 2.0])[..])]);
    for length in 0..whole.len() {
        assert_eq!(decode(&whole[..length]).unwrap_err().kind(), ErrorKind::Format, "{length} bytes");
    }
}

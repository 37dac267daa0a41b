//! Archives and folders of arrays: what is read, what is refused and how, and what damaged bytes do.

use super::*;
use crate::data::testing::{TempDir, npy, zip};
use crate::random::Stream;

type Members = Vec<(&'static str, Vec<u8>)>;

/// Four and two images of 2×2 in three classes.
fn example() -> Members {
    vec![
        ("x_train.npy", npy("|u1", "(4, 2, 2)", &[0, 51, 102, 255, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3])),
        ("y_train.npy", npy("<i8", "(4,)", &[2i64, 0, 1, 2].map(i64::to_le_bytes).concat())),
        ("x_test.npy", npy("|u1", "(2, 2, 2)", &[9; 8])),
        ("y_test.npy", npy("|u1", "(2, 1)", &[1, 0])),
        ("notes.npy", b"not an array, and not looked at".to_vec()),
    ]
}

fn replaced(name: &'static str, bytes: Vec<u8>) -> Members {
    let mut members = example();
    members.retain(|(other, _)| *other != name);
    members.push((name, bytes));
    members
}

fn load(members: &[(&str, Vec<u8>)]) -> Result<Parts> {
    let dir = TempDir::new();
    read(&dir.write("some.npz", &zip(members, true)), 0)
}

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[test]
fn archives_and_folders_are_read_alike() {
    let dir = TempDir::new();
    example().iter().for_each(|(name, bytes)| drop(dir.write(name, bytes)));
    assert!(is_folder_of_arrays(dir.path()) && !is_folder_of_arrays(TempDir::new().path()));
    let path = dir.write("stored.npz", &zip(&example(), false));
    for parts in [load(&example()), read(&path, 0), read(dir.path(), 0)] {
        let (train, test) = parts.unwrap().complete().unwrap();
        assert_eq!((train.labels(), test.labels(), train.classes()), (&[2, 0, 1, 2][..], &[1, 0][..], 3));
        assert_eq!((train.image_shape(), train.memory()), ([2, 2, 1], 16));
        assert_eq!(train.images().unwrap().as_slice::<f32>().unwrap()[..4], [0.0, 0.2, 0.4, 1.0]);
    }
}

#[test]
fn floats_rows_and_names_of_classes_are_taken() {
    let rows: Vec<f32> = (0..20).map(|i| i as f32 - 5.5).collect();
    let names: Vec<u8> = ['n', 'o', 'y', '\0'].iter().flat_map(|&c| (c as u32).to_le_bytes()).collect();
    let labels: Vec<u8> = (0..10).map(|i| i / 5).collect();
    let parts = load(&[
        ("x.npy", npy("<f4", "(10, 2)", &floats(&rows))),
        ("y.npy", npy("|u1", "(10,)", &labels)),
        ("class_names.npy", npy("<U2", "(2,)", &names)),
    ]);
    let (train, test) = parts.unwrap().complete().unwrap();
    assert_eq!((train.len(), test.len(), train.image_shape()), (8, 2, [1, 1, 2]));
    assert_eq!((test.labels(), train.class_names().join(" ")), (&[0, 1][..], "no y".to_owned()));
    let mut all = [train.images().unwrap().to_f64_vec(), test.images().unwrap().to_f64_vec()].concat();
    all.sort_by(f64::total_cmp);
    assert_eq!(all, rows.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
}

#[test]
fn images_and_classes_that_cannot_be_used_are_named() {
    let mut numbers = [0.5; 16];
    numbers[6] = f32::NAN;
    let mut members = replaced("x_train.npy", npy("<f4", "(4, 2, 2)", &floats(&numbers)));
    members.retain(|(name, _)| *name != "x_test.npy");
    members.push(("x_test.npy", npy("<f4", "(2, 2, 2)", &floats(&[0.0; 8]))));
    let parts = load(&members).unwrap();
    let texts: Vec<String> = parts.unusable.iter().map(ToString::to_string).collect();
    let [image, class] = &texts[..] else { panic!("{texts:?}") };
    assert!(image.contains("x_train: image 1 has numbers that are not finite"), "{image}");
    assert!(class.contains("class 0 has no image to train on"), "{class}");
    assert_eq!((parts.train.labels(), parts.train.class_names().join(" ")), (&[1, 0, 1][..], "1 2".to_owned()));
    assert_eq!((parts.test.labels(), parts.test.len()), (&[0][..], 1));
}

#[test]
fn errors_name_the_file_the_array_and_the_remedy() {
    let mut cut = zip(&example(), true);
    cut.truncate(cut.len() / 2);
    let dir = TempDir::new();
    for bytes in [cut, b"hello".to_vec(), vec![]] {
        let text = read(&dir.write("cut.npz", &bytes), 0).unwrap_err().to_string();
        assert!(text.contains("cut.npz: is no whole archive"), "{text}");
    }
    for (name, bytes, finding) in [
        ("x_train.npy", npy("|u1", "(5, 2, 2)", &[0; 16]), "x_train.npy: has 16 bytes"),
        ("x_train.npy", npy("|u1", "(3, 2, 2)", &[0; 12]), "x_train and y_train: dataset some: 3 images but 4 labels"),
        ("x_train.npy", npy("|u1", "(4, 1, 2, 20)", &[0; 160]), "transpose or reshape"),
        ("x_train.npy", npy("|u1", "(4,)", &[0; 4]), "not [4]"),
        ("x_train.npy", npy("<i4", "(4, 1)", &[0; 16]), "images are uint8"),
        ("x_test.npy", npy("|u1", "(2, 4, 1)", &[0; 8]), "but test images [4, 1, 1]"),
        ("y_train.npy", npy("|i1", "(4,)", &[0xFF, 0, 0, 0]), "label 0 is -1"),
        ("y_train.npy", npy("<f4", "(4,)", &[0; 16]), "labels are integers"),
        ("y_train.npy", npy("|u1", "(4, 2)", &[0; 8]), "argmax"),
        ("y_train.npy", npy("<i8", "(4,)", &[0x7F; 32]), "labels go to"),
        ("class_names.npy", npy("|u1", "(2,)", &[0; 2]), "class_names: must be an array of str"),
        ("class_names.npy", npy("<U1", "(2,)", &[b'a', 0, 0, 0, b'b', 0, 0, 0]), "label 0 is 2; with 2 classes"),
    ] {
        let text = load(&replaced(name, bytes)).unwrap_err().to_string();
        assert!(text.contains("some.npz") && text.contains(finding), "{text:?} should say {finding:?}");
    }
    let text = load(&example()[..1]).unwrap_err().to_string();
    assert!(text.contains("has x_train, but no y_train"), "{text}");
    let text = load(&example()[2..]).unwrap_err().to_string();
    assert!(text.contains("has no x_train and y_train"), "{text}");
    let text = load(&[("a.npy", vec![])]).unwrap_err().to_string();
    assert!(text.contains("has the arrays a.npy; wanted are x_train"), "{text}");
    assert_eq!(read(Path::new("/nonexistent.npz"), 0).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn mutated_archives_are_read_whole_or_refused() {
    let mut stream = Stream::new(0, "npz mutations");
    for original in [zip(&example()[..4], true), zip(&example()[..4], false)] {
        for _ in 0..3000 {
            let mut bytes = original.clone();
            for _ in 0..=stream.below(3) {
                let at = stream.below(bytes.len() as u64) as usize;
                bytes[at] = [stream.next_u32() as u8, 0, 0xFF][stream.below(3) as usize];
            }
            if stream.below(4) == 0 {
                bytes.truncate(stream.below(bytes.len() as u64) as usize);
            }
            let read = decode(std::io::Cursor::new(bytes)).and_then(|arrays| parts("x", arrays, 0));
            if let Err(error) = read {
                assert!(matches!(error.kind(), ErrorKind::Format | ErrorKind::Shape), "{error:?}");
            }
        }
    }
}

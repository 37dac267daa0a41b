//! Arrays and tables from files to networks that classify; through the command, as a newcomer meets it.

#![cfg(feature = "cli")]

mod common;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write;

use common::command::{Folder, failure, records};
use neuropil::data::{Dataset, digits};

/// A file of an array, as NumPy writes it.
fn npy(descr: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), elements].concat()
}

/// Pixels of 0 to 16 as bytes of 0 to 255, and labels, as NumPy would have them.
fn arrays(digits: &Dataset) -> [Vec<u8>; 2] {
    let pixels: Vec<u8> = digits.images().unwrap().to_f64_vec().iter().map(|x| (x * 255.0).round() as u8).collect();
    let labels: Vec<u8> = digits.labels().iter().flat_map(|&label| i64::from(label).to_le_bytes()).collect();
    let count = digits.len();
    [npy("|u1", &format!("({count}, 8, 8)"), &pixels), npy("<i8", &format!("({count},)"), &labels)]
}

#[test]
fn an_archive_of_arrays_is_trained_on() {
    let folder = Folder::new("files-arrays");
    let (train, test) = digits().unwrap();
    let path = folder.path("digits.npz");
    let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
    let [[x_train, y_train], [x_test, y_test]] = [arrays(&train), arrays(&test)];
    for (name, bytes) in [("x_train", x_train), ("y_train", y_train), ("x_test", x_test), ("y_test", y_test)] {
        let method = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        archive.start_file(format!("{name}.npy"), method).unwrap();
        archive.write_all(&bytes).unwrap();
        fs::write(folder.path(&format!("{name}.npy")), bytes).unwrap();
    }
    archive.finish().unwrap();

    let model = folder.path("model.safetensors");
    let run = records(&["train", "--dataset", &path, "--epochs", "2", "--seed", "1", "--save", &model]);
    assert_eq!((&run[0]["dataset"], &run[0]["model"]), (&"digits".into(), &"small_cnn".into()));
    assert_eq!((&run[0]["train_images"], &run[0]["test_images"]), (&1438.into(), &359.into()));
    assert!((0.0..=1.0).contains(&run[1]["wait_share"].as_f64().unwrap()), "{}", run[1]);
    let accuracy = run.last().unwrap()["test_accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.9, "{accuracy}");
    // The mean and the deviation of the pixels are in the file, and used again; the folder of arrays is the same data.
    let file = neuropil::train::ModelFile::load(model.as_ref()).unwrap();
    let statistics = train.normalization().unwrap();
    let kept = ["images.mean", "images.deviation"].map(|name| file.weights[name].item().unwrap() as f32);
    let expected = [statistics.mean[0], statistics.deviation[0]];
    assert!(kept.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3), "{kept:?} {expected:?}");
    let evaluated = records(&["evaluate", &model, "--dataset", &folder.path("")]);
    assert_eq!(evaluated[0]["accuracy"].as_f64(), Some(accuracy));

    let text = failure(&["train", "--dataset", &path, "--image-size", "8"]);
    assert!(text.contains("arrays are taken as they are"), "{text}");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let text = failure(&["train", "--dataset", &path]);
    assert!(text.contains("digits.npz: is no whole archive") && text.lines().count() == 1, "{text}");
    let text = failure(&["train", "--dataset", &folder.path("absent.npz")]);
    assert!(text.contains("absent.npz: there is no such folder or file"), "{text}");
}

/// Three kinds of flowers of which the first can be told by one number, the others by the sum of two.
fn flowers() -> String {
    let mut text = "length,width,species\n".to_owned();
    for i in 0..150 {
        let (a, b) = (f64::from(i * 37 % 50) / 50.0, f64::from(i * 17 % 50) / 50.0);
        let (length, width, species) = match i % 3 {
            0 => (1.0 + 0.3 * a, 300.0 + 20.0 * b, "round"),
            1 => (4.0 + a, 330.0 - 50.0 * a + 10.0 * b, "small"),
            _ => (4.5 + a, 370.0 - 50.0 * a + 10.0 * b, "large"),
        };
        writeln!(text, "{length:.2},{width:.1},{species}").unwrap();
    }
    text
}

#[test]
fn a_table_is_trained_on() {
    let folder = Folder::new("files-table");
    let (path, model) = (folder.path("flowers.csv"), folder.path("model.safetensors"));
    fs::write(&path, flowers()).unwrap();
    let arguments = ["train", "--dataset", &path, "--seed", "1", "--batch-size", "16", "--save", &model];
    let run = records(&[&arguments[..], &["--epochs", "30", "--balanced"]].concat());
    assert_eq!(
        (&run[0]["train_images"], &run[0]["test_images"], &run[0]["model"]),
        (&120.into(), &30.into(), &"mlp".into())
    );
    let accuracy = run.last().unwrap()["test_accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.9, "{accuracy}");
    assert_eq!(records(&["evaluate", &model, "--dataset", &path])[0]["accuracy"].as_f64(), Some(accuracy));

    fs::write(&path, flowers() + "1.2,,round\n").unwrap();
    let text = failure(&["train", "--dataset", &path]);
    assert!(text.contains("unusable: ") && text.contains("flowers.csv: line 152: column 2 (width) is \"\""), "{text}");
    let run = records(&["train", "--dataset", &path, "--skip-bad", "--epochs", "1"]);
    assert_eq!(run[0]["train_images"], 120);
    let text = failure(&["train", "--dataset", &path, "--label-column", "colour"]);
    assert!(text.contains("has no column \"colour\"; its first line is length, width, species"), "{text}");
    let text = failure(&["train", "--label-column", "species"]);
    assert!(text.contains("--label-column is for tables"), "{text}");
}

#[test]
fn changes_of_images_are_options() {
    let run = records(&["train", "--augment", "shift=1,rotate=10,mixup=0.2", "--epochs", "2", "--seed", "1"]);
    let accuracy = run.last().unwrap()["test_accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.85, "{accuracy}");
    let text = failure(&["train", "--augment", "shift=1,flop"]);
    assert!(text.contains("\"flop\": is none of flip, rotate=DEGREES"), "{text}");
}

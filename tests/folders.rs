//! A folder of pictures from the first look to a network that classifies one, with a damaged file in it; through the
//! command, as a newcomer meets it.

#![cfg(feature = "cli")]

mod common;

use std::fs;
use std::path::Path;

use common::command::{Folder, neuropil, records, records_with_warnings};
use image::{GrayImage, ImageFormat};
use neuropil::data::{self, Dataset};
use serde_json::Value;

/// The digits as `train/DIGIT/*` and `test/DIGIT/*`, half of them JPEG, half PNG.
fn tree_of_digits(name: &str) -> Folder {
    let tree = Folder::new(&format!("folders-{name}"));
    let (train, test) = data::digits().unwrap();
    for (part, digits) in [("train", &train), ("test", &test)] {
        write(&tree.0.join(part), digits);
    }
    tree
}

fn write(folder: &Path, digits: &Dataset) {
    let images = digits.images().unwrap();
    let pixels = images.as_slice::<f32>().unwrap();
    for (index, (pixels, &label)) in pixels.chunks(64).zip(digits.labels()).enumerate() {
        let class = folder.join(label.to_string());
        fs::create_dir_all(&class).unwrap();
        let picture = GrayImage::from_raw(8, 8, pixels.iter().map(|x| (x * 255.0).round() as u8).collect()).unwrap();
        let (end, format) = [("jpg", ImageFormat::Jpeg), ("png", ImageFormat::Png)][index % 2];
        picture.save_with_format(class.join(format!("{index:04}.{end}")), format).unwrap();
    }
}

#[test]
fn a_tree_with_a_damaged_file_is_trained_on() {
    let tree = tree_of_digits("damaged");
    let damaged = tree.path("train/0/0000.jpg");
    let whole = fs::read(&damaged).unwrap();
    fs::write(&damaged, &whole[..whole.len() / 2]).unwrap();
    let (root, model) = (tree.path(""), tree.path("model.safetensors"));

    // Named, and not trained on in silence.
    let (code, stdout, stderr) = neuropil(&["train", "--dataset", &root]);
    let lines: Vec<&str> = stderr.lines().collect();
    let [unusable, error] = &lines[..] else { panic!("{stderr}") };
    assert!(unusable.starts_with("unusable: ") && unusable.contains("0000.jpg: is no whole picture"), "{unusable}");
    assert!(error.starts_with("error: ") && error.contains("1 thing cannot be used") && error.contains("--skip-bad"));
    assert_eq!((code, stdout.as_str()), (Some(2), ""));

    let arguments = ["train", "--dataset", &root, "--skip-bad", "--epochs", "4", "--seed", "1", "--save", &model];
    let (run, stderr) = records_with_warnings(&arguments);
    assert!(stderr.lines().filter(|line| line.starts_with("skipped: ") && line.contains("0000.jpg")).count() == 1);
    assert_eq!((&run[0]["train_images"], &run[0]["test_images"]), (&1437.into(), &359.into()));
    let accuracy = run.last().unwrap()["test_accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.9, "{accuracy}");

    // Decoded while they are trained on, instead of kept: the same run.
    let streamed = records(&[&arguments[..5], &["1", "--image-memory", "0"]].concat());
    let whole = records(&[&arguments[..5], &["1"]].concat());
    assert_eq!(streamed.last().unwrap()["test_loss"], whole.last().unwrap()["test_loss"]);

    let evaluated = records(&["evaluate", &model, "--dataset", &root, "--skip-bad"]);
    assert_eq!((&evaluated[0]["accuracy"], &evaluated[0]["images"]), (&accuracy.into(), &359.into()));
    let (code, _, stderr) = neuropil(&["evaluate", &model]);
    assert!(code == Some(2) && stderr.contains("name a --dataset"), "{stderr}");

    // The same pictures, one file at a time.
    let files: Vec<String> = (0..359)
        .flat_map(|index| (0..10).map(move |class| (class, index)))
        .map(|(class, index)| tree.path(&format!("test/{class}/{index:04}.{}", ["jpg", "png"][index % 2])))
        .filter(|path| Path::new(path).exists())
        .collect();
    let predict: Vec<&str> = ["predict", &model].into_iter().chain(files.iter().map(String::as_str)).collect();
    let predictions = records(&predict);
    let of_folder = |prediction: &Value| {
        let class = Path::new(prediction["file"].as_str()?).parent()?.file_name()?.to_str()?.to_owned();
        Some(prediction["class"] == class)
    };
    let right = predictions.iter().filter_map(of_folder).filter(|&right| right).count();
    assert_eq!((files.len(), right), (359, (accuracy * 359.0).round() as usize));
}

#[test]
fn pictures_are_scaled_where_that_is_asked_for() {
    let tree = tree_of_digits("scaled");
    let odd = tree.path("train/3/odd.png");
    GrayImage::new(20, 30).save(&odd).unwrap();
    let train = tree.path("train");
    let (code, _, stderr) = neuropil(&["train", "--dataset", &train]);
    assert!(code == Some(2) && stderr.contains("odd.png: is 30×20 pixels (height×width), most are 8×8"), "{stderr}");

    // The folder of one part: a fifth of it is held out.
    let run = records(&["train", "--dataset", &train, "--image-size", "12x10", "--epochs", "1", "--model", "mlp"]);
    assert_eq!(run[0]["train_images"].as_u64().unwrap() + run[0]["test_images"].as_u64().unwrap(), 1439);
    assert!((285..=290).contains(&run[0]["test_images"].as_u64().unwrap()), "{}", run[0]);
    let (code, _, stderr) = neuropil(&["train", "--image-size", "9"]);
    assert!(code == Some(2) && stderr.contains("the images of digits have one size"), "{stderr}");
    let (code, _, stderr) = neuropil(&["train", "--dataset", "/nonexistent/tree"]);
    assert!(code == Some(2) && stderr.contains("/nonexistent/tree: there is no such folder"), "{stderr}");
}

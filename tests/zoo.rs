//! The networks of `nn::models`: as many parameters as PyTorch's, loss that falls on every device, and weights that travel.

#![cfg(feature = "cli")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::command::{Folder, failure, neuropil, records};
use image::{DynamicImage, GrayAlphaImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba, RgbaImage};

use neuropil::format::{safetensors, weights};
use neuropil::graph::Leaf;
use neuropil::loss::{Reduction, binary_cross_entropy_with_logits, cross_entropy};
use neuropil::nn::Summary;
use neuropil::nn::models::{self, MobileStage, mobilenet, residual_stages};
use neuropil::nn::parameters::parameters;
use neuropil::nn::{Conv2d, Linear, Module, Sequential};
use neuropil::optim::{Adam, Optimizer, Sgd};
use neuropil::train::transfer::{self, Layout, Matching};
use neuropil::train::{ModelFile, ModelInfo};
use neuropil::{Array, DType, Device, Mode, Program, Store, Tensor};

/// Parameters for ten classes and floating-point operations for one image, counted in the modules of `scripts/torch_models.py` by
/// `scripts/golden_models.py`.
const COUNTS: [(&str, [usize; 3], usize, u64); 10] = [
    ("small_cnn", [32, 32, 3], 69_738, 30_162_944),
    ("mlp", [32, 32, 3], 411_146, 821_760),
    ("lenet5", [28, 28, 1], 61_706, 833_040),
    ("vgg8", [32, 32, 3], 2_197_706, 307_631_104),
    ("resnet20", [32, 32, 3], 272_474, 81_626_368),
    ("resnet18", [32, 32, 3], 11_181_642, 74_033_152),
    ("resnet18_cifar", [32, 32, 3], 11_173_962, 1_110_845_440),
    ("depthwise_cnn", [32, 32, 3], 136_778, 33_051_648),
    ("mobilenet_v2", [32, 32, 3], 2_236_682, 175_952_896),
    ("airbench94", [32, 32, 3], 1_972_792, 236_294_720),
];

fn count(model: &Sequential, image: [usize; 3]) -> usize {
    let all = parameters(model, image).unwrap();
    let of = |leaf| all.iter().filter(move |parameter| parameter.leaf == leaf);
    of(Leaf::Parameter).map(|parameter| parameter.shape.iter().product::<usize>()).sum()
}

#[test]
fn there_are_as_many_parameters_and_operations_as_in_pytorch() {
    assert_eq!(
        COUNTS.map(|(name, ..)| name).iter().collect::<std::collections::BTreeSet<_>>().len(),
        models::NAMES.len()
    );
    for (name, image, parameters, flops) in COUNTS {
        let model = models::by_name(name, 10).unwrap();
        let summary = Summary::of(&model, image).unwrap();
        assert_eq!((summary.parameters(), summary.flops()), (parameters, flops), "{name}\n{summary}");
        assert_eq!(count(&model, image), parameters, "{name}");
    }
    assert_eq!(count(&models::autoencoder(3, 10), [32, 32, 3]), 10_829);
}

/// The sizes in `docs/models.md` are the least.
#[test]
fn images_that_are_too_small_are_refused() {
    for (name, least) in [("small_cnn", 4), ("lenet5", 12), ("vgg8", 8), ("airbench94", 25)] {
        let model = models::by_name(name, 10).unwrap();
        assert!(parameters(&model, [least, least, 3]).is_ok(), "{name}");
        assert!(parameters(&model, [least - 1, least - 1, 3]).is_err(), "{name}");
    }
}

/// What `docs/models.md` says of descriptions.
#[test]
fn the_page_on_models_is_true() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/models.md")).unwrap();
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let description = models::Description::from_value(toml::from_str(text).unwrap()).unwrap();
    let found = parameters(&description.build(10).unwrap(), [32, 32, 3]).unwrap();
    assert_eq!(found.last().unwrap().name, "head.bias");
    assert_eq!(found[0].name, "0.conv.weight");

    let error = models::Description::from_json(r#"{"layer":[{}]}"#).unwrap_err().to_string();
    let (_, kinds) = error.split_once("give one of ").unwrap();
    let kinds: Vec<&str> = kinds.split(", ").map(|kind| kind.rsplit(' ').next().unwrap()).collect();
    assert!(kinds.len() > 30 && kinds.contains(&"conv") && kinds.contains(&"relu"), "{kinds:?}");
    kinds.iter().for_each(|kind| assert!(page.contains(&format!("`{kind}`")), "{kind}"));
    models::NAMES.iter().for_each(|name| assert!(page.contains(&format!("| `{name}` |")), "{name}"));
}

/// A file of a description with huge layers is refused before anything is allocated.
#[test]
fn descriptions_beyond_any_memory_are_refused() {
    let huge = r#"{"kind":"conv_transpose","channels":65536,"kernel":1,"stride":65536}"#;
    let layers = |count: usize| format!("{{\"layer\":[{}]}}", vec![huge; count].join(","));
    for count in [1, 2, 40] {
        let model = models::by_name(&layers(count), 10).unwrap();
        let error = parameters(&model, [64, 64, 3]).unwrap_err().to_string();
        assert!(error.contains("elements; make it smaller"), "{error}");
    }
    let info = ModelInfo {
        model: r#"{"layer":[{"kind":"flatten"},{"kind":"linear","features":65536}]}"#.into(),
        class_names: vec!["a".into()],
        image_shape: [64, 64, 3],
        dataset: String::new(),
    };
    let file = ModelFile { info, weights: BTreeMap::from([("1.bias".into(), Array::full(&[3], 0f32))]) };
    let error = file.network().map(drop).unwrap_err().to_string();
    assert!(error.contains("has 805371904 numbers and the file 3"), "{error}");
}

/// Numbers in [0, 1) that follow from their place, as in `scripts/golden_models.py`.
fn ramp(shape: &[usize]) -> Array {
    let numbers =
        (0..shape.iter().product::<usize>()).map(|i| ((i as u64 * 2_654_435_761) as u32) as f64 / 2f64.powi(32));
    Array::new(shape, numbers.map(|x| x as f32).collect()).unwrap()
}

/// The losses of steps on one batch of pictures `[H, W, C]`.
fn losses(device: &Device, model: &dyn Module, image: [usize; 3], steps: usize, optimizer: &dyn Optimizer) -> Vec<f64> {
    let store = Store::new(device, 5);
    let [height, width, channels] = image;
    let images = ramp(&[4, height, width, channels]);
    let labels = Array::new(&[4], vec![0u32, 1, 2, 3]).unwrap();
    let program = Program::compile("step", &store, Mode::Train, |trace| {
        let x = trace.input("images", images.shape(), DType::F32);
        let labels = trace.input("labels", &[4], DType::U32);
        let loss = cross_entropy(&model.forward(&trace.scope(), x), &labels, 0.0);
        optimizer.update(trace, &trace.gradients(&loss));
        trace.output("loss", &loss);
    })
    .unwrap();
    let step = |_| {
        program.run(&[("images", &images), ("labels", &labels)]).unwrap();
        program.read("loss").unwrap().item().unwrap()
    };
    (0..steps).map(step).collect()
}

/// Trains a network on four small pictures on every device.
fn falls(name: &str, image: [usize; 3], steps: usize, learning_rate: f64) {
    let model = models::by_name(name, 4).unwrap();
    for device in common::devices() {
        let losses = losses(&device, &model, image, steps, &Adam::new(learning_rate));
        println!("{name} on {}: {losses:.3?}", device.name());
        assert!(losses.iter().all(|loss| loss.is_finite()), "{name} on {device:?}: {losses:?}");
        assert!(losses[steps - 1] < 0.8 * losses[0], "{name} on {device:?}: {losses:?}");
    }
}

#[test]
fn the_plain_ones_train() {
    falls("mlp", [8, 8, 1], 8, 1e-2);
    falls("small_cnn", [8, 8, 1], 8, 5e-3);
    falls("lenet5", [14, 14, 1], 12, 1e-2);
    falls("vgg8", [8, 8, 3], 8, 1e-3);
}

#[test]
fn the_residual_ones_train() {
    falls("resnet20", [8, 8, 3], 6, 3e-3);
    falls("resnet18", [32, 32, 3], 6, 1e-3);
    falls("resnet18_cifar", [8, 8, 3], 6, 1e-3);
}

#[test]
fn the_mobile_ones_train() {
    falls("depthwise_cnn", [8, 8, 3], 8, 5e-3);
    falls("mobilenet_v2", [8, 8, 3], 8, 3e-3);
}

/// With the whitening of its images, and what it keeps as it is.
#[test]
fn airbench94_trains() {
    let image = [25, 25, 3];
    let images = ramp(&[4, 25, 25, 3]);
    let centered = Array::from_fn(images.shape(), {
        let pixels = images.view4::<f32>().unwrap();
        move |i| (pixels[[i[0], i[1], i[2], i[3]]] - 0.5) * 12f32.sqrt()
    });
    let labels = Array::new(&[4], vec![0u32, 1, 2, 3]).unwrap();
    let model = models::airbench94(4);
    assert_eq!(count(&model, image), count(&model, [32, 32, 3]));
    for device in common::devices() {
        let store = Store::new(&device, 5);
        models::airbench::FROZEN.iter().for_each(|pattern| store.freeze(pattern));
        let step = Program::compile("step", &store, Mode::Train, |trace| {
            let x = trace.input("images", centered.shape(), DType::F32);
            let labels = trace.input("labels", &[4], DType::U32);
            let loss = cross_entropy(&model.forward(&trace.scope(), x), &labels, 0.0);
            Sgd { nesterov: true, ..Sgd::new(0.1).momentum(0.85) }.update(trace, &trace.gradients(&loss));
            trace.output("loss", &loss);
        })
        .unwrap();
        models::airbench::whiten(&store, &centered).unwrap();
        let whitening = store.get("whiten.weight").unwrap();
        let losses = [(); 6].map(|()| {
            step.run(&[("images", &centered), ("labels", &labels)]).unwrap();
            step.read("loss").unwrap().item().unwrap()
        });
        println!("airbench94 on {}: {losses:.3?}", device.name());
        assert!(losses[5] < 0.8 * losses[0], "{device:?}: {losses:?}");
        assert_eq!(store.get("whiten.weight").unwrap(), whitening);
        assert_eq!(store.get("group2.norm1.weight").unwrap().to_f64_vec(), [1.0; 256]);
    }
}

#[test]
fn the_autoencoder_learns_to_draw() {
    let model = models::autoencoder(3, 8);
    let images = ramp(&[4, 8, 8, 3]);
    for device in common::devices() {
        let store = Store::new(&device, 5);
        let step = Program::compile("step", &store, Mode::Train, |trace| {
            let x = trace.input("images", images.shape(), DType::F32);
            let drawn = model.forward(&trace.scope(), x.clone());
            assert_eq!(drawn.shape(), x.shape());
            let loss = binary_cross_entropy_with_logits(&drawn, &x, None, None, Reduction::Mean);
            let error: Tensor = drawn.sigmoid() - &x;
            let error = (&error * &error).mean_all();
            Adam::new(1e-2).update(trace, &trace.gradients(&loss));
            trace.output("loss", &error);
        })
        .unwrap();
        let losses = [(); 60].map(|()| {
            step.run(&[("images", &images)]).unwrap();
            step.read("loss").unwrap().item().unwrap()
        });
        println!("autoencoder on {}: {:.4} to {:.4}", device.name(), losses[0], losses[59]);
        assert!(losses[59] < 0.8 * losses[0], "{device:?}: {losses:?}");
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch/models").join(name)
}

/// The networks of `scripts/golden_models.py`.
fn narrow(name: &str) -> (Sequential, [usize; 3]) {
    let stem = || models::ConvBlock { conv: Conv2d::new(4, 3).padding(1) };
    let stage = |expansion, channels, blocks, stride| MobileStage { expansion, channels, blocks, stride };
    match name {
        "resnet20" => {
            let stages = residual_stages(Sequential::new().named("stem", stem()), &[4, 8, 16], 3);
            (stages.named("head", Linear::new(5)), [16, 16, 3])
        }
        "mobilenet" => (mobilenet(8, &[stage(1, 8, 1, 1), stage(4, 8, 2, 2), stage(4, 12, 2, 2)], 32, 5), [16, 16, 3]),
        _ => (models::lenet5(5), [16, 16, 1]),
    }
}

/// Sets the weights of a program's store.
fn set(store: &Store, weights: &BTreeMap<String, Array>) {
    store.set_weights(weights).unwrap();
}

/// PyTorch's state dictionaries give PyTorch's logits, and go back as they came, under their names and in their order.
#[test]
fn weights_travel_from_pytorch_and_back() {
    for name in ["resnet20", "mobilenet", "lenet5"] {
        let (model, image) = narrow(name);
        let (kind, given) = weights::load(&golden(&format!("{name}.pt"))).unwrap();
        assert_eq!(kind, weights::Kind::PyTorch);
        let model_parameters = parameters(&model, image).unwrap();
        let values = transfer::import(&model_parameters, &given, Matching::Order, Layout::PyTorch).unwrap();

        let (golden, _) = safetensors::load(&golden(&format!("{name}.safetensors"))).unwrap();
        for device in common::devices() {
            let store = Store::new(&device, 0);
            let predict = Program::compile("predict", &store, Mode::Evaluate, |trace| {
                let x = trace.input("images", golden["images"].shape(), DType::F32);
                trace.output("logits", &model.forward(&trace.scope(), x));
            })
            .unwrap();
            set(&store, &values);
            let logits = predict.call(&[("images", &golden["images"])]).unwrap()["logits"].to_f64_vec();
            let wanted = golden["logits"].to_f64_vec();
            let difference = logits.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            println!("{name} on {}: {difference:.1e}", device.name());
            assert!(difference < 1e-4 && wanted.len() == 40, "{name} on {device:?}: {difference}");
        }

        let back = transfer::export(&model_parameters, &values, Some(&given), Layout::PyTorch).unwrap();
        let counted: Vec<_> = given.into_iter().filter(|(name, _)| !name.ends_with("num_batches_tracked")).collect();
        assert_eq!(back, counted, "{name}");
    }
}

/// From equal weights and on equal batches training does what PyTorch's does.
#[test]
fn steps_from_the_weights_of_pytorch_are_those_of_pytorch() {
    for name in ["resnet20", "mobilenet", "lenet5"] {
        let (model, image) = narrow(name);
        let (_, given) = weights::load(&golden(&format!("{name}.pt"))).unwrap();
        let values = transfer::import(&parameters(&model, image).unwrap(), &given, Matching::Order, Layout::PyTorch);
        let (golden, _) = safetensors::load(&golden(&format!("{name}.safetensors"))).unwrap();
        let labels = golden["labels"].cast(DType::U32);
        for device in common::devices() {
            let store = Store::new(&device, 0);
            let step = Program::compile("step", &store, Mode::Train, |trace| {
                let x = trace.input("images", golden["images"].shape(), DType::F32);
                let labels = trace.input("labels", labels.shape(), DType::U32);
                let loss = cross_entropy(&model.forward(&trace.scope(), x), &labels, 0.0);
                Sgd { weight_decay: 5e-4, ..Sgd::new(0.005).momentum(0.9) }.update(trace, &trace.gradients(&loss));
                trace.output("loss", &loss);
            })
            .unwrap();
            set(&store, values.as_ref().unwrap());
            for (number, wanted) in golden["losses"].to_f64_vec().into_iter().enumerate() {
                step.run(&[("images", &golden["images"]), ("labels", &labels)]).unwrap();
                let loss = step.read("loss").unwrap().item().unwrap();
                assert!(
                    (loss - wanted).abs() < 1e-3 * wanted,
                    "{name}, step {number} on {device:?}: {loss}, not {wanted}"
                );
            }
        }
    }
}

fn refused(arguments: &[&str], words: &[&str]) {
    let text = failure(arguments);
    assert_eq!(text.lines().count(), 1, "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{text} lacks {word}"));
}

/// The file is gone when the run goes on and when the network is used.
#[test]
fn a_described_network_is_in_its_run_and_in_its_file() {
    let folder = Folder::new("zoo-described");
    let (description, run, saved) = (folder.path("net.toml"), folder.path("run"), folder.path("net.safetensors"));
    let text = r#"
        name = "tiny"
        [[layer]]
        kind = "conv"
        channels = 8
        kernel = 3
        [[layer]]
        kind = "relu"
        [[layer]]
        kind = "flatten"
        [[layer]]
        kind = "linear"
        features = "classes"
    "#;
    fs::write(&description, text).unwrap();
    let started = records(&["train", "--model", &description, "--epochs", "2", "--run", &run, "--save", &saved]);
    assert_eq!((&started[0]["model"], &started[0]["parameters"]), (&"tiny".into(), &2970.into()));
    fs::remove_file(&description).unwrap();
    let accuracy = started.last().unwrap()["test_accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.5, "{accuracy}");
    assert_eq!(records(&["evaluate", &saved])[0]["accuracy"].as_f64(), Some(accuracy));
    assert_eq!(records(&["predict", &saved, "--index", "0"]).len(), 2);
    let again = records(&["train", "--resume", &run]);
    assert_eq!(again.last().unwrap()["test_accuracy"].as_f64(), Some(accuracy));
    let fresh = records(&["train", "--config", &format!("{run}/config.toml")]);
    assert_eq!(fresh.last().unwrap()["test_accuracy"].as_f64(), Some(accuracy));

    for (wrong, words) in [
        ("channels", ["net.toml", "layer 0 (conv): there is no \"chanels\" here; it takes"]),
        ("kind = \"conv\"", ["net.toml: line 4", "expected"]),
    ] {
        let broken = if wrong == "channels" { "chanels = 8\nchannels" } else { "kind = conv" };
        fs::write(&description, text.replacen(wrong, broken, 1)).unwrap();
        refused(&["train", "--model", &description], &words);
    }
    refused(&["train", "--model", "resnet"], &["--model", "resnet20", "FILE.toml"]);
    refused(&["train", "--model", "./absent.toml"], &["absent.toml"]);
}

#[test]
fn weights_are_shown_imported_and_exported() {
    let folder = Folder::new("zoo-weights");
    let (given, saved) = (golden("resnet20.pt"), folder.path("net.safetensors"));
    let (given, description) = (given.to_str().unwrap(), golden("resnet20.toml"));
    let shown = records(&["weights", "show", given]);
    assert_eq!(shown[0]["name"], "conv1.weight");
    assert_eq!((&shown[0]["shape"], &shown[0]["type"]), (&serde_json::json!([4, 3, 3, 3]), &"f32".into()));
    let model = ["--model", description.to_str().unwrap(), "--image-shape", "16x16x3", "--classes", "a,b,c,d,e"];
    let import = [&["weights", "import", given, "--save", &saved], &model[..]].concat();
    let done = records(&[&import[..], &["--mean", "0.5,0.5,0.5", "--deviation", "0.2,0.2,0.2"]].concat());
    assert_eq!((&done[0]["match"], &done[0]["parameters"]), (&"order".into(), &17_449.into()));
    assert_eq!(done[0]["model"], "resnet20_narrow");

    // Out under PyTorch's names and in again by the order, and out and in under its own names.
    let (npz, own, second) =
        (folder.path("net.npz"), folder.path("own.safetensors"), folder.path("second.safetensors"));
    let done = records(&["weights", "export", &saved, "--save", &npz, "--names-of", given]);
    assert_eq!(done[0]["mean"], serde_json::json!([0.5, 0.5, 0.5]));
    let (_, of_torch) = weights::load(Path::new(given)).unwrap();
    let of_torch: Vec<_> = of_torch.into_iter().filter(|(name, _)| !name.ends_with("num_batches_tracked")).collect();
    assert_eq!(weights::load(Path::new(&npz)).unwrap().1, of_torch);
    records(&["weights", "export", &saved, "--save", &own]);
    for file in [&npz, &own] {
        records(&["weights", "import", file, "--save", &second, "--like", &saved]);
        assert_eq!(fs::read(&second).unwrap(), fs::read(&saved).unwrap(), "{file}");
    }

    // Names that are made equal.
    let renamed = [&import[..], &["--match", "names", "--rename", "conv1=0.conv", "--rename", "bn1=0.norm"]].concat();
    refused(&renamed, &["resnet20.pt", "1.conv1.weight [4, 3, 3, 4] is missing", "more"]);
    let other =
        ["weights", "import", given, "--save", &second, "--model", "mlp", "--image-shape", "16x16x3", "--classes", "5"];
    refused(&other, &["the file has 107 arrays, the model 6", "number 2 is bn1.weight in the file and hidden1.bias"]);
    refused(&["weights", "import", given, "--save", &second], &["--model", "--like"]);
    refused(&["weights", "import", &own, "--save", &second, "--like", &saved, "--match", "order"], &["keeps no order"]);
    let evil = folder.path("evil.pt");
    let mut archive = zip::ZipWriter::new(fs::File::create(&evil).unwrap());
    archive
        .start_file(
            "evil/data.pkl",
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored),
        )
        .unwrap();
    std::io::Write::write_all(&mut archive, b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00echo\x85R.").unwrap();
    archive.finish().unwrap();
    refused(&["weights", "show", &evil], &["evil.pt", "asks for Python's os.system, which is refused", "state_dict"]);
}

/// A ring, bright on dark, in `size` × `size` pixels.
fn ring(size: u32) -> impl Fn(u32, u32) -> u8 {
    move |x, y| {
        let from_center = |at: u32| (f64::from(at) + 0.5) / f64::from(size) - 0.5;
        let radius = from_center(x).hypot(from_center(y));
        if (0.2..0.38).contains(&radius) { 255 } else { 0 }
    }
}

/// A zero is a zero in pictures of every size and mode.
#[test]
fn pictures_of_any_size_and_mode_are_classified() {
    let folder = Folder::new("zoo-pictures");
    let saved = folder.path("digits.safetensors");
    records(&["train", "--epochs", "6", "--save", &saved]);
    let (small, large) = (ring(8), ring(40));
    let wide = ring(40);
    let pictures: Vec<(&str, DynamicImage)> = vec![
        ("small.png", ImageBuffer::from_fn(8, 8, |x, y| Luma([small(x, y)])).into()),
        ("gray.png", ImageBuffer::from_fn(40, 40, |x, y| Luma([large(x, y)])).into()),
        (
            "wide.png",
            ImageBuffer::from_fn(60, 40, |x, y| Luma([if (10..50).contains(&x) { wide(x - 10, y) } else { 0 }])).into(),
        ),
        ("deep.png", ImageBuffer::from_fn(40, 40, |x, y| Luma([u16::from(large(x, y)) * 257])).into()),
        ("deep_color.png", ImageBuffer::from_fn(40, 40, |x, y| Rgb([u16::from(large(x, y)) * 257; 3])).into()),
        ("color.bmp", RgbImage::from_fn(40, 40, |x, y| Rgb([large(x, y); 3])).into()),
        ("photo.jpg", RgbImage::from_fn(40, 40, |x, y| Rgb([large(x, y); 3])).into()),
        (
            "palette.gif",
            RgbaImage::from_fn(40, 40, |x, y| {
                let v = large(x, y);
                Rgba([v, v, v, 255])
            })
            .into(),
        ),
        // White ink that only its alpha shows.
        ("alpha.png", RgbaImage::from_fn(40, 40, |x, y| Rgba([255, 255, 255, large(x, y)])).into()),
        ("gray_alpha.png", GrayAlphaImage::from_fn(40, 40, |x, y| LumaA([255, large(x, y)])).into()),
        (
            "deep_alpha.png",
            ImageBuffer::from_fn(40, 40, |x, y| Rgba([65535u16, 65535, 65535, u16::from(large(x, y)) * 257])).into(),
        ),
        ("web.webp", RgbaImage::from_fn(40, 40, |x, y| Rgba([255, 255, 255, large(x, y)])).into()),
    ];
    let mut arguments = vec!["predict".to_owned(), saved.clone()];
    for (name, picture) in &pictures {
        let path = folder.path(name);
        picture.save_with_format(&path, ImageFormat::from_path(&path).unwrap()).unwrap();
        arguments.push(path);
    }
    let pgm = folder.path("plain.pgm");
    let pixels: Vec<u8> = (0..1600).map(|i| large(i % 40, i / 40) / 16).collect();
    fs::write(&pgm, [b"P5 40 40 15\n".to_vec(), pixels].concat()).unwrap();
    arguments.push(pgm.clone());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let predictions = records(&arguments);
    assert_eq!(predictions.len(), pictures.len() + 2);
    let probability = |i: usize| predictions[i]["probability"].as_f64().unwrap();
    for (i, prediction) in predictions[..pictures.len() + 1].iter().enumerate() {
        assert_eq!(prediction["class"], "0", "{prediction}");
        // All but the first, which is drawn in other pixels, come to the same after scaling.
        assert!(i == 0 || (probability(i) - probability(1)).abs() < 0.02, "{prediction}, not {}", probability(1));
    }
    // On white, white ink is not seen.
    let alpha = folder.path("alpha.png");
    let on_white = records(&["predict", &saved, &alpha, "--background", "white"]);
    let blank = records(&["predict", &saved, &alpha, "--background", "#ffffff"]);
    assert_eq!(on_white[0], blank[0]);
    assert_ne!(on_white[0]["probability"], predictions[8]["probability"]);
    refused(&["predict", &saved, &alpha, "--background", "#fff"], &["--background", "#ff8000"]);
    let (code, text, _) = neuropil(&["predict", &saved, &pgm]);
    assert!(code == Some(0) && text.contains("plain.pgm: 0 ("), "{text}");

    evaluates_colored_pictures_of_another_size(&folder, &saved);

    // A network of color takes gray pictures.
    let colored = folder.path("colored.safetensors");
    let given = golden("resnet20.pt");
    let description = golden("resnet20.toml");
    records(&[
        "weights",
        "import",
        given.to_str().unwrap(),
        "--model",
        description.to_str().unwrap(),
        "--image-shape",
        "16x16x3",
        "--classes",
        "5",
        "--save",
        &colored,
    ]);
    let all = [&["predict", &colored, &pgm], &arguments[2..]].concat();
    assert_eq!(records(&all).len(), pictures.len() + 3);
}

/// One digit of every class, magnified and colored, as a folder.
fn evaluates_colored_pictures_of_another_size(folder: &Folder, saved: &str) {
    let (digits, _) = neuropil::data::digits().unwrap();
    let images = digits.images().unwrap();
    let pixels = images.as_slice::<f32>().unwrap();
    for class in 0..10 {
        let index = digits.labels().iter().position(|&label| label == class).unwrap();
        let digit = &pixels[index * 64..][..64];
        let picture = RgbImage::from_fn(24, 24, |x, y| {
            let value = (digit[(y / 3 * 8 + x / 3) as usize] * 255.0) as u8;
            Rgb([value; 3])
        });
        for part in ["train", "test"] {
            let path = folder.path(&format!("tree/{part}/{class}"));
            fs::create_dir_all(&path).unwrap();
            picture.save(format!("{path}/one.png")).unwrap();
        }
    }
    let done = records(&["evaluate", saved, "--dataset", &folder.path("tree")]);
    assert_eq!(done.last().unwrap()["images"], 10);
    let accuracy = done.last().unwrap()["accuracy"].as_f64().unwrap();
    assert!(accuracy >= 0.9, "{accuracy}");
}

/// The command whitens from the images, and keeps that and the scales of batch norm.
#[test]
fn the_command_prepares_airbench94() {
    let folder = Folder::new("zoo-airbench");
    let (data, saved) = (folder.path("data.npz"), folder.path("net.safetensors"));
    let labels = |count: i32| Array::new(&[count as usize], (0..count).map(|i| i % 2).collect()).unwrap();
    let arrays = [
        ("x_train", ramp(&[16, 25, 25, 3])),
        ("y_train", labels(16)),
        ("x_test", ramp(&[4, 25, 25, 3])),
        ("y_test", labels(4)),
    ];
    let arrays = arrays.into_iter().map(|(name, array)| (name.to_owned(), array)).collect();
    weights::save(Path::new(&data), &arrays).unwrap();
    let arguments = ["train", "--dataset", &data, "--model", "airbench94", "--epochs", "1", "--batch-size", "8"];
    records(&[&arguments[..], &["--optimizer", "sgd", "--save", &saved]].concat());
    let (values, _) = safetensors::load(Path::new(&saved)).unwrap();
    let whitening = values["whiten.weight"].to_f64_vec();
    let (directions, opposites) = whitening.split_at(whitening.len() / 2);
    assert!(directions.iter().zip(opposites).all(|(a, b)| *a == -b && *a != 0.0));
    assert_eq!(values["group1.norm2.weight"].to_f64_vec(), [1.0; 64]);
    assert_ne!(values["group1.norm2.bias"].to_f64_vec(), [0.0; 64]);
}

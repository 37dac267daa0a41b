//! The command `neuropil` as a person or a script meets it: output, messages and exit codes.

#![cfg(feature = "cli")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// What a run of the command gave.
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    /// The lines of stdout as JSON objects.
    fn records(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"));
        self.stdout.lines().map(parse).collect()
    }

    fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    /// Checks that there was one line of error with all of `words`, no result and the exit code 2.
    fn failed(self, words: &[&str]) {
        let text = &self.stderr;
        assert!(text.starts_with("error: ") && text.ends_with('\n') && text.lines().count() == 1, "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {text}");
        assert_eq!((self.code, self.stdout.as_str()), (2, ""), "{text}");
    }
}

fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_neuropil"));
    // Nothing of the user's is read or written.
    command.args(arguments.split_whitespace()).env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

fn finish(output: Output) -> Run {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().expect("no signal ends the command");
    Run { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs the command with `arguments`, which are separated by blanks.
fn neuropil(arguments: &str) -> Run {
    finish(command(arguments).output().unwrap())
}

/// As [`neuropil`], where no GPU can be found.
#[cfg(target_os = "linux")]
fn without_gpu(arguments: &str) -> Run {
    let mut command = command(arguments);
    command.env_remove("VK_ICD_FILENAMES").env_remove("VK_ADD_DRIVER_FILES").env("VK_DRIVER_FILES", "/nonexistent");
    finish(command.output().unwrap())
}

/// A folder that is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("neuropil-cli-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.file(name), bytes).unwrap();
        self.file(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn keys(record: &Value) -> Vec<&str> {
    record.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn help_and_version_are_answers() {
    let help = neuropil("--help").succeeded().stdout;
    for name in ["info", "check", "train", "evaluate", "predict"] {
        assert!(help.contains(&format!("\n  {name} ")), "{help}");
        let help = neuropil(&format!("{name} --help")).succeeded().stdout;
        assert!(help.contains("--device <DEVICE>") && help.contains("--json"), "{help}");
    }
    assert_eq!(neuropil("--version").succeeded().stdout, format!("neuropil {}\n", env!("CARGO_PKG_VERSION")));
    let bare = neuropil("");
    assert!(bare.code == 2 && bare.stderr.contains("Usage") && bare.stdout.is_empty());
}

#[test]
fn info_lists_adapters_and_the_choice() {
    let records = neuropil("info --json").succeeded().records();
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!(keys(record), ["adapters", "backends", "cpu_threads", "selected", "version"]);
    assert_eq!(keys(&record["selected"]), ["asked", "device", "reason"]);
    for adapter in record["adapters"].as_array().unwrap() {
        assert_eq!(keys(adapter), ["backend", "driver", "features", "kind", "limits", "name", "software"]);
    }
    let text = neuropil("info --device cpu").succeeded().stdout;
    assert!(text.contains("--device cpu uses the CPU"), "{text}");
}

#[test]
fn check_prints_a_line_an_operation_and_the_total() {
    let text = neuropil("check --op add --device cpu").succeeded().stdout;
    assert!(text.starts_with("device: the CPU"), "{text}");
    assert!(text.contains("\nadd  ") && text.ends_with(" on the CPU: all are right\n"), "{text}");

    let records = neuropil("check --op matmul --device cpu --json").succeeded().records();
    let [start, op, variant, done] = &records[..] else { panic!("{records:?}") };
    assert_eq!(keys(start), ["device", "event", "level", "reason", "seed"]);
    assert_eq!((&start["event"], &start["device"]), (&"start".into(), &"cpu".into()));
    assert_eq!(keys(op), ["cases", "event", "failed", "op", "skipped", "worst", "worst_case"]);
    assert_eq!((&op["op"], &op["failed"]), (&"matmul".into(), &0.into()));
    let of_variant = ["cases", "description", "event", "failed", "pipelines", "seconds", "skipped", "variant"];
    assert_eq!(keys(variant), of_variant);
    assert_eq!((&variant["variant"], &variant["cases"]), (&"as used".into(), &op["cases"]));
    assert_eq!(keys(done), ["cases", "device", "event", "failed", "seconds", "skipped"]);
    assert_eq!((&done["event"], &done["cases"]), (&"done".into(), &op["cases"]));
}

#[test]
fn check_runs_what_it_is_told() {
    let cases = |arguments: &str| {
        let records = neuropil(&format!("check --device cpu --json {arguments}")).succeeded().records();
        let of = |event: &str| records.iter().filter(|record| record["event"] == event).cloned().collect::<Vec<_>>();
        (of("done")[0]["cases"].as_u64().unwrap(), of("variant").len())
    };
    let (quick, standard, full) = (cases("--op softmax --quick"), cases("--op softmax"), cases("--op softmax --full"));
    assert!(quick.0 < standard.0 && standard.0 < full.0, "{quick:?} {standard:?} {full:?}");
    assert_eq!((quick.1, standard.1, full.1), (2, 1, 2));
    // By name: in every direction, at the fixed inputs and at fresh ones.
    assert_eq!(cases("--op div --case row,"), (8, 1));
    assert_eq!(cases("--op softmax --variant unfused --case gradient --seed 3").1, 1);
    // That nothing was found wrong is no answer where nothing was run.
    let nothing = neuropil("check --op relu --variant unfused --case views --device cpu");
    assert!(nothing.code == 2 && nothing.stderr.contains("nothing is run"), "{}{}", nothing.stdout, nothing.stderr);
}

#[test]
fn check_writes_a_report() {
    let folder = Folder::new("report");
    let path = folder.file("report.json");
    neuropil(&format!("check --op relu --device cpu --full --seed 5 --report {}", path.display())).succeeded();
    let report: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(
        (&report["level"], &report["seed"], &report["machine"]["device"]),
        (&"full".into(), &5.into(), &"cpu".into())
    );
    assert!(
        report["command"].as_str().unwrap().starts_with("neuropil check --op relu --device cpu --full"),
        "{report}"
    );
    assert_eq!(report["operations"][0]["name"], "relu");
}

/// As a person would on a new machine: the GPU under test, or the CPU where it is left out.
#[test]
fn a_quick_check_runs_every_operation() {
    let device = std::env::var("NEUROPIL_TEST_DEVICE").unwrap_or_else(|_| "software".to_owned());
    let output = command("check --quick --json --device").arg(device).output().unwrap();
    let records = finish(output).succeeded().records();
    let checked = records.iter().filter(|record| record["event"] == "op" && record["cases"].as_u64() > Some(0));
    let operations: std::collections::BTreeSet<&str> =
        neuropil::ops::REGISTRY.iter().flat_map(|family| (family.samples)()).map(|sample| sample.op.name()).collect();
    assert_eq!(checked.count(), operations.len());
}

#[test]
fn bench_measures_ceilings_kernels_and_steps() {
    let document =
        |run: &Run| -> Value { serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}", run.stdout)) };
    let positive = |record: &Value, key: &str| assert!(record[key].as_f64() > Some(0.0), "{record}");
    let measured = document(&neuropil("bench --device cpu --only 256 --json").succeeded());
    assert_eq!(measured["device"]["device"], "cpu");
    positive(&measured["ceilings"], "copy_gigabytes_per_second");
    positive(&measured["ceilings"], "gigaflops_per_second");
    let kernel = &measured["kernels"][0];
    assert_eq!((kernel["name"].as_str(), kernel["unit"].as_str()), (Some("matmul 256"), Some("GFLOP/s")));
    ["seconds", "rate", "share"].iter().for_each(|key| positive(kernel, key));
    assert_eq!(
        (measured["kernels"].as_array().map(Vec::len), measured["steps"].as_array().map(Vec::len)),
        (Some(1), Some(0))
    );

    let folder = Folder::new("bench");
    let trace = folder.file("trace.json");
    let run = neuropil(&format!("bench --device cpu --only ResNet-20 --json --trace {}", trace.display())).succeeded();
    let step = &document(&run)["steps"][0];
    // As PyTorch counts a ResNet-20 with 1×1 convolutions as shortcuts.
    assert_eq!(step["parameters"], 272_474, "{step}");
    ["seconds", "images_per_second", "first_step_seconds"].iter().for_each(|key| positive(step, key));
    assert!(step["planned_bytes"].as_u64() >= step["activations_at_least_bytes"].as_u64());
    assert!(step["used_bytes"].as_u64() >= step["planned_bytes"].as_u64(), "the plan and the store: {step}");
    let trace: Value = serde_json::from_str(&fs::read_to_string(&trace).unwrap()).unwrap();
    let names: Vec<&str> =
        trace["traceEvents"].as_array().unwrap().iter().filter_map(|event| event["name"].as_str()).collect();
    assert!(names.iter().any(|name| name.starts_with("stage1_1.conv1 conv2d")), "{names:?}");
}

/// What was measured is kept in a file, and used by the next run.
#[test]
fn tiles_are_measured_once() {
    let device = std::env::var("NEUROPIL_TEST_DEVICE").unwrap_or_else(|_| "software".to_owned());
    if device == "cpu" {
        println!("skipped: NEUROPIL_TEST_DEVICE=cpu");
        return;
    }
    let folder = Folder::new("tuning");
    let file = folder.file("tunings.json");
    let train =
        format!("train --device {device} --model mlp --batch-size 718 --epochs 1 --quiet --tunings {}", file.display());
    neuropil(&train).succeeded();
    let kept = || -> Vec<String> {
        let devices = neuropil::format::tunings::load(&file).unwrap();
        assert_eq!(devices.len(), 1);
        devices[0].choices.iter().map(|(class, choice)| format!("{class}: {choice:?}")).collect()
    };
    let measured = kept();
    assert!(!measured.is_empty());
    neuropil(&train).succeeded();
    // What there was no time for is measured now, the rest is as it was.
    let again = kept();
    assert!(measured.iter().all(|choice| again.contains(choice)), "{measured:#?} {again:#?}");
    folder.write("tunings.json", b"nonsense");
    neuropil(&train).failed(&["tunings.json", "no file of tunings", "remove it"]);
    neuropil("train --deterministic --tune full").failed(&["--deterministic", "--tune"]);
    neuropil("train --deterministic --winograd").failed(&["--deterministic", "--winograd"]);
    neuropil("bench --tune off --winograd").failed(&["--winograd", "chosen by measurement", "leave it out"]);
}

#[test]
fn bad_arguments_are_one_line_with_the_remedy() {
    neuropil("tarin").failed(&["'tarin'", "'train'", "`neuropil --help`"]);
    neuropil("--json").failed(&["requires a subcommand", "info, check, bench, data, train"]);
    neuropil("info --gpu").failed(&["'--gpu'", "`neuropil info --help`"]);
    neuropil("check --op conv9d").failed(&["--op conv9d", "conv2d.grad_weight, ", "matmul"]);
    neuropil("check --op add --case sideways").failed(&["--op add --case sideways", "no case \"sideways\""]);
    neuropil("check --variant fused --device cpu").failed(&["--variant fused", "there are as used, unfused"]);
    neuropil("check --quick --full").failed(&["'--quick'", "cannot be used with '--full'"]);
    neuropil("check --seed x").failed(&["'x'", "a whole number from 0"]);
    neuropil("check --report found.pdf --device cpu").failed(&["found.pdf", ".html", ".md", ".json"]);
    neuropil("train --epochs 0").failed(&["'0'", "a whole number from 1", "`neuropil train --help`"]);
    neuropil("train --batch-size -5").failed(&["'-5'", "a whole number from 1"]);
    neuropil("train --learning-rate -1").failed(&["'-1'", "a number above 0"]);
    neuropil("train --seed x").failed(&["'x'", "a whole number from 0"]);
    neuropil("train --precision f8").failed(&["'f8'", "give f32 or mixed"]);
    neuropil("train --model vgg").failed(&["'vgg'", "small_cnn"]);
    neuropil("train --dataset mnits").failed(&["'mnits'", "digits, mnist, fashion-mnist", "'mnist'"]);
    neuropil("evaluate").failed(&["<MODEL.safetensors>", "`neuropil evaluate --help`"]);
    neuropil("predict model.safetensors").failed(&["--index", "IMAGE.pgm"]);
    neuropil("predict m.safetensors a.pgm --index 1").failed(&["cannot be used with"]);
}

#[test]
fn missing_files_are_one_line_with_the_remedy() {
    neuropil("train --dataset mnist").failed(&["`neuropil data fetch mnist`", "--data-dir"]);
    neuropil("data fetch iris").failed(&["'iris'", "mnist, fashion-mnist, cifar10"]);
    neuropil("train --data-dir x").failed(&["--data-dir", "digits", "--dataset"]);
    neuropil("train --dataset fashion-mnist --data-dir /nonexistent").failed(&["train-images-idx3-ubyte", "https://"]);
    neuropil("train --save /nonexistent/x.safetensors").failed(&["--save /nonexistent/x.safetensors", "folder"]);
    neuropil("evaluate /nonexistent.safetensors").failed(&["/nonexistent.safetensors", "neuropil train --save"]);
    neuropil("predict /nonexistent.safetensors --index 0").failed(&["/nonexistent.safetensors"]);
}

#[cfg(target_os = "linux")]
#[test]
fn an_absent_gpu_is_never_silent() {
    for arguments in ["check --op add --device gpu", "train --device gpu --epochs 1", "info --device gpu"] {
        without_gpu(arguments).failed(&["--device gpu", "no hardware GPU", "install a Vulkan driver"]);
    }
    without_gpu("info --device software").failed(&["--device software", "mesa-vulkan-drivers"]);
    without_gpu("info --device GeForce").failed(&["GeForce", "no adapter"]);
    for arguments in ["check --op add", "info", "check --op add --json", "info --json"] {
        let text = without_gpu(arguments).succeeded().stdout;
        assert!(text.to_lowercase().contains("cpu") && text.contains("no hardware GPU"), "{text}");
    }
}

#[test]
fn a_network_is_trained_saved_evaluated_and_used() {
    let folder = Folder::new("round-trip");
    let model = folder.file("model.safetensors");
    let model = model.to_str().unwrap();
    let run = neuropil(&format!("train --epochs 1 --device cpu --json --save {model}")).succeeded();
    let records = run.records();
    let events: Vec<&str> = records.iter().map(|record| record["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["start", "epoch", "done"]);
    let epoch = ["epoch", "event", "images_per_second", "loss", "seconds"];
    let tested = ["test_accuracy", "test_loss", "train_accuracy", "wait_share"];
    assert_eq!(keys(&records[1]), [&epoch[..], &tested].concat());
    assert_eq!((&records[0]["train_images"], &records[0]["test_images"]), (&1438.into(), &359.into()));
    assert_eq!((&records[2]["epochs"], &records[2]["device"]), (&1.into(), &"cpu".into()));
    let accuracy = records[2]["test_accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.5, "{accuracy}");

    let records = neuropil(&format!("evaluate {model} --device cpu --json")).succeeded().records();
    assert_eq!((&records[0]["accuracy"], &records[0]["images"]), (&accuracy.into(), &359.into()));

    let arguments = format!("predict {model} --device cpu --json --top 10 --index");
    let all: Vec<String> = (0..359).map(|index| index.to_string()).collect();
    let records = neuropil(&format!("{arguments} {}", all.join(","))).succeeded().records();
    let (done, predictions) = records.split_last().unwrap();
    assert_eq!((&done["event"], predictions.len()), (&"done".into(), 359));
    let right = predictions.iter().filter(|prediction| prediction["class"] == prediction["label"]).count();
    assert_eq!(right, (accuracy * 359.0).round() as usize);
    let sum: f64 =
        predictions[7]["top"].as_array().unwrap().iter().map(|class| class["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-4, "{sum}");

    neuropil(&format!("{arguments} 359")).failed(&["--index 359", "0 to 358"]);
    images(&folder, model);
    damage(&folder, Path::new(model));
}

/// Images from files are classified, or refused with the reason.
fn images(folder: &Folder, model: &str) {
    let image = folder.write("image.pgm", &[b"P5 8 8 16\n".to_vec(), vec![7; 64]].concat());
    let text = neuropil(&format!("predict {model} --device cpu {}", image.display())).succeeded().stdout;
    assert!(text.contains("image.pgm: ") && text.contains(" %)"), "{text}");
    for (bytes, words) in [(&b"P5 8 8 16 short"[..], ["image.pgm", "64 bytes"]), (b"\x89PNG", ["binary PGM", "magick"])]
    {
        folder.write("image.pgm", bytes);
        neuropil(&format!("predict {model} {}", image.display())).failed(&words);
    }
}

/// Files that are truncated, of another kind or of another network are refused by their name.
fn damage(folder: &Folder, model: &Path) {
    let whole = fs::read(model).unwrap();
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        let path = folder.write("damaged.safetensors", &whole[..length]);
        neuropil(&format!("evaluate {}", path.display())).failed(&["damaged.safetensors", "safetensors file"]);
    }
    let replaced = |from: &str, to: &str| {
        let at = whole.windows(from.len()).position(|bytes| bytes == from.as_bytes()).unwrap();
        let mut bytes = whole.clone();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        let path = folder.write("other.safetensors", &bytes);
        neuropil(&format!("predict {} --device cpu --index 0", path.display()))
    };
    replaced("\"8,8,1\"", "\"9,8,1\"").failed(&["other.safetensors"]);
    replaced("small_cnn", "small_ccc").failed(&["other.safetensors", "small_ccc", "small_cnn"]);
    replaced("neuropil.model", "neuropil.cabal").failed(&["other.safetensors", "neuropil train"]);
}

#[test]
fn a_quiet_training_prints_its_result_alone() {
    let text = neuropil("train --quiet --epochs 1 --device cpu --model mlp").succeeded().stdout;
    assert!(text.lines().count() == 1 && text.starts_with("test accuracy "), "{text}");
}

#[test]
fn the_seed_decides_the_training() {
    let losses = |seed| {
        let records = neuropil(&format!("train --epochs 1 --device cpu --model mlp --json --seed {seed}")).succeeded();
        records.records()[1]["loss"].clone()
    };
    let first = losses(1);
    assert_eq!(losses(1), first);
    assert_ne!(losses(2), first);
}

#[test]
fn a_closed_stdout_ends_the_command_without_a_word() {
    for arguments in ["train --epochs 2 --device cpu --model mlp", "check --op add --device cpu --json", "--help"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = finish(command(arguments).stdout(writer).output().unwrap());
        assert_eq!((run.code, run.stderr.as_str()), (141, ""), "{arguments}");
    }
}

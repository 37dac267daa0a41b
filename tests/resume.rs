//! Runs that survive: killed at random moments and resumed they end in the same bits as one that was never interrupted; a
//! full disk, a lost device and a loss that is no number leave the last good checkpoint as it was.

#![cfg(all(feature = "cli", unix))]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use neuropil::random::Stream;
use neuropil::train::{Checkpoint, ModelFile};
use serde_json::Value;

/// A folder that is removed when dropped.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("neuropil-resume-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_neuropil"));
    command.args(arguments.split_whitespace()).env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The exit code, stdout and stderr.
fn neuropil(arguments: &str) -> (Option<i32>, String, String) {
    finished(command(arguments).spawn().unwrap())
}

fn finished(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn succeeded(arguments: &str) -> String {
    let (code, stdout, stderr) = neuropil(arguments);
    assert_eq!(code, Some(0), "{arguments}: {stdout}{stderr}");
    stdout
}

/// Everything that a run's end must agree in: the last checkpoint, the network, and the metrics without times.
fn end_of(run: &str) -> (Checkpoint, ModelFile, Vec<Value>) {
    let (path, mut checkpoint) = last_checkpoint(run);
    let progress = &mut checkpoint.progress;
    progress.seconds = 0.0;
    progress.epochs.iter_mut().for_each(|epoch| (epoch.seconds, epoch.waited) = (0.0, 0.0));
    let model = ModelFile::load(&Path::new(run).join("model.safetensors")).unwrap();
    let lines = fs::read_to_string(Path::new(run).join("metrics.jsonl")).unwrap();
    let metrics = lines.lines().map(|line| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("seconds");
        value
    });
    assert!(!leftovers(run), "{}", path.display());
    (checkpoint, model, metrics.collect())
}

fn last_checkpoint(run: &str) -> (PathBuf, Checkpoint) {
    let path = checkpoints(run).pop().unwrap_or_else(|| panic!("{run} has no checkpoint"));
    let (checkpoint, _) = Checkpoint::load(&path).unwrap();
    (path, checkpoint)
}

fn checkpoints(run: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(Path::new(run).join("checkpoints")) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "safetensors"));
    paths.sort();
    paths
}

/// Whether a checkpoint is being written, or was when the run was killed.
fn leftovers(run: &str) -> bool {
    let Ok(entries) = fs::read_dir(Path::new(run).join("checkpoints")) else { return false };
    entries.filter_map(Result::ok).any(|entry| entry.file_name().to_string_lossy().ends_with(".tmp"))
}

/// The bits of every array, so that NaN and the sign of zero count.
fn bits(arrays: &BTreeMap<String, neuropil::Array>) -> BTreeMap<&str, Vec<u32>> {
    arrays.iter().map(|(name, array)| (name.as_str(), array.to_words())).collect()
}

fn assert_same_end(run: &str, other: &str) {
    let (ours, theirs) = (end_of(run), end_of(other));
    assert_eq!(ours.0.progress, theirs.0.progress);
    assert_eq!(ours.0.settings, theirs.0.settings);
    assert_eq!(bits(&ours.0.state), bits(&theirs.0.state));
    assert_eq!(bits(&ours.1.weights), bits(&theirs.1.weights));
    assert_eq!(ours.1.info, theirs.1.info);
    assert_eq!(ours.2, theirs.2);
}

/// Starts or goes on with `run` and kills it after `wait` has passed, or with `in_write` when it next writes a checkpoint
/// after that. Gives whether it was killed before it ended.
fn killed(start: &str, run: &str, wait: Duration, in_write: bool) -> bool {
    let is_there = Path::new(run).join("config.toml").exists();
    let arguments = if is_there { format!("train --quiet --resume {run}") } else { format!("{start} --run {run}") };
    let mut child = command(&arguments).spawn().unwrap();
    let begin = Instant::now();
    // What an earlier kill left behind is no sign of this process, which removes it.
    let mut is_clean = false;
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        let writes = leftovers(run);
        is_clean |= !writes;
        if begin.elapsed() >= wait && (!in_write || is_clean && writes) {
            break None;
        }
        std::thread::sleep(Duration::from_micros(if in_write { 20 } else { 500 }));
    };
    if ended.is_none() {
        child.kill().unwrap();
    }
    let (_, stdout, stderr) = finished(child);
    assert!(ended.is_none_or(|status| status.success()), "{arguments}: {stdout}{stderr}");
    ended.is_none()
}

/// Kills `run`, which `start` starts, `kills` times, and lets it end as `whole` did; no kill comes later than `longest`.
fn kill_and_resume(start: &str, run: &str, whole: &str, kills: usize, longest: Duration) {
    let mut stream = Stream::new(7, start);
    let (mut survived, mut in_write, mut progress) = (0, 0, Vec::new());
    for attempt in 0..10 * kills {
        if survived == kills {
            break;
        }
        let wait = longest.mul_f64(f64::from(stream.uniform()));
        let was_killed = killed(start, run, wait, attempt % 2 == 1);
        if !was_killed {
            // It came to its end: the whole of it once more, for the kills that are left.
            assert_same_end(run, whole);
            println!("ended after {survived} kills; once more from the start");
            fs::remove_dir_all(run).unwrap();
            continue;
        }
        survived += 1;
        in_write += usize::from(leftovers(run));
        progress.push(checkpoints(run).last().map_or(0, |path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            name.trim_start_matches("step-").parse::<usize>().unwrap()
        }));
    }
    println!("{survived} kills, {in_write} of them within the writing of a checkpoint; at the steps {progress:?}");
    assert_eq!(survived, kills);
    assert!(kills < 20 || in_write >= 3, "only {in_write} kills met a checkpoint's write");
    match Path::new(run).join("config.toml").exists() {
        true => succeeded(&format!("train --quiet --resume {run}")),
        false => succeeded(&format!("{start} --run {run}")),
    };
    assert_same_end(run, whole);
}

/// Dropout, an average, a plateau, accumulation, batch norm and augmentation's place: all that has a state.
const OPTIONS: &str = "--optimizer adam --ema 0.9 --schedule plateau --patience 0 --accumulate 2 --clip-norm 1 \
                       --batch-size 48 --seed 3 --tune off";

#[test]
fn twenty_kills_do_not_change_a_bit() {
    let place = Place::new("cpu");
    let start = format!("train --quiet --device cpu --model small_cnn --epochs 4 --checkpoint-every 7 {OPTIONS}");
    let (whole, run) = (place.path("whole"), place.path("killed"));
    let begin = Instant::now();
    succeeded(&format!("{start} --run {whole}"));
    let took = begin.elapsed();
    // A third of the run, so that kills are within it and it comes to its end in a handful of them or more.
    kill_and_resume(&start, &run, &whole, 20, took.div_f64(3.0));
}

#[test]
fn three_kills_on_a_gpu_do_not_change_a_bit() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new("gpu");
    let device = gpu.name().split_whitespace().next().unwrap().to_owned();
    let start = format!(
        "train --quiet --device {device} --model small_cnn --epochs 2 --checkpoint-every 5 {OPTIONS} --precision f32"
    );
    let (whole, run) = (place.path("whole"), place.path("killed"));
    let begin = Instant::now();
    succeeded(&format!("{start} --run {whole}"));
    kill_and_resume(&start, &run, &whole, 3, begin.elapsed().mul_f64(0.7));
}

/// Waits until `run` has its first checkpoint.
fn wait_for_checkpoint(run: &str, child: &mut Child) {
    while checkpoints(run).is_empty() {
        if child.try_wait().unwrap().is_some() {
            let mut text = String::new();
            child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            panic!("{run} ended without a checkpoint: {text}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let place = Place::new("interrupted");
    let start = "train --device cpu --model mlp --epochs 60 --batch-size 16 --tune off";
    let (whole, run) = (place.path("whole"), place.path("a run"));
    let mut child = command(start).args(["--run", &run]).spawn().unwrap();
    wait_for_checkpoint(&run, &mut child);
    let signalled = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    let (code, stdout, stderr) = finished(child);
    assert_eq!(code, Some(130), "{stdout}{stderr}");
    let last = stdout.lines().last().unwrap();
    let expected = format!("`neuropil train --resume '{run}'` goes on");
    assert!(last.starts_with("stopped and saved after step ") && last.ends_with(&expected), "{last}");
    let step = last_checkpoint(&run).1.progress.steps;
    assert!(last.contains(&format!("step {step};")), "{last}");

    let resumed = command("train --json --resume").arg(&run).output().unwrap();
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    succeeded(&format!("{start} --quiet --run {whole}"));
    assert_same_end(&run, &whole);
    // The config of the run is the run.
    let third = place.path("third");
    succeeded(&format!("train --quiet --config {whole}/config.toml --run {third}"));
    assert_same_end(&third, &whole);
    let [ours, theirs] = [&third, &whole].map(|run| fs::read_to_string(Path::new(run).join("config.toml")).unwrap());
    assert_eq!(ours, theirs);
}

#[test]
fn checkpoints_are_networks() {
    let place = Place::new("networks");
    let run = place.path("run");
    let text = succeeded(&format!("train --device cpu --model mlp --epochs 3 --keep 1 --ema 0.5 --run {run}"));
    assert!(text.contains("saved in") && text.contains("model.safetensors"), "{text}");
    let page = fs::read_to_string(Path::new(&run).join("report.html")).unwrap();
    // Loss and accuracy of training and test, and the learning rate.
    assert!(page.contains("<h1>run</h1>") && page.matches("class=\"line").count() == 5, "{page}");
    for part in
        ["Most often confused", "Worst mistakes", "What it sees", "hidden1", "data:image/png;base64,", "Machine"]
    {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert_eq!(page.matches("http").count(), page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count(), "{page}");
    let metrics = fs::read_to_string(Path::new(&run).join("metrics.jsonl")).unwrap();
    let last: Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    assert_eq!((&last["epoch"], metrics.lines().count()), (&3.into(), 3));
    let checkpoint = checkpoints(&run).pop().unwrap().display().to_string();
    for network in [&checkpoint, &format!("{run}/model.safetensors")] {
        let text = succeeded(&format!("evaluate {network} --device cpu --json"));
        let evaluated: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let difference = evaluated["accuracy"].as_f64().unwrap() - last["test_accuracy"].as_f64().unwrap();
        assert!(difference.abs() < 1e-5, "{evaluated} {last}");
    }
    succeeded(&format!("train --device cpu --model mlp --epochs 1 --quiet --from {checkpoint} --ema 0.5"));
    // A run that has ended has nothing left to do.
    let again = succeeded(&format!("train --resume {run}"));
    assert!(again.lines().last().unwrap().contains("after 3 epochs"), "{again}");
}

#[test]
fn two_processes_do_not_train_one_run() {
    let place = Place::new("two");
    let run = place.path("run");
    let mut first = command(&format!("train --device cpu --epochs 9999 --run {run}")).spawn().unwrap();
    while !Path::new(&run).join("config.toml").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (code, _, stderr) = neuropil(&format!("train --resume {run}"));
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(code == Some(2) && stderr.contains("another process trains this run"), "{stderr}");
}

#[test]
fn what_a_run_cannot_be_is_one_line_with_the_remedy() {
    let place = Place::new("arguments");
    let run = place.path("run");
    succeeded(&format!("train --quiet --device cpu --model mlp --epochs 1 --freeze hidden1* --run {run}"));
    let fails = |arguments: &str, words: &[&str]| {
        let (code, stdout, stderr) = neuropil(arguments);
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(2), "", 1), "{arguments}: {stdout}{stderr}");
        assert!(words.iter().all(|word| stderr.contains(word)), "{words:?} in {stderr}");
    };
    fails(&format!("train --run {run}"), &["--run", "not empty", "--resume"]);
    fails(&format!("train --resume {run} --epochs 3"), &["leave out --epochs", "--config"]);
    fails(&format!("train --resume {run} --run x"), &["cannot be used with"]);
    fails("train --resume /nonexistent", &["--resume /nonexistent", "no config.toml", "--run"]);
    fails("train --config /nonexistent.toml", &["/nonexistent.toml"]);
    let config = place.path("other.toml");
    for (text, words) in [
        ("epochs = 0", &["other.toml", "'0'", "a whole number from 1"][..]),
        ("epochs = [1, 2", &["other.toml", "line 1"]),
        ("epcohs = 3", &["other.toml", "no option \"epcohs\"", "--help"]),
        ("deterministic = 1", &["other.toml", "true or false"]),
        ("model = { name = 1 }", &["other.toml", "model", "a number or a text"]),
        ("run = 'x'", &["other.toml", "no option \"run\""]),
        ("seed = 1\nmodel = 'vgg'", &["other.toml", "'vgg'", "small_cnn"]),
    ] {
        fs::write(&config, text).unwrap();
        fails(&format!("train --config {config}"), words);
    }
    // The command line goes first, whatever the config says; names that say nothing of a run are left to it.
    fs::write(&config, "epochs = 9\nmodel = 'mlp'\nseed = 4\ntune = 'quick'\ndevice = 'gpu'\n").unwrap();
    let text = succeeded(&format!("train --config {config} --device cpu --epochs 1 --deterministic --json"));
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&first["epochs"], &first["seed"], &first["model"]), (&1.into(), &4.into(), &"mlp".into()));
}

#[test]
fn a_loss_that_is_no_number_leaves_the_last_good_checkpoint() {
    let place = Place::new("nan");
    let run = place.path("run");
    let options = "--device cpu --model mlp --batch-size 32 --optimizer sgd --learning-rate 1e20 --schedule constant";
    let (code, stdout, stderr) = neuropil(&format!("train --quiet --epochs 3 {options} --run {run}"));
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(2), "", 1), "{stderr}");
    assert!(stderr.contains("the loss of epoch 1") && stderr.contains("lower the learning rate"), "{stderr}");
    assert!(checkpoints(&run).is_empty(), "none of it is good");

    // One that goes wrong later: from good weights, which its first checkpoint still has.
    let good = place.path("good");
    succeeded(&format!("train --quiet --device cpu --model mlp --epochs 2 --run {good}"));
    let before = last_checkpoint(&good).1;
    let late = place.path("late");
    let from = checkpoints(&good).pop().unwrap();
    let options = options.replace("1e20", "3000");
    let arguments =
        format!("train --quiet --epochs 30 {options} --run {late} --checkpoint-every 1 --from {}", from.display());
    let (code, _, stderr) = neuropil(&arguments);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("finite") || stderr.contains("the loss of epoch"), "{stderr}");
    assert!(stderr.contains("last good checkpoint") && stderr.contains("--from "), "{stderr}");
    let (path, last) = last_checkpoint(&late);
    assert!(last.state.values().all(|array| array.to_f64_vec().iter().all(|element| element.is_finite())), "{path:?}");
    assert_eq!(last_checkpoint(&good).1, before);
}

/// A disk with no room left, as a limit of the size of files: what is over it is not written.
#[test]
fn a_full_disk_leaves_the_last_good_checkpoint() {
    let place = Place::new("full");
    let (whole, run) = (place.path("whole"), place.path("run"));
    let start = "train --quiet --device cpu --model mlp --epochs 40 --batch-size 32 --checkpoint-every 20";
    succeeded(&format!("{start} --run {whole}"));
    let mut child = command(&format!("{start} --run {run}")).spawn().unwrap();
    wait_for_checkpoint(&run, &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    let (path, before) = last_checkpoint(&run);

    let script =
        format!("trap '' XFSZ; ulimit -f 20; exec {} train --quiet --resume {run}", env!("CARGO_BIN_EXE_neuropil"));
    let limited = Command::new("sh").args(["-c", &script]).output().unwrap();
    let stderr = String::from_utf8(limited.stderr).unwrap();
    assert_eq!((limited.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
    let goes_on = format!("`neuropil train --resume {run}` goes on from step {}", before.progress.steps);
    assert!(stderr.contains("make room") && stderr.contains(&goes_on), "{stderr}");
    assert_eq!(last_checkpoint(&run), (path, before));
    assert!(!leftovers(&run));
    succeeded(&format!("train --quiet --resume {run}"));
    assert_same_end(&run, &whole);
}

/// The same with a disk that is really full, where one can be mounted.
#[cfg(target_os = "linux")]
#[test]
fn a_small_disk_fills_up() {
    let place = Place::new("tmpfs");
    let disk = place.path("disk");
    fs::create_dir_all(&disk).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs", &disk]).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: no tmpfs can be mounted here");
        return;
    }
    let run = format!("{disk}/run");
    // A checkpoint of the network with Adam's moments is of 0.33 MB: two fit, not three.
    let (code, _, stderr) =
        neuropil(&format!("train --quiet --device cpu --model mlp --epochs 20 --keep 5 --run {run}"));
    let outcome = std::panic::catch_unwind(|| {
        assert_eq!((code, stderr.lines().count()), (Some(2), 1), "{stderr}");
        assert!(stderr.contains("No space left on device") && stderr.contains("make room"), "{stderr}");
        let (_, last) = last_checkpoint(&run);
        assert!(last.progress.epochs.len() >= 2 && !leftovers(&run));
        // Room is made.
        let resumed = format!("train --quiet --resume {run} --keep 1");
        fs::remove_file(&checkpoints(&run)[0]).unwrap();
        succeeded(&resumed);
    });
    let unmounted = Command::new("umount").arg(&disk).status().unwrap();
    assert!(unmounted.success());
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// One file of records whose lengths fit, with an event for the version and one an epoch, also after the run went on.
#[test]
fn tensorboard_gets_every_epoch_once() {
    let place = Place::new("tensorboard");
    let run = place.path("run");
    let epochs_in_file = || {
        let files: Vec<PathBuf> =
            fs::read_dir(format!("{run}/tensorboard")).unwrap().map(|entry| entry.unwrap().path()).collect();
        let [file] = &files[..] else { panic!("{files:?}") };
        assert!(file.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents."));
        let bytes = fs::read(file).unwrap();
        let (mut rest, mut records) = (&bytes[..], 0);
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            rest = &rest[8 + 4 + length + 4..];
            records += 1;
        }
        let losses = bytes.windows(9).filter(|window| *window == b"loss/test").count();
        assert_eq!(records, 1 + losses);
        losses
    };
    succeeded(&format!("train --quiet --device cpu --model mlp --epochs 2 --tensorboard --run {run}"));
    assert_eq!(epochs_in_file(), 2);
    fs::remove_file(checkpoints(&run).pop().unwrap()).unwrap();
    succeeded(&format!("train --quiet --resume {run}"));
    assert_eq!(epochs_in_file(), 2);
}

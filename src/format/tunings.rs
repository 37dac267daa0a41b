//! Measured tiles in a file, for the next run and for other machines with the same device.
//!
//! The file is JSON: a list of devices, each with adapter, driver, the version of this crate and its choices by class. A
//! file holds any number of devices; saving replaces one and leaves the others. Before: [`crate::device::Tunings`].

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{failed, write_atomically};
use crate::device::{Choice, Tiles, Trial, Tunings};
use crate::error::{Context, Error, ErrorKind, Result};

/// Reads the devices of the file `path`.
///
/// # Errors
/// A file that cannot be read, or is not of this form.
pub fn load(path: &Path) -> Result<Vec<Tunings>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    parse(&text).context(|| path.display().to_string())
}

/// Writes the file `path` anew, with `tunings` in place of those of the same device.
///
/// # Errors
/// A file that is there and has another form, or cannot be read or written.
pub fn save(path: &Path, tunings: &Tunings) -> Result<()> {
    let mut devices = if path.exists() { load(path)? } else { Vec::new() };
    devices.retain(|other| !other.fit(tunings));
    devices.push(tunings.clone());
    let value = json!({ "devices": devices.iter().map(device_to_json).collect::<Vec<_>>() });
    write_atomically(path, |writer| {
        serde_json::to_writer_pretty(&mut *writer, &value).map_err(|e| failed(e.into()))?;
        writeln!(writer).map_err(failed)
    })
}

fn device_to_json(tunings: &Tunings) -> Value {
    let choices: Map<String, Value> =
        tunings.choices.iter().map(|(class, c)| (class.clone(), choice_to_json(c))).collect();
    json!({
        "adapter": tunings.adapter,
        "driver": tunings.driver,
        "version": tunings.version,
        "choices": choices,
    })
}

fn choice_to_json(choice: &Choice) -> Value {
    let trial = |Trial { tiles, outcome }: &Trial| match outcome {
        Ok(seconds) => json!({ "tiles": tiles.name(), "seconds": seconds }),
        Err(error) => json!({ "tiles": tiles.name(), "refused": error.to_string() }),
    };
    json!({ "tiles": choice.tiles.name(), "trials": choice.trials.iter().map(trial).collect::<Vec<_>>() })
}

/// The devices that a file's text lists.
///
/// # Errors
/// Text of another form; the message says where.
pub fn parse(text: &str) -> Result<Vec<Tunings>> {
    let value: Value = serde_json::from_str(text)
        .map_err(|e| Error::new(ErrorKind::Format, format!("this is no file of tunings: {e}; remove it")))?;
    let devices = list(&value, "devices")?;
    devices.iter().enumerate().map(|(i, device)| device_of(device).context(|| format!("device {i}"))).collect()
}

fn device_of(value: &Value) -> Result<Tunings> {
    let text = |name: &str| Ok::<_, Error>(string(value, name)?.to_owned());
    let choices = value.get("choices").and_then(Value::as_object).ok_or_else(|| wrong("choices", "an object"))?;
    let choice = |(class, value): (&String, &Value)| {
        let choice = choice_of(value).context(|| format!("class {class:?}"))?;
        Ok((class.clone(), choice))
    };
    Ok(Tunings {
        adapter: text("adapter")?,
        driver: text("driver")?,
        version: text("version")?,
        choices: choices.iter().map(choice).collect::<Result<_>>()?,
    })
}

fn choice_of(value: &Value) -> Result<Choice> {
    let trial = |value: &Value| {
        let outcome = match (value.get("seconds").and_then(Value::as_f64), value.get("refused").and_then(Value::as_str))
        {
            (Some(seconds), None) if seconds >= 0.0 => Ok(seconds),
            (None, Some(reason)) => Err(Error::new(ErrorKind::Parity, reason)),
            _ => return Err(wrong("trials", "objects with \"seconds\" or \"refused\"")),
        };
        Ok(Trial { tiles: tiles_of(value)?, outcome })
    };
    let trials = list(value, "trials")?.iter().map(trial).collect::<Result<_>>()?;
    Ok(Choice { tiles: tiles_of(value)?, trials })
}

fn tiles_of(value: &Value) -> Result<Tiles> {
    let name = string(value, "tiles")?;
    Tiles::ALL.into_iter().find(|tiles| tiles.name() == name).ok_or_else(|| {
        let names = Tiles::ALL.map(Tiles::name).join(", ");
        Error::new(ErrorKind::Format, format!("there are no tiles {name:?}; there are {names}"))
    })
}

fn string<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value.get(name).and_then(Value::as_str).ok_or_else(|| wrong(name, "a text"))
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a [Value]> {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).ok_or_else(|| wrong(name, "a list"))
}

fn wrong(name: &str, wanted: &str) -> Error {
    Error::new(ErrorKind::Format, format!("this is no file of tunings: {name:?} should be {wanted}; remove it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::TempDir;

    fn tunings(adapter: &str) -> Tunings {
        let refused = Error::new(ErrorKind::Parity, "matmul (large 128×128 tile) is wrong");
        let trials = vec![
            Trial { tiles: Tiles::Staged, outcome: Ok(0.25) },
            Trial { tiles: Tiles::Large, outcome: Err(refused) },
            Trial { tiles: Tiles::Small, outcome: Ok(0.125) },
        ];
        let choices = [("1×64×64×64, rows by rows".to_owned(), Choice::of(trials).unwrap())].into();
        let text = |text: &str| text.to_owned();
        Tunings { adapter: text(adapter), driver: text("driver 1.2"), version: text("0.1.0"), choices }
    }

    #[test]
    fn a_file_keeps_what_was_measured_of_every_device() {
        let folder = TempDir::new();
        let path = folder.path().join("tunings.json");
        for adapter in ["one", "two", "one"] {
            save(&path, &tunings(adapter)).unwrap();
        }
        let loaded = load(&path).unwrap();
        assert_eq!(loaded.iter().map(|tunings| tunings.adapter.as_str()).collect::<Vec<_>>(), ["two", "one"]);
        assert!(loaded[1].fit(&tunings("one")) && !loaded[0].fit(&tunings("one")));
        let choice = loaded[0].choices.values().next().unwrap();
        assert_eq!((choice.tiles, choice.trials[0].outcome.as_ref().ok()), (Tiles::Small, Some(&0.25)));
        let [(_, tiles, error)] = loaded[0].refused()[..] else { panic!("one was refused") };
        assert_eq!((tiles, error.kind()), (Tiles::Large, ErrorKind::Parity));
    }

    #[test]
    fn other_content_is_an_error_that_says_where() {
        let says = |text: &str, part: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.kind() == ErrorKind::Format && error.to_string().contains(part), "{error}");
        };
        says("nonsense", "remove it");
        says("{}", "\"devices\" should be a list");
        says(r#"{"devices": [{"adapter": 1}]}"#, "device 0: ");
        let device = |choice: &str| {
            format!(
                r#"{{"devices": [{{"adapter": "a", "driver": "b", "version": "c", "choices": {{"x": {choice}}}}}]}}"#
            )
        };
        says(
            &device(r#"{"tiles": "round", "trials": []}"#),
            "class \"x\": there are no tiles \"round\"; there are staged,",
        );
        says(&device(r#"{"tiles": "small", "trials": [{"tiles": "small"}]}"#), "\"seconds\" or \"refused\"");
        assert_eq!(parse(&device(r#"{"tiles": "small", "trials": []}"#)).unwrap().len(), 1);
    }
}

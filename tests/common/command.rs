//! The command `neuropil` on the CPU, and folders for what it reads and writes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// A folder that is removed when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    /// An empty one for the test `name`.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("neuropil-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Exit code, stdout and stderr of the command with `arguments`.
pub fn neuropil(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_neuropil")).args(arguments).args(["--device", "cpu"]).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The JSON lines of the command with `arguments`, which must succeed.
pub fn records(arguments: &[&str]) -> Vec<Value> {
    records_with_warnings(arguments).0
}

/// As [`records`], with what it said on stderr.
pub fn records_with_warnings(arguments: &[&str]) -> (Vec<Value>, String) {
    let (code, stdout, stderr) = neuropil(&[arguments, &["--json"]].concat());
    assert_eq!(code, Some(0), "{arguments:?}: {stdout}{stderr}");
    (stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), stderr)
}

/// What a command says on stderr that cannot do what it is asked for.
pub fn failure(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = neuropil(arguments);
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}: {stderr}");
    stderr
}

//! The shape of the source tree: which module may import which, how long a file may be, how it opens.
//!
//! A module imports only from modules above it in [`LAYERS`], so data flows one way and the crate can be read from the
//! top. Files are read as tokens: `crate::module` counts wherever it stands (a `use`, a path, a macro), and a name that
//! the crate's root re-exports counts as the module it comes from. Comments, strings and `#[cfg(test)]` items do not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every top-level module, lowest first, with the modules it is confined to, if not to all above it.
const LAYERS: &[(&str, Option<&[&str]>)] = &[
    ("error", None),
    ("vector", None),
    ("dtype", None),
    ("shape", None),
    ("array", None),
    ("random", Some(&["error"])),
    ("graph", None),
    ("ops", None),
    ("autodiff", None),
    ("autocast", None),
    ("simplify", None),
    ("schedule", None),
    ("device", None),
    ("tensor", None),
    ("store", None),
    ("program", None),
    ("nn", None),
    ("loss", None),
    ("optim", None),
    ("data", Some(&["error", "dtype", "shape", "array", "random"])),
    ("format", None),
    ("check", None),
    ("train", None),
    ("cli", None),
    ("main", None),
];

/// The attribute of test code, as tokens.
const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

/// The longest a file may be, in lines; 400 is a good length.
const MAX_LINES: usize = 800;

#[test]
fn modules_import_only_from_layers_above_them_in_the_table() {
    let files = source_files();
    let roots = root_names(&files);
    let mut violations = Vec::new();
    let test_files = test_files(&files);
    for file in files.iter().filter(|file| file.module != "lib" && !test_files.contains(&file.path)) {
        let tokens = without_tests(&file.tokens());
        for import in imports(&tokens, file.depth) {
            if let Err(reason) = judge(&file.module, import, &roots) {
                violations.push(format!("{}: {reason}", file.path.display()));
            }
        }
    }
    violations.dedup();
    assert!(violations.is_empty(), "imports against the layers of {}:\n{}", file!(), violations.join("\n"));
}

#[test]
fn every_top_level_module_is_in_the_table() {
    let modules = source_files().into_iter().map(|file| file.module);
    let unknown: Vec<_> = modules.filter(|module| module != "lib" && layer(module).is_none()).collect();
    assert!(unknown.is_empty(), "give these modules their layer in {}: {unknown:?}", file!());
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for folder in ["src", "shaders", "tests", "examples", "benches"] {
        // Programs of other packages are built below their own folders.
        let built = |path: &PathBuf| path.components().any(|part| part.as_os_str() == "target");
        for path in files_below(&root().join(folder)).into_iter().filter(|path| !built(path)) {
            let lines = fs::read(&path).unwrap().split(|&byte| byte == b'\n').count() - 1;
            if path.extension().is_some_and(|extension| extension == "rs" || extension == "wgsl") && lines > MAX_LINES {
                long.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "split these files, the limit is {MAX_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn modules_open_with_what_they_are() {
    let bare: Vec<_> = source_files().into_iter().filter(|file| !file.text.starts_with("//!")).collect();
    let paths: Vec<_> = bare.iter().map(|file| file.path.display().to_string()).collect();
    assert!(paths.is_empty(), "open these modules with a `//!` comment:\n{}", paths.join("\n"));
}

/// A Rust file below `src`.
struct SourceFile {
    path: PathBuf,
    /// The top-level module it belongs to, or `lib`.
    module: String,
    /// How many `super` lead from its own module to the crate's root.
    depth: usize,
    text: String,
}

impl SourceFile {
    fn tokens(&self) -> Vec<&str> {
        tokens(&self.text)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder`, sorted; none if there is no such folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

fn source_files() -> Vec<SourceFile> {
    let src = root().join("src");
    let rust = files_below(&src).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let files: Vec<_> = rust
        .map(|path| {
            let module_path = path.strip_prefix(&src).unwrap().with_extension("");
            let names: Vec<_> = module_path.iter().map(|name| name.to_str().unwrap()).collect();
            let is_folder = names.len() > 1 && names.last() == Some(&"mod");
            let text = fs::read_to_string(&path).unwrap();
            SourceFile { module: names[0].to_owned(), depth: names.len() - usize::from(is_folder), text, path }
        })
        .collect();
    assert!(!files.is_empty(), "no source in {}", src.display());
    files
}

/// The files that hold tests alone: those declared with `#[cfg(test)] mod name;` in the `mod.rs` beside them.
fn test_files(files: &[SourceFile]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for file in files {
        let tokens = file.tokens();
        for at in (0..tokens.len()).filter(|&at| tokens[at..].starts_with(&CFG_TEST)) {
            let item: Vec<_> =
                tokens[at + CFG_TEST.len()..].iter().take_while(|token| !"{;=".contains(**token)).collect();
            if let [.., &"mod", name] = item[..] {
                paths.push(file.path.with_file_name(format!("{name}.rs")));
            }
        }
    }
    paths
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(name, _)| *name == module)
}

/// Whether `module` may import `name` from the crate's root; `roots` says which module a re-exported name is of.
fn judge(module: &str, name: &str, roots: &BTreeMap<String, String>) -> Result<(), String> {
    let target = roots.get(name).map_or(name, String::as_str);
    // A module without a layer is another test's business.
    let Some(own) = layer(module) else { return Ok(()) };
    let Some(other) = layer(target) else {
        return Err(format!("`crate::{name}` is neither a module of the table nor re-exported by name in lib.rs"));
    };
    match LAYERS[own].1 {
        Some(allowed) if own != other && !allowed.contains(&target) => {
            Err(format!("`{module}` imports `{target}`, but is confined to {allowed:?}"))
        }
        _ if other > own => Err(format!("`{module}` imports `{target}`, which is a later layer")),
        _ => Ok(()),
    }
}

/// Where the names at the crate's root come from: `pub use module::{..}` in lib.rs, and exported macros.
fn root_names(files: &[SourceFile]) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for file in files {
        let tokens = file.tokens();
        for at in 0..tokens.len() {
            match tokens[at..] {
                ["pub", "use", module, "::", ..] if file.module == "lib" => {
                    let list = tokens[at + 4..].iter().take_while(|&&token| token != ";");
                    names.extend(list.map(|name| (name.to_string(), module.to_owned())));
                }
                ["macro_export", "]", "macro_rules", "!", name, ..] => {
                    names.insert(name.to_owned(), file.module.clone());
                }
                _ => {}
            }
        }
    }
    names
}

/// The names that `tokens`, of a module `depth` below the crate's root, takes from that root.
fn imports<'a>(tokens: &[&'a str], depth: usize) -> Vec<&'a str> {
    let mut names = Vec::new();
    let mut inline_modules = Vec::new();
    let mut braces = 0;
    for (at, &token) in tokens.iter().enumerate() {
        match token {
            "{" => {
                braces += 1;
                if at >= 2 && tokens[at - 2] == "mod" {
                    inline_modules.push(braces);
                }
            }
            "}" => {
                inline_modules.pop_if(|opened| *opened == braces);
                braces -= 1;
            }
            "crate" => names.extend(names_after(&tokens[at + 1..])),
            // A chain of `super` counts from its first link.
            "super" if at < 2 || tokens[at - 2..at] != ["super", "::"] => {
                let links = 1 + tokens[at + 1..].chunks_exact(2).take_while(|pair| *pair == ["::", "super"]).count();
                if links >= depth + inline_modules.len() {
                    names.extend(names_after(&tokens[at + 2 * links - 1..]));
                }
            }
            _ => {}
        }
    }
    names
}

/// The first segments of a path or a group of paths that goes on with `tokens`: `::a::b` or `::{a, b::c}`.
fn names_after<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    match tokens {
        ["::", "{", group @ ..] => {
            let (mut names, mut depth, mut expected) = (Vec::new(), 1, true);
            for &token in group {
                match token {
                    "{" => depth += 1,
                    "}" if depth == 1 => break,
                    "}" => depth -= 1,
                    "," => expected = depth == 1,
                    _ if std::mem::take(&mut expected) => names.push(token),
                    _ => {}
                }
            }
            names
        }
        ["::", name, ..] => vec![name],
        _ => Vec::new(),
    }
}

/// `tokens` without the items under `#[cfg(test)]`.
fn without_tests<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if !tokens[at..].starts_with(&CFG_TEST) {
            kept.push(tokens[at]);
            at += 1;
            continue;
        }
        // The item ends at its `;`, or at the brace that closes its first one.
        let mut depth = 0;
        at += CFG_TEST.len();
        while at < tokens.len() {
            let token = tokens[at];
            at += 1;
            match token {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(token, "}" | ";") {
                break;
            }
        }
    }
    kept
}

/// The identifiers, `::` and other punctuation of `text`; no comments, no literals, no lifetimes.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = string(rest) {
            length
        } else if first == '\'' {
            quote(rest)
        } else {
            let length = if word > 0 { word } else { first.len_utf8() + usize::from(rest.starts_with("::")) };
            if !first.is_whitespace() {
                tokens.push(&rest[..length]);
            }
            length
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of the block comment that `text` starts with; such comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let step = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the string literal that `text` starts with, if it does: `".."`, `r#".."#`, with `b` or `c` in front.
fn string(text: &str) -> Option<usize> {
    let unprefixed = text.trim_start_matches(['b', 'c']);
    let raw = unprefixed.strip_prefix('r').map(|after| (after, after.len() - after.trim_start_matches('#').len()));
    let (body, end) = match raw {
        Some((after, hashes)) if after[hashes..].starts_with('"') => {
            let (body, closing) = (&after[hashes + 1..], format!("\"{}", "#".repeat(hashes)));
            (body, body.find(&closing)? + closing.len())
        }
        _ => {
            let body = unprefixed.strip_prefix('"')?;
            let mut escaped = false;
            let end = body.find(|c| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            })?;
            (body, end + 1)
        }
    };
    Some(text.len() - body.len() + end)
}

/// The length of the character literal or lifetime that `text` starts with.
fn quote(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((at, _))) => text[at + 1..].find('\'').map_or(text.len(), |end| at + 1 + end + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1 + text[1..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len() - 1),
    }
}

#[test]
fn imports_are_found_where_they_are_written() {
    let text = r##"
        // crate::comment
        /* crate::outer /* crate::inner */ crate::outer */
        use crate::{graph::{Node, walk}, ops, error::Result};
        pub(crate) use crate::shape as s;
        fn f<'a>(x: &'a str, c: char) -> crate::Array { g("crate::string", r#"crate::"raw""#, b'\'', '"'); $crate::with_float!() }
        use super::super::autodiff;
        use super::sibling;
        mod inline { use super::super::sibling; use super::super::super::schedule; }
        #[cfg(test)]
        use crate::cli::only_for_tests;
        #[cfg(test)]
        mod tests { fn t() { let x = [1; 3]; crate::cli::run(); } }
        use crate::device;
    "##;
    let found = imports(&without_tests(&tokens(text)), 2);
    let expected = ["graph", "ops", "error", "shape", "Array", "with_float", "autodiff", "schedule", "device"];
    assert_eq!(found, expected);
}

#[test]
fn later_layers_and_unknown_names_are_refused() {
    let roots = BTreeMap::from([("Tensor".to_owned(), "tensor".to_owned())]);
    let allowed = |module, name| judge(module, name, &roots).is_ok();
    assert!(allowed("ops", "graph") && allowed("ops", "ops") && allowed("nn", "Tensor") && allowed("data", "array"));
    assert!(!allowed("graph", "ops") && !allowed("device", "Tensor") && !allowed("data", "nn"));
    assert!(!allowed("nn", "*") && !allowed("nn", "unheard_of"));
}

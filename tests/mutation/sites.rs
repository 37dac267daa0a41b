//! The places where a mechanical mistake can be made in a shader, and the texts with the mistake in it.
//!
//! Every operator looks at tokens alone and applies wherever its pattern occurs. Whether the result is a shader at all is
//! for naga to say; what it refuses is no mutant. Before: [`super::tokens`]. After: [`super::corpus`] finds cases that run
//! the place.

use std::ops::Range;

use super::tokens::{Kind, Token, functions, tokens};

/// A text of a shader: a file, or a function of the table of elementwise operations.
pub struct Source {
    /// The path below `shaders/`, or `elementwise/NAME`.
    pub path: String,
    pub text: String,
}

/// A mistake at a place.
#[derive(Clone, Debug)]
pub struct Site {
    /// The index of the source.
    pub source: usize,
    /// The kind of mistake.
    pub operator: &'static str,
    /// The function it is in; `None` between functions.
    pub function: Option<String>,
    /// The line that changes, before and after.
    pub lines: [String; 2],
    /// The number of the line, from 1.
    pub line: usize,
    /// The whole source with the mistake.
    pub text: String,
}

impl Site {
    /// What names it in lists, whatever happens on other lines.
    pub fn key(&self, sources: &[Source]) -> String {
        format!("{}: {}: {} => {}", sources[self.source].path, self.operator, self.lines[0], self.lines[1])
    }
}

/// Names that come in pairs of directions.
const PAIRS: [(&str, &str); 9] = [
    ("_H", "_W"),
    ("_P", "_Q"),
    ("LANES_X", "LANES_Y"),
    ("ROWS", "COLUMNS"),
    ("MICRO_ROWS", "MICRO_COLUMNS"),
    ("ROW_BLOCKS", "COLUMN_BLOCKS"),
    ("LANES_DOWN", "LANES_ACROSS"),
    ("first_row", "first_column"),
    ("c_row", "c_column"),
];

/// All mistakes that can be made in `sources`.
pub fn sites(sources: &[Source]) -> Vec<Site> {
    sources.iter().enumerate().flat_map(|(index, source)| of_source(index, &source.text)).collect()
}

/// A change of a text: the operator, the bytes it replaces, and by what.
type Edit = (&'static str, Range<usize>, String);

fn of_source(source: usize, text: &str) -> Vec<Site> {
    let tokens = tokens(text);
    let functions = functions(text);
    let mut edits: Vec<Edit> = Vec::new();
    for at in 0..tokens.len() {
        edits.extend(signs(text, &tokens, at));
        edits.extend(comparisons(text, &tokens, at));
        edits.extend(indices(text, &tokens, at));
        edits.extend(loops(text, &tokens, at));
        edits.extend(pairs(text, &tokens, at));
        edits.extend(last_elements(text, &tokens, at));
        edits.extend(constants(text, &tokens, at));
        edits.extend(barriers(text, &tokens, at));
        edits.extend(arithmetic(text, &tokens, at));
        edits.extend(choices(text, &tokens, at));
    }
    let site = |(operator, range, new): Edit| {
        let function = functions.iter().find(|(_, body)| body.contains(&range.start)).map(|(name, _)| name.clone());
        let begin = text[..range.start].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[range.end..].find('\n').map_or(text.len(), |newline| range.end + newline);
        let before = text[begin..end].trim().to_owned();
        let after = format!("{}{new}{}", &text[begin..range.start], &text[range.end..end]).trim().to_owned();
        let line = text[..begin].matches('\n').count() + 1;
        let text = format!("{}{new}{}", &text[..range.start], &text[range.end..]);
        Site { source, operator, function, lines: [before, after], line, text }
    };
    edits.into_iter().map(site).collect()
}

/// Whether the token ends an operand, so that what follows is an operator between two.
fn ends_operand(text: &str, token: Option<&Token>) -> bool {
    let Some(token) = token else { return false };
    token.kind != Kind::Symbol && token.text(text) != "return" || matches!(token.text(text), ")" | "]")
}

fn signs(text: &str, tokens: &[Token], at: usize) -> Option<Edit> {
    let token = &tokens[at];
    let between = ends_operand(text, at.checked_sub(1).map(|before| &tokens[before]));
    let new = match (token.text(text), between) {
        ("+", true) => "-",
        ("-", true) => "+",
        ("-", false) => "",
        ("+=", _) => "-=",
        ("-=", _) => "+=",
        _ => return None,
    };
    Some(("sign", token.range.clone(), new.to_owned()))
}

/// Comparisons stand between spaces, brackets of types do not.
fn comparisons(text: &str, tokens: &[Token], at: usize) -> Option<Edit> {
    let token = &tokens[at];
    let new = match token.text(text) {
        "<" => "<=",
        "<=" => "<",
        ">" => ">=",
        ">=" => ">",
        "==" => "!=",
        "!=" => "==",
        _ => return None,
    };
    let spaced = text[..token.range.start].ends_with(' ') && text[token.range.end..].starts_with(' ');
    spaced.then(|| ("comparison", token.range.clone(), new.to_owned()))
}

/// `a[i]` reads or writes `a[i + 1]`.
fn indices(text: &str, tokens: &[Token], at: usize) -> Option<Edit> {
    if tokens[at].text(text) != "[" || !ends_operand(text, at.checked_sub(1).map(|before| &tokens[before])) {
        return None;
    }
    let end = closing(text, tokens, at, "[", "]")?;
    let range = tokens[end].range.start..tokens[end].range.start;
    Some(("off-by-one index", range, " + 1u".to_owned()))
}

/// The first or the last pass of a loop is left out.
fn loops(text: &str, tokens: &[Token], at: usize) -> Vec<Edit> {
    if tokens[at].text(text) != "for" {
        return Vec::new();
    }
    let Some(end) = closing(text, tokens, at + 1, "(", ")") else { return Vec::new() };
    let semicolons: Vec<usize> = (at..end).filter(|&i| tokens[i].text(text) == ";").collect();
    let [first, second] = semicolons[..] else { return Vec::new() };
    let step = match tokens[second + 2].text(text) {
        "+=" => text[tokens[second + 2].range.end..tokens[end].range.start].trim().to_owned(),
        "++" => "1u".to_owned(),
        _ => return Vec::new(),
    };
    let start = tokens[first].range.start;
    let bound = tokens[second].range.start;
    let mut edits = vec![("dropped loop tap", start..start, format!(" + {step}"))];
    if (first..second).any(|i| tokens[i].text(text) == "<") {
        edits.push((
            "dropped loop tap",
            bound..bound,
            format!(" - min({step}, {})", &limit(text, tokens, first, second)),
        ));
    }
    edits
}

/// The right side of a loop's condition.
fn limit<'a>(text: &'a str, tokens: &[Token], first: usize, second: usize) -> &'a str {
    let less = (first..second).find(|&i| tokens[i].text(text) == "<").unwrap_or(first);
    text[tokens[less].range.end..tokens[second].range.start].trim()
}

/// A name of one direction in place of that of the other.
fn pairs(text: &str, tokens: &[Token], at: usize) -> Vec<Edit> {
    let word = tokens[at].text(text);
    let declared = at > 0 && matches!(tokens[at - 1].text(text), "const" | "let" | "var" | "fn");
    if tokens[at].kind != Kind::Word || declared {
        return Vec::new();
    }
    let other = |(a, b): &(&str, &str)| {
        let swapped = |from: &str, to: &str| {
            let whole = word == from;
            (whole || from.starts_with('_') && word.ends_with(from)).then(|| word.replace(from, to))
        };
        swapped(a, b).or_else(|| swapped(b, a))
    };
    let new = PAIRS.iter().find_map(other);
    new.map(|new| ("swapped stride", tokens[at].range.clone(), new)).into_iter().collect()
}

/// An extent is one less: the last channel or element is missing.
fn last_elements(text: &str, tokens: &[Token], at: usize) -> Option<Edit> {
    let token = &tokens[at];
    let extent = |range: Range<usize>| Some(("missing last", range.clone(), format!("({} - 1u)", &text[range])));
    match token.text(text) {
        "CHANNELS" => extent(token.range.clone()),
        "params" if at + 4 < tokens.len() && tokens[at + 2].text(text) == "extents" => {
            extent(token.range.start..tokens[at + 4].range.end)
        }
        _ => None,
    }
}

/// A float is 1 % larger, an integer one larger.
fn constants(text: &str, tokens: &[Token], at: usize) -> Option<Edit> {
    let token = &tokens[at];
    let literal = token.text(text);
    let new = match token.kind {
        Kind::Float => {
            let number: f64 = literal.trim_end_matches(['f', 'h']).parse().ok()?;
            // Of zero, 1 % is nothing.
            let changed = if number == 0.0 { 0.01 } else { number * 1.01 };
            format!("{changed:?}")
        }
        Kind::Integer => {
            let digits = literal.trim_end_matches(['u', 'i']);
            let suffix = &literal[digits.len()..];
            match digits.strip_prefix("0x") {
                Some(hex) => format!("0x{:x}{suffix}", u32::from_str_radix(hex, 16).ok()?.wrapping_add(1)),
                None => format!("{}{suffix}", digits.parse::<u64>().ok()? + 1),
            }
        }
        _ => return None,
    };
    Some(("constant", token.range.clone(), new))
}

/// A factor is added, a divisor multiplies, a rest becomes a quotient.
fn arithmetic(text: &str, tokens: &[Token], at: usize) -> Option<Edit> {
    let token = &tokens[at];
    let new = match token.text(text) {
        "*" => "+",
        "/" => "*",
        "%" => "/",
        "*=" => "+=",
        "/=" => "-=",
        _ => return None,
    };
    let between = ends_operand(text, at.checked_sub(1).map(|before| &tokens[before]));
    between.then(|| ("arithmetic", token.range.clone(), new.to_owned()))
}

/// The other of two: and for or, the smaller for the larger, one branch of `select` for the other.
fn choices(text: &str, tokens: &[Token], at: usize) -> Option<Edit> {
    let token = &tokens[at];
    let new = match token.text(text) {
        "&&" => "||",
        "||" => "&&",
        "min" => "max",
        "max" => "min",
        "select" => return swapped_branches(text, tokens, at),
        _ => return None,
    };
    Some(("choice", token.range.clone(), new.to_owned()))
}

fn swapped_branches(text: &str, tokens: &[Token], at: usize) -> Option<Edit> {
    let end = closing(text, tokens, at + 1, "(", ")")?;
    let mut depth = 0;
    let commas: Vec<usize> = (at + 1..end)
        .filter(|&i| {
            let symbol = tokens[i].text(text);
            depth += i32::from(matches!(symbol, "(" | "[")) - i32::from(matches!(symbol, ")" | "]"));
            symbol == "," && depth == 1
        })
        .collect();
    // Brackets of types have commas of their own.
    let [first, second] = commas[..] else { return None };
    let (begin, middle) = (tokens[at + 1].range.end, tokens[first].range.clone());
    let (a, b) = (text[begin..middle.start].trim(), text[middle.end..tokens[second].range.start].trim());
    Some(("choice", begin..tokens[second].range.start, format!("{b}, {a}")))
}

fn barriers(text: &str, tokens: &[Token], at: usize) -> Option<Edit> {
    let end = at + 3;
    let barrier = tokens[at].text(text) == "workgroupBarrier" && end < tokens.len();
    barrier.then(|| ("removed barrier", tokens[at].range.start..tokens[end].range.end, String::new()))
}

/// The token that closes what `at` opens.
fn closing(text: &str, tokens: &[Token], at: usize, open: &str, close: &str) -> Option<usize> {
    let mut depth = 0;
    (at..tokens.len()).find(|&i| {
        depth += i32::from(tokens[i].text(text) == open) - i32::from(tokens[i].text(text) == close);
        depth == 0
    })
}

#[test]
fn every_operator_finds_its_place() {
    let text = "fn f(a: array<f32, 4>) -> f32 {\n    workgroupBarrier();\n    for (var r = 0u; r < KERNEL_H; r++) {\n        \
                sum += a[r] * -0.5;\n    }\n    return sum - f32(CHANNELS);\n}\n";
    let sites = of_source(0, text);
    let count = |operator| sites.iter().filter(|site| site.operator == operator).count();
    let counts =
        ["sign", "comparison", "off-by-one index", "dropped loop tap", "swapped stride", "missing last"].map(count);
    assert_eq!((counts, count("constant"), count("removed barrier")), ([3, 1, 1, 2, 1, 1], 3, 1), "{sites:#?}");
    assert_eq!((count("arithmetic"), count("choice")), (1, 0));
    let choices = of_source(0, "fn f() { x = select(g(a, b), max(c, d), e && h); }");
    let lines: Vec<&str> = choices.iter().map(|site| site.lines[1].as_str()).collect();
    assert_eq!(
        lines,
        [
            "fn f() { x = select(max(c, d), g(a, b), e && h); }",
            "fn f() { x = select(g(a, b), min(c, d), e && h); }",
            "fn f() { x = select(g(a, b), max(c, d), e || h); }",
        ]
    );
    assert!(sites.iter().all(|site| site.function.as_deref() == Some("f") && site.text != text));
}

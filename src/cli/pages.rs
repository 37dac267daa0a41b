//! The pages of a report: for a browser (`report.html`) and for a bug report (`report.md`), each by its template.
//!
//! What is checked may have any name, so all text is escaped for the page that it enters, by the template engine; only
//! what the filters `code` and `fence` return is taken as it is. A template has all of the wording and the order; here
//! are the choice of the failures that are shown in full, and how numbers read. Before: `report` has the data.

use minijinja::{AutoEscape, Environment, Output, State, UndefinedBehavior, Value, context, escape_formatter};
use neuropil::Error;
use serde::Serialize;

use super::report::{Failure, Report, Verdict};

/// How many failures are shown in full.
const FULL: usize = 30;
/// How many more are listed with a line each in HTML; the others are counted.
const LISTED_HTML: usize = 1000;
/// The same in Markdown: an issue on GitHub may have 65,536 characters.
const LISTED_MARKDOWN: usize = 100;

const MIB: u64 = 1 << 20;

/// The name of the way of escaping for Markdown.
const MARKDOWN: &str = "markdown";

/// The report as one HTML file that needs no other.
///
/// # Errors
/// When the template is wrong.
pub fn html(report: &Report) -> Result<String, Error> {
    render("report.html", include_str!("report.html"), LISTED_HTML, report)
}

/// The report as Markdown, as GitHub reads it.
///
/// # Errors
/// When the template is wrong.
pub fn markdown(report: &Report) -> Result<String, Error> {
    render("report.md", include_str!("report.md"), LISTED_MARKDOWN, report)
}

fn render(name: &str, template: &str, listed: usize, report: &Report) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_keep_trailing_newline(true);
    environment.set_auto_escape_callback(|name| match name.ends_with(".html") {
        true => AutoEscape::Html,
        false => AutoEscape::Custom(MARKDOWN),
    });
    environment.set_formatter(write_escaped);
    environment.add_template("style.css", include_str!("style.css")).map_err(super::drawing::failed)?;
    environment.add_filter("count", count);
    environment.add_filter("grouped", grouped);
    environment.add_filter("limit", limit);
    environment.add_filter("duration", duration);
    environment.add_filter("units", units);
    environment.add_filter("share", share);
    environment.add_filter("list", |items: Vec<String>| items.join(", "));
    environment.add_filter("code", |text: String| Value::from_safe_string(code(&text)));
    environment.add_filter("fence", |text: String| Value::from_safe_string(fence(&text)));
    let groups = groups(&report.failures, report, listed);
    // The one that is nearest to what is allowed.
    let nearest = report.operations.iter().filter(|row| row.cases > 0).max_by(|a, b| {
        let worst = |worst: Option<f64>| worst.unwrap_or(f64::INFINITY);
        worst(a.worst).total_cmp(&worst(b.worst))
    });
    let page = context! { report, verdict => Verdict::of(report), groups, nearest };
    environment.render_named_str(name, template, page).map_err(super::drawing::failed)
}

/// The failures of one operation.
#[derive(Serialize)]
struct Group<'a> {
    op: &'a str,
    /// Cases run; `None` where the failure is of no operation.
    cases: Option<usize>,
    failed: usize,
    /// Shown in full.
    full: Vec<&'a Failure>,
    /// Shown with a line each.
    listed: Vec<&'a Failure>,
    /// How many are neither.
    others: usize,
}

/// The failures by operation, in the order of the first of each. Those that were shrunk come first, and no operation
/// takes the places of another.
fn groups<'a>(failures: &'a [Failure], report: &'a Report, listed: usize) -> Vec<Group<'a>> {
    let mut by_op: Vec<(&str, Vec<&Failure>)> = Vec::new();
    for failure in failures {
        match by_op.iter_mut().find(|(op, _)| *op == failure.op) {
            Some((_, group)) => group.push(failure),
            None => by_op.push((&failure.op, vec![failure])),
        }
    }
    let sizes: Vec<usize> = by_op.iter().map(|(_, group)| group.len()).collect();
    let full = shares(&sizes, FULL);
    let rest: Vec<usize> = sizes.iter().zip(&full).map(|(size, full)| size - full).collect();
    let listed = shares(&rest, listed);
    let group = |((op, mut failures), (full, listed)): ((&'a str, Vec<&'a Failure>), (usize, usize))| {
        failures.sort_by_key(|failure| failure.smallest.is_empty());
        let row = report.operations.iter().find(|row| row.name == op);
        let (shown, rest) = failures.split_at(full);
        let failed = row.map_or(0, |row| row.failed).max(failures.len());
        Group {
            op,
            cases: row.map(|row| row.cases),
            failed,
            full: shown.to_vec(),
            listed: rest[..listed].to_vec(),
            others: failed - full - listed,
        }
    };
    by_op.into_iter().zip(full.into_iter().zip(listed)).map(group).collect()
}

/// How many of each group have a place where there are `places`: the first of each, then the second of each, and so on.
fn shares(sizes: &[usize], mut places: usize) -> Vec<usize> {
    let mut shares = vec![0; sizes.len()];
    while places > 0 && shares != sizes {
        for (share, size) in shares.iter_mut().zip(sizes) {
            if *share < *size && places > 0 {
                *share += 1;
                places -= 1;
            }
        }
    }
    shares
}

/// Text as it must stand on the page, unless it is marked as safe.
fn write_escaped(out: &mut Output, state: &State, value: &Value) -> Result<(), minijinja::Error> {
    if state.auto_escape() == AutoEscape::Custom(MARKDOWN) {
        let text = value.to_string();
        let text = if value.is_safe() { text } else { escape_markdown(&text) };
        return Ok(out.write_str(&text)?);
    }
    escape_formatter(out, state, value)
}

/// Text on one line that Markdown shows as it is, also in a table.
fn escape_markdown(text: &str) -> String {
    let words = one_line(text);
    let mut escaped = String::with_capacity(words.len());
    let mut before = ' ';
    let mut rest = words.chars().peekable();
    while let Some(c) = rest.next() {
        let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let is_special = match c {
            '\\' | '`' | '*' | '<' | '>' | '[' | ']' | '|' | '~' | '&' | '#' => true,
            // Inside of a word it means nothing, and the names of operations are full of them.
            '_' => !(is_word(Some(before)) && is_word(rest.peek().copied())),
            _ => false,
        };
        if is_special {
            escaped.push('\\');
        }
        escaped.push(c);
        before = c;
    }
    escaped
}

/// A span of code, for text outside of tables.
fn code(text: &str) -> String {
    let text = one_line(text);
    if text.is_empty() {
        return text;
    }
    let ticks = "`".repeat(longest_run_of_ticks(&text) + 1);
    // A space next to each fence is not shown; without it a tick in the text would belong to the fence.
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{ticks}{space}{text}{space}{ticks}")
}

/// A block of code for a shell.
fn fence(text: &str) -> String {
    let ticks = "`".repeat((longest_run_of_ticks(text) + 1).max(3));
    format!("{ticks}sh\n{text}\n{ticks}")
}

fn longest_run_of_ticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A number of things: `1 case`, `4,621 cases`.
fn count(number: u64, unit: &str) -> String {
    format!("{} {unit}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A whole number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A limit, in MiB where that is exact.
fn limit(limit: u64) -> String {
    if limit >= MIB && limit.is_multiple_of(MIB) { format!("{} MiB", grouped(limit / MIB)) } else { grouped(limit) }
}

/// A time in seconds, as precise as is of interest.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// An error in units of what is allowed, in three digits.
fn units(units: Option<f64>) -> String {
    match units.filter(|units| units.is_finite()) {
        None => "∞".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(units) if units < 0.001 => "< 0.001".to_owned(),
        // What is wrong must not read as what is just right.
        Some(units) if units > 1.0 && units < 1.01 => "> 1.00".to_owned(),
        Some(units) if units < 1.0 => format!("{units:.3}"),
        Some(units) if units < 10.0 => format!("{units:.2}"),
        Some(units) if units < 100.0 => format!("{units:.1}"),
        Some(units) if units < 1e6 => grouped(units.round() as u64),
        Some(units) => format!("{units:.1e}"),
    }
}

/// How much of its bar an error fills, in percent.
fn share(units: Option<f64>) -> String {
    let units = units.filter(|units| units.is_finite()).unwrap_or(1.0);
    format!("{:.1}", 100.0 * units.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 4_294_967_295].map(grouped), ["0", "999", "1,000", "4,294,967,295"]);
        assert_eq!((count(1, "case"), count(4621, "case")), ("1 case".into(), "4,621 cases".into()));
        assert_eq!([128 * MIB, MIB + 1, 32].map(limit), ["128 MiB", "1,048,577", "32"]);
        assert_eq!([3.28, 59.6, 754.2, 3700.0].map(duration), ["3.3 s", "1 min 0 s", "12 min 34 s", "1 h 1 min"]);
        let errors = [0.0, 1e-9, 0.0434, 1.0, 1.0001, 1.5, 17.26, 23817.4, 1.5e9, f64::INFINITY];
        let texts = ["0", "< 0.001", "0.043", "1.00", "> 1.00", "1.50", "17.3", "23,817", "1.5e9", "∞"];
        assert_eq!(errors.map(|error| units(Some(error))), texts);
        assert_eq!((units(None), share(None), share(Some(0.4))), ("∞".into(), "100.0".into(), "40.0".into()));
        assert_eq!((share(Some(7.0)), share(Some(f64::NAN))), ("100.0".into(), "100.0".into()));
    }

    #[test]
    fn no_group_takes_the_places_of_another() {
        assert_eq!(shares(&[500, 1, 2], 5), [2, 1, 2]);
        assert_eq!(shares(&[1, 1, 1], 2), [1, 1, 0]);
        assert_eq!(shares(&[2, 1], 30), [2, 1]);
        assert!(shares(&[], 30).is_empty());
    }

    #[test]
    fn markdown_shows_text_as_it_is() {
        assert_eq!(escape_markdown("max_pool2d.grad"), "max_pool2d.grad");
        assert_eq!(escape_markdown("_a_ |b|\n`c` <d> &e; \\"), r"\_a\_ \|b\| \`c\` \<d\> \&e; \\");
        assert_eq!([code("f32[2]"), code("a `b`"), code("a\nb"), code("")], ["`f32[2]`", "`` a `b` ``", "`a b`", ""]);
        assert_eq!(fence("x ```` y"), "`````sh\nx ```` y\n`````");
    }
}

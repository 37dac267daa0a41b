//! Tests of the three ways of writing a report: right ones, failing ones, and with names that attack the page.

use std::fs;
use std::path::Path;

use super::pages::{html, markdown};
use super::report::{Element, Failure, Format, Machine, OperationRow, Report, VariantRow, Verdict, format_of, write};

/// What a name could do to a page.
const HOSTILE: &str =
    "<script>alert(1)</script> | `tick` *star* \"double\" 'single' &amp; {{ name }}\nhttps://x.test ![i](u)";

fn right() -> Report {
    let operation = |name: &str, family: &str, worst, worst_case: &str| OperationRow {
        name: name.to_owned(),
        family: family.to_owned(),
        cases: 1200,
        failed: 0,
        skipped: 3,
        worst: Some(worst),
        worst_case: worst_case.to_owned(),
    };
    Report {
        version: "0.1.0".to_owned(),
        command: "neuropil check --full --report check.html".to_owned(),
        level: "full".to_owned(),
        seed: 7,
        date: "2026-01-31 12:00:00".to_owned(),
        seconds: 754.2,
        machine: Machine {
            device: "llvmpipe (LLVM 15.0.6, 256 bits)".to_owned(),
            kind: "software".to_owned(),
            backend: "Vulkan".to_owned(),
            driver: "llvmpipe Mesa 22.3.6".to_owned(),
            system: "linux x86_64".to_owned(),
            limits: vec![("max_buffer_size".to_owned(), 2_147_483_647), ("max_bindings".to_owned(), 32)],
            features: vec!["shader-f16".to_owned(), "subgroups".to_owned()],
        },
        variants: vec![VariantRow {
            name: "as used".to_owned(),
            description: "chosen, fused and compiled as in training".to_owned(),
            cases: 2400,
            failed: 0,
            skipped: 6,
            pipelines: 1709,
            seconds: 118.3,
        }],
        operations: vec![
            operation("max_pool2d", "pool", 0.25, "odd size, forward, as used"),
            operation("conv2d", "conv2d", 0.884, "3×3, gradient, as used"),
        ],
        failures: Vec::new(),
    }
}

fn failure(op: &str, case: &str) -> Failure {
    Failure {
        op: op.to_owned(),
        parameters: "Conv2d { stride: [2, 2] }".to_owned(),
        case: case.to_owned(),
        variant: "staged".to_owned(),
        inputs: vec!["f32[2, 9, 7, 3]".to_owned(), "f32[3, 3, 3, 5]".to_owned()],
        smallest: vec!["f32[1, 3, 3, 1]".to_owned(), "f32[3, 3, 1, 1]".to_owned()],
        element: Some(Element {
            name: "grad_in1".to_owned(),
            index: vec![0, 2, 1, 3],
            got: "1.5625e-2".to_owned(),
            want: "3.90625e-1".to_owned(),
            allowed: "1.6e-5: f32 sum in any order".to_owned(),
            units: Some(23817.4),
        }),
        message: "grad_in1[0, 2, 1, 3] is 1.5625e-2".to_owned(),
        repeat: format!("neuropil check --op '{op}' --case '{case}'"),
    }
}

fn failing(failures: Vec<Failure>) -> Report {
    let mut report = right();
    for row in &mut report.operations {
        row.failed = failures.iter().filter(|failure| failure.op == row.name).count();
        row.worst = if row.failed > 0 { None } else { row.worst };
    }
    report.failures = failures;
    report
}

/// A report whose every text is hostile.
fn hostile() -> Report {
    let mut report = failing(vec![failure(HOSTILE, HOSTILE), failure("conv2d", &"very_long_name".repeat(100))]);
    let other =
        Failure { element: None, message: HOSTILE.to_owned(), smallest: Vec::new(), ..failure(HOSTILE, HOSTILE) };
    report.failures.push(other);
    for text in [&mut report.command, &mut report.level, &mut report.date, &mut report.machine.device] {
        *text = HOSTILE.to_owned();
    }
    report.machine.limits.push((HOSTILE.to_owned(), 1));
    report.machine.features.push(HOSTILE.to_owned());
    report.variants[0].name = HOSTILE.to_owned();
    report.variants[0].description = HOSTILE.to_owned();
    let row = &mut report.operations[0];
    (row.name, row.family, row.worst_case) = (HOSTILE.to_owned(), HOSTILE.to_owned(), HOSTILE.to_owned());
    report
}

/// 500 failures of two operations, one of them with a single failure.
fn many() -> Report {
    let name = |i: usize| if i == 250 { "max_pool2d" } else { "conv2d" };
    failing((0..500).map(|i| failure(name(i), &format!("case {i}, gradient"))).collect())
}

fn all_reports() -> Vec<Report> {
    let mut empty = right();
    empty.operations.clear();
    empty.variants.clear();
    empty.machine.features.clear();
    empty.machine.limits.clear();
    vec![right(), empty, failing(vec![failure("conv2d", "3×3, gradient")]), hostile(), many()]
}

/// The text of a piece of HTML.
fn text_of(html: &str) -> String {
    let pieces = html.split('<').enumerate().map(|(i, piece)| match piece.split_once('>') {
        Some((_, text)) if i > 0 => text,
        _ => piece,
    });
    let text: String = pieces.collect();
    let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#x2f;", "/"), ("&amp;", "&")];
    named.into_iter().fold(text, |text, (escaped, plain)| text.replace(escaped, plain))
}

/// The attributes `name="…"` of a page.
fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    html.split(&format!(" {name}=\"")).skip(1).map(|rest| rest.split_once('"').unwrap().0).collect()
}

/// How many cells a row of a Markdown table has.
fn cells(row: &str) -> usize {
    row.replace("\\|", "").matches('|').count() - 1
}

#[test]
fn the_end_of_the_name_is_the_format() {
    for (name, format) in [("a/b.html", Format::Html), ("B.MD", Format::Markdown), ("c.d.Json", Format::Json)] {
        assert_eq!(format_of(Path::new(name)).unwrap(), format);
    }
    for name in ["report", "a.htm", "my report.txt", ".html", ""] {
        let error = format_of(Path::new(name)).unwrap_err().to_string();
        assert!(error.contains(name) && error.ends_with("give a name that ends in .html, .md or .json"), "{error}");
        assert!(!error.contains('\n'));
    }
}

#[test]
fn files_are_written_and_errors_name_them() {
    let folder = std::env::temp_dir().join(format!("neuropil-report-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for (name, opening) in [("a.html", "<!doctype html>"), ("a.md", "# Neuropil check"), ("a.json", "{\n")] {
        let path = folder.join(name);
        fs::write(&path, "old").unwrap();
        write(&path, &right()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(opening) && text.ends_with('\n'), "{name}: {}", &text[..40]);
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "nothing else is left there");
    let error = write(&folder.join("absent/a.html"), &right()).unwrap_err().to_string();
    assert!(error.contains("absent/a.html") || error.contains("absent\\a.html"), "{error}");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn verdicts_count_everything() {
    let verdict = Verdict { right: true, cases: 2400, failed: 0, skipped: 6, operations: 2 };
    assert_eq!(Verdict::of(&right()), verdict);
    let mut report = right();
    report.failures.push(failure("of no operation", "case"));
    assert_eq!(Verdict::of(&report), Verdict { right: false, failed: 1, ..verdict });
    report = right();
    report.operations.clear();
    assert!(!Verdict::of(&report).right, "nothing was checked");
}

#[test]
fn json_has_its_keys_in_order() {
    let path = std::env::temp_dir().join(format!("neuropil-report-{}-keys.json", std::process::id()));
    let mut report = failing(vec![failure("conv2d", HOSTILE)]);
    report.failures[0].element.as_mut().unwrap().units = Some(f64::INFINITY);
    write(&path, &report).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let top: Vec<&str> = text.lines().filter(|line| line.starts_with("  \"")).collect();
    let keys: Vec<&str> = top.iter().map(|line| line.split('"').nth(1).unwrap()).collect();
    let data =
        ["version", "command", "level", "seed", "date", "seconds", "machine", "variants", "operations", "failures"];
    assert_eq!(keys, [&["report_version", "verdict"][..], &data].concat());
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["verdict"]["right"], false);
    assert_eq!(value["machine"]["limits"]["max_buffer_size"], 2_147_483_647);
    assert_eq!(value["failures"][0]["case"], HOSTILE);
    assert!(value["failures"][0]["element"]["units"].is_null() && value["operations"][1]["worst"].is_null());
}

#[test]
fn the_html_page_needs_nothing_from_outside() {
    for report in all_reports() {
        let page = html(&report).unwrap();
        for link in attributes(&page, "href") {
            assert!(
                link == "data:," || page.contains(&format!("id=\"{}\"", link.strip_prefix('#').unwrap())),
                "{link}"
            );
        }
        for outside in [" src=", "url(", "@import", "fetch(", "import(", "srcset", "<iframe", "<form"] {
            assert!(!page.contains(outside), "{outside}");
        }
        let mut ids = attributes(&page, "id");
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "an id stands twice");
        for id in attributes(&page, "aria-labelledby").into_iter().chain(attributes(&page, "for")) {
            assert!(ids.contains(&id), "{id}");
        }
        for tag in
            ["section", "details", "summary", "table", "thead", "tr", "th", "td", "dl", "dt", "dd", "div", "span", "p"]
        {
            let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "<{tag}>");
        }
        assert_eq!(page.matches("<th ").count(), page.matches("<th scope=").count());
    }
}

#[test]
fn names_cannot_break_the_html_page() {
    let page = html(&hostile()).unwrap();
    assert_eq!(page.matches("<script").count(), 1, "only the page's own");
    assert!(!page.contains("alert(1)</script>") && !page.contains("\"double\""));
    let commands = page.split("<pre><code>").skip(1).map(|rest| text_of(rest.split_once("</code></pre>").unwrap().0));
    // The failures of an operation stand together.
    let wanted = [0, 2, 1].map(|i: usize| hostile().failures[i].repeat.clone());
    assert_eq!(commands.collect::<Vec<_>>(), wanted, "commands can be copied");
}

#[test]
fn the_html_page_opens_with_the_verdict_and_the_first_failure() {
    let page = html(&right()).unwrap();
    assert!(page.contains("<h1>All 2,400 cases are right</h1>") && page.contains("<dd>0.884 of 1 allowed</dd>"));
    assert!(!page.contains("id=\"wrong\"") && page.contains("class=\"is-right\""));
    let order =
        ["12 min 34 s", "id=\"about\"", "id=\"machine\"", "id=\"variants\"", "id=\"operations\"", "conv2d", "max_"];
    let mut rest = page.split_once("<h1>").unwrap().1;
    for part in order {
        rest = rest.split_once(part).unwrap_or_else(|| panic!("{part} is out of order")).1;
    }

    let page = html(&failing(vec![failure("conv2d", "3×3, gradient"), failure("conv2d", "other")])).unwrap();
    assert!(page.contains("<h1>2 of 2,400 cases are wrong</h1>"));
    assert_eq!(page.matches("<details class=\"failure\" open>").count(), 1);
    let text = text_of(page.split_once("<h1>").unwrap().1.split_once("id=\"about\"").unwrap().0);
    let shown = ["conv2d", "2 of 1,200 cases wrong", "3×3, gradient · staged", "grad_in1[0, 2, 1, 3]", "1.5625e-2"];
    for part in
        shown.into_iter().chain(["3.90625e-1", "1.6e-5: f32 sum", "23,817 times", "f32[1, 3, 3, 1], f32[3, 3, 1, 1]"])
    {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let one = html(&failing(vec![failure("conv2d", "3×3, gradient")])).unwrap();
    assert!(one.contains("<h1>1 of 2,400 cases is wrong</h1>"));
}

#[test]
fn many_failures_are_grouped_and_the_rest_is_counted() {
    let page = html(&many()).unwrap();
    assert_eq!(page.matches("<details class=\"failure\"").count(), 30);
    assert_eq!(page.matches("<pre>").count(), 30);
    assert!(page.contains("470 more of <code>conv2d</code>"));
    assert_eq!(page.matches("· staged").count(), 500, "all are named");
    assert!(page.contains("1 of 1,200 cases wrong"));

    let page = markdown(&many()).unwrap();
    assert_eq!(page.matches("```sh").count(), 30);
    assert!(page.contains("\n100 more:\n") && page.contains("\nAnd 370 that are not listed here.\n"));
    assert!(page.chars().count() < 65_536, "an issue has no room for it");
}

#[test]
fn markdown_opens_with_the_verdict_and_keeps_its_tables() {
    assert!(markdown(&right()).unwrap().starts_with("# Neuropil check: all 2,400 cases are right\n\n2 operations on"));
    for report in all_reports() {
        let page = markdown(&report).unwrap();
        assert!(!page.contains("\n\n\n"), "one empty line is enough:\n{page}");
        let mut columns = None;
        let (mut tables, mut in_code) = (0, false);
        for line in page.lines() {
            in_code ^= line.starts_with("```");
            if in_code || !line.starts_with('|') {
                columns = None;
                continue;
            }
            tables += usize::from(columns.is_none());
            assert_eq!(cells(line), *columns.get_or_insert(cells(line)), "{line}");
        }
        assert_eq!(tables, 3);
    }
    let page = markdown(&hostile()).unwrap();
    let outside_of_code: Vec<&str> = page.split("```").step_by(2).collect();
    assert!(outside_of_code.iter().all(|text| !text.contains("<script>") && !text.contains("![i]")), "{page}");
    assert!(page.contains(&format!("```sh\n{}\n```\n", hostile().failures[0].repeat)), "commands can be copied");
}

//! WGSL as tokens with their places, and which function each is in. Comments are no tokens.

use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Word,
    /// A literal with a point or an `f`.
    Float,
    Integer,
    Symbol,
}

/// A token of a text.
#[derive(Clone, Debug)]
pub struct Token {
    pub kind: Kind,
    pub range: Range<usize>,
}

impl Token {
    pub fn text<'a>(&self, source: &'a str) -> &'a str {
        &source[self.range.clone()]
    }
}

/// Operators of several characters, the longest first.
const SYMBOLS: [&str; 20] = [
    "<<=", ">>=", "->", "++", "--", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "==", "!=", "<=", ">=", "&&", "||", "<<",
    ">>",
];

/// The tokens of `source`.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let (kind, len) = if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        } else if first.is_ascii_digit() {
            let exponent = |i: usize| i > 0 && matches!(rest.as_bytes()[i - 1], b'e' | b'E') && !rest.starts_with("0x");
            let more = |(i, c): &(usize, char)| word(*c) || *c == '.' || matches!(c, '+' | '-') && exponent(*i);
            let len: usize = rest.char_indices().take_while(more).map(|(_, c)| c.len_utf8()).sum();
            let literal = &rest[..len];
            let float = !literal.starts_with("0x") && literal.contains(['.', 'f', 'e']);
            (if float { Kind::Float } else { Kind::Integer }, len)
        } else if word(first) || first == '@' {
            (Kind::Word, 1 + rest[1..].chars().take_while(|c| word(*c)).map(char::len_utf8).sum::<usize>())
        } else {
            let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
            (Kind::Symbol, symbol.map_or(first.len_utf8(), |symbol| symbol.len()))
        };
        tokens.push(Token { kind, range: at..at + len });
        at += len;
    }
    tokens
}

/// The functions of a text: name, and the bytes from `fn` to the closing brace.
pub fn functions(source: &str) -> Vec<(String, Range<usize>)> {
    let tokens = tokens(source);
    let mut functions = Vec::new();
    let mut open: Option<(String, usize)> = None;
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate() {
        match token.text(source) {
            "fn" if depth == 0 => open = Some((tokens[i + 1].text(source).to_owned(), token.range.start)),
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if let Some((name, start)) = open.take_if(|_| depth == 0) {
                    functions.push((name, start..token.range.end));
                }
            }
            _ => {}
        }
    }
    functions
}

#[test]
fn texts_become_tokens() {
    let source = "let x = a[i + 0x1fu] -= 1.5e-3; // a comment\nwhile (x >>= 2u) { y--; }";
    let texts: Vec<&str> = tokens(source).iter().map(|token| token.text(source)).collect();
    let wanted = "let x = a [ i + 0x1fu ] -= 1.5e-3 ; while ( x >>= 2u ) { y -- ; }";
    assert_eq!(texts.join(" "), wanted);
    assert_eq!(tokens("1.0 1u 0xffu 2f").iter().filter(|token| token.kind == Kind::Float).count(), 2);
    let functions =
        functions("const A = 1u;\nfn f(x: u32) -> u32 { if (x > A) { return g(x); } return x; }\nfn g() {}");
    assert_eq!(functions.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["f", "g"]);
}

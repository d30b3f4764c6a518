//! Path templates of `google.api.http` (the grammar is in `google/api/http.proto`).
//!
//! `"/" Segments [":" verb]`, a segment being `*`, `**`, a literal or `{field.path[=Segments]}`. Variables do not nest
//! and `**` comes last but for the verb.

use std::fmt::{self, Write as _};

/// Most variables a template may bind: captures live on the stack of every request.
pub const MAX_VARIABLES: usize = 8;

/// One segment of a template, variables dissolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Matches itself, byte for byte.
    Literal(String),
    /// `*`: exactly one segment.
    Star,
    /// `**`: the rest of the path, also none of it.
    DoubleStar,
}

/// A field bound by a run of segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Field path in proto names, dotted.
    pub path: String,
    /// Index of the first segment it spans.
    pub start: usize,
    /// Index after the last segment it spans.
    pub end: usize,
    /// It can span several path segments, so `%2F` inside it stays encoded.
    pub multi: bool,
}

/// A parsed path template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    segments: Vec<Segment>,
    variables: Vec<Variable>,
    verb: Option<String>,
}

/// Why a template cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path template `{template}`: {problem} at byte {at}")]
pub struct TemplateError {
    /// The template as written.
    pub template: String,
    /// What is wrong.
    pub problem: &'static str,
    /// Where.
    pub at: usize,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// The first place that breaks the grammar.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        let mut parser = Parser { source, rest: source, segments: Vec::new(), variables: Vec::new() };
        let verb = parser.template()?;
        Ok(Self { source: source.to_owned(), segments: parser.segments, variables: parser.variables, verb })
    }

    /// The template as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Segments, variables dissolved.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Variables in the order written.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// The verb after the colon.
    #[must_use]
    pub fn verb(&self) -> Option<&str> {
        self.verb.as_deref()
    }

    /// The template without variable names: two templates of one shape match the same paths.
    #[must_use]
    pub fn shape(&self) -> String {
        self.joined(|_, segment| segment.to_string())
    }

    /// The path with `value(i)` for each wildcard segment `i`; values must be encoded already.
    ///
    /// The reverse of matching: what it writes is matched by this template again.
    pub fn fill(&self, mut value: impl FnMut(usize) -> String) -> String {
        self.joined(|index, segment| match segment {
            Segment::Literal(text) => text.clone(),
            Segment::Star | Segment::DoubleStar => value(index),
        })
    }

    fn joined(&self, mut write: impl FnMut(usize, &Segment) -> String) -> String {
        let mut out = String::new();
        for (index, segment) in self.segments.iter().enumerate() {
            let text = write(index, segment);
            // `**` may stand for nothing, which leaves no slash either.
            if !text.is_empty() {
                let _ = write!(out, "/{text}");
            }
        }
        if let Some(verb) = &self.verb {
            let _ = write!(out, ":{verb}");
        }
        out
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Literal(text) => text,
            Self::Star => "*",
            Self::DoubleStar => "**",
        })
    }
}

struct Parser<'a> {
    source: &'a str,
    rest: &'a str,
    segments: Vec<Segment>,
    variables: Vec<Variable>,
}

impl Parser<'_> {
    fn fail<T>(&self, problem: &'static str) -> Result<T, TemplateError> {
        let at = self.source.len() - self.rest.len();
        Err(TemplateError { template: self.source.to_owned(), problem, at })
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// The whole template; gives the verb.
    fn template(&mut self) -> Result<Option<String>, TemplateError> {
        if !self.eat("/") {
            return self.fail("a template starts with `/`");
        }
        self.segments(false)?;
        let verb = if self.eat(":") { Some(self.verb()?) } else { None };
        if !self.rest.is_empty() {
            return self.fail("the template should end here");
        }
        let last = self.segments.len().saturating_sub(1);
        if self.segments.iter().take(last).any(|s| *s == Segment::DoubleStar) {
            return self.fail("`**` must be the last segment");
        }
        if self.variables.len() > MAX_VARIABLES {
            return self.fail("too many variables");
        }
        Ok(verb)
    }

    fn segments(&mut self, inside: bool) -> Result<(), TemplateError> {
        loop {
            if self.rest.starts_with('{') {
                if inside {
                    return self.fail("variables do not nest");
                }
                self.variable()?;
            } else {
                let segment = self.segment(inside)?;
                self.segments.push(segment);
            }
            if !self.eat("/") {
                return Ok(());
            }
        }
    }

    fn segment(&mut self, inside: bool) -> Result<Segment, TemplateError> {
        if self.eat("**") {
            return Ok(Segment::DoubleStar);
        }
        if self.eat("*") {
            return Ok(Segment::Star);
        }
        let run = self.rest.find(|c: char| !is_literal(c)).unwrap_or(self.rest.len());
        let (mut text, _) = self.rest.split_at(run);
        // Only the last segment can carry the verb; a colon elsewhere belongs to the literal.
        if !inside && run == self.rest.len() {
            text = text.rsplit_once(':').map_or(text, |(literal, _)| literal);
        }
        if text.is_empty() {
            return self.fail("a segment is `*`, `**`, a literal or a variable");
        }
        if text == "." || text == ".." {
            return self.fail("dot segments are never matched");
        }
        self.rest = self.rest.get(text.len()..).unwrap_or_default();
        Ok(Segment::Literal(text.to_owned()))
    }

    fn variable(&mut self) -> Result<(), TemplateError> {
        self.eat("{");
        let run =
            self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(self.rest.len());
        let (path, rest) = self.rest.split_at(run);
        if path.split('.').any(|name| name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit())) {
            return self.fail("a field path is needed");
        }
        self.rest = rest;
        let start = self.segments.len();
        if self.eat("=") {
            self.segments(true)?;
        } else {
            self.segments.push(Segment::Star);
        }
        if !self.eat("}") {
            return self.fail("`}` is missing");
        }
        if !(self.rest.is_empty() || self.rest.starts_with(['/', ':'])) {
            return self.fail("a variable fills its segment");
        }
        if self.variables.iter().any(|v| v.path == path) {
            return self.fail("the variable is bound twice");
        }
        let end = self.segments.len();
        let multi = end - start > 1 || self.segments.last() == Some(&Segment::DoubleStar);
        self.variables.push(Variable { path: path.to_owned(), start, end, multi });
        Ok(())
    }

    fn verb(&mut self) -> Result<String, TemplateError> {
        let verb = self.rest;
        if verb.is_empty() || !verb.chars().all(|c| is_literal(c) && c != ':') {
            return self.fail("the verb is a literal");
        }
        self.rest = "";
        Ok(verb.to_owned())
    }
}

/// `pchar` of RFC 3986 without percent-encoding, and without `*`, which is a wildcard here.
fn is_literal(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()+,;=:@".contains(c)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn grammar_is_accepted() {
        for (source, shape, variables) in [
            ("/v1", "/v1", vec![]),
            ("/v1/{a}", "/v1/*", vec![("a", 1, 2, false)]),
            ("/v1/{a=*}/b", "/v1/*/b", vec![("a", 1, 2, false)]),
            ("/v1/{name=shops/*}", "/v1/shops/*", vec![("name", 1, 3, true)]),
            ("/v1/{name=shops/*/items/*}:buy", "/v1/shops/*/items/*:buy", vec![("name", 1, 5, true)]),
            ("/v1/{a.b.c=**}:go", "/v1/**:go", vec![("a.b.c", 1, 2, true)]),
            ("/{p=google}/{q}", "/google/*", vec![("p", 0, 1, false), ("q", 1, 2, false)]),
            ("/v1/*/**", "/v1/*/**", vec![]),
            ("/v1/a:b/c:go", "/v1/a:b/c:go", vec![]),
            ("/v1/{a}:go", "/v1/*:go", vec![("a", 1, 2, false)]),
            ("/.well-known/jwks.json", "/.well-known/jwks.json", vec![]),
        ] {
            let template = Template::parse(source).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(template.shape(), shape);
            let found: Vec<_> =
                template.variables().iter().map(|v| (v.path.as_str(), v.start, v.end, v.multi)).collect();
            assert_eq!(found, variables, "{source}");
        }
        assert_eq!(Template::parse("/v1/a:b/c:go").unwrap().verb(), Some("go"));
        assert_eq!(Template::parse("/v1/a:b/c").unwrap().verb(), None);
    }

    #[test]
    fn grammar_is_refused() {
        for source in [
            "",
            "v1",
            "/",
            "//",
            "/v1/",
            "/v1//a",
            "/v1/{",
            "/v1/{}",
            "/v1/{a",
            "/v1/{a=}",
            "/v1/{a={b}}",
            "/v1/{a}b",
            "/v1/x{a}",
            "/v1/{a}/{a}",
            "/v1/**/a",
            "/v1/{a=**}/b",
            "/v1/***",
            "/v1/{a.}",
            "/v1/{.a}",
            "/v1/{1a}",
            "/v1/a:",
            "/v1/a:b:",
            "/:go",
            "/v1/a b",
            "/v1/%61",
            "/v1/a?b",
            "/v1/..",
            "/v1/./a",
            "/v1/{a}:{b}",
            "/v1/{a}:b/c",
            "/v1/é",
            "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}",
        ] {
            assert!(Template::parse(source).is_err(), "{source} should be refused");
        }
    }

    #[test]
    fn errors_say_where() {
        let error = Template::parse("/v1/**/a").unwrap_err();
        assert_eq!(error.to_string(), "path template `/v1/**/a`: `**` must be the last segment at byte 8");
    }
}

//! Templates by segment: literal before `*` before `**`, verbs first, then declaration order.

use std::collections::BTreeSet;

use crate::{router::Route, template::Segment};

/// A node; the root stands before the first segment.
#[derive(Debug, Default)]
pub(crate) struct Trie {
    /// Sorted by literal.
    literals: Vec<(Box<str>, Trie)>,
    star: Option<Box<Trie>>,
    /// Routes whose template ends here.
    here: Vec<Leaf>,
    /// Routes whose template ends in `**` here.
    rest: Vec<Leaf>,
}

#[derive(Debug)]
struct Leaf {
    verb: Option<Box<str>>,
    http_method: Box<str>,
    route: usize,
}

impl Trie {
    /// Adds a route; routes added first win among equals.
    pub(crate) fn insert(&mut self, route: &Route) {
        let leaf = Leaf {
            verb: route.template.verb().map(Into::into),
            http_method: route.http_method.as_str().into(),
            route: route.index,
        };
        let mut node = self;
        for segment in route.template.segments() {
            match segment {
                Segment::Literal(text) => node = node.literal_mut(text),
                Segment::Star => node = node.star.get_or_insert_with(Box::default),
                Segment::DoubleStar => return add(&mut node.rest, leaf),
            }
        }
        add(&mut node.here, leaf);
    }

    fn literal_mut(&mut self, text: &str) -> &mut Self {
        let at = match self.literals.binary_search_by(|(literal, _)| literal.as_ref().cmp(text)) {
            Ok(at) => at,
            Err(at) => {
                self.literals.insert(at, (text.into(), Self::default()));
                at
            }
        };
        #[expect(clippy::indexing_slicing, reason = "the entry was found or inserted at this place")]
        &mut self.literals[at].1
    }

    /// The route of a path without its leading slash, and the length of its verb with the colon.
    pub(crate) fn find(&self, http_method: &str, path: &str) -> Option<(usize, usize)> {
        let accept = |leaf: &Leaf| &*leaf.http_method == http_method || &*leaf.http_method == "*";
        if let Some((bare, verb)) = split_verb(path)
            && let Some(leaf) = self.walk(Some(bare), Some(verb), &accept)
        {
            return Some((leaf.route, verb.len() + 1));
        }
        self.walk(Some(path), None, &accept).map(|leaf| (leaf.route, 0))
    }

    /// The `Allow` header of a path; none when no template matches it.
    pub(crate) fn allowed(&self, path: &str) -> Option<String> {
        let methods = std::cell::RefCell::new(BTreeSet::new());
        let collect = |leaf: &Leaf| {
            methods.borrow_mut().insert(leaf.http_method.to_string());
            false
        };
        if let Some((bare, verb)) = split_verb(path) {
            self.walk(Some(bare), Some(verb), &collect);
        }
        self.walk(Some(path), None, &collect);
        let methods = methods.into_inner();
        (!methods.is_empty()).then(|| methods.into_iter().collect::<Vec<_>>().join(", "))
    }

    /// Depth first; `path` is what is left of the path, none when all of it is matched.
    fn walk(&self, path: Option<&str>, verb: Option<&str>, accept: &dyn Fn(&Leaf) -> bool) -> Option<&Leaf> {
        let chosen = |leaves: &'_ [Leaf]| leaves.iter().position(|l| l.verb.as_deref() == verb && accept(l));
        let Some(path) = path else {
            if let Some(at) = chosen(&self.here) {
                return self.here.get(at);
            }
            return self.rest.get(chosen(&self.rest)?);
        };
        let (segment, rest) = first(path);
        let literal = self.literals.binary_search_by(|(literal, _)| literal.as_ref().cmp(segment)).ok();
        literal
            .and_then(|at| self.literals.get(at))
            .and_then(|(_, node)| node.walk(rest, verb, accept))
            .or_else(|| self.star.as_ref().and_then(|node| node.walk(rest, verb, accept)))
            .or_else(|| self.rest.get(chosen(&self.rest)?))
    }
}

/// The first segment, and what follows its slash.
fn first(path: &str) -> (&str, Option<&str>) {
    // Segments are short: a plain loop beats a searcher.
    match path.bytes().position(|byte| byte == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..)),
        None => (path, None),
    }
}

/// Keeps a leaf of any method behind those that name theirs.
fn add(leaves: &mut Vec<Leaf>, leaf: Leaf) {
    if &*leaf.http_method == "*" {
        leaves.push(leaf);
        return;
    }
    let at = leaves.iter().position(|l| &*l.http_method == "*").unwrap_or(leaves.len());
    leaves.insert(at, leaf);
}

/// The path and its verb; none when the last segment has no colon or nothing beside it.
fn split_verb(path: &str) -> Option<(&str, &str)> {
    let (bare, verb) = path.rsplit_once(':')?;
    let last = bare.rsplit('/').next().unwrap_or_default();
    // What the verb leaves must be a segment that could stand alone.
    (!verb.is_empty() && !verb.contains('/') && super::path::is_segment(last.as_bytes())).then_some((bare, verb))
}

//! Path variables and query parameters as fields.

use std::{borrow::Cow, collections::HashSet};

use super::{
    cx::TOO_DEEP,
    scalar::{self, Fault, Source},
};
use crate::{
    shape::{Card, Field, Kind, Message, Shapes, WellKnown},
    wire,
};

/// Most pairs read from a query.
pub(crate) const MAX_PAIRS: usize = 1000;

/// Why parameters cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The query itself.
    Query(Fault),
    /// One parameter: its name, and what is wrong.
    Parameter(String, Fault),
}

/// Writes one field given by its path of indexes below `index`.
pub(crate) fn field(
    shapes: &Shapes,
    index: usize,
    path: &[usize],
    value: &str,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    leaf(shapes, index, path, out, &mut |field, out| {
        scalar::text(shapes, field.kind, field.number, value, Source::Parameter, out)
    })
}

/// Reads the query of a request whose other parts bind `bound` fields.
pub(crate) struct Query<'a> {
    pub(crate) shapes: &'a Shapes,
    /// Shape of the request.
    pub(crate) input: usize,
    /// Refuse unknown parameters.
    pub(crate) strict: bool,
    /// Take secrets: a provider's redirect is a GET and carries its code in the address; a client that chooses the
    /// method can send a body, and addresses end in access logs.
    pub(crate) secrets: bool,
    /// Field paths that path and body own; parameters below them are ignored.
    pub(crate) bound: &'a dyn Fn(&[usize]) -> bool,
    /// Oneof that the body field belongs to.
    pub(crate) body_oneof: Option<usize>,
}

/// What was given already.
#[derive(Default)]
struct Given {
    singular: HashSet<Vec<usize>>,
    /// Message path and oneof, and the member that holds it.
    oneofs: Vec<(Vec<usize>, usize, usize)>,
}

/// A parameter name resolved.
struct Target<'a> {
    path: Vec<usize>,
    field: &'a Field,
    map_key: Option<&'a str>,
}

impl Query<'_> {
    /// Writes every parameter.
    pub(crate) fn write(&self, query: &str, out: &mut Vec<u8>) -> Result<(), Wrong> {
        let mut given = Given::default();
        for (count, pair) in query.split('&').filter(|p| !p.is_empty()).enumerate() {
            if count >= MAX_PAIRS {
                return Err(Wrong::Query("the query has too many parameters"));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = form_decoded(name).ok_or(Wrong::Query("the query has a malformed escape"))?;
            let wrong = |fault| Wrong::Parameter(name.chars().take(64).collect(), fault);
            let value = form_decoded(value).ok_or_else(|| wrong("has a malformed escape"))?;
            match self.resolve(&name).map_err(wrong)? {
                None if self.strict => return Err(wrong("is not known")),
                None => {}
                Some(target) => self.parameter(&target, &value, &mut given, out).map_err(wrong)?,
            }
        }
        Ok(())
    }

    fn parameter(&self, target: &Target<'_>, value: &str, given: &mut Given, out: &mut Vec<u8>) -> Result<(), Fault> {
        if (self.bound)(&target.path) {
            return Ok(());
        }
        if target.field.secret && !self.secrets {
            return Err("is a secret and is not taken from an address: send it in a body");
        }
        self.claim(target, given)?;
        let shapes = self.shapes;
        leaf(shapes, self.input, &target.path, out, &mut |field, out| match (field.card, target.map_key) {
            (Card::Map, Some(key)) => map_entry(shapes, field, key, value, out),
            (Card::Map, None) => Err("needs a key, as `name[key]`"),
            (_, Some(_)) => Err("is not a map"),
            (_, None) => plain(shapes, field, value, out),
        })
    }

    /// Refuses a second value of a singular field, and a second member of a oneof at any level.
    fn claim(&self, target: &Target<'_>, given: &mut Given) -> Result<(), Fault> {
        if !matches!(target.field.card, Card::List | Card::Map) && !given.singular.insert(target.path.clone()) {
            return Err("is given twice");
        }
        let mut message = self.shapes.message(self.input);
        for (depth, at) in target.path.iter().enumerate() {
            let field = message.field(*at);
            if let Some(oneof) = field.oneof {
                let above = target.path.get(..depth).unwrap_or_default();
                let holder = given.oneofs.iter().find(|(path, one, _)| path == above && *one == oneof);
                if holder.is_some_and(|(_, _, member)| member != at) || (depth == 0 && self.body_oneof == Some(oneof)) {
                    return Err("excludes another field that is given too");
                }
                if holder.is_none() {
                    given.oneofs.push((above.to_vec(), oneof, *at));
                }
            }
            if let Kind::Message(next) = field.kind {
                message = self.shapes.message(next);
            }
        }
        Ok(())
    }

    /// Finds the field of a name; none when it is unknown or the server's own.
    fn resolve<'n>(&'n self, name: &'n str) -> Result<Option<Target<'n>>, Fault> {
        let (dotted, map_key) = match name.strip_suffix(']').and_then(|n| n.split_once('[')) {
            Some((dotted, key)) => (dotted, Some(key)),
            None => (name, None),
        };
        let mut message: &Message = self.shapes.message(self.input);
        let mut path = Vec::new();
        let mut names = dotted.split('.').peekable();
        while let Some(name) = names.next() {
            let Some(at) = message.named(name) else { return Ok(None) };
            let field = message.field(at);
            path.push(at);
            if field.server_only {
                return Ok(None);
            }
            if path.len() > wire::MAX_DEPTH as usize {
                return Err(TOO_DEEP);
            }
            if names.peek().is_none() {
                return Ok(Some(Target { path, field, map_key }));
            }
            match field.kind {
                Kind::Message(next) if !matches!(field.card, Card::List | Card::Map) => {
                    message = self.shapes.message(next);
                }
                _ => return Err("does not lead to a field"),
            }
        }
        Ok(None)
    }
}

/// One value of a field that is not a map.
fn plain(shapes: &Shapes, field: &Field, value: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
    if let Kind::Message(index) = field.kind {
        match shapes.message(index).known {
            Some(WellKnown::Timestamp | WellKnown::Duration | WellKnown::FieldMask | WellKnown::Wrapper) => {}
            Some(WellKnown::Struct | WellKnown::Value | WellKnown::ListValue) if field.card != Card::List => {
                return super::json_text(shapes, field, value, out);
            }
            _ => return Err("cannot be given as a parameter"),
        }
    }
    scalar::text(shapes, field.kind, field.number, value, Source::Parameter, out)
}

fn map_entry(shapes: &Shapes, field: &Field, key: &str, value: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
    let Kind::Message(index) = field.kind else { return Err("is not a map") };
    let entry = shapes.message(index);
    let kind_of = |number| entry.numbered(number).map(|at| entry.field(at).kind).ok_or("is not a map");
    let start = wire::open(out, field.number);
    scalar::text(shapes, kind_of(1)?, 1, key, Source::Parameter, out)?;
    let kind = kind_of(2)?;
    if let Kind::Message(index) = kind
        && !matches!(
            shapes.message(index).known,
            Some(WellKnown::Timestamp | WellKnown::Duration | WellKnown::FieldMask | WellKnown::Wrapper)
        )
    {
        return Err("cannot be given as a parameter");
    }
    scalar::text(shapes, kind, 2, value, Source::Parameter, out)?;
    wire::close(out, start);
    Ok(())
}

type Leaf<'a> = dyn FnMut(&Field, &mut Vec<u8>) -> Result<(), Fault> + 'a;

/// Opens the messages on the way to a field and writes it; parts of one message merge on the wire.
fn leaf(shapes: &Shapes, index: usize, path: &[usize], out: &mut Vec<u8>, write: &mut Leaf<'_>) -> Result<(), Fault> {
    let Some((at, below)) = path.split_first() else { return Ok(()) };
    let field = shapes.message(index).field(*at);
    let next = match field.kind {
        Kind::Message(next) if !below.is_empty() => next,
        _ => return write(field, out),
    };
    let start = wire::open(out, field.number);
    leaf(shapes, next, below, out, write)?;
    wire::close(out, start);
    Ok(())
}

/// Decodes `+` and percent escapes of a form value.
fn form_decoded(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains(['+', '%']) {
        return Some(Cow::Borrowed(raw));
    }
    let spaced = raw.replace('+', " ");
    crate::router::decoded(&spaced, false).map(|text| Cow::Owned(text.into_owned()))
}

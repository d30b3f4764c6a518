//! `google.protobuf.Any`: the one type whose JSON cannot be written before all of it is read.

use serde::Deserialize as _;
use serde::de::{
    DeserializeSeed as _, IntoDeserializer as _, MapAccess,
    value::{MapAccessDeserializer, MapDeserializer},
};
use serde_json::{Map, Value};

use super::{cx::Cx, json::MessageSeed};
use crate::{shape::WellKnown, wire};

/// Writes type and content of an Any from its members.
pub(super) fn write<'de, A: MapAccess<'de>>(cx: &mut Cx<'_>, map: A, out: &mut Vec<u8>) -> Result<(), A::Error> {
    let mut members = Map::<String, Value>::deserialize(MapAccessDeserializer::new(map))?;
    if members.is_empty() {
        return Ok(());
    }
    let Some(Value::String(url)) = members.remove("@type") else {
        return Err(cx.fail("must name its type in `@type`"));
    };
    let index = url.rsplit_once('/').and_then(|(_, name)| cx.shapes.index(name));
    let Some(index) = index else { return Err(cx.fail("names an unknown type in `@type`")) };
    wire::bytes(out, 1, url.as_bytes());
    let known = cx.shapes.message(index).known;
    let start = wire::open(out, 2);
    let seed = MessageSeed { cx: &mut *cx, index, out };
    let read = match known {
        None | Some(WellKnown::HttpBody) => {
            seed.deserialize(MapDeserializer::<_, serde_json::Error>::new(members.into_iter()))
        }
        Some(_) => seed.deserialize(members.remove("value").unwrap_or_default().into_deserializer()),
    };
    if read.is_err() {
        let fault = cx.fault.unwrap_or("does not fit its type");
        return Err(cx.fail::<A::Error>(fault));
    }
    wire::close(out, start);
    Ok(())
}

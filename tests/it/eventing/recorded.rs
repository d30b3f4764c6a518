//! What was written long ago is read today, and what is written tomorrow too: a payload of every fact as it was when it was
//! new, in both encodings. Lines are added and never changed.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coreloop_transcode::{
    descriptor,
    message::{from_json, to_json},
};
use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value as Field};
use serde_json::Value;

/// `<type> <ProtoJSON> <wire form in base64>` a line.
const RECORDED: &str = include_str!("recorded.txt");

fn lines() -> impl Iterator<Item = (&'static str, Value, Vec<u8>)> {
    RECORDED.lines().map(|line| {
        let [name, json, wire] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        (name, serde_json::from_str(json).unwrap(), STANDARD.decode(wire).unwrap())
    })
}

/// What a consumer of today understands of a payload, from either encoding.
fn read(name: &str, json: &Value) -> Value {
    said(name, &from_json(name, json.to_string().as_bytes()).unwrap())
}

fn said(name: &str, wire: &[u8]) -> Value {
    serde_json::from_slice(&to_json(name, wire).unwrap()).unwrap()
}

#[test]
fn what_was_recorded_is_read_as_it_was_meant() {
    for (name, json, wire) in lines() {
        let meant: BTreeMap<_, _> = json.as_object().unwrap().iter().collect();
        for today in [read(name, &json), said(name, &wire)] {
            // Fields that were added since may be there, empty.
            let of_then: BTreeMap<_, _> =
                today.as_object().unwrap().iter().filter(|(field, _)| meant.contains_key(field)).collect();
            assert_eq!(of_then, meant, "{name}");
        }
    }
}

#[test]
fn fields_of_a_newer_producer_are_left_out_and_those_an_older_one_had_not_are_empty() {
    for (name, json, wire) in lines() {
        let mut newer = json.clone();
        newer["shoe_size"] = 43.into();
        assert_eq!(read(name, &newer), read(name, &json), "{name}");
        // Field 5000, a number.
        let mut newer = wire.clone();
        prost::encoding::uint32::encode(5_000, &43, &mut newer);
        assert_eq!(said(name, &newer), said(name, &wire), "{name}");
        let whole = read(name, &json);
        for missing in json.as_object().unwrap().keys() {
            let mut older = json.clone();
            older.as_object_mut().unwrap().remove(missing);
            let understood = read(name, &older);
            for field in older.as_object().unwrap().keys() {
                assert_eq!(understood[field], whole[field], "{name} without {missing}");
            }
        }
    }
}

#[test]
fn every_fact_is_recorded() {
    let recorded: BTreeSet<&str> = lines().map(|(name, ..)| name).collect();
    let pool = descriptor::pool();
    let files = pool.files().filter(|file| file.package_name().starts_with("coreloop.event."));
    let facts: Vec<MessageDescriptor> = files.flat_map(|file| file.messages().collect::<Vec<_>>()).collect();
    assert!(facts.len() >= 7);
    let missing: Vec<String> =
        facts.iter().filter(|fact| !recorded.contains(fact.full_name())).map(|fact| line(fact.clone())).collect();
    assert!(missing.is_empty(), "add to tests/it/eventing/recorded.txt:\n{}", missing.join("\n"));
}

/// The line of a new fact, each of its fields filled.
fn line(fact: MessageDescriptor) -> String {
    let wire = filled(fact.clone()).encode_to_vec();
    format!("{} {} {}", fact.full_name(), said(fact.full_name(), &wire), STANDARD.encode(&wire))
}

fn filled(of: MessageDescriptor) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    if of.full_name() == "google.protobuf.Timestamp" {
        message.set_field_by_name("seconds", Field::I64(1_767_323_045));
        return message;
    }
    for field in of.fields() {
        let value = value(&field);
        let value = match () {
            () if field.is_map() => continue,
            () if field.is_list() => Field::List(vec![value]),
            () => value,
        };
        message.set_field(&field, value);
    }
    debug_assert_eq!(message.descriptor(), of);
    message
}

fn value(field: &FieldDescriptor) -> Field {
    match field.kind() {
        Kind::String => Field::String(field.name().to_owned()),
        Kind::Bytes => Field::Bytes(bytes::Bytes::from_static(b"bytes")),
        Kind::Bool => Field::Bool(true),
        Kind::Double => Field::F64(1.5),
        Kind::Float => Field::F32(1.5),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Field::I32(7),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Field::I64(7),
        Kind::Uint32 | Kind::Fixed32 => Field::U32(7),
        Kind::Uint64 | Kind::Fixed64 => Field::U64(7),
        Kind::Enum(_) => Field::EnumNumber(1),
        Kind::Message(inner) => Field::Message(filled(inner)),
    }
}

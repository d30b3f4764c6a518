//! Frames of WebSockets: nothing panics or grows, and however the network cuts them the same is heard.

use coreloop_gateway::heard;

use crate::{drive::fuzz, mutate::Random};

const LIMIT: usize = 16 * 1024;

const WORDS: &[&[u8]] = &[
    b"\x81",
    b"\x01",
    b"\x80",
    b"\x00",
    b"\x82",
    b"\x88",
    b"\x89",
    b"\x8a",
    b"\xc1",
    b"\xff",
    b"\xfe",
    b"\xfd",
    b"\x81\x80\0\0\0\0",
    b"\x89\x80\0\0\0\0",
    b"\x88\x82\0\0\0\0\x03\xe8",
    b"\x01\x80\0\0\0\0",
    b"\x80\x80\0\0\0\0",
    b"\0\0\0\0\0\0\0\x01",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x40\x00",
    b"\x3f\xff",
    b"\xed\xa0\x80",
    b"\xc3\xa9",
];

/// A masked frame.
fn frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => bytes.push(0x80 | short),
        (_, Ok(longer)) => {
            bytes.push(0xfe);
            bytes.extend(longer.to_be_bytes());
        }
        _ => {
            bytes.push(0xff);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

fn corpus() -> Vec<Vec<u8>> {
    let auth = br#"{"type":"auth","token":"a.b.c"}"#;
    let text = "안녕 hello".as_bytes();
    vec![
        frame(0x81, [1, 2, 3, 4], auth),
        frame(0x81, [0; 4], b""),
        [frame(0x01, [9; 4], &text[..4]), frame(0x89, [7; 4], b"ping"), frame(0x80, [5; 4], &text[4..])].concat(),
        [frame(0x01, [1; 4], b"a"), frame(0x00, [2; 4], b""), frame(0x80, [3; 4], b"b")].concat(),
        frame(0x81, [1, 2, 3, 4], &[b'x'; 200]),
        frame(0x8a, [1, 2, 3, 4], b"pong"),
        frame(0x88, [1, 2, 3, 4], b"\x03\xe8bye"),
    ]
}

#[test]
fn socket_frames() {
    fuzz("socket frames", corpus(), WORDS, |bytes, random: &mut Random| {
        let whole = heard(bytes, usize::MAX, LIMIT);
        let piece = 1 + random.below(7);
        assert_eq!(heard(bytes, piece, LIMIT), whole, "in pieces of {piece}");
        if let Err(code) = whole {
            assert!([1002, 1003, 1007, 1008, 1009].contains(&code), "{code}");
        }
        // A smaller limit refuses more, and nothing else.
        match (heard(bytes, piece, 64), whole) {
            (Err(1009), _) => {}
            (smaller, whole) => assert_eq!(smaller, whole),
        }
        whole.is_ok_and(|messages| messages > 0)
    });
}

//! Random requests of what both read alike one by one: members, parameters and segments of the tables without those of the
//! list of differences, put together, and numbers and texts of any kind.

use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Value, json};

use super::{bodies, case::Case, explained, parameters};

/// Members of one oneof: at most one of them is sent.
const CHOICES: [&str; 3] = ["choice_text", "choice_inner", "choice_null"];

struct Maker {
    random: StdRng,
    members: Vec<(&'static str, &'static str)>,
    parameters: Vec<(&'static str, &'static str)>,
}

/// So many requests.
pub(super) fn some(seed: u64, count: usize) -> Vec<Case> {
    let known = explained::names();
    let agreed = |case: &Case| !known.contains(&case.name()) && !explained::ends_envoy(case);
    let pairs = |fields: &[&'static str], values: &[&'static str], case: fn(&str, &str) -> Case| {
        let all = fields.iter().flat_map(|field| values.iter().map(|value| (*field, *value)));
        all.filter(|(field, value)| agreed(&case(field, value))).collect::<Vec<_>>()
    };
    let mut maker = Maker {
        random: StdRng::seed_from_u64(seed),
        members: pairs(bodies::FIELDS, bodies::VALUES, bodies::body),
        parameters: pairs(parameters::FIELDS, parameters::VALUES, parameters::query),
    };
    (0..count).map(|_| maker.case()).collect()
}

impl Maker {
    fn case(&mut self) -> Case {
        match self.random.random_range(0..10) {
            0..4 => Case::new("POST /v1/echo", self.members()),
            4..6 => Case::new("POST /v1/echo", self.made().to_string()),
            6 => Case::new("PUT /v1/echo/x", self.inner(4).to_string()),
            7..9 => {
                let query = self.query();
                Case::new(&format!("GET /v1/echo?{query}"), "")
            }
            _ => {
                let path = self.path();
                Case::new(&format!("GET {path}"), "")
            }
        }
    }

    /// An object of members of the table.
    fn members(&mut self) -> String {
        let mut seen: Vec<&str> = Vec::new();
        let mut members = Vec::new();
        for _ in 0..self.random.random_range(1..7) {
            let (field, value) = *self.members.choose(&mut self.random).unwrap();
            let root = if CHOICES.contains(&field) { "choice" } else { field };
            if seen.contains(&root) {
                continue;
            }
            seen.push(root);
            let name = if self.random.random() { field.to_owned() } else { camel(field) };
            let space = ["", " ", "\n\t", "  \r\n"].choose(&mut self.random).unwrap();
            members.push(format!("{space}\"{name}\"{space}:{space}{value}"));
        }
        format!("{{{}}}", members.join(","))
    }

    /// An object of values made here.
    fn made(&mut self) -> Value {
        let (text, number) = (self.text(), self.random.next_u64());
        let list: Vec<i32> = (0..self.random.random_range(0..20)).map(|_| self.random.random()).collect();
        // serde_json reads floats of many digits a last place off unless built otherwise: these are exact.
        let double = f64::from(self.random.random::<i32>()) / 64.0;
        let signed = number.cast_signed();
        let seconds = signed % 10_000_000_000;
        let mut all = json!({
            "a_string": text, "words": [self.text(), self.text()], "an_uint64": number, "a_uint64": number.to_string(),
            "an_int64": signed, "a_sint64": signed.to_string(), "a_fixed64": number, "a_sfixed64": signed,
            "an_int32": self.random.random::<i32>(), "a_uint32": self.random.random::<u32>(), "numbers": list,
            "an_inner": self.inner(5), "inners": [self.inner(2), {}], "by_number": {"-7": self.inner(1)},
            "labels": {self.text(): self.text()}, "by_bool": {"true": signed}, "a_duration": format!("{seconds}s"),
            "a_struct": {self.text(): [text, null, true, {"x": list}]}, "a_value": self.text(),
            "an_any": {"@type": "type.googleapis.com/coreloop.odd.v1.Inner", "name": text},
        });
        all["a_double"] = json!(double);
        let members = all.as_object_mut().unwrap();
        let keep: Vec<bool> = members.iter().map(|_| self.random.random()).collect();
        let mut keep = keep.into_iter();
        members.retain(|_, _| keep.next().unwrap_or_default());
        all
    }

    fn inner(&mut self, depth: usize) -> Value {
        let mut inner = json!({"name": self.text(), "count": self.random.random::<i32>()});
        match self.random.random_range(0..4) {
            0 => inner["left"] = json!(self.text()),
            1 => inner["right"] = json!(self.random.random::<i32>()),
            2 => inner["tags"] = json!([self.text(), ""]),
            _ => {}
        }
        if depth > 0 && self.random.random() {
            inner["inner"] = self.inner(depth - 1);
        }
        inner
    }

    fn text(&mut self) -> String {
        let length = self.random.random_range(0..12);
        (0..length)
            .map(|_| match self.random.random_range(0..4) {
                0 => self.random.random::<char>(),
                1 => char::from(self.random.random_range(0_u8..128)),
                _ => char::from(self.random.random_range(b'a'..=b'z')),
            })
            .collect()
    }

    /// Parameters of different fields.
    fn query(&mut self) -> String {
        let mut seen: Vec<String> = Vec::new();
        let mut parts = Vec::new();
        for _ in 0..self.random.random_range(1..6) {
            let (field, value) = *self.parameters.choose(&mut self.random).unwrap();
            let spelled = camel(field);
            // Two parameters that meet in a message are one another's business: oneofs, and a message given as a whole.
            let root = spelled.split('.').next().unwrap().to_owned();
            let root = if root.starts_with("choice") { "choice".to_owned() } else { root };
            if !seen.contains(&root) {
                seen.push(root);
                parts.push(format!("{field}={value}"));
            }
        }
        parts.join("&")
    }

    fn path(&mut self) -> String {
        let templates =
            ["/v1/m/{}", "/v1/m/{}:undelete", "/v1/shops/{}/m", "/v1/shops/{}/items/{}", "/v1/files/{}/{}/{}"];
        let template = templates.choose(&mut self.random).unwrap();
        template.split("{}").fold(String::new(), |path, part| match path.as_str() {
            "" => part.to_owned(),
            _ => format!("{path}{}{part}", self.segment()),
        })
    }

    /// A segment of letters, marks and whole escapes, not empty and no dot segment.
    fn segment(&mut self) -> String {
        let mut segment = String::from("s");
        for _ in 0..self.random.random_range(0..8) {
            segment += [
                "a",
                "Z",
                "0",
                "-",
                "_",
                "~",
                "!",
                "$",
                "'",
                "(",
                ")",
                "*",
                "+",
                ",",
                ";",
                "=",
                "@",
                ".",
                "%20",
                "%2F",
                "%2f",
                "%25",
                "%3A",
                "%3F",
                "%ea%b0%80",
                "%C3%A9",
                "%7B",
                "%00",
                "%41",
            ]
            .choose(&mut self.random)
            .unwrap();
        }
        segment
    }
}

/// The name in JSON.
fn camel(field: &str) -> String {
    if field == "odd_json_name" {
        return "veryOdd".to_owned();
    }
    let mut up = false;
    field.chars().fold(String::new(), |mut name, c| {
        match c {
            '_' => up = true,
            c if std::mem::take(&mut up) => name.extend(c.to_uppercase()),
            c => name.push(c),
        }
        name
    })
}

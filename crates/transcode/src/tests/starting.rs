//! Rules that cannot be served stop the start, each naming its method.

use super::compile;
use crate::router::Router;

const HEAD: &str = r#"
syntax = "proto3";
package coreloop.bad.v1;
import "coreloop/option/v1/option.proto";
import "google/api/annotations.proto";
import "google/protobuf/timestamp.proto";
message Inner { string name = 1; }
message In {
  string a = 1; repeated string many = 2; map<string, string> map = 3; Inner inner = 4; repeated Inner inners = 5;
  google.protobuf.Timestamp time = 6; bytes raw = 7; int32 count = 8;
}
"#;

fn errors(rpcs: &str) -> Vec<String> {
    let text = format!("{HEAD} service Bad {{ {rpcs} }}");
    match Router::new(&compile(Box::leak(text.into_boxed_str()))) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

fn rpc(options: &str) -> String {
    format!("rpc Do(In) returns (In) {{ {options} }}")
}

#[test]
fn good_rules_start() {
    for rule in [r#"get: "/v1/{a}/{inner.name}/{time}/{raw}/{count}""#, r#"post: "/v1/{a}" body: "a""#] {
        assert_eq!(errors(&rpc(&format!("option (google.api.http) = {{ {rule} }};"))), Vec::<String>::new());
    }
}

#[test]
fn bad_rules_do_not() {
    for (rule, expected) in [
        (r#"get: "/v1/**/a""#, "coreloop.bad.v1.Bad.Do: path template `/v1/**/a`: `**` must be the last segment"),
        (
            r#"get: "/v1/{nope}""#,
            "coreloop.bad.v1.Bad.Do: `coreloop.bad.v1.In` has no field `nope` for variable `nope`",
        ),
        (r#"get: "/v1/{many}""#, "coreloop.bad.v1.Bad.Do: variable `many` must be singular"),
        (r#"get: "/v1/{map}""#, "coreloop.bad.v1.Bad.Do: variable `map` must be singular"),
        (r#"get: "/v1/{inner}""#, "coreloop.bad.v1.Bad.Do: variable `inner` is a message"),
        (r#"get: "/v1/{inners.name}""#, "coreloop.bad.v1.Bad.Do: variable `inners.name` must be singular"),
        (r#"get: "/v1/{a.b}""#, "coreloop.bad.v1.Bad.Do: `a` of variable `a.b` is not a message"),
        (r#"get: "/v1/{a}/{a}""#, "coreloop.bad.v1.Bad.Do: path template `/v1/{a}/{a}`: the variable is bound twice"),
        (r#"post: "/v1/x" body: "nope""#, "coreloop.bad.v1.Bad.Do: request has no field `nope`"),
        (r#"get: "/v1/x" response_body: "nope""#, "coreloop.bad.v1.Bad.Do: response has no field `nope`"),
        (r#"custom: {path: "/v1/x"}"#, "coreloop.bad.v1.Bad.Do: no usable pattern"),
        (r#"body: "*""#, "coreloop.bad.v1.Bad.Do: no usable pattern"),
        (
            r#"get: "/v1/x" additional_bindings: {get: "/v1/y" additional_bindings: {get: "/v1/z"}}"#,
            "coreloop.bad.v1.Bad.Do: additional bindings do not nest",
        ),
        (
            r#"get: "/v1/{a}" additional_bindings: {get: "/v1/{inner.name=*}"}"#,
            "coreloop.bad.v1.Bad.Do: GET /v1/* is already bound by coreloop.bad.v1.Bad.Do",
        ),
    ] {
        let found = errors(&rpc(&format!("option (google.api.http) = {{ {rule} }};")));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{rule}: {found:?}");
    }
}

#[test]
fn bad_options_do_not() {
    for (option, expected) in [
        (r#"redirect_field: "nope""#, "coreloop.bad.v1.Bad.Do: `nope` is not a string field of coreloop.bad.v1.In"),
        (r#"idempotency_field: "count""#, "coreloop.bad.v1.Bad.Do: `count` is not a string field"),
        (
            r#"deprecated_bindings: {path: "/v1/y"}"#,
            "coreloop.bad.v1.Bad.Do: deprecated binding `/v1/y` is not a binding",
        ),
        (
            r#"deprecated_bindings: {path: "/v1/x"}"#,
            "coreloop.bad.v1.Bad.Do: `since` of the deprecated binding `/v1/x` must be a date",
        ),
        (
            r#"deprecated_bindings: {path: "/v1/x" since: "2026-11-21" sunset: "2026-02-30"}"#,
            "coreloop.bad.v1.Bad.Do: `sunset` of the deprecated binding `/v1/x` must be a date",
        ),
        (
            r#"deprecated_bindings: {since: "2026-11-21"}"#,
            "coreloop.bad.v1.Bad.Do: a deprecated binding without a path, but the RPC is not marked deprecated",
        ),
    ] {
        let rule = r#"option (google.api.http) = { get: "/v1/x" };"#;
        let found = errors(&rpc(&format!("{rule} option (coreloop.option.v1.edge) = {{ {option} }};")));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{option}: {found:?}");
    }
}

#[test]
fn a_deprecated_rpc_says_since_when() {
    let found = errors(&rpc("option deprecated = true;"));
    assert_eq!(
        found,
        ["coreloop.bad.v1.Bad.Do: it is deprecated, so a deprecated binding without a path must say since when"]
    );
}

#[test]
fn client_streams_have_a_socket_or_no_rest() {
    let why = "a client stream has no REST form but a socket, where the server streams, too, by GET";
    let socket = "option (coreloop.option.v1.edge) = { socket: true };";
    let (get, post) = (r#"get: "/v1/x""#, r#"post: "/v1/x" body: "*""#);
    let rpc = |answer: &str, http: &str, edge: &str| {
        errors(&format!("rpc Do(stream In) returns ({answer}) {{ option (google.api.http) = {{ {http} }}; {edge} }}"))
    };
    for (answer, http, edge) in
        [("In", post, ""), ("stream In", get, ""), ("In", get, socket), ("stream In", post, socket)]
    {
        assert_eq!(rpc(answer, http, edge), [format!("coreloop.bad.v1.Bad.Do: {why}")], "{answer} {http} {edge}");
    }
    assert_eq!(rpc("stream In", get, socket), Vec::<String>::new());
}

#[test]
fn all_errors_come_at_once() {
    let found = errors(
        r#"rpc A(In) returns (In) { option (google.api.http) = { get: "/v1/{x}" }; }
           rpc B(In) returns (In) { option (google.api.http) = { get: "v1" }; }"#,
    );
    assert_eq!(found.len(), 2);
}

//! The matcher: precedence, verbs, escapes, and spellings that must not match.

use proptest::prelude::*;

use super::odd;
use crate::{
    router::{Match, router},
    template::{Segment, Template},
};

/// `template var=value…`, or what it was instead.
fn find(method: &str, path: &str) -> String {
    match odd().find(method, path) {
        Match::Found { route, vars } => {
            let mut out = route.template.source().to_owned();
            for (at, variable) in route.template.variables().iter().enumerate() {
                out += &format!(" {}={}", variable.path, vars.decode(route, at).unwrap());
            }
            out
        }
        Match::WrongMethod { allow } => format!("405 {allow}"),
        Match::NotFound => "404".into(),
        Match::BadEscape => "400".into(),
    }
}

#[test]
fn precedence_verbs_and_escapes() {
    for (line, expected) in [
        // literal before `*`
        ("GET /v1/m/fixed", "/v1/m/fixed"),
        ("GET /v1/m/other", "/v1/m/{name} name=other"),
        ("PUT /v1/m/fixed", "/v1/m/{name} name=fixed"),
        // verbs first, literals in them too; a colon without a verb template stays in the value
        ("GET /v1/m/other:undelete", "/v1/m/{name}:undelete name=other"),
        ("GET /v1/m/fixed:undelete", "/v1/m/fixed:undelete"),
        ("GET /v1/m/a:b", "/v1/m/{name} name=a:b"),
        ("GET /v1/m/a:b:undelete", "/v1/m/{name}:undelete name=a:b"),
        ("GET /v1/m/a:undelete:", "/v1/m/{name} name=a:undelete:"),
        ("GET /v1/m/:undelete", "/v1/m/{name} name=:undelete"),
        ("GET /:undelete", "404"),
        ("GET /v1/m/fixed:", "/v1/m/{name} name=fixed:"),
        // multi-segment variables
        ("GET /v1/shops/a/m", "/v1/{name=shops/*}/m name=shops/a"),
        ("GET /v1/shops/a/items/b", "/v1/{name=shops/*/items/*} name=shops/a/items/b"),
        ("GET /v1/shops/a/items", "404"),
        ("GET /v1/anything/anonymous", "/v1/*/anonymous"),
        // `**` last, and longer first
        ("GET /v1/files/a/b/c", "/v1/{name=files/**} name=files/a/b/c"),
        ("GET /v1/files/special/x", "/v1/{name=files/special/*} name=files/special/x"),
        ("GET /v1/files/special/x/y", "/v1/{name=files/**} name=files/special/x/y"),
        ("GET /v1/files", "/v1/{name=files/**} name=files"),
        ("GET /v1/files/a/b:stat", "/v1/{name=files/**}:stat name=files/a/b"),
        // decoding: all in one segment, all but the slash in several
        ("GET /v1/m/a%2Fb%20c%3A", "/v1/m/{name} name=a/b c:"),
        ("GET /v1/files/a%2Fb%2fc%20d", "/v1/{name=files/**} name=files/a%2Fb%2fc d"),
        ("GET /v1/m/a+b", "/v1/m/{name} name=a+b"),
        ("GET /v1/m/%ea%b0%80", "/v1/m/{name} name=가"),
        ("GET /v1/m/%zz", "400"),
        ("GET /v1/m/%", "400"),
        ("GET /v1/m/%f", "400"),
        ("GET /v1/m/%ff", "400"),
        ("GET /v1/anything%zz/anonymous", "400"),
        // the query is not part of the path
        ("GET /v1/m/x?y=/v1/m/fixed", "/v1/m/{name} name=x"),
        ("GET /v1/m/x#y", "/v1/m/{name} name=x"),
        // methods
        ("SEARCH /v1/echo", "/v1/echo"),
        ("BREW /v1/any", "/v1/any"),
        ("DELETE /v1/echo", "405 GET, POST, SEARCH"),
        ("POST /v1/m/fixed", "405 DELETE, GET, PUT"),
        ("get /v1/echo", "405 GET, POST, SEARCH"),
        ("DELETE /v1/nope", "404"),
    ] {
        let (method, path) = line.split_once(' ').unwrap();
        assert_eq!(find(method, path), expected, "{line}");
    }
}

#[test]
fn other_spellings_of_a_served_path_are_not_served() {
    for path in [
        "//v1/echo",
        "/v1//echo",
        "/v1/echo/",
        "/v1/echo//",
        "/v1/./echo",
        "/v1/../v1/echo",
        "/./v1/echo",
        "/v1/echo/.",
        "/v1/echo/..",
        "/v1/%2e/echo",
        "/v1/%2E%2e/v1/echo",
        "/v1/.%2e/v1/echo",
        "/v1/%2e./v1/echo",
        "/V1/echo",
        "/v1/Echo",
        "/v1/ECHO",
        "/v1%2Fecho",
        "/v1%2fecho",
        "/v1/%65cho",
        "/%76%31/echo",
        "v1/echo",
        "",
        "/",
        "/v1/echo%20",
        "/v1/echo ",
        " /v1/echo",
        "/v1/echo%00",
        "/v1/echo;a=b",
        "\\v1\\echo",
        "/v1\\echo",
        "/v1/echo:",
        "/v1/echo:undelete",
        "*",
        "http://host/v1/echo",
        "/v1/echo%3Fx",
    ] {
        assert_eq!(find("GET", path), "404", "{path}");
    }
}

#[test]
fn variables_take_no_empty_or_dot_segment() {
    for path in [
        "/v1/m/",
        "/v1/m//",
        "/v1/m/.",
        "/v1/m/..",
        "/v1/m/%2e",
        "/v1/m/%2E%2E",
        "/v1/files//a",
        "/v1/files/a/../b",
        "/v1/files/",
        "/v1/files/a/",
        "/v1/shops//m",
        "/v1/../anonymous",
        "/v1/files/%2e%2e/b",
        "/v1/m/..?x",
    ] {
        assert_eq!(find("GET", path), "404", "{path}");
    }
    // Not dot segments.
    for (path, name) in [("/v1/m/...", "..."), ("/v1/m/.a", ".a"), ("/v1/m/%2ea", ".a"), ("/v1/m/..:x", "..:x")] {
        assert_eq!(find("GET", path), format!("/v1/m/{{name}} name={name}"));
    }
    assert_eq!(find("GET", "/v1/m/..:undelete"), "/v1/m/{name} name=..:undelete");
}

#[test]
fn every_committed_route_is_found_by_its_own_template() {
    for route in router().routes() {
        let path = route.template.fill(|_| "x".to_owned());
        match router().find(&route.http_method, &path) {
            Match::Found { route: found, .. } => {
                assert_eq!(found.http_method, route.http_method);
                assert_eq!(found.template.fill(|_| "x".to_owned()), path);
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    assert!(router().routes().len() > 30);
    assert!(router().rpc("/coreloop.auth.v1.AuthService/Login").is_some());
}

/// Path text of any characters but those that end a segment, encoded.
fn encoded(value: &str) -> String {
    percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
}

proptest! {
    /// template -> path -> template: what a template writes it matches, and its variables come back.
    #[test]
    fn templates_match_what_they_write(index in 0..1000_usize, values in prop::collection::vec("[^/]{1,12}", 16)) {
        let routes = odd().routes();
        let route = &routes[index % routes.len()];
        prop_assume!(values.iter().all(|v| v != "." && v != ".."));
        let path = route.template.fill(|at| encoded(&values[at % values.len()]));
        let method = if route.http_method == "*" { "GET" } else { &route.http_method };
        let Match::Found { route: found, vars } = odd().find(method, &path) else {
            return Err(TestCaseError::fail(format!("{path} is not found")));
        };
        // A template that takes precedence may win, but it must write the same path.
        if found.index == route.index {
            for (at, variable) in route.template.variables().iter().enumerate() {
                let expected: Vec<String> = (variable.start..variable.end)
                    .map(|segment| match &route.template.segments()[segment] {
                        Segment::Literal(text) => text.clone(),
                        _ => values[segment % values.len()].clone(),
                    })
                    .collect();
                prop_assert_eq!(vars.decode(route, at).unwrap().into_owned(), expected.join("/"));
            }
        } else {
            let shape = Template::parse(found.template.source()).unwrap();
            prop_assert_eq!(shape.verb(), route.template.verb());
        }
    }

    #[test]
    fn any_path_is_survived(method in "[A-Z]{0,8}|.*", path in ".*") {
        let _ = find(&method, &path);
        let _ = find("GET", &format!("/v1/m/{path}"));
    }

    #[test]
    fn path_like_text_is_survived(path in "(/|:|%|%2[eEfF]|\\.|\\*|v1|m|files|fixed|undelete|[a-z]){0,24}") {
        let _ = find("GET", &path);
        let _ = find("GET", &format!("/{path}"));
    }
}

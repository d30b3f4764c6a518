//! The committed description, bent by one thing a time.

use super::*;

fn committed() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../gateway/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// What is found when `bend` changes the committed description.
fn found(bend: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut new = committed();
    bend(&mut new);
    assert_ne!(new, committed(), "nothing was bent");
    breaks(&committed(), &new)
}

const LOGIN: &str = "/paths/~1api~1v1~1auth~1login/post";
const REQUEST: &str = "/components/schemas/coreloop.auth.v1.LoginRequest";
const TOKENS: &str = "/paths/~1api~1v1~1auth~1tokens/get";

fn object<'v>(document: &'v mut Value, pointer: &str) -> &'v mut Map<String, Value> {
    document.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")).as_object_mut().unwrap()
}

#[test]
fn nothing_is_lost_when_nothing_changes() {
    assert_eq!(breaks(&committed(), &committed()), Vec::<String>::new());
}

#[test]
fn what_is_added_or_relaxed_breaks_nobody() {
    let added = found(|new| {
        let path = new["paths"]["/api/v1/auth/login"].clone();
        object(new, "/paths").insert("/api/v2/auth/login".into(), path);
        object(new, &format!("{REQUEST}/properties")).insert("hint".into(), serde_json::json!({"type": "string"}));
        object(new, REQUEST).remove("required");
        object(new, LOGIN).insert("description".into(), "other words".into());
        let page = serde_json::json!({"name": "sort", "in": "query", "schema": {"type": "string"}});
        new.pointer_mut(&format!("{TOKENS}/parameters")).unwrap().as_array_mut().unwrap().push(page);
    });
    assert_eq!(added, Vec::<String>::new());
}

#[test]
fn a_path_or_a_method_that_goes_breaks() {
    let path = found(|new| drop(object(new, "/paths").remove("/api/v1/auth/login")));
    assert_eq!(path, ["POST /api/v1/auth/login is gone"]);
    let method = found(|new| {
        let item = object(new, "/paths/~1api~1v1~1auth~1login");
        let operation = item.remove("post").unwrap();
        item.insert("put".into(), operation);
    });
    assert_eq!(method, ["POST /api/v1/auth/login is gone"]);
}

#[test]
fn a_type_that_changes_breaks_wherever_it_is() {
    let bent = |pointer: &str, key: &str, value: Value| {
        let found = found(|new| drop(object(new, pointer).insert(key.to_owned(), value)));
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().unwrap()
    };
    let field = format!("{REQUEST}/properties/email");
    assert!(bent(&field, "type", "integer".into()).contains("LoginRequest.email was string, is integer"));
    assert!(bent(&field, "format", "uuid".into()).contains("LoginRequest.email was"));
    let body = format!("{LOGIN}/requestBody/content/application~1json/schema");
    let other = "#/components/schemas/coreloop.auth.v1.SignUpRequest";
    assert!(bent(&body, "$ref", other.into()).contains("POST /api/v1/auth/login: the body was #/"));
    let answer = format!("{LOGIN}/responses/200/content/application~1json/schema");
    assert!(bent(&answer, "$ref", other.into()).contains("the answer 200 was #/"));
    assert!(bent(&format!("{TOKENS}/parameters/0/schema"), "type", "boolean".into()).contains("the parameter"));
    let listed = "/components/schemas/coreloop.auth.v1.ListTokensResponse/properties/tokens/items";
    assert!(bent(listed, "$ref", other.into()).contains("ListTokensResponse.tokens[] was #/"));
}

#[test]
fn a_field_an_answer_or_a_value_that_goes_breaks() {
    let field = found(|new| drop(object(new, &format!("{REQUEST}/properties")).remove("device_id")));
    assert_eq!(field, ["coreloop.auth.v1.LoginRequest.device_id is gone"]);
    let answer = found(|new| {
        let answers = object(new, &format!("{LOGIN}/responses"));
        let good = answers.remove("200").unwrap();
        answers.insert("201".into(), good);
    });
    assert_eq!(answer, ["POST /api/v1/auth/login: the answer 200 is gone"]);
    let value = found(|new| {
        let schemas = object(new, "/components/schemas");
        let values = schemas.values_mut().find_map(|schema| schema.get_mut("enum")).unwrap();
        values.as_array_mut().unwrap().pop();
    });
    assert!(value.len() == 1 && value[0].contains("any more"), "{value:?}");
}

#[test]
fn what_is_newly_required_breaks() {
    let field = found(|new| {
        drop(object(new, REQUEST).insert("required".into(), serde_json::json!(["device_id", "email", "password"])))
    });
    assert!(field.contains(&"coreloop.auth.v1.LoginRequest.device_id is newly required".to_owned()), "{field:?}");
    let parameter =
        found(|new| drop(object(new, &format!("{TOKENS}/parameters/0")).insert("required".into(), true.into())));
    assert!(parameter.len() == 1 && parameter[0].ends_with("is newly required"), "{parameter:?}");
    let body = found(|new| {
        let body = new.pointer(&format!("{LOGIN}/requestBody")).unwrap().clone();
        object(new, "/paths/~1api~1v1~1auth~1me/get").insert("requestBody".into(), body);
    });
    assert_eq!(body, ["GET /api/v1/auth/me: a body is newly required"]);
}

//! What is somebody's is nobody else's (A11): whoever names it by its id is answered as if there were no such thing. Which RPCs name
//! something is read from the descriptors, so that a new one is held to it, or is said to name nothing of anybody's.

use std::collections::BTreeMap;

use coreloop_testkit::{Persona, TestMesh, rpc, run, wait::wait_for};
use coreloop_transcode::{options, pb::option::Level};
use prost::Message as _;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, MethodDescriptor};
use serde_json::{Value, json};
use tonic::Status;
use uuid::Uuid;

use super::{
    decisions::target,
    policy::{lines, methods},
};
use crate::{
    eco::stage::{LONG, Taken},
    rewards::stage::{Shelf, person_with, redeemed},
    shop::stage::{key, mesh},
};

/// Something that somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Session,
    Image,
    Task,
    Notification,
    Device,
    Redemption,
    Purchase,
    Conversation,
    Answer,
}

/// A field that names a thing, what is said of one that there is not, and what else the call needs.
type Named = (&'static str, &'static str, Thing, &'static str, fn(&Things) -> Value);

/// Fields by RPC, in the order in which their owner uses them: what takes something away comes last.
const NAMED: &[Named] = &[
    ("ImageService.GetImage", "image_id", Thing::Image, "IMAGE_NOT_FOUND", nothing),
    ("MyService.UpdateProfile", "profile.image_id", Thing::Image, "IMAGE_NOT_FOUND", nothing),
    ("ScanService.Classify", "image_id", Thing::Image, "IMAGE_NOT_FOUND", nothing),
    ("ScanService.GetTask", "task_id", Thing::Task, "TASK_NOT_FOUND", nothing),
    ("NotificationService.MarkRead", "notification_id", Thing::Notification, "NOTIFICATION_NOT_FOUND", nothing),
    ("NotificationService.RegisterDevice", "device_id", Thing::Device, "DEVICE_NOT_FOUND", phone),
    ("RewardsService.GetRedemption", "redemption_id", Thing::Redemption, "REDEMPTION_NOT_FOUND", nothing),
    ("ShopService.GetTransaction", "receipt_id", Thing::Purchase, "TRANSACTION_NOT_FOUND", nothing),
    ("ChatService.ListMessages", "conversation_id", Thing::Conversation, "CONVERSATION_NOT_FOUND", nothing),
    ("ChatService.StreamAnswer", "conversation_id", Thing::Conversation, "CONVERSATION_NOT_FOUND", nothing),
    ("ChatService.StreamAnswer", "message_id", Thing::Answer, "MESSAGE_NOT_FOUND", talk),
    ("ChatService.RetryMessage", "conversation_id", Thing::Conversation, "CONVERSATION_NOT_FOUND", answer),
    ("ChatService.RetryMessage", "message_id", Thing::Answer, "MESSAGE_NOT_FOUND", talk),
    ("ChatService.SendMessage", "conversation_id", Thing::Conversation, "CONVERSATION_NOT_FOUND", text),
    ("ChatService.SendMessage", "image_id", Thing::Image, "IMAGE_NOT_FOUND", text_of_talk),
    ("ChatService.DeleteConversation", "conversation_id", Thing::Conversation, "CONVERSATION_NOT_FOUND", nothing),
    ("NotificationService.DeleteDevice", "device_id", Thing::Device, "DEVICE_NOT_FOUND", nothing),
    ("ImageService.DeleteImage", "image_id", Thing::Image, "IMAGE_NOT_FOUND", nothing),
    ("AuthService.RevokeToken", "jti", Thing::Session, "NOT_FOUND", nothing),
];

/// RPCs that do not do here what the owner asks for, and what they say to her: all others do it.
const REFUSED: &[(&str, &str)] = &[
    // Her answer was given; one that failed is asked for again.
    ("ChatService.RetryMessage", "MESSAGE_NOT_FAILED"),
];

/// Fields that name nothing of anybody's, and why.
const OF_NOBODY: &[(&str, &str, &str)] = &[
    ("AuthService.Authorize", "device_id", "what the app calls the phone"),
    ("AuthService.ChangePassword", "device_id", "what the app calls the phone"),
    ("ImageService.CreateUpload", "device_id", "what the app calls the phone"),
    ("LocationService.AddFavorite", "shop_id", "a shop"),
    ("LocationService.GetShop", "shop_id", "a shop"),
    ("LocationService.RemoveFavorite", "shop_id", "a shop"),
    ("LocationService.Visit", "shop_id", "a shop"),
    ("MyService.Follow", "user_id", "anybody"),
    ("MyService.GetUser", "user_id", "anybody, masked"),
    ("MyService.Unfollow", "user_id", "anybody"),
    ("RewardsService.ClickAd", "ad_id", "an ad"),
    ("RewardsService.Distribute", "campaign_id", "a campaign"),
    ("RewardsService.Distribute", "external_event_id", "a key of the caller's own"),
    ("RewardsService.Distribute", "user_id", "whoever is given something, by who may"),
    ("ShopService.BuyLimited", "device_id", "what the app calls the phone"),
    ("ShopService.BuyLimited", "package_id", "a package"),
    ("ShopService.Purchase", "device_id", "what the app calls the phone"),
    ("ShopService.Purchase", "product_id", "a product"),
    (
        "ShopService.VerifyReceipt",
        "receipt.receipt_id",
        "a receipt that is shown and signed, of which it is told whether it is good",
    ),
];

fn nothing(_: &Things) -> Value {
    json!({})
}

fn phone(_: &Things) -> Value {
    json!({"token": format!("own-phone:{}", Uuid::new_v4().simple()), "platform": "PLATFORM_ANDROID"})
}

fn text(_: &Things) -> Value {
    json!({"text": "What is this?"})
}

fn talk(own: &Things) -> Value {
    json!({"conversation_id": own[&Thing::Conversation]})
}

fn answer(own: &Things) -> Value {
    json!({"message_id": own[&Thing::Answer]})
}

fn text_of_talk(own: &Things) -> Value {
    json!({"conversation_id": own[&Thing::Conversation], "text": "What is this?"})
}

/// What somebody has, by its id.
type Things = BTreeMap<Thing, String>;

/// Paths of the fields of a message that name something by its id, but those that the server alone sets.
fn ids(message: &MessageDescriptor, before: &str, found: &mut Vec<String>) {
    for field in message.fields() {
        let (name, path) = (field.name(), format!("{before}{}", field.name()));
        match field.kind() {
            Kind::Message(inner) if inner.full_name().starts_with("coreloop.") && !field.is_map() => {
                assert!(path.split('.').count() < 9, "{path} has no end");
                ids(&inner, &format!("{path}."), found);
            }
            Kind::String
                if (name.ends_with("_id") || name.ends_with("_ids") || name == "jti")
                    && !options::field_rule(&field).server_only =>
            {
                found.push(path);
            }
            _ => {}
        }
    }
}

/// RPCs of people with an account, by their short names.
fn of_people() -> BTreeMap<String, MethodDescriptor> {
    let people = |method: &MethodDescriptor| {
        let access = options::access(method).unwrap();
        let of_users = [Level::Optional, Level::Standard, Level::Premium, Level::Vip];
        of_users.contains(&access.level()) && !access.mesh_only
    };
    let name = |method: &MethodDescriptor| format!("{}.{}", method.parent_service().name(), method.name());
    methods().filter(people).map(|method| (name(&method), method)).collect()
}

#[test]
fn of_every_field_that_names_something_it_is_known_whose_that_is() {
    let known = |rpc: &str, field: &str| {
        NAMED.iter().any(|named| (named.0, named.1) == (rpc, field))
            || OF_NOBODY.iter().any(|named| (named.0, named.1) == (rpc, field))
    };
    let mut seen = 0;
    for (rpc, method) in of_people() {
        let mut fields = Vec::new();
        ids(&method.input(), "", &mut fields);
        seen += fields.len();
        for field in fields {
            assert!(known(&rpc, &field), "nobody says whose {field} of {rpc} is");
        }
    }
    assert!(seen >= 20, "only {seen} fields were looked at");
    let rpcs = of_people();
    let said = NAMED.iter().map(|named| (named.0, named.1)).chain(OF_NOBODY.iter().map(|named| (named.0, named.1)));
    for (rpc, field) in said {
        let mut fields = Vec::new();
        rpcs.get(rpc).into_iter().for_each(|method| ids(&method.input(), "", &mut fields));
        assert!(fields.iter().any(|one| one == field), "{rpc} has no {field}");
    }
}

#[test]
fn what_is_said_of_what_is_not_there_is_in_the_contract() {
    let rpcs = of_people();
    let said = NAMED.iter().map(|named| (named.0, named.3));
    for (rpc, reason) in said.chain(REFUSED.iter().copied()) {
        let line = lines(&rpcs[rpc]).pop().unwrap();
        let mut reasons = line.trim_start_matches("Reasons:").trim_end_matches('.').split(',').map(str::trim);
        assert!(reasons.any(|stated| stated == reason), "{rpc} states no {reason}: {line}");
    }
    for (rpc, _) in REFUSED {
        assert!(NAMED.iter().any(|named| named.0 == *rpc), "{rpc} is not asked");
    }
}

/// Somebody with one of each.
async fn somebody(mesh: &TestMesh, name: &str) -> (Persona, Things) {
    let (who, mut has) = (person_with(mesh, name, 1).await, Things::new());
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no id in {value}")).to_owned();
    let first = async |path: &str, list: &str, id: &str| {
        wait_for(format!("one of {path}"), LONG, async || {
            let listed = who.get(path).await.expect(200);
            listed[list][0][id].as_str().map(ToOwned::to_owned)
        })
        .await
    };
    let made = async |path: &str, body: Value| {
        let answer = who.post(path, &body).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text());
        answer.json()
    };
    has.insert(Thing::Session, first("/api/v1/auth/tokens", "tokens", "jti").await);
    has.insert(Thing::Image, Taken::by(&who, "bottle.jpg").await.id().to_owned());
    has.insert(Thing::Task, first("/api/v1/scan/history", "tasks", "task_id").await);
    has.insert(Thing::Notification, first("/api/v1/notifications", "notifications", "notification_id").await);
    let device = json!({"token": format!("own-phone:{}", Uuid::new_v4().simple()), "platform": "PLATFORM_IOS"});
    let device = made("/api/v1/notifications/devices", device).await;
    has.insert(Thing::Device, text(&device["device"]["device_id"]));
    let shelf = Shelf::with(mesh, 1, 1).await;
    let redeemed = redeemed(&who, &shelf.sku, "own").await.expect(200);
    has.insert(Thing::Redemption, text(&redeemed["redemption"]["redemption_id"]));
    let bought = json!({"product_id": "gold-500", "idempotency_key": key(), "payment_handle": "pending"});
    has.insert(Thing::Purchase, text(&made("/api/shop/purchase", bought).await["transaction_id"]));
    if mesh.modules().contains(&"chat") {
        let begun = made("/api/v1/chat/conversations", json!({"title": "Bottles"})).await;
        let conversation = text(&begun["conversation"]["conversation_id"]);
        let path = format!("/api/v1/chat/conversations/{conversation}/messages");
        let said = made(&path, json!({"text": "hello"})).await;
        wait_for("the end of the answer", LONG, async || {
            let page = who.get(&path).await.expect(200);
            let is_open = |message: &Value| message["state"] == "MESSAGE_STATE_PENDING";
            (!page["messages"].as_array()?.iter().any(is_open)).then_some(())
        })
        .await;
        has.insert(Thing::Conversation, conversation);
        has.insert(Thing::Answer, text(&said["answer"]["message_id"]));
    }
    (who, has)
}

/// The request: `id` in its field, beside what else it needs.
fn request(method: &MethodDescriptor, (field, id): (&str, &str), mut beside: Value) -> Vec<u8> {
    let named = field.rsplit('.').fold(json!(id), |inner, name| json!({ name: inner }));
    beside.as_object_mut().unwrap().extend(named.as_object().unwrap().clone());
    DynamicMessage::deserialize(method.input(), beside).unwrap().encode_to_vec()
}

/// What the service itself answers: none where it does as it is asked.
async fn said(mesh: &TestMesh, method: &MethodDescriptor, who: &Persona, message: &[u8]) -> Option<(String, String)> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let bearer = format!("Bearer {}", who.access_token);
    let metadata = [("authorization", bearer.as_str())];
    let channel = mesh.grpc(&target(method));
    let refused = if method.is_server_streaming() {
        match rpc::open(&channel, &path, message, &metadata).await {
            Ok(mut stream) => match stream.message().await {
                Ok(first) => first.is_none().then(|| Status::not_found("a stream that says nothing")),
                Err(status) => Some(status),
            },
            Err(status) => Some(status),
        }
    } else {
        rpc::call(&channel, &path, message, &metadata).await.err()
    };
    refused.map(|status| (rpc::reason(&status), status.message().to_owned()))
}

#[test]
fn what_is_somebodys_is_not_there_for_anybody_else() {
    run(async {
        let mesh = mesh().every_module().replicas(1).start().await;
        let ((alice, hers), (bob, his)) = (somebody(&mesh, "alice").await, somebody(&mesh, "bob").await);
        let rpcs = of_people();
        let is_served = |method: &MethodDescriptor| mesh.modules().iter().any(|module| *module == target(method));
        let named = |named: &Named| rpcs.get(named.0).filter(|method| is_served(method)).map(|method| (method, *named));
        let served: Vec<_> = NAMED.iter().filter_map(named).collect();
        assert!(served.len() >= 10, "only {} fields were looked at", served.len());
        let none = Uuid::new_v4().to_string();
        for &(method, (rpc, field, thing, reason, beside)) in &served {
            let ask = async |id: &str| said(&mesh, method, &bob, &request(method, (field, id), beside(&his))).await;
            let refused = ask(&hers[&thing]).await.unwrap_or_else(|| panic!("bob may: {rpc}, {field}"));
            assert_eq!(refused.0, reason, "{rpc}, {field}: {refused:?}");
            assert_eq!(ask(&none).await, Some(refused), "what is hers is told apart from nothing: {rpc}, {field}");
        }
        // All of it is there for her, and was not touched: the words of bob did nothing.
        for &(method, (rpc, field, thing, _, beside)) in &served {
            let message = request(method, (field, &hers[&thing]), beside(&hers));
            let refused = said(&mesh, method, &alice, &message).await;
            let expected = REFUSED.iter().find(|(refused, _)| *refused == rpc).map(|(_, reason)| *reason);
            let reason = refused.as_ref().map(|(reason, _)| reason.as_str());
            assert_eq!(reason, expected, "what alice is told: {rpc}, {field}: {refused:?}");
        }
    });
}

//! The state that a socket begins with: what the user's own calls would answer, asked side by side with the user's own token.
//!
//! Each part has 300 ms. What does not come in time, is not served here or fails is named, and the client asks for it by itself: a
//! socket never waits for the slowest of them, and says nothing that was not answered just now.

use std::time::Duration;

use coreloop_db::deadline;
use coreloop_my_api::v1::{GetSummaryRequest, my_service_client::MyServiceClient};
use coreloop_notification_api::v1::{GetUnreadCountRequest, notification_service_client::NotificationServiceClient};
use coreloop_wallet_api::v1::{ListBalancesRequest, wallet_service_client::WalletServiceClient};
use http::{HeaderValue, header::AUTHORIZATION};
use prost::Message;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::App;

/// The caller's token, as it came.
pub type Bearer = HeaderValue;

/// A part as JSON, or that it could not be had.
type Part = (&'static str, Option<Value>);

/// What the user has now: the `data` of `initial_state`.
pub async fn state(app: &App, bearer: &Bearer) -> Map<String, Value> {
    let within = Duration::from_millis(app.options.part_timeout_ms);
    let to = |peer: &str| app.links.to(peer);
    let (mut wallet, mut my) = (WalletServiceClient::new(to("wallet")), MyServiceClient::new(to("my")));
    let mut notification = NotificationServiceClient::new(to("notification"));
    let served = |peer: &str| app.links.knows(peer);
    let parts: [Part; 3] = futures::join!(
        part(
            "wallet",
            "coreloop.wallet.v1.ListBalancesResponse",
            (served("wallet"), within),
            wallet.list_balances(asked(ListBalancesRequest {}, bearer)),
        ),
        part(
            "summary",
            "coreloop.my.v1.GetSummaryResponse",
            (served("my"), within),
            my.get_summary(asked(GetSummaryRequest {}, bearer)),
        ),
        part(
            "notifications",
            "coreloop.notification.v1.GetUnreadCountResponse",
            (served("notification"), within),
            notification.get_unread_count(asked(GetUnreadCountRequest {}, bearer)),
        ),
    )
    .into();
    gathered(parts)
}

/// `data` as `InitialState` has it.
fn gathered(parts: impl IntoIterator<Item = Part>) -> Map<String, Value> {
    let (mut found, mut missing) = (Map::new(), Vec::new());
    for (name, part) in parts {
        match part {
            Some(part) => {
                found.insert(name.to_owned(), part);
            }
            None => missing.push(name),
        }
    }
    Map::from_iter([("parts".to_owned(), Value::Object(found)), ("missing".to_owned(), json!(missing))])
}

fn asked<T>(message: T, bearer: &Bearer) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().as_mut().insert(AUTHORIZATION, bearer.clone());
    request
}

/// Asks for one part.
async fn part<M: Message>(
    name: &'static str,
    full_name: &str,
    (served, within): (bool, Duration),
    asking: impl Future<Output = Result<Response<M>, Status>>,
) -> Part {
    if !served {
        return (name, None);
    }
    // Who is asked hears how long it has, and stops when nobody waits any more.
    let until = Instant::now() + deadline::at_most(within);
    let answer = match deadline::scope(until, deadline::within(within, asking)).await {
        Some(Ok(answer)) => answer.into_inner().encode_to_vec(),
        Some(Err(status)) => {
            tracing::debug!(part = name, code = ?status.code(), "a part of the state could not be had");
            return (name, None);
        }
        None => {
            tracing::debug!(part = name, "a part of the state did not come in time");
            return (name, None);
        }
    };
    let json = coreloop_transcode::message::to_json(full_name, &answer).ok();
    (name, json.and_then(|json| serde_json::from_slice(&json).ok()))
}

#[cfg(test)]
mod tests {
    use coreloop_wallet_api::v1::ListBalancesResponse;

    use super::*;

    const NAME: &str = "coreloop.wallet.v1.ListBalancesResponse";

    async fn asked_within(
        served: bool,
        asking: impl Future<Output = Result<Response<ListBalancesResponse>, Status>>,
    ) -> Part {
        part("wallet", NAME, (served, Duration::from_millis(300)), asking).await
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_late_away_or_not_here_is_named_as_missing() {
        let answered = async { Ok(Response::new(ListBalancesResponse::default())) };
        let (name, whole) = asked_within(true, answered).await;
        assert_eq!((name, whole.as_ref().map(Value::is_object)), ("wallet", Some(true)));
        assert_eq!(asked_within(true, std::future::pending()).await, ("wallet", None));
        assert_eq!(asked_within(true, async { Err(Status::unavailable("away")) }).await, ("wallet", None));
        assert_eq!(asked_within(false, std::future::pending()).await, ("wallet", None));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_asked_hears_how_long_it_has() {
        let asking = async {
            assert_eq!(deadline::remaining(), Some(Duration::from_millis(300)));
            Ok(Response::new(ListBalancesResponse::default()))
        };
        assert!(asked_within(true, asking).await.1.is_some());
    }

    #[test]
    fn what_there_is_goes_beside_what_is_missing() {
        let state = gathered([("wallet", Some(json!({"balances": []}))), ("summary", None)]);
        assert_eq!(Value::Object(state), json!({"parts": {"wallet": {"balances": []}}, "missing": ["summary"]}));
    }
}

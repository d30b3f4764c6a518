//! `ListRewards`: what is offered now.

use coreloop_core::page;
use coreloop_rewards_api::v1;
use tonic::{Request, Response};

use crate::{
    App, Error,
    store::inventory::{self, Article},
    times::proto_time,
};

/// Name of the list in its page tokens.
const REWARDS: &str = "rewards.rewards";

/// `ListRewards`.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn list_rewards(
    app: &App,
    request: Request<v1::ListRewardsRequest>,
) -> Result<Response<v1::ListRewardsResponse>, Error> {
    let asked = request.get_ref();
    let size = page::size(asked.page_size);
    let after: Option<String> = page::decode(REWARDS, &asked.page_token)?;
    let after = after.unwrap_or_default();
    let mut rows = inventory::offered(&app.db, app.clock.now(), &after, size + 1).await?;
    let most = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    let last = rows.last().filter(|_| more).map(|row| page::encode(REWARDS, &row.sku));
    Ok(Response::new(v1::ListRewardsResponse {
        rewards: rows.into_iter().map(proto_reward).collect(),
        next_page_token: last.unwrap_or_default(),
    }))
}

fn proto_reward(article: Article) -> v1::Reward {
    v1::Reward {
        sku: article.sku,
        title: article.title,
        description: article.description,
        price: article.price,
        sold_out: article.stock == 0,
        ends_at: article.ends_at.map(|at| proto_time(at.to_jiff())),
    }
}

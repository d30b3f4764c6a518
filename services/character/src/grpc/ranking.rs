//! `GetRanking`: who has acquired most this week.

use coreloop_access::Caller;
use coreloop_character_api::v1;
use tonic::{Request, Response};

use crate::{App, Error, week};

/// Most places.
const MOST: i32 = 100;

/// `GetRanking`. Who has as many has the same place; the one after them has the number of all that are before.
///
/// # Errors
/// When Redis is away.
pub async fn get_ranking(
    app: &App,
    request: Request<v1::GetRankingRequest>,
) -> Result<Response<v1::GetRankingResponse>, Error> {
    let user = Caller::of(&request)?.user().map(|user| user.user_id.0);
    let most = match request.get_ref().limit {
        0 => MOST,
        some => some.min(MOST),
    };
    let week = week::of(app.clock.now());
    let ranking = app.views.ranking(&week, user, most).await?;
    let me = user.zip(ranking.mine).map(|(user, (characters, rank))| v1::RankingEntry {
        rank,
        user_id: user.to_string(),
        characters,
    });
    Ok(Response::new(v1::GetRankingResponse { week, entries: placed(ranking.first), total: ranking.total, me }))
}

fn placed(first: Vec<(String, i32)>) -> Vec<v1::RankingEntry> {
    let (mut before, mut rank) = (None, 0);
    let place = |(number, (user_id, characters)): (i32, (String, i32))| {
        if before != Some(characters) {
            (before, rank) = (Some(characters), number);
        }
        v1::RankingEntry { rank, user_id, characters }
    };
    (1..).zip(first).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_as_many_has_the_same_place() {
        let of = |scores: &[i32]| {
            let first = scores.iter().map(|score| (String::new(), *score)).collect();
            placed(first).into_iter().map(|entry| entry.rank).collect::<Vec<_>>()
        };
        assert_eq!(of(&[5, 3, 3, 1]), [1, 2, 2, 4]);
        assert_eq!(of(&[2, 2, 2]), [1, 1, 1]);
        assert!(of(&[]).is_empty());
    }
}

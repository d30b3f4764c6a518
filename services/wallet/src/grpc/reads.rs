//! `GetBalance`, `ListBalances`, `ListEntries`: of the caller, and of nobody else. `GetBalances`: of anybody, for services.

use coreloop_access::Caller;
use coreloop_core::{Problem, Reason, UserId, page};
use coreloop_wallet_api::v1::{self, Currency};
use jiff::Timestamp;
use tonic::{Request, Response};

use super::parse::{self, Violations};
use crate::{
    App, Error,
    books::{micros, proto_time},
    store::accounts::{self, Balance, Line},
};

/// Name of the list in its page tokens.
const ENTRIES: &str = "wallet.entries";

fn point(asked: Option<i32>) -> i32 {
    asked.unwrap_or(Currency::Point.into())
}

fn proto_balance(currency: i32, balance: Balance) -> v1::Balance {
    v1::Balance { currency, available: balance.available, paid: balance.paid, held: balance.held }
}

/// `GetBalance`.
///
/// # Errors
/// When the database fails.
pub async fn get_balance(
    app: &App,
    request: Request<v1::GetBalanceRequest>,
) -> Result<Response<v1::GetBalanceResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let currency = point(request.get_ref().currency);
    let balance = match &request.get_ref().at {
        None => app.balance(user, parse::currency(currency)).await?,
        Some(at) => {
            let at = Timestamp::from_microsecond(micros(at)).map_err(|_| Error::invalid("at", "must be a time"))?;
            let available = accounts::balance_at(&app.db, (user.0, parse::currency(currency)), at).await?;
            Balance { available, ..Balance::default() }
        }
    };
    Ok(Response::new(v1::GetBalanceResponse { balance: Some(proto_balance(currency, balance)) }))
}

/// `ListBalances`.
///
/// # Errors
/// When the database fails.
pub async fn list_balances(
    app: &App,
    request: Request<v1::ListBalancesRequest>,
) -> Result<Response<v1::ListBalancesResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    Ok(Response::new(v1::ListBalancesResponse { balances: balances(app, user).await? }))
}

/// `GetBalances`: of whomever a service asks for.
///
/// # Errors
/// When the database fails; a user who cannot be one.
pub async fn get_balances(
    app: &App,
    request: Request<v1::GetBalancesRequest>,
) -> Result<Response<v1::GetBalancesResponse>, Error> {
    Caller::of(&request)?.require_machine()?;
    let mut wrong = Violations::default();
    let user = wrong.user("user_id", &request.get_ref().user_id);
    wrong.none()?;
    Ok(Response::new(v1::GetBalancesResponse { balances: balances(app, user).await? }))
}

async fn balances(app: &App, user: UserId) -> Result<Vec<v1::Balance>, Error> {
    let (gold, point) = (i32::from(Currency::Gold), i32::from(Currency::Point));
    let (golds, points) =
        tokio::try_join!(app.balance(user, parse::currency(gold)), app.balance(user, parse::currency(point)))?;
    Ok(vec![proto_balance(gold, golds), proto_balance(point, points)])
}

/// `ListEntries`.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn list_entries(
    app: &App,
    request: Request<v1::ListEntriesRequest>,
) -> Result<Response<v1::ListEntriesResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.get_ref();
    let currency = point(asked.currency);
    let size = page::size(asked.page_size);
    let cursor: Option<(i32, i64)> = page::decode(ENTRIES, &asked.page_token)?;
    // The token belongs to the list of that currency.
    if cursor.is_some_and(|(of, _)| of != currency) {
        return Err(Problem::common(Reason::PageTokenInvalid, "the page token is of another list").into());
    }
    let key = (user.0, parse::currency(currency));
    let mut rows = accounts::page(&app.db, key, cursor.map(|(_, before)| before), size + 1).await?;
    let most = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    let last = rows.last().filter(|_| more).map(|row| page::encode(ENTRIES, &(currency, row.seq)));
    Ok(Response::new(v1::ListEntriesResponse {
        entries: rows.into_iter().map(proto_entry).collect(),
        next_page_token: last.unwrap_or_default(),
    }))
}

fn proto_entry(row: Line) -> v1::Entry {
    v1::Entry {
        sequence: row.seq,
        posting_id: row.posting.to_string(),
        kind: row.kind.into(),
        delta: row.delta,
        balance_after: row.balance_after,
        posted_at: Some(proto_time(row.at())),
        reason: row.reason,
        reference: row.reference,
    }
}

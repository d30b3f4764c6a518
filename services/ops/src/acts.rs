//! What administrators did in other services: each says so in the transaction of the act (`coreloop_facts::Acts`), and here it
//! comes into the audit, in the order in which it is heard.

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_core::Ids;
use coreloop_db::Transaction;
use coreloop_eventing::{Brokers, Consumer, Event, Failure, Handler, Parts};
use coreloop_facts::v1::AdminActed;
use coreloop_service::{BuildError, Ctx, Worker};
use coreloop_transcode::{descriptor, options};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{audit::Act, store};

/// Name of the consumer.
pub const CONSUMER: &str = "ops.acts";

struct Hearing {
    ids: Arc<dyn Ids>,
}

/// The consumer; none in a process that was started without a broker.
///
/// # Errors
/// Wrong settings.
pub fn consumer(ctx: &Ctx) -> Result<Option<Worker>, BuildError> {
    if Brokers::of(ctx).events.is_none() && ctx.redis_client.is_none() {
        return Ok(None);
    }
    let hearing = Hearing { ids: Arc::clone(&ctx.ids) };
    let consumer = Consumer::new(CONSUMER, Parts::of(ctx, "ops")?, hearing)?;
    Ok(Some(consumer.hears::<AdminActed>()?.worker()))
}

#[async_trait]
impl Handler for Hearing {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        let acted: AdminActed = event.decode()?;
        let at = acted.occurred_at.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok());
        let detail = json!({
            "rpc": acted.act,
            "reason": acted.reason,
            "before": state(&acted.before),
            "after": state(&acted.after),
        });
        let act = Act {
            id: event.id,
            action: action(&acted.act),
            actor: acted.actor_user_id,
            subject: acted.subject,
            request_id: event.request_id.clone(),
            trace_id: event.trace_id.clone(),
        };
        let (id, at) = (self.ids.uuid(), at.unwrap_or(event.created_at));
        if !store::audits::hear(&mut **tx, id, &act, &detail, at).await? {
            tracing::debug!(act = %event.id, "an act was told of that is in the audit");
        }
        Ok(())
    }
}

/// What the audit calls an act: the action that the RPC's descriptor says; of one that this process does not know, its name.
fn action(rpc: &str) -> String {
    let method = rpc.rsplit_once('.').and_then(|(service, name)| {
        descriptor::pool().get_service_by_name(service)?.methods().find(|method| method.name() == name)
    });
    let action = method.and_then(|method| options::audit(&method)).map(|audit| audit.action);
    action.filter(|action| !action.is_empty()).unwrap_or_else(|| rpc.to_owned())
}

/// What was or is there; nothing where nothing is said, and as it stands where it is no JSON.
fn state(text: &str) -> Value {
    match text {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_is_called_as_its_descriptor_says_else_by_its_rpc() {
        assert_eq!(action("coreloop.wallet.v1.WalletAdminService.Adjust"), "wallet.adjust");
        for unknown in ["coreloop.play.v1.PlayAdminService.Ban", "coreloop.auth.v1.AuthService.SignUp", "Adjust", ""] {
            assert_eq!(action(unknown), unknown);
        }
    }

    #[test]
    fn what_is_there_is_json_or_as_it_stands() {
        assert_eq!(state(""), Value::Null);
        assert_eq!(state(r#"{"price":1}"#), json!({ "price": 1 }));
        assert_eq!(state("{"), json!("{"));
    }
}

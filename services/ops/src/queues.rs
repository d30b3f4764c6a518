//! What every queue of the mesh has set aside, asked of the services whose queues they are.

use coreloop_core::{Problem, Reason};
use coreloop_ops_api::v1::{CountDeadLettersRequest, Queue, dead_letter_service_client::DeadLetterServiceClient};
use futures::future::join_all;
use tonic::{Code, Status};

use crate::{App, peers::PATIENCE};

/// Queues that have anything set aside, by name; and the services that could not be asked.
pub async fn all(app: &App) -> (Vec<Queue>, Vec<String>) {
    let asked = app.links.names().into_iter().map(|service| async {
        let answer = of(app, &service).await;
        (service, answer)
    });
    let (mut queues, mut unreachable) = (Vec::new(), Vec::new());
    for (service, answer) in join_all(asked).await {
        match answer {
            Ok(found) => queues.extend(found),
            Err(error) => {
                tracing::warn!(service, %error, "a service could not be asked for its dead letters");
                unreachable.push(service);
            }
        }
    }
    queues.sort_unstable_by(|one, two| one.queue.cmp(&two.queue));
    (queues, unreachable)
}

/// Those of one service; none of one that hears no events.
async fn of(app: &App, service: &str) -> Result<Vec<Queue>, Status> {
    let ask = async {
        let request = app.peers.request(CountDeadLettersRequest {}).await?;
        DeadLetterServiceClient::new(app.peers.link(service)).count_dead_letters(request).await
    };
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(Ok(answer)) => Ok(answer.into_inner().queues),
        Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(Vec::new()),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Problem::common(Reason::DeadlineExceeded, "no answer in time").into()),
    }
}

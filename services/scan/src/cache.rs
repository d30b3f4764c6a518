//! What was answered of tasks, in Redis: `scan:result:{task_id}` for a day, of results that nothing changes any more; and
//! `scan:task:{task_id}` for an hour, of the others, for when Postgres does not answer.
//!
//! It decides nothing: a Redis that is away, or forgets, costs a read.

use std::time::Duration;

use coreloop_scan_api::v1::{RewardStatus, Task, TaskState};
use prost::Message as _;
use redis::aio::ConnectionManager;
use uuid::Uuid;

const RESULT_SECS: u32 = 86_400;
const TASK_SECS: u32 = 3_600;

/// What was answered.
pub struct Cache {
    redis: Option<ConnectionManager>,
    patience: Duration,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("redis", &self.redis.is_some()).finish_non_exhaustive()
    }
}

impl Cache {
    /// In this Redis, where there is one.
    #[must_use]
    pub fn new(redis: Option<ConnectionManager>, timeout_ms: u64) -> Self {
        Self { redis, patience: Duration::from_millis(timeout_ms) }
    }

    /// A result of `user` that nothing changes any more.
    pub async fn result(&self, user: Uuid, id: Uuid) -> Option<Task> {
        self.read(&format!("scan:result:{id}"), user).await
    }

    /// A task of `user` as it was answered last.
    pub async fn task(&self, user: Uuid, id: Uuid) -> Option<Task> {
        self.read(&format!("scan:task:{id}"), user).await
    }

    /// Remembers what `user` is answered.
    pub async fn keep(&self, user: Uuid, task: &Task) {
        let (name, secs) = if is_over(task) { ("result", RESULT_SECS) } else { ("task", TASK_SECS) };
        let mut value = user.into_bytes().to_vec();
        value.extend(task.encode_to_vec());
        let mut command = redis::cmd("SET");
        command.arg(format!("scan:{name}:{}", task.task_id)).arg(value).arg("EX").arg(secs);
        self.ask::<()>(&command).await;
    }

    async fn read(&self, key: &str, user: Uuid) -> Option<Task> {
        let mut command = redis::cmd("GET");
        command.arg(key);
        let value: Option<Vec<u8>> = self.ask(&command).await?;
        of_owner(&value?, user)
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        let mut redis = self.redis.clone()?;
        match tokio::time::timeout(self.patience, command.query_async(&mut redis)).await {
            Ok(Ok(said)) => Some(said),
            failed => {
                tracing::debug!(timeout = failed.is_err(), "redis does not say what a task came to");
                None
            }
        }
    }
}

/// What is kept, to its owner.
fn of_owner(value: &[u8], user: Uuid) -> Option<Task> {
    let (owner, task) = value.split_first_chunk::<16>()?;
    if *owner != user.into_bytes() { None } else { Task::decode(task).ok() }
}

/// A failed task may have a result yet, and a reward that is pending is decided.
fn is_over(task: &Task) -> bool {
    task.state() == TaskState::Completed && task.reward_status() != RewardStatus::Pending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nothing_changes_is_a_result() {
        let task = |state: TaskState, reward: RewardStatus| Task {
            state: state.into(),
            reward_status: reward.into(),
            ..Task::default()
        };
        assert!(is_over(&task(TaskState::Completed, RewardStatus::None)));
        assert!(is_over(&task(TaskState::Completed, RewardStatus::Granted)));
        assert!(!is_over(&task(TaskState::Completed, RewardStatus::Pending)));
        assert!(!is_over(&task(TaskState::Failed, RewardStatus::Unspecified)));
        assert!(!is_over(&task(TaskState::Queued, RewardStatus::Unspecified)));
    }

    #[test]
    fn what_is_kept_is_its_owners() {
        let (owner, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let mut value = owner.into_bytes().to_vec();
        value.extend(Task { task_id: "t".to_owned(), ..Task::default() }.encode_to_vec());
        assert_eq!(of_owner(&value, owner).map(|task| task.task_id).as_deref(), Some("t"));
        assert_eq!(of_owner(&value, other), None);
        assert_eq!(of_owner(b"short", owner), None);
    }
}

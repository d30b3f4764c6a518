//! How much a group has not been given yet.
//!
//! The broker is asked beside the reading, for all partitions at once: its answer comes behind that to the fetch that is out, which
//! waits for news, and nobody is to wait for both.
//!
//! Ends of transactions count as records but are given to nobody. So what was there before a second in which nothing came counts
//! as given, once the broker has answered again: one that says nothing does not make a lag disappear.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use coreloop_eventing::{Error, Topic};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{Consumer as _, StreamConsumer},
    error::KafkaError,
};
use tokio::{sync::watch, time::Instant};

use crate::read::{Place, Progress};

/// Between two looks: one small request, beside ten fetches of a reader that waits.
const LOOK: Duration = Duration::from_secs(1);

type Offsets = HashMap<Place, i64>;
type Lags = Vec<(Topic, u64)>;

/// What is known of it.
pub(crate) struct Lag {
    look: Arc<Look>,
    told: watch::Receiver<Option<Result<Lags, String>>>,
}

/// Ends of partitions, as the broker told them.
#[derive(Default)]
struct Ends {
    newest: Arc<Offsets>,
    /// Those that were known before the last second in which nothing came.
    waited: Arc<Offsets>,
}

/// Looks.
struct Look {
    // The last who has the consumer closes it, and waits for the broker.
    consumer: Weak<StreamConsumer>,
    /// By the name that the broker knows.
    topics: HashMap<String, Topic>,
    progress: Arc<Mutex<HashMap<Place, Progress>>>,
    timeout: Duration,
    /// When to look again; none while one looks.
    due: Mutex<Option<Instant>>,
    /// Where the group was when this reader began.
    began: Mutex<Offsets>,
    ends: Mutex<Ends>,
    tell: watch::Sender<Option<Result<Lags, String>>>,
}

impl Lag {
    pub(crate) fn of(
        consumer: &Arc<StreamConsumer>,
        topics: &HashMap<String, Topic>,
        progress: &Arc<Mutex<HashMap<Place, Progress>>>,
        timeout: Duration,
    ) -> Self {
        let (tell, told) = watch::channel(None);
        let look = Look {
            consumer: Arc::downgrade(consumer),
            topics: topics.clone(),
            progress: Arc::clone(progress),
            timeout,
            due: Mutex::new(Some(Instant::now())),
            began: Mutex::default(),
            ends: Mutex::default(),
            tell,
        };
        Self { look: Arc::new(look), told }
    }

    /// Has the broker asked again when it is time to; answers the ends that are known now.
    pub(crate) fn known(&self) -> Arc<Offsets> {
        self.look_again();
        Arc::clone(&lock(&self.look.ends).newest)
    }

    /// Nothing came for a second after `ends` were known.
    pub(crate) fn waited(&self, ends: Arc<Offsets>) {
        lock(&self.look.ends).waited = ends;
    }

    /// As of the last look; waits for the first.
    pub(crate) async fn told(&self) -> Result<Lags, Error> {
        self.look_again();
        let mut told = self.told.clone();
        let first = tokio::time::timeout(self.look.timeout, told.wait_for(Option::is_some)).await;
        match first.map_err(|_| Error::Timeout)?.map_err(|_| Error::Fenced)?.as_ref() {
            Some(Ok(lags)) => Ok(lags.clone()),
            Some(Err(error)) => Err(Error::Broker(error.as_str().into())),
            None => Ok(Vec::new()),
        }
    }

    fn look_again(&self) {
        let mut due = lock(&self.look.due);
        if due.is_none_or(|at| at > Instant::now()) {
            return;
        }
        *due = None;
        let look = Arc::clone(&self.look);
        tokio::task::spawn_blocking(move || {
            if let Some(seen) = look.look().transpose() {
                look.tell.send_replace(Some(seen.map_err(|error| error.to_string())));
            }
            *lock(&look.due) = Some(Instant::now() + LOOK);
        });
    }
}

impl Look {
    /// None when there is no reader any more.
    fn look(&self) -> Result<Option<Lags>, KafkaError> {
        let Some(consumer) = self.consumer.upgrade() else { return Ok(None) };
        let waited = Arc::clone(&lock(&self.ends).waited);
        let places = self.places(&consumer)?;
        let mut began = lock(&self.began);
        let new: Vec<Place> = places.iter().filter(|place| !began.contains_key(*place)).cloned().collect();
        if !new.is_empty() {
            began.extend(self.beginnings(&consumer, &new)?);
        }
        let ends = ask(&consumer, &places, Offset::End, self.timeout)?;
        let progress = lock(&self.progress);
        let mut lags: HashMap<&str, u64> = self.topics.keys().map(|name| (name.as_str(), 0)).collect();
        for (place, end) in &ends {
            let next = progress.get(place).map(|progress| progress.next).max(began.get(place).copied());
            let given = next.max(waited.get(place).copied()).unwrap_or_default();
            if let Some(lag) = lags.get_mut(place.0.as_str()) {
                *lag += u64::try_from(end - given).unwrap_or_default();
            }
        }
        drop(progress);
        lock(&self.ends).newest = Arc::new(ends);
        Ok(Some(lags.into_iter().filter_map(|(name, lag)| Some((self.topics.get(name)?.clone(), lag))).collect()))
    }

    /// All partitions: of a group that has one reader they are its own, as soon as it has joined.
    fn places(&self, consumer: &StreamConsumer) -> Result<Vec<Place>, KafkaError> {
        let assigned = consumer.assignment()?;
        let mut places: Vec<Place> =
            assigned.elements().iter().map(|one| (one.topic().to_owned(), one.partition())).collect();
        if places.is_empty() {
            for name in self.topics.keys() {
                let metadata = consumer.fetch_metadata(Some(name), self.timeout)?;
                let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
                places.extend(partitions.map(|partition| (name.clone(), partition.id())));
            }
        }
        Ok(places)
    }

    /// Where the group is; where it has read nothing, the oldest record that is kept.
    fn beginnings(&self, consumer: &StreamConsumer, places: &[Place]) -> Result<Offsets, KafkaError> {
        let committed = consumer.committed_offsets(list(places, Offset::Invalid)?, self.timeout)?;
        let mut began = offsets(&committed)?;
        let rest: Vec<Place> = places.iter().filter(|place| !began.contains_key(*place)).cloned().collect();
        if !rest.is_empty() {
            began.extend(ask(consumer, &rest, Offset::Beginning, self.timeout)?);
        }
        Ok(began)
    }
}

/// The first or the last offset of each.
fn ask(consumer: &StreamConsumer, places: &[Place], which: Offset, timeout: Duration) -> Result<Offsets, KafkaError> {
    if places.is_empty() {
        return Ok(Offsets::new());
    }
    offsets(&consumer.offsets_for_times(list(places, which)?, timeout)?)
}

fn list(places: &[Place], offset: Offset) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        list.add_partition_offset(topic, *partition, offset)?;
    }
    Ok(list)
}

/// Those that are known.
fn offsets(list: &TopicPartitionList) -> Result<Offsets, KafkaError> {
    let mut offsets = Offsets::new();
    for element in list.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            offsets.insert((element.topic().to_owned(), element.partition()), offset);
        }
    }
    Ok(offsets)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

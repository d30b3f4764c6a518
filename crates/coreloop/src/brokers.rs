//! What carries events and commands, of the section `eventing`.

use std::sync::Arc;

use coreloop_config::{Errors, Section};
#[cfg(feature = "kafka")]
use coreloop_eventing::Encoding;
use coreloop_eventing::{Brokers, CommandBroker, EventBroker, Options};
use coreloop_eventing_rabbitmq::{Options as RabbitOptions, RabbitBus};

/// The transports that are chosen.
///
/// # Errors
/// Everything that is wrong with the section, and a transport that this binary was built without.
pub(crate) fn read(section: &Section) -> Result<Brokers, Errors> {
    let mut errors = Errors::default();
    let options = errors.absorb(Options::read(section));
    let rabbitmq = errors.absorb(section.sub("rabbitmq").read_with(RabbitOptions::check));
    #[cfg(feature = "kafka")]
    let kafka = errors.absorb(section.sub("kafka").read_with(coreloop_eventing_kafka::Options::check));
    #[cfg(feature = "kafka")]
    let retention_secs = options.as_ref().map_or(0, |options| options.retention_secs);
    #[cfg(feature = "sqs")]
    let sqs = errors.absorb(section.sub("sqs").read_with(coreloop_eventing_sqs::Options::check));
    let with_sqs = options.as_ref().is_some_and(|options| options.commands == CommandBroker::Sqs);
    if with_sqs && !cfg!(feature = "sqs") {
        errors.absorb(section.read_with(|_: &Options, report| {
            report.refuse("commands", "this binary was built without the feature `sqs`".to_owned());
        }));
    }
    let with_kafka = options.as_ref().is_some_and(|options| options.events == EventBroker::Kafka);
    if with_kafka && !cfg!(feature = "kafka") {
        errors.absorb(section.read_with(|_: &Options, report| {
            report.refuse("events", "this binary was built without the feature `kafka`".to_owned());
        }));
    }
    #[cfg(feature = "kafka")]
    if with_kafka
        && kafka.as_ref().is_some_and(|kafka| kafka.schema_registry.is_set())
        && options.as_ref().is_some_and(|options| options.payload == Encoding::Json)
    {
        errors.absorb(section.read_with(|_: &Options, report| {
            report.refuse("payload", "must be \"protobuf\" where a Schema Registry is told what it is".to_owned());
        }));
    }
    errors.into_result()?;
    let mut brokers = Brokers::default();
    if options.is_some_and(|options| options.commands == CommandBroker::RabbitMq) {
        brokers.commands = rabbitmq.map(|options| Arc::new(RabbitBus::new(&options)) as _);
    }
    #[cfg(feature = "sqs")]
    if with_sqs {
        let clock = Arc::new(coreloop_core::SystemClock);
        brokers.commands = sqs.map(|options| Arc::new(coreloop_eventing_sqs::SqsBus::new(&options, clock)) as _);
    }
    #[cfg(feature = "kafka")]
    if with_kafka {
        let retention = std::time::Duration::from_secs(retention_secs);
        brokers.events =
            kafka.map(|options| Arc::new(coreloop_eventing_kafka::KafkaBus::new(&options, retention)) as _);
    }
    Ok(brokers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use coreloop_config::Settings;

    use super::*;

    fn chosen(text: &str) -> Result<Brokers, Errors> {
        read(&Settings::defaults().with_toml("x", text).unwrap().section("eventing"))
    }

    #[test]
    fn redis_carries_both_until_something_else_is_chosen() {
        let brokers = chosen("").unwrap();
        assert!(brokers.events.is_none() && brokers.commands.is_none());
        let brokers = chosen("[eventing]\ncommands = \"rabbitmq\"\n").unwrap();
        assert!(brokers.events.is_none() && brokers.commands.is_some());
        for wrong in ["[eventing]\ncommands = \"carrier pigeon\"\n", "[eventing.rabbitmq]\nlanes = 0\n"] {
            assert!(chosen(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sqs_carries_commands_where_it_is_built_in() {
        let chosen = chosen("[eventing]\ncommands = \"sqs\"\n");
        assert_eq!(chosen.is_ok_and(|brokers| brokers.commands.is_some()), cfg!(feature = "sqs"));
    }

    #[test]
    fn kafka_carries_events_where_it_is_built_in() {
        let chosen = chosen("[eventing]\nevents = \"kafka\"\n");
        assert_eq!(chosen.is_ok_and(|brokers| brokers.events.is_some()), cfg!(feature = "kafka"));
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn a_registry_is_told_of_binary_payloads_at_an_address_without_a_password() {
        let with = |payload: &str, url: &str| {
            chosen(&format!(
                "[eventing]\nevents = \"kafka\"\npayload = \"{payload}\"\n[eventing.kafka.schema_registry]\nurl = \"{url}\"\n"
            ))
        };
        assert!(with("protobuf", "http://registry:8081").is_ok());
        for (payload, url) in [("json", "http://registry:8081"), ("protobuf", "registry"), ("protobuf", "http://a:b@c")]
        {
            assert!(with(payload, url).is_err(), "{payload} {url}");
        }
    }
}

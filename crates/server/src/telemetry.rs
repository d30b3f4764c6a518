//! Logs and traces of the binary. The only place that installs anything global.

use std::sync::{Arc, Mutex};

use coreloop_service::Spans;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    StartError,
    log::{self, Lines, Sink},
    log_thread::LogThread,
    options::{LogOptions, OtlpOptions},
    otlp::{self, Sending},
};

/// Logs and trace export of a process. Dropped, it waits a moment for the last lines to be written.
pub struct Telemetry {
    spans: Option<Arc<dyn Spans>>,
    sending: Option<Sending>,
    _log: Flush,
}

/// Lets the log be written to its end when dropped.
struct Flush(Option<LogThread>);

impl Drop for Flush {
    fn drop(&mut self) {
        if let Some(thread) = &self.0 {
            thread.flush();
        }
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").field("exporting", &self.sending.is_some()).finish()
    }
}

impl Telemetry {
    /// Installs the log and starts exporting traces. Once a process, by the binary; must run inside the runtime.
    ///
    /// # Errors
    /// A filter or an endpoint that cannot be used, or a log that is installed already.
    pub fn init(options: &LogOptions, otlp: &OtlpOptions) -> Result<Self, StartError> {
        let format = options.format;
        let failed = |what: &str, source: Box<dyn std::error::Error + Send + Sync>| StartError::Part {
            what: what.to_owned(),
            source,
        };
        let thread = LogThread::start(std::io::stderr(), move |lines| log::dropped(format, lines))
            .map_err(|error| failed("the thread of the log cannot be started", Box::new(error)))?;
        let sink: Sink = Arc::new(Mutex::new(thread.clone()));
        let filter: EnvFilter =
            options.filter.parse().map_err(|error| failed("setting log.filter", Box::new(error)))?;
        tracing_subscriber::registry()
            .with(filter)
            .with(Lines::new(format, sink))
            .try_init()
            .map_err(|error| failed("the log cannot be installed", Box::new(error)))?;
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, panic = panic.payload_as_str().unwrap_or(""), "panic");
        }));
        let exporting = Self::exporting(otlp)?;
        Ok(Self { _log: Flush(Some(thread)), ..exporting })
    }

    /// Exports traces without installing a log: for tests of the export.
    ///
    /// # Errors
    /// An endpoint that cannot be used.
    pub fn exporting(otlp: &OtlpOptions) -> Result<Self, StartError> {
        let started = otlp::start(otlp).map_err(|error| StartError::Part {
            what: "setting otlp.endpoint cannot be used".to_owned(),
            source: Box::new(error),
        })?;
        Ok(match started {
            Some((spans, sending)) => Self { spans: Some(spans), sending: Some(sending), _log: Flush(None) },
            None => Self { spans: None, sending: None, _log: Flush(None) },
        })
    }

    /// What takes the finished calls of servers, for [`crate::Builder::spans`].
    #[must_use]
    pub fn spans(&self) -> Option<Arc<dyn Spans>> {
        self.spans.clone()
    }

    /// Sends the traces that are left.
    pub async fn finish(self) {
        if let Some(sending) = self.sending {
            sending.finish().await;
        }
    }
}

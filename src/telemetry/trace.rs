//! Events of the process itself, as lines.

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use super::sink::Sink;
use super::{LogFormat, LogSettings};

/// Creates what takes the process's events and writes those of the level that was asked for.
///
/// Only our own events: what libraries say at `debug` and `trace` may hold bytes of a request.
pub fn subscriber(
    settings: &LogSettings,
    sink: Sink,
) -> (impl Subscriber + Send + Sync + use<>, Level) {
    let (filter, handle) = reload::Layer::new(ours(settings.level));
    let lines = lines(settings.format, sink).with_filter(filter);
    (Registry::default().with(lines), Level(handle))
}

/// From which level on events are written. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Level(reload::Handle<Targets, Registry>);

impl Level {
    /// Writes events of this level from now on.
    pub fn set(&self, level: LevelFilter) {
        // Fails where nobody writes events any more: then there is nothing to set.
        let _ = self.0.modify(|filter| *filter = ours(level));
    }
}

fn ours(level: LevelFilter) -> Targets {
    Targets::new().with_target("countersign", level)
}

fn lines<S>(format: LogFormat, sink: Sink) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = fmt::layer().with_writer(sink).with_ansi(false);
    match format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    }
}

//! `log` and `readiness`: what the outside is told of the process.

use tracing::level_filters::LevelFilter;

use crate::telemetry::{CallerShown, LogFormat, LogSettings};

use super::Terminal;
use super::error::Origin;
use super::reader::Reader;
use crate::admin::Readiness;

pub(super) fn settings(reader: &mut Reader<'_>, terminal: Terminal) -> LogSettings {
    let levels = [
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
        ("off", LevelFilter::OFF),
    ];
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = reader.choice("log.format", &formats).unwrap_or_else(|| {
        let (word, format) = match terminal {
            Terminal::Yes => formats[0],
            Terminal::No => formats[1],
        };
        reader.derive("log.format", &[word], &Origin::Default);
        format
    });
    let callers =
        [("plain", CallerShown::Plain), ("hash", CallerShown::Hash), ("omit", CallerShown::Omit)];
    LogSettings {
        level: reader.choice("log.level", &levels).unwrap_or(LevelFilter::INFO),
        format,
        access: reader.switch("log.access").unwrap_or(true),
        caller: reader.choice("log.caller", &callers).unwrap_or_default(),
    }
}

/// Reads whether clients learn the reason of a refusal.
pub(super) fn reveal_reason(reader: &mut Reader<'_>) -> bool {
    reader.switch("log.reveal_reason").unwrap_or(true)
}

pub(super) fn readiness(reader: &mut Reader<'_>) -> Readiness {
    let words = [("keys", Readiness::Keys), ("listening", Readiness::Listening)];
    reader.choice("readiness", &words).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::admin::Readiness;
    use crate::config::tests::Scene;
    use crate::config::tests::{mistakes, settings};
    use crate::telemetry::{CallerShown, LogFormat};

    #[test]
    fn bad_values_earn_these_sentences() {
        for (text, want) in [
            (
                "log.level = \"verbose\"",
                "log.level: \"verbose\": not one of `error`, `warn`, `info`, `debug`, `trace`, `off`",
            ),
            ("log.level = \"INFO\"", "log.level: \"INFO\": not one of"),
            ("log.format = \"xml\"", "log.format: \"xml\": not one of `text`, `json`"),
            ("log.caller = \"none\"", "log.caller: \"none\": not one of `plain`, `hash`, `omit`"),
            ("readiness = \"always\"", "readiness: \"always\": not one of `keys`, `listening`"),
        ] {
            let got = mistakes(text);
            assert!(got.len() == 1 && got[0].starts_with(want), "{text}: {got:?}");
        }
        let got = Scene::default().env("COUNTERSIGN_LOG_ACCESS", "yes").mistakes();
        assert_eq!(
            got,
            [
                "log.access: \"yes\": not one of `true`, `false` (environment COUNTERSIGN_LOG_ACCESS)"
            ]
        );
    }

    #[test]
    fn good_values_arrive() {
        let text = "readiness = \"listening\"\nlog = {format = \"text\", access = false, reveal_reason = false, caller = \"omit\"}";
        let settings = settings(text);
        assert_eq!(settings.readiness, Readiness::Listening);
        assert_eq!((settings.log.access, settings.proxy.reveal_reason), (false, false));
        assert_eq!(
            (settings.log.format, settings.log.caller),
            (LogFormat::Text, CallerShown::Omit)
        );
    }
}

//! The process itself: which version it is, its settings, its certificates.

use prometheus::{Gauge, GaugeVec, IntGauge};

use super::Metrics;
use super::maker::Maker;
use crate::core::time::UnixTime;

/// The metrics of the process.
#[derive(Clone, Debug)]
pub(super) struct Process {
    certificate_expiry: GaugeVec,
}

impl Process {
    pub(super) fn register(made: &Maker<'_>) -> prometheus::Result<Self> {
        let build =
            made.gauges("build_info", "Always 1; the version is in the label.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        #[cfg(target_os = "linux")]
        made.0.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self {
            certificate_expiry: made.float_gauges(
                "tls_certificate_expiry_timestamp_seconds",
                "When the certificate that clients are shown expires.",
                &["listener"],
            )?,
        })
    }
}

impl Metrics {
    /// Takes the handles for the certificate of these listeners.
    pub fn of_certificate(
        &self,
        listeners: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> CertificateMetrics {
        let expiry = |name: &str| self.process.certificate_expiry.with_label_values(&[name]);
        CertificateMetrics(listeners.into_iter().map(|name| expiry(name.as_ref())).collect())
    }
}

/// The metrics of settings that are read again.
#[derive(Clone, Debug)]
pub struct ReloadMetrics {
    successful: IntGauge,
    last_success: Gauge,
}

impl ReloadMetrics {
    pub(super) fn register(made: &Maker<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            successful: made.gauge(
                "config_last_reload_successful",
                "1 where the settings were good when they were last read, else 0.",
            )?,
            last_success: made.float_gauge(
                "config_last_reload_success_timestamp_seconds",
                "When settings were last put in force.",
            )?,
        })
    }

    /// Says that settings were put in force at this time.
    pub fn succeeded(&self, at: UnixTime) {
        self.successful.set(1);
        self.last_success.set(at.as_secs() as f64);
    }

    /// Says that there was a mistake in them.
    pub fn failed(&self) {
        self.successful.set(0);
    }
}

/// The metrics of a certificate, one a listener that shows it.
#[derive(Clone, Debug, Default)]
pub struct CertificateMetrics(Vec<Gauge>);

impl CertificateMetrics {
    /// Says when the certificate in use expires.
    pub fn expires(&self, at: UnixTime) {
        for gauge in &self.0 {
            gauge.set(at.as_secs() as f64);
        }
    }
}

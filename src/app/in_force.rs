//! What follows from one set of settings: all that is replaced when there are others.
//!
//! What runs for it ends by itself once nobody holds it any more: not before the last request that
//! began with these settings.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::{task, time};

use super::{House, StartError};
use crate::admin::Told;
use crate::clerk_api::ClerkApi;
use crate::clock::Clock;
use crate::config::{IssuerSettings, Settings};
use crate::core::base64url;
use crate::core::clerk::revoked::Revoked;
use crate::core::origin::Scheme;
use crate::http_client::HttpClient;
use crate::keys::{self, Keys};
use crate::proxy::{Issuer, Parts, UpstreamAddress};
use crate::revoked;
use crate::signing::{self, Signers};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::tls::{self, Backend, ClientTlsSettings, Configs};

/// How long the keys of new issuers are waited for. Past it their tokens are answered as after a
/// start without keys.
const PATIENCE: Duration = Duration::from_secs(5);

/// Settings, and what was made of them.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) settings: Settings,
    pub(super) issuers: Vec<Issuer>,
    client: HttpClient,
    clerk_api: Option<ClerkApi>,
    signers: watch::Receiver<Arc<Signers>>,
    revoked: watch::Receiver<Arc<Revoked>>,
    tls: Option<Configs<ClientTlsSettings>>,
    upstream_tls: Option<Backend>,
    log: Option<AccessLog>,
}

impl InForce {
    /// Makes everything there is to be made of `settings`, but for what stays as it was `before`.
    ///
    /// # Errors
    ///
    /// [`StartError`]. What was begun ends by itself.
    pub(super) fn new(
        settings: Settings,
        before: Option<&Self>,
        house: &House,
    ) -> Result<Box<Self>, StartError> {
        let same_client = before.filter(|it| it.settings.http_client == settings.http_client);
        let client = match same_client {
            Some(before) => before.client.clone(),
            None => HttpClient::new(&settings.http_client)?,
        };
        let clerk_api = match same_client.filter(|it| it.settings.clerk_api == settings.clerk_api) {
            Some(before) => before.clerk_api.clone(),
            None => clerk_api(&settings, &client, house)?,
        };
        let issuer = |it: &IssuerSettings| issuer(it, &client, same_client, before, house);
        Ok(Box::new(Self {
            issuers: settings.issuers.iter().map(issuer).collect(),
            signers: signers(&settings, before, house)?,
            revoked: match before.filter(|it| it.settings.revoked == settings.revoked) {
                Some(before) => before.revoked.clone(),
                None => revoked(&settings),
            },
            tls: match before.filter(|it| it.settings.tls == settings.tls) {
                Some(before) => before.tls.clone(),
                None => with_clients(&settings, house)?,
            },
            upstream_tls: match before
                .filter(|it| it.settings.upstream_tls == settings.upstream_tls)
            {
                Some(before) => before.upstream_tls.clone(),
                None => to_backend(&settings, house)?,
            },
            log: match before.filter(|it| it.settings.log == settings.log) {
                Some(before) => before.log.clone(),
                None => AccessLog::new(&settings.log, house.sink.clone()),
            },
            client,
            clerk_api,
            settings,
        }))
    }

    /// Waits until all issuers have usable keys that are others than `before`, for a while.
    pub(super) async fn has_keys(&self, before: &Self, clock: &Clock) {
        let is_kept = |keys: &Keys| before.issuers.iter().any(|it| it.keys.is_same(keys));
        let all = async {
            for issuer in self.issuers.iter().filter(|issuer| !is_kept(&issuer.keys)) {
                issuer.keys.usable(clock).await;
            }
        };
        drop(time::timeout(PATIENCE, all).await); // past it, whoever needs them finds out
    }

    /// Tells for how long the last good keys of each issuer serve: not before the settings that say
    /// so are in force.
    pub(super) fn say_how_long_keys_serve(&self, metrics: &Metrics) {
        for keys in self.issuers.iter().map(|issuer| issuer.keys.settings()) {
            metrics.serve_for(&keys.issuer, keys.max_stale);
        }
    }

    /// Names the issuers that are none any more `after` these settings.
    pub(super) fn without<'a>(&'a self, after: &'a Self) -> impl Iterator<Item = &'a str> {
        let names = |it: &'a Self| it.issuers.iter().map(|issuer| &*issuer.keys.settings().issuer);
        names(self).filter(move |name| !names(after).any(|other| other == *name))
    }

    /// Returns what requests are decided by.
    pub(super) fn parts(&self, house: &House) -> Parts {
        Parts {
            settings: self.settings.proxy.clone(),
            signers: self.signers.clone(),
            revoked: self.revoked.clone(),
            issuers: self.issuers.clone(),
            tls: self.tls.clone(),
            upstream_tls: self.upstream_tls.clone(),
            clerk_api: self.clerk_api.clone(),
            metrics: house.metrics.clone(),
            log: self.log.clone(),
            clock: house.clock.clone(),
            awaited: house.awaited.clone(),
            leaving: Arc::clone(&house.leaving),
        }
    }

    /// Returns what the admin listener tells.
    pub(super) fn told(&self) -> Told {
        Told {
            status: self.settings.admin.status,
            readiness: self.settings.readiness,
            keys: self.issuers.iter().map(|issuer| issuer.keys.clone()).collect(),
            signers: self.signers.clone(),
            fingerprint: self.fingerprint(),
        }
    }

    /// Returns the backend's address as settings have it.
    pub(super) fn upstream(&self) -> String {
        let scheme = if self.upstream_tls.is_some() { Scheme::Https } else { Scheme::Http };
        let proxy = &self.settings.proxy;
        proxy.upstream.url(proxy.upstream_protocol.scheme(scheme))
    }

    /// A fingerprint of the settings: two proxies that show the same one run on the same settings.
    /// Secrets show their length alone.
    pub(super) fn fingerprint(&self) -> String {
        let mut settings = self.settings.clone();
        if let UpstreamAddress::Child { port } = &mut settings.proxy.upstream {
            *port = 0; // another one at each start
        }
        let text = format!("{settings:?}");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        base64url::encode(&digest.as_ref()[..9])
    }
}

/// Sets up an issuer; with the keys it had, where they are had the same way.
fn issuer(
    settings: &IssuerSettings,
    client: &HttpClient,
    same_client: Option<&InForce>,
    before: Option<&InForce>,
    house: &House,
) -> Issuer {
    let IssuerSettings { policy, keys } = settings.clone();
    let had = |it: &&Issuer| it.keys.settings().issuer == keys.issuer;
    let had = before.and_then(|before| before.issuers.iter().find(had)).map(|issuer| &issuer.keys);
    if let Some(had) = had.filter(|had| same_client.is_some() && *had.settings() == keys) {
        return Issuer { policy, keys: had.clone() };
    }
    let metrics = house.metrics.of_issuer(&keys.issuer);
    let (keys, refresher) = keys::keys(keys, had, client.clone(), house.clock.clone(), metrics);
    task::spawn_local(refresher.run());
    Issuer { policy, keys }
}

fn clerk_api(
    settings: &Settings,
    client: &HttpClient,
    house: &House,
) -> Result<Option<ClerkApi>, StartError> {
    let api = settings.clerk_api.as_ref();
    let api = api.map(|api| ClerkApi::new(api, client.clone(), house.metrics.of_clerk_api()));
    Ok(api.transpose()?)
}

fn signers(
    settings: &Settings,
    before: Option<&InForce>,
    house: &House,
) -> Result<watch::Receiver<Arc<Signers>>, StartError> {
    let identity = &settings.proxy.identity;
    let is_same = |it: &&InForce| {
        it.settings.signing == settings.signing && it.settings.proxy.identity == *identity
    };
    if let Some(before) = before.filter(is_same) {
        return Ok(before.signers.clone());
    }
    let had = before.map(|before| Arc::clone(&before.signers.borrow()));
    let signing = settings.signing.clone();
    let (signers, rereader) =
        signing::signers(signing, identity.clone(), house.clock.clone(), had.as_deref())?;
    if let Some(rereader) = rereader {
        task::spawn_local(rereader.run());
    }
    Ok(signers)
}

fn revoked(settings: &Settings) -> watch::Receiver<Arc<Revoked>> {
    let (revoked, reader) = revoked::revoked(settings.revoked.clone());
    if let Some(reader) = reader {
        task::spawn_local(reader.run());
    }
    revoked
}

fn with_clients(
    settings: &Settings,
    house: &House,
) -> Result<Option<Configs<ClientTlsSettings>>, StartError> {
    let Some(tls) = settings.tls.clone() else { return Ok(None) };
    let metrics = house.metrics.of_certificate(&house.over_tcp);
    let (configs, rereader) = tls::with_clients(tls, house.clock.clone(), metrics)?;
    task::spawn_local(rereader.run());
    Ok(Some(configs))
}

fn to_backend(settings: &Settings, house: &House) -> Result<Option<Backend>, StartError> {
    let Some(tls) = settings.upstream_tls.clone() else { return Ok(None) };
    let (backend, rereader) = tls::to_backend(tls, house.clock.clone())?;
    task::spawn_local(rereader.run());
    Ok(Some(backend))
}

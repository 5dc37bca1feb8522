//! Settings of a proxy between an issuer and a backend.

use countersign::admin::{AdminSettings, Readiness, StatusAccess};
use countersign::clerk_api::ClerkApiSettings;
use countersign::config::{IssuerSettings, Settings};
use countersign::core::access::Access;
use countersign::core::claims::{AzpPolicy, ClaimsPolicy};
use countersign::core::clerk::instance::{Instance, Payload};
use countersign::core::clerk::publishable_key::{Environment, PublishableKey};
use countersign::core::header::{Credentials, FOREIGN_IDENTITY, StripPolicy};
use countersign::core::header_name::NamePattern;
use countersign::core::identity::{Field, IdentityPolicy, Source};
use countersign::core::issuer::{ClerkPolicy, Impersonation, IssuerPolicy, TokenPolicy};
use countersign::core::jwk::Algorithms;
use countersign::core::jwk_set::KeyNames;
use countersign::core::origin::{CrossSite, OwnOrigins};
use countersign::core::path::PathPolicy;
use countersign::core::route::{Case, PathPattern, Route, Routes};
use countersign::core::sign::Cover;
use countersign::http_client::{FetchUrl, HttpClientSettings};
use countersign::keys::{KeySettings, KeySource};
use countersign::listen::ListenAddress;
use countersign::proxy::{
    BrowserSettings, Cookies, Drain, Limits, Preflight, ProxySettings, StreamLifetime, Timeouts,
    TrustedProxies, UpstreamAddress, UpstreamProtocol,
};
use countersign::signing::{Secret, SigningSettings};
use countersign::telemetry::{CallerShown, LogFormat, LogSettings};
use tracing::level_filters::LevelFilter;

use super::{Issuer, Upstream};

/// The secret the proxy and the echo backend share in tests.
pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// The defaults, between this issuer and this backend.
pub(crate) fn settings(issuer: &Issuer, upstream: &Upstream) -> Settings {
    settings_for(&issuer.origin(), &upstream.address)
}

/// The origin of the application's page.
pub(crate) const PARTY: &str = "http://localhost:3000";

/// A Clerk instance whose session tokens are good.
fn clerk(issuer: &str) -> IssuerSettings {
    let clerk = ClerkPolicy {
        sessions: Some(claims()),
        templates: None,
        impersonation: Impersonation::Allow,
    };
    IssuerSettings {
        policy: IssuerPolicy {
            names: vec![issuer.to_owned()],
            algorithms: Algorithms::CLERK,
            tokens: TokenPolicy::Clerk(clerk),
        },
        keys: KeySettings {
            issuer: issuer.to_owned(),
            source: KeySource::Url(
                FetchUrl::parse(&format!("{issuer}/.well-known/jwks.json")).unwrap(),
            ),
            algorithms: Algorithms::CLERK,
            names: KeyNames::Required,
            max_stale: KeySettings::MAX_STALE,
        },
    }
}

/// What tokens must say, unless a test says otherwise.
pub(crate) fn claims() -> ClaimsPolicy {
    ClaimsPolicy {
        audience: None,
        parties: vec![PARTY.to_owned()],
        azp: AzpPolicy::Auto,
        leeway: ClaimsPolicy::LEEWAY,
        max_lifetime: Some(ClaimsPolicy::MAX_LIFETIME),
    }
}

/// What is told of the tokens of the first issuer, a Clerk instance.
pub(crate) fn clerk_policy(settings: &mut Settings) -> &mut ClerkPolicy {
    match &mut settings.issuers[0].policy.tokens {
        TokenPolicy::Clerk(clerk) => clerk,
        TokenPolicy::Oidc(_) => panic!("the first issuer is Clerk"),
    }
}

/// What is told of session tokens.
pub(crate) fn session_claims(settings: &mut Settings) -> &mut ClaimsPolicy {
    clerk_policy(settings).sessions.as_mut().unwrap()
}

/// A rule for some paths, of any host and method.
pub(crate) fn route(path: &str, access: Access) -> Route {
    let name = path.to_owned();
    let path = PathPattern::parse(path).unwrap();
    Route { name, host: None, path, methods: None, rule: access.into() }
}

/// The defaults, with everything below `/public` open to everybody.
pub(crate) fn settings_with_public(issuer: &Issuer, upstream: &Upstream) -> Settings {
    let mut settings = settings(issuer, upstream);
    let open = vec![route("/public/**", Access::Public)];
    settings.proxy.routes = Routes::new(open, Case::Sensitive);
    settings
}

/// The defaults, between an issuer and a backend at these addresses.
pub(crate) fn settings_for(issuer: &str, upstream: &str) -> Settings {
    let (host, port) = upstream.rsplit_once(':').unwrap();
    let any_port = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
    let header =
        |field: Field| (format!("x-clerk-{}", field.name()).parse().unwrap(), Source::Field(field));
    Settings {
        proxy: ProxySettings {
            listen: vec![any_port.clone()],
            listen_mode: 0o660,
            upstream: UpstreamAddress::Tcp { host: host.into(), port: port.parse().unwrap() },
            upstream_protocol: UpstreamProtocol::default(),
            http2: true,
            stream_lifetime: StreamLifetime::default(),
            websocket_protocol_token: false,
            workers: 1,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            drain: Drain::default(),
            paths: PathPolicy::default(),
            routes: Routes::new(Vec::new(), Case::Sensitive),
            preflight: Preflight::Forward,
            parties: vec![PARTY.to_owned()],
            identity: IdentityPolicy::new(Field::DEFAULT.into_iter().map(header).collect()),
            strip: StripPolicy {
                prefix: "x-clerk-".into(),
                ours: Vec::new(),
                foreign: FOREIGN_IDENTITY
                    .iter()
                    .map(|it| NamePattern::parse(it).unwrap())
                    .collect(),
                credentials: Credentials::Forward,
            },
            trusted_proxies: TrustedProxies::default(),
            browsers: None,
            reveal_reason: true,
        },
        issuers: vec![clerk(issuer)],
        revoked: None,
        tls: None,
        upstream_tls: None,
        clerk_api: None,
        http_client: HttpClientSettings::default(),
        signing: SigningSettings {
            requests: Some(Cover::default()),
            assertion: None,
            secret: Some((Secret::new(SECRET.to_vec()), None)),
            keys: None,
        },
        admin: AdminSettings { listen: any_port, status: StatusAccess::Loopback },
        readiness: Readiness::Keys,
        log: LogSettings {
            level: LevelFilter::TRACE,
            format: LogFormat::Json,
            access: true,
            caller: CallerShown::Plain,
        },
    }
}

/// The publishable key of an instance of this kind whose Frontend API is the issuer.
pub(crate) fn publishable_key(issuer: &Issuer, environment: Environment) -> PublishableKey {
    let kind = match environment {
        Environment::Development => "test",
        Environment::Production => "live",
    };
    let development = issuer.publishable_key();
    let host = development.rsplit('_').next().unwrap();
    PublishableKey::parse(&format!("pk_{kind}_{host}")).unwrap()
}

/// How browsers sign in to an instance of this kind, with the page of the tests as the one party.
pub(crate) fn browsers(issuer: &Issuer, environment: Environment) -> BrowserSettings {
    BrowserSettings {
        instance: Instance::of(&publishable_key(issuer, environment), Payload::Token),
        cookies: Cookies::Accepted,
        cross_site: CrossSite::Refuse,
        origins: OwnOrigins { parties: vec![PARTY.to_owned()], ..OwnOrigins::default() },
        prefix: String::new(),
    }
}

/// The defaults, for browsers that sign in to a production instance.
pub(crate) fn settings_for_browsers(issuer: &Issuer, upstream: &Upstream) -> Settings {
    let mut settings = settings(issuer, upstream);
    settings.proxy.browsers = Some(browsers(issuer, Environment::Production));
    settings
}

/// Clerk's Backend API at this address.
pub(crate) fn clerk_api(address: &str) -> ClerkApiSettings {
    let url = FetchUrl::parse(&format!("http://{address}")).unwrap();
    ClerkApiSettings { url, secret_key: "sk_test_hunter2".to_owned() }
}

//! Requests on their way to the backend, and answers on their way back.

use countersign::dev::echo::Echo;
use countersign::dev::verifier::Verifier;

use crate::support::settings::{SECRET, settings_for};
use crate::support::{Issuer, Proxy, Upstream, client, settings};
use countersign::clock::Clock;

#[tokio::test(flavor = "local")]
async fn a_good_token_reaches_the_backend_as_a_signed_identity() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let echo = Echo::start(Verifier::hmac(SECRET)).unwrap();
    let proxy =
        Proxy::start(settings_for(&issuer.origin(), echo.url().trim_start_matches("http://")))
            .await;

    let answer = proxy
        .client()
        .bearer(&issuer.token())
        .header("x-clerk-user-id", "root")
        .header("x_clerk_user_id", "root")
        .get("/orders?page=2")
        .await;

    let echoed = answer.json();
    assert_eq!(answer.status, 200, "{echoed}");
    assert_eq!(echoed["signature"]["verified"], true, "{echoed}");
    assert!(echoed["identity"]["x-clerk-user-id"].as_str().unwrap().starts_with("user_"));
    assert_eq!(echoed["path"], "/orders?page=2");
}

#[tokio::test(flavor = "local")]
async fn a_request_without_a_token_gets_no_further_than_the_proxy() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;

    let answer = proxy.client().get("/").await;

    assert_eq!((answer.status, answer.reason().as_str()), (401, "session-token-and-uat-missing"));
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="countersign""#));
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "local")]
async fn one_kept_connection_carries_many_requests() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let request =
        format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", issuer.token());
    let last = request.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");

    let answers =
        client::raw(&proxy.address, format!("{}{last}", request.repeat(99)).as_bytes()).await;

    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 100);
    assert_eq!(upstream.connections(), 1);
}

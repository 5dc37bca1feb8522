//! Rust, behind a small server of its own.

#[path = "../../../deploy/verify/countersign.rs"]
mod countersign;

use tiny_http::{Request, Response, Server};

fn main() {
    let words = |name| -> Vec<String> {
        std::env::var(name).unwrap().split_whitespace().map(String::from).collect()
    };
    let (identity, cover) = (words("IDENTITY"), words("COVER"));
    let cover: Vec<String> = cover.iter().map(|part| format!("@{part}")).collect();
    let keys = countersign::secret(&std::env::var("COUNTERSIGN_SIGNING_SECRET").unwrap());
    let server = Server::http(format!("127.0.0.1:{}", std::env::var("PORT").unwrap())).unwrap();
    for request in server.incoming_requests() {
        let line = |(name, value): (&String, &String)| format!("{name}: {value}\n");
        let (status, text) = match told(&request, &keys, &identity, &cover) {
            Ok(told) => (200, told.iter().map(line).collect()),
            Err(why) => (401, why),
        };
        let _ = request.respond(Response::from_string(text).with_status_code(status));
    }
}

fn told(
    request: &Request,
    keys: &countersign::Keys,
    identity: &[String],
    cover: &[String],
) -> Result<std::collections::HashMap<String, String>, String> {
    let headers = request.headers().iter();
    let headers = headers.map(|header| (header.field.as_str().as_str(), header.value.as_str()));
    let identity: Vec<&str> = identity.iter().map(String::as_str).collect();
    let cover: Vec<&str> = cover.iter().map(String::as_str).collect();
    let method = request.method().as_str();
    countersign::verify(method, request.url(), headers, keys, &identity, "x-clerk-", &cover)
}

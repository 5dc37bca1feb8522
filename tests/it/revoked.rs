//! Sessions and users that are not let in any more, whatever their token says.

use std::fs;

use countersign::clock::Clock;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Issuer, Proxy, Upstream, settings, until};

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_session_or_user_that_is_listed_is_out_within_two_seconds() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("revoked");
    fs::write(&file, "# nobody yet\n").unwrap();
    let mut settings = settings(&issuer, &upstream);
    settings.revoked = Some(file.clone());
    let proxy = Proxy::start(settings).await;
    let mint = |user: &str, session: &str| issuer.mint(json!({"sub": user, "sid": session}));
    let (one, two, three) =
        (mint("user_1", "sess_1"), mint("user_1", "sess_2"), mint("user_3", "sess_3"));
    let verdicts = async || {
        let mut verdicts = Vec::new();
        for token in [&one, &two, &three] {
            let answer = proxy.get("/", token).await;
            verdicts.push(if answer.status == 200 { 200.to_string() } else { answer.reason() });
        }
        verdicts
    };
    assert_eq!(verdicts().await, ["200", "200", "200"], "and they are remembered");

    let revoked = "session-revoked";
    for (list, want) in [
        ("sess_2", ["200", revoked, "200"]),
        ("sess_2\nuser_3\n", ["200", revoked, revoked]),
        ("sess_2\nuser_3\nuser_1\n", [revoked, revoked, revoked]),
        ("nonsense\nuser_3", ["200", "200", revoked]),
        ("", ["200", "200", "200"]),
        ("user_1", [revoked, revoked, "200"]),
    ] {
        // As an editor does it, and as a mounted ConfigMap does: a new file in the old one's place.
        fs::write(home.path().join("new"), list).unwrap();
        fs::rename(home.path().join("new"), &file).unwrap();
        let changed = Instant::now();
        until("the list counts", async || verdicts().await == want).await;
        assert!(changed.elapsed().as_millis() <= 2000, "{list}: {:?}", changed.elapsed());
    }

    fs::remove_file(&file).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(verdicts().await, [revoked, revoked, "200"], "without the file it stays as it was");
    let answer = proxy.get("/", &one).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("x-clerk-auth-reason"), Some(revoked));
}

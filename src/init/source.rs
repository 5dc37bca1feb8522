//! The port in a program's own text.

use super::command;

/// Words one of which is on the line that says where a program listens.
const WORDS: [&str; 6] = ["listen", "port", "bind", "addr", "serve", "run("];

/// What stands right before the number.
const MARKS: [&str; 14] = [
    "listen(",
    "PORT ||",
    "PORT ??",
    "PORT\") ||",
    "PORT) ||",
    "PORT) ??",
    "PORT\", ",
    "PORT', ",
    "port:",
    "port =",
    "port=",
    "PORT =",
    "PORT=",
    "server.port=",
];

/// Words on a line that is about listening and nothing else.
const PLAIN: [&str; 7] = ["listen", "serve", "run(", "port ||", "port ??", "port) ", "port\", "];

/// Finds the port that a program is written to listen on.
pub(super) fn port(text: &str) -> Option<u16> {
    // A client of something has a port too, and mostly before the end, where it is listened.
    listening(text)
        .or_else(|| text.lines().filter(|line| speaks_of_listening(line)).find_map(of_line))
}

/// Finds the port where a line says that it is listened on.
pub(super) fn listening(text: &str) -> Option<u16> {
    let is_plain = |line: &str| {
        let lower = line.to_lowercase();
        PLAIN.iter().any(|word| lower.contains(word))
    };
    text.lines().filter(|line| speaks_of_listening(line) && is_plain(line)).find_map(of_line)
}

fn speaks_of_listening(line: &str) -> bool {
    let lower = line.to_lowercase();
    let is_remark = ["//", "#", "*"].iter().any(|mark| lower.trim_start().starts_with(mark));
    // An address of somebody else, or a sentence about ours.
    !is_remark && !lower.contains("://") && WORDS.iter().any(|word| lower.contains(word))
}

fn of_line(line: &str) -> Option<u16> {
    let after = MARKS.iter().filter_map(|mark| after_mark(line, mark));
    let ports = after.chain(of_text(line));
    ports.into_iter().find(|port| !command::is_of_another(*port))
}

/// Reads the number after a mark, which is a name of its own: `port`, and not `redisPort`; or that of
/// a variable that `port` is read from.
fn after_mark(line: &str, mark: &str) -> Option<u16> {
    let (before, rest) = line.split_once(mark)?;
    let is_longer = before.ends_with(|last: char| last.is_alphanumeric() || last == '_');
    let words =
        |text: &str| text.split_whitespace().any(|word| word.trim_end_matches(':') == "port");
    if is_longer && !words(&before.to_lowercase()) {
        return None;
    }
    let rest = rest.trim_start_matches([' ', '"', '\'', '{', '(']);
    let rest = rest.strip_prefix("port:").map_or(rest, str::trim_start);
    command::number(&rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())])
}

/// Reads an address in quotes, as in Go and Rust: `":8080"`, `"0.0.0.0:8080"`.
fn of_text(line: &str) -> Option<u16> {
    line.split('"').skip(1).step_by(2).find_map(command::of_address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_where_it_listens() {
        for (line, want) in [
            ("app.listen(4000)", Some(4000)),
            ("app.listen( 4000, () => {})", Some(4000)),
            ("await server.listen({ port: 4000 })", Some(4000)),
            ("app.listen({ port: 4000, host: \"0.0.0.0\" })", Some(4000)),
            ("const port = process.env.PORT || 4000;", Some(4000)),
            ("const port = Number(process.env.PORT ?? \"4000\");", Some(4000)),
            ("const PORT = 4000", Some(4000)),
            ("serve({ fetch: app.fetch, port: 8787 })", Some(8787)),
            ("http.ListenAndServe(\":8080\", mux)", Some(8080)),
            ("srv := &http.Server{Addr: \"127.0.0.1:8080\"}", Some(8080)),
            ("let listener = TcpListener::bind(\"0.0.0.0:3000\").await?;", Some(3000)),
            ("uvicorn.run(app, port=8001)", Some(8001)),
            ("app.run(port=int(os.environ.get(\"PORT\", 5001)))", Some(5001)),
            ("server.port=9090", Some(9090)),
            ("const db = { host: 'localhost', port: 5432 }", None),
            ("const port = process.env.API_PORT || 4000", Some(4000)),
            ("new Redis({ port: 6380 })\napp.listen(4000)", Some(4000)),
            ("const redisPort = 6380", None),
            ("const REDIS_PORT = 6380", None),
            ("log(`listening on http://localhost:3000`)", None),
            ("const port = Number(process.env.PORT) || 4000", Some(4000)),
            ("// app.listen(3000)\napp.listen(4000)", Some(4000)),
            ("  # port = 3000", None),
            ("app.listen(port)", None),
            ("app.listen(process.env.PORT)", None),
            ("import { reports } from \"./reports\"", None),
            ("retry(4000)", None),
            ("", None),
        ] {
            assert_eq!(port(line), want, "{line}");
        }
    }

    #[test]
    fn a_client_has_a_port_too_and_does_not_listen() {
        for (line, want) in [
            ("createTransport({ host: 'smtp.mailtrap.io', port: 2525 })", None),
            ("new Redis({ port: 6380 })", None),
            ("app.listen(4000)", Some(4000)),
            ("const port = process.env.PORT || 4000", Some(4000)),
        ] {
            assert_eq!(listening(line), want, "{line}");
        }
    }
}

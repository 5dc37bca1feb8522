//! The port that a command line names.

/// Flags before a port.
const PORT_FLAGS: [&str; 6] =
    ["--port", "-p", "--http-port", "--server.port", "--server-port", "-port"];

/// Words before a port, or before an address with one.
const ADDRESS_FLAGS: [&str; 9] =
    ["--bind", "-b", "--binding", "--listen", "-l", "--address", "--urls", "-S", "runserver"];

/// What runs a server for Node that is known by no dependency.
pub(super) const RUNTIMES: [&str; 7] =
    ["node", "nodemon", "tsx", "ts-node", "ts-node-dev", "bun", "deno"];

/// Variables of a port that a server listens on. `DB_PORT` is another's.
const VARIABLES: [&str; 9] = [
    "PORT",
    "HTTP_PORT",
    "SERVER_PORT",
    "APP_PORT",
    "API_PORT",
    "FLASK_RUN_PORT",
    "UVICORN_PORT",
    "NUXT_PORT",
    "NITRO_PORT",
];

/// Where databases, queues, mail servers and debuggers listen: a port that a program connects to,
/// or is looked into by.
const OTHERS: [u16; 15] =
    [25, 465, 587, 1025, 1433, 3306, 5432, 5672, 5678, 6379, 8025, 9092, 9229, 11211, 27017];

/// Tells whether something else than a backend listens there by custom.
pub(super) fn is_of_another(port: u16) -> bool {
    OTHERS.contains(&port)
}

/// Tells whether a command starts one of some programs.
pub(super) fn starts(command: &str, programs: &[&str]) -> bool {
    let is_one = |word: &str| word.rsplit('/').next().is_some_and(|it| programs.contains(&it));
    command.split_whitespace().any(is_one)
}

/// Finds the port that a command is told to listen on.
pub(super) fn port(line: &str) -> Option<u16> {
    let line = expanded(line);
    let words: Vec<_> =
        line.split([' ', '\t', '"', '\'']).filter(|word| !word.is_empty()).collect();
    let named = words.iter().enumerate().find_map(|(place, word)| {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (*word, words.get(place + 1).copied()),
        };
        if let Some(port) = word.strip_prefix("-p").and_then(number) {
            return Some(port);
        }
        let value = value?;
        if PORT_FLAGS.contains(&name) {
            number(value)
        } else if ADDRESS_FLAGS.contains(&name) {
            number(value).or_else(|| of_address(value))
        } else {
            let assigned = word.contains('=') && VARIABLES.contains(&name);
            assigned.then(|| number(value)).flatten()
        }
    });
    let bound =
        || words.iter().filter(|word| word.contains("tcp://")).find_map(|it| of_address(it));
    named.or_else(bound).filter(|port| !is_of_another(*port))
}

/// Reads a port.
pub(super) fn number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// Reads what stands after the last colon.
pub(super) fn of_address(text: &str) -> Option<u16> {
    number(text.rsplit_once(':')?.1.trim_end_matches('/'))
}

/// Puts its default in the place of each `${NAME:-default}`, and nothing in that of a variable
/// without one.
pub(super) fn expanded(text: &str) -> String {
    expanded_by(text, |_| None)
}

/// Puts its value in the place of each `${NAME}`, else its default.
pub(super) fn expanded_by<'t>(text: &str, value: impl Fn(&str) -> Option<&'t str>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((variable, behind)) = after.split_once('}') else { break };
        out.push_str(before);
        let (name, default) = variable.split_once('-').unwrap_or((variable, ""));
        out.push_str(value(name.trim_end_matches(':')).unwrap_or(default));
        rest = behind;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_says_its_port_by_a_flag_an_address_or_a_variable() {
        for (line, want) in [
            ("next dev -p 4000", Some(4000)),
            ("next dev -p4000", Some(4000)),
            ("next dev --port=4000", Some(4000)),
            ("PORT=4000 node server.js", Some(4000)),
            ("cross-env PORT=4000 node server.js", Some(4000)),
            ("FLASK_RUN_PORT=5001 flask run", Some(5001)),
            ("sh -c 'uvicorn app:app --port 8080'", Some(8080)),
            ("gunicorn --bind 127.0.0.1:8000 app", Some(8000)),
            ("gunicorn -b :8000 app", Some(8000)),
            ("bin/rails server -p 3001 -b 0.0.0.0", Some(3001)),
            ("bin/rails server -b 0.0.0.0 -p 3001", Some(3001)),
            ("puma -b tcp://0.0.0.0:9393", Some(9393)),
            ("puma --environment production tcp://127.0.0.1:8000/", Some(8000)),
            ("python manage.py runserver 0.0.0.0:8001", Some(8001)),
            ("python manage.py runserver 8001", Some(8001)),
            ("php -S localhost:8080 -t public", Some(8080)),
            ("dotnet run --urls http://localhost:5005/", Some(5005)),
            ("gunicorn -b 0.0.0.0:${PORT:-8000} app", Some(8000)),
            ("gunicorn -b 0.0.0.0:$PORT app", None),
            ("gunicorn -b 0.0.0.0:${PORT} app", None),
            ("node --inspect=9229 server.js", None),
            ("docker run -p 8080:80 app", None),
            ("mkdir -p dist", None),
            ("tsc -p tsconfig.json", None),
            ("serve --port 0", None),
            ("serve --port 70000", None),
            ("serve --port +80", None),
            ("SUPPORT=1 serve", None),
            ("cross-env DB_PORT=5433 nodemon index.js", None),
            ("redis-server --port 6379", None),
            ("serve --port", None),
            ("serve ${PORT", None),
            ("", None),
        ] {
            assert_eq!(port(line), want, "{line}");
        }
    }

    #[test]
    fn a_command_starts_a_program_by_its_name_or_its_path() {
        for (command, want) in [
            ("vite --port 1", true),
            ("PORT=1 npx vite", true),
            ("node_modules/.bin/vite", true),
            ("vitest", false),
            ("node vite.js", false),
            ("", false),
        ] {
            assert_eq!(starts(command, &["vite"]), want, "{command}");
        }
    }
}

//! The port under which a Compose file shows what it builds.
//!
//! Line by line and not as YAML: one number is wanted, as a guess that is told with its source,
//! and no reader of YAML is to be linked into the proxy for it.

use super::command;

/// What such a file is called; of several the first counts.
pub(super) const FILES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/// What is built here, and published.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Built {
    /// The folder it is built from, from the file's own on: empty, or as in `web/`.
    pub(super) folder: String,
    /// The port of this machine.
    pub(super) port: u16,
}

/// Finds the services with a `build` that are published and started, in order; `value` is what a
/// variable says.
pub(super) fn built<'t>(text: &str, value: impl Fn(&str) -> Option<&'t str>) -> Vec<Built> {
    let text = command::expanded_by(text, value);
    let mut found = Vec::new();
    let mut service = Service::default();
    let mut within = false;
    let mut services = None;
    for line in text.lines().map(without_remark).filter(|line| !line.trim().is_empty()) {
        let indent = line.len() - line.trim_start().len();
        if indent == 0 {
            within = line.trim_end() == "services:";
            continue;
        }
        if !within {
            continue;
        }
        if indent <= *services.get_or_insert(indent) {
            found.extend(std::mem::take(&mut service).built());
        } else {
            service.read(indent, line.trim());
        }
    }
    found.extend(service.built());
    found
}

#[derive(Default)]
struct Service {
    /// What it is built from.
    folder: Option<String>,
    /// Whether it is started only when it is named.
    is_apart: bool,
    port: Option<u16>,
    /// How far `ports:` is indented, while its list lasts.
    ports: Option<usize>,
}

impl Service {
    fn read(&mut self, indent: usize, line: &str) {
        let is_item = line.starts_with('-');
        if self.ports.is_some_and(|ports| indent < ports || (indent == ports && !is_item)) {
            self.ports = None;
        }
        match line.split_once(':') {
            Some(("build" | "context", folder)) if !folder.trim().is_empty() => {
                self.folder = Some(folder_of(folder));
            }
            Some(("build", _)) => self.folder = Some(String::new()),
            Some(("profiles", _)) => self.is_apart = true,
            Some(("ports", inline)) => {
                self.ports = Some(indent);
                inline.trim().trim_matches(['[', ']']).split(',').for_each(|it| self.take(it));
            }
            _ if self.ports.is_some() => self.take(line.trim_start_matches('-')),
            _ => {}
        }
    }

    /// Reads a published port: `8080:80`, `127.0.0.1:8080:80/tcp`, or `published: 8080`.
    fn take(&mut self, item: &str) {
        let item = item.replace(['"', '\''], "");
        let parts: Vec<_> = item.trim().split(':').map(str::trim).collect();
        let port = match *parts {
            ["published", port] => command::number(port),
            [port, of_container] | [_, port, of_container] => {
                let of_container = of_container.split('/').next().unwrap_or_default();
                let of_container = command::number(of_container);
                of_container.filter(|it| !command::is_of_another(*it)).and(command::number(port))
            }
            _ => None,
        };
        self.port = self.port.or(port.filter(|port| !command::is_of_another(*port)));
    }

    fn built(self) -> Option<Built> {
        let built = Built { folder: self.folder?, port: self.port? };
        (!self.is_apart).then_some(built)
    }
}

/// Writes a path as our folders are called: `./web` is `web/`.
fn folder_of(path: &str) -> String {
    let inline = path.split_once("context:").map_or(path, |(_, path)| path);
    let path = inline.split([',', '}']).next().unwrap_or_default().trim();
    let path = path.trim_matches(['"', '\'']).trim_start_matches("./").trim_matches('/');
    if matches!(path, "" | ".") { String::new() } else { format!("{path}/") }
}

fn without_remark(line: &str) -> &str {
    if line.trim_start().starts_with('#') {
        return "";
    }
    line.split(" #").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_that_of_a_service_that_is_built_here() {
        const DATABASE: &str = "  db:\n    image: postgres\n    ports:\n      - \"5432:5432\"\n";
        for (text, want) in [
            ("    build: .\n    ports:\n      - \"8000:80\"\n", Some(8000)),
            ("    build: .\n    ports:\n    - 8000:80\n", Some(8000)),
            ("    ports: [\"8000:80\"]\n    build:\n      context: .\n", Some(8000)),
            ("    build: .\n    ports:\n      - 127.0.0.1:8000:80/tcp # mine\n", Some(8000)),
            (
                "    build: .\n    ports:\n      - target: 80\n        published: \"8000\"\n",
                Some(8000),
            ),
            ("    build: .\n    ports:\n      - ${PORT:-8000}:80\n", Some(8000)),
            ("    build: .\n    ports:\n      - \"8000-8010:80\"\n      - 9000:90\n", Some(9000)),
            ("    build: .\n    ports:\n      - 80\n    environment:\n      - A=8000:80\n", None),
            ("    build: .\n    environment:\n      PORT: 8000\n", None),
            ("    image: x\n    ports:\n      - 8000:80\n", None),
            ("    build: .\n    ports: [\"5678:5678\", \"8000:80\"]\n", Some(8000)),
            ("    build: .\n    ports: [\"5433:5432\"]\n", None),
            ("    build: .\n    profiles: [tools]\n    ports: [\"8000:80\"]\n", None),
            ("    # build: .\n    ports:\n      - 8000:80\n", None),
            ("", None),
        ] {
            for text in [
                format!("services:\n  web:\n{text}{DATABASE}"),
                format!("version: '3'\n\nservices:\n{DATABASE}  web:\n{text}volumes:\n  build:\n"),
            ] {
                let want = want.map(|port| Built { folder: String::new(), port });
                assert_eq!(built(&text, |_| None), Vec::from_iter(want), "{text}");
            }
        }
    }

    #[test]
    fn a_service_is_told_by_the_folder_it_is_built_from() {
        for (build, want) in [
            ("build: ./web", "web/"),
            ("build: \"apps/web/\"", "apps/web/"),
            ("build: { context: ./web, target: a }", "web/"),
            ("build: .", ""),
            ("build:\n      context: ./web\n      dockerfile: Dockerfile", "web/"),
            ("build:\n      dockerfile: Dockerfile", ""),
        ] {
            let text = format!("services:\n  a:\n    {build}\n    ports: [\"8000:80\"]\n");
            assert_eq!(
                built(&text, |_| None),
                [Built { folder: want.to_owned(), port: 8000 }],
                "{build}"
            );
        }
    }

    #[test]
    fn a_variable_says_what_it_is_told_to() {
        let text = "services:\n  a:\n    build: .\n    ports: [\"${A:-8000}:80\"]\n";
        for (value, port) in [(Some("8001"), 8001), (None, 8000)] {
            assert_eq!(built(text, |_| value)[0].port, port);
        }
    }

    #[test]
    fn a_service_stands_under_services() {
        assert_eq!(built("x-web:\n  a:\n    build: .\n    ports: [\"1:2\"]\n", |_| None), []);
    }
}

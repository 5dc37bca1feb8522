//! The port under which a Compose file shows what it builds.
//!
//! Line by line and not as YAML: one number is wanted, as a guess that is told with its source,
//! and no reader of YAML is to be linked into the proxy for it.

use super::command;

/// What such a file is called; of several the first counts.
pub(super) const FILES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/// Finds the port of this machine on which the first service with a `build` is published.
pub(super) fn published(text: &str) -> Option<u16> {
    let text = command::expanded(text);
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
            if service.port().is_some() {
                return service.port();
            }
            service = Service::default();
        } else {
            service.read(indent, line.trim());
        }
    }
    service.port()
}

#[derive(Default)]
struct Service {
    is_built: bool,
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
            Some(("build", _)) => self.is_built = true,
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
                command::number(of_container).and_then(|_| command::number(port))
            }
            _ => None,
        };
        self.port = self.port.or(port);
    }

    fn port(&self) -> Option<u16> {
        self.port.filter(|_| self.is_built)
    }
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
    fn the_port_is_that_of_the_first_service_that_is_built_here() {
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
            ("    # build: .\n    ports:\n      - 8000:80\n", None),
            ("", None),
        ] {
            for text in [
                format!("services:\n  web:\n{text}{DATABASE}"),
                format!("version: '3'\n\nservices:\n{DATABASE}  web:\n{text}volumes:\n  build:\n"),
            ] {
                assert_eq!(published(&text), want, "{text}");
            }
        }
    }

    #[test]
    fn a_service_stands_under_services() {
        assert_eq!(published("x-web:\n  a:\n    build: .\n    ports: [\"1:2\"]\n"), None);
    }
}

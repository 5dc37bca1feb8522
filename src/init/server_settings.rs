//! The port in a server's own settings, which are about nothing else.

use super::{command, source};

/// Finds the port in the text of a file.
type Read = fn(&str) -> Option<u16>;

/// Such files, each with what reads it.
pub(super) const FILES: [(&str, Read); 5] = [
    ("Properties/launchSettings.json", of_launch_settings),
    ("config/puma.rb", of_puma),
    ("src/main/resources/application.properties", source::port),
    ("src/main/resources/application.yml", of_spring),
    ("src/main/resources/application.yaml", of_spring),
];

/// Where front ends are configured that have a server of their own while they are written.
pub(super) const OF_PAGES: [&str; 6] = [
    "vite.config.ts",
    "vite.config.js",
    "vite.config.mts",
    "vite.config.mjs",
    "astro.config.mjs",
    "nuxt.config.ts",
];

/// Reads `server: { port: 3002 }`, or `devServer: { … }` as Nuxt has it. What else there is of
/// ports is not where pages are: `preview`, or a proxy's target.
pub(super) fn of_pages(text: &str) -> Option<u16> {
    let (_, server) = text.split_once("erver:")?;
    source::port(server.split('}').next()?)
}

/// ASP.NET: `"applicationUrl": "https://localhost:7001;http://localhost:5123"`.
fn of_launch_settings(text: &str) -> Option<u16> {
    let urls = text.lines().find(|line| line.contains("\"applicationUrl\""))?;
    let urls = urls.split('"').nth(3)?;
    urls.split(';').find(|url| url.starts_with("http://")).and_then(command::of_address)
}

/// Rails: `port 3010`, `port ENV.fetch("PORT", 3010)`, `bind "tcp://127.0.0.1:3010"`. Where it says
/// several, by what is another file's matter, it says none.
fn of_puma(text: &str) -> Option<u16> {
    let mut told = text.lines().filter_map(line_of_puma);
    let first = told.next()?;
    told.all(|other| other == first).then_some(first)
}

fn line_of_puma(line: &str) -> Option<u16> {
    let (word, rest) = line.trim().split_once([' ', '('])?;
    let told = match word {
        "port" => rest.split(" #").next()?,
        "bind" => rest.split_once("tcp://")?.1.split_once(':')?.1,
        _ => return None,
    };
    // An address with colons of its own is in brackets.
    let told = told.rsplit_once("]:").map_or(told, |(_, port)| port);
    let is_part_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut words = told.split(|letter| !is_part_of_name(letter));
    // Below 1024 it is a container's, or a server's in production.
    words.find_map(|word| command::number(word).filter(|port| *port >= 1024))
}

/// Spring: `port:` below `server:`.
fn of_spring(text: &str) -> Option<u16> {
    let mut within = false;
    text.lines().find_map(|line| {
        let line = line.split(" #").next()?;
        if !line.starts_with([' ', '\t', '#']) && !line.is_empty() {
            within = line.trim_end() == "server:";
        }
        let value = if within { line.trim().strip_prefix("port:") } else { None };
        let value = value.or_else(|| line.strip_prefix("server.port:"))?;
        let of_variable = value.trim().strip_prefix("${").and_then(|it| it.strip_suffix('}'));
        let default = of_variable.and_then(|it| it.split_once(':')).map(|(_, default)| default);
        command::number(default.unwrap_or(value).trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds a reader against what each text says.
    fn expect(read: Read, table: &[(&str, Option<u16>)]) {
        for (text, want) in table {
            assert_eq!(read(text), *want, "{text}");
        }
    }

    #[test]
    fn puma_says_it_by_port_or_bind() {
        expect(
            of_puma,
            &[
                ("threads 1, 5\nport 3010\n", Some(3010)),
                ("port(3010)", Some(3010)),
                ("port ENV.fetch(\"PORT\", 3010)", Some(3010)),
                ("  port ENV.fetch('PORT') { 3010 } # or 3011", Some(3010)),
                ("port ENV[\"PORT\"] || 3010, \"0.0.0.0\"", Some(3010)),
                ("port ENV.fetch(\"PORT_V2\", 3010)", Some(3010)),
                ("port ENV.fetch(\"PORT2\", 3010)", Some(3010)),
                ("bind \"tcp://127.0.0.1:3010\"", Some(3010)),
                ("bind \"tcp://0.0.0.0:3010\" # note: 2 workers", Some(3010)),
                ("bind \"tcp://[::]:3010\"", Some(3010)),
                ("bind \"tcp://[::1]:#{ENV.fetch(\"PORT\", 3010)}\"", Some(3010)),
                ("bind \"tcp://0.0.0.0:#{ENV.fetch(\"PORT\", 3010)}\"", Some(3010)),
                ("bind \"unix:///run/puma.sock\"\nport 3010", Some(3010)),
                ("if prod\n  bind \"tcp://0.0.0.0:80\"\nelse\n  port 3010\nend", Some(3010)),
                ("if prod\n  port 8080\nelse\n  port 3010\nend", None),
                ("bind \"unix:///run/puma.sock\"", None),
                ("# port 3010", None),
                ("port ENV[\"PORT\"]", None),
                ("port_of_something 3010", None),
                ("threads 5, 5", None),
                ("", None),
            ],
        );
    }

    #[test]
    fn spring_says_it_below_server() {
        expect(
            of_spring,
            &[
                ("server:\n  port: 9090\n", Some(9090)),
                (
                    "spring:\n  data:\n    redis:\n      port: 6380\nserver:\n  port: 9090",
                    Some(9090),
                ),
                ("server:\n  # ours\n  port: ${PORT:9090} # or another\n", Some(9090)),
                ("server.port: 9090", Some(9090)),
                ("server:\n  port: ${PORT}\n", None),
                ("server:\n  address: a\nmanagement:\n  port: 9091", None),
                ("", None),
            ],
        );
    }

    #[test]
    fn pages_are_where_their_server_is_and_not_where_they_are_looked_at() {
        expect(
            of_pages,
            &[
                ("export default defineConfig({\n  server: { port: 3002 },\n})", Some(3002)),
                (
                    "{\n  preview: { port: 8080 },\n  server: {\n    port: 3002,\n  },\n}",
                    Some(3002),
                ),
                ("{ server: { port: Number(process.env.PORT) || 3002 } }", Some(3002)),
                ("defineNuxtConfig({ devServer: { port: 3002 } })", Some(3002)),
                ("{ preview: { port: 8080 } }", None),
                ("{ server: { open: true }, preview: { port: 8080 } }", None),
                ("", None),
            ],
        );
    }

    #[test]
    fn asp_net_says_it_in_an_address() {
        let both = "{\n\"applicationUrl\": \"https://localhost:7001;http://localhost:5123\",\n}";
        let none = "{\n\"applicationUrl\": \"https://localhost:7001\"\n}";
        expect(of_launch_settings, &[(both, Some(5123)), (none, None), ("", None)]);
    }
}

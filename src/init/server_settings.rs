//! The port in a server's own settings, which are about nothing else.

use serde_json::Value;

use super::{command, source};

/// Finds the port in the text of a file.
type Read = fn(&str) -> Option<u16>;

/// Such files, each with what reads it.
pub(super) const FILES: [(&str, Read); 5] = [
    ("Properties/launchSettings.json", of_launch_settings),
    ("config/puma.rb", of_puma),
    ("src/main/resources/application.properties", of_properties),
    ("src/main/resources/application.yml", of_spring),
    ("src/main/resources/application.yaml", of_spring),
];

/// Where front ends are configured that have a server of their own while they are written.
pub(super) const OF_PAGES: [&str; 8] = [
    "vite.config.ts",
    "vite.config.js",
    "vite.config.mts",
    "vite.config.mjs",
    "astro.config.mjs",
    "astro.config.ts",
    "astro.config.mts",
    "nuxt.config.ts",
];

/// Reads `server: { port: 3002 }`, or `devServer: { … }` as Nuxt has it. What else there is of
/// ports is not where pages are: `preview`, a proxy's target, or `hmr` within the same braces.
pub(super) fn of_pages(text: &str) -> Option<u16> {
    let (_, server) = text.split_once("devServer:").or_else(|| text.split_once("server:"))?;
    source::port(&outermost(server.trim_start().strip_prefix('{')?))
}

/// Returns what stands between braces, each inner pair with all in it taken out.
fn outermost(text: &str) -> String {
    let mut depth = 0;
    let of_depth = text.chars().map_while(|letter| {
        let before = depth;
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => return None,
            '}' => depth -= 1,
            _ => {}
        }
        Some((before.max(depth), letter))
    });
    of_depth.filter(|(depth, _)| *depth == 0).map(|(_, letter)| letter).collect()
}

/// ASP.NET: `"applicationUrl": "https://localhost:7001;http://localhost:5123"` of a profile that
/// starts the project. Another is for IIS.
fn of_launch_settings(text: &str) -> Option<u16> {
    let json: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).ok()?;
    let profiles = json.get("profiles")?.as_object()?.values();
    let mut own = profiles.filter(|it| it.get("commandName").is_none_or(|it| it == "Project"));
    own.find_map(|profile| {
        let mut urls = profile.get("applicationUrl")?.as_str()?.split(';');
        urls.find(|url| url.starts_with("http://")).and_then(command::of_address)
    })
}

/// Spring and Quarkus: `server.port=9090`, `server.port=${PORT:9090}`.
fn of_properties(text: &str) -> Option<u16> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(['=', ':'])?;
        let is_own = matches!(name.trim(), "server.port" | "quarkus.http.port");
        is_own.then(|| or_default(value)).flatten()
    })
}

/// Reads `9090`, or the default of `${PORT:9090}`.
fn or_default(value: &str) -> Option<u16> {
    let of_variable = value.trim().strip_prefix("${").and_then(|it| it.strip_suffix('}'));
    let default = of_variable.and_then(|it| it.split_once(':')).map(|(_, default)| default);
    command::number(default.unwrap_or(value).trim())
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
        or_default(value)
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
                (
                    "{ server: { proxy: { '/api': { target: 'http://localhost:8000', port: 1 } }, port: 3002 } }",
                    Some(3002),
                ),
                ("{ server: {\n  watch: { usePolling: true },\n  port: 3002,\n} }", Some(3002)),
                (
                    "{ vite: { server: { hmr: { port: 1 } } }, devServer: { port: 3002 } }",
                    Some(3002),
                ),
                ("{ server: { hmr: { port: 24678 } } }", None),
                ("{ preview: { port: 8080 } }", None),
                ("{ server: { open: true }, preview: { port: 8080 } }", None),
                ("", None),
            ],
        );
    }

    #[test]
    fn asp_net_says_it_in_an_address() {
        let profile = |command: &str, urls: &str| {
            format!(
                "\"{command}\": {{\"commandName\": \"{command}\", \"applicationUrl\": \"{urls}\"}}"
            )
        };
        let of = |profiles: &[String]| {
            let iis =
                r#""iisSettings": {"iisExpress": {"applicationUrl": "http://localhost:39125"}}"#;
            format!("{{{iis}, \"profiles\": {{{}}}}}", profiles.join(", "))
        };
        let both = profile("Project", "https://localhost:7001;http://localhost:5123");
        for (text, want) in [
            (of(&[profile("IISExpress", "http://localhost:39125"), both]), Some(5123)),
            (of(&[profile("Project", "https://localhost:7001")]), None),
            (of(&[]), None),
            (String::new(), None),
        ] {
            assert_eq!(of_launch_settings(&text), want, "{text}");
        }
    }

    #[test]
    fn properties_say_it_by_one_name() {
        expect(
            of_properties,
            &[
                ("spring.data.redis.port=6380\nserver.port=9090", Some(9090)),
                ("server.port=${PORT:9090}", Some(9090)),
                ("quarkus.http.port = 9090", Some(9090)),
                ("management.server.port=8081", None),
                ("", None),
            ],
        );
    }
}

//! The backend's port, by whatever says it most plainly.

use super::folder::{Folder, Place};
use super::front_end::{self, FrontEnd, Serves};
use super::package::{self, Package};
use super::{command, compose, env_file, source};

/// A port, and what it is believed by.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Guess {
    pub(super) port: u16,
    /// As in `PORT in .env`, or `manage.py: where Django listens by default`.
    pub(super) by: String,
}

/// Where a server listens that is told nothing: the file that tells of it, a word in it, what it
/// is called, its port. Of several the first counts.
#[rustfmt::skip]
const DEFAULTS: [(&str, &str, &str, u16); 29] = [
    ("manage.py",         "",             "Django",      8000),
    ("artisan",           "",             "Laravel",     8000),
    ("mix.exs",           "phoenix",      "Phoenix",     4000),
    ("Gemfile",           "rails",        "Rails",       3000),
    ("Gemfile",           "sinatra",      "Sinatra",     4567),
    ("config.ru",         "",             "Rack",        9292),
    ("pyproject.toml",    "django",       "Django",      8000),
    ("pyproject.toml",    "fastapi",      "FastAPI",     8000),
    ("pyproject.toml",    "flask",        "Flask",       5000),
    ("requirements.txt",  "django",       "Django",      8000),
    ("requirements.txt",  "fastapi",      "FastAPI",     8000),
    ("requirements.txt",  "flask",        "Flask",       5000),
    ("Pipfile",           "django",       "Django",      8000),
    ("Pipfile",           "fastapi",      "FastAPI",     8000),
    ("Pipfile",           "flask",        "Flask",       5000),
    ("composer.json",     "symfony",      "Symfony",     8000),
    ("Cargo.toml",        "rocket",       "Rocket",      8000),
    ("Cargo.toml",        "actix-web",    "Actix",       8080),
    ("Cargo.toml",        "axum",         "Axum",        3000),
    ("pom.xml",           "spring-boot",  "Spring Boot", 8080),
    ("pom.xml",           "quarkus",      "Quarkus",     8080),
    ("build.gradle",      "springframework", "Spring Boot", 8080),
    ("build.gradle",      "quarkus",      "Quarkus",     8080),
    ("build.gradle",      "ktor",         "Ktor",        8080),
    ("build.gradle.kts",  "springframework", "Spring Boot", 8080),
    ("build.gradle.kts",  "quarkus",      "Quarkus",     8080),
    ("build.gradle.kts",  "ktor",         "Ktor",        8080),
    ("deno.json",         "",             "Deno",        8000),
    ("go.mod",            "",             "Go",          8080),
];

/// Servers for Node, which listen on 3000 by custom.
const NODE: [(&str, &str); 7] = [
    ("@nestjs/core", "NestJS"),
    ("express", "Express"),
    ("fastify", "Fastify"),
    ("koa", "Koa"),
    ("hono", "Hono"),
    ("@hapi/hapi", "hapi"),
    ("@adonisjs/core", "AdonisJS"),
];

/// What start commands stand in, the one for one's own machine first.
const PROCFILES: [&str; 2] = ["Procfile.dev", "Procfile"];

/// What an image is made by.
const DOCKERFILE: &str = "Dockerfile";

/// Where ASP.NET keeps addresses.
const LAUNCH_SETTINGS: &str = "Properties/launchSettings.json";

/// Where Rails keeps the settings of its server.
const PUMA: &str = "config/puma.rb";

/// Where programs say in their own text where they listen.
const SOURCES: [&str; 23] = [
    LAUNCH_SETTINGS,
    PUMA,
    "src/main/resources/application.properties",
    "server.ts",
    "server.js",
    "server.mjs",
    "src/server.ts",
    "src/server.js",
    "src/main.ts",
    "src/index.ts",
    "src/index.js",
    "src/app.ts",
    "main.ts",
    "index.ts",
    "index.js",
    "index.mjs",
    "app.ts",
    "app.js",
    "main.py",
    "app.py",
    "main.go",
    "src/main.rs",
    "config.ru",
];

/// Names the files that are asked about a port, besides those of variables.
pub(super) fn files() -> impl Iterator<Item = &'static str> {
    let of_defaults = DEFAULTS.into_iter().map(|(file, ..)| file);
    let all = PROCFILES.into_iter().chain(compose::FILES).chain(SOURCES).chain(of_defaults);
    all.chain([package::FILE, DOCKERFILE])
}

/// Guesses where the backend listens, and names its folder; nothing where nothing says it.
///
/// A folder with a backend alone is believed before one with a front end: where both are there,
/// the front end is not what the proxy stands before.
pub(super) fn guess(folder: &Folder) -> Option<(Guess, String)> {
    let places = folder.places.iter().map(|place| (place, front_end::of_place(place)));
    let places: Vec<_> = places.collect();
    let alone = places.iter().filter(|(_, front_end)| front_end.is_none());
    let both = places.iter().filter(|(_, front_end)| front_end.is_some());
    alone
        .chain(both)
        .find_map(|(place, front_end)| Some((of_place(place, front_end.as_ref())?, place.path(""))))
}

fn of_place(place: &Place, front_end: Option<&FrontEnd>) -> Option<Guess> {
    let custom = by_custom(place, front_end);
    // What a front end without a backend says of ports is about itself.
    if custom.is_none() && front_end.is_some() {
        return None;
    }
    by_command(place, front_end)
        .or_else(|| by_variable(place))
        .or_else(|| by_compose(place))
        .or_else(|| by_source(place))
        .or_else(|| by_image(place))
        .or(custom)
}

fn by_command(place: &Place, front_end: Option<&FrontEnd>) -> Option<Guess> {
    let of_procfile = PROCFILES.into_iter().find_map(|file| {
        let web = place.file(file)?.lines().find_map(|line| line.strip_prefix("web:"))?;
        Some(Guess { port: command::port(web)?, by: place.path(file) })
    });
    let package = Package::parse(place.file(package::FILE).unwrap_or_default());
    let is_backend = |command: &str| front_end.is_none_or(|it| !it.is_started_by(command));
    let mut scripts = package.commands().filter(|(_, command)| is_backend(command));
    let of_script = || {
        scripts.find_map(|(name, command)| {
            let by = format!("{}, script `{name}`", place.path(package::FILE));
            Some(Guess { port: command::port(command)?, by })
        })
    };
    of_procfile.or_else(of_script)
}

fn by_variable(place: &Place) -> Option<Guess> {
    env_file::FILES.into_iter().find_map(|file| {
        let port = command::number(env_file::find(place.file(file)?, "PORT")?)?;
        Some(Guess { port, by: format!("PORT in {}", place.path(file)) })
    })
}

fn by_compose(place: &Place) -> Option<Guess> {
    let (file, text) = place.first(&compose::FILES)?;
    let by = format!("{}, the first service with a `build`", place.path(file));
    Some(Guess { port: compose::published(text)?, by })
}

fn by_source(place: &Place) -> Option<Guess> {
    SOURCES.into_iter().find_map(|file| {
        // Files that are about a server alone have words of their own for it.
        let read = match file {
            LAUNCH_SETTINGS => of_launch_settings,
            PUMA => of_puma,
            _ => source::port,
        };
        Some(Guess { port: read(place.file(file)?)?, by: place.path(file) })
    })
}

fn of_launch_settings(text: &str) -> Option<u16> {
    let urls = text.lines().find(|line| line.contains("\"applicationUrl\""))?;
    let urls = urls.split('"').nth(3)?;
    urls.split(';').find(|url| url.starts_with("http://")).and_then(command::of_address)
}

/// Reads `port 3010`, `port ENV.fetch("PORT", 3010)`, `bind "tcp://127.0.0.1:3010"`.
fn of_puma(text: &str) -> Option<u16> {
    text.lines().find_map(|line| {
        let (word, rest) = line.trim().split_once([' ', '('])?;
        let told = match word {
            "port" => rest,
            "bind" => rest.split_once("tcp://")?.1.rsplit_once(':')?.1,
            _ => return None,
        };
        told.split(|letter: char| !letter.is_ascii_digit()).find_map(command::number)
    })
}

/// Reads the port of an image. Below 1024 it is the container's alone: on the machine itself it
/// takes root.
fn by_image(place: &Place) -> Option<Guess> {
    let text = place.file(DOCKERFILE)?;
    let exposed = text.lines().filter_map(|line| line.trim().strip_prefix("EXPOSE "));
    let ports =
        exposed.flat_map(|line| line.split_whitespace().map(command::expanded).collect::<Vec<_>>());
    let mut ports = ports.filter_map(|word| command::number(word.split('/').next()?));
    let port = ports.find(|port| *port >= 1024)?;
    Some(Guess { port, by: format!("EXPOSE in {}", place.path(DOCKERFILE)) })
}

fn by_custom(place: &Place, front_end: Option<&FrontEnd>) -> Option<Guess> {
    let custom = |file, name, port| Guess {
        port,
        by: format!("{}: where {name} listens by default", place.path(file)),
    };
    let package = place.file(package::FILE).map(Package::parse).unwrap_or_default();
    let node = NODE.into_iter().find(|(dependency, _)| package.needs(dependency));
    let node = node.map(|(_, name)| custom(package::FILE, name, 3000));
    let other = DEFAULTS.into_iter().find(|(file, word, ..)| {
        place.file(file).is_some_and(|text| word.is_empty() || has_word(text, word))
    });
    let other = other.map(|(file, _, name, port)| custom(file, name, port));
    let own = front_end.filter(|it| it.framework.serves == Serves::Requests);
    let own = own.map(|it| custom(package::FILE, it.framework.name, it.port));
    node.or(other).or(own)
}

/// Tells whether a name stands in a text: `flask`, and not `flaskless`.
fn has_word(text: &str, word: &str) -> bool {
    let text = text.to_lowercase();
    let is_more = |next: Option<char>| next.is_some_and(char::is_alphanumeric);
    text.match_indices(word).any(|(at, _)| {
        !is_more(text[..at].chars().next_back()) && !is_more(text[at + word.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::folder::tests::folder;

    const EXPRESS: &str = r#"{"dependencies": {"express": "5"}}"#;
    const NEXT: &str = r#"{"dependencies": {"next": "16", "react": "19"}}"#;
    const VITE: &str = r#"{"dependencies": {"vite": "7"}, "scripts": {"dev": "vite --port 3001"}}"#;

    #[test]
    fn the_port_is_told_by_what_says_it_most_plainly() {
        for (files, want) in [
            (
                &[("Procfile", "worker: x -p 1\nweb: gunicorn -b :8001 app"), ("manage.py", "")]
                    as &[_],
                Some((8001, "Procfile")),
            ),
            (
                &[("Procfile", "web: gunicorn app"), ("manage.py", "")],
                Some((8000, "manage.py: where Django listens by default")),
            ),
            (
                &[(
                    "package.json",
                    r#"{"dependencies": {"express": "5"}, "scripts": {"start": "PORT=4001 node ."}}"#,
                )],
                Some((4001, "package.json, script `start`")),
            ),
            (
                &[("package.json", EXPRESS), (".env", "PORT=4002"), ("index.js", "app.listen(1)")],
                Some((4002, "PORT in .env")),
            ),
            (
                &[("package.json", EXPRESS), (".env", "PORT=4002"), (".env.local", "PORT=4003")],
                Some((4003, "PORT in .env.local")),
            ),
            (
                &[
                    ("compose.yaml", "services:\n  a:\n    build: .\n    ports: [\"8085:80\"]\n"),
                    ("go.mod", ""),
                ],
                Some((8085, "compose.yaml, the first service with a `build`")),
            ),
            (
                &[("main.go", "http.ListenAndServe(\":8086\", nil)"), ("go.mod", "")],
                Some((8086, "main.go")),
            ),
            (
                &[("Dockerfile", "FROM x\nEXPOSE 80 8087/tcp\n"), ("go.mod", "")],
                Some((8087, "EXPOSE in Dockerfile")),
            ),
            (
                &[("Dockerfile", "EXPOSE 80"), ("go.mod", "")],
                Some((8080, "go.mod: where Go listens by default")),
            ),
            (
                &[(
                    "Properties/launchSettings.json",
                    "{\n\"applicationUrl\": \"https://localhost:7001;http://localhost:5123\",\n}",
                )],
                Some((5123, "Properties/launchSettings.json")),
            ),
            (
                &[
                    ("src/main/resources/application.properties", "server.port=9090"),
                    ("pom.xml", "spring-boot"),
                ],
                Some((9090, "src/main/resources/application.properties")),
            ),
            (
                &[("Gemfile", "gem \"rails\""), ("config/puma.rb", "port 3010")],
                Some((3010, "config/puma.rb")),
            ),
            (
                &[("package.json", EXPRESS)],
                Some((3000, "package.json: where Express listens by default")),
            ),
            (
                &[("package.json", NEXT)],
                Some((3000, "package.json: where Next.js listens by default")),
            ),
            (
                &[("Gemfile", "gem \"rails\""), ("config.ru", "run App")],
                Some((3000, "Gemfile: where Rails listens by default")),
            ),
            (
                &[("Gemfile", "gem 'rack'"), ("config.ru", "run App")],
                Some((9292, "config.ru: where Rack listens by default")),
            ),
            (
                &[("pyproject.toml", "dependencies = [\"FastAPI>=0.100\"]")],
                Some((8000, "pyproject.toml: where FastAPI listens by default")),
            ),
            (&[("requirements.txt", "flaskless")], None),
            (
                &[("requirements.txt", "Flask==3")],
                Some((5000, "requirements.txt: where Flask listens by default")),
            ),
            // A front end says nothing of its backend, wherever that is.
            (&[("package.json", VITE), (".env", "PORT=4000")], None),
            (
                &[("web/package.json", VITE), ("server/package.json", EXPRESS)],
                Some((3000, "server/package.json: where Express listens by default")),
            ),
            (
                &[("package.json", NEXT), ("server/go.mod", "")],
                Some((8080, "server/go.mod: where Go listens by default")),
            ),
            (
                &[(
                    "package.json",
                    r#"{"dependencies": {"vite": "7", "express": "5"}, "scripts": {"dev": "vite --port 3001 & node . --port 4004"}}"#,
                )],
                Some((4004, "package.json, script `dev`")),
            ),
            (&[], None),
        ] {
            let want = want.map(|(port, by): (u16, &str)| Guess { port, by: by.to_owned() });
            assert_eq!(guess(&folder(files)).map(|(guess, _)| guess), want, "{files:?}");
        }
    }

    #[test]
    fn the_settings_of_puma_tell_a_port() {
        for (text, want) in [
            ("threads 1, 5\nport 3010\n", Some(3010)),
            ("port(3010)", Some(3010)),
            ("port ENV.fetch(\"PORT\", 3010)", Some(3010)),
            ("  port ENV.fetch('PORT') { 3010 } # or 3011", Some(3010)),
            ("port ENV[\"PORT\"] || 3010, \"0.0.0.0\"", Some(3010)),
            ("bind \"tcp://127.0.0.1:3010\"", Some(3010)),
            ("bind \"tcp://[::]:#{ENV.fetch(\"PORT\", 3010)}\"", Some(3010)),
            ("bind \"unix:///run/puma.sock\"", None),
            ("bind \"unix:///run/puma.sock\"\nport 3010", Some(3010)),
            ("# port 3010", None),
            ("port ENV[\"PORT\"]", None),
            ("port_of_something 3010", None),
            ("threads 5, 5", None),
            ("", None),
        ] {
            assert_eq!(of_puma(text), want, "{text}");
        }
    }
}

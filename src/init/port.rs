//! The backend's port, by whatever says it most plainly.

use super::folder::Place;
use super::front_end::{self, FrontEnd, Serves};
use super::package::{self, Package};
use super::{command, compose, env_file, server_settings, source};

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
    ("Gemfile",           "\"rails\"",    "Rails",       3000),
    ("Gemfile",           "\"sinatra\"",  "Sinatra",     4567),
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

/// What runs a server for Node that is known by no dependency.
const RUNTIMES: [&str; 7] = ["node", "nodemon", "tsx", "ts-node", "ts-node-dev", "bun", "deno"];

/// What start commands stand in, the one for one's own machine first.
const PROCFILES: [&str; 2] = ["Procfile.dev", "Procfile"];

/// What an image is made by.
const DOCKERFILE: &str = "Dockerfile";

/// Where programs say in their own text where they listen.
const SOURCES: [&str; 20] = [
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
    let of_settings = server_settings::FILES.into_iter().map(|(file, _)| file);
    let all = PROCFILES.into_iter().chain(compose::FILES).chain(SOURCES).chain(of_defaults);
    all.chain(of_settings).chain([package::FILE, DOCKERFILE])
}

/// Guesses where the backend listens, and names its folder; nothing where nothing says it.
///
/// A folder with a backend alone is believed before one with a front end: where both are there,
/// the front end is not what the proxy stands before.
pub(super) fn guess(places: &[&Place]) -> Option<(Guess, String)> {
    let places = places.iter().map(|place| (*place, front_end::of_place(place)));
    let (alone, both): (Vec<_>, Vec<_>) = places.partition(|(_, front_end)| front_end.is_none());
    let no_backends = both.iter().filter(|(place, front_end)| {
        let answers = front_end.as_ref().is_some_and(|it| it.framework.serves == Serves::Requests);
        !answers && server(place).is_none()
    });
    let no_backends: Vec<_> = no_backends.map(|(place, _)| place.path("")).collect();
    alone.iter().chain(&both).find_map(|(place, front_end)| {
        Some((of_place(place, front_end.as_ref(), &no_backends)?, place.path("")))
    })
}

fn of_place(place: &Place, front_end: Option<&FrontEnd>, no_backends: &[String]) -> Option<Guess> {
    let server = server(place);
    let by_compose = || by_compose(place, no_backends);
    if let (None, Some(front_end)) = (&server, front_end) {
        // What a front end without a backend says of ports is about itself.
        let answers = front_end.framework.serves == Serves::Requests;
        return answers.then(|| by_pages(front_end, by_compose));
    }
    by_procfile(place)
        .or_else(|| by_script(place, front_end, server.is_some()))
        .or_else(|| env_file::port(place).map(|(port, by)| Guess { port, by }))
        .or_else(by_compose)
        .or_else(|| by_settings(place))
        .or_else(|| by_source(place))
        .or_else(|| by_image(place))
        .or(server)
}

/// The server of the pages is the backend: where it is told to listen, or is published, or listens
/// by default.
fn by_pages(front_end: &FrontEnd, by_compose: impl FnOnce() -> Option<Guess>) -> Guess {
    let told = front_end.told.clone().map(|(port, by)| Guess { port, by });
    told.or_else(by_compose).unwrap_or_else(|| Guess {
        port: front_end.port(),
        by: format!("{}: where {} listens by default", front_end.by, front_end.framework.name),
    })
}

fn by_procfile(place: &Place) -> Option<Guess> {
    PROCFILES.into_iter().find_map(|file| {
        let web = place.file(file)?.lines().find_map(|line| line.strip_prefix("web:"))?;
        Some(Guess { port: command::port(web)?, by: place.path(file) })
    })
}

/// A script may start other things too: pages, and where no server is known whatever it likes.
fn by_script(place: &Place, front_end: Option<&FrontEnd>, is_server: bool) -> Option<Guess> {
    let package = Package::parse(place.file(package::FILE)?);
    let is_backend = |command: &str| {
        let mut words = command.split_whitespace();
        let runs = is_server || words.any(|word| RUNTIMES.contains(&word));
        runs && front_end.is_none_or(|it| !it.is_started_by(command))
    };
    package.commands().filter(|(_, command)| is_backend(command)).find_map(|(name, command)| {
        let by = format!("{}, script `{name}`", place.path(package::FILE));
        Some(Guess { port: command::port(command)?, by })
    })
}

/// A service that is no front end's; a path in a Compose file begins at the file.
fn by_compose(place: &Place, no_backends: &[String]) -> Option<Guess> {
    let (file, text) = place.first(&compose::FILES)?;
    let by = format!("{}, the first service with a `build`", place.path(file));
    let mut services = compose::built(text).into_iter();
    let found = services.find(|it| !no_backends.contains(&place.path(&it.folder)))?;
    Some(Guess { port: found.port, by })
}

fn by_settings(place: &Place) -> Option<Guess> {
    server_settings::FILES.into_iter().find_map(|(file, read)| {
        Some(Guess { port: read(place.file(file)?)?, by: place.path(file) })
    })
}

fn by_source(place: &Place) -> Option<Guess> {
    SOURCES.into_iter().find_map(|file| {
        Some(Guess { port: source::port(place.file(file)?)?, by: place.path(file) })
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
    let port = ports.find(|port| *port >= 1024 && !command::is_of_another(*port))?;
    Some(Guess { port, by: format!("EXPOSE in {}", place.path(DOCKERFILE)) })
}

/// The server that a folder is known to have, and where that listens by default.
fn server(place: &Place) -> Option<Guess> {
    let by_default = |file, name, port| Guess {
        port,
        by: format!("{}: where {name} listens by default", place.path(file)),
    };
    let package = place.file(package::FILE).map(Package::parse).unwrap_or_default();
    let node = NODE.into_iter().find(|(dependency, _)| package.needs(dependency));
    let node = node.map(|(_, name)| by_default(package::FILE, name, 3000));
    let other = DEFAULTS.into_iter().find(|(file, word, ..)| {
        place.file(file).is_some_and(|text| word.is_empty() || has_word(text, word))
    });
    node.or(other.map(|(file, _, name, port)| by_default(file, name, port)))
}

/// Tells whether a name stands in a text: `flask`, and not `flaskless`. Quotes are of one kind.
fn has_word(text: &str, word: &str) -> bool {
    let text = text.to_lowercase().replace('\'', "\"");
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
            // Production is another place.
            (
                &[(
                    "package.json",
                    r#"{"dependencies": {"next": "16"}, "scripts": {"start": "next start -p 8080", "dev": "next dev"}}"#,
                )],
                Some((3000, "package.json: where Next.js listens by default")),
            ),
            (
                &[("package.json", NEXT), (".env", "PORT=4000")],
                Some((3000, "package.json: where Next.js listens by default")),
            ),
            // What a Compose file builds may be pages, or a database.
            (
                &[
                    (
                        "compose.yaml",
                        "services:\n  db:\n    build: ./db\n    ports: [\"5432:5432\"]\n  web:\n    build: ./web\n    ports: [\"5173:5173\"]\n  api:\n    build: ./api\n    ports: [\"8005:8000\"]\n",
                    ),
                    ("web/package.json", VITE),
                    ("api/requirements.txt", "fastapi"),
                ],
                Some((8005, "compose.yaml, the first service with a `build`")),
            ),
            // A folder with no server known has one where a runtime is told to start it.
            (
                &[("packages/ui/package.json", r#"{"scripts": {"dev": "storybook dev -p 6006"}}"#)],
                None,
            ),
            (
                &[("package.json", r#"{"scripts": {"dev": "PORT=4001 node server.js"}}"#)],
                Some((4001, "package.json, script `dev`")),
            ),
            (
                &[("Gemfile", "gem 'rails-html-sanitizer'\ngem 'sinatra'")],
                Some((4567, "Gemfile: where Sinatra listens by default")),
            ),
            (
                &[("Dockerfile", "EXPOSE 9229 8087"), ("go.mod", "")],
                Some((8087, "EXPOSE in Dockerfile")),
            ),
            (&[], None),
        ] {
            let want = want.map(|(port, by): (u16, &str)| Guess { port, by: by.to_owned() });
            let folder = folder(files);
            let places: Vec<_> = folder.places.iter().collect();
            assert_eq!(guess(&places).map(|(guess, _)| guess), want, "{files:?}");
        }
    }
}

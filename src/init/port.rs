//! The backend's port, by whatever says it most plainly.

use super::folder::Place;
use super::front_end::{self, FrontEnd, Serves};
use super::package::{self, Package};
use super::{command, compose, env_file, server, server_settings, source};

/// A port, and what it is believed by.
#[derive(Debug)]
pub(super) struct Guess {
    pub(super) port: u16,
    /// As in `PORT in .env`, or `manage.py: where Django listens by default`.
    pub(super) by: String,
    pub(super) sure: Sure,
    /// Whether the server answers with the pages of the front end in its folder.
    pub(super) has_pages: bool,
}

impl Guess {
    pub(super) fn told(port: u16, by: String) -> Self {
        Self { port, by, sure: Sure::Told, has_pages: false }
    }
}

/// How much a port is believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sure {
    /// A file says it.
    Told,
    /// The server listens there unless it is told another.
    ByDefault,
    /// Many such servers do, and none has to.
    ByCustom,
}

/// What start commands stand in, the one for one's own machine first; and which of them starts a
/// backend, the plainest name first.
const PROCFILES: [&str; 2] = ["Procfile.dev", "Procfile"];
const PROCESSES: [&str; 5] = ["api:", "backend:", "server:", "rails:", "web:"];

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
    let of_settings = server_settings::FILES.into_iter().map(|(file, _)| file);
    let all = PROCFILES.into_iter().chain(compose::FILES).chain(SOURCES).chain(server::files());
    all.chain(of_settings).chain([DOCKERFILE])
}

/// What is known of all folders.
#[derive(Default)]
struct Known {
    /// Those with a server and no front end.
    backends: Vec<String>,
    /// Those with a front end that is no backend.
    pages: Vec<String>,
}

/// Guesses where the backend listens, and names its folder; nothing where nothing says it.
///
/// A folder with a backend alone is believed before one with a front end: where both are there,
/// the front end is not what the proxy stands before. Of backends alone what a file says is believed
/// before a default.
pub(super) fn guess(places: &[&Place]) -> Option<(Guess, String)> {
    let places = places.iter().map(|place| (*place, front_end::of_place(place)));
    let (alone, both): (Vec<_>, Vec<_>) = places.partition(|(_, front_end)| front_end.is_none());
    let mut known = Known::default();
    for (place, front_end) in alone.iter().chain(&both) {
        let pages = front_end.as_ref().is_some_and(|it| it.framework.serves != Serves::Requests);
        match (server::of_place(place), front_end) {
            (Some(_), None) => known.backends.push(place.path("")),
            (None, Some(_)) if pages => known.pages.push(place.path("")),
            _ => {}
        }
    }
    let find = |places: &[(&Place, Option<FrontEnd>)], is_good: fn(&Guess) -> bool| {
        places.iter().find_map(|(place, front_end)| {
            let guess = of_place(place, front_end.as_ref(), &known).filter(is_good)?;
            Some((guess, place.path("")))
        })
    };
    let is_told = |guess: &Guess| guess.sure == Sure::Told;
    find(&alone, is_told).or_else(|| find(&alone, |_| true)).or_else(|| find(&both, |_| true))
}

fn of_place(place: &Place, front_end: Option<&FrontEnd>, known: &Known) -> Option<Guess> {
    let server = server::of_place(place);
    let pages = front_end.filter(|it| it.framework.serves == Serves::Requests);
    if server.is_none() && front_end.is_some() {
        // What a front end without a backend says of ports is about itself.
        return pages.map(|front_end| by_pages(front_end, by_compose(place, known)));
    }
    // Where the framework's own program is not started, it is in a server of the app's.
    let is_own = server.as_ref().is_some_and(|it| it.is_node);
    let has_pages = is_own && pages.is_some_and(|it| !it.is_started);
    let listening = if server.is_some() { source::port } else { source::listening };
    let told = by_procfile(place)
        .or_else(|| by_script(place, server.is_some()))
        .or_else(|| env_file::port(place).map(|(port, by)| Guess::told(port, by)))
        .or_else(|| by_compose(place, known))
        .or_else(|| by_settings(place))
        .or_else(|| by_source(place, listening))
        .or_else(|| by_image(place));
    Some(Guess { has_pages, ..told.or(server.map(|it| it.guess))? })
}

/// The server of the pages is the backend: where it is told to listen, or is published, or listens
/// by default.
fn by_pages(front_end: &FrontEnd, by_compose: Option<Guess>) -> Guess {
    let told = front_end.told.clone().map(|(port, by)| Guess::told(port, by));
    let default =
        || Guess { sure: Sure::ByDefault, ..Guess::told(front_end.port(), front_end.port_by()) };
    Guess { has_pages: true, ..told.or(by_compose).unwrap_or_else(default) }
}

fn by_procfile(place: &Place) -> Option<Guess> {
    PROCFILES.into_iter().find_map(|file| {
        let text = place.file(file)?;
        let of_name = |name| text.lines().find_map(|line: &str| line.strip_prefix(name));
        let mut lines = PROCESSES.into_iter().filter_map(of_name);
        let port =
            lines.find_map(|line| command::port(line).filter(|_| !front_end::is_beside(line)));
        Some(Guess::told(port?, place.path(file)))
    })
}

/// A script may start other things too: pages, and where no server is known whatever it likes.
fn by_script(place: &Place, is_server: bool) -> Option<Guess> {
    let package = Package::parse(place.file(package::FILE)?);
    let runs = |command: &str| is_server || command::starts(command, &command::RUNTIMES);
    let is_backend = |command: &str| runs(command) && !front_end::is_beside(command);
    let commands = package.commands();
    commands.iter().filter(|(_, command)| is_backend(command)).find_map(|(name, command)| {
        let by = format!("{}, script `{name}`", place.path(package::FILE));
        Some(Guess::told(command::port(command)?, by))
    })
}

/// A service that is a backend, or at least no front end; a path in a Compose file begins at the
/// file, and a variable is looked up beside it.
fn by_compose(place: &Place, known: &Known) -> Option<Guess> {
    let (file, text) = place.first(&compose::FILES)?;
    let services = compose::built(text, |name| env_file::find(place.file(".env")?, name));
    let of = |folders: &[String], it: &compose::Built| folders.contains(&place.path(&it.folder));
    let backend = services.iter().find(|it| of(&known.backends, it));
    let other = || services.iter().find(|it| !of(&known.pages, it));
    let port = backend.or_else(other)?.port;
    Some(Guess::told(port, format!("{}, a service with a `build`", place.path(file))))
}

fn by_settings(place: &Place) -> Option<Guess> {
    server_settings::FILES
        .into_iter()
        .find_map(|(file, read)| Some(Guess::told(read(place.file(file)?)?, place.path(file))))
}

fn by_source(place: &Place, read: fn(&str) -> Option<u16>) -> Option<Guess> {
    SOURCES
        .into_iter()
        .find_map(|file| Some(Guess::told(read(place.file(file)?)?, place.path(file))))
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
    Some(Guess::told(port, format!("EXPOSE in {}", place.path(DOCKERFILE))))
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
                Some((8085, "compose.yaml, a service with a `build`")),
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
                Some((8080, "go.mod: a guess, where many Go servers listen")),
            ),
            (
                &[(
                    "Properties/launchSettings.json",
                    r#"{"profiles": {"a": {"applicationUrl": "https://localhost:7001;http://localhost:5123"}}}"#,
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
                Some((3000, "package.json: a guess, where many Express servers listen")),
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
                Some((3000, "server/package.json: a guess, where many Express servers listen")),
            ),
            (
                &[("package.json", NEXT), ("server/go.mod", "")],
                Some((8080, "server/go.mod: a guess, where many Go servers listen")),
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
                Some((8005, "compose.yaml, a service with a `build`")),
            ),
            (
                &[
                    (
                        "compose.yaml",
                        "services:\n  web:\n    build: ./web\n    ports: [\"3001:3000\"]\n  api:\n    build: ./api\n    ports: [\"${API_PORT}:8000\"]\n",
                    ),
                    (".env", "API_PORT=8005"),
                    ("web/package.json", NEXT),
                    ("api/requirements.txt", "fastapi"),
                ],
                Some((8005, "compose.yaml, a service with a `build`")),
            ),
            // What a file says, though another folder has a default.
            (
                &[
                    ("package.json", EXPRESS),
                    ("server/index.js", "app.listen(process.env.PORT || 5000)"),
                ],
                Some((5000, "server/index.js")),
            ),
            // But not what a client in another folder connects to.
            (
                &[
                    ("package.json", NEXT),
                    ("packages/email/src/index.ts", "createTransport({ port: 2525 })"),
                ],
                Some((3000, "package.json: where Next.js listens by default")),
            ),
            (
                &[
                    ("Procfile.dev", "web: vite --port 3001\napi: PORT=3002 rails s"),
                    ("Gemfile", "gem 'rails'"),
                ],
                Some((3002, "Procfile.dev")),
            ),
            (
                &[(
                    "package.json",
                    r#"{"dependencies": {"hono": "4"}, "scripts": {"dev": "wrangler dev"}}"#,
                )],
                Some((8787, "package.json: where Wrangler listens by default")),
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
            let want = want.map(|(port, by): (u16, &str)| (port, by.to_owned()));
            let folder = folder(files);
            let places: Vec<_> = folder.places.iter().collect();
            let found = guess(&places).map(|(guess, _)| (guess.port, guess.by));
            assert_eq!(found, want, "{files:?}");
        }
    }
}

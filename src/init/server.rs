//! The server that a folder is known to have, by what it needs.

use super::command;
use super::folder::Place;
use super::package::{self, Package};
use super::port::Guess;
use super::port::Sure::{self, ByCustom, ByDefault, Told};

/// Where a server listens that is told nothing: the file that tells of it, a word in it, what it
/// is called, its port. Of several the first counts.
#[rustfmt::skip]
const DEFAULTS: [(&str, &str, &str, u16, Sure); 29] = [
    ("manage.py",         "",             "Django",      8000, ByDefault),
    ("artisan",           "",             "Laravel",     8000, ByDefault),
    ("mix.exs",           "phoenix",      "Phoenix",     4000, ByDefault),
    ("Gemfile",           "\"rails\"",    "Rails",       3000, ByDefault),
    ("Gemfile",           "\"sinatra\"",  "Sinatra",     4567, ByDefault),
    ("config.ru",         "",             "Rack",        9292, ByDefault),
    ("pyproject.toml",    "django",       "Django",      8000, ByDefault),
    ("pyproject.toml",    "fastapi",      "FastAPI",     8000, ByDefault),
    ("pyproject.toml",    "flask",        "Flask",       5000, ByDefault),
    ("requirements.txt",  "django",       "Django",      8000, ByDefault),
    ("requirements.txt",  "fastapi",      "FastAPI",     8000, ByDefault),
    ("requirements.txt",  "flask",        "Flask",       5000, ByDefault),
    ("Pipfile",           "django",       "Django",      8000, ByDefault),
    ("Pipfile",           "fastapi",      "FastAPI",     8000, ByDefault),
    ("Pipfile",           "flask",        "Flask",       5000, ByDefault),
    ("composer.json",     "symfony",      "Symfony",     8000, ByDefault),
    ("Cargo.toml",        "rocket",       "Rocket",      8000, ByDefault),
    ("Cargo.toml",        "actix-web",    "Actix",       8080, ByCustom),
    ("Cargo.toml",        "axum",         "Axum",        3000, ByCustom),
    ("pom.xml",           "spring-boot",  "Spring Boot", 8080, ByDefault),
    ("pom.xml",           "quarkus",      "Quarkus",     8080, ByDefault),
    ("build.gradle",      "springframework", "Spring Boot", 8080, ByDefault),
    ("build.gradle",      "quarkus",      "Quarkus",     8080, ByDefault),
    ("build.gradle",      "ktor",         "Ktor",        8080, ByDefault),
    ("build.gradle.kts",  "springframework", "Spring Boot", 8080, ByDefault),
    ("build.gradle.kts",  "quarkus",      "Quarkus",     8080, ByDefault),
    ("build.gradle.kts",  "ktor",         "Ktor",        8080, ByDefault),
    ("deno.json",         "",             "Deno",        8000, ByDefault),
    ("go.mod",            "",             "Go",          8080, ByCustom),
];

/// Servers for Node.
const NODE: [(&str, &str, u16, Sure); 7] = [
    ("@nestjs/core", "NestJS", 3000, ByDefault),
    ("@adonisjs/core", "AdonisJS", 3333, ByDefault),
    ("express", "Express", 3000, ByCustom),
    ("fastify", "Fastify", 3000, ByCustom),
    ("koa", "Koa", 3000, ByCustom),
    ("hono", "Hono", 3000, ByCustom),
    ("@hapi/hapi", "hapi", 3000, ByCustom),
];

/// Names the files that tell of a server.
pub(super) fn files() -> impl Iterator<Item = &'static str> {
    DEFAULTS.into_iter().map(|(file, ..)| file).chain([package::FILE])
}

/// A server that is known.
#[derive(Debug)]
pub(super) struct Server {
    /// Where it listens unless it is told another.
    pub(super) guess: Guess,
    /// Whether it is one for Node, which may have a framework of pages in it.
    pub(super) is_node: bool,
}

/// Tells which server a folder has.
pub(super) fn of_place(place: &Place) -> Option<Server> {
    let guess = |file, name, port, sure| {
        let where_ = match sure {
            ByCustom => format!("a guess, where many {name} servers listen"),
            ByDefault | Told => format!("where {name} listens by default"),
        };
        Guess { sure, ..Guess::told(port, format!("{}: {where_}", place.path(file))) }
    };
    let package = place.file(package::FILE).map(Package::parse).unwrap_or_default();
    let commands = package.commands();
    let worker = commands.iter().any(|(_, command)| command::starts(command, &["wrangler"]));
    let worker = worker.then(|| guess(package::FILE, "Wrangler", 8787, ByDefault));
    let node = NODE.into_iter().find(|(dependency, ..)| package.needs(dependency));
    let node = node.map(|(_, name, port, sure)| guess(package::FILE, name, port, sure));
    let other = DEFAULTS.into_iter().find(|(file, word, ..)| {
        place.file(file).is_some_and(|text| word.is_empty() || has_word(text, word))
    });
    let other = other.map(|(file, _, name, port, sure)| guess(file, name, port, sure));
    let of_node = worker.or(node).map(|guess| Server { guess, is_node: true });
    of_node.or(other.map(|guess| Server { guess, is_node: false }))
}

/// Tells whether a name stands in a text: `flask`, and not `flaskless`. Quotes are of one kind.
fn has_word(text: &str, word: &str) -> bool {
    let text = text.to_lowercase().replace('\'', "\"");
    let is_more = |next: Option<char>| next.is_some_and(char::is_alphanumeric);
    text.match_indices(word).any(|(at, _)| {
        !is_more(text[..at].chars().next_back()) && !is_more(text[at + word.len()..].chars().next())
    })
}

//! `package.json`, as far as it is looked at.

use std::collections::BTreeMap;

use serde_json::Value;

/// What the file is called.
pub(super) const FILE: &str = "package.json";

/// What a package needs, and how it is started.
#[derive(Debug, Default)]
pub(super) struct Package {
    dependencies: Vec<String>,
    scripts: BTreeMap<String, String>,
}

/// The scripts that start something, the one for one's own machine first: where that is there, the
/// others are about production.
const SCRIPTS: [&str; 6] = ["dev", "start:dev", "develop", "start", "serve", "server"];

/// What starts other scripts of the same package, by their names or by `dev:*`.
const RUNNERS: [&str; 8] =
    ["npm", "pnpm", "yarn", "bun", "run-p", "run-s", "npm-run-all", "concurrently"];

/// What has them start those of another package.
const ELSEWHERE: [&str; 8] =
    ["--cwd", "--prefix", "--workspace", "-w", "--filter", "-F", "-C", "workspace"];

/// How far scripts that start scripts are followed, and for how many commands.
const DEPTH: usize = 4;
const MOST: usize = 64;

impl Package {
    /// Reads a package; an empty one where the text is none.
    pub(super) fn parse(text: &str) -> Self {
        let json: Value = serde_json::from_str(text).unwrap_or_default();
        let table = |name: &str| json.get(name).and_then(Value::as_object).into_iter().flatten();
        let dependencies = table("dependencies").chain(table("devDependencies"));
        let script =
            |(name, text): (&String, &Value)| Some((name.clone(), text.as_str()?.to_owned()));
        Self {
            dependencies: dependencies.map(|(name, _)| name.clone()).collect(),
            scripts: table("scripts").filter_map(script).collect(),
        }
    }

    /// Tells whether the package needs another one.
    pub(super) fn needs(&self, name: &str) -> bool {
        self.dependencies.iter().any(|own| own == name)
    }

    /// Tells whether the package needs one of Clerk's, or one that is made for it.
    pub(super) fn needs_clerk(&self) -> bool {
        let others = ["gatsby-plugin-clerk", "svelte-clerk"];
        let is_clerks = |name: &str| name.starts_with("@clerk/") || others.contains(&name);
        self.dependencies.iter().any(|own| is_clerks(own))
    }

    /// Returns the commands with which it is started while it is written, each with the name of its
    /// script.
    pub(super) fn commands(&self) -> Vec<(&str, String)> {
        let mut found = Vec::new();
        let start = SCRIPTS.iter().find_map(|name| self.scripts.get_key_value(*name));
        if let Some((name, text)) = start {
            self.follow(name, text, DEPTH, &mut found);
        }
        found
    }

    fn follow<'a>(
        &'a self,
        name: &'a str,
        text: &'a str,
        depth: usize,
        found: &mut Vec<(&'a str, String)>,
    ) {
        let mut variables = String::new();
        for command in commands(text).map(str::trim).filter(|command| !command.is_empty()) {
            let assigned = command.strip_prefix("export ").or_else(|| command.strip_prefix("set "));
            if let Some(assigned) = assigned {
                variables.push_str(assigned);
                variables.push(' ');
                continue;
            }
            let called: Vec<_> = self.called(command).filter(|(it, _)| *it != name).collect();
            if found.len() == MOST {
                return;
            }
            if called.is_empty() || depth == 0 {
                found.push((name, format!("{variables}{command}")));
            }
            for (name, text) in called.into_iter().filter(|_| depth > 0) {
                self.follow(name, text, depth - 1, found);
            }
        }
    }

    /// Returns the scripts that a command starts, with their texts.
    fn called<'a>(&'a self, command: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let is = |of: &[&str]| command.split_whitespace().any(|word| of.contains(&word));
        let runs = command.starts_with("npm:") || is(&RUNNERS) && !is(&ELSEWHERE);
        let words = command.split_whitespace().filter(move |_| runs);
        words.flat_map(move |word| {
            let word = word.trim_matches(['"', '\'']);
            let word = word.strip_prefix("npm:").unwrap_or(word);
            let named = move |name: &str| match word.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == word,
            };
            let scripts = self.scripts.iter().filter(move |(name, _)| named(name));
            scripts.map(|(name, text)| (name.as_str(), text.as_str()))
        })
    }
}

/// Takes a script apart. `concurrently` has its commands in quotes.
fn commands(script: &str) -> impl Iterator<Item = &str> {
    let has_quoted = script.contains("concurrently");
    script.split(move |letter| {
        matches!(letter, '&' | ';' | '|') || has_quoted && matches!(letter, '"' | '\'')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_package_needs_nothing() {
        for text in ["", "{", "[]", "{\"dependencies\": [\"next\"], \"scripts\": {\"dev\": 5}}"] {
            let package = Package::parse(text);
            assert!(!package.needs("next") && package.commands().is_empty(), "{text}");
        }
    }

    #[test]
    fn scripts_that_start_ever_more_scripts_come_to_an_end() {
        let names = ["dev", "a", "b", "c", "d"];
        let scripts = names.windows(2).map(|it| {
            (it[0].to_owned(), Value::from(format!("npm {}", format!("{} ", it[1]).repeat(1_000))))
        });
        let text = serde_json::json!({ "scripts": serde_json::Map::from_iter(scripts) });
        assert_eq!(Package::parse(&text.to_string()).commands().len(), MOST);
    }

    #[test]
    fn a_script_may_start_several_commands() {
        for (scripts, want) in [
            (
                r#""start": "a && b & c", "lint": "d""#,
                &["start: a", "start: b", "start: c"] as &[_],
            ),
            (r#""start": "next start -p 8080", "dev": "next dev""#, &["dev: next dev"]),
            (
                r#""dev": "concurrently -k \"a -p 1\" 'b'""#,
                &["dev: concurrently -k", "dev: a -p 1", "dev: b"],
            ),
            (r#""dev": "vite --port \"4000\"""#, &["dev: vite --port \"4000\""]),
            (r#""start": "set PORT=1 && a", "x": "y""#, &["start: PORT=1 a"]),
            (r#""start": "export PORT=1 && a""#, &["start: PORT=1 a"]),
            (r#""preview": "vite preview""#, &[]),
            // Scripts that start scripts.
            (r#""dev": "npm run a", "a": "b""#, &["a: b"]),
            (
                r#""dev": "run-p dev:*", "dev:a": "b", "dev:c": "yarn e", "e": "f""#,
                &["dev:a: b", "e: f"],
            ),
            (
                r#""dev": "concurrently \"npm:a\" \"pnpm c\"", "a": "b", "c": "d""#,
                &["dev: concurrently", "a: b", "c: d"],
            ),
            (r#""dev": "yarn --cwd web start", "start": "a""#, &["dev: yarn --cwd web start"]),
            (r#""dev": "npm run dev -w web""#, &["dev: npm run dev -w web"]),
            (r#""dev": "npm run a", "a": "npm run b", "b": "npm run a""#, &["b: npm run a"]),
        ] {
            let package = Package::parse(&format!("{{\"scripts\": {{{scripts}}}}}"));
            let commands = package.commands();
            let commands: Vec<_> =
                commands.iter().map(|(name, command)| format!("{name}: {command}")).collect();
            assert_eq!(commands, want, "{scripts}");
        }
    }
}

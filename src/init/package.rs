//! `package.json`, as far as it is looked at.

use serde_json::Value;

/// What the file is called.
pub(super) const FILE: &str = "package.json";

/// What a package needs, and how it is started.
#[derive(Debug, Default)]
pub(super) struct Package {
    dependencies: Vec<String>,
    /// The one with which it is started while it is written.
    script: Option<(&'static str, String)>,
}

/// The scripts that start something, the one for one's own machine first: where that is there, the
/// others are about production.
const SCRIPTS: [&str; 6] = ["dev", "start:dev", "develop", "start", "serve", "server"];

impl Package {
    /// Reads a package; an empty one where the text is none.
    pub(super) fn parse(text: &str) -> Self {
        let json: Value = serde_json::from_str(text).unwrap_or_default();
        let names = |table: &str| {
            let members = json.get(table).and_then(Value::as_object);
            members.into_iter().flat_map(|members| members.keys().cloned()).collect::<Vec<_>>()
        };
        let script =
            |name: &'static str| Some((name, json.get("scripts")?.get(name)?.as_str()?.to_owned()));
        Self {
            dependencies: [names("dependencies"), names("devDependencies")].concat(),
            script: SCRIPTS.into_iter().find_map(script),
        }
    }

    /// Tells whether the package needs another one.
    pub(super) fn needs(&self, name: &str) -> bool {
        self.dependencies.iter().any(|own| own == name)
    }

    /// Returns the name of the script with which it is started, and the commands that starts.
    pub(super) fn commands(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.script.iter().flat_map(|(name, text)| commands(text).map(|command| (*name, command)))
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
            assert!(!package.needs("next") && package.commands().next().is_none(), "{text}");
        }
    }

    #[test]
    fn a_script_may_start_several_commands() {
        for (scripts, want) in [
            (r#""start": "a && b & c", "lint": "d""#, &["a", "b", "c"] as &[_]),
            (r#""start": "next start -p 8080", "dev": "next dev""#, &["next dev"]),
            (r#""dev": "concurrently -k \"a -p 1\" 'b'""#, &["concurrently -k", "a -p 1", "b"]),
            (r#""dev": "vite --port \"4000\"""#, &["vite --port \"4000\""]),
            (r#""preview": "vite preview""#, &[]),
        ] {
            let package = Package::parse(&format!("{{\"scripts\": {{{scripts}}}}}"));
            let commands = package.commands().map(|(_, command)| command.trim());
            let commands: Vec<_> = commands.filter(|command| !command.is_empty()).collect();
            assert_eq!(commands, want, "{scripts}");
        }
    }
}

//! `package.json`, as far as it is looked at.

use serde_json::Value;

/// What the file is called.
pub(super) const FILE: &str = "package.json";

/// What a package needs, and how it is started.
#[derive(Debug, Default)]
pub(super) struct Package {
    dependencies: Vec<String>,
    scripts: Vec<(&'static str, String)>,
}

/// The scripts that start something, the one for one's own machine first.
const SCRIPTS: [&str; 7] = ["dev", "start:dev", "develop", "start", "serve", "server", "preview"];

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
            scripts: SCRIPTS.into_iter().filter_map(script).collect(),
        }
    }

    /// Tells whether the package needs another one.
    pub(super) fn needs(&self, name: &str) -> bool {
        self.dependencies.iter().any(|own| own == name)
    }

    /// Returns the commands that its scripts start, each with the script's name.
    pub(super) fn commands(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let parts = |text| str::split(text, ['&', ';', '|']);
        self.scripts.iter().flat_map(move |(name, text)| parts(text).map(|part| (*name, part)))
    }
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
        let package = Package::parse("{\"scripts\": {\"start\": \"a && b & c\", \"lint\": \"d\"}}");
        let commands: Vec<_> = package.commands().map(|(_, command)| command.trim()).collect();
        assert_eq!(commands, ["a", "", "b", "c"]);
    }
}

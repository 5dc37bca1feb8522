//! The front end: which framework it is made with, and how it sends its token.

use super::folder::Place;
use super::package::{self, Package};
use super::{command, env_file, server_settings};

/// A framework whose pages load Clerk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Framework {
    /// The package that tells of it.
    dependency: &'static str,
    pub(super) name: &'static str,
    /// The programs of its development server, and where that listens unless it is told otherwise.
    starts: &'static [&'static str],
    port: u16,
    pub(super) serves: Serves,
}

/// What a framework's own server is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Serves {
    /// Pages and requests: it is a backend too.
    Requests,
    /// The pages of an app while it is written; the backend is another program.
    Pages,
    /// An app on a phone, which has no origin.
    Phones,
}

/// Those that are known. The first that a package needs counts, so that whatever is built with
/// Vite stands before it.
#[rustfmt::skip]
const FRAMEWORKS: [Framework; 13] = [
    framework("next",                  "Next.js",          &["next"],            3000, Serves::Requests),
    framework("nuxt",                  "Nuxt",             &["nuxt", "nuxi"],    3000, Serves::Requests),
    framework("@tanstack/react-start", "TanStack Start",   &["vite"],            3000, Serves::Requests),
    framework("@react-router/dev",     "React Router",     &["react-router"],    5173, Serves::Requests),
    framework("@remix-run/dev",        "Remix",            &["remix", "vite"],   5173, Serves::Requests),
    framework("@sveltejs/kit",         "SvelteKit",        &["vite"],            5173, Serves::Requests),
    framework("astro",                 "Astro",            &["astro"],           4321, Serves::Requests),
    framework("gatsby",                "Gatsby",           &["gatsby"],          8000, Serves::Pages),
    framework("expo",                  "Expo",             &["expo"],            8081, Serves::Phones),
    framework("react-scripts",         "Create React App", &["react-scripts", "craco", "react-app-rewired"], 3000, Serves::Pages),
    framework("@vue/cli-service",      "Vue CLI",          &["vue-cli-service"], 8080, Serves::Pages),
    framework("@angular/core",         "Angular",          &["ng"],              4200, Serves::Pages),
    framework("vite",                  "Vite",             &["vite"],            5173, Serves::Pages),
];

const fn framework(
    dependency: &'static str,
    name: &'static str,
    starts: &'static [&'static str],
    port: u16,
    serves: Serves,
) -> Framework {
    Framework { dependency, name, starts, port, serves }
}

impl Framework {
    /// Returns the paths of what it builds for browsers, the same for everybody: a page that asks
    /// somebody to sign in is made of it. Nothing where we have not run it behind the proxy.
    pub(super) fn built_files(self) -> Option<&'static str> {
        // Not all of `/_next`: below `/_next/data` are the pages' data.
        (self.dependency == "next").then_some("/_next/static/**")
    }

    /// Tells whether its server takes `PORT` from a file of variables. The others read such files
    /// when they listen already.
    fn reads_port(self) -> bool {
        matches!(self.dependency, "react-scripts" | "nuxt")
    }

    /// Tells whether a command starts its development server.
    fn is_started_by(self, command: &str) -> bool {
        command::starts(command, self.starts)
    }
}

/// Servers of pages and of other things that scripts start beside a backend.
const BESIDE: [&str; 5] = ["webpack", "webpack-dev-server", "parcel", "storybook", "redis-server"];

/// Tells whether a command starts pages, of any framework, or something else that is no backend.
pub(super) fn is_beside(command: &str) -> bool {
    command::starts(command, &BESIDE) || FRAMEWORKS.iter().any(|it| it.is_started_by(command))
}

/// Clerk's packages with a `useAuth`; of those that a package needs the first counts.
const OF_CLERK: [&str; 11] = [
    "@clerk/nextjs",
    "@clerk/react-router",
    "@clerk/tanstack-react-start",
    "@clerk/remix",
    "gatsby-plugin-clerk",
    "@clerk/expo",
    "@clerk/clerk-expo",
    "@clerk/react",
    "@clerk/clerk-react",
    "@clerk/nuxt",
    "@clerk/vue",
];

/// A front end that was found.
#[derive(Debug)]
pub(super) struct FrontEnd {
    pub(super) framework: Framework,
    /// Which folder it is in, and which file there told of it.
    pub(super) place: String,
    pub(super) by: String,
    /// Where its development server is told to listen, and by what.
    pub(super) told: Option<(u16, String)>,
    /// Whether its server is started by that framework's own program, and not by one of the app's.
    pub(super) is_started: bool,
    /// Whether it needs a package of Clerk's.
    pub(super) has_clerk: bool,
    asks: Asks,
}

/// How a page gets its token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asks {
    /// By React's hook, of that package.
    Hook(&'static str),
    /// By Vue's composable of the same name, whose members are references.
    Composable(&'static str),
    /// By what Clerk's script puts into the window.
    Window,
}

/// Names the files that are asked about a front end, besides those of variables.
pub(super) fn files() -> impl Iterator<Item = &'static str> {
    [package::FILE].into_iter().chain(server_settings::OF_PAGES)
}

/// Tells what a folder's front end is made with.
pub(super) fn of_place(place: &Place) -> Option<FrontEnd> {
    let package = Package::parse(place.file(package::FILE)?);
    let framework = FRAMEWORKS.into_iter().find(|it| package.needs(it.dependency))?;
    let told = port(place, &package, framework);
    let is_started = package.commands().iter().any(|(_, it)| framework.is_started_by(it));
    let has_clerk = package.needs_clerk();
    let (by, place) = (place.path(package::FILE), place.path(""));
    Some(FrontEnd { framework, place, by, told, is_started, has_clerk, asks: asks(&package) })
}

/// Finds where its development server is told to listen.
fn port(place: &Place, package: &Package, framework: Framework) -> Option<(u16, String)> {
    let commands = package.commands();
    let told = |(script, command): &(&str, String)| {
        let by = format!("{}, script `{script}`", place.path(package::FILE));
        Some((command::port(command)?, by))
    };
    let by_command = commands.iter().filter(|(_, it)| framework.is_started_by(it)).find_map(told);
    let by_settings = || {
        let (file, text) = place.first(&server_settings::OF_PAGES)?;
        Some((server_settings::of_pages(text)?, place.path(file)))
    };
    let by_variable = || framework.reads_port().then(|| env_file::port(place)).flatten();
    // A server of the app's own, which has the framework in it.
    let by_own = || {
        let answers = framework.serves == Serves::Requests;
        let is_own = |it: &&(&str, String)| answers && command::starts(&it.1, &command::RUNTIMES);
        commands.iter().filter(is_own).find_map(told)
    };
    by_command.or_else(by_settings).or_else(by_variable).or_else(by_own)
}

fn asks(package: &Package) -> Asks {
    let of_clerk = OF_CLERK.into_iter().find(|name| package.needs(name));
    let default = |name| of_clerk.unwrap_or(name);
    match () {
        () if package.needs("@sveltejs/kit") || package.needs("astro") => Asks::Window,
        () if package.needs("nuxt") => Asks::Composable(default("@clerk/nuxt")),
        () if package.needs("vue") => Asks::Composable(default("@clerk/vue")),
        () if package.needs("next") => Asks::Hook(default("@clerk/nextjs")),
        () if package.needs("expo") => Asks::Hook(default("@clerk/expo")),
        () if package.needs("react") => Asks::Hook(default("@clerk/react")),
        () => Asks::Window,
    }
}

impl FrontEnd {
    /// Returns where its development server listens.
    pub(super) fn port(&self) -> u16 {
        self.told.as_ref().map_or(self.framework.port, |(port, _)| *port)
    }

    /// Returns what says so.
    pub(super) fn port_by(&self) -> String {
        let default = || format!("{}: where {} listens by default", self.by, self.framework.name);
        self.told.as_ref().map_or_else(default, |(_, by)| by.clone())
    }

    /// Returns the origin of its pages while it is written.
    pub(super) fn origin(&self) -> Option<String> {
        let has_pages = self.framework.serves != Serves::Phones;
        has_pages.then(|| format!("http://localhost:{}", self.port()))
    }
}

/// Returns the lines with which a page sends its token; without a framework, those that hold for
/// every page with Clerk's script.
pub(super) fn snippet(front_end: Option<&FrontEnd>, proxy: &str) -> String {
    let (before, token) = match front_end.map(|it| it.asks) {
        // Nuxt imports it by itself.
        Some(Asks::Composable("@clerk/nuxt")) => {
            ("const { getToken } = useAuth()\n\n".to_owned(), "getToken.value()")
        }
        Some(Asks::Composable(package)) => (of_package(package), "getToken.value()"),
        Some(Asks::Hook(package)) => (of_package(package), "getToken()"),
        Some(Asks::Window) | None => (String::new(), "window.Clerk.session.getToken()"),
    };
    let fetch = format!(
        r#"const answer = await fetch("{proxy}/orders", {{
  headers: {{ Authorization: `Bearer ${{await {token}}}` }},
}})
"#
    );
    before + &fetch
}

fn of_package(package: &str) -> String {
    format!("import {{ useAuth }} from \"{package}\"\n\nconst {{ getToken }} = useAuth()\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::folder::tests::folder;

    fn found(dependencies: &str, script: &str) -> Option<FrontEnd> {
        let names: Vec<_> =
            dependencies.split_whitespace().map(|it| format!("\"{it}\": \"1\"")).collect();
        let package = format!(
            "{{\"dependencies\": {{{}}}, \"scripts\": {{\"dev\": \"{script}\"}}}}",
            names.join(", ")
        );
        of_one(&[("web/package.json", &package)])
    }

    fn of_one(files: &[(&str, &str)]) -> Option<FrontEnd> {
        folder(files).places.iter().find_map(of_place)
    }

    #[test]
    fn a_front_end_is_told_by_what_its_package_needs() {
        for (dependencies, script, name, origin, asks) in [
            ("next react", "next dev", "Next.js", Some(3000), Asks::Hook("@clerk/nextjs")),
            ("nuxt vue", "nuxt dev", "Nuxt", Some(3000), Asks::Composable("@clerk/nuxt")),
            ("vite react", "vite", "Vite", Some(5173), Asks::Hook("@clerk/react")),
            (
                "vite react @clerk/clerk-react",
                "vite --port 3001",
                "Vite",
                Some(3001),
                Asks::Hook("@clerk/clerk-react"),
            ),
            ("vite vue", "vite", "Vite", Some(5173), Asks::Composable("@clerk/vue")),
            ("vite svelte", "vite", "Vite", Some(5173), Asks::Window),
            ("vite @sveltejs/kit", "vite dev", "SvelteKit", Some(5173), Asks::Window),
            ("astro react", "astro dev", "Astro", Some(4321), Asks::Window),
            (
                "gatsby react gatsby-plugin-clerk",
                "gatsby develop",
                "Gatsby",
                Some(8000),
                Asks::Hook("gatsby-plugin-clerk"),
            ),
            (
                "expo react @clerk/clerk-expo",
                "expo start",
                "Expo",
                None,
                Asks::Hook("@clerk/clerk-expo"),
            ),
            (
                "react-scripts react",
                "PORT=3005 react-scripts start",
                "Create React App",
                Some(3005),
                Asks::Hook("@clerk/react"),
            ),
            ("@angular/core", "ng serve", "Angular", Some(4200), Asks::Window),
            (
                "@react-router/dev vite react @clerk/react-router",
                "react-router dev",
                "React Router",
                Some(5173),
                Asks::Hook("@clerk/react-router"),
            ),
        ] {
            let found = found(dependencies, script).expect(dependencies);
            let origin = origin.map(|port: u16| format!("http://localhost:{port}"));
            assert_eq!(
                (found.framework.name, found.origin(), found.asks),
                (name, origin, asks),
                "{dependencies}"
            );
            assert_eq!(found.by, "web/package.json");
        }
        for dependencies in ["express", "react", ""] {
            assert!(found(dependencies, "node .").is_none(), "{dependencies}");
        }
    }

    #[test]
    fn its_server_is_where_the_start_or_its_settings_say() {
        const CONFIG: &str = "export default defineConfig({\n  server: { port: 3002 },\n})";
        let vite = |scripts: &str| package("vite", scripts);
        for (package, file, want) in [
            (vite(r#""dev": "vite --port 3001""#), ("vite.config.ts", CONFIG), 3001),
            (vite(r#""dev": "vite""#), ("vite.config.mts", CONFIG), 3002),
            // Of others than its own, and of production.
            (vite(r#""dev": "vite", "preview": "vite preview --port 8080""#), (".env", ""), 5173),
            (vite(r#""dev": "vite", "start": "serve -s dist -l 3000""#), (".env", ""), 5173),
            (vite(r#""dev": "PORT=4004 node . & vite""#), (".env", ""), 5173),
            (
                vite(r#""dev": "concurrently \"PORT=4004 node server.js\" \"vite\"""#),
                (".env", ""),
                5173,
            ),
            (vite(r#""dev": "run-p dev:*", "dev:web": "vite --port 3001""#), (".env", ""), 3001),
            (
                package("react-scripts", r#""start": "set PORT=3006 && craco start""#),
                (".env", ""),
                3006,
            ),
            (package("next", r#""dev": "PORT=4000 node server.js""#), (".env", ""), 4000),
            (vite(r#""dev": "vite""#), (".env", "PORT=3006"), 5173),
            (package("react-scripts", ""), (".env", "PORT=3006"), 3006),
            (package("nuxt", ""), (".env", "PORT=3006"), 3006),
            (package("next", r#""dev": "next dev""#), (".env", "PORT=3006"), 3000),
            (
                package("next", r#""dev": "next dev", "start": "next start -p 8080""#),
                (".env", ""),
                3000,
            ),
        ] {
            let found = of_one(&[("package.json", &package), file]).unwrap();
            assert_eq!(found.port(), want, "{package} {file:?}: {:?}", found.told);
        }
    }

    fn package(dependency: &str, scripts: &str) -> String {
        format!("{{\"dependencies\": {{\"{dependency}\": \"1\"}}, \"scripts\": {{{scripts}}}}}")
    }

    #[test]
    fn a_page_sends_its_token_as_its_framework_has_it() {
        const PROXY: &str = "http://localhost:4600";
        for (dependencies, first, token) in [
            (
                "vite react",
                "import { useAuth } from \"@clerk/react\"\n",
                "`Bearer ${await getToken()}`",
            ),
            ("nuxt", "const { getToken } = useAuth()\n", "`Bearer ${await getToken.value()}`"),
            (
                "vite vue",
                "import { useAuth } from \"@clerk/vue\"\n",
                "`Bearer ${await getToken.value()}`",
            ),
            (
                "vite",
                "const answer = await fetch(\"http://localhost:4600/orders\", {\n",
                "${await window.Clerk.session.getToken()}",
            ),
        ] {
            let text = snippet(found(dependencies, "").as_ref(), PROXY);
            assert!(text.starts_with(first) && text.contains(token), "{dependencies}: {text}");
        }
    }
}

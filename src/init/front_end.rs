//! The front end: which framework it is made with, and how it sends its token.

use super::command;
use super::folder::{Folder, Place};
use super::package::{self, Package};
use super::source;

/// A framework whose pages load Clerk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Framework {
    /// The package that tells of it.
    dependency: &'static str,
    pub(super) name: &'static str,
    /// Where its development server listens.
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
    framework("next",                  "Next.js",          3000, Serves::Requests),
    framework("nuxt",                  "Nuxt",             3000, Serves::Requests),
    framework("@tanstack/react-start", "TanStack Start",   3000, Serves::Requests),
    framework("@react-router/dev",     "React Router",     5173, Serves::Requests),
    framework("@remix-run/dev",        "Remix",            5173, Serves::Requests),
    framework("@sveltejs/kit",         "SvelteKit",        5173, Serves::Requests),
    framework("astro",                 "Astro",            4321, Serves::Requests),
    framework("gatsby",                "Gatsby",           8000, Serves::Pages),
    framework("expo",                  "Expo",             8081, Serves::Phones),
    framework("react-scripts",         "Create React App", 3000, Serves::Pages),
    framework("@vue/cli-service",      "Vue CLI",          8080, Serves::Pages),
    framework("@angular/core",         "Angular",          4200, Serves::Pages),
    framework("vite",                  "Vite",             5173, Serves::Pages),
];

const fn framework(
    dependency: &'static str,
    name: &'static str,
    port: u16,
    serves: Serves,
) -> Framework {
    Framework { dependency, name, port, serves }
}

impl Framework {
    /// Returns the paths of what it builds for browsers, the same for everybody: a page that asks
    /// somebody to sign in is made of it. Nothing where we have not run it behind the proxy.
    pub(super) fn built_files(self) -> Option<&'static str> {
        // Not all of `/_next`: below `/_next/data` are the pages' data.
        (self.dependency == "next").then_some("/_next/static/**")
    }
}

/// Where Vite is configured.
const VITE_CONFIGS: [&str; 2] = ["vite.config.ts", "vite.config.js"];

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
    /// Where its development server listens.
    pub(super) port: u16,
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

/// Names the files that are asked about a front end.
pub(super) fn files() -> impl Iterator<Item = &'static str> {
    [package::FILE].into_iter().chain(VITE_CONFIGS)
}

/// Finds the first front end of an app.
pub(super) fn find(folder: &Folder) -> Option<FrontEnd> {
    folder.places.iter().find_map(of_place)
}

/// Tells what a folder's front end is made with.
pub(super) fn of_place(place: &Place) -> Option<FrontEnd> {
    let package = Package::parse(place.file(package::FILE)?);
    let framework = FRAMEWORKS.into_iter().find(|it| package.needs(it.dependency))?;
    Some(FrontEnd {
        framework,
        place: place.path(""),
        by: place.path(package::FILE),
        port: port(place, &package).unwrap_or(framework.port),
        asks: asks(&package),
    })
}

fn port(place: &Place, package: &Package) -> Option<u16> {
    let config = place.first(&VITE_CONFIGS);
    let in_config = config.and_then(|(_, text)| source::port(text));
    package.commands().find_map(|(_, command)| command::port(command)).or(in_config)
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
    /// Tells whether a folder starts this front end by that command.
    pub(super) fn is_started_by(&self, command: &str) -> bool {
        let own = ["vite", "react-scripts", "gatsby", "expo", "ng ", "vue-cli-service", "webpack"];
        self.framework.serves != Serves::Requests && own.iter().any(|word| command.contains(word))
    }

    /// Tells whether requests are answered by the same server, where the backend's is at `port` and
    /// in that folder, if a file said so.
    pub(super) fn is_backend(&self, port: Option<u16>, place: Option<&str>) -> bool {
        let here = place.map_or(port == Some(self.port), |place| place == self.place);
        here && self.framework.serves == Serves::Requests
    }

    /// Returns the origin of its pages while it is written.
    pub(super) fn origin(&self) -> Option<String> {
        let has_pages = self.framework.serves != Serves::Phones;
        has_pages.then(|| format!("http://localhost:{}", self.port))
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
        find(&folder(&[("web/package.json", &package)]))
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
    fn the_configuration_of_vite_may_name_a_port() {
        let config = "export default defineConfig({\n  server: { port: 3002 },\n})";
        let package = "{\"devDependencies\": {\"vite\": \"7\"}}";
        let folder = folder(&[("package.json", package), ("vite.config.ts", config)]);
        assert_eq!(find(&folder).unwrap().port, 3002);
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

//! The flags that write a request, in the words of `curl`.

use crate::cli::Failure;
use crate::core::explain::Written;

/// What stands for standard input.
const INPUT: &str = "-";

/// A request. Any of these flags makes the question one about a request, and not about a token.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Request")]
#[group(id = "request", multiple = true)]
pub struct RequestFlags {
    /// The address as the browser has it, or a path; other defaults are those of a browser that
    /// opens a page [default: /]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The method [default: GET]
    #[arg(short = 'X', long, visible_alias = "request", value_name = "METHOD")]
    pub method: Option<String>,
    /// A header, as "Name: value"; repeat for several, or - for lines of them on standard input:
    /// an argument shows in the list of processes, and stays in the shell's history
    #[arg(short = 'H', long, value_name = "HEADER")]
    pub header: Vec<String>,
    /// Cookies, as "name=value; name=value"; repeat for several, or - for standard input: an
    /// argument shows in the list of processes, and stays in the shell's history
    #[arg(short = 'b', long, value_name = "COOKIES")]
    pub cookie: Vec<String>,
    /// A body, as curl has it: it is not looked at, and makes the method POST.
    #[arg(
        short = 'd',
        long,
        aliases = ["data-raw", "data-binary", "data-urlencode", "data-ascii"],
        hide = true,
        allow_hyphen_values = true
    )]
    pub data: Vec<String>,
    /// Stands in what developer tools copy, and means nothing here.
    #[arg(long, hide = true)]
    pub compressed: bool,
    /// Stands in what developer tools copy, and means nothing here.
    #[arg(short = 'k', long, hide = true)]
    pub insecure: bool,
}

impl RequestFlags {
    /// Tells whether a request is asked about.
    pub(super) fn is_given(&self) -> bool {
        let texts = [&self.header, &self.cookie, &self.data];
        self.url.is_some() || self.method.is_some() || texts.iter().any(|it| !it.is_empty())
    }

    /// Returns what was written; `read` reads standard input.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] where two things are to come from standard input; those of `read`.
    pub(super) fn written(
        &self,
        read: impl Fn(&str) -> Result<String, Failure>,
    ) -> Result<Written, Failure> {
        let from_input = |texts: &[String]| texts.iter().filter(|it| *it == INPUT).count();
        if from_input(&self.header) + from_input(&self.cookie) > 1 {
            let problem = "standard input is one thing: write `-` once, for --header or --cookie";
            return Err(Failure::Usage(problem.to_owned()));
        }
        let lines = |texts: &[String], what: &str| {
            let mut lines = Vec::new();
            for text in texts {
                match text.as_str() {
                    INPUT => lines.extend(read(what)?.lines().map(str::to_owned)),
                    text => lines.push(text.to_owned()),
                }
            }
            Ok(lines)
        };
        Ok(Written {
            url: self.url.clone(),
            method: self.method.clone(),
            headers: lines(&self.header, "a header")?,
            cookies: lines(&self.cookie, "the cookies")?,
            has_body: !self.data.is_empty(),
        })
    }
}

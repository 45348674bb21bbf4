//! `waystation login | logout | whoami`.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde::Serialize;
use tokio::sync::oneshot;

use super::error::CliError;
use super::logins::{Login, Logins};
use super::print::{print, print_json};
use super::remote::{connect, connect_as};
use super::screen::Screen;
use super::trust::{TOKEN_BYTES, read_token, token_in};
use crate::config::{AccessSettings, LoginSettings, LogoutSettings};
use crate::error_chain::printable;
use crate::public_url::PublicUrl;
use crate::secret::Secret;
use crate::wire::users::{User, UserAnswer};

/// The user of a server, as `--json` prints it.
#[derive(Serialize)]
struct WhoAnswer {
    url: String,
    #[serde(flatten)]
    answer: UserAnswer,
}

#[derive(Serialize)]
struct LogoutAnswer {
    url: String,
    /// There was a token.
    was_logged_in: bool,
}

pub(super) async fn login(settings: LoginSettings) -> Result<(), CliError> {
    let screen = Screen::new(settings.output.quiet);
    let mut logins = Logins::read()?;
    let token = match &settings.token_file {
        Some(file) => read_token(file)?,
        None => ask_for_token(&settings.url).await?,
    };
    let kept = |token| Login {
        token,
        auth_url: settings.auth_url.clone(),
    };
    let server = connect_as(&settings.url, kept(token.clone()), &settings.connection)?;
    let user = server.show_self().await?;
    let file = logins.keep(&settings.url, &kept(token))?;
    screen.note(&format!(
        "logged in to {} as {}; the token is in {}",
        settings.url,
        user.username,
        file.display()
    ));
    if settings.output.json {
        print_user(&settings.url, user)?;
    }
    Ok(())
}

pub(super) fn logout(settings: &LogoutSettings) -> Result<(), CliError> {
    let mut logins = Logins::read()?;
    let current = || logins.current().ok_or(CliError::NoServer);
    let url = settings.url.clone().map_or_else(current, Ok)?;
    let was_logged_in = logins.forget(&url)?;
    let url = url.to_string();
    let said = if was_logged_in {
        format!(
            "logged out of {url}; the API token still works: revoke it if it is no longer needed"
        )
    } else {
        format!("no API token was kept for {url}")
    };
    Screen::new(settings.output.quiet).note(&said);
    if settings.output.json {
        print_json(&LogoutAnswer { url, was_logged_in })?;
    }
    Ok(())
}

pub(super) async fn whoami(settings: AccessSettings) -> Result<(), CliError> {
    let server = connect(&settings.remote)?;
    let user = server.show_self().await?;
    if settings.output.json {
        return print_user(server.url(), user);
    }
    print(&format!("{}\t{}", printable(&user.username), server.url()))
}

fn print_user(url: &PublicUrl, user: User) -> Result<(), CliError> {
    print_json(&WhoAnswer {
        url: url.to_string(),
        answer: UserAnswer { user },
    })
}

/// Reads a token from standard input. On a terminal it is asked for, and not shown.
async fn ask_for_token(url: &PublicUrl) -> Result<Secret, CliError> {
    let _silence = if io::stdin().is_terminal() {
        // Before the prompt: early input must not be shown, either.
        let hidden_input = HiddenInput::begin().map_err(CliError::Prompt)?;
        let mut stderr = io::stderr().lock();
        let asked = write!(stderr, "API token for {url}: ").and_then(|()| stderr.flush());
        asked.map_err(CliError::Prompt)?;
        Some(hidden_input)
    } else {
        None
    };
    let (hand_on, read) = oneshot::channel();
    // A thread of its own: one of the runtime's could not be left behind by Ctrl-C.
    thread::spawn(move || {
        let mut line = Vec::new();
        let mut stdin = io::stdin().lock().take(TOKEN_BYTES as u64 + 1);
        let token = stdin
            .read_until(b'\n', &mut line)
            .and_then(|_| token_in(&*line));
        // Nobody waits after Ctrl-C.
        let _ = hand_on.send(token);
    });
    let read = read
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::UnexpectedEof.into()));
    read.map_err(CliError::Prompt)
}

/// What is typed is not shown, until this is dropped.
struct HiddenInput(Termios);

impl HiddenInput {
    fn begin() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        // A terminal that is gone has nothing to show.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
        let _ = writeln!(io::stderr());
    }
}

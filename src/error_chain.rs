//! An error and its causes as one line of text.

use std::error::Error;
use std::fmt::Write as _;

/// An error and all its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some libraries' errors include their causes already.
        let text = error.to_string();
        if !line.contains(&text) {
            write!(line, ": {text}").expect("writing to a String does not fail");
        }
        cause = error.source();
    }
    line
}

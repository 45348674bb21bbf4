//! An error and its causes as one line of text.

use std::error::Error;
use std::fmt::Write as _;

/// How much of a line is kept: a whole page may have come as the answer of what is no object store.
const MAX_CHARS: usize = 1000;

/// An error and all its causes in one line, as a terminal can show it.
pub fn chain(error: &dyn Error) -> String {
    let mut line = without_answer(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some libraries' errors include their causes already.
        let text = without_answer(&error.to_string());
        if !line.contains(&text) {
            write!(line, ": {text}").expect("writing to a String does not fail");
        }
        cause = error.source();
    }
    let line = printable(&line);
    match line.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Foreign text with escapes for what a terminal would obey: control characters, and those that change the text's
/// direction.
pub fn printable(text: &str) -> String {
    let is_obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut printed = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) {
            printed.extend(c.escape_default());
        } else {
            printed.push(c);
        }
    }
    printed
}

/// The answer of an object store cut down to its code and message: the rest can repeat a session token.
fn without_answer(text: &str) -> String {
    let part = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once('<')?.0)
    };
    let Some(start) = text.find("<?xml").or_else(|| text.find("<Error")) else {
        return text.to_owned();
    };
    let (code, message) = (
        part("Code").unwrap_or("no code"),
        part("Message").unwrap_or_default(),
    );
    format!("{}{code}: {message}", &text[..start])
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn shown(text: &str) -> String {
        chain(&io::Error::other(text))
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_printed() {
        assert_eq!(
            shown("a\u{1b}[31m\u{202e}b\nc\u{2066}"),
            r"a\u{1b}[31m\u{202e}b\nc\u{2066}"
        );
        assert_eq!(
            shown("naïve 日本 'quoted' \u{301}"),
            "naïve 日本 'quoted' \u{301}"
        );
    }

    #[test]
    fn the_answer_of_an_object_store_is_cut_down_to_its_code_and_message() {
        let answer = "403 Forbidden: <?xml version=\"1.0\"?><Error><Code>ExpiredToken</Code><Message>It has expired.</Message><Token-0>secret</Token-0></Error>";
        assert_eq!(
            shown(answer),
            "403 Forbidden: ExpiredToken: It has expired."
        );
        assert_eq!(shown("<Error><Token>secret"), "no code: ");
    }

    #[test]
    fn a_long_line_is_cut() {
        let line = shown(&"ä".repeat(100_000));
        assert_eq!(line.chars().count(), MAX_CHARS + 1);
        assert!(line.ends_with('…'));
    }
}

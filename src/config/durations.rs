//! Durations as people write them.

use std::time::Duration;

pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; durations look like 500ms, 2s, 10m, 7d"))?;
    if duration.is_zero() {
        return Err("it must be longer than 0s".to_owned());
    }
    Ok(duration)
}

//! Keeps secrets of the runner out of logs: its token, and the links that it was given. Pure.

use crate::secret::Secret;

const MASK: &[u8] = b"***";

/// Masks secrets in a stream of bytes, even if one is split over two chunks.
pub(super) struct SecretMask {
    secrets: Vec<Secret>,
    /// The end of the stream so far, if it could be the beginning of a secret.
    held: Vec<u8>,
}

impl SecretMask {
    pub(super) fn of(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let secrets = secrets.into_iter();
        Self {
            // Anything shorter could be in any text.
            secrets: secrets
                .filter(|secret| secret.reveal().len() >= 8)
                .collect(),
            held: Vec::new(),
        }
    }

    /// What can be shown after these bytes.
    pub(super) fn mask(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(bytes);
        let mut shown = self.without_secrets(&text);
        let held = self.beginning_at_end(&shown);
        self.held = shown.split_off(shown.len() - held);
        shown
    }

    /// What was held back, at the end of the stream.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    fn without_secrets(&self, text: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((at, length)) = self.first_in(rest) {
            shown.extend_from_slice(&rest[..at]);
            shown.extend_from_slice(MASK);
            rest = &rest[at + length..];
        }
        shown.extend_from_slice(rest);
        shown
    }

    /// Where the first secret stands, and how long it is.
    fn first_in(&self, text: &[u8]) -> Option<(usize, usize)> {
        let find = |secret: &Secret| {
            let secret = secret.reveal().as_bytes();
            let at = text
                .windows(secret.len())
                .position(|window| window == secret)?;
            Some((at, secret.len()))
        };
        let found = self.secrets.iter().filter_map(find);
        found.min_by_key(|(at, length)| (*at, usize::MAX - length))
    }

    /// How much at the end of a text is the beginning of a secret.
    fn beginning_at_end(&self, text: &[u8]) -> usize {
        let length = |secret: &Secret| {
            let secret = secret.reveal().as_bytes();
            let longest = (secret.len() - 1).min(text.len());
            let lengths = (1..=longest).rev();
            lengths
                .into_iter()
                .find(|length| text.ends_with(&secret[..*length]))
        };
        self.secrets.iter().filter_map(length).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret_mask() -> SecretMask {
        let secrets = ["s3cr3t-link", "s3cr3t-link/more", "aaaabaaaa", "short"];
        SecretMask::of(secrets.map(|text| Secret::new(text.to_owned())))
    }

    fn masked(pieces: &[&[u8]]) -> String {
        let mut secret_mask = secret_mask();
        let mut shown: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| secret_mask.mask(piece))
            .collect();
        shown.extend(secret_mask.rest());
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn a_secret_is_masked_wherever_it_stands_and_other_text_is_not() {
        for (text, shown) in [
            ("get s3cr3t-link now", "get *** now"),
            ("s3cr3t-link", "***"),
            ("s3cr3t-lins3cr3t-link", "s3cr3t-lin***"),
            ("s3cr3t-link/more", "***"),
            ("aaaaaabaaaa", "aa***"),
            ("s3cr3t", "s3cr3t"),
            ("short", "short"),
            ("", ""),
        ] {
            assert_eq!(masked(&[text.as_bytes()]), shown);
        }
    }

    #[test]
    fn what_cannot_be_a_secret_any_more_is_shown_at_once() {
        let mut secret_mask = secret_mask();
        assert_eq!(secret_mask.mask(b"a line\n"), b"a line\n");
        assert_eq!(secret_mask.mask(b"so s3cr"), b"so ");
        assert_eq!(secret_mask.mask(b"eam\n"), b"s3cream\n");
    }

    proptest! {
        #[test]
        fn no_secret_is_shown_however_it_is_cut(cuts in proptest::collection::vec(0..40usize, 0..6)) {
            let text = b"x s3cr3t-link y aaaabaaaa z aaaas3cr3t-link";
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            prop_assert_eq!(masked(&pieces), "x *** y *** z aaaa***");
        }
    }
}

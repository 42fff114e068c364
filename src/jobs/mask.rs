//! Masks secrets in a stream of bytes, also where one is cut in two by the way it is read.

/// Shorter values are too common to be masked.
const SECRET_BYTES_MIN: usize = 6;
/// What stands for a secret.
const MASK: &[u8] = b"******";

/// Masks one stream.
pub struct Masker {
    secrets: Vec<Vec<u8>>,
    begins: [bool; 256],
    /// The end of what has come so far that may be the beginning of a secret.
    held: Vec<u8>,
}

impl Masker {
    /// Masks these values.
    pub fn new(values: &[String]) -> Self {
        let long = values.iter().filter(|value| value.len() >= SECRET_BYTES_MIN);
        let mut secrets: Vec<Vec<u8>> = long.map(|value| value.as_bytes().to_vec()).collect();
        // Of two that begin alike the longer one is looked for first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let mut begins = [false; 256];
        secrets.iter().for_each(|secret| begins[usize::from(secret[0])] = true);
        Self { secrets, begins, held: Vec::new() }
    }

    /// Takes bytes and appends to `out` what may be shown of them.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.secrets.is_empty() {
            out.extend_from_slice(bytes);
            return;
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let mut at = 0;
        while at < all.len() {
            let rest = &all[at..];
            if !self.begins[usize::from(rest[0])] {
                out.push(rest[0]);
                at += 1;
                continue;
            }
            if self.secrets.iter().any(|secret| secret.len() > rest.len() && secret.starts_with(rest)) {
                self.held = rest.to_vec();
                return;
            }
            match self.secrets.iter().find(|secret| rest.starts_with(secret)) {
                Some(secret) => {
                    out.extend_from_slice(MASK);
                    at += secret.len();
                }
                None => {
                    out.push(rest[0]);
                    at += 1;
                }
            }
        }
    }

    /// What was held back and turned out to be no secret. Nothing comes after it.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(secrets: &[&str], parts: &[&str]) -> String {
        let mut masker = Masker::new(&secrets.iter().map(|secret| (*secret).to_owned()).collect::<Vec<_>>());
        let mut out = Vec::new();
        parts.iter().for_each(|part| masker.push(part.as_bytes(), &mut out));
        masker.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn secrets_are_masked_wherever_they_are_cut() {
        let secret = "s3cret-value";
        for cut in 0..secret.len() {
            let (a, b) = secret.split_at(cut);
            assert_eq!(masked(&[secret], &["x", a, b, "y"]), "x******y");
        }
        assert_eq!(masked(&[secret], &["s3cret-valu"]), "s3cret-valu");
        assert_eq!(masked(&[secret], &["s3cs3cret-value"]), "s3c******");
        assert_eq!(masked(&["short"], &["short"]), "short");
        assert_eq!(masked(&["abcdef", "abcdefghi"], &["abcdefgh-abcdefghi"]), "******gh-******");
    }

    proptest! {
        #[test]
        fn no_secret_comes_through(
            words in proptest::collection::vec("(aab|abaab|aabaab|b|a){0,4}", 0..8)
        ) {
            let parts: Vec<&str> = words.iter().map(String::as_str).collect();
            prop_assert!(!masked(&["aabaab"], &parts).contains("aabaab"));
            prop_assert_eq!(masked(&["zzzzzz"], &parts), words.concat());
        }
    }
}

//! Mounts as /proc/PID/mountinfo has them (`proc_pid_mountinfo(5)`).

use std::borrow::Cow;

use crate::text::{lines, number, split_once};

/// A line of mountinfo. Bytes are as the kernel wrote them, but for the mount point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountLine<'a> {
    /// Device number of its files.
    pub major: u64,
    /// Device number of its files.
    pub minor: u64,
    /// Where it is mounted, unescaped.
    pub mount_point: Cow<'a, [u8]>,
    /// File system type.
    pub fstype: &'a [u8],
    /// Device, share or whatever else the file system is made of; still escaped.
    pub source: &'a [u8],
    /// Of the mount or of the whole file system.
    pub readonly: bool,
}

/// All mounts in the order in which they were made. Lines of another form are passed over.
pub fn mounts(text: &[u8]) -> impl Iterator<Item = MountLine<'_>> {
    lines(text).filter_map(parse)
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`, with any
/// number of optional fields before the hyphen. A source may be empty: two blanks in a row.
fn parse(line: &[u8]) -> Option<MountLine<'_>> {
    let mut head = line.split(|byte| *byte == b' ');
    let device = head.nth(2)?;
    let mount_point = head.nth(1)?;
    let options = head.next()?;
    head.find(|field| *field == b"-")?;
    let (fstype, source) = (head.next()?, head.next()?);
    let super_options = head.next()?;
    let (major, minor) = split_once(device, b':')?;
    let is = |options: &[u8], word: &[u8]| options.split(|byte| *byte == b',').any(|option| option == word);
    let readonly = is(options, b"ro") || is(super_options, b"ro") || is(super_options, b"emergency_ro");
    Some(MountLine {
        major: number(major)?,
        minor: number(minor)?,
        mount_point: unescape(mount_point),
        fstype,
        source,
        readonly,
    })
}

/// The kernel writes blanks, tabs, newlines and backslashes as three octal digits.
fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        match (byte, escaped(after)) {
            (b'\\', Some(byte)) => {
                plain.push(byte);
                rest = &after[3..];
            }
            _ => {
                plain.push(*byte);
                rest = after;
            }
        }
    }
    Cow::Owned(plain)
}

fn escaped(after: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(after.get(..3)?).ok()?;
    let digits = digits.bytes().all(|digit| digit.is_ascii_digit()).then_some(digits)?;
    u8::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn line_is_read_with_and_without_optional_fields() {
        let line = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue";
        let mount = parse(line).unwrap();
        assert_eq!((mount.major, mount.minor), (98, 0));
        assert_eq!(&*mount.mount_point, b"/mnt2");
        assert_eq!((mount.fstype, mount.source), (&b"ext3"[..], &b"/dev/root"[..]));
        assert!(!mount.readonly);
        let mount = parse(b"28 27 0:25 / /run ro,nosuid - tmpfs  rw").unwrap();
        assert_eq!(mount.source, b"");
        assert!(mount.readonly);
    }

    #[test]
    fn read_only_is_a_word_of_its_own() {
        let readonly = |options: &str| {
            let line = format!("1 2 8:1 / /m rw,relatime - ext4 /dev/sda1 {options}");
            parse(line.as_bytes()).unwrap().readonly
        };
        assert!(readonly("ro") && readonly("rw,emergency_ro"));
        assert!(!readonly("rw,errors=remount-ro,x=ro"));
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(&*unescape(b"/a\\040b\\011c\\134040"), b"/a b\tc\\040");
        assert_eq!(&*unescape(b"/a\\04"), b"/a\\04");
        assert_eq!(&*unescape(b"\\x41\\999"), b"\\x41\\999");
    }

    #[test]
    fn lines_of_another_form_are_passed_over() {
        let text = b"garbage\n1 2 8:1 / /m rw - ext4 /dev/sda1 rw\n1 2 8 / /m rw - ext4 x rw\n";
        assert_eq!(mounts(text).count(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            mounts(&text).for_each(drop);
            unescape(&text);
        }

        #[test]
        fn truncated_line_is_survived(length in 0_usize..76) {
            let line = b"36 35 98:0 /mnt1 /mn\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
            parse(&line[..length]);
        }
    }
}

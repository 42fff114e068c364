//! How names, labels and roles may look and how much of them there may be, so that no agent and
//! no person fills the state.

use super::{HubStateError, Labels, Roles};

/// Bytes of a name of an agent, user or role.
pub const NAME_BYTES_MAX: usize = 128;
/// Labels of an agent.
pub const LABELS_MAX: usize = 64;
/// Roles of an agent.
pub const ROLES_MAX: usize = 64;
/// Bytes of a label's name.
const LABEL_NAME_BYTES_MAX: usize = 256;
/// Bytes of a comment, an address, a version or a label's value.
pub const TEXT_BYTES_MAX: usize = 2_048;
/// Hexadecimal digits of an agent's id: 128 bits.
const AGENT_ID_DIGITS: usize = 32;

/// The id of an agent: 32 lowercase hexadecimal digits.
pub fn check_agent_id(id: &str) -> Result<(), HubStateError> {
    if is_agent_id(id) {
        return Ok(());
    }
    Err(HubStateError::invalid("agent id", "it is not 32 lowercase hexadecimal digits"))
}

fn is_agent_id(id: &str) -> bool {
    id.len() == AGENT_ID_DIGITS && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The name of an agent: letters, digits, `.`, `-` and `_`, with a letter or digit in front, and
/// nothing that could be taken for an id.
pub fn check_agent_name(name: &str) -> Result<(), HubStateError> {
    let refused = |reason: &str| Err(HubStateError::invalid("agent name", reason));
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return refused("it has to have 1 to 128 characters");
    }
    if !name.bytes().all(is_of_name) || !name.as_bytes()[0].is_ascii_alphanumeric() {
        return refused("only letters, digits and . - _ may be in it, and a letter or digit in front");
    }
    if is_agent_id(&name.to_ascii_lowercase()) {
        return refused("it looks like an agent id");
    }
    Ok(())
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-_".contains(&byte)
}

/// The name that an agent gets for what its host calls itself: with what may not be in a name
/// turned into `-`, and never empty.
pub fn default_agent_name(host: &str) -> String {
    let plain = |c: char| if c.is_ascii() && is_of_name(c as u8) { c } else { '-' };
    let name: String = host.chars().map(plain).collect();
    let name: String = name.trim_start_matches(['.', '-', '_']).chars().take(NAME_BYTES_MAX).collect();
    if check_agent_name(&name).is_ok() { name } else { "agent".to_owned() }
}

/// The name of a user: as an agent's, and `@` and `+` as well.
pub fn check_user_name(name: &str) -> Result<(), HubStateError> {
    let may_be = |byte: u8| is_of_name(byte) || b"@+".contains(&byte);
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !begins_well || name.len() > NAME_BYTES_MAX || !name.bytes().all(may_be) {
        let reason = "it has to have 1 to 128 letters, digits and . - _ @ +, and a letter or digit in front";
        return Err(HubStateError::invalid("user name", reason));
    }
    Ok(())
}

/// Labels: any text, but not too much of it.
pub fn check_labels(labels: &Labels) -> Result<(), HubStateError> {
    if labels.len() > LABELS_MAX {
        return Err(HubStateError::invalid("set of labels", format!("there are more than {LABELS_MAX}")));
    }
    for (name, value) in labels {
        if name.is_empty() || name.len() > LABEL_NAME_BYTES_MAX {
            return Err(HubStateError::invalid("label", "its name has to have 1 to 256 bytes"));
        }
        check_text("label", value)?;
    }
    Ok(())
}

/// Roles: any text, but not too much of it.
pub fn check_roles(roles: &Roles) -> Result<(), HubStateError> {
    if roles.len() > ROLES_MAX {
        return Err(HubStateError::invalid("set of roles", format!("there are more than {ROLES_MAX}")));
    }
    if roles.iter().any(|role| role.is_empty() || role.len() > NAME_BYTES_MAX) {
        return Err(HubStateError::invalid("role", "it has to have 1 to 128 bytes"));
    }
    Ok(())
}

/// A comment, an address, a version: any text that is not too long.
pub fn check_text(what: &'static str, text: &str) -> Result<(), HubStateError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(HubStateError::invalid(what, format!("it has more than {TEXT_BYTES_MAX} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_name_is_always_a_name() {
        let hosts = ["web-1.example.org", "", "-x", "häuschen", "...", "a b\nc", &"x".repeat(300)];
        for host in hosts.into_iter().chain(["0123456789abcdef0123456789abcdef"]) {
            check_agent_name(&default_agent_name(host)).unwrap();
        }
        assert_eq!(default_agent_name("web-1.example.org"), "web-1.example.org");
        assert_eq!(default_agent_name("a b"), "a-b");
    }

    #[test]
    fn names_that_could_mislead_are_refused() {
        for name in ["", "-rf", "a/b", "a b", "ä", "0123456789ABCDEF0123456789abcdef", "a\0"] {
            assert!(check_agent_name(name).is_err(), "{name}");
        }
        assert!(check_user_name("alice+test@example.org").is_ok());
        assert!(check_user_name("@alice").is_err());
    }

    #[test]
    fn labels_are_bounded() {
        let many: Labels = (0..65).map(|n| (n.to_string(), String::new())).collect();
        assert!(check_labels(&many).is_err());
        let long: Labels = [("a".to_owned(), "x".repeat(2_049))].into();
        assert!(check_labels(&long).is_err());
        let odd: Labels = [("a\0\n".to_owned(), "\u{202e}\"'".to_owned())].into();
        check_labels(&odd).unwrap();
    }
}

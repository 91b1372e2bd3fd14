//! Room `cli`: who runs a verb, for the journal: the account that the operating system says, and beside it the name that the
//! environment says, which anybody can set.

use crate::config;

/// Where the names of this machine's own accounts stand.
const ACCOUNTS: &str = "/etc/passwd";

/// Who runs this process: `uid=1000(ada)`, the real user by the operating system, without a name where none is known here; and
/// ` named=otto` where the environment gives another name, as after `sudo`.
pub(super) fn operator() -> String {
    let uid = rustix::process::getuid().as_raw();
    let accounts = std::fs::read(ACCOUNTS).unwrap_or_default();
    let name = account(&String::from_utf8_lossy(&accounts), uid);
    described(uid, name.as_deref(), config::operator().as_deref())
}

fn described(uid: u32, account: Option<&str>, named: Option<&str>) -> String {
    let account = account.filter(|name| is_name(name));
    let named = named.filter(|name| is_name(name) && Some(*name) != account);
    let account = account.map(|name| format!("({name})")).unwrap_or_default();
    let named = named.map(|name| format!(" named={name}")).unwrap_or_default();
    format!("uid={uid}{account}{named}")
}

/// The first account with this number.
fn account(accounts: &str, uid: u32) -> Option<String> {
    let name = |line: &str| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number == uid.to_string()).then(|| name.to_owned())
    };
    accounts.lines().find_map(name)
}

/// Whether it can stand in the journal's line without being taken for more than a name.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNTS: &str = "root:x:0:0:root:/root:/bin/bash\nada:x:1000:100:Ada,,,:/home/ada:/bin/sh\n\
                            twin:x:1000:100::/:/bin/sh\nbroken\n";

    #[test]
    fn the_account_is_told_by_its_number_and_the_environments_name_apart() {
        let told = |uid, named| described(uid, account(ACCOUNTS, uid).as_deref(), named);
        assert_eq!(told(1000, Some("ada")), "uid=1000(ada)");
        assert_eq!(told(1000, None), "uid=1000(ada)");
        assert_eq!(told(0, Some("ada")), "uid=0(root) named=ada");
        assert_eq!(told(7, Some("ada")), "uid=7 named=ada", "an account of a directory, or of no name");
        for pretended in ["", "x) uid=0(root", "a b", "a=b", &"x".repeat(65)] {
            assert_eq!(told(7, Some(pretended)), "uid=7", "{pretended:?}");
        }
    }
}

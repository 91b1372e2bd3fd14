//! Room `translate`: which functions a mapping may call. An allow-list: an upgrade of VRL adds none by itself, and the
//! test below fails until someone has decided on each new one. May not decide at run time.

use std::sync::LazyLock;

use vrl::compiler::Function;

use super::{
    functions,
    meter::{self, Metered},
};

/// Functions that stand or fall for one reason.
struct Group {
    why: &'static str,
    names: &'static [&'static str],
}

const ALLOWED: &[Group] = &[
    Group {
        why: "text: the result is at most a small multiple of the arguments (`lint` bounds `join` and `replace`)",
        names: &[
            "basename",
            "camelcase",
            "contains",
            "contains_all",
            "downcase",
            "ends_with",
            "find",
            "join",
            "kebabcase",
            "match",
            "match_any",
            "match_array",
            "pascalcase",
            "replace",
            "screamingsnakecase",
            "slice",
            "snakecase",
            "split",
            "starts_with",
            "strip_whitespace",
            "strlen",
            "truncate",
            "upcase",
        ],
    },
    Group {
        why: "objects and arrays: at most as large as their arguments together",
        names: &[
            "append",
            "chunks",
            "compact",
            "exists",
            "filter",
            "for_each",
            "from_entries",
            "get",
            "includes",
            "keys",
            "length",
            "map_keys",
            "map_values",
            "merge",
            "object_from_array",
            "pop",
            "push",
            "to_entries",
            "unique",
            "values",
            "zip",
        ],
    },
    Group {
        why: "types: asking, insisting, converting",
        names: &[
            "array",
            "bool",
            "float",
            "int",
            "is_array",
            "is_boolean",
            "is_empty",
            "is_float",
            "is_integer",
            "is_null",
            "is_nullish",
            "is_object",
            "is_string",
            "is_timestamp",
            "object",
            "string",
            "timestamp",
            "to_bool",
            "to_float",
            "to_int",
            "to_string",
        ],
    },
    Group {
        why: "numbers",
        names: &["abs", "ceil", "floor", "format_int", "mod", "parse_float", "parse_int", "round"],
    },
    Group {
        why: "time, in UTC or a named zone (`lint` refuses the machine's own)",
        names: &[
            "format_timestamp",
            "from_unix_timestamp",
            "parse_duration",
            "parse_timestamp",
            "to_unix_timestamp",
        ],
    },
    Group {
        why: "encodings whose output is at most a small multiple of the input",
        names: &[
            "decode_base16",
            "decode_base64",
            "decode_percent",
            "encode_base16",
            "encode_base64",
            "encode_json",
            "encode_percent",
            "parse_query_string",
            "parse_regex",
            "parse_url",
        ],
    },
];

const REFUSED: &[Group] = &[
    Group {
        why: "it reads the clock, and a replay must decide the same",
        names: &["now", "parse_klog", "parse_linux_authorization", "parse_syslog", "uuid_v7"],
    },
    Group {
        why: "it draws from chance, and a replay must decide the same",
        names: &["random_bool", "random_bytes", "random_float", "random_int", "uuid_v4"],
    },
    Group {
        why: "it uses the local time of the machine",
        names: &["parse_apache_log", "parse_common_log", "parse_nginx_log"],
    },
    Group {
        why: "it reaches outside (log, files, patterns from data)",
        names: &["log", "parse_grok", "parse_groks", "to_regex"],
    },
    Group {
        why: "its result or its nesting is not bounded by its arguments, so it could take the process down",
        names: &[
            "decode_gzip",
            "decode_lz4",
            "decode_snappy",
            "decode_zlib",
            "decode_zstd",
            "flatten",
            "format_number",
            "parse_cbor",
            "parse_regex_all",
            "parse_ruby_hash",
            "parse_xml",
            "parse_yaml",
            "range",
            "replace_with",
            "set",
            "tag_types_externally",
            "unflatten",
            "unnest",
        ],
    },
    Group {
        why: "the event is read-only; build the result from what it needs",
        names: &["del", "remove", "sieve"],
    },
    Group {
        why: "a second JSON reader could disagree with the one that verified the body; use `parse_json`, which is ours",
        names: &["is_json"],
    },
    Group { why: "its error quotes values; use `if … { abort \"…\" }`", names: &["assert", "assert_eq"] },
    Group {
        why: "it is for logs and machines, not for translating a partner's events",
        names: &[
            "community_id",
            "decode_charset",
            "decode_mime_q",
            "decode_punycode",
            "dirname",
            "encode_charset",
            "encode_csv",
            "encode_gzip",
            "encode_key_value",
            "encode_logfmt",
            "encode_lz4",
            "encode_punycode",
            "encode_snappy",
            "encode_zlib",
            "encode_zstd",
            "haversine",
            "ip_aton",
            "ip_cidr_contains",
            "ip_ntoa",
            "ip_ntop",
            "ip_pton",
            "ip_subnet",
            "ip_to_ipv6",
            "ipv6_to_ipv4",
            "is_ipv4",
            "is_ipv6",
            "is_regex",
            "match_datadog_query",
            "parse_aws_alb_log",
            "parse_aws_cloudwatch_log_subscription_message",
            "parse_aws_vpc_flow_log",
            "parse_bytes",
            "parse_cef",
            "parse_csv",
            "parse_glog",
            "parse_influxdb",
            "parse_key_value",
            "parse_logfmt",
            "parse_tokens",
            "parse_user_agent",
            "redact",
            "shannon_entropy",
            "split_path",
            "strip_ansi_escape_codes",
            "tally",
            "tally_value",
            "to_syslog_facility",
            "to_syslog_facility_code",
            "to_syslog_level",
            "to_syslog_severity",
            "type_def",
            "uuid_from_friendly_id",
        ],
    },
];

static FUNCTIONS: LazyLock<Vec<Box<dyn Function>>> = LazyLock::new(|| {
    let allowed = vrl::stdlib::all().into_iter().filter(|function| is_in(ALLOWED, function.identifier()));
    let metered =
        allowed.chain(functions::all()).map(|function| Box::new(Metered(function)) as Box<dyn Function>);
    metered.chain(meter::hidden()).collect()
});

fn is_in(groups: &[Group], name: &str) -> bool {
    groups.iter().any(|group| group.names.contains(&name))
}

/// Every function a mapping is compiled with, each metered; the hidden ones have names that no source can write.
pub(super) fn functions() -> &'static [Box<dyn Function>] {
    &FUNCTIONS
}

/// Whether a mapping may call it.
pub(super) fn allows(name: &str) -> bool {
    is_in(ALLOWED, name) || functions::NAMES.contains(&name)
}

/// Why VRL has it and a mapping does not; `None` when VRL has no such function either.
pub(super) fn why_refused(name: &str) -> Option<&'static str> {
    REFUSED.iter().find(|group| group.names.contains(&name)).map(|group| group.why)
}

/// The allowed name that looks most like `name`, if one is close.
pub(super) fn closest(name: &str) -> Option<&'static str> {
    let names = ALLOWED.iter().flat_map(|group| group.names).chain(functions::NAMES).copied();
    names
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// VRL's functions that ours stand in for, under the same name.
    const REPLACED: &[&str] = &["parse_json"];

    fn names(groups: &[Group]) -> Vec<&'static str> {
        groups.iter().flat_map(|group| group.names).copied().collect()
    }

    #[test]
    fn every_function_of_vrl_has_been_decided_on_exactly_once() {
        let decided = [names(ALLOWED), names(REFUSED), REPLACED.to_vec()].concat();
        let unique: BTreeSet<&str> = decided.iter().copied().collect();
        assert_eq!(unique.len(), decided.len(), "a function stands in two groups");
        let offered: BTreeSet<&str> =
            vrl::stdlib::all().iter().map(|function| function.identifier()).collect();
        let new: Vec<_> = offered.difference(&unique).collect();
        let gone: Vec<_> = unique.difference(&offered).collect();
        assert_eq!((new, gone), (vec![], vec![]), "decide on the new ones, forget the gone ones");
    }

    #[test]
    fn what_the_design_names_is_out() {
        let out = "now uuid_v7 parse_klog parse_syslog parse_linux_authorization uuid_v4 random_bool random_bytes \
                   random_float random_int log to_regex parse_groks parse_grok parse_xml parse_ruby_hash decode_gzip \
                   decode_zlib decode_zstd decode_lz4 decode_snappy parse_apache_log parse_common_log parse_nginx_log";
        for name in out.split_whitespace() {
            assert!(!allows(name) && why_refused(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_compiler_is_given_the_allowed_ones_and_no_other() {
        let given: Vec<&str> = functions().iter().map(|function| function.identifier()).collect();
        let visible: Vec<&str> = given.iter().copied().filter(|name| !name.trim().is_empty()).collect();
        assert!(visible.iter().all(|name| allows(name)));
        assert_eq!(visible.len(), names(ALLOWED).len() + functions::NAMES.len());
        assert_eq!(given.len() - visible.len(), 3);
    }

    #[test]
    fn nothing_refused_is_a_reason_without_words() {
        assert!(ALLOWED.iter().chain(REFUSED).all(|group| !group.why.is_empty() && group.names.is_sorted()));
    }
}

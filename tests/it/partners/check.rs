//! `douane check` on broken folders: each mistake has its code, its file and line, what is wrong and what to do.

use std::collections::BTreeSet;

use douane::{
    model::Diagnostic,
    partners::{CheckOptions, Report, SecretsFrom, check},
};

use proptest::prelude::*;

use super::sample::{CONTRACT, Files, MODULE, PARTNER};

fn report(files: &Files) -> Report {
    let fixtures = Some(BTreeSet::from(["acme".to_owned()]));
    check(&files.folder(), &CheckOptions { secrets: SecretsFrom::TestTables, fixtures })
}

/// A way to break the sound folder, and what must be said about it.
struct Case {
    files: Files,
    code: &'static str,
    file: &'static str,
    /// What the line that is meant begins with or holds; empty: the file as a whole.
    line: &'static str,
    /// The line above is meant: the heading of the table that `line` stands in.
    above: bool,
    /// A piece of the message.
    says: &'static str,
    /// A piece of the help.
    help: &'static str,
}

fn case(files: Files, code: &'static str, at: (&'static str, &'static str), says: [&'static str; 2]) -> Case {
    Case { files, code, file: at.0, line: at.1, above: false, says: says[0], help: says[1] }
}

impl Case {
    /// The mistake is of the table whose first line holds `line`.
    fn in_table(self, line: &'static str) -> Self {
        Self { line, above: true, ..self }
    }

    /// The number of the line that is meant; 0: the file as a whole.
    fn line_number(&self) -> usize {
        if self.line.is_empty() {
            return 0;
        }
        let text = &self.files.0[self.file];
        let at = text.find(self.line).expect("the line that is meant");
        text[..at].matches('\n').count() + 1 - usize::from(self.above)
    }
}

/// A change to `partner.toml`, named by the line it leaves behind.
fn partner(
    from: &'static str,
    to: &'static str,
    code: &'static str,
    line: &'static str,
    says: [&'static str; 2],
) -> Case {
    case(Files::sound().replace(PARTNER, from, to), code, (PARTNER, line), says)
}

fn assert_found(found: &[Diagnostic], case: &Case) {
    let of_code = |problem: &&Diagnostic| problem.code == case.code && problem.file == case.file;
    let Some(problem) = found.iter().find(of_code) else {
        panic!("{} in {} was not found, but {found:#?}", case.code, case.file);
    };
    assert_eq!(problem.line, case.line_number(), "{problem}");
    assert!(problem.message.contains(case.says), "{problem}");
    assert!(problem.help.contains(case.help), "{problem}");
}

#[test]
fn a_sound_folder_has_nothing_to_mend() {
    let report = report(&Files::sound());
    assert!(report.errors.is_empty() && report.warnings.is_empty(), "{report:#?}");
    assert!(report.is_ok());
}

#[test]
fn mistakes_of_the_file_as_a_whole() {
    let sound = Files::sound;
    for case in [
        partner(
            "owner = \"warehouse\"",
            "owner = = \"w\"",
            "toml_syntax",
            "owner",
            ["this is no TOML", "syntax"],
        ),
        partner("owner =", "ownr =", "unknown_key", "ownr", ["`ownr` is no key", "did you mean \"owner\"?"]),
        partner("owner =", "ownr =", "missing_owner", "name = \"Acme\"", ["nobody owns", "add `owner"]),
        partner("name = \"Acme\"", "name = 7", "wrong_type", "name = 7", ["must be a string", "write"]),
        case(sound().remove(PARTNER), "no_partner_file", (PARTNER, ""), ["no partner.toml", "write one"]),
        case(
            sound().add("partners/Acme_2/partner.toml", "name = 'x'"),
            "bad_name",
            ("partners/Acme_2", ""),
            ["cannot be part of an address", "rename the folder"],
        ),
        case(
            Files(std::collections::BTreeMap::new()).add(PARTNER, "name = 'x'\nowner = 'y'\n"),
            "no_endpoint",
            (PARTNER, "name"),
            ["no [[endpoint]]", "[[endpoint]]"],
        ),
    ] {
        assert_found(&report(&case.files).errors, &case);
    }
}

#[test]
fn mistakes_of_the_door() {
    for case in [
        partner("name = \"returns\"", "nmae = \"returns\"", "unknown_key", "nmae", ["`nmae`", "\"name\""]),
        partner("\"returns\"", "\"default\"", "duplicate_endpoint", "", ["stands twice", "another name"])
            .in_table("name = \"default\"\nsecrets = [{ id = \"returns-1\""),
        partner(
            "\"returns\"",
            "\"Re turns\"",
            "bad_name",
            "Re turns",
            ["cannot be part of an address", "a to z"],
        ),
        partner(
            "secrets = [{ id = \"returns-1\",",
            "secrets = [{ id = \"a\", from = \"env:A\" }, { id = \"a\",",
            "duplicate_secret",
            "env:A",
            ["stands twice", "an id of its own"],
        ),
        partner(
            "env:DOUANE_TEST_ACME_RETURNS",
            "env:",
            "secret_source",
            "returns-1",
            ["no place", "env:NAME"],
        ),
        partner(
            "env:DOUANE_TEST_ACME_RETURNS",
            "ENV",
            "literal_secret",
            "returns-1",
            ["no source", "env:NAME"],
        ),
        partner(
            "secrets = [{ id = \"returns-1\", from = \"env:DOUANE_TEST_ACME_RETURNS\" }]",
            "",
            "no_secrets",
            "",
            ["no secret", "add `secrets"],
        )
        .in_table("name = \"returns\""),
        partner(
            "name = \"returns\"",
            "name = \"returns\"\nmax_body_bytes = 0",
            "out_of_bounds",
            "max_body_bytes",
            ["from 1 to", "within the bounds"],
        ),
        partner(
            "name = \"returns\"",
            "name = \"returns\"\nsignature_failure_status = 200",
            "out_of_bounds",
            "signature_failure_status",
            ["from 400 to 499", "within"],
        ),
    ] {
        assert_found(&report(&case.files).errors, &case);
    }
}

#[test]
fn mistakes_of_how_requests_are_verified() {
    for case in [
        partner(
            "standard-webhooks",
            "standart-webhooks",
            "unknown_preset",
            "standart",
            ["no preset", "standard-webhooks"],
        ),
        partner(
            "tolerance = \"5m\"",
            "message = \"{body}\"",
            "mixed_signature",
            "message",
            ["does not go with a preset", "remove it"],
        ),
        partner(
            "tolerance = \"5m\"",
            "tolerance = \"3 days\"",
            "tolerance",
            "3 days",
            ["above a day", "24h"],
        ),
        partner("tolerance = \"5m\"", "tolerance = \"soon\"", "duration", "soon", ["no duration", "5m"]),
        partner(
            "[signature]\npreset = \"standard-webhooks\"\ntolerance = \"5m\"\n",
            "",
            "no_signature",
            "",
            ["how requests are verified", "preset"],
        )
        .in_table("name = \"default\""),
    ] {
        assert_found(&report(&case.files).errors, &case);
    }
}

#[test]
fn mistakes_of_a_spelled_out_grammar() {
    let case = partner(
        "preset = \"standard-webhooks\"",
        "algorithm = \"hmac-sha256\"\nsecret = { as = \"text\" }\nmesage = \"{body}\"",
        "",
        "mesage",
        ["mesage", ""],
    );
    let report = report(&case.files);
    let found = report.errors.iter().find(|problem| problem.message.contains("mesage"));
    assert_eq!(found.map(|problem| problem.line), Some(case.line_number()), "{report:#?}");
}

#[test]
fn mistakes_of_what_is_identified() {
    let identify = |line: &'static str, code, says| partner("window = \"35d\"", line, code, line, says);
    for case in [
        identify("external_id = \"id\"", "bad_path", ["must start with body", "body, header, query or item"]),
        identify("external_id = \"body.items[].id\"", "not_split", ["that are not split", "with `split`"]),
        identify("external_id = { joined = [\"body.id\"] }", "bad_value", ["one of join", "join"]),
        identify("occurred_at = \"body.at\"", "bad_time", ["how it is written", "unix_s"]),
        identify("version = \"item.v\"", "item_without_split", ["nothing is split", "add `split`"]),
        identify("split = \"body.items\"", "bad_split", ["goes through a list", "body.items[]"]),
        identify(
            "volatile = [\"header.x\"]",
            "volatile_outside",
            ["in the event itself", "start it with body"],
        ),
        identify(
            "same_body = \"duplicated\"",
            "bad_value",
            ["flag or duplicate", "did you mean \"duplicate\"?"],
        ),
        identify("window = \"0s\"", "duration", ["above zero", "35d"]),
    ] {
        assert_found(&report(&case.files).errors, &case);
    }
    let case = case(
        Files::sound()
            .replace(PARTNER, "preset = \"standard-webhooks\"\ntolerance = \"5m\"", "unsigned = true")
            .replace(PARTNER, "event_type = \"body.type\"\n", ""),
        "missing_event_type",
        (PARTNER, "[identify]"),
        ["where the event's type stands", "event_type"],
    );
    assert_found(&report(&case.files).errors, &case);
}

#[test]
fn what_is_signed_item_by_item_is_split_just_so() {
    let files = Files::sound().replace(
        PARTNER,
        "preset = \"standard-webhooks\"\ntolerance = \"5m\"",
        "preset = \"adyen\"",
    );
    let case = case(
        files.replace(PARTNER, "window = \"35d\"", "split = \"body.items[]\"").replace(
            PARTNER,
            "body.type",
            "item.type",
        ),
        "split_not_signed",
        (PARTNER, "split ="),
        ["not the items that are signed", "body.notificationItems[].NotificationRequestItem"],
    );
    assert_found(&report(&case.files).errors, &case);
}

#[test]
fn beside_a_signature_in_the_json_no_form_is_read() {
    let adyen = Files::sound().replace(
        PARTNER,
        "preset = \"standard-webhooks\"\ntolerance = \"5m\"",
        "preset = \"adyen\"",
    );
    let case = case(
        adyen.replace(PARTNER, "window = \"35d\"", "form_json = \"payload\"").replace(
            PARTNER,
            "body.type",
            "item.type",
        ),
        "form_not_signed",
        (PARTNER, "form_json ="),
        ["signed in the body's JSON", "remove `form_json`"],
    );
    assert_found(&report(&case.files).errors, &case);
}

#[test]
fn a_header_that_is_sealed_names_nothing() {
    let identify = |line: &'static str| {
        let says = ["sealed before the delivery is kept", "another header or a field of the body"];
        partner("window = \"35d\"", line, "sealed_header", line, says)
    };
    for case in [
        identify("external_id = \"header.X-Idempotency-Token\""),
        identify("ordering_key = { first_of = [\"body.a\", \"header.authorization\"] }"),
        identify("version = { join = [\"header.x-api-key\", \"body.v\"] }"),
        identify("identity = [\"body.a\", \"header.cookie\"]"),
        identify("occurred_at = { path = \"header.x-token-time\", as = \"unix_s\" }"),
        identify("external_id = { digest = [\"header.client-secret\"] }"),
        partner(
            "event_type = \"body.type\"",
            "event_type = \"header.x-token-type\"",
            "sealed_header",
            "event_type",
            ["`header.x-token-type`", "another header"],
        ),
        partner(
            "module = \"parcel_sent.vrl\"",
            "module = \"parcel_sent.vrl\"\nordering_key = \"header.x-order-token\"",
            "sealed_header",
            "ordering_key",
            ["`header.x-order-token`", "another header"],
        ),
    ] {
        assert_found(&report(&case.files).errors, &case);
    }
}

#[test]
fn mistakes_of_mappings_and_contracts() {
    let sound = Files::sound;
    for case in [
        partner("\"parcel_sent.vrl\"", "\"parcel_send.vrl\"", "module_missing", "parcel_send", [
            "no module",
            "did you mean \"parcel_sent.vrl\"?",
        ]),
        partner("\"parcel_sent.vrl\"", "\"../x.vrl\"", "bad_module", "../x", ["no module of this folder", "beside"]),
        partner("ParcelSent.v1", "ParcelSend.v1", "unknown_contract", "ParcelSend", [
            "no contract",
            "did you mean \"logistics.ParcelSent.v1\"?",
        ]),
        partner("[\"logistics.ParcelSent.v1\"]", "[]", "empty_emits", "[[mapping]]", ["emits nothing", "emits"]),
        partner("[\"parcel.sent\"]", "[]", "empty_on", "[[mapping]]", ["no external type", "on ="]),
        partner("[\"parcel.sent\"]", "[\"\"]", "bad_pattern", "on = [\"\"]", ["no external type", "`*`"]),
        partner("[\"ping\"]", "[\"ping\"]\nendpoints = [\"return\"]", "unknown_endpoint", "endpoints", [
            "no endpoint",
            "did you mean \"returns\"?",
        ]),
        partner("why = \"says nothing\"", "", "missing_key", "[[ignore]]", ["`why` is missing", "add `why"]),
        partner("[\"ping\"]", "[\"parcel.*\"]", "shadowed_mapping", "on = [\"parcel.sent\"]", [
            "an [[ignore]] takes it",
            "narrower",
        ]),
        case(
            sound().add(
                PARTNER,
                "[[mapping]]\non = [\"parcel.sent\"] # again\nmodule = \"parcel_sent.vrl\"\nemits = [\"logistics.ParcelSent.v1\"]\n",
            ),
            "shadowed_mapping",
            (PARTNER, "# again"),
            ["an earlier [[mapping]] takes it", "narrower"],
        ),
        case(
            sound().add(MODULE, "\n) # oops\n"),
            "mapping_syntax",
            (MODULE, "# oops"),
            ["", ""],
        ),
    ] {
        assert_found(&report(&case.files).errors, &case);
    }
    let broken = report(&sound().replace(CONTRACT, "\"additionalProperties\": false,", ""));
    assert!(broken.errors.iter().any(|problem| problem.file == CONTRACT), "{broken:#?}");
}

#[test]
fn what_a_person_should_look_at_is_a_warning() {
    let sound = Files::sound;
    for case in [
        partner("window = \"35d\"", "window = \"2h\"", "short_window", "2h", ["below a day", "35d"]),
        partner("name = \"Acme\"", "", "missing_name", "", ["no display name", "add `name"])
            .in_table("owner ="),
        case(
            sound().add("partners/acme/left_over.vrl", "."),
            "unused_module",
            ("partners/acme/left_over.vrl", ""),
            ["no [[mapping]] names", "remove it"],
        ),
        case(
            sound().remove("partners/acme/setup.md"),
            "missing_setup",
            ("partners/acme/setup.md", ""),
            ["no setup.md", "set up"],
        ),
        case(
            sound().add("partners/other/partner.toml", "name = 'Other'\nowner = 'x'"),
            "missing_fixtures",
            ("fixtures/other", ""),
            ["no fixtures", "request.http"],
        ),
        partner(
            "\"2026-11\" =",
            "\"2025-11\" =",
            "missing_test_secret",
            "",
            ["no secret \"2026-11\"", "[test]"],
        )
        .in_table("name = \"default\""),
        partner("\"2026-11\" =", "\"2025-11\" =", "not_configured", "", ["would answer 503", "secret"])
            .in_table("name = \"default\""),
        partner(
            "whsec_yWkEqJ0v3oTn5mZcR8sLw1dX7bHfUaPGi2tKxN4eQ6M=",
            "changeme",
            "not_configured",
            "",
            ["the secret \"2026-11\" from [test]", "secret"],
        )
        .in_table("name = \"default\""),
        partner(
            "preset = \"standard-webhooks\"\ntolerance = \"5m\"",
            "unsigned = true",
            "unsigned",
            "",
            ["believes anyone", "signature"],
        )
        .in_table("name = \"default\""),
    ] {
        assert_found(&report(&case.files).warnings, &case);
    }
}

#[test]
fn no_report_shows_a_secret() {
    let secret = "whsec_VGhpcyBpcyB0aGUgcmVhbCBvbmU";
    for files in [
        Files::sound().replace(PARTNER, "env:DOUANE_TEST_ACME_RETURNS", secret),
        Files::sound().replace(PARTNER, "env:DOUANE_TEST_ACME_RETURNS\"", secret),
        Files::sound().replace(PARTNER, "name = \"returns\"", &format!("secret = \"{secret}\"")),
        Files::sound().replace(PARTNER, "\"env:DOUANE_TEST_ACME_RETURNS\"", &format!("[\"{secret}\"]")),
        Files::sound().replace(
            PARTNER,
            "whsec_yWkEqJ0v3oTn5mZcR8sLw1dX7bHfUaPGi2tKxN4eQ6M=",
            &format!("{secret}\"\""),
        ),
    ] {
        let report = report(&files);
        assert!(!report.is_ok());
        let shown = format!("{report:?}{}", serde_json::to_string(&report).expect("json"));
        assert!(!shown.contains("VGhpcyBpcyB0aGUgcmVhbCBvbmU"), "{shown}");
    }
}

#[test]
fn everything_is_found_at_once_in_the_order_of_the_file() {
    let files = Files::sound()
        .replace(PARTNER, "owner =", "ownr =")
        .replace(PARTNER, "event_type = \"body.type\"", "event_type = \"type\"")
        .replace(PARTNER, "\"parcel_sent.vrl\"", "\"lost.vrl\"");
    let lines: Vec<_> = report(&files).errors.iter().map(|problem| problem.line).collect();
    assert!(lines.len() >= 4 && lines.is_sorted(), "{lines:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_damage_makes_it_panic(from in 0_usize..800, length in 0_usize..60, put in "[a-z\\[\\]{}=\"'.,\\n ]{0,12}") {
        let mut files = Files::sound();
        let text = files.0.get_mut(PARTNER).expect("a file");
        let from = from.min(text.len());
        text.replace_range(from..(from + length).min(text.len()), &put);
        report(&files);
    }
}

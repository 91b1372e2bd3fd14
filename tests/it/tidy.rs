//! The walls of ARCHITECTURE.md, held by test. Each message says what to do instead.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const MAX_LINES_BEFORE_TESTS: usize = 400;

/// Marks of unfinished work, and what to do instead. Split so that this file does not find itself.
const UNFINISHED: [(&str, &str); 5] = [
    (concat!("FIX", "ME"), "finish it, or open an issue"),
    (concat!("TO", "DO"), "finish it, or open an issue"),
    (concat!("dbg", "!("), "use tracing, or an assertion"),
    (concat!("todo", "!("), "write it"),
    (concat!("unimplemented", "!("), "write it"),
];

/// The ladder of types: how each rung is made, and where alone. A rung that others read back or copy says so.
const MADE_IN_ONE_PLACE: [(&str, &[&str]); 8] = [
    // What arrives; the sender's side has its own, and `verify --explain` tries what may have gone wrong on the way.
    ("RawRequest {", &["src/intake/arrival.rs", "src/cli/cases.rs", "src/signatures/explain/mistakes.rs"]),
    ("VerifiedRequest::attest(", &["src/signatures/"]),
    // What was worked has a variant of that name.
    ("Delivery {", &["src/pipeline/batch.rs", "src/ledger/worked.rs"]),
    ("ExternalEvent {", &["src/pipeline/identify/"]),
    // A verdict names another event, its owner.
    ("Verdict::Conflict { with: ", &["src/dedupe/"]),
    ("DomainEvent {", &["src/translate/output.rs"]),
    ("CheckedEvent::attest(", &["src/contracts/"]),
    ("StoredEvent {", &["src/pipeline/cloudevent.rs", "src/pipeline/replay.rs", "src/ledger/records/"]),
];

/// Text that only one room may hold, and why.
const AT_HOME: [(&str, &[&str], &str); 3] = [
    (
        "tokio::time::sleep(",
        &["src/pipeline/retry.rs", "src/intake/listener.rs"],
        "the one loop that waits is pipeline/retry.rs",
    ),
    ("SystemTime::now()", &["src/clock.rs"], "ask crate::clock::Clock"),
    ("StatusCode::", &["src/intake/", "src/console/", "src/cli/"], "statuses belong to the doors"),
];

struct Source {
    path: String,
    room: String,
    text: String,
}

impl Source {
    /// The text before the unit tests, which may reach further than the code.
    fn code(&self) -> &str {
        const MARK: &str = "#[cfg(test)]\n";
        if self.path.ends_with("/tests.rs") {
            return "";
        }
        let begins_tests = |at: &usize| {
            let line = self.text[at + MARK.len()..].lines().next().unwrap_or_default();
            line.contains("mod ") && (line.ends_with('{') || line.ends_with("mod tests;"))
        };
        let tests = self.text.match_indices(MARK).map(|(at, _)| at).find(begins_tests);
        &self.text[..tests.unwrap_or(self.text.len())]
    }
}

struct Wall {
    imports: BTreeSet<String>,
    crates: BTreeSet<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<Source> {
    files_below(&root().join("src"), "rs").iter().map(|path| source(path)).collect()
}

fn source(path: &Path) -> Source {
    let relative = path.strip_prefix(root()).expect("below the root").display().to_string();
    let within = relative.trim_start_matches("src/");
    let room = within.split(['/', '.']).next().expect("a room").to_owned();
    Source { room, text: fs::read_to_string(path).expect("readable"), path: relative }
}

/// The table under "Who may know whom".
fn walls() -> BTreeMap<String, Wall> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("readable");
    let section = text.split("### Who may know whom").nth(1).expect("the table's heading");
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let names =
        |cell: &str| cell.split(',').map(str::trim).filter(|name| *name != "–").map(str::to_owned).collect();
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        (cells[0].to_owned(), Wall { imports: names(cells[1]), crates: names(cells[2]) })
    })
    .collect()
}

fn fail_on(mistakes: &[String]) {
    assert!(mistakes.is_empty(), "\n{}\n", mistakes.join("\n"));
}

/// The rooms a source names through `crate::`, also inside `use crate::{a, b::c}`.
fn imported_rooms(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => rooms.extend(first_names_of_group(group)),
            None => rooms.extend(first_name(rest)),
        }
    }
    rooms
}

/// Whether code makes a value so; to declare the type, to return it or to take it apart is no making.
fn makes(code: &str, making: &str) -> bool {
    const NO_MAKING: [&str; 9] =
        ["struct ", "impl ", "for ", "-> ", "-> &", "-> &'a ", "let ", "Some(&", "::"];
    code.match_indices(making).any(|(at, _)| {
        let before = &code[..at];
        let within_a_name = before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        !within_a_name && !NO_MAKING.iter().any(|other| before.ends_with(other))
    })
}

/// Whether code names an outside library at the head of a path, wherever the path stands.
fn names_crate(code: &str, name: &str) -> bool {
    let head = format!("{name}::");
    code.match_indices(&head).any(|(at, _)| {
        let before = &code[..at];
        !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && !before.ends_with("::")
    })
}

fn first_name(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

fn first_names_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut start) = (0_usize, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.extend(first_name(group[start..at].trim()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.extend(first_name(group[start..at].trim()));
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let walls = walls();
    let mut mistakes = Vec::new();
    for source in sources().iter().filter(|source| source.room != "lib") {
        let Some(wall) = walls.get(&source.room) else {
            mistakes.push(format!("{}: the room {} has no row in ARCHITECTURE.md", source.path, source.room));
            continue;
        };
        for room in imported_rooms(source.code()) {
            if walls.contains_key(&room) && room != source.room && !wall.imports.contains(&room) {
                mistakes.push(format!(
                    "{}: {} may not know {room}. Move the shared noun to model, pass the value in from a floor above, \
                     or change the table in ARCHITECTURE.md and say why",
                    source.path, source.room
                ));
            }
        }
    }
    fail_on(&mistakes);
}

#[test]
fn outside_libraries_stay_in_their_rooms() {
    let walls = walls();
    let named: BTreeSet<&String> = walls.values().flat_map(|wall| &wall.crates).collect();
    let mut mistakes = Vec::new();
    for source in sources() {
        let Some(wall) = walls.get(&source.room) else { continue };
        for name in named.iter().filter(|name| !wall.crates.contains(**name)) {
            if names_crate(source.code(), name) {
                mistakes.push(format!("{}: {name} does not belong to the room {}", source.path, source.room));
            }
        }
    }
    fail_on(&mistakes);
}

/// The floor of each room, from the drawing above the table.
fn floors() -> BTreeMap<String, usize> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("readable");
    let house = text.split("## The house").nth(1).expect("the house's heading");
    let drawing = house.split("```").nth(1).expect("the drawing");
    let mut floors = BTreeMap::new();
    for line in drawing.lines().filter(|line| !line.is_empty()) {
        let (floor, rooms) = line.split_once("  ").expect("a floor and its rooms");
        let floor: usize = floor.parse().expect("a floor's number");
        floors.extend(rooms.split('·').map(|room| (room.trim().to_owned(), floor)));
    }
    floors
}

#[test]
fn rooms_import_only_from_floors_below() {
    let (walls, floors) = (walls(), floors());
    assert_eq!(walls.keys().collect::<Vec<_>>(), floors.keys().collect::<Vec<_>>(), "one drawing, one table");
    let mut mistakes = Vec::new();
    for (room, wall) in &walls {
        for import in wall.imports.iter().filter(|import| floors[*import] >= floors[room]) {
            mistakes.push(format!("ARCHITECTURE.md: {import} does not stand on a floor below {room}"));
        }
    }
    fail_on(&mistakes);
}

#[test]
fn a_library_is_found_wherever_its_name_stands() {
    for code in
        ["use toml::Value;", "f(toml::Value)", "Vec<toml::Value>", "&toml::from_str", "[toml::Value; 2]"]
    {
        assert!(names_crate(code, "toml"), "{code}");
    }
    for code in ["use config::toml::x;", "my_toml::x", "use toml_edit::x"] {
        assert!(!names_crate(code, "toml"), "{code}");
    }
}

#[test]
fn the_table_has_no_circles() {
    let walls = walls();
    let mut settled: BTreeSet<&String> = BTreeSet::new();
    while settled.len() < walls.len() {
        let ready: Vec<_> = walls
            .iter()
            .filter(|(room, wall)| {
                !settled.contains(room) && wall.imports.iter().all(|it| settled.contains(it))
            })
            .map(|(room, _)| room)
            .collect();
        assert!(!ready.is_empty(), "a circle among {:?}", walls.keys().filter(|it| !settled.contains(it)));
        settled.extend(ready);
    }
}

#[test]
fn every_file_opens_by_saying_which_room_it_is() {
    let mut mistakes = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//! ") {
            mistakes.push(format!("{}: open with //! and say which room this is", source.path));
        }
    }
    fail_on(&mistakes);
}

#[test]
fn files_stay_small_enough_to_read() {
    let mut mistakes = Vec::new();
    for source in sources() {
        let lines = source.code().lines().count();
        if lines > MAX_LINES_BEFORE_TESTS {
            mistakes.push(format!("{}: {lines} lines before its tests; split it by meaning", source.path));
        }
    }
    fail_on(&mistakes);
}

#[test]
fn nothing_is_left_unfinished() {
    let tests = files_below(&root().join("tests"), "rs");
    let tests = tests.iter().map(|path| source(path));
    let mut mistakes = Vec::new();
    for source in sources().into_iter().chain(tests) {
        for (mark, instead) in UNFINISHED {
            if source.text.contains(mark) {
                mistakes.push(format!("{}: {mark}: {instead}", source.path));
            }
        }
    }
    fail_on(&mistakes);
}

#[test]
fn every_file_is_compiled() {
    let sources = sources();
    let mut mistakes = Vec::new();
    for source in &sources {
        let path = Path::new(&source.path);
        let (folder, name) = match path.file_stem().and_then(|stem| stem.to_str()).expect("a name") {
            "main" | "lib" => continue,
            "mod" => {
                let folder = path.parent().expect("a folder");
                (
                    folder.parent().expect("a folder"),
                    folder.file_name().expect("a name").to_str().expect("utf-8"),
                )
            }
            stem => (path.parent().expect("a folder"), stem),
        };
        let parents = [folder.join("mod.rs"), folder.join("lib.rs"), folder.with_extension("rs")];
        let declared = sources.iter().any(|other| {
            parents.iter().any(|parent| Path::new(&other.path) == parent.as_path())
                && other.text.lines().any(|line| line.trim().ends_with(&format!("mod {name};")))
        });
        if !declared {
            mistakes.push(format!("{}: no `mod {name};` leads here; declare it or delete it", source.path));
        }
    }
    fail_on(&mistakes);
}

#[test]
fn each_rung_is_made_in_one_place() {
    let mut mistakes = Vec::new();
    for source in sources() {
        for (making, homes) in MADE_IN_ONE_PLACE {
            if makes(source.code(), making) && !homes.iter().any(|home| source.path.starts_with(home)) {
                mistakes.push(format!("{}: {making}… belongs to {} alone", source.path, homes.join(", ")));
            }
        }
        for (text, homes, instead) in AT_HOME {
            if source.code().contains(text) && !homes.iter().any(|home| source.path.starts_with(home)) {
                mistakes.push(format!("{}: {text}…: {instead}", source.path));
            }
        }
    }
    fail_on(&mistakes);
}

#[test]
fn every_partner_has_fixtures_and_every_fixture_a_partner() {
    let names = |folder: &str| -> BTreeSet<String> {
        fs::read_dir(root().join(folder))
            .expect("readable")
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(names("mappings/partners"), names("fixtures"));
}

/// A planted bug that no longer fits the code would only be missed where `tests/run.sh --mutants` is run.
#[test]
fn every_planted_bug_still_fits_the_code() {
    let fits = |patch: &PathBuf| {
        let mut git = Command::new("git");
        git.current_dir(root()).env("GIT_CEILING_DIRECTORIES", root()).args(["apply", "--check"]).arg(patch);
        git.output().expect("git runs").status.success()
    };
    let patches = files_below(&root().join("tests/mutants"), "patch");
    assert!(!patches.is_empty(), "no bug is planted");
    let stale = patches.iter().filter(|patch| !fits(patch));
    fail_on(&stale.map(|patch| format!("{} no longer applies", patch.display())).collect::<Vec<_>>());
}

#[test]
fn the_fuzz_targets_lock_the_same_libraries() {
    let read = |file: &str| -> toml::Table {
        toml::from_str(&fs::read_to_string(root().join(file)).expect("readable")).expect("TOML")
    };
    let (manifest, lock) = (read("Cargo.toml"), read("fuzz/Cargo.lock"));
    let packages = lock["package"].as_array().expect("packages");
    let locked = |library: &str| packages.iter().any(|package| package["name"].as_str() == Some(library));
    let libraries = manifest["dependencies"].as_table().expect("a table").iter();
    let built = libraries.filter(|(_, library)| library.get("optional").is_none()).map(|(name, _)| name);
    let missing = built.filter(|library| !locked(library)).map(|library| {
        format!("fuzz/Cargo.lock lacks {library}: run cargo check --manifest-path fuzz/Cargo.toml and commit the lock")
    });
    fail_on(&missing.collect::<Vec<_>>());
}

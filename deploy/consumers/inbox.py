"""What makes a consumer idempotent: an event's effect and the note that it was seen are one transaction.

douane publishes at least once, so a repeat can come at any time. `source` and `id` together name an event.
"""

import json
import sqlite3


class Inbox:
    """A database of ours. Here SQLite; in your service, the one that it keeps its state in anyway."""

    def __init__(self, path):
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute(
            "CREATE TABLE IF NOT EXISTS seen (source TEXT, id TEXT, PRIMARY KEY (source, id)) WITHOUT ROWID"
        )
        self.database.execute(
            "CREATE TABLE IF NOT EXISTS effects (place INTEGER PRIMARY KEY, partitionkey TEXT, id TEXT, type TEXT)"
        )

    def once(self, body, effect):
        """Calls `effect(database, event)` for an event that was not seen; whether it was so."""
        event = json.loads(body)
        with self.database:
            self.database.execute("BEGIN IMMEDIATE")
            seen = self.database.execute(
                "INSERT OR IGNORE INTO seen VALUES (?, ?)", (event["source"], event["id"])
            )
            if seen.rowcount == 1:
                effect(self.database, event)
        return seen.rowcount == 1


def note(database, event):
    """The effect of this example: a line for each event. Yours changes your own tables, by `database` too."""
    database.execute(
        "INSERT INTO effects (partitionkey, id, type) VALUES (?, ?, ?)",
        (event["partitionkey"], event["id"], event["type"]),
    )

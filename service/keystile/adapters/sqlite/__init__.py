"""The embedded store: owners, records and the change log in one SQLite file."""

"""SQLite files with one writer, and files that are written whole or not at all."""

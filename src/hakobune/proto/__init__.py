"""Our .proto files, wire-compatible with the field's, and the stubs generated from them (never edited)."""

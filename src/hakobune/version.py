"""The version of this installation: every program of it says this one, and an upgrade compares it. Imports nothing."""

VERSION = "0.1.0"

"""`hako demo`: the life of one container in six chapters, each claim checked on the host.

One file per chapter; `stage` runs commands and keeps the score, `host` looks at processes, mounts, links and
namespaces, `engine` says what a private engine must offer. Speaks to the engine through `hako` alone.
"""

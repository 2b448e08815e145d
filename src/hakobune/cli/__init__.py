"""The `hako` command: one file per noun, standard library only, every import counted. Talks to engines by HTTP alone."""

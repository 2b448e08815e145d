"""Images of the engine: names in a containerd, configurations, and what is done to them.

`catalogue` reads, `layer` makes content and snapshots, `images` is what other rooms get; one file for each verb.
"""

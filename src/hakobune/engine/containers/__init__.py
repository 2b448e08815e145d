"""Containers of the engine: what is wanted (`model`), what may happen (`lifecycle`), one file for each verb.

The kernel's side of a container lives below, behind `engine.runtime`; its end is told by `exits`. One lock
for each container serialises the verbs that change it; `store` is the record that outlives us.
"""

"""`make bench`: Hakobune and the engines of this machine, measured from outside, in one run.

client (the Docker API) · room (a place of its own for each engine) · engines (how each one is started) ·
cases (what is done) · memory (what it costs) · report (the table) · picture (the SVG) · engine_bench (the run).
"""

"""`make bench`: Hakobune and the engines of this machine, measured from outside, in one run.

client (the Docker API) · engines (ours and the peers of testing/peers, each in a room of testing/room) ·
cases (what is done) · memory (what it costs) · report (the table) · picture (the SVG) · engine_bench (the run).
"""

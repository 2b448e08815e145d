"""Container logs: written by the shim, read by the engine and by the shim's `logs -f` workers.

`json_file.py` is Docker's json-file format (write, rotate, read); `render.py` turns entries into what
a client of the Docker API gets. Synchronous; imports only os, time, select, `_json` and json.
"""

"""hako-containerd: `--address SOCKET --root DIR --state DIR [--config FILE] [--log-level LEVEL]`.

`hako-containerd --address SOCKET publish --topic TOPIC --namespace NAMESPACE` sends one event instead.

Ready when its socket answers Version. SIGTERM ends it and leaves running containers alone.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import sys

from hakobune.containerd import app, config, publish
from hakobune.errors import HakoError
from hakobune.linux import oom_score

_LEVELS = {"warn": "WARNING", "fatal": "CRITICAL"}


def main() -> None:
    """Serve until told to end; exit code 1 with one line when it cannot start."""
    try:
        if publish.VERB in sys.argv[1:]:
            publish.publish(sys.argv[1:])
            return
        settings = config.parse()
        settings = dataclasses.replace(
            settings,
            address=os.path.abspath(settings.address.removeprefix("unix://")),
            root=os.path.abspath(settings.root),
            state=os.path.abspath(settings.state),
        )
        level = _LEVELS.get(settings.log_level, settings.log_level.upper())
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        oom_score.ask(oom_score.DAEMON)
        held = app.lock(settings)
        try:
            asyncio.run(app.serve(settings))
        finally:
            os.close(held)
    except (HakoError, OSError) as err:
        sys.exit(f"hako-containerd: {err}")


if __name__ == "__main__":
    main()

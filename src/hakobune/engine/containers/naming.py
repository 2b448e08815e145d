"""Names for containers that were given none: a mood and a ship's word, as `calm_anchor`."""

from __future__ import annotations

import random

_MOODS = """
    able agile airy amber ample apt astute azure balmy bold brave breezy bright brisk calm candid careful cheerful
    clever cosy crisp curious daring deft eager early earnest easy fair fearless fleet fond frank fresh gentle glad
    golden grand happy hardy hearty honest hopeful humble jolly jovial keen kind lively loyal lucid lucky merry mild
    modest neat nimble noble patient placid plucky proud quick quiet ready robust serene silver sincere sober solid
    sound spry stable steady stout sturdy sunny sure swift tidy trim trusty upbeat valiant vivid warm wise witty
""".split()

_THINGS = """
    anchor ark barge beacon bell berth binnacle boom bosun bow bowline bridge bulkhead buoy cabin capstan cargo
    cask chart cleat coaster compass cove crane crate crew current cutter davit deck dinghy dock drift ferry fender
    fjord fleet galley gangway gull halyard harbor hatch haven hawser helm hold hull island jetty jib keel kelp ketch
    knot lagoon lantern lighthouse logbook mainsail mariner mast mooring oar outrigger paddle pier pilot port prow
    quay raft reef rigging rope rudder sail schooner seal sextant shoal skiff sloop sounding spar stern strait swell
    tiller tide trawler tug voyage wake wave wharf winch windlass yacht yawl
""".split()


def random_name(source: random.Random, attempt: int = 0) -> str:
    """A name; after the first attempts a number makes it rarer."""
    name = f"{source.choice(_MOODS)}_{source.choice(_THINGS)}"
    return f"{name}{source.randrange(10)}" if attempt > 2 else name

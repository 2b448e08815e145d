"""Every verb there is: where its code lives and one line about it. Nothing is imported until it is asked for."""

from __future__ import annotations

from .command import Command
from .failure import Failure

CONTAINER = {
    "attach": ("containers.attach", "Connect this terminal to a running container"),
    "commit": ("containers.capture", "Make an image of a container as it is now"),
    "cp": ("containers.copy", "Copy files between this machine and a container"),
    "create": ("containers.create", "Make a container without starting it"),
    "diff": ("containers.capture", "Show what a container has changed of its image's files"),
    "exec": ("containers.execs", "Run another command in a running container"),
    "export": ("containers.capture", "Write a container's files to a tar archive"),
    "inspect": ("inspect", "Show all that is known of containers"),
    "kill": ("containers.state", "Send a signal, SIGKILL unless told otherwise"),
    "logs": ("containers.logs", "Show what a container has printed"),
    "ls": ("containers.listing", "List containers"),
    "pause": ("containers.state", "Freeze all processes of containers"),
    "port": ("containers.listing", "Show published ports"),
    "prune": ("containers.prune", "Remove all containers that do not run"),
    "rename": ("containers.state", "Give a container another name"),
    "restart": ("containers.state", "Stop and start containers"),
    "rm": ("containers.state", "Remove containers"),
    "run": ("containers.run", "Make a container of an image and run a command in it"),
    "start": ("containers.attach", "Start containers that are stopped"),
    "stop": ("containers.state", "Stop containers, politely first"),
    "top": ("containers.listing", "Show the processes of a container"),
    "unpause": ("containers.state", "Thaw the processes of containers"),
    "update": ("containers.update", "Change limits and restart policy"),
    "wait": ("containers.state", "Wait for containers to end and print their exit codes"),
}
IMAGE = {
    "from-packages": ("packages", "Make a Debian image of packages, by mmdebstrap"),
    "history": ("images", "Show how an image was made"),
    "import": ("archives", "Make an image of a root file system in a tar archive"),
    "inspect": ("inspect", "Show all that is known of images"),
    "load": ("archives", "Take images out of an archive"),
    "ls": ("images", "List images"),
    "prune": ("images", "Remove images that nothing needs"),
    "pull": ("pull", "Fetch an image"),
    "push": ("pull", "Send an image to its registry"),
    "rm": ("images", "Remove images"),
    "save": ("archives", "Write images to an archive"),
    "tag": ("images", "Give an image one more name"),
}
VOLUME = {
    "create": ("volumes", "Make a volume"),
    "inspect": ("inspect", "Show all that is known of volumes"),
    "ls": ("volumes", "List volumes"),
    "prune": ("volumes", "Remove volumes that no container uses"),
    "rm": ("volumes", "Remove volumes"),
}
MANIFEST = {
    "inspect": ("manifests", "Show a manifest as its registry has it"),
}
NETWORK = {
    "connect": ("networks", "Connect a container to a network"),
    "create": ("networks", "Make a network"),
    "disconnect": ("networks", "Take a container off a network"),
    "inspect": ("inspect", "Show all that is known of networks"),
    "ls": ("networks", "List networks"),
    "prune": ("networks", "Remove networks that no container uses"),
    "rm": ("networks", "Remove networks"),
}
SYSTEM = {
    "check": ("check", "Look for what is broken in the engine's store, and mend it"),
    "df": ("disk", "Show what the engine keeps on disk"),
    "events": ("events", "Print what happens, as it happens"),
    "info": ("system", "Show the engine's state and settings"),
    "prune": ("prune", "Remove all that is unused"),
    "upgrade": ("upgrade", "Go on as the code that is installed now, containers running"),
}
GROUPS = {
    "container": ("Manage containers", CONTAINER),
    "image": ("Manage images", IMAGE),
    "manifest": ("Look at manifests in registries", MANIFEST),
    "network": ("Manage networks", NETWORK),
    "system": ("Manage the engine", SYSTEM),
    "volume": ("Manage volumes", VOLUME),
}
_COMMON = ("run", "exec", "ps", "images", "version", "info")
# verbs at the top: (group, verb)
TOP = {
    **{verb: ("container", verb) for verb in CONTAINER if verb not in ("ls", "prune", "inspect")},
    "events": ("system", "events"),
    "history": ("image", "history"),
    "images": ("image", "ls"),
    "import": ("image", "import"),
    "info": ("system", "info"),
    "load": ("image", "load"),
    "ps": ("container", "ls"),
    "pull": ("image", "pull"),
    "push": ("image", "push"),
    "rmi": ("image", "rm"),
    "save": ("image", "save"),
    "tag": ("image", "tag"),
}
_ALONE = {
    "inspect": ("inspect", "Show all that is known of anything that has a name or an id"),
    "login": ("login", "Tell a registry who you are"),
    "logout": ("login", "Forget what login has kept"),
    "search": ("search", "Look for repositories in a registry"),
    "version": ("system", "Show the versions of this command and of the engine"),
}
_ALIASES = {"list": "ls", "ps": "ls", "remove": "rm"}
_LATER = frozenset(
    "build builder buildx checkpoint compose config context "
    "node plugin secret service stack stats swarm trust".split()
)


def find(words: list[str]) -> tuple[Command | None, list[str], str]:
    """(command, words after its name, help of a group when there is no command). Raises Failure."""
    first, rest = words[0], words[1:]
    if first in GROUPS:
        return _in_group(first, rest)
    if first in TOP:
        group, verb = TOP[first]
        name = first if first in ("ps", "images", "rmi") else verb
        return _load(GROUPS[group][1][verb][0], name), rest, ""
    if first in _ALONE:
        return _load(_ALONE[first][0], first), rest, ""
    if first in _LATER:
        raise Failure(f"hako: '{first}' is not served yet; `hako --help` lists what is")
    raise Failure(f"hako: unknown command: hako {first}\n\nRun 'hako --help' for more information")


def _in_group(group: str, words: list[str]) -> tuple[Command | None, list[str], str]:
    if not words or words[0] in ("--help", "-h"):
        return None, [], group_help(group)
    verb = _ALIASES.get(words[0], words[0])
    table = GROUPS[group][1]
    if verb in table:
        return _load(table[verb][0], f"{group} {verb}"), words[1:], ""
    if verb in ("stats", "build"):
        raise Failure(f"hako: '{group} {verb}' is not served yet; `hako {group} --help` lists what is")
    raise Failure(
        f"hako: unknown command: hako {group} {words[0]}\n\n"
        f"Usage:  hako {group} COMMAND\n\nRun 'hako {group} --help' for more information"
    )


def _load(module: str, name: str) -> Command:
    """The command `name` of a module: under its full name, or under its verb alone."""
    loaded = __import__(f"hakobune.cli.{module}", fromlist=["COMMANDS"])
    commands: dict[str, Command] = loaded.COMMANDS
    return commands[name] if name in commands else commands[name.rpartition(" ")[2]]


def group_help(group: str) -> str:
    """The page of `hako GROUP`."""
    about, table = GROUPS[group]
    rows = [f"  {verb:<12}{line}" for verb, (_, line) in sorted(table.items())]
    return (
        f"Usage:  hako {group} COMMAND\n\n{about}\n\nCommands:\n" + "\n".join(rows) + f"\n\n"
        f"Run 'hako {group} COMMAND --help' for more information on a command."
    )


def overview(more: dict[str, str]) -> str:
    """The page of `hako --help`; `more` are verbs that the program adds."""
    verbs = {name: GROUPS[group][1][verb][1] for name, (group, verb) in TOP.items()}
    verbs |= {name: about for name, (_, about) in _ALONE.items()}
    verbs |= more
    common = [f"  {name:<12}{verbs.pop(name)}" for name in _COMMON]
    groups = [f"  {name:<12}{about}" for name, (about, _) in sorted(GROUPS.items())]
    others = [f"  {name:<12}{about}" for name, about in sorted(verbs.items())]
    return "\n".join(
        [
            "Usage:  hako [OPTIONS] COMMAND\n\nContainers, with the verbs and flags of docker.\n",
            "Common commands:", *common, "\nBy noun:", *groups, "\nAll others:", *others,
            "\nOptions:",
            "  -H, --host string   The engine: unix:///path or tcp://host:port (default: $DOCKER_HOST, else",
            "                      unix:///run/hakobune/docker.sock)",
            "  -v, --version       Print the version and end",
            "      --help          Show this page",
            "\nRun 'hako COMMAND --help' for more information on a command.",
        ]
    )  # fmt: skip

"""`version` and `info`."""

from __future__ import annotations

import platform
import sys

from hakobune.version import VERSION

from .command import Command, Context
from .failure import Failure
from .flags import Values
from .records import each_document
from .units import binary_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_API = "1.50"
_DETAILS = {"GoVersion": "Go version", "PythonVersion": "Python version", "GitCommit": "Git commit",
            "BuildTime": "Built", "KernelVersion": "Kernel version"}  # fmt: skip
# line of `info`: key of the engine's document
_INFO = (
    ("Containers", "Containers"), (" Running", "ContainersRunning"), (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"), ("Images", "Images"), ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"), ("Logging Driver", "LoggingDriver"), ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"), ("Default Runtime", "DefaultRuntime"), ("Init Binary", "InitBinary"),
    ("Kernel Version", "KernelVersion"), ("Operating System", "OperatingSystem"), ("OSType", "OSType"),
    ("Architecture", "Architecture"), ("CPUs", "NCPU"), ("Total Memory", "MemTotal"), ("Name", "Name"),
    ("ID", "ID"), ("Docker Root Dir", "DockerRootDir"), ("Debug Mode", "Debug"),
    ("Experimental", "ExperimentalBuild"), ("Live Restore Enabled", "LiveRestoreEnabled"),
)  # fmt: skip


def _version(context: Context, values: Values, arguments: list[str]) -> int:
    client = {
        "Version": VERSION,
        "ApiVersion": _API,
        "DefaultAPIVersion": _API,
        "Python": platform.python_version(),
        "Os": sys.platform,
        "Arch": platform.machine(),
        "Context": "default",
    }
    server, failure = None, None
    try:
        server = context.client.get("/version")
    except Failure as err:
        failure = err
    form = values.text("format")
    if form:
        each_document(context, [{"Client": client, "Server": server}], form)
    else:
        context.say(*_version_lines(client, server))
    if failure:
        raise failure
    return 0


def _version_lines(client: Any, server: Any) -> list[str]:
    lines = [
        "Client: Hakobune",
        _pair("Version", client["Version"]),
        _pair("API version", client["ApiVersion"]),
        _pair("Python version", client["Python"]),
        _pair("OS/Arch", f"{client['Os']}/{client['Arch']}"),
    ]
    if not server:
        return lines
    name = (server.get("Platform") or {}).get("Name") or "Hakobune"
    lines += ["", f"Server: {name}"]
    for component in server.get("Components") or []:
        lines += [f" {component['Name']}:", f"  {'Version:':<18}{component['Version']}"]
        lines += [f"  {name + ':':<18}{value}" for name, value in _details(component.get("Details") or {})]
    return lines


def _details(details: dict[str, str]) -> list[tuple[str, str]]:
    """What is known of a component, in the order in which people look for it."""
    known = dict(details)
    api, least = known.pop("ApiVersion", ""), known.pop("MinAPIVersion", "")
    platform_ = "/".join(part for part in (known.pop("Os", ""), known.pop("Arch", "")) if part)
    lines = [("API version", f"{api} (minimum version {least})" if least else api)]
    lines += [(name, known.pop(key, "")) for key, name in _DETAILS.items()]
    lines += [("OS/Arch", platform_), *sorted(known.items())]
    return [(name, value) for name, value in lines if value]


def _pair(name: str, value: str) -> str:
    return f" {name + ':':<19}{value}"


def _info(context: Context, values: Values, arguments: list[str]) -> int:
    info = context.client.get("/info")
    if values.text("format"):
        each_document(context, [info], values.text("format"))
        return 0
    context.say("Client:", *[f" {key}: {value}" for key, value in (("Host", context.host),)], "", "Server:")
    for label, key in _INFO:
        value = info.get(key)
        if value is not None and value != "":
            value = binary_size(value) if key == "MemTotal" else value
            context.say(f" {label}: {str(value).lower() if isinstance(value, bool) else value}")
        if key == "Driver":
            context.say(*[f"  {name}: {text}" for name, text in info.get("DriverStatus") or []])
    _info_lists(context, info)
    context.warn(*(info.get("Warnings") or []))
    return 0


def _info_lists(context: Context, info: Any) -> None:
    plugins = info.get("Plugins") or {}
    if any(plugins.values()):
        context.say(" Plugins:")
        context.say(*[f"  {kind}: {' '.join(names)}" for kind, names in plugins.items() if names])
    if info.get("Runtimes"):
        context.say(f" Runtimes: {' '.join(info['Runtimes'])}")
    if info.get("SecurityOptions"):
        context.say(" Security Options:", *[f"  {text}" for text in info["SecurityOptions"]])


_FORMAT = "-f, --format string  json, or a template"

COMMANDS = {
    "version": Command(
        "version [OPTIONS]",
        "Show the versions of this command and of the engine.",
        _version,
        flags=_FORMAT + " ({{.Server.Version}})",
    ),
    "info": Command(
        "info [OPTIONS]",
        "Show the engine's state and settings.",
        _info,
        flags=_FORMAT + " ({{.Driver}})",
    ),
}

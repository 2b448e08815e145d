"""`login` and `logout`: the engine asks the registry, the credentials are kept on this side."""

from __future__ import annotations

import sys

from . import credentials
from .command import Command, Context
from .failure import Failure
from .flags import Values


def _login(context: Context, values: Values, arguments: list[str]) -> int:
    server = credentials.key_of(arguments[0]) if arguments else credentials.HUB
    username, password = _who(context, values)
    about = {"username": username, "password": password, "serveraddress": server}
    answer = context.client.post("/auth", about)
    place = credentials.store(server, username, password, str(answer.get("IdentityToken") or ""))
    if place:
        context.warn(
            f"WARNING! Your password is stored unencrypted in {place}: a credential helper would encrypt it."
        )
    context.say(str(answer.get("Status") or "Login Succeeded"))
    return 0


def _who(context: Context, values: Values) -> tuple[str, str]:
    username, password = values.text("username"), values.text("password")
    if values.on("password-stdin"):
        if password:
            raise Failure("hako: --password and --password-stdin are mutually exclusive")
        if not username:
            raise Failure("hako: must provide --username with --password-stdin")
        return username, sys.stdin.read().rstrip("\r\n")
    if password:
        context.warn("WARNING! A password on the command line is seen by others. Use --password-stdin.")
    if (not username or not password) and not sys.stdin.isatty():
        raise Failure("hako: cannot perform an interactive login from a non TTY device")
    return username or _line("Username: "), password or _secret()


def _line(words: str) -> str:
    sys.stdout.write(words)
    sys.stdout.flush()
    found = sys.stdin.readline().strip()
    if not found:
        raise Failure("hako: username is required")
    return found


def _secret() -> str:
    from getpass import getpass

    found = getpass("Password: ")
    if not found:
        raise Failure("hako: password is required")
    return found


def _logout(context: Context, values: Values, arguments: list[str]) -> int:
    server = credentials.key_of(arguments[0]) if arguments else credentials.HUB
    if not credentials.erase(server):
        context.say(f"Not logged in to {server}")
        return 0
    context.say(f"Removing login credentials for {server}")
    return 0


COMMANDS = {
    "login": Command(
        "login [OPTIONS] [SERVER]",
        "Tell a registry who you are, and keep it for later pulls and pushes.",
        _login,
        flags="""
-p, --password string  Password, seen by others: better use --password-stdin
    --password-stdin   Take the password from stdin
-u, --username string  Username
""",
        most=1,
    ),
    "logout": Command("logout [SERVER]", "Forget what `login` has kept.", _logout, most=1),
}

"""Tell how haproxy stands, drain a gateway, switch the slot of the slow path; needs root.

  coalmine-lb status                      gateways, their sessions, and each service's slot
  coalmine-lb drain NAME [--wait SECONDS] no new requests for a gateway; wait for those it has
  coalmine-lb ready NAME [--wait SECONDS] it gets requests again, once its checks pass
  coalmine-lb slot SERVICE SLOT           where the slow path leads: blue or green

What is switched here lasts: over a reload, a restart, a boot and the next run of the role.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from .commands import drain, ready, slot, status
from .files import Places
from .haproxy import Haproxy
from .refused import DONE, FAILED, Refused
from .words import slot_words, status_words, turned_words

CHECKED = 10.0
"""Seconds in which the checks of a gateway that works have passed, with time to spare."""

SLOTS = ("blue", "green")


def main(argv: list[str] | None = None, places: Places | None = None) -> int:
    """Do what the command line says, and return the exit code."""
    options = _parser().parse_args(argv)
    places = places or Places()
    haproxy = Haproxy(places)
    try:
        if options.command == "status":
            found, words = status(haproxy, places), status_words
        elif options.command == "drain":
            found, words = drain(haproxy, places, options.name, options.wait), turned_words
        elif options.command == "ready":
            found, words = ready(haproxy, places, options.name, options.wait), turned_words
        else:
            found, words = slot(haproxy, places, options.service, options.slot), slot_words
    except Refused as error:
        sys.stderr.write(f"coalmine-lb: {error}\n")
        return error.code
    except OSError as error:
        sys.stderr.write(f"coalmine-lb: {error.filename}: {error.strerror}\n")
        return FAILED
    try:
        sys.stdout.write(json.dumps(found) if options.json else "\n".join(words(found)))
        sys.stdout.write("\n")
        sys.stdout.flush()
    except BrokenPipeError:  # `coalmine-lb status | head -n 1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="coalmine-lb", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="answer as JSON")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS,
                        help="answer as JSON")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("status", parents=[common], help="how things stand")
    draining = commands.add_parser("drain", parents=[common], help="no new requests for a gateway")
    draining.add_argument("name", metavar="NAME")
    draining.add_argument("--wait", type=_seconds, default=0.0, metavar="SECONDS",
                          help="until it has none; fails when it then still has some")
    readying = commands.add_parser("ready", parents=[common], help="a gateway gets requests again")
    readying.add_argument("name", metavar="NAME")
    readying.add_argument("--wait", type=_seconds, default=CHECKED, metavar="SECONDS",
                          help="until its checks pass; fails when they then still do not "
                               "(default %(default)g)")
    switching = commands.add_parser("slot", parents=[common], help="where the slow path leads")
    switching.add_argument("service", metavar="SERVICE")
    switching.add_argument("slot", metavar="SLOT", choices=SLOTS)
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text} seconds cannot be waited for")
    return seconds

"""The verbs of `python -m ladder` on a command line: which options each takes, and its help."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import NoReturn

from ladder.command.arguments import multiples, names, split_overrides
from ladder.command.running import Parser
from ladder.errors import UserError, shortened, unknown

PROGRAM = "python -m ladder"
KEYS = (
    "Any configuration value can be given as key=value: ladder=NAME, or the path of a ladder's FILE.yaml; data=, "
    "suite=, target= and cluster= likewise; runs_dir=DIR; ladder.recipe.sequence_length=512."
)


_SWEEP = "a sweep of learning rate and batch in place of the rungs"
SWITCHES = {  # options without a value: their help under each verb that takes them
    "--json": {"plan": "as JSON", "check": "as JSON"},
    "--csv": {"plan": "as CSV, a row for each rung"},
    "--dry-run": {"run": "print what would be submitted or launched", "check": "with --sweep: print what would start"},
    "--watch": {"status": "refresh until nothing is under way"},
    "--sweep": dict.fromkeys(("plan", "run", "status", "cancel"), _SWEEP) | {"check": f"{_SWEEP}; trains it first"},
}


def parse_verb(verb: str, what: str, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options after a verb, those it does not take being false, and the key=value words."""
    parser = Parser(prog=f"{PROGRAM} {verb}", usage="%(prog)s [options] [key=value …]", description=what, epilog=KEYS)
    parser.add_argument("--sizes", type=names, default=[], help="only these sizes, such as 190M,370M")
    parser.add_argument("--multiples", type=multiples, default=[], help="only these Chinchilla multiples, such as 1,2")
    form = parser.add_mutually_exclusive_group()
    for option, helps in SWITCHES.items():
        if verb in helps:
            group = form if option in ("--json", "--csv") else parser
            group.add_argument(option, action="store_true", help=helps[verb])
        else:
            parser.set_defaults(**{option[2:].replace("-", "_"): False})
    options, words = parser.parse_known_args(list(argv))
    for option, helps in SWITCHES.items():
        if option in words:
            raise UserError(f"{option} belongs to {PROGRAM} {' and '.join(helps)}")
    return options, split_overrides(words)


def parse_name(verb: str, what: str, argv: Sequence[str]) -> str:
    """The one word after a verb that takes a name."""
    parser = Parser(prog=f"{PROGRAM} {verb}", description=what)
    parser.add_argument("name", metavar="NAME", help="of the ladder, its data and its suite")
    if len(argv) != 1:
        raise UserError(f"say how the ladder is called: {PROGRAM} {verb} NAME")
    return str(parser.parse_args(list(argv)).name)


def without_verb(verbs: Mapping[str, str], argv: Sequence[str]) -> NoReturn:
    """Shows the help, or raises UserError that says what to put first."""
    listed = "\n".join(f"  {name:<8} {what}" for name, what in verbs.items())
    parser = Parser(
        prog=PROGRAM,
        usage="%(prog)s VERB [options] [key=value …]",
        commands=verbs,
        description=f"VERB is one of\n{listed}",
        epilog=f"{PROGRAM} VERB --help says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="VERB", help=argparse.SUPPRESS)
    if later := [word for word in argv if word in verbs]:
        raise UserError(f"the verb stands first: {PROGRAM} {later[0]} …")
    word = parser.parse_known_args(list(argv))[0].command
    if "=" in word:
        raise UserError(f"say what to do: {PROGRAM} VERB {shortened(word)}; VERB is one of {', '.join(verbs)}")
    raise unknown("command", word, verbs)

"""`python -m dev.parity`: this code against recordings of the original code; the last line is `matched/total match`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Protocol

from hiper.cli.command import declare, existing, path
from hiper.cli.main import run

SHOWN = 20


class Comparison(Protocol):
    """What a comparison with a recording gives back."""

    @property
    def matched(self) -> int: ...

    @property
    def total(self) -> int: ...

    @property
    def mismatches(self) -> Sequence[str]: ...


def build_parser() -> argparse.ArgumentParser:
    summary = "Compare this implementation with recordings of the original code; exit status 1 when any differs."
    parser = argparse.ArgumentParser(prog="python -m dev.parity", description=summary)
    parts = parser.add_subparsers(metavar="COMMAND", required=True)
    hae = declare(parts, "hae", compare_hae, "hierarchical advantage estimation")
    hae.add_argument("recording", type=path, metavar="FILE", help="a JSON recording of advantages")
    groups = declare(parts, "groups", compare_groups, "the group baselines: GRPO, RLOO, GiGPO, HGPO")
    groups.add_argument("recordings", type=path, nargs="+", metavar="FILE", help="JSON recordings of group advantages")
    alfworld = declare(parts, "alfworld", compare_alfworld, "the native ALFWorld engine")
    alfworld.add_argument("recording", type=path, metavar="FILE", help="a JSON recording of episodes, plain or gzipped")
    alfworld.add_argument("--data", type=path, metavar="DIR", help="the games that were recorded, in ALFWorld's layout")
    webshop = declare(parts, "webshop", compare_webshop, "WebShop: pages, goals, rewards, search")
    about = "JSON recordings of any kind, plain or gzipped, with that of the title nouns beside them"
    webshop.add_argument("recordings", type=path, nargs="+", metavar="FILE", help=about)
    webshop.add_argument("--data", type=path, metavar="DIR", help="the folder with the product files of the recordings")
    return parser


def compare_hae(arguments: argparse.Namespace) -> int:
    from dev.parity.hae import compare_recording

    return conclude(compare_recording(existing(arguments.recording)))


def compare_groups(arguments: argparse.Namespace) -> int:
    from dev.parity.groups import compare_recording
    from dev.parity.hae import ParityResult

    results = [compare_recording(existing(recording)) for recording in arguments.recordings]
    matched, total = sum(result.matched for result in results), sum(result.total for result in results)
    return conclude(ParityResult(matched, total, [mismatch for result in results for mismatch in result.mismatches]))


def compare_alfworld(arguments: argparse.Namespace) -> int:
    from dev.parity.alfworld import compare_recording

    return conclude(compare_recording(existing(arguments.recording), arguments.data))


def compare_webshop(arguments: argparse.Namespace) -> int:
    from dev.parity.webshop import compare_recording
    from dev.parity.webshop_result import ParityResult

    results = []
    for recording in arguments.recordings:
        results.append(result := compare_recording(existing(recording), arguments.data))
        print(f"{recording}: {f'{result.matched}/{result.total} match' if result.total else 'nothing to compare'}")
    matched, total = sum(result.matched for result in results), sum(result.total for result in results)
    return conclude(ParityResult(matched, total, [mismatch for result in results for mismatch in result.mismatches]))


def conclude(comparison: Comparison) -> int:
    """Print the first mismatches and the count; an empty recording is no agreement."""
    for mismatch in comparison.mismatches[:SHOWN]:
        print(mismatch)
    if len(comparison.mismatches) > SHOWN:
        print(f"… and {len(comparison.mismatches) - SHOWN} more")
    print(f"{comparison.matched}/{comparison.total} match")
    return 0 if comparison.matched == comparison.total > 0 else 1


def main(arguments: Sequence[str] | None = None) -> int:
    return run(build_parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())

"""Options that several benchmarks have."""

import click

repeats_option = click.option(
    "--repeats",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="How often everything is measured; the repeats are interleaved.",
)

"""Options that several benchmarks have."""

import click

repeats_option = click.option(
    "--repeats",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="How often everything is measured; the repeats are interleaved.",
)
clients_option = click.option(
    "--clients",
    multiple=True,
    default=(1, 8, 64, 256),
    show_default=True,
    type=click.IntRange(1, 400),
    help="Number of concurrent clients; may be repeated.",
)
without_peer_option = click.option(
    "--without-peer", is_flag=True, help="Do not measure the library eventsourcing."
)

"""`rollbook completion`: prints the script that makes a shell complete rollbook's command lines.

The script calls `rollbook` itself on each press of the tab key, so it need not change with the
commands. `LazyGroup` completes command names from its table, without importing any client.
"""

import click
from click.shell_completion import get_completion_class

# The environment variable by which click recognises a call from the installed script.
VARIABLE = "_ROLLBOOK_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Print a script that makes SHELL complete commands, options and values.

    \b
    Examples:
      eval "$(rollbook completion bash)"        in ~/.bashrc
      eval "$(rollbook completion zsh)"         in ~/.zshrc, after compinit
      rollbook completion fish | source         in ~/.config/fish/config.fish
    """  # noqa: D301 - \b tells click not to rewrap
    completer = get_completion_class(shell)
    assert completer, shell  # noqa: S101 - click supports every shell of the choice above
    click.echo(completer(context.find_root().command, {}, "rollbook", VARIABLE).source())

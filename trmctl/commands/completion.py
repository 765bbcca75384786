"""`trmctl completion`."""

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print what makes a shell complete commands and runs.

    \b
    Example:
      eval "$(trmctl completion bash)"
    """
    from click.shell_completion import get_completion_class

    from trmctl.cli import cli

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "trmctl", "_TRMCTL_COMPLETE").source())

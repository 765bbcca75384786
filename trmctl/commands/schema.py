"""`trmctl schema`."""

import click

from trmctl import output as out


@click.command("schema")
def command() -> None:
    """Print the JSON schema of the run file, for editors.

    `trmctl schema > runfile.schema.json`, and editors with a YAML language server complete and check a run file whose
    first line is `# yaml-language-server: $schema=runfile.schema.json`. `trmctl init` writes both.

    \b
    Example:
      trmctl schema > runfile.schema.json
    """
    from trmkit.spec.explain import schema

    out.data(schema(), "json")

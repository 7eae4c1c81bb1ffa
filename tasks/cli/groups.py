"""Groups of commands whose help can be read to the end."""

import click

#: More than any first sentence has; click cuts at 45 characters otherwise.
WHOLE = 1000


class Group(click.Group):
    """A group whose help has the first sentence of each command whole, on as many lines as it takes."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names and first sentences of all commands."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(WHOLE)) for name, command in found if command])

"""A progress bar that counts images."""

from rich import progress
from rich.console import Console


def image_bar(**options) -> progress.Progress:
    """Returns a bar on standard error, which is disabled outside of a terminal: there it would print a line per image.

    Args:
        **options: further arguments of `rich.progress.Progress`.
    """
    console = Console(stderr=True)
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        **options,
    )

"""How the commands tell their defaults."""

import argparse


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Tells the default of each option that has one; none and an empty one need no words."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, ''):
            return action.help
        return super()._get_help_string(action)

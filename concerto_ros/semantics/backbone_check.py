"""Whether weights that read features were trained on the backbone that gives them."""

from concerto_ros.errors import CheckpointError


def check_trained_on(what: str, trained_on: str, digest: str, command: str) -> None:
    """Refuse weights of another backbone.

    Args:
        what: Kind of weights, for people.
        trained_on: Digest of the backbone that they were trained on; empty: not known.
        digest: Of the backbone at hand.
        command: That trains such weights.

    Raises:
        CheckpointError: The backbones differ; the message tells the cure.
    """
    if trained_on not in ('', digest):
        raise CheckpointError(
            f'the {what} was trained on the backbone of weights {trained_on}, this one has '
            f'{digest}: load that checkpoint, or train a {what} on this one with {command}'
        )

"""Codes along z-order and Hilbert curves, and the rows of a cloud sorted by them.

A code holds three bits per level of the octree, x above y above z. All codes derive from the
z-order code: "-trans" exchanges its x and y bits, Hilbert runs a finite-state machine over its
octants.
"""

from functools import lru_cache

import torch
from torch import Tensor

CURVES = ('z', 'z-trans', 'hilbert', 'hilbert-trans')
MAX_DEPTH = 16  # bits per axis; 65536 cells of 2 cm are 1.3 km

_X_BITS, _Y_BITS, _Z_BITS = (sum(1 << (3 * i + s) for i in range(MAX_DEPTH)) for s in (2, 1, 0))
_SPREAD = (
    (16, 0x0000FF0000FF),
    (8, 0x00F00F00F00F),
    (4, 0x0C30C30C30C3),
    (2, 0x249249249249),
)
_OCTREE_LEVELS = 3  # that one look-up of the Hilbert table descends
_CHUNK_BITS = 3 * _OCTREE_LEVELS


def z_order_code(grid_coord: Tensor) -> Tensor:
    """Return the (N,) int64 z-order code of (N, 3) int64 cells in 0..65535."""
    spread = grid_coord
    for shift, mask in _SPREAD:
        spread = (spread | (spread << shift)) & mask
    x, y, z = spread.unbind(1)
    return (x << 2) | (y << 1) | z


def curve_code(curve: str, z_code: Tensor, depth: int | Tensor) -> Tensor:
    """Turn z-order codes into the codes of another curve.

    Args:
        curve: One of `CURVES`.
        z_code: (N,) int64, as from `z_order_code`.
        depth: Levels of the octree, at least as many as the codes need: one number, or (N,)
            int64. It sets the orientation of the Hilbert curves; z-order does not depend on it.

    Returns:
        (N,) int64, below `8 ** depth`.
    """
    if curve.endswith('-trans'):
        z_code = ((z_code & _X_BITS) >> 1) | ((z_code & _Y_BITS) << 1) | (z_code & _Z_BITS)
    return _hilbert_code(z_code, depth) if curve.startswith('hilbert') else z_code


def curve_depth(max_grid: Tensor) -> Tensor:
    """Return the bits that number `max_grid + 1` needs, the published depth, int64."""
    return torch.frexp((max_grid + 1).double()).exponent.long()


def _hilbert_code(z_code: Tensor, depth: int | Tensor) -> Tensor:
    start, next_state, digits = _hilbert_tables_on(z_code.device)
    # Empty levels above the depth turn the curve with a period of three, so a fixed number of
    # three-level chunks can be walked if the start state undoes the turn.
    state = start[torch.as_tensor(depth, device=z_code.device) % 3].expand_as(z_code)
    code = torch.zeros_like(z_code)
    num_chunks = -(-MAX_DEPTH // _OCTREE_LEVELS)
    for chunk in reversed(range(num_chunks)):
        octants = (z_code >> (_CHUNK_BITS * chunk)) & (2**_CHUNK_BITS - 1)
        index = (state << _CHUNK_BITS) | octants
        code = (code << _CHUNK_BITS) | digits[index]
        state = next_state[index]
    return code


_State = tuple[tuple[int, ...], tuple[int, ...], int]  # axis of each column, its flip, parity
_FIRST_STATE: _State = ((0, 1, 2), (0, 0, 0), 0)


def _step(state: _State, octant: int) -> tuple[_State, int]:
    """Descend one level of the octree: the state for its children and the digit of `octant`.

    Source: Skilling, Programming the Hilbert curve, AIP Conf. Proc. 707, 2004.
    """
    axes, flips, parity = list(state[0]), list(state[1]), state[2]
    bits = [((octant >> (2 - axis)) & 1) ^ flip for axis, flip in zip(axes, flips, strict=True)]
    for column, bit in enumerate(bits):
        if bit:
            flips[0] ^= 1
        else:
            axes[0], axes[column] = axes[column], axes[0]
            flips[0], flips[column] = flips[column], flips[0]
    digit = 0
    for bit in bits:  # Gray code to binary; the parity carries over to the next level
        parity ^= bit
        digit = (digit << 1) | parity
    return (tuple(axes), tuple(flips), parity), digit


def _descend(state: _State, octants: int) -> tuple[_State, int]:
    code = 0
    for level in reversed(range(_OCTREE_LEVELS)):
        state, digit = _step(state, (octants >> (3 * level)) & 7)
        code = (code << 3) | digit
    return state, code


@lru_cache(maxsize=8)
def _hilbert_tables_on(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Copy the tables to a device once, not for every curve."""
    start, next_state, digits = _hilbert_tables()
    return start.to(device), next_state.to(device), digits.to(device)


@lru_cache(maxsize=1)
def _hilbert_tables() -> tuple[Tensor, Tensor, Tensor]:
    """Build the start state per depth modulo 3, and next state and digits per state and chunk."""
    states = [_FIRST_STATE]
    for _ in range(2):
        states.append(_step(states[-1], 0)[0])
    number = {state: i for i, state in enumerate(states)}
    next_state, digits = [], []
    for state in states:  # grows while it is walked, until every reachable state was met
        for octants in range(2**_CHUNK_BITS):
            following, code = _descend(state, octants)
            if following not in number:
                number[following] = len(states)
                states.append(following)
            next_state.append(number[following])
            digits.append(code)
    return torch.arange(3), torch.tensor(next_state), torch.tensor(digits)

"""What an image costs to keep and to pull: computed from its size, not measured.

The default price is that of storage in private repositories of Amazon ECR in us-east-1, 0.10 USD a GB (1e9 bytes) and month, as of
March 2026 (https://aws.amazon.com/ecr/pricing/); other regions and registries differ, so it is an option. Transfer is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PRICE = 0.10  # USD a GB and month
KEPT = 20  # builds
BANDWIDTHS = (100, 1000)  # Mbit/s


def storage(size: int, known: Sequence[Mapping[str, int]], kept: int, price: float) -> dict[str, Any]:
    """The bytes and the price of a month for `kept` images. `known` are the layers of builds, {digest: bytes}, this one's first.

    A registry keeps a layer once however many images have it: counted so for the builds that are known. What is not known is taken to
    share nothing, so the figure is an upper bound.
    """
    seen: dict[str, int] = {}
    counted = known[:kept]
    for layers in counted:
        seen |= layers
    own = sum(known[0].values()) if known else 0
    total = sum(seen.values()) + len(counted) * (size - own) + (kept - len(counted)) * size
    return {
        "kept": kept,
        "known": len(counted),
        "bytes": total,
        "usd_a_month": round(total / 1e9 * price, 4),
        "usd_a_gb": price,
    }


def pull(size: int, bandwidths: Sequence[int] = BANDWIDTHS) -> dict[str, float]:
    """{bandwidth in Mbit/s: seconds} to transfer the compressed image, without unpacking and without what the host has already."""
    return {str(one): round(size * 8 / (one * 1e6), 3) for one in bandwidths}

"""Which CPU units and how much memory Fargate gives together."""

from __future__ import annotations

from collections.abc import Iterator

# CPU units → MiB, as ECS documents it for Linux tasks.
FARGATE: dict[int, tuple[int, ...]] = {
    256: (512, 1024, 2048),
    512: tuple(range(1024, 4097, 1024)),
    1024: tuple(range(2048, 8193, 1024)),
    2048: tuple(range(4096, 16385, 1024)),
    4096: tuple(range(8192, 30721, 1024)),
    8192: tuple(range(16384, 61441, 4096)),
    16384: tuple(range(32768, 122881, 8192)),
}


def unfit(cpu: int | None, memory: int | None) -> Iterator[tuple[str, str, str]]:
    """What is wrong with a size, as Table.problems() says it."""
    if cpu is not None and cpu not in FARGATE:
        yield "", "cpu", f"is {cpu}, and Fargate has {', '.join(map(str, FARGATE))}"
    elif memory is not None and memory not in FARGATE.get(cpu or 0, {one for all_ in FARGATE.values() for one in all_}):
        with_ = f"with cpu = {cpu} Fargate has {_range(cpu)}" if cpu else "Fargate has no such size: take a whole GiB"
        yield "", "memory", f"is {memory}, and {with_}"


def size(cpu: int | None, memory: int | None) -> tuple[int, int] | None:
    """(CPU units, MiB) of a task where one of them is said, the other as small as it goes; None where neither is."""
    if cpu is not None:
        return cpu, memory if memory is not None else FARGATE[cpu][0]
    if memory is None:
        return None
    return next(units for units, all_ in FARGATE.items() if memory in all_), memory


def _range(cpu: int) -> str:
    first, *_, last = FARGATE[cpu]
    return f"{first} to {last}"

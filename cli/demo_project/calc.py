"""A few sums."""


def add(a: float, b: float) -> float:
    return a + b


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)

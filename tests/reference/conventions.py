"""How to say in `midstream.compare` what other libraries say, as pairs of expressions.

The tests evaluate both sides, so the table cannot go stale. This file, run as a programme, prints
it as Markdown.

In the expressions, x and y are series of n and m samples, (n,) or (n, d), and r is an inclusive
radius in samples. aeon wants the axes the other way round, (d, n): pass ``x.T``, ``y.T``.
"""

from __future__ import annotations

import sys
from typing import NamedTuple


class Row(NamedTuple):
    """`ours` equals `theirs`: for n = m only if `equal_lengths`, for r from `first_radius` on."""

    peer: str
    ours: str
    theirs: str
    equal_lengths: bool = False
    first_radius: int = 0
    #: Numbers of dimensions that the peer takes, 0 for shape (n,).
    dimensions: tuple[int, ...] = (0, 2)

    @property
    def where(self) -> str:
        conditions = []
        if self.equal_lengths:
            conditions.append("n = m")
        if self.first_radius:
            conditions.append(f"r >= {self.first_radius}")
        if self.dimensions == (0,):
            conditions.append("univariate")
        if self.dimensions == (2,):
            conditions.append("multivariate")
        return ", ".join(conditions)


AEON = "window=(r + 0.5) / n"
TSLEARN = 'global_constraint="sakoe_chiba", sakoe_chiba_radius=r'
DTAI = "window=r + 1, use_pruning=False"
WIDENED = 'window=r, band="widened"'

# What is absent here, and why:
# * aeon's bands for n != m are slanted in their own way; ours answer to no peer there.
# * aeon's and tslearn's LCSS with radius 0 forget matches at the first mismatch (cells outside
#   the band count as 0 in the recurrence); from radius 1 on they agree.
# * aeon's ERP charges the sum of all gaps for any number of points skipped at the start, and its
#   EDR charges nothing; behind a prefix that must be paired they agree, see the tests.
# * aeon's EDR and our EDR differ where a distance equals epsilon: < there, <= here, as published.
# * dtaidistance prunes with rounding errors unless told not to, and answers inf for valid pairs;
#   its MSM indexes beyond the end where n != m.
TABLE = [
    Row("aeon", "dtw(x, y)", "sqrt(dtw_distance(x, y))"),
    Row("aeon", "dtw(x, y, window=r)", f"sqrt(dtw_distance(x, y, {AEON}))", True),
    Row("aeon", "euclidean(x, y)", "euclidean_distance(x, y)", True),
    Row("aeon", "wdtw(x, y, g=0.1)", "sqrt(wdtw_distance(x, y, g=0.1))"),
    Row("aeon", "wdtw(x, y, window=r)", f"sqrt(wdtw_distance(x, y, {AEON}))", True),
    Row("aeon", "ddtw(x, y)", "sqrt(ddtw_distance(x, y))"),
    Row(
        "aeon",
        "ddtw(x, y, window=r)",
        "sqrt(ddtw_distance(x, y, window=(r + 0.5) / (n - 2)))",
        True,
    ),
    Row("aeon", "adtw(x, y, penalty=0.5)", "sqrt(adtw_distance(x, y, warp_penalty=0.5))"),
    Row("aeon", "adtw(x, y, window=r)", f"sqrt(adtw_distance(x, y, {AEON}))", True),
    Row("aeon", "abs(soft_dtw(x, y, gamma=0.5))", "soft_dtw_distance(x, y, gamma=0.5)"),
    Row("aeon", "lcss(x, y, epsilon=0.5)", "lcss_distance(x, y, epsilon=0.5)"),
    Row("aeon", "lcss(x, y, window=r)", f"lcss_distance(x, y, {AEON})", True, 1),
    Row("aeon", "msm(x, y, c=0.5)", "msm_distance(x, y, c=0.5, independent=True)"),
    Row("aeon", "msm(x, y, window=r)", f"msm_distance(x, y, {AEON})", True),
    Row("aeon", "twe(x, y, nu=0.1, lmbda=0.5)", "twe_distance(x, y, nu=0.1, lmbda=0.5)"),
    Row("aeon", "twe(x, y, window=r)", f"twe_distance(x, y, {AEON})", True),
    Row("tslearn", "dtw(x, y)", "dtw(x, y)"),
    Row("tslearn", f"dtw(x, y, {WIDENED})", f"dtw(x, y, {TSLEARN})"),
    Row("tslearn", "soft_dtw(x, y, gamma=0.5)", "soft_dtw(x, y, gamma=0.5)"),
    Row("tslearn", f"soft_dtw(x, y, {WIDENED})", f"soft_dtw(x, y, {TSLEARN})"),
    Row("tslearn", "lcss(x, y, epsilon=0.5)", "1 - lcss(x, y, eps=0.5)"),
    Row("tslearn", f"lcss(x, y, {WIDENED})", f"1 - lcss(x, y, {TSLEARN})", False, 1),
    Row("tslearn", "frechet(x, y)", "frechet(x, y)"),
    Row("tslearn", f"frechet(x, y, {WIDENED})", f"frechet(x, y, {TSLEARN})"),
    Row("dtaidistance", "dtw(x, y)", "dtw.distance_fast(x, y, use_pruning=False)", dimensions=(0,)),
    Row(
        "dtaidistance", f"dtw(x, y, {WIDENED})", f"dtw.distance_fast(x, y, {DTAI})", dimensions=(0,)
    ),
    Row(
        "dtaidistance",
        f"dtw(x, y, {WIDENED})",
        f"dtw_ndim.distance_fast(x, y, {DTAI})",
        dimensions=(2,),
    ),
    Row(
        "dtaidistance",
        f'dtw(x, y, cost="absolute", {WIDENED})',
        f'dtw.distance_fast(x, y, inner_dist="euclidean", {DTAI})',
        dimensions=(0,),
    ),
    Row(
        "dtaidistance",
        f"adtw(x, y, penalty=0.5**2, {WIDENED})",
        f"dtw.distance_fast(x, y, penalty=0.5, {DTAI})",
        dimensions=(0,),
    ),
    Row(
        "dtaidistance", "msm(x, y, c=0.5)", "msm.distance(x, y, sm_cost=0.5)", True, dimensions=(0,)
    ),
]


def markdown() -> str:
    lines = ["| `midstream.compare` | peer | says | where |", "|---|---|---|---|"]
    lines += [f"| `{r.ours}` | {r.peer} | `{r.theirs}` | {r.where} |" for r in TABLE]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())

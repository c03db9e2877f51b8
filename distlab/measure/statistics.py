"""What an estimate is, and why its interval is Student's.

A study repeats an experiment 3, 5 or 10 times, and what it says of one framework against another
is read as a claim; so intervals must keep their promise at few repeats, and where they can't keep
it exactly they should be too wide. The ratio of two throughputs is the geometric mean of the
ratios of pairs, with Student's t interval of their logarithms (:mod:`distlab.measure.blocks`, in
which repeats that share processes are one draw). It was chosen among the following
by simulation (4,000 studies for each figure; both sides alike, so that the true ratio is 1). The
table gives the percentage of intervals that hold the true ratio:

===================================  ====  ====  ====  ====  ====  ====  =====  =====  =====
repeats                                 3     3     3     5     5     5     10     10     10
noise                                 (a)   (b)   (c)   (a)   (b)   (c)    (a)    (b)    (c)
===================================  ====  ====  ====  ====  ====  ====  =====  =====  =====
Student's t of the logarithms        94.7  95.2  96.6  95.2  94.6  96.4   94.5   95.1   97.8
bootstrap, percentile                67.2  67.2  68.3  84.0  83.3  82.5   89.1   89.9   88.7
bootstrap, BCa                       72.7  72.5  71.2  84.0  83.3  78.0   88.7   89.4   79.2
bootstrap, expanded percentile       74.9  74.7  76.0  92.2  91.5  91.8   93.6   94.5   94.0
bootstrap, studentized               84.6  84.2  83.1  94.6  94.7  96.5   93.8   94.8   94.0
median of ratios, expanded           74.9  74.7  76.0  93.8  93.4  93.8   96.1   96.3   96.8
===================================  ====  ====  ====  ====  ====  ====  =====  =====  =====

(a) log-normal noise of 2 % on each run; (b) the same with a random walk of 2 % a repeat, shared by
the two runs of a pair; (c) as (a), and each run has a chance of 5 % of being slowed by 10 % to
50 % by a neighbour. A resample can't lie outside the sample, so that no percentile of a bootstrap
can hold the truth in more than 1 - 2**(1-n) of the studies: 75 % at 3 repeats, 93.75 % at 5. The
studentized bootstrap escapes that, but is less steady than Student's t and finds less: with noise
(a), it tells a difference of 10 % in 90 % of studies of 5 repeats, Student's t in nearly all. The
price of Student's t is its width where a neighbour disturbed a run: with noise (c), it tells that
difference in 66 % of studies of 5, the percentiles of the bootstrap in 80 %, with five times the
false alarms. Its standard error is the bootstrap's own, found exactly and not by resampling, but
for the factor sqrt(n / (n - 1)) that the bootstrap's lacks (Hesterberg 2015, "What Teachers Should
Know About the Bootstrap", which is also the source of the expanded percentile); so nothing here is
random.

All intervals are for the conditions of the study. They cover neither a drift between studies nor
another machine.
"""

from dataclasses import dataclass

CONFIDENCE = 0.95
FEWEST = 3
"""Repeats without which there is no interval."""


@dataclass(frozen=True)
class Estimate:
    """A figure found from repeats, with its 95 % confidence interval.

    Attributes
    ----------
    value:
        The figure.
    low, high:
        Ends of the interval; None with fewer than three repeats.
    n:
        Number of repeats; of two independent samples, that of the smaller one.
    """

    value: float
    low: float | None
    high: float | None
    n: int

    def excludes(self, value: float) -> bool:
        """Whether there is an interval and ``value`` lies outside it."""
        if self.low is None or self.high is None:
            return False
        return value < self.low or value > self.high

    def scaled(self, factor: float) -> "Estimate":
        """The same estimate in another unit: figure and interval times a positive ``factor``."""
        low = None if self.low is None else self.low * factor
        high = None if self.high is None else self.high * factor
        return Estimate(self.value * factor, low, high, self.n)

    def inverted(self) -> "Estimate":
        """The estimate of the reciprocal: for a ratio, of the ratio the other way round."""
        low = None if self.high is None else 1 / self.high
        high = None if self.low is None else 1 / self.low
        return Estimate(1 / self.value, low, high, self.n)
